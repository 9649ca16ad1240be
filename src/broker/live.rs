//! A live stream: all that matches, from a position on, with nothing to acknowledge. It is driven by its cursor: when
//! polled it takes what lies between its position and the committed end, from memory or from the log. There is no task,
//! no channel and no copy behind it, and a slow reader holds nothing but its position.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;

use super::{
    Broker,
    beginning::{self, Beginning},
    call::responders,
    filters,
    position::{self, Start},
    pulse::{self, Pulse, Pulsed},
    router::{Call, Registration},
    served::Admission,
    snapshot::Snapshot,
};
use crate::{
    engine::{BoxFuture, Page, Query},
    model::{
        Cursor, Error, Filter, Gap, GapReason, LagPolicy, NamespaceName, PatternSet, Position, Reason, Result,
        Sequence, Timestamp,
    },
};

/// What a subscriber asks for.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// Where.
    pub namespace: NamespaceName,
    /// Which topics.
    pub patterns: PatternSet,
    /// Which of their messages; all if there is none.
    pub filter: Option<Filter>,
    /// From where on.
    pub position: Position,
    /// How long the stream may be silent.
    pub heartbeat_interval: Duration,
    /// End after this many; zero: no end.
    pub max_messages: u64,
    /// End when all that was committed at the start has been sent.
    pub stop_at_end: bool,
    /// What happens if it lags.
    pub lag_policy: LagPolicy,
    /// Refuse a position that is no longer kept instead of reporting a gap.
    pub strict: bool,
    /// Answers calls on these topics.
    pub responder: bool,
}

/// One response of a live stream. `cursor` is in each.
#[derive(Clone, Debug)]
pub struct Event {
    /// Runs of encoded records (each is field 1 of `SubscribeResponse`, tag and length included).
    pub runs: Vec<Bytes>,
    /// Records in all runs.
    pub messages: usize,
    /// Resume after these.
    pub cursor: Cursor,
    /// In the first event.
    pub started: Option<Started>,
    /// Where the stream would otherwise be silent.
    pub heartbeat: Option<Heartbeat>,
    /// What the receiver will never see.
    pub gap: Option<Gap>,
    /// All that is committed by now has been sent.
    pub caught_up: bool,
    /// The stream ends soon: the broker drains. (The only planned end there is so far.)
    pub closing: Option<Closing>,
}

/// The beginning of a stream: what is answered after it is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Random; shown as 16 hexadecimal digits.
    pub stream_id: u64,
    /// In effect.
    pub heartbeat_interval: Duration,
}

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The broker's wall time.
    pub server_time: Timestamp,
    /// End of the log.
    pub last_sequence: Sequence,
}

/// A planned end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The stream ends after this.
    pub grace: Duration,
    /// Come back after this; jittered.
    pub reconnect_delay: Duration,
}

/// The stream itself. Dropping it is all the cleanup there is. Ends with `None` where it was asked to end, with an
/// error (last) where the broker ends it.
pub struct LiveStream {
    admission: Admission,
    seat: Registration,
    // The first position that it has not dealt with, and the last that it has, as in a page.
    next: Sequence,
    after: Sequence,
    // It has dealt with nothing yet, and the log had not come so far when it began.
    waits: bool,
    // The last that it wants.
    stop: Sequence,
    // Messages that it may still send.
    left: u64,
    opening: Option<Box<Event>>,
    filter: Option<Box<filters::Registration>>,
    // What it gets before everything.
    snapshot: Option<Box<Snapshot>>,
    // A page that comes from the log, as memory no longer has it.
    reading: Option<BoxFuture<'static, Result<Page>>>,
    pulse: Pulse,
    lag_policy: LagPolicy,
    strict: bool,
    // It has been at the committed end once: from then on it can lag.
    arrived: bool,
    // It was told that it is at the committed end, and has not fallen behind since.
    told: bool,
    closing: bool,
    // It answers calls.
    _answers: Option<responders::Registration>,
}

impl Broker {
    /// Opens a live stream. Its first event is `started`, at once.
    pub async fn subscribe(&self, subscribe: Subscribe) -> Result<LiveStream> {
        self.refuse_while_draining()?;
        pulse::check_interval(subscribe.heartbeat_interval)?;
        let admission = self.served(&subscribe.namespace)?.admit(&self.shared)?;
        self.open_stream(subscribe, admission).await
    }

    /// The same for a stream that was let in.
    pub(super) async fn open_stream(&self, subscribe: Subscribe, admission: Admission) -> Result<LiveStream> {
        let interval = subscribe.heartbeat_interval;
        let place = &admission.place;
        let bounds = place.log.bounds();
        let patterns = Arc::new(subscribe.patterns);
        let filter = subscribe.filter.map(|filter| Box::new(place.filters.register(filter)));
        let beginning = beginning::Request {
            position: subscribe.position,
            strict: subscribe.strict,
            patterns: &patterns,
            filter: filter.as_ref().map(|filter| filter.alone.clone()),
        };
        let Beginning { start: Start { next, gap }, snapshot } =
            beginning.resolve(place, &bounds, &self.shared).await?;
        let seat = place.router.register(patterns.clone());
        let answers = subscribe.responder.then(|| self.shared.responders.register(&place.name, patterns));
        if answers.is_some() {
            self.shared.responders.told().await;
        }
        let (arrived, after) = (next > bounds.end, bounds.seen(next));
        let waits = after > bounds.end;
        let started = Started { stream_id: self.shared.clock.random(), heartbeat_interval: interval };
        let cursor = Cursor { waits, ..place.cursor(after) };
        let opening = Event { started: Some(started), gap, caught_up: arrived, ..Event::empty(cursor) };
        Ok(LiveStream {
            seat,
            next,
            after,
            waits,
            stop: if subscribe.stop_at_end { bounds.end } else { Sequence::MAX },
            left: if subscribe.max_messages == 0 { u64::MAX } else { subscribe.max_messages },
            opening: Some(Box::new(opening)),
            filter,
            snapshot,
            reading: None,
            pulse: Pulse::new(interval, self.shared.clock.jitter(interval)),
            lag_policy: subscribe.lag_policy,
            strict: subscribe.strict,
            arrived,
            told: arrived,
            closing: false,
            _answers: answers,
            admission,
        })
    }
}

impl Stream for LiveStream {
    type Item = Result<Event>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_pulsed(cx)
    }
}

impl Pulsed for LiveStream {
    type Event = Event;

    fn pulse(&mut self) -> &mut Pulse {
        &mut self.pulse
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(Ok(*opening)));
        }
        // Before anything is looked at: whatever changes afterwards wakes.
        self.seat.listen(cx.waker());
        if self.is_done() {
            return Poll::Ready(None);
        }
        if let Some(word) = self.interruption() {
            return Poll::Ready(Some(word));
        }
        match self.seat.answer() {
            Call::Awake => {}
            Call::Called(first) => self.next = self.next.max(first),
            Call::Parked(_) => return self.poll_rest(cx),
        }
        loop {
            match self.poll_page(cx) {
                Poll::Pending => return self.poll_pulse(cx),
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Ok(Some(event))) => return Poll::Ready(Some(Ok(event))),
                Poll::Ready(Ok(None)) if self.is_done() => return Poll::Ready(None),
                Poll::Ready(Ok(None)) => {}
            }
            self.seat.park();
            if self.committed() < self.next {
                return self.poll_rest(cx);
            }
            self.seat.unpark();
        }
    }
}

impl LiveStream {
    /// Takes what there is. None if there is nothing to tell up to the committed end.
    fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>>> {
        loop {
            let page = if let Some(reading) = &mut self.reading {
                let page = ready!(reading.as_mut().poll(cx));
                self.reading = None;
                page?
            } else if self.committed() < self.next {
                return Poll::Ready(Ok(None));
            } else if let Some(page) = self.admission.place.log.tail().read(&self.query()) {
                page
            } else if let Some(event) = self.fall_back()? {
                return Poll::Ready(Ok(Some(event)));
            } else {
                continue;
            };
            // A page may hold nothing that is wanted and not be the last.
            let goes_on = !page.end || self.snapshot.is_some();
            if let Some(event) = self.take(page)? {
                return Poll::Ready(Ok(Some(event)));
            }
            if self.is_done() {
                return Poll::Ready(Ok(None));
            }
            if goes_on {
                // It went through much for nothing: others have their turn.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Memory no longer has what comes next: it is read from the log, or the stream lags and its policy says what to do.
    fn fall_back(&mut self) -> Result<Option<Event>> {
        let policy = if self.arrived { self.lag_policy } else { LagPolicy::CatchUp };
        match policy {
            LagPolicy::CatchUp => {
                self.told = false;
                let log = self.admission.place.log.clone();
                let patterns = self.seat.patterns().clone();
                let Query { from, through, filter, max_messages, max_bytes, now, .. } = self.query();
                // What lies in the log is asked about by few.
                let filter = match &self.filter {
                    Some(own) if self.snapshot.is_none() => Some(own.alone.clone()),
                    _ => filter.cloned(),
                };
                self.reading = Some(Box::pin(async move {
                    let (patterns, filter) = (&patterns, filter.as_ref());
                    log.read(Query { from, through, patterns, guide: None, filter, max_messages, max_bytes, now }).await
                }));
                Ok(None)
            }
            LagPolicy::Skip => {
                let last = self.committed();
                let gap = Gap { reason: GapReason::Skipped, first: self.next, last };
                self.next = last.next();
                self.deal_with(last);
                self.told = true;
                Ok(Some(Event { gap: Some(gap), caught_up: true, ..Event::empty(self.cursor()) }))
            }
            LagPolicy::Disconnect => {
                let message = "the stream fell further behind than the broker's memory reaches, and asked to be cut then: \
                               come back with the cursor, or choose another lag_policy";
                Err(Error::new(Reason::SlowConsumer, message).with("cursor", self.cursor().encode()))
            }
        }
    }

    /// Makes an event of a page, if there is anything to tell.
    fn take(&mut self, page: Page) -> Result<Option<Event>> {
        if let Some(gap) = page.gap.filter(|_| self.strict) {
            let refusal = position::expired(&gap, gap.last.next());
            return Err(refusal.with("cursor", self.cursor().encode()));
        }
        // With an end that was set at the beginning, the end of the page is not the end of the log.
        let open = self.stop == Sequence::MAX && self.snapshot.is_none();
        self.go_on(page.next, page.after);
        self.left -= page.messages as u64;
        let caught_up = page.end && (open || self.committed() < self.next);
        let arrives = (caught_up || self.next > self.stop) && !self.told;
        self.told = caught_up;
        self.arrived |= caught_up;
        if page.messages == 0 && page.gap.is_none() && !arrives {
            return Ok(None);
        }
        if page.messages > 0 {
            let metrics = &self.admission.place.metrics;
            metrics.delivered_messages.inc_by(page.messages as u64);
            metrics.delivered_bytes.inc_by(page.bytes as u64);
        }
        let Page { runs, messages, gap, .. } = page;
        Ok(Some(Event { runs, messages, gap, caught_up, ..Event::empty(self.cursor()) }))
    }

    /// Everything up to `after` has been dealt with, and there is nothing before `next`.
    fn go_on(&mut self, next: Sequence, after: Sequence) {
        self.next = next;
        self.deal_with(after);
        if let Some(snapshot) = &mut self.snapshot {
            let (next, goes_on) = snapshot.advance(next);
            self.next = next;
            if !goes_on {
                self.snapshot = None;
                self.deal_with(next.previous());
            }
        }
    }

    /// Everything up to here has been dealt with.
    fn deal_with(&mut self, after: Sequence) {
        if after > self.after {
            (self.after, self.waits) = (after, false);
        }
    }

    /// The last words, and the one before: the namespace is gone, or the broker drains.
    fn interruption(&mut self) -> Option<Result<Event>> {
        if self.admission.place.is_deleted() {
            return Some(Err(self.admission.place.gone()));
        }
        let deadline = *self.admission.broker.deadline.get()?;
        if self.closing {
            return self.pulse.is_over().then(|| Err(self.drained()));
        }
        self.closing = true;
        self.pulse.end_at(deadline);
        let closing = self.admission.broker.closing(deadline);
        self.move_on();
        Some(Ok(Event { closing: Some(closing), ..Event::empty(self.cursor()) }))
    }

    /// All that is committed has been sent: waits for more, unless none will come.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        if self.closing && self.admission.broker.settled.load(Ordering::SeqCst) {
            self.move_on();
            return Poll::Ready(Some(Err(self.drained())));
        }
        self.poll_pulse(cx)
    }

    /// Waits for the next sign of life, or for the end of a closing stream.
    fn poll_pulse(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        ready!(self.pulse.poll(cx));
        self.move_on();
        if self.closing {
            return Poll::Ready(Some(Err(self.drained())));
        }
        let server_time = self.admission.broker.clock.now();
        let heartbeat = Heartbeat { server_time, last_sequence: self.committed() };
        Poll::Ready(Some(Ok(Event { heartbeat: Some(heartbeat), ..Event::empty(self.cursor()) })))
    }

    /// While it waited, the log went on without anything for it: its position follows.
    fn move_on(&mut self) {
        match self.seat.answer() {
            Call::Awake => {}
            Call::Parked(routed) => {
                if routed >= self.next {
                    self.next = routed.next();
                    self.deal_with(routed);
                }
            }
            Call::Called(first) => self.next = self.next.max(first),
        }
    }

    fn drained(&self) -> Error {
        let refusal = self.admission.broker.draining("the broker is stopping, and the stream ends with it");
        refusal.with("cursor", self.cursor().encode())
    }

    fn is_done(&self) -> bool {
        self.left == 0 || self.next > self.stop
    }

    fn committed(&self) -> Sequence {
        self.admission.place.log.tail().committed()
    }

    fn cursor(&self) -> Cursor {
        Cursor { waits: self.waits, ..self.admission.place.cursor(self.after) }
    }

    fn query(&self) -> Query<'_> {
        let config = &self.admission.broker.config;
        let max_messages = usize::try_from(self.left).unwrap_or(usize::MAX).min(config.response_messages);
        let (through, filter) = match &self.snapshot {
            Some(snapshot) => (snapshot.through(max_messages), Some(snapshot.picks())),
            None => (self.stop, self.filter.as_ref().map(|filter| &filter.shared)),
        };
        Query {
            from: self.next,
            through,
            patterns: self.seat.patterns(),
            guide: Some(&self.seat),
            filter,
            max_messages,
            max_bytes: config.response_bytes,
            now: self.admission.broker.clock.now(),
        }
    }
}

impl Event {
    fn empty(cursor: Cursor) -> Self {
        Event {
            runs: Vec::new(),
            messages: 0,
            cursor,
            started: None,
            heartbeat: None,
            gap: None,
            caught_up: false,
            closing: None,
        }
    }
}
