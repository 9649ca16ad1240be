//! What publishers tried, what they were told, what a subscriber saw, and whether the log agrees with all of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use prost_types::Timestamp;
use tilde::pb::v1::{Durability, Message, PublishRequest, PublishResponse, publish_request::Payload};

use super::client;

/// Every payload begins with its own name, `PUBLISHER/NUMBER`, and each publisher counts upwards.
#[derive(Default)]
pub struct Ledger {
    // Of every payload that was ever sent: its hash.
    tried: HashMap<String, u64>,
    // Of every sequence that was ever told or seen: the hash of its payload.
    owners: BTreeMap<u64, u64>,
    // The log as it was read, and where each payload lies in it.
    stored: BTreeMap<u64, Stored>,
    places: HashMap<String, u64>,
    // The last number of each publisher in the log.
    numbers: HashMap<String, u64>,
    // What is to be checked: answers, sightings, atomic batches, refusals that said that nothing was taken.
    told: Vec<Told>,
    seen: Vec<Stored>,
    sights: HashSet<u64>,
    wholes: Vec<Vec<String>>,
    refused: Vec<String>,
}

/// A message with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    sequence: u64,
    time: (i64, i32),
    key: String,
    hash: u64,
}

#[derive(Debug)]
struct Told {
    stored: Stored,
    durability: Durability,
}

impl Ledger {
    /// Writes down what is about to be sent; `atomic` says that all of it is taken or nothing.
    pub fn try_all(&mut self, requests: &[PublishRequest], atomic: bool) {
        for request in requests {
            let (key, hash) = identify(payload(request));
            let before = self.tried.insert(key, hash);
            assert!(before.is_none_or(|before| before == hash), "the test sends two payloads of one name");
        }
        if atomic {
            self.wholes.push(requests.iter().map(|request| identify(payload(request)).0).collect());
        }
    }

    /// Writes down an answer.
    pub fn tell(&mut self, request: &PublishRequest, answer: &PublishResponse) {
        let (key, hash) = identify(payload(request));
        assert!(answer.durability() >= request.durability(), "{key} was answered with less than was asked for");
        self.own(answer.sequence, hash);
        let stored = Stored { sequence: answer.sequence, time: time(answer.publish_time), key, hash };
        self.told.push(Told { stored, durability: answer.durability() });
    }

    /// Writes down a refusal that says that nothing was taken.
    pub fn refuse(&mut self, request: &PublishRequest) {
        self.refused.push(identify(payload(request)).0);
    }

    /// Writes down what the subscriber received, which it must not have had before.
    pub fn see(&mut self, message: &Message) {
        let stored = read(message);
        self.own(stored.sequence, stored.hash);
        assert!(self.sights.insert(stored.sequence), "received twice: {stored:?}");
        self.seen.push(stored);
    }

    /// Whether the subscriber has received all that there is.
    pub fn check_nothing_missed(&self) {
        let missed: Vec<_> = self.stored.keys().filter(|sequence| !self.sights.contains(sequence)).collect();
        assert!(missed.is_empty(), "never received: {missed:?}");
    }

    fn own(&mut self, sequence: u64, hash: u64) {
        let owner = *self.owners.entry(sequence).or_insert(hash);
        assert_eq!(owner, hash, "sequence {sequence} was used twice");
    }

    /// Where the log went on when it was last checked.
    pub fn end(&self) -> u64 {
        self.stored.last_key_value().map_or(0, |(&sequence, _)| sequence)
    }

    /// Where a payload lies.
    pub fn place(&self, request: &PublishRequest) -> Option<u64> {
        self.places.get(&identify(payload(request)).0).copied()
    }

    /// Holds what the log has behind [`Ledger::end`] against all that was written down since then.
    pub fn check(&mut self, log: &[Message]) {
        for message in log {
            self.check_message(read(message));
        }
        for Told { stored, durability } in self.told.drain(..) {
            let found = self.stored.get(&stored.sequence);
            assert_eq!(found, Some(&stored), "answered as {durability:?}, and not in the log as it was answered");
        }
        for seen in self.seen.drain(..) {
            let found = self.stored.get(&seen.sequence);
            assert_eq!(found, Some(&seen), "a subscriber received it, and it is not in the log");
        }
        for keys in self.wholes.drain(..) {
            let places: Vec<u64> = keys.iter().filter_map(|key| self.places.get(key).copied()).collect();
            assert!(
                places.is_empty() || places.len() == keys.len(),
                "a part of an atomic batch: {keys:?} at {places:?}"
            );
            let together = places.windows(2).all(|pair| pair[0] + 1 == pair[1]);
            assert!(together, "an atomic batch is torn apart: {places:?}");
        }
        for key in self.refused.drain(..) {
            assert!(!self.places.contains_key(&key), "{key} was refused, and is in the log");
        }
    }

    fn check_message(&mut self, stored: Stored) {
        if let Some((_, last)) = self.stored.last_key_value() {
            assert!(stored.sequence > last.sequence, "{stored:?} comes after {last:?}");
            assert!(stored.time >= last.time, "the publish time falls: {stored:?} comes after {last:?}");
        }
        assert_eq!(self.tried.get(&stored.key), Some(&stored.hash), "not what was sent: {stored:?}");
        self.own(stored.sequence, stored.hash);
        let twice = self.places.insert(stored.key.clone(), stored.sequence);
        assert!(twice.is_none(), "it is in the log twice, at {twice:?} and as {stored:?}");
        let (publisher, number) = stored.key.split_once('/').expect("every name has two parts");
        let number: u64 = number.parse().unwrap();
        let before = self.numbers.insert(publisher.to_owned(), number);
        assert!(before.is_none_or(|before| before < number), "not in its publisher's order: {stored:?}");
        self.stored.insert(stored.sequence, stored);
    }

    /// Holds a whole log against what was read of it before, piece by piece.
    pub fn check_whole(&self, log: &[Message]) {
        let log: Vec<Stored> = log.iter().map(read).collect();
        assert!(log.iter().eq(self.stored.values()), "{} are not the {} from before", log.len(), self.stored.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.stored.len()
    }
}

fn read(message: &Message) -> Stored {
    let (key, hash) = identify(client::text(message));
    assert_eq!(key.split('/').next(), Some(&*message.topic), "the topic of {key}");
    Stored { sequence: message.sequence, time: time(message.publish_time), key, hash }
}

fn payload(request: &PublishRequest) -> &str {
    match &request.payload {
        Some(Payload::Text(text)) => text,
        other => panic!("not a text: {other:?}"),
    }
}

/// A payload's name and hash.
fn identify(payload: &str) -> (String, u64) {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    (payload.split(' ').next().unwrap_or_default().to_owned(), hasher.finish())
}

fn time(time: Option<Timestamp>) -> (i64, i32) {
    let time = time.expect("every message has a time");
    (time.seconds, time.nanos)
}
