//! Brokers that write to one stream take turns. A block can only be put behind the last one by whoever has learned of it, so
//! who goes on at once is always first: who cannot get in says so, and who has just written waits for it, for a moment.
//! Nothing depends on it but fairness: what is said here may be lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{AGAIN, log::JetStreamLog};

/// How long another broker that has asked for its turn is waited for.
const COURTESY: Duration = Duration::from_millis(100);

/// Who has asked, and whether it has written since.
#[derive(Default)]
pub struct Turns {
    is_asked_for: AtomicBool,
    taken: Notify,
}

impl Turns {
    /// Another broker has written.
    pub fn is_taken(&self) {
        self.taken.notify_waiters();
    }

    /// Lets another broker write, if one has asked for that.
    pub async fn give(&self) {
        if self.is_asked_for.swap(false, Ordering::Relaxed) {
            drop(timeout(COURTESY, self.taken.notified()).await);
        }
    }
}

impl JetStreamLog {
    /// Tells the others that this broker cannot get its entries in.
    pub async fn ask_for_turn(&self) {
        self.stream.ask_for_turn(self.writer).await;
    }

    /// Hears of the brokers that ask.
    pub async fn hear_turns(self: Arc<Self>) {
        loop {
            match self.stream.turns().await {
                Err(error) => tracing::debug!(namespace = %self.namespace, %error, "turns are not heard of"),
                Ok(mut turns) => {
                    while let Some(turn) = turns.next().await {
                        if *turn.payload != self.writer.to_be_bytes() {
                            self.turns.is_asked_for.store(true, Ordering::Relaxed);
                        }
                    }
                }
            }
            sleep(AGAIN).await;
        }
    }
}
