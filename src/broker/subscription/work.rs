//! Working off a subscription: by a stream of deliveries, by taking what waits once, and by settling from anywhere.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

use super::{
    Attach, Delivery, Session,
    hub::Hub,
    inner::PULLER,
    settle::Word,
    window::{FlowControl, Window},
};
use crate::{
    broker::{Broker, pulse},
    model::{Error, Gap, NamespaceName, Reason, Result, SubscriptionName, SubscriptionState},
};

/// What is asked for at once.
#[derive(Clone, Debug)]
pub struct Pull {
    /// Where.
    pub namespace: NamespaceName,
    /// Of which subscription.
    pub subscription: SubscriptionName,
    /// At most so many.
    pub max_messages: u32,
    /// How long to wait for the first.
    pub max_wait: Duration,
    /// What is delivered is done.
    pub auto: bool,
    /// Also what waits for another attempt, before its time.
    pub early: bool,
}

/// What there was.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// To be worked on.
    pub deliveries: Vec<Delivery>,
    /// What else waits; see `Hub::waiting`.
    pub backlog: u64,
    /// What will never come.
    pub gap: Option<Gap>,
}

impl Broker {
    /// Works off a subscription.
    pub async fn consume(&self, namespace: &NamespaceName, name: &SubscriptionName, attach: Attach) -> Result<Session> {
        self.refuse_while_draining()?;
        pulse::check_interval(attach.heartbeat_interval)?;
        let hub = self.adopted(namespace, name).await?;
        let admission = self.served(namespace)?.admit(&self.shared)?;
        Session::begin(hub, admission, attach).await
    }

    /// Takes what waits, once: at least one message if any comes in time. What is taken stays leased until it is settled
    /// or expires.
    pub async fn pull(&self, pull: Pull) -> Result<Pulled> {
        self.refuse_while_draining()?;
        let hub = self.adopted(&pull.namespace, &pull.subscription).await?;
        if let (SubscriptionState::Paused, _) = hub.pause_state() {
            let name = &pull.subscription;
            let message = format!("subscription {name} is paused: resume it, with `tilde subscription resume {name}`");
            return Err(Error::new(Reason::SubscriptionPaused, message));
        }
        let deadline = Instant::now() + pull.max_wait;
        let flow = FlowControl { messages: Some(pull.max_messages), bytes: Some(Window::BYTES) };
        let puller = Puller::begin(hub, &pull, Window::new(flow));
        if pull.early {
            puller.hub.others_done(deadline).await;
            puller.hub.place.log.hear_all().await?;
        }
        // Whatever the others still have then, what there is is taken; nobody is kept waiting for what is yet to come.
        let waits = !pull.early && !pull.max_wait.is_zero();
        let taking = poll_fn(|cx| puller.poll(waits, cx));
        let taken = match waits {
            true => timeout_at(deadline, taking).await.unwrap_or(Ok((Vec::new(), None))),
            // It ends when all that is there was looked at.
            false => taking.await,
        };
        let (mut deliveries, mut gap) = taken?;
        if !waits && !pull.early && deliveries.is_empty() && gap.is_none() {
            // What another broker has answered is there, also if it was not heard of yet.
            puller.hub.place.log.hear_all().await?;
            (deliveries, gap) = poll_fn(|cx| puller.poll(false, cx)).await?;
        }
        let (read, open) = {
            let inner = puller.hub.lock();
            (inner.position(), inner.ledger.open() as u64)
        };
        // What was taken is open, unless it is done with that.
        let taken = if pull.auto { 0 } else { deliveries.len() as u64 };
        let backlog = puller.hub.waiting(read, open).await?.messages.saturating_sub(taken);
        Ok(Pulled { deliveries, backlog, gap })
    }

    /// Settles deliveries, from any connection. Answers those that were refused, and why, when the others are kept for
    /// good.
    pub async fn acknowledge(
        &self,
        namespace: &NamespaceName,
        name: &SubscriptionName,
        words: impl Iterator<Item = Word<'_>>,
    ) -> Result<Vec<(String, Reason)>> {
        let hub = self.adopted(namespace, name).await?;
        let mut refused = Vec::new();
        let change = hub.settle(words, |id, result| {
            if let Err(reason) = result {
                refused.push((id.to_owned(), reason));
            }
        });
        hub.kept(change).await?;
        Ok(refused)
    }
}

/// Who takes what waits, once. It leaves what it has with its caller.
struct Puller {
    hub: Arc<Hub>,
    consumer: u32,
    auto: bool,
    most: usize,
}

impl Puller {
    fn begin(hub: Arc<Hub>, pull: &Pull, window: Window) -> Self {
        let consumer = {
            let mut inner = hub.lock();
            let consumer = hub.join(&mut inner, PULLER.into(), window, false);
            if pull.early {
                inner.begin_early(consumer);
            }
            consumer
        };
        Puller { hub, consumer, auto: pull.auto, most: pull.max_messages as usize }
    }

    fn poll(&self, waits: bool, cx: &mut Context<'_>) -> Poll<Result<(Vec<Delivery>, Option<Gap>)>> {
        let mut inner = self.hub.lock();
        if let Some(error) = &inner.ended {
            return Poll::Ready(Err(error.clone()));
        }
        let deliveries = self.hub.take(&mut inner, self.consumer, self.auto, self.most);
        let gap = inner.consumers.get_mut(&self.consumer).and_then(|consumer| {
            consumer.waker = Some(cx.waker().clone());
            consumer.gap.take()
        });
        match deliveries.is_empty() && gap.is_none() && (waits || inner.is_reading) {
            true => Poll::Pending,
            false => Poll::Ready(Ok((deliveries, gap))),
        }
    }
}

impl Drop for Puller {
    fn drop(&mut self) {
        let mut inner = self.hub.lock();
        inner.end_early(self.consumer);
        self.hub.left(&mut inner, self.consumer, Instant::now());
    }
}
