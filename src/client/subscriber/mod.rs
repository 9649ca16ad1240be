//! Following topics from a position on, across broken connections: every message once, in order, or told as a gap.
//!
//! `progress` remembers how far it is; `stream` is one stream of the broker; what is here begins another when one breaks.

mod progress;
mod stream;

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use futures_core::Stream;
use tokio::time::{self, Sleep};

use self::{progress::Progress, stream::Live};
use super::{Backoff, Client, Fault, broken::Broken};
use crate::{
    clock::SystemClock,
    model::limits,
    pb::v1::{
        Gap, LagPolicy, Message, StartPosition, SubscribeRequest, SubscribeResponse,
        start_position::{Position, Preset},
    },
};

/// What is to be followed, before it begins.
#[derive(Clone, Debug)]
#[must_use = "nothing happens before it is started"]
pub struct Subscribe {
    client: Client,
    request: SubscribeRequest,
}

/// Where to begin.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// With what is published from now on.
    New,
    /// With the oldest message that is still kept.
    Earliest,
    /// With the newest message of each topic; then new ones.
    LastPerTopic,
    /// With the last so many; then new ones.
    Last(u32),
    /// With this sequence.
    Sequence(u64),
    /// With what was published then or later.
    Time(SystemTime),
    /// After a cursor, as [`Subscriber::cursor`] told it.
    After(String),
}

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// What was ready together, at least one.
    Messages {
        /// In their order.
        messages: Vec<Message>,
        /// Resumes after these.
        cursor: String,
    },
    /// Messages that will never come.
    Gap(Gap),
    /// All that is committed by now has come.
    CaughtUp,
    /// The stream is broken. It comes back by itself: nothing has to be done.
    Disconnected(Fault),
    /// It has come back, and goes on where it broke.
    Connected,
}

/// A live stream that comes back by itself. Ends when all has come that was asked for, or with a fault that waiting does
/// not mend. Dropping it ends it.
#[derive(Debug)]
pub struct Subscriber {
    client: Client,
    progress: Progress,
    phase: Phase,
    backoff: Backoff,
    /// What has come and was not handed out.
    events: VecDeque<Event>,
    /// After what was handed out, and after what has come.
    cursor: Option<String>,
    next_cursor: Option<String>,
    /// A break was told, and not that it is over.
    broken: bool,
}

enum Phase {
    Opening(Pin<Box<dyn Future<Output = Result<Live, Broken>> + Send>>),
    Live(Box<Live>),
    Waiting(Pin<Box<Sleep>>),
    /// The last word, if it is not handed out yet.
    Over(Option<Fault>),
}

impl Subscribe {
    pub(super) fn new(client: Client, topics: Vec<String>) -> Self {
        let namespace = client.namespace().to_owned();
        Subscribe { client, request: SubscribeRequest { topics, namespace, ..SubscribeRequest::default() } }
    }

    /// Where to begin; with what is new if nobody says otherwise.
    pub fn from(mut self, start: impl Into<Position>) -> Self {
        self.request.start = Some(StartPosition { position: Some(start.into()) });
        self
    }

    /// Only what a filter matches: `attributes.important == "true" && topic.contains("/docs/")`.
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.request.filter = filter.into();
        self
    }

    /// Ends after so many messages, however often the connection breaks meanwhile. Zero is any number.
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.request.max_messages = messages;
        self
    }

    /// Ends when all has come that the broker has when it begins. After a break that is when it comes back.
    pub fn stop_at_end(mut self, stop: bool) -> Self {
        self.request.stop_at_end = stop;
        self
    }

    /// What the broker does with a stream that falls behind; it sends everything from the log if nobody says otherwise.
    /// A stream that asked to be cut does not come back by itself.
    pub fn lag_policy(mut self, policy: LagPolicy) -> Self {
        self.request.lag_policy = policy.into();
        self
    }

    /// Fails where a message is no longer kept, instead of telling of the gap.
    pub fn strict(mut self, strict: bool) -> Self {
        self.request.strict = strict;
        self
    }

    /// Answers calls on these topics: callers know that somebody is there.
    pub(super) fn responder(mut self) -> Self {
        self.request.responder = true;
        self
    }

    /// Whose world; the client's if nobody says otherwise.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.request.namespace = namespace.into();
        self
    }

    /// How often the broker is heard at least: 15 seconds if nobody says otherwise, 1 to 300. Two and a half times as
    /// long without a word, and the connection counts as broken.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        let interval = interval.clamp(limits::HEARTBEAT_MIN, limits::HEARTBEAT_MAX);
        self.request.heartbeat_interval = interval.try_into().ok();
        self
    }

    /// Begins, when it is polled for the first time.
    pub fn start(self) -> Subscriber {
        let Subscribe { client, request } = self;
        let progress = Progress::new(request);
        Subscriber {
            phase: Phase::open(&client, &progress),
            client,
            progress,
            backoff: Client::backoff(),
            events: VecDeque::new(),
            cursor: None,
            next_cursor: None,
            broken: false,
        }
    }
}

impl Subscriber {
    /// The next event; none after the end. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Event, Fault>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Resumes after everything that was handed out: for a program that stores it, and passes it to [`Start::After`] when
    /// it begins again. None before the broker has answered for the first time. It moves with heartbeats too.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    fn take(&mut self, response: SubscribeResponse) {
        self.backoff.reset();
        self.progress.take(&response);
        if std::mem::take(&mut self.broken) {
            self.events.push_back(Event::Connected);
        }
        let SubscribeResponse { messages, cursor, gap, caught_up, .. } = response;
        self.events.extend(gap.map(Event::Gap));
        if !messages.is_empty() {
            self.events.push_back(Event::Messages { messages, cursor: cursor.clone() });
        }
        if caught_up {
            self.events.push_back(Event::CaughtUp);
        }
        if !cursor.is_empty() {
            self.next_cursor = Some(cursor);
        }
    }

    /// A stream is over, by itself or not.
    fn ended(&mut self, end: Result<(), Broken>) {
        self.phase = match end {
            _ if self.progress.is_complete() => Phase::Over(None),
            Ok(()) if self.progress.may_end() => Phase::Over(None),
            Ok(()) => self.wait(Broken::unasked()),
            Err(broken) if comes_back(&broken) => self.wait(broken),
            Err(broken) => Phase::Over(Some(broken.fault)),
        };
    }

    /// Waits before the next stream.
    fn wait(&mut self, broken: Broken) -> Phase {
        let delay = self.backoff.next(&SystemClock, broken.asked);
        if !std::mem::replace(&mut self.broken, true) {
            self.events.push_back(Event::Disconnected(broken.fault));
        }
        Phase::Waiting(Box::pin(time::sleep(delay)))
    }
}

impl Stream for Subscriber {
    type Item = Result<Event, Fault>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(event) = this.events.pop_front() {
                if let Event::Messages { cursor, .. } = &event {
                    this.cursor = Some(cursor.clone());
                }
                return Poll::Ready(Some(Ok(event)));
            }
            this.cursor.clone_from(&this.next_cursor);
            match &mut this.phase {
                Phase::Waiting(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    this.phase = Phase::open(&this.client, &this.progress);
                }
                Phase::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(live) => this.phase = Phase::Live(Box::new(live)),
                    Err(broken) => this.ended(Err(broken)),
                },
                Phase::Live(live) => match ready!(live.poll(cx)) {
                    Ok(Some(response)) => this.take(response),
                    Ok(None) => this.ended(Ok(())),
                    Err(broken) => this.ended(Err(broken)),
                },
                Phase::Over(fault) => return Poll::Ready(fault.take().map(Err)),
            }
        }
    }
}

impl Phase {
    fn open(client: &Client, progress: &Progress) -> Phase {
        Phase::Opening(Box::pin(stream::open(client.clone(), progress.request())))
    }
}

/// Whether another stream may do better.
fn comes_back(broken: &Broken) -> bool {
    // Whoever asked to be cut when it lags is not to be connected again.
    broken.fault.reason.as_deref() != Some("SLOW_CONSUMER") && (broken.planned || broken.fault.is_passing())
}

impl From<Start> for Position {
    fn from(start: Start) -> Position {
        match start {
            Start::New => Position::Preset(Preset::New.into()),
            Start::Earliest => Position::Preset(Preset::Earliest.into()),
            Start::LastPerTopic => Position::Preset(Preset::LastPerTopic.into()),
            Start::Last(messages) => Position::LastMessages(messages),
            Start::Sequence(sequence) => Position::Sequence(sequence),
            Start::Time(time) => Position::Time(time.into()),
            Start::After(cursor) => Position::AfterCursor(cursor),
        }
    }
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Opening(_) => "Opening",
            Phase::Live(_) => "Live",
            Phase::Waiting(_) => "Waiting",
            Phase::Over(_) => "Over",
        })
    }
}
