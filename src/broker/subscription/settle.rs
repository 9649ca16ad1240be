//! What consumers say of what they were handed, from whatever connection. Never waits.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    hub::Hub,
    inner::{Inner, name_of},
    ledger::{Failure, Moment},
};
use crate::model::{AckId, Reason, Result, Verdict};

/// What is said of a delivery: which, what became of it, and why.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// As it was handed out.
    pub ack_id: &'a str,
    /// What became of it.
    pub verdict: Verdict,
    /// May be empty.
    pub reason: &'a str,
}

impl Hub {
    /// Settles deliveries, and tells what became of each. Answers the number of the change: what is kept for good by then
    /// holds all of them.
    pub fn settle<'a>(
        self: &Arc<Self>,
        words: impl Iterator<Item = Word<'a>>,
        mut told: impl FnMut(&'a str, Result<(), Reason>),
    ) -> u64 {
        let now = Instant::now();
        let mut inner = self.lock();
        if !self.shared.works() && inner.ended.is_none() {
            // Whoever has it by now must hear of it.
            self.end(&mut inner, self.shared.does_not_work());
        }
        let mut has_changed = false;
        self.with_moment(now, |moment| {
            for word in words {
                let result = self.settle_one(&mut inner, &word, moment);
                has_changed |= result.is_ok();
                told(word.ack_id, result);
            }
        });
        inner.end_revoked();
        if has_changed {
            inner.used = now;
            self.changed(&mut inner);
            if inner.ledger.has_deaths() || inner.ledger.has_wanted() {
                inner.wake_next();
            }
            if inner.ledger.has_deaths() {
                self.stir(&mut inner, now);
            }
            self.stir_at_next(&mut inner, now);
        }
        inner.changes
    }

    fn settle_one(&self, inner: &mut Inner, word: &Word<'_>, moment: &Moment<'_>) -> Result<(), Reason> {
        let id = AckId::parse(word.ack_id).map_err(|error| error.reason())?;
        if id.subscription != self.tag {
            return Err(Reason::AckIdInvalid);
        }
        let Inner { ledger, consumers, .. } = inner;
        let failure = |consumer: u32| {
            let reason = match (word.reason, word.verdict) {
                ("", Verdict::Reject) => "the consumer rejected it",
                ("", _) => "the consumer could not do it",
                (said, _) => said,
            };
            Failure { reason: reason.to_owned(), consumer: name_of(consumers, consumer) }
        };
        if let Some(ended) = ledger.settle(id.sequence, id.lease, word.verdict, failure, moment)? {
            inner.ended(ended.consumer, ended.bytes);
        }
        Ok(())
    }
}
