//! Which messages of each ordering key are open, in order, and whose turn it is: so many of the first are out at the same
//! time, all with one consumer, so that they stay in order. Pure, and knows no more of a message than its place.
//!
//! Where more than one may be out, each key has a home among the consumers, found by rendezvous hashing (Thaler and
//! Ravishankar, 1998): who comes or goes moves no keys but his own. A key moves once nothing of it is out.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use crate::model::Sequence;

/// The open messages of each key, and who there is to have them.
#[derive(Debug, Default)]
pub struct Keys {
    lines: HashMap<Arc<[u8]>, Line>,
    consumers: Vec<u32>,
    /// Counts how often these have changed.
    epoch: u32,
}

/// The open messages of one key.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) open: VecDeque<Sequence>,
    /// The first so many are out: a consumer has them; or they were given up while he did.
    pub(super) out: usize,
    /// The first so many are claimed: they are out, or he is handed them next.
    pub(super) claimed: usize,
    /// The first so many need not be called.
    pub(super) called: usize,
    /// Whose they are.
    holder: u32,
    /// Who is to have the key, and as of which epoch.
    home: Option<(u32, u32)>,
}

/// Whether a message may be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Now, to whoever asks.
    Now,
    /// Now, to this consumer.
    Of(u32),
    /// Not before others of its key.
    Later,
    /// It is another's already, or out: whoever asks has a copy.
    Taken,
}

impl Keys {
    /// These are there to be handed something from now on; what others have they keep.
    pub fn gather(&mut self, consumers: Vec<u32>) {
        if consumers != self.consumers {
            self.consumers = consumers;
            self.epoch = self.epoch.wrapping_add(1);
        }
    }

    /// None is open any more.
    pub fn clear(&mut self) {
        self.lines.clear();
    }

    /// A message of a key becomes open. Answers the key as it is kept; None if it comes so late that others behind it are
    /// out already: then it has no order any more.
    pub fn enter(&mut self, key: &[u8], sequence: Sequence) -> Option<Arc<[u8]>> {
        let key = match self.lines.get_key_value(key) {
            Some((known, _)) => known.clone(),
            None => Arc::from(key),
        };
        let line = self.lines.entry(key.clone()).or_default();
        // Nearly always it is the last.
        let at = line.open.partition_point(|known| *known < sequence);
        if at < line.claimed {
            return None;
        }
        line.open.insert(at, sequence);
        line.called = line.called.min(at);
        Some(key)
    }

    /// Claims a message for whoever is to have it, if it is its turn; at most `most` of a key are claimed then.
    pub fn claim(&mut self, key: &Arc<[u8]>, sequence: Sequence, asks: u32, most: usize) -> Turn {
        let Keys { lines, consumers, epoch } = self;
        let Some(line) = lines.get_mut(key) else { return Turn::Later };
        let Some(at) = line.place(sequence) else { return Turn::Later };
        let mut is_new = false;
        if at == line.claimed && at < most {
            let home = match most {
                1 => asks,
                _ => line.home(key, consumers, *epoch).unwrap_or(asks),
            };
            if line.claimed == 0 {
                line.holder = home;
            }
            is_new = line.holder == home || most == 1;
            line.claimed += usize::from(is_new);
        }
        let is_next = at == line.out && at < line.claimed;
        match is_new {
            _ if is_next && (most == 1 || line.holder == asks) => {
                line.out += 1;
                Turn::Now
            }
            true => Turn::Of(line.holder),
            false if at < line.claimed => Turn::Taken,
            false => {
                line.called = line.called.min(at);
                Turn::Later
            }
        }
    }

    /// A message is no longer open.
    pub fn leave(&mut self, key: &Arc<[u8]>, sequence: Sequence) {
        let Some(line) = self.lines.get_mut(key) else { return };
        if let Some(at) = line.place(sequence) {
            line.open.remove(at);
            line.out -= usize::from(at < line.out);
            line.claimed -= usize::from(at < line.claimed);
            line.called -= usize::from(at < line.called);
        }
        if line.open.is_empty() {
            self.lines.remove(key);
        }
    }

    pub(super) fn line(&mut self, key: &Arc<[u8]>) -> Option<&mut Line> {
        self.lines.get_mut(key)
    }

    pub(super) fn all(&self) -> Vec<Arc<[u8]>> {
        self.lines.keys().cloned().collect()
    }
}

impl Line {
    pub(super) fn place(&self, sequence: Sequence) -> Option<usize> {
        self.open.binary_search(&sequence).ok()
    }

    fn home(&mut self, key: &[u8], consumers: &[u32], epoch: u32) -> Option<u32> {
        if let Some((home, of)) = self.home
            && of == epoch
        {
            return Some(home);
        }
        let home = consumers.iter().copied().max_by_key(|consumer| weight(key, *consumer))?;
        self.home = Some((home, epoch));
        Some(home)
    }
}

fn weight(key: &[u8], consumer: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, consumer).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of one key.
    fn entered(keys: &mut Keys, sequences: impl IntoIterator<Item = u64>) -> Arc<[u8]> {
        sequences.into_iter().filter_map(|sequence| keys.enter(b"a", Sequence(sequence))).last().unwrap()
    }

    #[test]
    fn the_first_of_a_key_goes_and_the_next_follows() {
        let mut keys = Keys::default();
        let a = entered(&mut keys, [1, 3, 5]);
        let b = keys.enter(b"b", Sequence(2)).unwrap();
        assert_eq!(keys.claim(&a, Sequence(3), 7, 1), Turn::Later);
        assert_eq!([keys.claim(&a, Sequence(1), 7, 1), keys.claim(&b, Sequence(2), 8, 1)], [Turn::Now; 2]);
        keys.leave(&a, Sequence(3));
        assert_eq!(keys.claim(&a, Sequence(5), 7, 1), Turn::Later, "one in the middle changes nothing");
        keys.leave(&a, Sequence(1));
        assert_eq!(keys.claim(&a, Sequence(5), 8, 1), Turn::Now);
        keys.leave(&a, Sequence(5));
        assert_eq!(keys.lines.len(), 1, "a key without messages is forgotten");
    }

    #[test]
    fn so_many_of_a_key_go_to_its_home_and_it_moves_when_nothing_is_out() {
        let mut keys = Keys::default();
        keys.gather(vec![1]);
        let a = entered(&mut keys, 1..=5);
        let turns = [1, 2, 3].map(|sequence| keys.claim(&a, Sequence(sequence), 1, 2));
        assert_eq!(turns, [Turn::Now, Turn::Now, Turn::Later]);
        keys.gather(vec![2]);
        keys.leave(&a, Sequence(1));
        assert_eq!(keys.claim(&a, Sequence(3), 2, 2), Turn::Later, "1 still has the one before");
        keys.leave(&a, Sequence(2));
        assert_eq!([3, 4].map(|sequence| keys.claim(&a, Sequence(sequence), 1, 2)), [Turn::Of(2); 2]);
        let turns = [4, 3, 3, 4].map(|sequence| keys.claim(&a, Sequence(sequence), 2, 2));
        assert_eq!(turns, [Turn::Taken, Turn::Now, Turn::Taken, Turn::Now], "they were kept for this one");
        assert_eq!(keys.enter(b"a", Sequence(2)), None, "it is too late for its order");
    }

    #[test]
    fn keys_are_shared_and_only_those_of_who_goes_move() {
        let mut keys = Keys::default();
        let homes = |keys: &mut Keys, consumers: &[u32]| {
            keys.gather(consumers.to_vec());
            let home = |n: u32| {
                let (key, sequence) = (keys.enter(&n.to_le_bytes(), Sequence(1)).unwrap(), Sequence(1));
                let turn = keys.claim(&key, sequence, 0, 9);
                keys.leave(&key, sequence);
                turn
            };
            (0..300).map(home).collect::<Vec<_>>()
        };
        let before = homes(&mut keys, &[1, 2, 3]);
        for consumer in [1, 2, 3] {
            assert!((70..130).contains(&before.iter().filter(|turn| **turn == Turn::Of(consumer)).count()));
        }
        let after = homes(&mut keys, &[1, 3]);
        assert!(before.iter().zip(&after).all(|(before, after)| *before == Turn::Of(2) || before == after));
    }
}
