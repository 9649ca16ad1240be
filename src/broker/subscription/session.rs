//! One consumer at work: it is handed what it has room for, and what it says settles. A stream that is polled by its
//! connection, without a task or a channel. Dropping it gives back at once what it has: an attempt of each is counted,
//! so that a message that kills its consumers does not circle for ever.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::time::Instant;

use super::{
    super::{
        live::{Closing, Heartbeat},
        pulse::{Pulse, Pulsed},
        served::Admission,
    },
    dispatch::Delivery,
    hub::Hub,
    inner::{Consumer, Inner},
    ledger::Failure,
    settle::Word,
    window::{FlowControl, Window},
};
use crate::model::{ConsumerName, Error, Gap, Reason, Result, Timestamp};

/// What a consumer asks for.
#[derive(Clone, Debug)]
pub struct Attach {
    /// Stable across connections; made up if there is none.
    pub consumer: Option<ConsumerName>,
    /// How much it may have at the same time.
    pub flow: FlowControl,
    /// What is delivered is done.
    pub auto: bool,
    /// Each settlement is to be answered, when it is kept for good.
    pub confirm: bool,
    /// How long the stream may be silent.
    pub heartbeat_interval: Duration,
    /// It answers calls on the subscription's topics.
    pub responder: bool,
}

/// What a consumer is told.
#[derive(Clone, Debug, Default)]
pub struct Consumed {
    /// What it is to work on.
    pub deliveries: Vec<Delivery>,
    /// What became of what it settled: which, and why not.
    pub confirmations: Vec<(String, Result<(), Reason>)>,
    /// In the first.
    pub attached: Option<Attached>,
    /// Where the stream would otherwise be silent.
    pub heartbeat: Option<Heartbeat>,
    /// What will never come.
    pub gap: Option<Gap>,
    /// The stream ends soon.
    pub closing: Option<Closing>,
    /// Until when the deliveries are to be settled, if that is not the time that was told in the beginning.
    pub ack_deadline: Option<Timestamp>,
}

/// The beginning.
#[derive(Clone, Copy, Debug)]
pub struct Attached {
    /// Random; shown as 16 hexadecimal digits.
    pub stream_id: u64,
    /// In effect.
    pub flow: FlowControl,
    /// How long a delivery may take.
    pub ack_deadline: Duration,
    /// What waits; see `Hub::waiting`.
    pub backlog: u64,
}

/// A consumer at work.
pub struct Session {
    hub: Arc<Hub>,
    admission: Admission,
    consumer: u32,
    auto: bool,
    confirm: bool,
    attached: Option<Attached>,
    // As it was told.
    ack_deadline: Duration,
    // With the change that they are part of: told when that is kept for good.
    confirmations: VecDeque<(u64, String, Result<(), Reason>)>,
    pulse: Pulse,
    closing: bool,
    detached: bool,
}

impl Session {
    /// Begins.
    pub(super) async fn begin(hub: Arc<Hub>, admission: Admission, attach: Attach) -> Result<Session> {
        let shared = hub.shared.clone();
        let stream_id = shared.clock.random();
        let name = match &attach.consumer {
            Some(name) => name.as_str().into(),
            None => format!("{stream_id:016x}").into(),
        };
        let position = hub.lock().position();
        let backlog = hub.waiting(position, 0).await?.messages;
        let (consumer, flow, ack_deadline, open) = {
            let mut inner = hub.lock();
            if let Some(error) = &inner.ended {
                return Err(error.clone());
            }
            let window = Window::new(attach.flow);
            let flow = window.bounds();
            let consumer = hub.join(&mut inner, name, window, attach.responder);
            (consumer, flow, inner.specification.ack_deadline, inner.ledger.open() as u64)
        };
        let interval = attach.heartbeat_interval;
        let attached = Attached { stream_id, flow, ack_deadline, backlog: backlog + open };
        let session = Session {
            hub,
            admission,
            consumer,
            auto: attach.auto,
            confirm: attach.confirm,
            attached: Some(attached),
            ack_deadline,
            confirmations: VecDeque::new(),
            pulse: Pulse::new(interval, shared.clock.jitter(interval)),
            closing: false,
            detached: false,
        };
        if attach.responder {
            shared.responders.told().await;
        }
        Ok(session)
    }

    /// May have this much at the same time from now on.
    pub fn change(&mut self, flow: FlowControl) {
        let mut inner = self.hub.lock();
        if let Some(consumer) = inner.consumers.get_mut(&self.consumer) {
            consumer.window.change(flow);
        }
    }

    /// Settles deliveries, its own or those of others.
    pub fn settle<'a>(&mut self, words: impl Iterator<Item = Word<'a>>) {
        let mut told = Vec::new();
        let confirm = self.confirm;
        let change = self.hub.settle(words, |id, result| {
            // Who does not ask is still told what was refused.
            if confirm || result.is_err() {
                told.push((id.to_owned(), result));
            }
        });
        self.confirmations.extend(told.into_iter().map(|(id, result)| (change, id, result)));
    }

    /// Takes nothing more. The stream ends when all that it has is settled or has expired.
    pub fn detach(&mut self) {
        self.detached = true;
        let mut inner = self.hub.lock();
        if let Some(consumer) = inner.consumers.get_mut(&self.consumer) {
            consumer.is_detached = true;
        }
        inner.part(self.consumer);
        if inner.answers.is_some() {
            self.hub.answer(&mut inner);
        }
        // Another one may be the first now.
        inner.wake_all();
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Settles all that is delivered, and goes on after its client has closed its half.
    pub fn is_auto(&self) -> bool {
        self.auto
    }

    /// What there is for it, and whether it has nothing.
    fn take(&mut self, cx: &mut Context<'_>) -> Result<(Consumed, bool)> {
        let mut inner = self.hub.lock();
        if let Some(error) = &inner.ended {
            return Err(error.clone());
        }
        let mut work = Consumed::default();
        // What was taken is told when it is kept for good. What is said of one delivery is answered in the order in which it
        // was said, so that a refusal waits for what came before it.
        while let Some((change, _, result)) = self.confirmations.front() {
            if result.is_ok() && *change > inner.kept {
                let waker = cx.waker();
                if !inner.savers.iter().any(|known| known.will_wake(waker)) {
                    inner.savers.push(waker.clone());
                }
                break;
            }
            let told = self.confirmations.pop_front().map(|(_, id, result)| (id, result));
            work.confirmations.extend(told);
        }
        if !self.detached && !self.closing {
            work.deliveries = self.hub.take(&mut inner, self.consumer, self.auto, usize::MAX);
            let ack_deadline = inner.specification.ack_deadline;
            if ack_deadline != self.ack_deadline && !self.auto {
                work.ack_deadline = Some(self.hub.shared.clock.now().plus(ack_deadline));
            }
        }
        let Some(consumer) = inner.consumers.get_mut(&self.consumer) else { return Ok((work, true)) };
        let waker = cx.waker();
        if consumer.waker.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            consumer.waker = Some(waker.clone());
        }
        work.gap = consumer.gap.take();
        let is_empty = consumer.window.is_empty();
        Ok((work, is_empty))
    }

    /// The last words, and the one before: the namespace is gone, or the broker drains.
    fn interruption(&mut self) -> Option<Result<Consumed>> {
        if self.hub.place.is_deleted() {
            return Some(Err(self.hub.place.gone()));
        }
        let deadline = *self.hub.shared.deadline.get()?;
        if self.closing {
            return self.pulse.is_over().then(|| Err(self.drained()));
        }
        self.closing = true;
        self.pulse.end_at(deadline);
        let closing = self.admission.broker.closing(deadline);
        Some(Ok(Consumed { closing: Some(closing), ..Consumed::default() }))
    }

    fn drained(&self) -> Error {
        self.admission.broker.draining("the broker is stopping, and the stream ends with it")
    }
}

impl Stream for Session {
    type Item = Result<Consumed>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_pulsed(cx)
    }
}

impl Pulsed for Session {
    type Event = Consumed;

    fn pulse(&mut self) -> &mut Pulse {
        &mut self.pulse
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Consumed>>> {
        if let Some(attached) = self.attached.take() {
            return Poll::Ready(Some(Ok(Consumed { attached: Some(attached), ..Consumed::default() })));
        }
        if let Some(word) = self.interruption() {
            return Poll::Ready(Some(word));
        }
        let (work, is_empty) = match self.take(cx) {
            Ok(taken) => taken,
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        if !work.deliveries.is_empty() || !work.confirmations.is_empty() || work.gap.is_some() {
            return Poll::Ready(Some(Ok(work)));
        }
        if is_empty && self.confirmations.is_empty() && (self.detached || self.closing) {
            return Poll::Ready(self.closing.then(|| Err(self.drained())));
        }
        ready!(self.pulse.poll(cx));
        if self.closing {
            return Poll::Ready(Some(Err(self.drained())));
        }
        let server_time = self.hub.shared.clock.now();
        let heartbeat = Heartbeat { server_time, last_sequence: self.hub.place.log.tail().committed() };
        Poll::Ready(Some(Ok(Consumed { heartbeat: Some(heartbeat), ..Consumed::default() })))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Who was told to go has not failed.
        let counts = !self.detached && !self.closing;
        self.hub.leave(self.consumer, counts);
    }
}

impl Hub {
    /// A consumer comes.
    pub(super) fn join(self: &Arc<Self>, inner: &mut Inner, name: Arc<str>, window: Window, is_responder: bool) -> u32 {
        inner.last_consumer += 1;
        let consumer = Consumer::new(name, window, is_responder);
        inner.consumers.insert(inner.last_consumer, consumer);
        inner.gather();
        inner.used = Instant::now();
        if inner.edge.is_none() {
            self.register(inner);
        }
        if is_responder {
            self.answer(inner);
        }
        inner.last_consumer
    }

    /// A consumer goes: what it has goes to others.
    pub(super) fn leave(self: &Arc<Self>, consumer: u32, counts: bool) {
        let mut inner = self.lock();
        inner.part(consumer);
        let Some(gone) = inner.consumers.remove(&consumer) else { return };
        let reason = "the connection broke before the consumer said anything".to_owned();
        let failure = counts.then_some(Failure { reason, consumer: gone.name });
        let now = Instant::now();
        let gave_back = self.with_moment(now, |moment| inner.ledger.give_back(consumer, failure.as_ref(), moment));
        inner.end_revoked();
        self.left(&mut inner, consumer, now);
        if gave_back > 0 {
            self.changed(&mut inner);
            self.stir(&mut inner, now);
        }
    }

    /// A consumer is no longer there; what it has it keeps.
    pub(super) fn left(self: &Arc<Self>, inner: &mut Inner, consumer: u32, now: Instant) {
        inner.part(consumer);
        inner.consumers.remove(&consumer);
        inner.gather();
        inner.line.retain(|waiting| *waiting != consumer);
        inner.used = now;
        if inner.answers.is_some() {
            self.answer(inner);
        }
        if inner.consumers.is_empty() {
            // Nobody is left to hand it to.
            inner.forget_found();
            inner.edge = None;
        }
        // Whoever stands by may be the first now, and what was read for the one who went is there for others.
        inner.wake_all();
    }
}
