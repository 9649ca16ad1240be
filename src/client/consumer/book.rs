//! What a consumer holds, and what it has said of it and not heard the answer of. Pure: is told the time, never waits,
//! never touches a connection.
//!
//! A message is held once, however often it is delivered: one that comes again while the application still works on it, as
//! its lease was lost meanwhile, has a new ack_id from then on, and is not handed out twice. The same holds for one that
//! is settled, where that could not be told before its stream broke: what was said of it is said again, of the new ack_id.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque, hash_map::Entry},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    mem,
    time::Duration,
};

use tokio::time::Instant;
use tonic::Code;

use super::outbox::{Outbox, Word};
use crate::{
    client::{Fate, Fault},
    pb::v1::{Attach, Confirmation, ConsumeRequest, Delivery, FlowControl, Message, Verdict},
};

/// What became of a settlement. Faults are rare, and large.
pub(super) type Answer = Result<(), Box<Fault>>;
/// Who has an answer now.
pub(super) type Answers<W> = Vec<(W, Answer)>;

/// All that is held, and all that is said. `W` is whoever waits for an answer.
#[derive(Debug)]
pub(super) struct Book<W> {
    /// By sequence.
    held: HashMap<u64, Held>,
    /// Delivered and not handed out, in their order.
    waiting: VecDeque<Handed>,
    /// How many the application has.
    out: usize,
    /// When to extend which.
    due: BTreeSet<(Instant, u64)>,
    /// How long the leases of what the application has are extended.
    keep: Duration,
    /// What comes back takes with it what lies behind it in its key.
    in_order: bool,
    /// Of which keys something is on its way back, by their hashes: which message. What lies behind it and arrives before the
    /// broker has confirmed that was sent before it heard of it.
    back: HashMap<u64, u64>,
    /// What the broker has not confirmed, by ack_id.
    said: HashMap<String, Said<W>>,
    outbox: Outbox,
}

/// A message, as the application gets it.
#[derive(Debug, PartialEq)]
pub(super) struct Handed {
    pub(super) message: Message,
    pub(super) attempt: u32,
}

#[derive(Debug)]
struct Held {
    ack_id: String,
    /// The hash of its key, if there is one and it matters.
    key: Option<u64>,
    /// It is of a stream that is gone: whether the lease is, is not known.
    is_stale: bool,
    place: Place,
    due: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Waiting,
    /// The application has it, since then.
    Out(Instant),
    /// It is settled for good, and that is not confirmed.
    Settled,
}

/// What was said of a delivery.
#[derive(Debug)]
struct Said<W> {
    sequence: u64,
    /// The hash of its key, if it goes back and that matters.
    key: Option<u64>,
    word: Word,
    waiters: Vec<W>,
    /// It went out on a stream that broke before the answer came.
    in_doubt: bool,
    /// What is to be said next: one word of a delivery is under way at a time, since answers name the delivery alone.
    next: Option<Box<(Word, Vec<W>)>>,
}

impl<W> Book<W> {
    /// An empty one, which extends the leases of what the application has for so long.
    pub(super) fn new(keep: Duration, in_order: bool) -> Self {
        Book {
            held: HashMap::new(),
            waiting: VecDeque::new(),
            out: 0,
            due: BTreeSet::new(),
            keep,
            in_order,
            back: HashMap::new(),
            said: HashMap::new(),
            outbox: Outbox::default(),
        }
    }

    /// Takes a delivery that has to be settled within `deadline`.
    pub(super) fn take(&mut self, delivery: Delivery, now: Instant, deadline: Duration) {
        let Delivery { message: Some(message), ack_id, attempt, .. } = delivery else { return };
        let (sequence, due) = (message.sequence, now + deadline / 2);
        if let Some(held) = self.held.get_mut(&sequence)
            && (held.place != Place::Settled || held.is_stale || self.in_order && self.said.contains_key(&held.ack_id))
        {
            // In order one that is settled comes again if it follows one that went back, and the broker had not heard of that.
            held.is_stale = false;
            let before = mem::replace(&mut held.ack_id, ack_id.clone());
            match held.place {
                Place::Settled => self.say_again(&before, ack_id),
                Place::Waiting | Place::Out(_) => self.renew(sequence, Some(due)),
            }
            return;
        }
        let key = self.key(&message);
        if key.and_then(|key| self.back.get(&key)).is_some_and(|back| *back < sequence) {
            return self.say_of(key, ack_id, sequence, Word::bare(Verdict::Release), None);
        }
        self.held.insert(sequence, Held { ack_id, key, is_stale: false, place: Place::Waiting, due: None });
        self.renew(sequence, Some(due));
        self.waiting.push_back(Handed { message, attempt });
    }

    /// The next message for the application.
    pub(super) fn hand_out(&mut self, now: Instant) -> Option<Handed> {
        let handed = self.waiting.pop_front()?;
        let sequence = handed.message.sequence;
        if let Some(held) = self.held.get_mut(&sequence) {
            held.place = Place::Out(now);
            self.out += 1;
        }
        if self.keep.is_zero() {
            self.renew(sequence, None);
        }
        Some(handed)
    }

    /// The application says what became of a message that it has.
    pub(super) fn settle(&mut self, sequence: u64, word: Word, waiter: Option<W>) {
        let Some(held) = self.held.get_mut(&sequence) else { return };
        let (ack_id, key) = (held.ack_id.clone(), held.key);
        self.out -= usize::from(matches!(held.place, Place::Out(_)));
        held.place = Place::Settled;
        self.renew(sequence, None);
        if !word.is_last() {
            self.held.remove(&sequence);
        }
        let goes_back = key.filter(|_| !word.is_last());
        self.say_of(goes_back, ack_id, sequence, word, waiter);
        if let Some(key) = goes_back {
            self.take_along(key, sequence);
        }
    }

    /// What waits here behind a message that goes back, in its key, goes back with it.
    fn take_along(&mut self, key: u64, sequence: u64) {
        let held = &self.held;
        let follows = |behind: u64| behind > sequence && held.get(&behind).is_some_and(|held| held.key == Some(key));
        let (behind, rest): (VecDeque<_>, _) =
            mem::take(&mut self.waiting).into_iter().partition(|handed| follows(handed.message.sequence));
        self.waiting = rest;
        behind.into_iter().for_each(|handed| self.send_back(handed.message.sequence));
    }

    /// What the application does not have goes back.
    fn send_back(&mut self, sequence: u64) {
        self.renew(sequence, None);
        if let Some(Held { ack_id, key, .. }) = self.held.remove(&sequence) {
            self.say_of(key, ack_id, sequence, Word::bare(Verdict::Release), None);
        }
    }

    fn key(&self, message: &Message) -> Option<u64> {
        (self.in_order && !message.ordering_key.is_empty()).then(|| {
            let mut hasher = DefaultHasher::new();
            message.ordering_key.hash(&mut hasher);
            hasher.finish()
        })
    }

    /// The application works on a message for so long from now, or for `deadline`.
    pub(super) fn extend(&mut self, sequence: u64, by: Option<Duration>, waiter: W) {
        let Some(held) = self.held.get(&sequence) else { return };
        let word = Word::new(Verdict::Extend, by, String::new());
        self.say(held.ack_id.clone(), sequence, word, Some(waiter));
    }

    /// Extends the leases that must be extended by now, for `deadline`.
    pub(super) fn extend_due(&mut self, now: Instant, deadline: Duration) {
        while let Some((_, sequence)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            let held = &self.held[&sequence];
            let goes_on = match held.place {
                Place::Waiting => true,
                Place::Out(since) => now - since < self.keep,
                Place::Settled => false,
            };
            let ack_id = held.ack_id.clone();
            self.renew(sequence, goes_on.then_some(now + deadline / 2));
            if goes_on {
                self.say(ack_id, sequence, Word::new(Verdict::Extend, Some(deadline), String::new()), None);
            }
        }
    }

    /// When the next lease must be extended.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Gives back what the application does not have, but for the first few.
    pub(super) fn give_back(&mut self, but: usize) {
        while self.waiting.len() > but
            && let Some(handed) = self.waiting.pop_back()
        {
            self.send_back(handed.message.sequence);
        }
    }

    /// The broker says what became of settlements.
    pub(super) fn confirmed(&mut self, confirmation: Confirmation, answers: &mut Answers<W>) {
        let Confirmation { ack_ids, code, reason } = confirmation;
        for ack_id in ack_ids {
            // What was said again is answered by its new name.
            let Some(said) = self.said.remove(&ack_id) else { continue };
            let is_taken = code == i32::from(Code::Ok);
            if let Some(key) = said.key.filter(|key| said.next.is_none() && self.back.get(key) == Some(&said.sequence))
            {
                self.back.remove(&key);
            }
            let answer = if is_taken { Ok(()) } else { Err(Box::new(refusal(code, &reason, said.in_doubt))) };
            answers.extend(said.waiters.into_iter().map(|waiter| (waiter, answer.clone())));
            match self.held.get(&said.sequence) {
                Some(held) if held.ack_id != ack_id => {}
                Some(Held { place: Place::Settled, .. }) if said.next.is_none() => {
                    self.held.remove(&said.sequence);
                }
                Some(_) if said.word.is_extension() && !is_taken => self.lose(said.sequence),
                _ => {}
            }
            if let Some(next) = said.next {
                let (word, waiters) = *next;
                self.outbox.settle(ack_id.clone(), word.clone());
                let (sequence, key) = (said.sequence, said.key);
                self.said.insert(ack_id, Said { word, waiters, in_doubt: false, next: None, sequence, key });
            }
        }
    }

    /// The stream is gone: what was handed out may still be settled, and all else is forgotten, as it comes again.
    pub(super) fn lose_stream(&mut self) {
        self.due.clear();
        for handed in mem::take(&mut self.waiting) {
            if let Some(held) = self.held.remove(&handed.message.sequence) {
                self.said.remove(&held.ack_id);
            }
        }
        for held in self.held.values_mut() {
            (held.is_stale, held.due) = (true, None);
        }
        self.doubt();
        self.outbox = Outbox::default();
        for (ack_id, said) in &self.said {
            self.outbox.settle(ack_id.clone(), said.word.clone());
        }
    }

    /// It is over: nothing is said any more. What went out may have been heard nevertheless.
    pub(super) fn fail(&mut self, fault: &Fault, answers: &mut Answers<W>) {
        self.doubt();
        for (_, said) in self.said.drain() {
            let fate = if said.in_doubt { Fate::Unknown } else { fault.fate };
            let answer: Answer = Err(Box::new(Fault { fate, ..fault.clone() }));
            let waiters = said.waiters.into_iter().chain(said.next.into_iter().flat_map(|next| next.1));
            answers.extend(waiters.map(|waiter| (waiter, answer.clone())));
        }
        let keep = self.keep;
        *self = Book { out: self.out, held: mem::take(&mut self.held), ..Book::new(keep, self.in_order) };
    }

    /// So much may be outstanding from now on.
    pub(super) fn flow(&mut self, flow: FlowControl) {
        self.outbox.flow(flow);
    }

    /// Nothing more is to be delivered.
    pub(super) fn detach(&mut self) {
        self.give_back(0);
        self.outbox.detach();
    }

    /// The next request, if there is anything to be said.
    pub(super) fn request(&mut self) -> Option<ConsumeRequest> {
        (!self.outbox.is_empty()).then(|| self.outbox.request())
    }

    /// The first request of a stream. What was settled is not to be delivered again: all of that is said before anything
    /// is delivered.
    pub(super) fn opening(&mut self, mut attach: Attach) -> ConsumeRequest {
        let request = self.outbox.request();
        if !self.outbox.is_empty()
            && let Some(flow) = attach.flow_control.replace(NOTHING)
        {
            self.outbox.flow(flow);
        }
        ConsumeRequest { attach: Some(attach), ..request }
    }

    /// Whether there is anything to be said.
    pub(super) fn has_words(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// How many wait for the application; how many it has; and of how many settlements nothing was heard.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// See [`Book::waiting`].
    pub(super) fn out(&self) -> usize {
        self.out
    }

    /// See [`Book::waiting`].
    pub(super) fn unconfirmed(&self) -> usize {
        self.said.len()
    }

    /// Says something of a delivery, now or when the answer to what was said before has come.
    fn say(&mut self, ack_id: String, sequence: u64, word: Word, waiter: Option<W>) {
        self.say_of(None, ack_id, sequence, word, waiter);
    }

    /// The same of one that goes back, if the order of its key matters.
    fn say_of(&mut self, key: Option<u64>, ack_id: String, sequence: u64, word: Word, waiter: Option<W>) {
        if let Some(key) = key {
            let first = self.back.entry(key).or_insert(sequence);
            *first = sequence.min(*first);
        }
        match self.said.entry(ack_id) {
            Entry::Vacant(vacant) => {
                self.outbox.settle(vacant.key().clone(), word.clone());
                let waiters = waiter.into_iter().collect();
                vacant.insert(Said { sequence, key, word, waiters, in_doubt: false, next: None });
            }
            Entry::Occupied(mut occupied) => {
                // Who waits for an extension that something else overtakes hears what became of that.
                occupied.get_mut().key = key;
                let next = occupied.get_mut().next.get_or_insert_with(|| Box::new((word.clone(), Vec::new())));
                next.0 = word;
                next.1.extend(waiter);
            }
        }
    }

    /// The same is said of the message by its new name.
    fn say_again(&mut self, before: &str, ack_id: String) {
        let Some(mut said) = self.said.remove(before) else { return };
        if let Some(next) = said.next.take() {
            said.word = next.0;
            said.waiters.extend(next.1);
        }
        self.outbox.settle(ack_id.clone(), said.word.clone());
        self.said.insert(ack_id, said);
    }

    /// A lease must be extended then, or need not be.
    fn renew(&mut self, sequence: u64, due: Option<Instant>) {
        let Some(held) = self.held.get_mut(&sequence) else { return };
        if let Some(before) = mem::replace(&mut held.due, due) {
            self.due.remove(&(before, sequence));
        }
        self.due.extend(due.map(|due| (due, sequence)));
    }

    /// A lease is over. The application may still say that the work is done.
    fn lose(&mut self, sequence: u64) {
        self.renew(sequence, None);
        if self.held.get(&sequence).is_some_and(|held| held.place == Place::Waiting) {
            self.held.remove(&sequence);
            self.waiting.retain(|handed| handed.message.sequence != sequence);
        }
    }

    /// What went out may have been heard, or not.
    fn doubt(&mut self) {
        let unsent: HashSet<&str> = self.outbox.ack_ids().collect();
        for (ack_id, said) in &mut self.said {
            said.in_doubt |= !unsent.contains(ack_id.as_str());
        }
    }
}

/// Nothing is to be delivered.
const NOTHING: FlowControl = FlowControl { max_outstanding_messages: Some(0), max_outstanding_bytes: None };

/// Why a settlement was not taken.
fn refusal(code: i32, reason: &str, in_doubt: bool) -> Fault {
    let message = match reason {
        "LEASE_EXPIRED" => "the settlement came too late: the message comes, or came, again",
        "ALREADY_SETTLED" if in_doubt => "the message is settled already, by this settlement or another one",
        "ALREADY_SETTLED" => "the message was settled before",
        _ => "the broker did not take the settlement",
    };
    let fate = if in_doubt { Fate::Unknown } else { Fate::Refused };
    Fault { reason: Some(reason.to_owned()), fate, ..Fault::new(Code::from_i32(code), message.to_owned()) }
}

#[cfg(test)]
mod tests;
