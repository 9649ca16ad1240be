//! Subscriptions that send their messages on by themselves: which there are, how one is worked off for that, what became of
//! each try, and a message once more. Never sends anything: that is the edge's.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Attach, FlowControl, Session,
    hub::{Hub, Pause},
};
use crate::{
    broker::Broker,
    engine::Query,
    model::{
        ConsumerName, Error, NamespaceName, Pattern, PatternSet, Reason, Result, Sequence, Subscription,
        SubscriptionName, Timestamp, limits,
    },
};

/// What its consumer is called, where it is told who had a message.
const NAME: &str = "webhook";
/// Bytes of messages that one may have in flight.
const BYTES: u64 = 16 << 20;

/// A subscription that pushes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pushing {
    /// Where.
    pub namespace: NamespaceName,
    /// Which.
    pub name: SubscriptionName,
    /// Tells it from an earlier one of the same name.
    pub id: u64,
}

/// One push, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushAttempt {
    /// Tells it from others of its subscription; given when it is remembered.
    pub id: String,
    /// Of the message.
    pub sequence: Sequence,
    /// The how manieth delivery; zero if it was asked for.
    pub attempt: u32,
    /// When it was sent.
    pub time: Timestamp,
    /// Until it was answered, or given up.
    pub latency: Duration,
    /// Of the answer; zero if there was none.
    pub status: u16,
    /// Why it failed; empty if it did not.
    pub error: String,
    /// The first bytes of the answer's body, as text.
    pub response: String,
}

/// A message that is to be sent once more, and how.
#[derive(Clone, Debug)]
pub struct Resend {
    /// By what it is sent.
    pub subscription: Arc<Subscription>,
    /// As in [`Session::tag`].
    pub tag: u32,
    /// The encoded record, with tag and length.
    pub record: Bytes,
}

/// The last pushes of one subscription, the newest last.
#[derive(Default)]
pub(super) struct Attempts {
    last: VecDeque<PushAttempt>,
    // So that no id of an earlier run of the broker is one of these.
    prefix: u32,
    count: u64,
}

impl Attempts {
    pub fn new(prefix: u32) -> Self {
        Attempts { prefix, ..Attempts::default() }
    }

    /// Remembers one, and forgets the oldest beyond the bound. Answers it with its id.
    fn remember(&mut self, mut attempt: PushAttempt) -> PushAttempt {
        self.count += 1;
        attempt.id = format!("{:08x}-{}", self.prefix, self.count);
        if self.last.len() == limits::PUSH_ATTEMPTS {
            self.last.pop_front();
        }
        self.last.push_back(attempt.clone());
        attempt
    }
}

impl Broker {
    /// The subscriptions that push. Where several brokers share an engine, only the one that works them off knows any.
    pub fn pushing(&self) -> Vec<Pushing> {
        self.subscriptions.pushing()
    }

    /// Told when [`Broker::pushing`] may answer something else.
    pub fn pushing_changed(&self) -> watch::Receiver<u64> {
        self.subscriptions.watch()
    }

    /// Works off a subscription for pushing; it counts as none of the namespace's streams.
    pub async fn push(&self, pushing: &Pushing) -> Result<Session> {
        self.refuse_while_draining()?;
        let Pushing { namespace, name, id } = pushing;
        let hub = self.adopted(namespace, name).await?;
        if self.entry(namespace, name)?.kept.id != *id {
            return Err(Error::new(Reason::SubscriptionNotFound, "it was deleted, and another one has its name"));
        }
        let admission = self.served(namespace)?.admit_own(&self.shared);
        let attach = Attach {
            consumer: Some(ConsumerName::parse(NAME).expect("it follows the rules of names")),
            flow: hub.specification().push_flow(),
            auto: false,
            confirm: false,
            heartbeat_interval: limits::HEARTBEAT_MAX,
            responder: false,
        };
        Session::begin(hub, admission, attach).await
    }

    /// Delivers nothing until it is resumed, as the target wants no more.
    pub async fn pause_pushing(&self, pushing: &Pushing, why: String) -> Result<()> {
        self.set_pause(&pushing.namespace, &pushing.name, Pause::Forever, Some(why)).await
    }

    /// The last pushes of a subscription, newest first.
    pub async fn push_attempts(&self, namespace: &NamespaceName, name: &SubscriptionName) -> Result<Vec<PushAttempt>> {
        let hub = self.adopted(namespace, name).await?;
        let attempts = hub.attempts.lock().expect("nobody panics while holding the attempts");
        Ok(attempts.last.iter().rev().cloned().collect())
    }

    /// What was sent by an earlier push, to be sent once more.
    pub async fn resend(&self, namespace: &NamespaceName, name: &SubscriptionName, id: &str) -> Result<Resend> {
        let hub = self.adopted(namespace, name).await?;
        let subscription = hub.specification();
        if subscription.push.is_none() {
            let message = format!(
                "subscription {name} pushes nowhere: give it a URL, with `tilde subscription update {name} --push-url URL`"
            );
            return Err(Error::new(Reason::PushNotConfigured, message));
        }
        let unknown = |message: String| Error::new(Reason::PushAttemptNotFound, message).field("attempt_id");
        let sequence = hub.pushed_sequence(id).ok_or_else(|| {
            let most = limits::PUSH_ATTEMPTS;
            unknown(format!(
                "subscription {name} remembers no such push: it knows the last {most} since the broker was started, \
                 `tilde subscription pushes {name}` lists them"
            ))
        })?;
        let record = hub.record(sequence).await?;
        let record = record.ok_or_else(|| unknown(format!("message {sequence} is not kept any more")))?;
        Ok(Resend { subscription, tag: hub.tag, record })
    }

    /// Remembers a push that was asked for. Answers it with its id.
    pub async fn resent(
        &self,
        namespace: &NamespaceName,
        name: &SubscriptionName,
        attempt: PushAttempt,
    ) -> Result<PushAttempt> {
        Ok(self.hub(namespace, name)?.remember_push(attempt))
    }
}

impl Session {
    /// What the subscription is, at this moment.
    pub fn specification(&self) -> Arc<Subscription> {
        self.hub().specification()
    }

    /// Tells the subscription from others, and from an earlier one of the same name.
    pub fn tag(&self) -> u32 {
        self.hub().tag
    }

    /// Remembers a push.
    pub fn pushed(&self, attempt: PushAttempt) {
        self.hub().remember_push(attempt);
    }
}

impl Subscription {
    /// How much may be in flight at the same time.
    pub fn push_flow(&self) -> FlowControl {
        let messages = self.push.as_ref().map_or(0, |push| push.max_in_flight);
        FlowControl { messages: Some(messages), bytes: Some(BYTES) }
    }
}

impl Hub {
    fn remember_push(&self, attempt: PushAttempt) -> PushAttempt {
        self.attempts.lock().expect("nobody panics while holding the attempts").remember(attempt)
    }

    fn pushed_sequence(&self, id: &str) -> Option<Sequence> {
        let attempts = self.attempts.lock().expect("nobody panics while holding the attempts");
        attempts.last.iter().find(|attempt| attempt.id == id).map(|attempt| attempt.sequence)
    }

    /// A message as it lies in the log, if it is still kept.
    async fn record(&self, sequence: Sequence) -> Result<Option<Bytes>> {
        let everything = Arc::new(PatternSet::new(vec![Pattern::Prefix("".into()), Pattern::Prefix("$".into())]));
        let page = self.place.log.read(Query {
            from: sequence,
            through: sequence,
            patterns: &everything,
            guide: None,
            filter: None,
            max_messages: 1,
            max_bytes: 1,
            now: self.shared.clock.now(),
        });
        Ok(page.await?.runs.into_iter().next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hundred_are_remembered_each_with_an_id_of_its_own() {
        let mut attempts = Attempts::new(7);
        for sequence in 1..=250 {
            attempts.remember(PushAttempt { sequence: Sequence(sequence), ..PushAttempt::default() });
        }
        let kept: Vec<_> = attempts.last.iter().map(|attempt| attempt.sequence.0).collect();
        assert_eq!(kept, (151..=250).collect::<Vec<_>>());
        assert_eq!(attempts.last[99].id, "00000007-250");
    }
}
