//! Whose turn it is: how the messages of a key follow one another, who there is to have them, what is set aside for the one who
//! has the key, and what follows when one of them comes back. Never hands anything out.

use std::sync::Arc;

use super::{Ended, Entry, Ledger, Standing, keys::Turn};
use crate::model::{DeliveryOrder, Sequence};

impl Ledger {
    /// These consumers are there to be handed something. Of one that is no longer among them the keys move to others, as
    /// soon as he has nothing of them.
    pub fn gather(&mut self, consumers: Vec<u32>) {
        self.keys.gather(consumers);
    }

    /// What was set aside for a consumer is not leased to him: it may be handed out, to whoever is to have it then. Of
    /// several the last is to be told first.
    pub fn put_back(&mut self, sequence: Sequence) {
        if self.open.get(&sequence).is_some_and(|entry| entry.standing == Standing::Ready) {
            self.follow_again(sequence);
            self.wanted.insert(sequence);
        }
    }

    /// What was set aside for a consumer has to wait until he can be handed it: see [`Ledger::recall`].
    pub fn park(&mut self, sequence: Sequence) {
        self.follow_again(sequence);
        if let Some(entry) = self.open.get_mut(&sequence) {
            entry.standing = Standing::Blocked;
        }
    }

    /// What was parked may be handed out.
    pub fn recall(&mut self, sequence: Sequence) {
        if let Some(entry) = self.open.get_mut(&sequence)
            && entry.standing == Standing::Blocked
        {
            entry.standing = Standing::Ready;
            self.wanted.insert(sequence);
        }
    }

    /// Leases that ended since this was asked last, beside those that were told, as what came before them in their key has
    /// come back.
    pub fn revoked(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.revoked)
    }

    /// Makes a message open if it is new, and answers whether it may be leased now.
    pub(super) fn admit(&mut self, sequence: Sequence, key: &[u8], consumer: u32) -> Turn {
        if sequence >= self.read && !self.open.contains_key(&sequence) {
            self.read = sequence.next();
            self.open.insert(sequence, Entry::ready());
        }
        let Some(entry) = self.open.get_mut(&sequence) else { return Turn::Later };
        let by_key = self.rules.order == DeliveryOrder::Key;
        if by_key && !key.is_empty() && entry.key.is_none() {
            entry.key = self.keys.enter(key, sequence);
        }
        let (standing, key) = (entry.standing, entry.key.clone().filter(|_| by_key));
        let may_come = match standing {
            Standing::Ready => true,
            Standing::BackingOff { .. } => self.early,
            _ => false,
        };
        let turn = match (may_come, &key) {
            (false, _) => Turn::Later,
            (true, None) => Turn::Now,
            (true, Some(key)) => self.keys.claim(key, sequence, consumer, self.rules.per_key as usize),
        };
        self.wanted.remove(&sequence);
        match (turn, standing) {
            (Turn::Taken, _) => {}
            (Turn::Later, Standing::Ready) => entry.standing = Standing::Blocked,
            (Turn::Later, _) => {}
            (_, Standing::BackingOff { until }) => {
                self.backoffs.remove(&(until, sequence));
                entry.standing = Standing::Ready;
            }
            _ => {}
        }
        if let Some(key) = key.filter(|_| matches!(turn, Turn::Now | Turn::Of(_))) {
            self.call(&key);
        }
        turn
    }

    /// A message is not done, or not yet: those that are out behind it in its key follow it once more.
    pub(super) fn follow_again(&mut self, sequence: Sequence) {
        let key = self.open.get(&sequence).and_then(|entry| entry.key.as_ref());
        let Some(line) = key.and_then(|key| self.keys.line(&key.clone())) else { return };
        let Some(at) = line.place(sequence).filter(|at| *at < line.claimed) else { return };
        for behind in line.open.range(at + 1..line.claimed) {
            let Some(entry) = self.open.get_mut(behind) else { continue };
            match entry.standing {
                Standing::Leased { consumer, bytes, .. } => {
                    entry.standing = Standing::Blocked;
                    self.outstanding -= 1;
                    self.revoked.push(Ended { consumer, bytes });
                }
                Standing::Ready => entry.standing = Standing::Blocked,
                _ => {}
            }
        }
        line.claimed = at;
        line.out = line.out.min(at);
        line.called = line.called.min(at);
    }

    /// Has the next of a key come, as many as may be out. Not for each that leaves, but for half of them together, as they
    /// are read from the log once more.
    pub(super) fn call(&mut self, key: &Arc<[u8]>) {
        let most = self.rules.per_key as usize;
        let Some(line) = self.keys.line(key).filter(|line| line.claimed <= most / 2) else { return };
        while line.called < most.min(line.open.len()) {
            let next = line.open[line.called];
            let Some(entry) = self.open.get_mut(&next) else { return };
            match entry.standing {
                Standing::Blocked => {
                    entry.standing = Standing::Ready;
                    self.wanted.insert(next);
                }
                Standing::BackingOff { .. } if self.early => drop(self.wanted.insert(next)),
                // Those behind it wait for it.
                Standing::BackingOff { .. } => return,
                _ => {}
            }
            line.called += 1;
        }
    }
}
