//! Works off one subscription by sending its messages: takes what its session hands out, sends it, and says what became of
//! each. As many are on their way as the session's window allows; there is no other queue.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    client::Client,
    outcome::Outcome,
    request::{Plan, Source},
};
use crate::{
    broker::{
        Broker, PushAttempt, Pushing,
        subscription::{Delivery, Session, Word},
    },
    model::{AckId, Result, Subscription, Verdict},
};

/// When a session ended that should not have, another one begins after this.
const AGAIN: Duration = Duration::from_secs(1);
/// A push is given up so long before its lease ends, so that what is said of it still counts.
const IN_TIME: Duration = Duration::from_millis(50);

/// Sends for one subscription.
pub struct Pusher {
    /// Hands out.
    pub broker: Arc<Broker>,
    /// Sends.
    pub client: Arc<Client>,
    /// Which.
    pub pushing: Pushing,
}

/// One push that has ended.
struct Finished {
    ack_id: AckId,
    verdict: Verdict,
    attempt: PushAttempt,
}

impl Pusher {
    /// Sends until `stop` or the broker's own end, and then finishes what is on its way.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            match self.work(&stop).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(subscription = %self.pushing.name, %error, "nothing is pushed just now"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                _ = self.broker.closed() => return,
                () = sleep(AGAIN) => {}
            }
        }
    }

    /// One session, to its end: an error, or none if it was stopped.
    async fn work(&self, stop: &CancellationToken) -> Result<()> {
        let mut session = self.broker.push(&self.pushing).await?;
        let mut plan: Option<Arc<Plan>> = None;
        let mut in_flight = FuturesUnordered::new();
        let mut stopped = false;
        loop {
            tokio::select! {
                biased;
                Some(finished) = in_flight.next() => {
                    let mut all = vec![finished];
                    // Whatever has ended meanwhile is said in one go.
                    while let Some(Some(finished)) = in_flight.next().now_or_never() {
                        all.push(finished);
                    }
                    settle(&mut session, all);
                }
                consumed = session.next() => {
                    let Some(consumed) = consumed.transpose()? else { return Ok(()) };
                    if consumed.deliveries.is_empty() {
                        continue;
                    }
                    let specification = session.specification();
                    if !plan.as_ref().is_some_and(|plan| Arc::ptr_eq(&plan.subscription, &specification)) {
                        session.change(specification.push_flow());
                        plan = Plan::new(specification, session.tag()).map(Arc::new);
                    }
                    in_flight.extend(consumed.deliveries.into_iter().map(|delivery| self.send(plan.clone(), delivery)));
                }
                () = stop.cancelled(), if !stopped => {
                    stopped = true;
                    session.detach();
                }
            }
        }
    }

    /// Sends one message, and says what becomes of it.
    async fn send(&self, plan: Option<Arc<Plan>>, delivery: Delivery) -> Finished {
        let (time, begin) = (self.broker.now(), Instant::now());
        let ack_id = delivery.ack_id.expect("it was asked for deliveries that are to be settled");
        let attempt =
            PushAttempt { sequence: ack_id.sequence, attempt: delivery.attempt, time, ..PushAttempt::default() };
        // It does not push any more, and whoever consumes may have it.
        let Some(plan) = plan else { return Finished { ack_id, verdict: Verdict::Release { delay: None }, attempt } };
        let source = Source { record: &delivery.record, attempt: delivery.attempt, time };
        let Some(outgoing) = plan.request(&source) else {
            let error = "the broker could not read the message".to_owned();
            return Finished { ack_id, verdict: Verdict::Reject, attempt: PushAttempt { error, ..attempt } };
        };
        let lease = delivery.deadline.saturating_duration_since(begin).saturating_sub(IN_TIME);
        let sent = self.client.send(outgoing, plan.timeout.min(lease), time).await;
        let latency = begin.elapsed();
        let (verdict, error) = match sent.outcome {
            Outcome::Done => (Verdict::Ack, String::new()),
            Outcome::Failed { why, delay } => (Verdict::Nack { delay }, why),
            Outcome::Gone => self.pause(&plan.subscription).await,
        };
        let (status, response) = (sent.status, sent.response);
        Finished { ack_id, verdict, attempt: PushAttempt { latency, status, error, response, ..attempt } }
    }

    /// The target wants no more. What it was sent goes back once nothing is handed out.
    async fn pause(&self, subscription: &Subscription) -> (Verdict, String) {
        let gone = "the target answered 410 Gone";
        let why = format!("{gone}, so it wants no more: `tilde subscription resume {}` sends again", subscription.name);
        match self.broker.pause_pushing(&self.pushing, why).await {
            Ok(()) => (Verdict::Release { delay: None }, format!("{gone}: the subscription is paused")),
            Err(error) => {
                tracing::warn!(subscription = %subscription.name, %error, "it is not paused, as its target wants");
                (Verdict::Nack { delay: None }, gone.to_owned())
            }
        }
    }
}

fn settle(session: &mut Session, finished: Vec<Finished>) {
    let ids: Vec<_> = finished.iter().map(|finished| finished.ack_id.encode()).collect();
    let words = ids.iter().zip(&finished).map(|(id, Finished { verdict, attempt, .. })| Word {
        ack_id: std::str::from_utf8(id).expect("it is base64"),
        verdict: *verdict,
        reason: &attempt.error,
    });
    session.settle(words);
    finished.into_iter().for_each(|finished| session.pushed(finished.attempt));
}
