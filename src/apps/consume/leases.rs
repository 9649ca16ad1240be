//! What is held of a subscription: which messages, by which ack_id, and when their leases must be extended. Pure: is told
//! the time.
//!
//! A message is held once, however often it is delivered: one that comes again while its command still runs, as its lease
//! was lost meanwhile, has a new ack_id from then on, and is not run twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

/// All that is held, by sequence.
#[derive(Debug, Default)]
pub struct Leases {
    held: BTreeMap<u64, Lease>,
    /// When to extend which.
    due: BTreeSet<(Instant, u64)>,
}

/// One message. Without an ack_id its lease is lost.
#[derive(Debug)]
struct Lease {
    ack_id: Option<String>,
    extend: Instant,
}

impl Leases {
    /// Takes a delivery that has to be settled within `deadline`. False if the message is held already, by another
    /// ack_id.
    pub fn take(&mut self, sequence: u64, ack_id: String, now: Instant, deadline: Duration) -> bool {
        let extend = now + deadline / 2;
        let before = self.held.insert(sequence, Lease { ack_id: Some(ack_id), extend });
        if let Some(before) = &before {
            self.due.remove(&(before.extend, sequence));
        }
        self.due.insert((extend, sequence));
        before.is_none()
    }

    /// The message is no longer held. Its ack_id, unless the lease is lost.
    pub fn settle(&mut self, sequence: u64) -> Option<String> {
        let lease = self.held.remove(&sequence)?;
        self.due.remove(&(lease.extend, sequence));
        lease.ack_id
    }

    /// No message is held any longer. The ack_ids of those whose leases are not lost.
    pub fn settle_all(&mut self) -> Vec<String> {
        self.due.clear();
        std::mem::take(&mut self.held).into_values().filter_map(|lease| lease.ack_id).collect()
    }

    /// When the next lease must be extended.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Those that must be extended by now, which are then held for `deadline` again.
    pub fn extend(&mut self, now: Instant, deadline: Duration) -> Vec<String> {
        let mut ack_ids = Vec::new();
        while let Some((due, sequence)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, sequence));
            let Some(lease) = self.held.get_mut(&sequence) else { continue };
            let Some(ack_id) = &lease.ack_id else { continue };
            ack_ids.push(ack_id.clone());
            lease.extend = now + deadline / 2;
            self.due.insert((lease.extend, sequence));
        }
        ack_ids
    }

    /// The broker says that this one is over. False if it was not held.
    pub fn lose(&mut self, ack_id: &str) -> bool {
        let Some((sequence, lease)) = self.held.iter_mut().find(|(_, lease)| lease.ack_id.as_deref() == Some(ack_id))
        else {
            return false;
        };
        lease.ack_id = None;
        self.due.remove(&(lease.extend, *sequence));
        true
    }

    /// The stream broke: all are over.
    pub fn lose_all(&mut self) {
        self.due.clear();
        self.held.values_mut().for_each(|lease| lease.ack_id = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    fn held() -> (Leases, Instant) {
        let (mut leases, now) = (Leases::default(), Instant::now());
        assert!(leases.take(1, "a".into(), now, DEADLINE));
        assert!(leases.take(2, "b".into(), now, DEADLINE / 3));
        (leases, now)
    }

    #[test]
    fn they_are_extended_at_half_of_their_time() {
        let (mut leases, now) = held();
        assert_eq!(leases.next_due(), Some(now + DEADLINE / 6));
        assert_eq!(leases.extend(now, DEADLINE), [""; 0]);
        assert_eq!(leases.extend(now + DEADLINE / 6, DEADLINE), ["b"]);
        assert_eq!(leases.next_due(), Some(now + DEADLINE / 2));
        assert_eq!(leases.extend(now + DEADLINE, DEADLINE), ["a", "b"]);
        assert_eq!((leases.settle(1), leases.settle(2)), (Some("a".into()), Some("b".into())));
        assert_eq!(leases.next_due(), None);
        let (mut leases, _) = held();
        assert_eq!(leases.settle_all(), ["a", "b"]);
        assert_eq!((leases.next_due(), leases.settle(1)), (None, None));
    }

    #[test]
    fn what_is_lost_is_not_settled_and_not_extended() {
        let (mut leases, now) = held();
        assert!(leases.lose("a") && !leases.lose("a") && !leases.lose("c"));
        assert_eq!(leases.extend(now + DEADLINE, DEADLINE), ["b"]);
        assert_eq!(leases.settle(1), None);
        leases.lose_all();
        assert_eq!((leases.next_due(), leases.settle(2)), (None, None));
    }

    #[test]
    fn what_comes_again_is_held_by_its_new_name() {
        let (mut leases, now) = held();
        leases.lose_all();
        assert!(!leases.take(1, "c".into(), now, DEADLINE), "it is not new");
        assert_eq!(leases.settle(1), Some("c".into()));
        assert!(leases.take(1, "d".into(), now, DEADLINE), "it is settled, and comes again");
    }
}
