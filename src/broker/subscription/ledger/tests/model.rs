//! A ledger that remembers everything and looks at all of it each time.

use super::*;

/// A message as the model knows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) key: Vec<u8>,
    pub(super) attempts: u32,
    pub(super) state: State,
    pub(super) lease: u32,
    pub(super) gone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    Unread,
    Ready,
    Leased(u32, Instant),
    Waits(Instant),
    Dying,
    Settled,
}

pub(super) struct Model {
    pub(super) rules: Rules,
    // What waits for its time may be handed out.
    pub(super) early: bool,
    // Of sequences from 1 on.
    pub(super) log: Vec<Known>,
}

impl Model {
    pub(super) fn of(&mut self, sequence: u64) -> &mut Known {
        &mut self.log[sequence as usize - 1]
    }

    pub(super) fn is_open(&self, at: usize) -> bool {
        !matches!(self.log[at].state, State::Unread | State::Settled)
    }

    /// Those of the key of a message, where that matters.
    pub(super) fn alike(&self, at: usize) -> impl Iterator<Item = usize> + Clone {
        let key = &self.log[at].key;
        let is_ordered = self.rules.order == DeliveryOrder::Key && !key.is_empty();
        (0..self.log.len()).filter(move |other| is_ordered && *other != at && self.log[*other].key == *key)
    }

    pub(super) fn is_blocked(&self, at: usize) -> bool {
        self.alike(at).any(|other| other < at && self.is_open(other))
    }

    /// Whether it may be handed to a consumer, beside others of its key.
    pub(super) fn may_have(&self, at: usize, consumer: u32) -> bool {
        let before = self.alike(at).filter(|other| *other < at && self.is_open(*other));
        let is_out =
            |state: State| matches!(state, State::Leased(held, _) if held == consumer) || state == State::Dying;
        let in_turn = before.clone().all(|other| is_out(self.log[other].state));
        let holds = self.alike(at).all(|other| match self.log[other].state {
            State::Leased(held, _) => held == consumer,
            _ => true,
        });
        in_turn && holds && before.count() < self.rules.per_key as usize
    }

    /// What is out behind it in its key is not any more.
    pub(super) fn follow_again(&mut self, sequence: u64) {
        let at = sequence as usize - 1;
        let behind: Vec<_> = self.alike(at).filter(|other| *other > at).collect();
        for other in behind {
            if matches!(self.log[other].state, State::Leased(..)) {
                self.log[other].state = State::Ready;
            }
        }
    }

    /// What must be handed out next: the first that comes again, else the first that is new.
    pub(super) fn next(&mut self) -> Option<u64> {
        for at in 0..self.log.len() {
            let comes = match self.log[at].state {
                State::Ready => true,
                State::Waits(_) => self.early,
                _ => false,
            };
            if comes && !self.is_blocked(at) {
                return Some(at as u64 + 1);
            }
        }
        for at in 0..self.log.len() {
            if self.log[at].state != State::Unread {
                continue;
            }
            if self.log[at].gone {
                self.log[at].state = State::Settled;
                continue;
            }
            self.log[at].state = State::Ready;
            if !self.is_blocked(at) {
                return Some(at as u64 + 1);
            }
        }
        None
    }

    pub(super) fn fail(&mut self, sequence: u64, again: Option<Instant>, now: Instant) {
        let most = self.rules.retry.max_attempts;
        let known = self.of(sequence);
        known.attempts += 1;
        known.state = match again {
            Some(_) if most.is_some_and(|most| known.attempts >= most) => State::Dying,
            Some(at) if at <= now => State::Ready,
            Some(at) => State::Waits(at),
            None => State::Dying,
        };
        if known.state != State::Dying {
            self.follow_again(sequence);
        }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        for sequence in (1..=self.log.len() as u64).rev() {
            match self.of(sequence).state {
                State::Leased(_, deadline) if deadline <= now => {
                    let attempts = self.of(sequence).attempts + 1;
                    let wait = retry::backoff(&self.rules.retry, attempts);
                    self.fail(sequence, Some(now + wait), now);
                }
                State::Waits(until) if until <= now => self.of(sequence).state = State::Ready,
                _ => {}
            }
        }
    }
}
