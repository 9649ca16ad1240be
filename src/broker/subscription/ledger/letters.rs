//! Dead letters that were sent back: they are open like any message, and remembered when they no longer are, so that none is
//! sent back twice. They lie in another topic than all else.

use super::{Entry, LETTERS, Ledger, OPEN};
use crate::model::Sequence;

impl Ledger {
    /// Sends a dead letter back: it is handed out as if it were new. Not if it was sent back before, or too much is open.
    pub fn redrive(&mut self, letter: Sequence) -> bool {
        if self.open.len() >= OPEN || self.letters.len() >= LETTERS || !self.letters.insert(letter) {
            return false;
        }
        let entry = Entry { is_letter: true, ..Entry::ready() };
        self.open.insert(letter, entry);
        self.wanted.insert(letter);
        true
    }

    /// Whether a dead letter was sent back.
    pub fn is_redriven(&self, letter: Sequence) -> bool {
        self.letters.contains(&letter)
    }

    /// Dead letters before `first` are gone: they need not be remembered.
    pub fn forget_letters(&mut self, first: Sequence) {
        self.letters = self.letters.split_off(&first);
    }

    pub(super) fn is_letter(&self, sequence: Sequence) -> bool {
        self.open.get(&sequence).is_some_and(|entry| entry.is_letter)
    }
}
