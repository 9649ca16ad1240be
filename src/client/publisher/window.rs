//! What a publisher has in flight: which message has which number, what goes into the next frame, and what an answer
//! means for whom. Pure: never reads a clock, never waits, never touches a connection.
//!
//! Messages stand at *positions*, counted from 0 for as long as the publisher lives. Their *numbers* are the broker's
//! business: usually they run along, and after a break they may have to begin anew at another one. On each stream the
//! broker counts *requests*, also those that are sent again: a [`Leg`] says which requests were which positions.

use std::collections::VecDeque;

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::{Message as _, encoding};
use tokio::time::Instant;
use tonic::Code;

use super::Published;
use crate::{
    client::{Fate, Fault},
    model::limits,
    pb::v1::{PublishRequest, PublishedRun},
};

/// Bytes of one frame, unless one message alone has more. Far below what the contract allows, so that answers come
/// soon and nothing large is copied at once.
const FRAME_BYTES: usize = 256 << 10;
/// How many may be in flight after the broker could not take one: as much is sent again if it cannot take the next.
const FIRST_FLIGHT: u64 = 32;
/// What `requests` of a frame begins with: field 1, with a length.
const REQUEST_TAG: u8 = 0x0a;
/// Bytes that are allocated at once for messages to come.
const BUFFER_BYTES: usize = 16 << 10;

/// Messages that wait to be sent, or to be answered. `W` is whoever waits for one.
#[derive(Debug)]
pub(super) struct Window<W> {
    /// From `base` on; the first is not answered.
    entries: VecDeque<Entry<W>>,
    base: u64,
    /// Encoded messages, in order, without a hole: those that are sealed, and the one that takes more.
    chunks: VecDeque<Chunk>,
    open: BytesMut,
    open_first: u64,
    /// The next to go out on this stream, and beyond all that ever went out on any.
    next: u64,
    reached: u64,
    /// Number minus position, wrapping.
    shift: u64,
    /// The next frame begins a leg.
    begins: bool,
    /// The number that the broker takes the next request for, if none is told: 0 if one has to be.
    follows: u64,
    /// The lowest number that the broker cannot have seen when the next frame arrives.
    unseen: u64,
    /// Nothing goes out before then.
    hold: Option<Instant>,
    /// The refusal because of which those from `next` on wait.
    refusal: Option<Fault>,
    /// How many may be in flight.
    flight: u64,
    /// Requests sent on this stream, and which positions they were.
    requests: u64,
    legs: VecDeque<Leg>,
    /// The broker has told a number once, and has known something of this producer.
    begun: bool,
    remembered: bool,
}

#[derive(Debug)]
struct Entry<W> {
    /// None once it is answered.
    waiter: Option<W>,
    since: Instant,
    /// Of the encoded request, with its tag and length.
    bytes: u32,
    /// Of the room that all share.
    cost: u32,
}

#[derive(Debug)]
struct Chunk {
    first: u64,
    count: u64,
    bytes: Bytes,
}

/// Requests that were sent one after the other, with numbers that follow each other.
#[derive(Debug)]
struct Leg {
    first_request: u64,
    first_position: u64,
    first_number: u64,
    sent: u64,
    answered: u64,
}

/// What goes out next.
#[derive(Debug, PartialEq)]
pub(super) struct Frame {
    /// The number of the first, if it does not just follow.
    pub(super) first_number: Option<u64>,
    /// The requests as they lie in a `PublishStreamRequest`.
    pub(super) requests: Bytes,
}

/// What becomes of a message. Faults are rare, and large.
pub(super) type Answer = Result<Published, Box<Fault>>;

/// Who has an answer now, and how much room became free.
#[derive(Debug)]
pub(super) struct Settled<W> {
    pub(super) answers: Vec<(W, Answer)>,
    pub(super) room: usize,
}

impl Leg {
    /// Where a request stood, and how many of the `count` from it on are of this leg.
    fn piece(&self, request: u64, count: u64) -> (u64, u64) {
        let offset = request - self.first_request;
        (self.first_position + offset, count.min(self.sent - offset))
    }
}

impl<W> Default for Settled<W> {
    fn default() -> Self {
        Settled { answers: Vec::new(), room: 0 }
    }
}

/// The broker counts further than this publisher ever did: somebody else uses its name.
#[derive(Debug, PartialEq)]
pub(super) struct Overtaken;

impl<W> Window<W> {
    pub(super) fn new() -> Self {
        Window {
            entries: VecDeque::new(),
            base: 0,
            chunks: VecDeque::new(),
            open: BytesMut::new(),
            open_first: 0,
            next: 0,
            reached: 0,
            shift: 0,
            begins: false,
            follows: 0,
            unseen: 0,
            hold: None,
            refusal: None,
            flight: u64::MAX,
            requests: 0,
            legs: VecDeque::new(),
            begun: false,
            remembered: false,
        }
    }

    /// Adds a message behind all others. `bytes` is what it takes encoded.
    pub(super) fn push(&mut self, request: &PublishRequest, bytes: usize, cost: u32, waiter: W, now: Instant) {
        let whole = framed(bytes);
        let full = self.end() - self.open_first == limits::BATCH_MESSAGES as u64;
        if full || !self.open.is_empty() && self.open.len() + whole > FRAME_BYTES {
            self.seal();
        }
        if self.open.capacity() - self.open.len() < whole {
            self.open.reserve(whole.max(BUFFER_BYTES));
        }
        self.open.put_u8(REQUEST_TAG);
        encoding::encode_varint(bytes as u64, &mut self.open);
        request.encode_raw(&mut self.open);
        self.entries.push_back(Entry { waiter: Some(waiter), since: now, bytes: whole as u32, cost });
    }

    /// A stream begins: nothing of what is unanswered is in flight. `number` is the next that the broker has not seen.
    pub(super) fn begin(&mut self, number: u64, settled: &mut Settled<W>) -> Result<(), Overtaken> {
        self.lost();
        if self.begun && number > self.number(self.reached) {
            return Err(Overtaken);
        }
        if self.begun && number == 1 && self.remembered && self.base < self.reached && self.number(self.base) > 1 {
            self.forgotten(settled);
        }
        if !self.begun {
            self.shift = number.wrapping_sub(self.base);
        }
        self.remembered = number > 1;
        self.begun = true;
        (self.begins, self.follows, self.unseen) = (true, 0, number);
        Ok(())
    }

    /// The stream is gone: nothing is in flight any more.
    pub(super) fn lost(&mut self) {
        self.next = self.base;
        self.begins = false;
        self.refusal = None;
        self.requests = 0;
        self.legs.clear();
    }

    /// What goes out now, if there is anything.
    pub(super) fn frame(&mut self, now: Instant) -> Option<Frame> {
        if self.next == self.end() || self.hold.is_some_and(|until| now < until) {
            return None;
        }
        self.hold = None;
        let allowed = self.flight.saturating_sub(self.next - self.base);
        if allowed == 0 {
            return None;
        }
        if self.next >= self.open_first {
            self.seal();
        }
        let (requests, count) = self.cut(allowed);
        let first_number = if std::mem::take(&mut self.begins) { self.begin_leg() } else { None };
        let leg = self.legs.back_mut().expect("a stream begins with a number");
        leg.sent += count;
        self.requests += count;
        self.next += count;
        self.reached = self.reached.max(self.next);
        self.follows = self.number(self.next);
        self.unseen = self.unseen.max(self.follows);
        Some(Frame { first_number, requests })
    }

    /// Requests are as durable as was asked.
    pub(super) fn published(&mut self, run: &PublishedRun, settled: &mut Settled<W>) {
        let known = run.last_sequence > 0;
        let (mut done, count) = (0, u64::from(run.requests));
        while done < count {
            let request = run.first_request + done;
            let Some(at) = self.leg_index(request) else { break };
            let (position, piece) = self.legs[at].piece(request, count - done);
            for offset in 0..piece {
                let sequence = known.then_some(run.first_sequence + done + offset);
                self.answer(position + offset, Ok(Published { sequence, durability: run.durability() }), settled);
            }
            self.count(at, piece);
            done += piece;
        }
        self.remembered = true;
        self.flight = self.flight.saturating_add(done);
        self.advance(settled);
    }

    /// A request was refused for good. Its number is used up.
    pub(super) fn refused(&mut self, request: u64, fault: Fault, settled: &mut Settled<W>) {
        let Some((position, _)) = self.answered(request) else { return };
        if !self.waits_again(position) {
            self.answer(position, Err(Box::new(fault)), settled);
            self.advance(settled);
        }
    }

    /// A request was refused and may be sent again, and all that follow it have to be. False if that is known already.
    pub(super) fn deferred(&mut self, request: u64, fault: &Fault) -> bool {
        let Some((position, number)) = self.answered(request) else { return false };
        if self.waits_again(position) {
            return false;
        }
        // Whoever stood there may have given up since; its number is still the one that the broker waits for.
        self.next = position.max(self.base);
        (self.begins, self.follows, self.unseen) = (true, 0, number);
        self.refusal = Some(fault.clone());
        self.flight = FIRST_FLIGHT;
        true
    }

    /// Nothing goes out before `until`.
    pub(super) fn hold(&mut self, until: Instant) {
        self.hold = self.hold.max(Some(until));
    }

    /// A request was refused because one before it was. They are sent again together: there is something to do only if
    /// that other one is not known. Answers whether there is.
    pub(super) fn stranded(&mut self, request: u64, fault: &Fault) -> bool {
        let first = self.leg(request).is_some_and(|(position, _)| position == self.base);
        match first {
            true => self.deferred(request, fault),
            false => {
                self.answered(request);
                false
            }
        }
    }

    /// Gives up on what has waited since before `since`. `fault` is why nothing is sent just now.
    pub(super) fn expire(&mut self, since: Instant, fault: Option<&Fault>, settled: &mut Settled<W>) {
        while self.entries.front().is_some_and(|entry| entry.since <= since) {
            let fault = self.fault_at(self.base, fault);
            self.answer(self.base, Err(Box::new(fault)), settled);
            self.advance(settled);
        }
    }

    /// Gives up on everything. What was sent may have been published nevertheless.
    pub(super) fn fail(&mut self, fault: &Fault, settled: &mut Settled<W>) {
        for position in self.base..self.end() {
            let in_doubt = position < self.reached && !self.waits_again(position);
            let fate = if in_doubt { Fate::Unknown } else { fault.fate };
            self.answer(position, Err(Box::new(Fault { fate, ..fault.clone() })), settled);
        }
        self.advance(settled);
    }

    /// Since when the one that waits longest does.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.entries.front().map(|entry| entry.since)
    }

    /// Until when nothing is sent, if something waits for that.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.hold.filter(|_| self.next < self.end())
    }

    /// Beyond the last message; and the first that has no answer.
    pub(super) fn end(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// See [`Window::end`].
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Whether everything went out on this stream.
    pub(super) fn is_sent(&self) -> bool {
        self.next == self.end()
    }

    /// Requests follow from `next` on. Returns their first number, if it has to be told.
    fn begin_leg(&mut self) -> Option<u64> {
        // What the broker has seen keeps its number, and nothing else may have it. Beyond there is no hole: a number that
        // it has not seen is free, whatever was refused under it before a crash.
        let number = self.unseen.min(self.number(self.next));
        self.refusal = None;
        self.shift = number.wrapping_sub(self.next);
        self.legs.push_back(Leg {
            first_request: self.requests,
            first_position: self.next,
            first_number: number,
            sent: 0,
            answered: 0,
        });
        (number != self.follows).then_some(number)
    }

    fn number(&self, position: u64) -> u64 {
        position.wrapping_add(self.shift)
    }

    /// Whether a position that went out will go out again.
    fn waits_again(&self, position: u64) -> bool {
        position >= self.next && self.refusal.is_some()
    }

    /// The broker knows nothing of this producer any more: whether it took what was sent cannot be found out.
    fn forgotten(&mut self, settled: &mut Settled<W>) {
        let message = "the broker no longer knows this publisher: it was away for too long, or lost what it kept";
        let fault = Fault::new(Code::Aborted, message.to_owned());
        for position in self.base..self.reached {
            self.answer(position, Err(Box::new(fault.clone())), settled);
        }
        self.advance(settled);
    }

    fn fault_at(&self, position: u64, why: Option<&Fault>) -> Fault {
        let why = self.refusal.as_ref().or(why);
        match (position < self.reached, why) {
            (true, Some(why)) if self.waits_again(position) => why.clone(),
            (true, _) => Fault::late(),
            (false, why) => Fault { fate: Fate::Unsent, ..why.cloned().unwrap_or_else(Fault::late) },
        }
    }

    /// Which position a request was, and under which number, if it is the newest of that position.
    fn leg(&self, request: u64) -> Option<(u64, u64)> {
        let at = self.leg_index(request)?;
        let (position, _) = self.legs[at].piece(request, 1);
        let again = self.legs.range(at + 1..).any(|later| later.first_position <= position);
        let number = self.legs[at].first_number + (position - self.legs[at].first_position);
        (!again).then_some((position, number))
    }

    fn leg_index(&self, request: u64) -> Option<usize> {
        let at = self.legs.partition_point(|leg| leg.first_request <= request).checked_sub(1)?;
        (request - self.legs[at].first_request < self.legs[at].sent).then_some(at)
    }

    /// The same as [`Window::leg`], and counts the request as answered.
    fn answered(&mut self, request: u64) -> Option<(u64, u64)> {
        let found = self.leg(request);
        if let Some(at) = self.leg_index(request) {
            self.count(at, 1);
        }
        found
    }

    /// Requests of a leg are answered. One of which all are is needed no longer, unless more may follow.
    fn count(&mut self, at: usize, requests: u64) {
        self.legs[at].answered += requests;
        while self.legs.len() > 1 && self.legs[0].answered >= self.legs[0].sent {
            self.legs.pop_front();
        }
    }

    fn answer(&mut self, position: u64, answer: Answer, settled: &mut Settled<W>) {
        let entry = position.checked_sub(self.base).and_then(|at| self.entries.get_mut(at as usize));
        if let Some(waiter) = entry.and_then(|entry| entry.waiter.take()) {
            settled.answers.push((waiter, answer));
        }
    }

    /// Forgets what is answered, from the front on.
    fn advance(&mut self, settled: &mut Settled<W>) {
        while self.entries.front().is_some_and(|entry| entry.waiter.is_none()) {
            let entry = self.entries.pop_front().expect("it was just there");
            settled.room += entry.cost as usize;
            self.base += 1;
        }
        while self.chunks.front().is_some_and(|chunk| chunk.first + chunk.count <= self.base) {
            self.chunks.pop_front();
        }
        if self.open_first < self.base && self.base == self.end() {
            self.open.clear();
            self.open_first = self.base;
        }
        self.reached = self.reached.max(self.base);
        if self.next < self.base {
            // Those that gave up before they went out leave no hole in the numbers.
            self.begins = true;
            self.next = self.base;
        }
    }

    /// Whatever comes later goes into another frame.
    fn seal(&mut self) {
        let count = self.end() - self.open_first;
        if count > 0 {
            let bytes = self.open.split().freeze();
            self.chunks.push_back(Chunk { first: self.open_first, count, bytes });
            self.open_first += count;
        }
    }

    /// The rest of the chunk from `next` on, or as many of it as are allowed.
    fn cut(&self, allowed: u64) -> (Bytes, u64) {
        let at = self.chunks.partition_point(|chunk| chunk.first + chunk.count <= self.next);
        let chunk = &self.chunks[at];
        let skipped = self.next - chunk.first;
        let count = (chunk.count - skipped).min(allowed);
        if skipped == 0 && count == chunk.count {
            return (chunk.bytes.clone(), count);
        }
        // Those of the chunk that are answered already are gone from the entries: counted from its end.
        let bytes = |from: u64, to: u64| -> usize {
            let entries = self.entries.range((from - self.base) as usize..(to - self.base) as usize);
            entries.map(|entry| entry.bytes as usize).sum()
        };
        let begin = chunk.bytes.len() - bytes(self.next, chunk.first + chunk.count);
        let end = begin + bytes(self.next, self.next + count);
        (chunk.bytes.slice(begin..end), count)
    }
}

/// Bytes of a request in a frame: with its tag and length.
fn framed(bytes: usize) -> usize {
    1 + encoding::encoded_len_varint(bytes as u64) + bytes
}

#[cfg(test)]
mod tests;
