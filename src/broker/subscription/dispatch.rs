//! Hands out what lies in the log: reads it, and leases it to whoever has room. What was read and not handed out belongs
//! to nobody yet. Never waits: what is not in memory is read by a task, and whoever is in line is woken then.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    hub::Hub,
    inner::{Found, Inner},
    ledger::{Offer, Span},
    letter,
};
use crate::{
    engine::{Page, Query},
    model::{AckId, DeliveryOrder, Gap, PatternSet, Record, Records, Result, Sequence, Verdict, record::Part},
};

/// Messages handed out at a time, at most; and to one consumer while others wait.
const MESSAGES: usize = 512;
const MESSAGES_OF_MANY: usize = 64;
/// Bytes of messages handed out at a time, unless one message alone has more.
const BYTES: usize = 256 << 10;
/// Messages and bytes that are read at a time.
const READ_MESSAGES: usize = 2_048;
const READ_BYTES: usize = 512 << 10;

/// A message that was handed out.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The encoded record, with tag and length.
    pub record: Bytes,
    /// Which delivery it is; none if it is done with that.
    pub ack_id: Option<AckId>,
    /// From 1 on.
    pub attempt: u32,
    /// Until then it must be settled.
    pub deadline: Instant,
}

/// What became of looking for something to hand out.
enum Look {
    /// There is something.
    Found,
    /// There is nothing; whoever waits will be told.
    Nothing,
}

/// What became of the next of what was found.
enum Leased {
    Delivery(Delivery),
    /// It has to wait for its time.
    Later,
    /// It does not fit into the window.
    NoRoom,
}

impl Hub {
    /// Leases what there is to a consumer, as far as it has room, and at most `most` messages; with `auto` it is settled
    /// with that. Whoever gets nothing is told when there may be something.
    pub(super) fn take(self: &Arc<Self>, inner: &mut Inner, consumer: u32, auto: bool, most: usize) -> Vec<Delivery> {
        let (now, wall) = (Instant::now(), self.shared.clock.now());
        let mut taken = Vec::new();
        let mut bytes = 0;
        inner.line.retain(|waiting| *waiting != consumer);
        let most = most.min(if inner.line.is_empty() { MESSAGES } else { MESSAGES_OF_MANY });
        while taken.len() < most && bytes < BYTES {
            if !inner.serves(consumer, wall) || self.shared.deadline.get().is_some() || !self.shared.works() {
                break;
            }
            let Some(asks) = inner.consumers.get_mut(&consumer) else { break };
            // A settlement makes room, and wakes.
            if asks.window.room() == 0 {
                break;
            }
            let has_own = !asks.own.is_empty();
            if !has_own {
                // What was set aside and did not fit is looked for again.
                asks.parked.drain(..).for_each(|sequence| inner.ledger.recall(sequence));
            }
            if inner.is_full(now) || !has_own && matches!(self.look(inner), Look::Nothing) {
                inner.line.push_back(consumer);
                self.stir_at_next(inner, now);
                break;
            }
            match self.lease_next(inner, consumer, auto, now) {
                Leased::Delivery(delivery) => {
                    bytes += delivery.record.len();
                    taken.push(delivery);
                }
                Leased::Later => {}
                Leased::NoRoom => break,
            }
        }
        if !taken.is_empty() {
            inner.used = now;
            self.stir_at_next(inner, now);
            if auto {
                self.changed(inner);
            }
            if !inner.found.is_empty() || inner.aside > 0 {
                inner.wake_next();
            }
            let metrics = &self.place.metrics;
            metrics.delivered_messages.inc_by(taken.len() as u64);
            metrics.delivered_bytes.inc_by(bytes as u64);
        }
        taken
    }

    /// Leases the next of what was found, if it fits into the window.
    fn lease_next(self: &Arc<Self>, inner: &mut Inner, consumer: u32, auto: bool, now: Instant) -> Leased {
        let by_key = inner.specification.order == DeliveryOrder::Key;
        let Inner { consumers, found, .. } = &mut *inner;
        let Some(asks) = consumers.get_mut(&consumer) else { return Leased::NoRoom };
        let is_own = !asks.own.is_empty();
        let queue = if is_own { &mut asks.own } else { found };
        let Some(next) = queue.front() else { return Leased::Later };
        let bytes = next.record.len() as u32;
        if !asks.window.take(bytes) {
            return Leased::NoRoom;
        }
        let found = queue.pop_front().expect("it was just looked at");
        inner.aside -= usize::from(is_own);
        let key = if by_key { ordering_key(&found.record) } else { &[] };
        let lease = match inner.ledger.lease(found.sequence, key, bytes, consumer, now) {
            Offer::Leased(lease) => lease,
            Offer::For(holder) => {
                inner.give_back(consumer, bytes);
                inner.set_aside(holder, found);
                return Leased::Later;
            }
            // It stays open, and comes when its time has come.
            Offer::Later => {
                inner.give_back(consumer, bytes);
                return Leased::Later;
            }
        };
        inner.rate.take(1);
        if auto {
            let verdict = Verdict::Ack;
            let settled = self.with_moment(now, |moment| {
                inner.ledger.settle(
                    found.sequence,
                    lease.lease,
                    verdict,
                    |_| unreachable!("an ack is no failure"),
                    moment,
                )
            });
            debug_assert!(settled.is_ok(), "it was just leased");
            inner.give_back(consumer, bytes);
        }
        let ack_id = AckId { subscription: self.tag, sequence: found.sequence, lease: lease.lease };
        let ack_id = (!auto).then_some(ack_id);
        Leased::Delivery(Delivery { record: found.record, ack_id, attempt: lease.attempt, deadline: lease.deadline })
    }

    /// Sees to it that there is something to hand out, if there is anything.
    fn look(self: &Arc<Self>, inner: &mut Inner) -> Look {
        loop {
            if !inner.found.is_empty() {
                return Look::Found;
            }
            if inner.is_reading {
                return Look::Nothing;
            }
            inner.catch_up();
            let Some(span) = inner.ledger.span(READ_MESSAGES as u64) else { return Look::Nothing };
            let tail = self.place.log.tail();
            if !span.again && tail.committed() < span.from {
                let Some(edge) = &inner.edge else { return Look::Nothing };
                edge.seat.listen(&std::task::Waker::from(self.clone()));
                edge.seat.park();
                if tail.committed() < span.from {
                    return Look::Nothing;
                }
                edge.seat.unpark();
            }
            match self.read(inner, span) {
                Some(page) => inner.accept(&page, span),
                None => {
                    self.read_log(inner, span);
                    return Look::Nothing;
                }
            }
        }
    }

    /// Reads from memory.
    fn read(&self, inner: &Inner, span: Span) -> Option<Page> {
        // Dead letters lie in another topic, and were asked for by sequence.
        let edge = inner.edge.as_ref().filter(|_| !span.is_letter);
        self.place.log.tail().read(&Query {
            from: span.from,
            through: span.through,
            patterns: &inner.patterns_of(&span),
            guide: edge.map(|edge| &edge.seat as _),
            filter: edge.and_then(|edge| edge.filter.as_ref()).map(|filter| &filter.shared),
            max_messages: READ_MESSAGES,
            max_bytes: READ_BYTES,
            now: self.shared.clock.now(),
        })
    }

    /// Reads from the log, on a task, and wakes whoever is in line then.
    fn read_log(self: &Arc<Self>, inner: &mut Inner, span: Span) {
        inner.is_reading = true;
        let (hub, generation, patterns) = (self.clone(), inner.generation, inner.patterns_of(&span));
        let edge = inner.edge.as_ref().filter(|_| !span.is_letter);
        let filter = edge.and_then(|edge| edge.filter.as_ref()).map(|filter| filter.alone.clone());
        let now = self.shared.clock.now();
        self.place.runtime.spawn(async move {
            let Span { from, through, .. } = span;
            let (patterns, filter) = (&patterns, filter.as_ref());
            let (max_messages, max_bytes) = (READ_MESSAGES, READ_BYTES);
            let query = Query { from, through, patterns, guide: None, filter, max_messages, max_bytes, now };
            let page = hub.place.log.read(query).await;
            hub.was_read(generation, span, page);
        });
    }

    fn was_read(&self, generation: u64, span: Span, page: Result<Page>) {
        let mut inner = self.lock();
        if inner.generation != generation {
            return;
        }
        inner.is_reading = false;
        match page {
            Ok(page) => inner.accept(&page, span),
            Err(error) => {
                tracing::error!(subscription = %inner.specification.name, %error, "the log cannot be read");
                return self.end(&mut inner, error);
            }
        }
        inner.wake_next();
    }
}

impl Inner {
    /// Whether nothing more may be out, whoever has room. Where time mends that, it says when.
    fn is_full(&mut self, now: Instant) -> bool {
        let tries = self.ledger.next_try().filter(|next| now < *next && !self.ledger.is_early());
        let rate = if self.rate.room(now) == 0 { self.rate.next() } else { None };
        self.closed_until = tries.into_iter().chain(rate).max();
        self.closed_until.is_some() || self.ledger.room(now) == 0
    }

    /// While nothing was read, the log may have gone on without anything for this subscription.
    fn catch_up(&mut self) {
        use crate::broker::router::Call;
        if self.found.is_empty() {
            self.ledger.passed(self.behind);
        }
        let Some(edge) = &self.edge else { return };
        let next = match edge.seat.answer() {
            Call::Awake => return,
            Call::Called(first) => first,
            Call::Parked(routed) => routed.next(),
        };
        self.behind = self.behind.max(next);
        self.ledger.passed(next);
    }

    /// What was read is to be handed out.
    fn accept(&mut self, page: &Page, span: Span) {
        for run in &page.runs {
            let wanted = Records::new(run).map_while(Result::ok).filter(|record| self.ledger.wants(record.sequence()));
            let wanted: Vec<_> = wanted.map(|record| (record.sequence(), run.slice_ref(record.framed()))).collect();
            for (sequence, record) in wanted {
                let record = if span.is_letter { letter::restore(&record) } else { record };
                if span.again {
                    self.ledger.found(sequence);
                }
                self.found.push_back(Found { record, sequence, again: span.again });
            }
        }
        let gap = match span.again {
            true => {
                let (next, kept) =
                    (page.next.min(span.through.next()), page.gap.map_or(Sequence::ZERO, |gap| gap.last.next()));
                // Of what was read before, only what was not settled is missed.
                let removed = self.ledger.passed_again(&span, next, kept);
                page.gap.zip(removed).map(|(gap, (first, last))| Gap { first, last, ..gap })
            }
            false => {
                self.behind = self.behind.max(page.next);
                page.gap.inspect(|gap| {
                    // What was read and not handed out is read again, behind the same gap.
                    let (first, end) = (gap.first.max(self.counted), gap.last.next());
                    self.ledger.removed(end.0.saturating_sub(first.0));
                    self.counted = self.counted.max(end);
                })
            }
        };
        if let Some(gap) = gap {
            self.consumers.values_mut().for_each(|consumer| consumer.miss(gap));
        }
        // What has expired, or is gone, was passed.
        self.onlookers.tell();
    }

    /// What topics a span is read of.
    fn patterns_of(&self, span: &Span) -> Arc<PatternSet> {
        match span.is_letter {
            true => letter::patterns(&self.specification),
            false => self.patterns.clone(),
        }
    }

    fn give_back(&mut self, consumer: u32, bytes: u32) {
        if let Some(consumer) = self.consumers.get_mut(&consumer) {
            consumer.window.give_back(bytes);
        }
    }
}

/// A record's ordering key; empty if it has none.
fn ordering_key(record: &[u8]) -> &[u8] {
    let record: Option<Record<'_>> = Records::new(record).next().and_then(Result::ok);
    let key = record.and_then(|record| {
        record.parts().find_map(|part| match part {
            Part::OrderingKey(key) => Some(key),
            _ => None,
        })
    });
    key.unwrap_or_default()
}
