//! Where one message stands with a subscription, and why: what its ledger knows of it, else what the log and the dead
//! letters say. Changes nothing.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    hub::Hub,
    inner::Inner,
    ledger::{Failure, Standing as Open},
    letter,
};
use crate::{
    broker::{Broker, filters, schedule::scheduled_topic},
    engine::Query,
    model::{
        Filter, Message, NamespaceName, Pattern, PatternSet, Records, Result, Sequence, Subscription, SubscriptionName,
        SubscriptionState, Timestamp,
    },
};

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No such message is kept.
    NotFound,
    /// The subscription does not ask for it.
    NotMatched,
    /// It is to be handed out.
    Waiting,
    /// Its `deliver_time` lies ahead.
    Scheduled,
    /// A consumer has it.
    Leased,
    /// It failed, and comes again.
    BackingOff,
    /// It was settled.
    Acked,
    /// It was given up.
    DeadLettered,
    /// Its time to live was over before it was settled.
    Expired,
    /// It was left out.
    Skipped,
}

/// What is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Where it stands.
    pub standing: Standing,
    /// A sentence for a person.
    pub sentence: String,
    /// Attempts that failed.
    pub attempts: u32,
    /// Who has it, or had it last.
    pub consumer: Option<Arc<str>>,
    /// When that changes by itself.
    pub next_time: Option<Timestamp>,
    /// Why the last attempt failed.
    pub last_reason: Option<String>,
}

/// A message as it lies in the log.
struct Stored {
    record: Bytes,
}

impl Broker {
    /// Says where a message stands with a subscription.
    pub async fn explain(
        &self,
        namespace: &NamespaceName,
        name: &SubscriptionName,
        sequence: Sequence,
    ) -> Result<Explanation> {
        self.hub(namespace, name)?.explain(sequence).await
    }

    /// Says where a message stands, when an attempt of it has ended or it is settled: waits for that, at most so long, as
    /// long as it can be expected.
    pub async fn explain_within(
        &self,
        namespace: &NamespaceName,
        name: &SubscriptionName,
        sequence: Sequence,
        max_wait: Duration,
    ) -> Result<Explanation> {
        let deadline = Instant::now() + max_wait;
        let hub = self.hub(namespace, name)?;
        let explained = hub.explain(sequence).await?;
        if max_wait.is_zero() || !explained.is_untried() {
            return Ok(explained);
        }
        hub.watch(deadline, |inner| !inner.will_try(sequence, self.now())).await;
        if let Some(error) = &hub.lock().ended {
            return Err(error.clone());
        }
        hub.explain(sequence).await
    }
}

impl Hub {
    async fn explain(&self, sequence: Sequence) -> Result<Explanation> {
        if sequence > self.place.log.bounds().end {
            // Another broker may have answered it.
            self.place.log.hear_all().await?;
        }
        // What is open, and how far was read, is looked at together: what is handed out right after that is not settled.
        let (read, is_skipped) = {
            let inner = self.lock();
            if let Some(open) = self.explain_open(&inner, sequence) {
                return Ok(open);
            }
            (inner.position(), inner.ledger.is_skipped(sequence))
        };
        let bounds = self.place.log.bounds();
        let specification = self.specification();
        if sequence > bounds.end || sequence == Sequence::ZERO {
            let sentence = format!("there is no message {sequence}: the last one has {}", bounds.end);
            return Ok(Explanation::new(Standing::NotFound, sentence));
        }
        if let Some(letter) = self.dead_letter_of(&specification, sequence).await? {
            return Ok(self.explain_letter(&letter, &specification));
        }
        let Some(stored) = self.stored(sequence).await? else {
            let sentence = match sequence < bounds.first {
                true => format!("retention has removed it: the first that is kept is {}", bounds.first),
                false => "it was purged, or the broker left its number out when it crashed".to_owned(),
            };
            return Ok(Explanation::new(Standing::NotFound, sentence));
        };
        if let Some(scheduled) = self.explain_scheduled(&stored, &specification) {
            return Ok(scheduled);
        }
        if !self.matches(&specification, sequence).await? {
            let sentence = format!(
                "its topic {:?}, or what it says besides, is not what the subscription asks for",
                stored.topic()
            );
            return Ok(Explanation::new(Standing::NotMatched, sentence));
        }
        let expired = stored.expire_time().filter(|time| *time <= self.shared.clock.now());
        let (standing, sentence) = match () {
            () if is_skipped => (
                Standing::Skipped,
                "it was passed over: it came before the subscription began, or a seek, a purge or a full backlog left it out"
                    .to_owned(),
            ),
            () if expired.is_some() => {
                (Standing::Expired, "its time to live was over before it was settled".to_owned())
            }
            () if sequence >= read => {
                let ahead = sequence.0 - read.0;
                let held = match self.pause_state() {
                    (SubscriptionState::Active, _) => "",
                    (SubscriptionState::Paused, _) => ", and the subscription is paused",
                    (SubscriptionState::Tripped, _) => ", and the subscription is tripped: it tries one message at a time",
                };
                (Standing::Waiting, format!("it is not reached yet: {ahead} positions of the log lie before it{held}"))
            }
            () => (Standing::Acked, "it was settled, and does not come again".to_owned()),
        };
        Ok(Explanation { next_time: expired, ..Explanation::new(standing, sentence) })
    }

    /// What is known of a message that waits, or waited, for its `deliver_time`.
    fn explain_scheduled(&self, stored: &Stored, specification: &Subscription) -> Option<Explanation> {
        let record = Records::new(&stored.record).next()?.ok()?;
        let topic = scheduled_topic(&record)?;
        let (standing, sentence, next_time) = match self.place.schedule.waits(&record) {
            _ if !specification.pattern_set().matches(topic) => {
                let sentence = format!("it is scheduled for topic {topic:?}, which the subscription does not ask for");
                (Standing::NotMatched, sentence, None)
            }
            Some((topic, time)) => {
                let sentence = format!("it waits for its deliver_time, and is published to {topic} then");
                (Standing::Scheduled, sentence, Some(time))
            }
            None => {
                let sentence = format!(
                    "its deliver_time is over: it was published to {topic} as a message with a sequence of its own, unless \
                     that topic had one with its message_id: ask for that one"
                );
                (Standing::NotMatched, sentence, None)
            }
        };
        Some(Explanation { next_time, ..Explanation::new(standing, sentence) })
    }

    /// What the ledger says of what is open.
    fn explain_open(&self, inner: &Inner, sequence: Sequence) -> Option<Explanation> {
        let (standing, attempts, failure) = inner.ledger.standing(sequence)?;
        let (now, wall) = (Instant::now(), self.shared.clock.now());
        let at = |instant: Instant| Some(wall.plus(instant.saturating_duration_since(now)));
        let last = |failure: Option<&Failure>| failure.map(|failure| failure.consumer.clone());
        let (standing, sentence, consumer, next_time) = match standing {
            Open::Ready => {
                let sentence = "it comes again as soon as a consumer has room".to_owned();
                (Standing::Waiting, sentence, last(failure), None)
            }
            Open::Blocked => {
                let sentence = "an earlier message with the same ordering key is not settled yet".to_owned();
                (Standing::Waiting, sentence, last(failure), None)
            }
            Open::Leased { consumer, deadline, .. } => {
                let name = super::inner::name_of(&inner.consumers, consumer);
                let sentence = format!("consumer {name} has it: it is settled, or comes again after its deadline");
                (Standing::Leased, sentence, Some(name), at(deadline))
            }
            Open::BackingOff { until } => {
                let sentence = match attempts {
                    0 => "a consumer gave it back, to come again then".to_owned(),
                    _ => format!("attempt {attempts} failed: it comes again when its back-off is over"),
                };
                (Standing::BackingOff, sentence, last(failure), at(until))
            }
            Open::Dying => {
                let sentence = "it is given up, and on its way to the dead letters".to_owned();
                (Standing::DeadLettered, sentence, last(failure), None)
            }
        };
        let last_reason = failure.map(|failure| failure.reason.clone());
        Some(Explanation { standing, sentence, attempts, consumer, next_time, last_reason })
    }

    /// What a dead letter says of the message that it was.
    fn explain_letter(&self, letter: &Stored, specification: &Subscription) -> Explanation {
        let (at, name, topic) = (letter.sequence(), &specification.name, specification.dead_letter_topic());
        let open = self.explain_open(&self.lock(), at);
        if let Some(open) = open {
            let sentence = format!("it was sent back from the dead letters as message {at}: {}", open.sentence);
            return Explanation { sentence, ..open };
        }
        let message = letter.message();
        let said = |key: &str| message.as_ref()?.attributes.get(key).map(|text| text.to_string());
        let (standing, sentence) = match self.lock().ledger.is_redriven(at) {
            true => {
                (Standing::Acked, format!("it was sent back from the dead letters as message {at}, and was settled"))
            }
            false => {
                (Standing::DeadLettered, format!("subscription {name} gave it up: it lies in {topic} as message {at}"))
            }
        };
        Explanation {
            attempts: said(letter::ATTEMPTS).and_then(|text| text.parse().ok()).unwrap_or_default(),
            consumer: said(letter::CONSUMER).map(Into::into),
            last_reason: said(letter::REASON),
            ..Explanation::new(standing, sentence)
        }
    }

    /// The newest dead letter that this subscription left of a message, if one is kept.
    async fn dead_letter_of(&self, specification: &Subscription, sequence: Sequence) -> Result<Option<Stored>> {
        let quoted = serde_json::Value::from(specification.name.as_str());
        let (own, its) = (letter::SUBSCRIPTION, letter::SEQUENCE);
        let text = format!("attributes[\"{its}\"] == \"{sequence}\" && attributes[\"{own}\"] == {quoted}");
        let (patterns, filter) = (letter::patterns(specification), Filter::parse(&text)?);
        let (mut newest, mut from) = (None, sequence.next());
        // There is another for each time that it was sent back and given up again.
        while let Some(found) = self.search(PatternSet::clone(&patterns), filter.clone(), from, Sequence::MAX).await? {
            from = found.sequence().next();
            newest = Some(found);
        }
        Ok(newest)
    }

    /// Whether the subscription asks for a message.
    async fn matches(&self, specification: &Subscription, sequence: Sequence) -> Result<bool> {
        let patterns = specification.pattern_set();
        self.search(patterns, specification.filter(), sequence, sequence).await.map(|found| found.is_some())
    }

    /// A message, whatever its topic, also if its time to live is over.
    async fn stored(&self, sequence: Sequence) -> Result<Option<Stored>> {
        let everything = PatternSet::new(vec![Pattern::Prefix("".into()), Pattern::Prefix("$".into())]);
        self.search(everything, None, sequence, sequence).await
    }

    /// How long ago the first message was published that the subscription asks for, from there on.
    pub(super) async fn age(&self, from: Sequence) -> Result<Option<Duration>> {
        let specification = self.specification();
        let (patterns, filter) = (specification.pattern_set(), specification.filter());
        let oldest = self.search(patterns, filter, from, Sequence::MAX).await?;
        Ok(oldest.and_then(|oldest| oldest.publish_time()).map(|time| self.shared.clock.now().since(time)))
    }

    /// The first message within these positions that is asked for.
    async fn search(
        &self,
        patterns: PatternSet,
        filter: Option<Filter>,
        from: Sequence,
        through: Sequence,
    ) -> Result<Option<Stored>> {
        let patterns = Arc::new(patterns);
        let filter: Option<filters::Registration> = filter.map(|filter| self.place.filters.register(filter));
        let (mut from, through) = (from, through.min(self.place.log.tail().committed()));
        while from <= through {
            let page = self.place.log.read(Query {
                from,
                through,
                patterns: &patterns,
                guide: None,
                filter: filter.as_ref().map(|filter| &filter.alone),
                max_messages: 1,
                max_bytes: usize::MAX,
                // Also what has expired.
                now: Timestamp::EPOCH,
            });
            let page = page.await?;
            if let Some(run) = page.runs.first() {
                return Ok(Some(Stored { record: run.clone() }));
            }
            if page.end || page.next <= from {
                return Ok(None);
            }
            from = page.next;
        }
        Ok(None)
    }
}

impl Stored {
    fn topic(&self) -> &str {
        Records::new(&self.record).next().and_then(Result::ok).map_or("", |record| record.topic())
    }

    fn sequence(&self) -> Sequence {
        Records::new(&self.record).next().and_then(Result::ok).map_or(Sequence::ZERO, |record| record.sequence())
    }

    fn message(&self) -> Option<Message<'_>> {
        Message::decode(&Records::new(&self.record).next()?.ok()?)
    }

    fn publish_time(&self) -> Option<Timestamp> {
        Some(Records::new(&self.record).next().and_then(Result::ok)?.publish_time())
    }

    fn expire_time(&self) -> Option<Timestamp> {
        Records::new(&self.record).next().and_then(Result::ok)?.expire_time()
    }
}

impl Inner {
    /// Whether the first attempt of a message is still to end, and may soon.
    fn will_try(&self, sequence: Sequence, wall: Timestamp) -> bool {
        let is_held = self.is_paused(wall) || self.ledger.next_try().is_some();
        self.ended.is_none() && !is_held && self.ledger.is_untried(sequence)
    }
}

impl Explanation {
    fn new(standing: Standing, sentence: String) -> Self {
        Explanation { standing, sentence, attempts: 0, consumer: None, next_time: None, last_reason: None }
    }

    /// Whether an attempt of it may still come, and none has ended.
    fn is_untried(&self) -> bool {
        matches!(self.standing, Standing::Waiting | Standing::Leased | Standing::BackingOff) && self.attempts == 0
    }
}
