//! Handing out what backs off before its time, for whoever wants all that is there: while that is on, it waits with
//! what comes again, and that most of it failed holds nothing up. When it is off again, what was not taken waits for
//! its time as before.

use super::Ledger;
use crate::model::{DeliveryOrder, Sequence};

impl Ledger {
    /// From now on what backs off may be handed out, or no longer.
    pub fn set_early(&mut self, early: bool) {
        self.early = early;
        for &(_, sequence) in &self.backoffs {
            if early {
                self.wanted.insert(sequence);
            } else if !self.must_learn_key(sequence) {
                self.wanted.remove(&sequence);
            }
        }
    }

    /// Whether what backs off may be handed out.
    pub fn is_early(&self) -> bool {
        self.early
    }

    /// Whether a message is read before its time, as the order of its key depends on it.
    fn must_learn_key(&self, sequence: Sequence) -> bool {
        self.rules.order == DeliveryOrder::Key && self.open.get(&sequence).is_some_and(|entry| entry.key.is_none())
    }
}
