//! What of a subscription changes: its ledger, what was read of the log and not handed out yet, and its consumers. In the
//! hands of one at a time (`locked`). Never reads or writes anything.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::Waker,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    super::{call::responders, filters, router::Registration},
    backlog::Backlog,
    hub::{Pause, resumes},
    ledger::{Ended, Ledger},
    onlookers::Onlookers,
    rate::Rate,
    window::Window,
};
use crate::model::{DeliveryOrder, Error, Gap, PatternSet, Sequence, Subscription, Timestamp};

/// What changes.
pub(super) struct Inner {
    pub specification: Arc<Subscription>,
    pub patterns: Arc<PatternSet>,
    pub ledger: Ledger,
    pub found: VecDeque<Found>,
    /// How much of what was found is set aside for consumers: the sum of theirs, as it is asked for at every delivery.
    pub aside: usize,
    /// Everything before it was read, when all that was found is handed out.
    pub behind: Sequence,
    /// Of what retention has removed, everything before it is counted.
    pub counted: Sequence,
    /// The log is being read.
    pub is_reading: bool,
    /// What was read before it changed counts no more.
    pub generation: u64,
    pub consumers: BTreeMap<u32, Consumer>,
    /// The number of the last one that came.
    pub last_consumer: u32,
    /// Who takes also what backs off, in the order in which they came: as long as there are any, all others make way.
    pub early: Vec<u32>,
    /// Who has room, and found nothing.
    pub line: VecDeque<u32>,
    /// Nothing may be handed out before this time, by the rate or as too much failed.
    pub closed_until: Option<Instant>,
    /// What it needs of the live edge, as long as it has consumers.
    pub edge: Option<Edge>,
    /// Calls on its topics are answered, as long as it has consumers who say so.
    pub answers: Option<responders::Registration>,
    pub pause: Pause,
    /// When it is to be looked whether it goes on by itself.
    pub resumes: Option<Instant>,
    pub rate: Rate,
    /// What waits, if that is bounded, and when it is looked at.
    pub backlog: Option<Backlog>,
    /// See `backlog`.
    pub looks_at: Option<Instant>,
    /// Why nobody can work on it any more.
    pub ended: Option<Error>,
    /// Counts what must be kept.
    pub changes: u64,
    /// So many changes are kept.
    pub kept: u64,
    /// Who waits for that.
    pub savers: Vec<Waker>,
    pub is_tended: bool,
    /// The task that tends it sleeps until then.
    pub sleeps_until: Option<Instant>,
    /// Of the ledger, as the engine's state counts it.
    pub version: u64,
    /// When something was last done with it.
    pub used: Instant,
    /// Who waits for what becomes of a message.
    pub onlookers: Onlookers,
}

/// A record that was read and not handed out yet.
pub(super) struct Found {
    pub record: Bytes,
    pub sequence: Sequence,
    /// It was handed out before.
    pub again: bool,
}

/// Who is told of what comes.
pub(super) struct Edge {
    pub seat: Registration,
    pub filter: Option<filters::Registration>,
}

/// One who works on it.
pub(super) struct Consumer {
    pub name: Arc<str>,
    pub window: Window,
    pub waker: Option<Waker>,
    /// What it has not been told of.
    pub gap: Option<Gap>,
    /// It takes nothing more.
    pub is_detached: bool,
    /// It answers calls.
    pub is_responder: bool,
    /// What was found, and only this one may have; and what of that is looked for again when it has taken the rest.
    pub own: VecDeque<Found>,
    pub parked: Vec<Sequence>,
}

/// Messages that are kept in memory for one consumer alone.
const OWN: usize = 2_048;

impl Inner {
    /// As it is served from now on: nobody works on it yet.
    pub fn new(
        specification: Arc<Subscription>,
        ledger: Ledger,
        version: u64,
        pause: Pause,
        wall: Timestamp,
        now: Instant,
    ) -> Self {
        Inner {
            patterns: Arc::new(specification.pattern_set()),
            rate: Rate::new(specification.max_rate, now),
            behind: ledger.read(),
            counted: Sequence::ZERO,
            specification,
            ledger,
            found: VecDeque::new(),
            aside: 0,
            is_reading: false,
            generation: 0,
            consumers: BTreeMap::new(),
            last_consumer: 0,
            early: Vec::new(),
            line: VecDeque::new(),
            closed_until: None,
            edge: None,
            answers: None,
            pause,
            resumes: resumes(pause, wall, now),
            backlog: None,
            looks_at: None,
            ended: None,
            changes: 0,
            kept: 0,
            savers: Vec::new(),
            is_tended: false,
            sleeps_until: None,
            version,
            used: now,
            onlookers: Onlookers::default(),
        }
    }

    /// Whoever is first in line looks what there is; or all, as long as some have something of their own.
    pub fn wake_next(&mut self) {
        if self.aside > 0 {
            return self.wake_all();
        }
        while let Some(next) = self.line.pop_front() {
            if let Some(waker) = self.consumers.get_mut(&next).and_then(|consumer| consumer.waker.take()) {
                return waker.wake();
            }
        }
    }

    /// Everybody looks.
    pub fn wake_all(&mut self) {
        self.line.clear();
        self.consumers.values_mut().filter_map(|consumer| consumer.waker.take()).for_each(Waker::wake);
    }

    /// What it has not settled, and did not hand out: from here on.
    pub fn position(&self) -> Sequence {
        self.ledger.read()
    }

    /// Whether anything may be handed out to this one now.
    pub fn serves(&self, consumer: u32, wall: Timestamp) -> bool {
        let is_first = || self.consumers.iter().find(|(_, other)| !other.is_detached).map(|(first, _)| *first);
        let is_exclusive = self.specification.order == DeliveryOrder::Exclusive;
        let stands_by = match self.early.first() {
            None => is_exclusive && is_first() != Some(consumer),
            Some(_) if !self.early.contains(&consumer) => true,
            Some(first) => is_exclusive && (*first != consumer || self.others_hold()),
        };
        self.ended.is_none() && !self.is_paused(wall) && !stands_by
    }

    pub fn is_paused(&self, wall: Timestamp) -> bool {
        match self.pause {
            Pause::No => false,
            Pause::Until(until) => wall < until,
            Pause::Forever => true,
        }
    }

    /// What was found and not handed out is looked for again.
    pub fn forget_found(&mut self) {
        self.generation += 1;
        self.is_reading = false;
        for found in self.found.drain(..).filter(|found| found.again) {
            self.ledger.lost(found.sequence);
        }
        for consumer in self.consumers.values_mut() {
            self.aside -= consumer.put_back(&mut self.ledger);
        }
        self.behind = self.ledger.read();
    }

    /// Of what was found this is for one consumer alone.
    pub fn set_aside(&mut self, consumer: u32, found: Found) {
        match self.consumers.get_mut(&consumer) {
            Some(consumer) if consumer.own.len() < OWN => {
                consumer.own.push_back(found);
                self.aside += 1;
                consumer.waker.take().into_iter().for_each(Waker::wake);
            }
            Some(consumer) => {
                self.ledger.park(found.sequence);
                consumer.parked.push(found.sequence);
            }
            // He has just gone.
            None => self.ledger.put_back(found.sequence),
        }
    }

    /// A consumer takes nothing more: what was set aside for him goes to others.
    pub fn part(&mut self, consumer: u32) {
        if let Some(consumer) = self.consumers.get_mut(&consumer) {
            self.aside -= consumer.put_back(&mut self.ledger);
        }
        self.end_revoked();
        self.gather();
    }

    /// Consumers came or went, or others are served now: who has which key is found anew.
    pub fn gather(&mut self) {
        let serves = |(number, consumer): (&u32, &Consumer)| {
            let is_served = self.early.is_empty() || self.early.contains(number);
            (is_served && !consumer.is_detached).then_some(*number)
        };
        self.ledger.gather(self.consumers.iter().filter_map(serves).collect());
    }

    /// Leases ended, as what came before them came back: their consumers have room again.
    pub fn end_revoked(&mut self) {
        for Ended { consumer, bytes } in self.ledger.revoked() {
            self.ended(consumer, bytes);
        }
    }

    /// A lease ended: its consumer has room again.
    pub fn ended(&mut self, consumer: u32, bytes: u32) {
        if let Some(consumer) = self.consumers.get_mut(&consumer)
            && consumer.window.give_back(bytes)
            && let Some(waker) = consumer.waker.take()
        {
            waker.wake();
        }
    }

    pub fn seek(&mut self, to: Sequence) {
        self.forget_found();
        self.ledger.seek(to);
        self.behind = to;
        self.used = Instant::now();
        self.begin_backlog();
        self.consumers.values_mut().for_each(|consumer| consumer.window.clear());
        self.wake_all();
    }
}

impl Consumer {
    /// One who has nothing yet.
    pub fn new(name: Arc<str>, window: Window, is_responder: bool) -> Self {
        let (own, parked) = Default::default();
        Consumer { name, window, waker: None, gap: None, is_detached: false, is_responder, own, parked }
    }

    /// What was set aside for him goes to others. Answers how much that was.
    pub fn put_back(&mut self, ledger: &mut Ledger) -> usize {
        let count = self.own.len();
        self.own.drain(..).rev().for_each(|found| ledger.put_back(found.sequence));
        self.parked.drain(..).for_each(|sequence| ledger.recall(sequence));
        count
    }

    /// Something will never come. What it was not told of yet becomes one with that.
    pub fn miss(&mut self, gap: Gap) {
        self.gap = Some(match self.gap {
            Some(before) => Gap { first: before.first.min(gap.first), last: before.last.max(gap.last), ..gap },
            None => gap,
        });
    }
}

/// Who takes what waits, once, is called so; he leaves before what he has is settled.
pub(super) const PULLER: &str = "pull";

/// What a consumer is called.
pub(super) fn name_of(consumers: &BTreeMap<u32, Consumer>, consumer: u32) -> Arc<str> {
    consumers.get(&consumer).map_or_else(|| PULLER.into(), |consumer| consumer.name.clone())
}
