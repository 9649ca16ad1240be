//! How a ledger goes through the log: what is to be read next, what was found there, and what is passed over. Never hands
//! anything out.

use super::{Entry, Failure, Ledger, OPEN, Standing};
use crate::model::Sequence;

/// What of the log is to be read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// From here on.
    pub from: Sequence,
    /// Up to here.
    pub through: Sequence,
    /// It was read before: what is open of it may be gone from the log by now.
    pub again: bool,
    /// It is a dead letter that was sent back.
    pub is_letter: bool,
}

impl Ledger {
    /// What is to be read next: what comes again before what is new. At most `most` positions of what comes again. None
    /// at the bound of what may be open.
    pub fn span(&self, most: u64) -> Option<Span> {
        if let Some(&from) = self.wanted.first() {
            // What lies between and is of the other kind is looked for later: it lies in other topics.
            let last = self.wanted.range(..from.plus(most)).next_back().copied();
            return Some(Span { from, through: last.unwrap_or(from), again: true, is_letter: self.is_letter(from) });
        }
        let is_full = self.open.len() >= OPEN;
        (!is_full).then_some(Span { from: self.read, through: Sequence::MAX, again: false, is_letter: false })
    }

    /// Whether a message that lies in the log is to be handed out, as far as can be told before it is.
    pub fn wants(&self, sequence: Sequence) -> bool {
        sequence >= self.read || self.wanted.contains(&sequence)
    }

    /// What is new and lies before `to` is left out, as more waits than may: so many messages.
    pub fn drop_until(&mut self, to: Sequence, messages: u64) {
        self.skipped.add(self.read, to);
        self.read = self.read.max(to);
        self.counts.dropped += messages;
    }

    /// A message that is new is given up before anybody had it. Not if too much is open.
    pub fn give_up(&mut self, sequence: Sequence, failure: Failure) -> bool {
        if self.open.len() >= OPEN {
            return false;
        }
        if sequence >= self.read {
            self.read = sequence.next();
            let failure = Some(Box::new(failure));
            self.open.insert(sequence, Entry { standing: Standing::Dying, failure, ..Entry::ready() });
            self.dying.push(sequence);
        }
        true
    }

    /// Of what is new, everything before `next` was looked at.
    pub fn passed(&mut self, next: Sequence) {
        self.read = self.read.max(next);
    }

    /// A span of what comes again was read up to `next`: what is still wanted of it is gone from the log. What lies before
    /// `kept` was removed by retention: answers the first and the last of that.
    pub fn passed_again(&mut self, span: &Span, next: Sequence, kept: Sequence) -> Option<(Sequence, Sequence)> {
        let gone = self.wanted.range(span.from..next.max(span.from)).copied();
        let gone: Vec<_> = gone.filter(|sequence| self.is_letter(*sequence) == span.is_letter).collect();
        let removed = &gone[..gone.partition_point(|sequence| *sequence < kept)];
        self.counts.removed += removed.len() as u64;
        self.counts.expired += (gone.len() - removed.len()) as u64;
        gone.iter().for_each(|sequence| self.close(*sequence));
        Some((*removed.first()?, *removed.last()?))
    }

    /// A message was found in the log, and stays open until it is settled. Only for those that must be told from what is
    /// gone, before they can be handed out.
    pub fn found(&mut self, sequence: Sequence) {
        self.wanted.remove(&sequence);
    }

    /// What was found and was not handed out is wanted again.
    pub fn lost(&mut self, sequence: Sequence) {
        let standing = self.open.get(&sequence).map(|entry| entry.standing);
        let may_come = match standing {
            Some(Standing::Ready) => true,
            Some(Standing::BackingOff { .. }) => self.early,
            _ => false,
        };
        if may_come {
            self.wanted.insert(sequence);
        }
    }

    /// Goes to another position: everything before it counts as settled, and nothing from there on. Leases end.
    pub fn seek(&mut self, to: Sequence) {
        for (&sequence, _) in self.open.iter().filter(|(_, entry)| !entry.is_letter) {
            self.skipped.add(sequence, sequence.next());
        }
        self.skipped.add(self.read, to);
        self.skipped.cut(to);
        let fresh = Ledger::new(self.rules.clone(), to, self.lease);
        let mut keys = std::mem::take(&mut self.keys);
        keys.clear();
        // What was sent back and not settled may be sent back again.
        let letters = self.letters.iter().copied().filter(|letter| !self.open.contains_key(letter)).collect();
        let (counts, early, skipped) = (self.counts, self.early, std::mem::take(&mut self.skipped));
        *self = Ledger { counts, early, skipped, letters, keys, ..fresh };
    }

    /// Whether a message was passed over: it came before the subscription, or a seek or a purge left it out.
    pub fn is_skipped(&self, sequence: Sequence) -> bool {
        self.skipped.contains(sequence)
    }

    /// The log ends before `end`, which a crash has cut off: of what lay behind it nothing is known any more.
    pub fn set_back(&mut self, end: Sequence) {
        self.read = self.read.min(end);
        let gone: Vec<_> = self.open.range(end..).map(|(sequence, _)| *sequence).collect();
        gone.into_iter().for_each(|sequence| self.close(sequence));
    }

    /// Retention has removed this many positions before they were read.
    pub fn removed(&mut self, positions: u64) {
        self.counts.removed += positions;
    }
}
