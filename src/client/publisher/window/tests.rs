//! The window against a naive broker, over a connection that breaks wherever it likes.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::pb::v1::{Durability, PublishError, PublishStreamRequest, publish_request::Payload};

const TICK: Duration = Duration::from_millis(10);
const COST: u32 = 3;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Messages come in.
    Push(u8),
    /// A frame goes out, and one arrives at the broker, which does so with its first request and takes the others.
    Send,
    Arrive(Mood),
    /// The broker's oldest answers come back.
    Answer(u8),
    /// The connection breaks, and another one is made; the broker may have crashed meanwhile, or have forgotten.
    Break,
    Crash,
    Forget,
    /// Time passes; and whoever has waited for so long gives up.
    Tick(u8),
    Expire(u8),
    /// All that waits is given up.
    Fail,
}

#[derive(Clone, Copy, Debug)]
enum Mood {
    Take,
    Defer(u8),
    Refuse(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let mood = prop_oneof![
        6 => Just(Mood::Take),
        2 => (0..6u8).prop_map(Mood::Defer),
        2 => (0..6u8).prop_map(Mood::Refuse),
    ];
    prop_oneof![
        8 => (1..40u8).prop_map(Step::Push),
        12 => Just(Step::Send),
        12 => mood.prop_map(Step::Arrive),
        12 => (1..60u8).prop_map(Step::Answer),
        3 => Just(Step::Break),
        1 => Just(Step::Crash),
        1 => Just(Step::Forget),
        8 => (1..20u8).prop_map(Step::Tick),
        2 => (0..40u8).prop_map(Step::Expire),
        1 => Just(Step::Fail),
    ]
}

/// What the contract says, one request after the other.
#[derive(Default)]
struct Broker {
    log: Vec<u64>,
    /// What became of each number: its sequence, or nothing.
    numbers: BTreeMap<u64, Option<u64>>,
    next: u64,
    // Of the stream.
    number: u64,
    requests: u64,
    blocked: bool,
    answers: VecDeque<Said>,
}

enum Said {
    Run(PublishedRun),
    Failed(u64, &'static str),
}

impl Broker {
    fn arrive(&mut self, frame: Frame, mood: Mood) {
        if let Some(number) = frame.first_number {
            (self.number, self.blocked) = (number, false);
        }
        let requests = PublishStreamRequest::decode(frame.requests).unwrap().requests;
        assert!((1..=limits::BATCH_MESSAGES).contains(&requests.len()));
        for (at, request) in requests.iter().enumerate() {
            let Some(Payload::Text(text)) = &request.payload else { panic!("every message is text") };
            let answer = self.take(text.parse().unwrap(), at as u8, mood);
            self.answers.push_back(answer);
            self.requests += 1;
        }
    }

    fn take(&mut self, message: u64, at: u8, mood: Mood) -> Said {
        if self.blocked {
            return Said::Failed(self.requests, "PRECEDING_FAILED");
        }
        let number = self.number;
        assert!(number <= self.next, "{number} is ahead of {}", self.next);
        let known = self.numbers.get(&number).copied();
        let place = match (known, mood) {
            (Some(place), _) => place,
            (None, Mood::Defer(fails)) if fails == at => {
                self.blocked = true;
                return Said::Failed(self.requests, "RATE_LIMITED");
            }
            (None, Mood::Refuse(fails)) if fails == at => None,
            _ => {
                self.log.push(message);
                Some(self.log.len() as u64)
            }
        };
        self.numbers.insert(number, place);
        self.next = self.next.max(number + 1);
        self.number += 1;
        match place {
            None => Said::Failed(self.requests, "TOPIC_INVALID"),
            Some(sequence) => Said::Run(PublishedRun {
                first_request: self.requests,
                requests: 1,
                first_sequence: sequence,
                last_sequence: sequence,
                duplicate: known.is_some(),
                durability: Durability::Synced.into(),
            }),
        }
    }

    /// The next stream begins. Returns the number that is asked for.
    fn reconnect(&mut self) -> u64 {
        (self.requests, self.blocked) = (0, false);
        self.answers.clear();
        self.number = self.next;
        self.next
    }

    /// Refusals leave no trace on the disk.
    fn crash(&mut self) {
        self.next = self.numbers.iter().rev().find(|(_, place)| place.is_some()).map_or(1, |(number, _)| number + 1);
        self.numbers.split_off(&self.next);
    }
}

struct Run {
    window: Window<u64>,
    broker: Broker,
    flying: VecDeque<Frame>,
    now: Instant,
    pushed: u64,
    answers: BTreeMap<u64, Answer>,
    room: usize,
    /// The broker has said that something was published, since it last forgot.
    thanked: bool,
}

impl Run {
    fn new() -> Self {
        let mut run = Run {
            window: Window::new(),
            broker: Broker { next: 1, ..Broker::default() },
            flying: VecDeque::new(),
            now: Instant::now() + Duration::from_secs(3600),
            pushed: 0,
            answers: BTreeMap::new(),
            room: 0,
            thanked: false,
        };
        run.reconnect();
        run
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push(count) => (0..count).for_each(|_| self.push()),
            Step::Send => self.flying.extend(self.window.frame(self.now)),
            Step::Arrive(mood) => {
                if let Some(frame) = self.flying.pop_front() {
                    self.broker.arrive(frame, mood);
                }
            }
            Step::Answer(count) => self.answer(count),
            Step::Break => self.reconnect(),
            Step::Crash => {
                self.broker.crash();
                self.reconnect();
            }
            // A broker forgets only whom it has not heard of for long: nobody waits that long for the first answer.
            Step::Forget if self.thanked => {
                (self.broker.next, self.thanked) = (1, false);
                self.broker.numbers.clear();
                self.reconnect();
            }
            Step::Forget => {}
            Step::Tick(ticks) => self.now += TICK * u32::from(ticks),
            Step::Expire(ticks) => {
                let since = self.now - TICK * u32::from(ticks);
                self.settle(|window, settled| window.expire(since, None, settled));
            }
            Step::Fail => {
                let fault = Fault { fate: Fate::Unsent, ..Fault::late() };
                self.settle(|window, settled| window.fail(&fault, settled));
            }
        }
    }

    fn push(&mut self) {
        let text = format!("{:0width$}", self.pushed, width = 1 + self.pushed as usize % 50);
        let request = PublishRequest { payload: Some(Payload::Text(text)), ..PublishRequest::default() };
        self.window.push(&request, request.encoded_len(), COST, self.pushed, self.now);
        self.pushed += 1;
    }

    fn reconnect(&mut self) {
        self.flying.clear();
        let number = self.broker.reconnect();
        self.settle(|window, settled| window.begin(number, settled).unwrap());
    }

    fn answer(&mut self, count: u8) {
        for _ in 0..count {
            match self.broker.answers.pop_front() {
                None => return,
                Some(Said::Run(mut run)) => {
                    // What follows without a hole is said at once.
                    while let Some(Said::Run(next)) = self.broker.answers.front()
                        && next.first_sequence == run.last_sequence + 1
                    {
                        (run.requests, run.last_sequence) = (run.requests + 1, next.last_sequence);
                        self.broker.answers.pop_front();
                    }
                    self.thanked = true;
                    self.settle(|window, settled| window.published(&run, settled));
                }
                Some(Said::Failed(request, reason)) => self.failed(request, reason),
            }
        }
    }

    fn failed(&mut self, request: u64, reason: &str) {
        let retry_delay = (reason == "RATE_LIMITED").then_some(prost_types::Duration { seconds: 1, nanos: 0 });
        let fault = Fault::from(PublishError { code: 8, reason: reason.into(), retry_delay, ..Default::default() });
        let until = self.now + 5 * TICK;
        let news = match reason {
            "PRECEDING_FAILED" => self.window.stranded(request, &fault),
            "RATE_LIMITED" => self.window.deferred(request, &fault),
            _ => {
                self.settle(|window, settled| window.refused(request, fault, settled));
                false
            }
        };
        if news {
            self.window.hold(until);
            assert!(self.window.frame(self.now).is_none(), "the broker asked to wait");
        }
    }

    fn settle(&mut self, act: impl FnOnce(&mut Window<u64>, &mut Settled<u64>)) {
        let mut settled = Settled::default();
        act(&mut self.window, &mut settled);
        self.room += settled.room;
        for (message, answer) in settled.answers {
            assert!(self.answers.insert(message, answer).is_none(), "{message} is answered twice");
        }
    }

    /// From here on everything goes well.
    fn finish(mut self) {
        self.reconnect();
        self.now += TICK * 1_000;
        while self.window.base() < self.window.end() {
            let before = self.window.base();
            self.step(Step::Send);
            self.step(Step::Arrive(Mood::Take));
            self.step(Step::Answer(u8::MAX));
            self.now += TICK * 10;
            assert!(self.window.base() > before, "it does not go on: {:?}", self.window);
        }
        assert!(self.broker.log.is_sorted_by(|before, after| before < after), "{:?}", self.broker.log);
        assert_eq!(self.answers.len() as u64, self.pushed);
        assert_eq!(self.room as u64, self.pushed * u64::from(COST));
        for (message, answer) in &self.answers {
            let place = self.broker.log.binary_search(message).ok().map(|at| at as u64 + 1);
            match answer {
                Ok(published) => assert_eq!(published.sequence, place, "{message}"),
                Err(fault) => assert!(place.is_none() || fault.fate == Fate::Unknown, "{message}: {fault:?}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_message_is_published_once_and_in_order_and_its_caller_is_told_the_truth(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        run.finish();
    }
}

#[test]
fn a_frame_holds_no_more_than_a_batch_and_what_one_frame_may_have() {
    let mut window = Window::new();
    window.begin(1, &mut Settled::default()).unwrap();
    let now = Instant::now();
    let mut push = |count: usize, bytes: usize| {
        let request = PublishRequest::text("t", "x".repeat(bytes));
        (0..count).for_each(|_| window.push(&request, request.encoded_len(), 1, (), now));
    };
    push(1_500, 1);
    push(2, FRAME_BYTES - 100);
    push(1, 2 * FRAME_BYTES);
    let mut counts = Vec::new();
    while let Some(frame) = window.frame(now) {
        counts.push(PublishStreamRequest::decode(frame.requests).unwrap().requests.len());
    }
    assert_eq!(counts, [1_000, 500, 1, 1, 1]);
}

#[test]
fn whoever_is_overtaken_is_told() {
    let mut window = Window::new();
    let mut settled = Settled::default();
    window.begin(7, &mut settled).unwrap();
    let request = PublishRequest::text("t", "x");
    window.push(&request, request.encoded_len(), 1, (), Instant::now());
    assert_eq!(window.frame(Instant::now()).unwrap().first_number, Some(7));
    window.begin(8, &mut settled).unwrap();
    assert_eq!(window.begin(9, &mut settled), Err(Overtaken));
}

#[test]
fn what_was_refused_before_it_was_sent_again_is_no_news_and_whoever_waits_is_told_why() {
    let (mut window, mut settled, now) = (Window::new(), Settled::default(), Instant::now());
    window.begin(1, &mut settled).unwrap();
    let request = PublishRequest::text("t", "x");
    (0..4).for_each(|message| window.push(&request, request.encoded_len(), 1, message, now));
    window.frame(now).unwrap();
    let limited = Fault::from(PublishError { code: 8, reason: "RATE_LIMITED".into(), ..Default::default() });
    assert!(window.deferred(1, &limited), "requests 1 to 3 have to be sent again");
    assert!(!window.deferred(2, &limited), "so much is known");
    window.hold(now + TICK);
    assert!(window.frame(now).is_none());
    assert_eq!(window.frame(now + TICK).unwrap().first_number, Some(2));
    assert!(!window.deferred(3, &limited), "it was sent again since");

    assert!(window.deferred(4, &limited), "it comes back once more");
    window.fail(&Fault { fate: Fate::Refused, ..limited.clone() }, &mut settled);
    let fates: Vec<Fate> = settled.answers.iter().map(|(_, answer)| answer.as_ref().unwrap_err().fate).collect();
    assert_eq!(fates, [Fate::Unknown, Fate::Refused, Fate::Refused, Fate::Refused]);
}
