//! Who sends: a task for each subscription that pushes, as long as this broker works it off. Also sends one message once
//! more, for whoever asks. Decides nothing about a message.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    client::Client,
    outcome::Outcome,
    pusher::Pusher,
    request::{Plan, Source},
};
use crate::{
    broker::{Broker, PushAttempt, Resend},
    model::{Error, NamespaceName, Reason, Result, SubscriptionName},
};

/// Sends for all subscriptions.
pub struct Webhooks {
    broker: Arc<Broker>,
    client: Arc<Client>,
}

impl Webhooks {
    /// Nothing is sent before [`Webhooks::run`].
    pub fn new(broker: Arc<Broker>) -> Self {
        let client = Arc::new(Client::new(broker.config().targets.clone()));
        Webhooks { broker, client }
    }

    /// Sends until the broker stops. Ends when what was on its way then is answered, or the grace time is over.
    pub async fn run(&self) {
        let mut changed = self.broker.pushing_changed();
        let mut running: HashMap<_, CancellationToken> = HashMap::new();
        let tasks = TaskTracker::new();
        loop {
            changed.mark_unchanged();
            let wanted: BTreeSet<_> = self.broker.pushing().into_iter().collect();
            running.retain(|pushing, stop| {
                let stays = wanted.contains(pushing);
                if !stays {
                    stop.cancel();
                }
                stays
            });
            for pushing in wanted {
                if !running.contains_key(&pushing) {
                    let stop = CancellationToken::new();
                    running.insert(pushing.clone(), stop.clone());
                    let pusher = Pusher { broker: self.broker.clone(), client: self.client.clone(), pushing };
                    tasks.spawn(async move { pusher.run(stop).await });
                }
            }
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { break },
                _ = self.broker.closed() => break,
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Sends the message of an earlier push once more. Answers what came of it.
    pub async fn resend(&self, namespace: &NamespaceName, name: &SubscriptionName, id: &str) -> Result<PushAttempt> {
        let Resend { subscription, tag, record } = self.broker.resend(namespace, name, id).await?;
        let (time, begin) = (self.broker.now(), Instant::now());
        let unusable = || Error::new(Reason::Internal, format!("the message of push {id} cannot be sent"));
        let plan = Plan::new(subscription, tag).ok_or_else(unusable)?;
        let source = Source { record: &record, attempt: 0, time };
        let outgoing = plan.request(&source).ok_or_else(unusable)?;
        let sequence = outgoing.sequence;
        let sent = self.client.send(outgoing, plan.timeout, time).await;
        let error = match sent.outcome {
            Outcome::Done => String::new(),
            Outcome::Gone => "the target answered 410 Gone".to_owned(),
            Outcome::Failed { why, .. } => why,
        };
        let attempt = PushAttempt {
            sequence,
            time,
            latency: begin.elapsed(),
            status: sent.status,
            error,
            response: sent.response,
            ..PushAttempt::default()
        };
        self.broker.resent(namespace, name, attempt).await
    }
}
