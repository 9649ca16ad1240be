//! Takes messages: durability, quota, a permit of bytes, then the log. All that does not depend on the order is
//! encoded before any lock.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::OwnedSemaphorePermit;

use super::{Broker, call, served::Served};
use crate::{
    engine::{Appended, Batch, Outcome, Outcomes, Receipt},
    model::{Cursor, Durability, Error, Message, NamespaceName, Reason, Result, Sequence, Timestamp, limits},
};

/// One message to publish.
#[derive(Clone, Debug)]
pub struct Publish<'a> {
    /// Where to; none is `default`, or what the stream says.
    pub namespace: Option<NamespaceName>,
    /// What. Its `expire_time` is set by the broker, from `ttl`. With a `deliver_time` ahead it waits until then.
    pub message: Message<'a>,
    /// How long after its publish time it may be received.
    pub ttl: Option<Duration>,
    /// Publish only if the topic's last sequence is this one; zero: if it has none.
    pub expected_last_sequence: Option<Sequence>,
    /// How durable before the answer; none: as the namespace says.
    pub durability: Option<Durability>,
}

impl Publish<'_> {
    /// The same, borrowed from nothing.
    pub(super) fn into_owned(self) -> Publish<'static> {
        let Publish { namespace, message, ttl, expected_last_sequence, durability } = self;
        Publish { namespace, message: message.into_owned(), ttl, expected_last_sequence, durability }
    }
}

/// A message that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its place.
    pub sequence: Sequence,
    /// When it was taken.
    pub publish_time: Timestamp,
    /// It had been published before; place and time are those of the first.
    pub duplicate: bool,
    /// What this answer is worth.
    pub durability: Durability,
    /// Resume after this message.
    pub cursor: Cursor,
}

impl Broker {
    /// Publishes one message. It is encoded at once, unless another broker may just have registered its schema: the future
    /// keeps nothing of the request.
    pub fn publish<'a>(&'a self, publish: Publish<'_>) -> impl Future<Output = Result<Published>> + Send + use<'a> {
        let single = self.single(publish);
        async move { self.take(single).await }
    }

    /// Takes one message that is encoded.
    pub(super) async fn take(&self, single: Result<Single>) -> Result<Published> {
        let Single { mut group, mut added, late } = single?;
        if let Some(late) = late {
            added = match self.look_for_schemas().await {
                Ok(()) => self.add(&mut group, 0, *late, true).map(drop),
                Err(error) => Err(error),
            };
        }
        let outcome = match added {
            Ok(()) => match self.append(&mut group).await {
                Ok(receipt) => receipt.await.and_then(|outcomes| outcomes.iter().next().unwrap_or_else(unanswered)),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let result = group.published(outcome.clone());
        group.count(&Outcomes::all(1, outcome));
        result
    }

    /// Publishes many: each with a result of its own, in order. What could not even be parsed comes in as an error and
    /// goes out as that result. With `atomic` all or none: the first refusal is the answer to the whole, its field
    /// under `requests[N]`; requests of more than one namespace are refused. All are encoded at once, but for those from one
    /// on whose schema another broker may just have registered: the future keeps nothing of the request.
    pub fn publish_batch<'a>(
        &'a self,
        batch: Vec<Result<Publish<'_>>>,
        atomic: bool,
    ) -> impl Future<Output = Result<Vec<Result<Published>>>> + Send + use<'a> {
        let grouping = self.group(batch, atomic);
        async move {
            let mut grouping = grouping?;
            if !grouping.late.is_empty() {
                self.look_for_schemas().await?;
                let late = std::mem::take(&mut grouping.late);
                self.add_all(&mut grouping, late.into_iter(), true)?;
            }
            let Grouping { mut groups, mut results, .. } = grouping;
            groups.retain(|group| !group.items.is_empty());
            // All are appended before any is waited for. Each group's permit is given back when it is stored, so a
            // group never waits for a permit that another group of the same request holds unappended.
            let mut waiting = Vec::with_capacity(groups.len());
            for mut group in groups {
                let receipt = self.append(&mut group).await;
                waiting.push((group, receipt));
            }
            for (group, receipt) in waiting {
                let outcomes = match receipt {
                    Ok(receipt) => receipt.await,
                    Err(error) => Err(error),
                };
                let outcomes = match outcomes {
                    Err(error) if atomic => {
                        group.place_metrics().refused_messages.inc_by(group.items.len() as u64);
                        return Err(error);
                    }
                    Err(error) => Outcomes::all(group.items.len(), Err(error)),
                    Ok(outcomes) => outcomes,
                };
                for (item, outcome) in group.items.iter().zip(outcomes.iter()) {
                    results[item.at] = Some(group.published(outcome));
                }
                group.count(&outcomes);
            }
            Ok(results.into_iter().map(|result| result.unwrap_or_else(unanswered)).collect())
        }
    }

    /// Encodes one message. A reply is taken as long as a call waits for it.
    pub(super) fn single(&self, publish: Publish<'_>) -> Result<Single> {
        if !publish.message.topic.is_reply() {
            self.refuse_while_draining()?;
        }
        let namespace = publish.namespace.as_ref().unwrap_or(&self.default);
        let mut group = Group::new(self.served(namespace)?, false);
        let (added, late) = match self.add(&mut group, 0, publish, false) {
            Ok(late) => (Ok(()), late.map(Box::new)),
            Err(error) => (Err(error), None),
        };
        Ok(Single { group, added, late })
    }

    /// Encodes the messages, those of one namespace together in their order; and the results of those that are refused.
    fn group(&self, batch: Vec<Result<Publish<'_>>>, atomic: bool) -> Result<Grouping> {
        self.refuse_while_draining()?;
        if batch.is_empty() || batch.len() > limits::BATCH_MESSAGES {
            let message = format!("the batch has {} messages: it takes 1 to {}", batch.len(), limits::BATCH_MESSAGES);
            return Err(Error::new(Reason::RequestInvalid, message).field("requests"));
        }
        let results = vec![None; batch.len()];
        let mut grouping = Grouping { atomic, groups: Vec::new(), results, late: Vec::new() };
        self.add_all(&mut grouping, batch.into_iter().enumerate(), false)?;
        Ok(grouping)
    }

    /// Checks and encodes messages up to one whose schema is to be looked for; see [`Broker::encode`] for `looked`.
    fn add_all<'m>(
        &self,
        grouping: &mut Grouping,
        mut messages: impl Iterator<Item = (usize, Result<Publish<'m>>)>,
        looked: bool,
    ) -> Result<()> {
        let Grouping { atomic, groups, results, late } = grouping;
        let atomic = *atomic;
        while let Some((at, publish)) = messages.next() {
            let added = publish.and_then(|publish| {
                let namespace = publish.namespace.as_ref().unwrap_or(&self.default);
                let known = groups.iter().position(|group| group.served.settings.name == *namespace);
                let group = match known {
                    Some(known) => &mut groups[known],
                    None if atomic && !groups.is_empty() => return Err(two_namespaces(&groups[0], namespace)),
                    None => {
                        groups.push(Group::new(self.served(namespace)?, atomic));
                        groups.last_mut().expect("it was just pushed")
                    }
                };
                let added = self.add(group, at, publish, looked);
                if added.is_err() {
                    group.place_metrics().refused_messages.inc();
                }
                added
            });
            match added {
                Err(error) if atomic => return Err(error.within(format_args!("requests[{at}]"))),
                Err(error) => results[at] = Some(Err(error)),
                Ok(None) => {}
                Ok(Some(unknown)) => {
                    // Those behind it stay behind it.
                    late.push((at, Ok(unknown)));
                    late.extend(messages.by_ref().map(|(at, publish)| (at, publish.map(Publish::into_owned))));
                }
            }
        }
        Ok(())
    }

    /// Checks and encodes one message. Answers it if its schema is to be looked for; see [`Broker::encode`].
    fn add(
        &self,
        group: &mut Group,
        at: usize,
        mut publish: Publish<'_>,
        looked: bool,
    ) -> Result<Option<Publish<'static>>> {
        let before = group.batch.bytes();
        if !self.encode(&group.served, &mut group.batch, &mut publish, looked)? {
            return Ok(Some(publish.into_owned()));
        }
        group.items.push(Item { at, bytes: group.batch.bytes() - before });
        Ok(None)
    }

    /// Checks a message and encodes it into a batch. Nothing is added if it is refused; nor if another broker may have
    /// registered its schema a moment ago, which is answered by false. Then it is to be encoded again when that was `looked`
    /// for.
    pub(super) fn encode(
        &self,
        served: &Served,
        batch: &mut Batch,
        publish: &mut Publish<'_>,
        looked: bool,
    ) -> Result<bool> {
        if publish.message.topic.is_reply() {
            call::check_reply(served, &self.shared.reply_topic, publish)?;
            // Whoever waits for it asks again if it is lost.
            publish.durability = publish.durability.or(Some(Durability::Memory));
        }
        let durability = self.durability(served, publish.durability)?;
        if !served.settings.topic_schemas.is_empty() && !served.check_schema(&publish.message, looked)? {
            return Ok(false);
        }
        publish.message.expire_time = match publish.ttl {
            Some(ttl) => Some(self.expire_time(ttl)?),
            None => None,
        };
        self.schedule(served, publish)?;
        batch.push(&publish.message, self.shared.config.message_bytes, publish.expected_last_sequence)?;
        batch.require(durability);
        Ok(true)
    }

    /// Hands a group's batch to the log, as soon as quota and room allow.
    async fn append(&self, group: &mut Group) -> Result<Receipt> {
        let mut batch = std::mem::replace(&mut group.batch, Batch::new(Durability::Memory));
        group.served.rate.take(batch.len(), batch.bytes())?;
        batch.reserve(self.permit(batch.bytes()).await?);
        Ok(group.served.place.log.append(batch))
    }

    /// Waits until so many more bytes may be pending.
    pub(super) async fn permit(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        if let Some(permit) = self.permit_now(bytes) {
            return Ok(permit);
        }
        let permit = self.pending.clone().acquire_many_owned(self.permits(bytes)).await;
        permit.map_err(|_| self.shared.draining("the broker has stopped"))
    }

    /// As [`Broker::permit`], if nobody must wait.
    pub(super) fn permit_now(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.pending.clone().try_acquire_many_owned(self.permits(bytes)).ok()
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.pending_bytes)
    }

    fn durability(&self, served: &Served, asked: Option<Durability>) -> Result<Durability> {
        let strongest = self.engine.strongest();
        match asked {
            // What nobody asked for is as good as it can be; the answer tells.
            None => Ok(served.settings.durability.min(strongest)),
            Some(asked) if asked <= strongest => Ok(asked),
            Some(asked) => {
                let message = format!(
                    "the {} engine gives no durability {asked}: ask for {strongest} at most, or leave it out",
                    self.engine.name()
                );
                Err(Error::new(Reason::DurabilityUnavailable, message).field("durability"))
            }
        }
    }

    fn expire_time(&self, ttl: Duration) -> Result<Timestamp> {
        if ttl.is_zero() || ttl > limits::TTL {
            let message =
                format!("the ttl is {ttl:?}: it takes more than 0 and at most {} days", limits::TTL.as_secs() / 86_400);
            return Err(Error::new(Reason::MessageInvalid, message).field("ttl"));
        }
        Ok(self.shared.clock.now().plus(ttl))
    }
}

/// The messages of a batch, as far as they are encoded.
struct Grouping {
    atomic: bool,
    groups: Vec<Group>,
    // What is known so far of the results, one a request.
    results: Vec<Option<Result<Published>>>,
    // From one on whose schema is to be looked for, each with its place in the request.
    late: Vec<(usize, Result<Publish<'static>>)>,
}

/// Messages for one namespace that are appended together.
struct Group {
    served: Arc<Served>,
    batch: Batch,
    items: Vec<Item>,
}

/// One message that is encoded, or was refused, or whose schema is to be looked for.
pub(super) struct Single {
    group: Group,
    added: Result<()>,
    late: Option<Box<Publish<'static>>>,
}

/// One of them.
struct Item {
    /// Its place in the request.
    at: usize,
    /// Encoded.
    bytes: usize,
}

impl Group {
    fn new(served: Arc<Served>, atomic: bool) -> Self {
        Group { served, batch: Batch::new(Durability::Memory).atomic(atomic), items: Vec::new() }
    }

    fn place_metrics(&self) -> &crate::telemetry::NamespaceMetrics {
        &self.served.place.metrics
    }

    fn published(&self, outcome: Outcome) -> Result<Published> {
        let Appended { sequence, publish_time, duplicate, durability } = outcome?;
        let cursor = self.served.place.cursor(sequence);
        Ok(Published { sequence, publish_time, duplicate, durability, cursor })
    }

    /// Counts what became of the messages; what had been published before is neither taken nor refused.
    fn count(&self, outcomes: &Outcomes) {
        let (mut taken, mut bytes, mut refused) = (0, 0, 0);
        for (item, outcome) in self.items.iter().zip(outcomes.iter()) {
            match outcome {
                Ok(Appended { duplicate: false, .. }) => {
                    taken += 1;
                    bytes += item.bytes as u64;
                }
                Ok(_) => {}
                Err(_) => refused += 1,
            }
        }
        let metrics = self.place_metrics();
        metrics.published_messages.inc_by(taken);
        metrics.published_bytes.inc_by(bytes);
        if refused > 0 {
            metrics.refused_messages.inc_by(refused);
        }
    }
}

fn two_namespaces(group: &Group, other: &NamespaceName) -> Error {
    let first = &group.served.settings.name;
    let message = format!("an atomic batch goes to one namespace: this one names {first} and {other}");
    Error::new(Reason::RequestInvalid, message).field("namespace")
}

/// Engines answer every record; one that does not is at fault.
fn unanswered<T>() -> Result<T> {
    Err(Error::new(Reason::Internal, "the engine gave no answer: whether the message was stored is not known"))
}
