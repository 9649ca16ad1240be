//! Random operations on an engine and on a list that anybody understands: both must tell the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use proptest::{prelude::*, test_runner::TestRunner};
use tilde::{
    clock::Clock,
    engine::{Filter, Log, Query, Wanted},
    model::{Message, Pattern, PatternSet, Reason, Sequence, Timestamp, limits},
};

use super::begin::Ending;
use super::subject::{Seen, Subject, message, seen, set};

#[derive(Clone, Debug)]
enum Operation {
    Append { messages: Vec<Draft>, atomic: bool },
    Purge(String),
    Wait(u64),
    Read { patterns: Vec<String>, filtered: bool, from: usize, max_messages: usize, max_bytes: usize },
    LookBack { patterns: Vec<String>, filtered: bool, last: Option<usize> },
    AtTime(u64),
}

/// A sequence that no message gets here.
const NEVER: Sequence = Sequence(u64::MAX / 4);

/// What filtered operations take.
const FILTER: Ending = Ending("13579");

/// A message to be: topic, payload, id, whether a sequence is expected and the right one, seconds to live.
#[derive(Clone, Debug)]
struct Draft {
    topic: String,
    payload: u8,
    id: Option<u8>,
    expected: Option<bool>,
    ttl: Option<u64>,
}

/// The list.
#[derive(Default)]
struct Naive {
    kept: Vec<Kept>,
}

#[derive(Clone)]
struct Kept {
    seen: Seen,
    id: Option<u8>,
    expire_time: Option<Timestamp>,
    purged: bool,
}

pub fn what_is_read_is_what_was_taken(make: impl AsyncFn() -> Subject, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let operations = proptest::collection::vec(operation(), 1..40);
    TestRunner::new(config)
        .run(&operations, |operations| {
            runtime.block_on(async {
                let subject = make().await;
                let log = subject.log().await;
                let mut naive = Naive::default();
                for operation in &operations {
                    naive.run(operation, &subject, &*log).await?;
                }
                naive.compare_all(&subject, &*log).await
            })
        })
        .unwrap();
}

fn operation() -> impl Strategy<Value = Operation> {
    let draft = (topic(), any::<u8>(), option(0..4u8), option(any::<bool>()), option(1..200u64));
    let draft = draft.prop_map(|(topic, payload, id, expected, ttl)| Draft { topic, payload, id, expected, ttl });
    let patterns = || proptest::collection::vec(pattern(), 1..4);
    prop_oneof![
        6 => (proptest::collection::vec(draft, 1..8), any::<bool>())
            .prop_map(|(messages, atomic)| Operation::Append { messages, atomic }),
        1 => pattern().prop_map(Operation::Purge),
        1 => (0..150u64).prop_map(Operation::Wait),
        3 => (patterns(), any::<bool>(), 0..60usize, 1..9usize, 1..600usize).prop_map(
            |(patterns, filtered, from, max_messages, max_bytes)| {
                Operation::Read { patterns, filtered, from, max_messages, max_bytes }
            },
        ),
        2 => (patterns(), any::<bool>(), proptest::option::of(1..20usize)).prop_map(|(patterns, filtered, last)| {
            Operation::LookBack { patterns, filtered, last }
        }),
        1 => (0..2000u64).prop_map(Operation::AtTime),
    ]
}

/// Mostly absent.
fn option<T: std::fmt::Debug + Clone>(some: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    proptest::option::weighted(0.2, some)
}

fn topic() -> impl Strategy<Value = String> {
    "\\$?[ab]{1,3}"
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof!["\\$?[ab]{0,3}~", "\\$?[ab]{1,3}"]
}

impl Naive {
    async fn run(&mut self, operation: &Operation, subject: &Subject, log: &dyn Log) -> Result<(), TestCaseError> {
        match operation {
            Operation::Append { messages, atomic } => self.append(messages, *atomic, subject, log).await,
            Operation::Purge(pattern) => {
                let pattern = Pattern::parse(pattern).unwrap();
                let matching = self.kept.iter_mut().filter(|kept| !kept.purged && pattern.matches(&kept.seen.topic));
                let count = matching.map(|kept| kept.purged = true).count() as u64;
                prop_assert_eq!(log.purge(&pattern, None, false).await.unwrap(), count);
                Ok(())
            }
            Operation::Wait(seconds) => {
                subject.clock.advance(Duration::from_secs(*seconds));
                Ok(())
            }
            Operation::LookBack { patterns, filtered, last } => {
                let filter = filtered.then(|| Arc::new(FILTER) as Arc<dyn Filter>);
                let wanted = last.map_or(Wanted::OfEachTopic(100), Wanted::Last);
                let names: Vec<_> = patterns.iter().map(String::as_str).collect();
                let (found, _) = subject.look_back(log, &names, filter.as_ref(), wanted).await;
                let patterns = set(&names);
                let counting = self.visible(&patterns, subject.clock.now());
                let counting: Vec<_> = counting.filter(|seen| !filtered || FILTER.takes(&seen.payload)).collect();
                let expected: Vec<_> = match last {
                    Some(last) => counting
                        .iter()
                        .nth_back((*last).min(counting.len()).saturating_sub(1))
                        .map(|seen| seen.sequence)
                        .into_iter()
                        .collect(),
                    None => {
                        let newest: BTreeMap<_, _> = counting.iter().map(|seen| (&seen.topic, seen.sequence)).collect();
                        newest.into_values().collect::<BTreeSet<_>>().into_iter().collect()
                    }
                };
                prop_assert_eq!(found, expected);
                Ok(())
            }
            Operation::AtTime(ago) => {
                let time = subject.clock.now().minus(Duration::from_secs(*ago));
                let expected = self.kept.iter().find(|kept| kept.seen.time >= time).map(|kept| kept.seen.sequence);
                let expected = expected.unwrap_or(log.bounds().end.next());
                prop_assert_eq!(log.at_time(time).await.unwrap(), expected);
                Ok(())
            }
            Operation::Read { patterns, filtered, from, max_messages, max_bytes } => {
                let filter = filtered.then(|| Arc::new(FILTER) as Arc<dyn Filter>);
                let patterns: Vec<_> = patterns.iter().map(String::as_str).collect();
                let patterns = set(&patterns);
                let from = self.kept.get(*from).map_or(Sequence::FIRST, |kept| kept.seen.sequence);
                let (max_messages, max_bytes) = (*max_messages, *max_bytes);
                let filter = filter.as_ref();
                let query = Query { from, filter, max_messages, max_bytes, ..subject.query(&patterns) };
                let page = log.read(query).await.unwrap();
                let read = seen(&page);
                prop_assert!(read.len() <= max_messages && (read.len() <= 1 || page.bytes <= max_bytes));
                let expected = self.visible(&patterns, subject.clock.now());
                let expected = expected.filter(|seen| (from..page.next).contains(&seen.sequence));
                let expected = expected.filter(|seen| !filtered || FILTER.takes(&seen.payload));
                prop_assert_eq!(read, expected.cloned().collect::<Vec<_>>());
                Ok(())
            }
        }
    }

    async fn append(
        &mut self,
        drafts: &[Draft],
        atomic: bool,
        subject: &Subject,
        log: &dyn Log,
    ) -> Result<(), TestCaseError> {
        let now = subject.clock.now();
        let mut batch = subject.batch().atomic(atomic);
        let mut staged = self.kept.clone();
        let mut expected = Vec::new();
        for draft in drafts {
            let (message, sequence) = self.message(draft, now);
            batch.push(&message, limits::MESSAGE_BYTES, sequence).unwrap();
            expected.push(decide(&mut staged, draft, &message, sequence, now));
        }
        let refused = expected.iter().position(Result::is_err);
        let answer = log.append(batch).await;
        if let (true, Some(at)) = (atomic, refused) {
            let error = answer.expect_err("one of them is refused");
            prop_assert_eq!(Some(error.reason()), expected[at].err());
            let field = format!("requests[{at}]");
            prop_assert!(error.violated_field().unwrap().starts_with(&field));
            return Ok(());
        }
        let outcomes = answer.expect("not atomic, or nothing to refuse");
        prop_assert_eq!(outcomes.len(), expected.len());
        for (outcome, expected) in outcomes.iter().zip(&expected) {
            match (&outcome, expected) {
                // The list does not know sequences; the engine tells them here, and they must hold from now on.
                (Ok(appended), &Ok((at, duplicate))) => {
                    prop_assert_eq!(appended.duplicate, duplicate);
                    match duplicate {
                        true => prop_assert_eq!(appended.sequence, staged[at].seen.sequence),
                        false => {
                            staged[at].seen.sequence = appended.sequence;
                            staged[at].seen.time = appended.publish_time;
                        }
                    }
                }
                (Err(error), &Err(reason)) => prop_assert_eq!(error.reason(), reason),
                _ => prop_assert!(false, "{outcome:?}, expected {expected:?}"),
            }
        }
        prop_assert!(staged.windows(2).all(|pair| pair[0].seen.sequence < pair[1].seen.sequence));
        self.kept = staged;
        Ok(())
    }

    fn message(&self, draft: &Draft, now: Timestamp) -> (Message<'_>, Option<Sequence>) {
        let mut message = message(&draft.topic, &draft.payload.to_string());
        message.message_id = draft.id.map(|id| id.to_string()).unwrap_or_default().into();
        message.expire_time = draft.ttl.map(|seconds| now.plus(Duration::from_secs(seconds)));
        let last = last_of(&self.kept, &draft.topic);
        let sequence = draft.expected.map(|right| if right { last } else { NEVER });
        (message, sequence)
    }

    fn visible<'a>(&'a self, patterns: &'a PatternSet, now: Timestamp) -> impl Iterator<Item = &'a Seen> {
        let alive = move |kept: &&Kept| !kept.purged && kept.expire_time.is_none_or(|time| time > now);
        self.kept.iter().filter(alive).map(|kept| &kept.seen).filter(|seen| patterns.matches(&seen.topic))
    }

    async fn compare_all(&self, subject: &Subject, log: &dyn Log) -> Result<(), TestCaseError> {
        for patterns in [&["~", "$~"][..], &["~"], &["a~"], &["$a~", "b"]] {
            let expected: Vec<_> = self.visible(&set(patterns), subject.clock.now()).cloned().collect();
            prop_assert_eq!(subject.read_all(log, patterns).await, expected);
        }
        Ok(())
    }
}

/// What must become of a message: its place in the list and whether it was there before, or the reason why not.
fn decide(
    kept: &mut Vec<Kept>,
    draft: &Draft,
    message: &Message,
    expected: Option<Sequence>,
    now: Timestamp,
) -> Result<(usize, bool), Reason> {
    let payload = message.payload.bytes().to_vec();
    let recent = |known: &Kept| now.since(known.seen.time) <= Duration::from_secs(120);
    let same = |known: &Kept| known.id.is_some() && known.id == draft.id && known.seen.topic == draft.topic;
    if let Some(at) = kept.iter().rposition(|known| same(known) && recent(known)) {
        return if kept[at].seen.payload == payload { Ok((at, true)) } else { Err(Reason::MessageIdReused) };
    }
    if expected.is_some_and(|expected| expected != last_of(kept, &draft.topic)) {
        return Err(Reason::SequenceConflict);
    }
    // Greater than all, until the engine tells what it is.
    let sequence = Sequence(u64::MAX / 2 + kept.len() as u64);
    let seen = Seen { sequence, time: now, topic: draft.topic.clone(), payload };
    kept.push(Kept { seen, id: draft.id, expire_time: message.expire_time, purged: false });
    Ok((kept.len() - 1, false))
}

fn last_of(kept: &[Kept], topic: &str) -> Sequence {
    let last = kept.iter().rev().find(|kept| !kept.purged && kept.seen.topic == topic);
    last.map_or(Sequence::ZERO, |kept| kept.seen.sequence)
}
