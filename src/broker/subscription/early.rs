//! Pulls that take also what backs off, before its time. All others make way, and what they have is awaited first, so that
//! what they settle meanwhile is not handed out again. Decides nothing that the ledger decides.

use tokio::time::Instant;

use super::{hub::Hub, inner::Inner};

impl Hub {
    /// Waits until those who make way have nothing any more.
    pub(super) async fn others_done(&self, deadline: Instant) {
        self.watch(deadline, |inner| inner.ended.is_some() || !inner.others_hold()).await;
    }
}

impl Inner {
    /// A consumer takes also what backs off, and those who do not make way.
    pub fn begin_early(&mut self, consumer: u32) {
        self.early.push(consumer);
        // What is new and was found already would come before what backs off.
        self.forget_found();
        self.gather();
        self.ledger.set_early(true);
        self.wake_all();
    }

    /// It does no longer, and whoever made way for it goes on.
    pub fn end_early(&mut self, consumer: u32) {
        let before = self.early.len();
        self.early.retain(|early| *early != consumer);
        if self.early.is_empty() && before > 0 {
            self.ledger.set_early(false);
            self.wake_all();
        }
        self.gather();
    }

    /// Whether anybody who makes way has something. Who has pulled and is gone is not waited for: nobody knows whether he
    /// comes back.
    pub fn others_hold(&self) -> bool {
        let others = self.consumers.iter().filter(|(number, _)| !self.early.contains(number));
        others.into_iter().any(|(_, consumer)| !consumer.window.is_empty())
    }
}
