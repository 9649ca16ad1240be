//! What happened in a world, as its publishers and consumers saw it, in the order in which it happened. Never judges:
//! that is for `check`.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// Since the world began.
pub type At = Duration;

/// What is asked of a subscription.
#[derive(Clone, Debug)]
pub struct Rules {
    pub name: &'static str,
    pub order: Order,
    pub ack_deadline: Duration,
    /// None never gives up.
    pub max_attempts: Option<u32>,
    /// Which messages it asks for.
    pub wants: fn(&Message) -> bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Shared,
    Key,
    Exclusive,
}

/// A message, told from others by its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub text: String,
    pub topic: String,
    pub key: String,
    /// An attribute, to be filtered by.
    pub loud: bool,
}

/// Everything, and by what rules.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub rules: Vec<Rules>,
    pub events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub at: At,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It is sent for the first time.
    Published(Message),
    /// The broker has answered.
    Stored { text: String, sequence: u64 },
    /// A consumer asks for deliveries.
    Attaching(Stream),
    /// It is let in.
    Attached(Stream),
    /// It says that it takes nothing more.
    Detaching(Stream),
    /// A message has come.
    Delivered(Delivery),
    /// A consumer is about to say this.
    Said { ack_id: String, verdict: Verdict },
    /// The broker has answered. What it took it takes back no more.
    Told { ack_id: String, verdict: Verdict, refusal: Option<String> },
    /// The broker may see leases end from now on.
    Broke(Part),
    /// A dead letter was stored at that time.
    Dead { subscription: usize, sequence: u64, at: At },
}

/// One consumer's stream, on one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    pub subscription: usize,
    pub host: usize,
    pub number: u32,
}

/// What may have broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Broker,
    /// What lies between the broker and a host.
    Link(usize),
    Stream(u32),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub ack_id: String,
    pub subscription: usize,
    /// None if it was pulled: such a lease outlives its connection.
    pub stream: Option<Stream>,
    pub message: Message,
    pub sequence: u64,
    pub attempt: u32,
    /// It was handed out at this time or later.
    pub not_before: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ack,
    Nack,
    Release,
    Reject,
    Extend(Duration),
}

impl History {
    /// What happened to the messages of the same key as this one, a line each.
    pub fn of_key_of(&self, text: &str) -> Vec<String> {
        let message = |event: &Event| match &event.what {
            What::Published(message) => Some(message.clone()),
            What::Delivered(delivery) => Some(delivery.message.clone()),
            _ => None,
        };
        let key =
            self.events.iter().filter_map(message).find(|message| message.text == text).map(|message| message.key);
        let mut ids = HashSet::new();
        let is_of_key = |event: &&Event| match &event.what {
            What::Delivered(delivery) if Some(&delivery.message.key) == key.as_ref() => {
                ids.insert(delivery.ack_id.clone());
                true
            }
            What::Said { ack_id, .. } | What::Told { ack_id, .. } => ids.contains(ack_id),
            _ => false,
        };
        self.events.iter().filter(is_of_key).map(ToString::to_string).collect()
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:9.3} {:?}", self.at.as_secs_f64(), self.what)
    }
}

/// Where all of a world write down what they see. Clones are the same book.
#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    events: Vec<Event>,
    streams: u32,
    links: HashMap<usize, Slow>,
}

/// A link that held back what was sent.
#[derive(Clone, Copy)]
struct Slow {
    from: At,
    until: Option<At>,
}

/// The longest that anything takes from the broker to a consumer over a link that holds nothing back.
const TRANSIT: Duration = Duration::from_millis(80);
/// After a link was held, what had gathered may take this long to come through.
const CATCH_UP: Duration = Duration::from_millis(500);

impl Book {
    pub fn write(&self, at: At, what: What) {
        self.pages().events.push(Event { at, what });
    }

    /// Writes down what happens now, on a clock that goes on while others write.
    pub fn write_now(&self, began: Instant, what: What) {
        let mut pages = self.pages();
        pages.events.push(Event { at: began.elapsed(), what });
    }

    /// The number of another stream.
    pub fn stream(&self) -> u32 {
        let mut pages = self.pages();
        pages.streams += 1;
        pages.streams
    }

    /// A link holds back what is sent from now on, or no longer does.
    pub fn hold(&self, host: usize, at: At, is_held: bool) {
        let mut pages = self.pages();
        let slow = pages.links.entry(host).or_insert(Slow { from: at, until: Some(at) });
        match is_held {
            // What gathered before may still be on its way.
            true if slow.until.is_some_and(|until| at <= until + CATCH_UP) => slow.until = None,
            true => *slow = Slow { from: at, until: None },
            false => slow.until = Some(at),
        }
    }

    /// What comes to a host at this time was sent then, or later.
    pub fn not_before(&self, host: usize, at: At) -> At {
        let slow = self.pages().links.get(&host).copied();
        let slow = slow.filter(|slow| slow.until.is_none_or(|until| at <= until + CATCH_UP));
        slow.map_or(at, |slow| slow.from.min(at)).saturating_sub(TRANSIT)
    }

    pub fn close(&self, rules: Vec<Rules>) -> History {
        History { rules, events: std::mem::take(&mut self.pages().events) }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap()
    }
}
