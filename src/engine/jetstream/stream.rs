//! One stream of NATS, as a log asks for it: entries put behind the last one and no other, and read from a position on.
//! Never decides what is put.

use std::{collections::BTreeMap, time::Duration};

use async_nats::{
    Client, HeaderMap, StatusCode, Subscriber, header,
    jetstream::{
        self, Context, ContextBuilder, ErrorCode,
        context::{PublishAckFuture, PublishError, PublishErrorKind},
        message::PublishMessage,
        stream::{InfoError, LastRawMessageErrorKind, RawMessageErrorKind, Stream as Handle},
    },
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{Entry, apply, log_id, subject, unreachable};
use crate::{
    engine::{LogSettings, refusal},
    model::{LogId, NamespaceName, Result},
};

/// How long NATS may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Entries of one block that may be on their way; a block has fewer, unless one batch alone has more than NATS can take
/// together.
const UNANSWERED: usize = 64 << 10;
/// The last position on which an entry depends, and the id of the entry before it: what NATS checks.
const EXPECTED_ID: &str = "Nats-Expected-Last-Msg-Id";
/// How NATS says that the last position is another one: with it, and without.
const WRONG_LAST: [u64; 2] = [10_071, 10_164];
/// The status behind the last message that was asked for.
const END: u16 = 204;
const BATCH_ID: &str = "Nats-Batch-Id";
const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";
const BATCH_COMMIT: &str = "Nats-Batch-Commit";

/// A stream.
pub struct Stream {
    /// Tells its log from every other.
    pub id: LogId,
    namespace: NamespaceName,
    client: Client,
    context: Context,
    handle: Handle<()>,
    name: String,
    // Several servers keep it.
    is_replicated: bool,
}

/// What lies in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The first position that is kept, or would be.
    pub first: u64,
    /// The last that was ever given.
    pub last: u64,
    /// Messages that are kept.
    pub messages: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

/// Entries from a position on.
pub struct Found {
    /// The entries. What others than brokers put into the stream is left out.
    pub entries: Vec<Entry>,
    /// The position behind the last that was looked at.
    pub next: u64,
    /// There was nothing more.
    pub end: bool,
}

/// Why entries were not put into the stream, or were perhaps.
#[derive(Debug)]
pub enum Refusal {
    /// The last entry is another one. Of a chain, those before the first that depends on it may be there.
    Behind,
    /// Nobody knows.
    Unknown(String),
}

#[derive(Serialize)]
struct Request<'a> {
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_by_subj: Option<&'a str>,
    batch: usize,
    max_bytes: usize,
}

#[derive(Serialize)]
struct NewestUpTo<'a> {
    multi_last: [&'a str; 1],
    up_to_seq: u64,
}

#[derive(Deserialize)]
struct Committed {
    seq: Option<u64>,
    error: Option<Declined>,
}

#[derive(Deserialize)]
struct Declined {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Stream {
    /// A stream that is there, kept by so many servers.
    pub async fn open(client: Client, namespace: NamespaceName, id: LogId, replicas: usize) -> Result<Self> {
        let name = subject::stream(&namespace);
        // One of its own: who has put many waits for none but his own answers.
        let context = ContextBuilder::new().max_ack_inflight(UNANSWERED).timeout(PATIENCE).build(client.clone());
        let handle = context.get_stream_no_info(&name).await.map_err(unreachable)?;
        Ok(Stream { id, namespace, client, context, handle, name, is_replicated: replicas > 1 })
    }

    /// Holds it to other settings from now on.
    pub async fn configure(&self, settings: LogSettings) -> Result<()> {
        let mut config = self.handle.get_info().await.map_err(unreachable)?.config;
        if apply(&mut config, settings, 1) {
            self.context.update_stream(config).await.map_err(unreachable)?;
        }
        Ok(())
    }

    /// Puts an entry behind position `last`. Answers its position.
    pub async fn put(&self, entry: &Entry, last: u64) -> Result<u64, Refusal> {
        let mut headers = entry.headers();
        headers.insert(header::NATS_EXPECTED_LAST_SEQUENCE, last.to_string().as_str());
        acknowledged(self.send(entry, headers).await?).await
    }

    /// Whether entries that depend on the id of the one before must not be put while others write. A stream of several
    /// servers compares that id only when it has promised already to put the entry: if another writer's came in between,
    /// the stream breaks (nats-server 2.15: "critical write error: last msgid mismatch"), and takes nothing more.
    pub fn breaks_by_chains(&self) -> bool {
        self.is_replicated
    }

    /// Puts entries behind position `last`, one after the other: each depends on the one before. If it fails, some of
    /// them may be there, and never one without those before it.
    pub async fn put_chain(&self, entries: &[Entry], last: u64) -> Result<u64, Refusal> {
        if self.breaks_by_chains() {
            let mut position = last;
            for entry in entries {
                position = self.put(entry, position).await?;
            }
            return Ok(position);
        }
        let mut acknowledgements = Vec::with_capacity(entries.len());
        for (at, entry) in entries.iter().enumerate() {
            let mut headers = entry.headers();
            match at.checked_sub(1) {
                None => headers.insert(header::NATS_EXPECTED_LAST_SEQUENCE, last.to_string().as_str()),
                // A position would not do: another one could take it when the one before is refused.
                Some(before) => headers.insert(EXPECTED_ID, entries[before].author.to_string().as_str()),
            }
            acknowledgements.push(self.send(entry, headers).await?);
        }
        let mut position = last;
        for acknowledgement in acknowledgements {
            position = acknowledged(acknowledgement).await?;
        }
        Ok(position)
    }

    /// Puts entries behind position `last`, all or none. Answers the position of the last one.
    pub async fn put_atomic(&self, entries: &[Entry], last: u64) -> Result<u64, Refusal> {
        let unknown = |error: &dyn std::fmt::Display| Refusal::Unknown(error.to_string());
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(|error| unknown(&error))?;
        for (at, entry) in entries.iter().enumerate() {
            let mut headers = entry.headers();
            headers.insert(BATCH_ID, entries[0].author.to_string().as_str());
            headers.insert(BATCH_SEQUENCE, (at + 1).to_string().as_str());
            if at == 0 {
                headers.insert(header::NATS_EXPECTED_LAST_SEQUENCE, last.to_string().as_str());
            }
            let (subject, payload) = (self.subject(entry), entry.records.clone());
            let sent = match at + 1 == entries.len() {
                true => {
                    headers.insert(BATCH_COMMIT, "1");
                    self.client.publish_with_reply_and_headers(subject, inbox.clone(), headers, payload).await
                }
                false => self.client.publish_with_headers(subject, headers, payload).await,
            };
            sent.map_err(|error| unknown(&error))?;
        }
        let answer = timeout(PATIENCE, answers.next()).await.map_err(|error| unknown(&error))?;
        let answer = answer.ok_or_else(|| unknown(&"the subscription ended"))?;
        let Ok(committed) = serde_json::from_slice::<Committed>(&answer.payload) else {
            return Err(unknown(&"the answer makes no sense"));
        };
        match (committed.seq, committed.error) {
            (Some(position), None) => Ok(position),
            (_, Some(error)) if WRONG_LAST.contains(&error.err_code) => Err(Refusal::Behind),
            (_, Some(error)) => Err(unknown(&error.description)),
            (None, None) => Err(unknown(&"the answer makes no sense")),
        }
    }

    /// Tells the others that a broker cannot get its entries in. Nothing is kept of it.
    pub async fn ask_for_turn(&self, writer: u64) {
        let writer = Bytes::copy_from_slice(&writer.to_be_bytes());
        drop(self.client.publish(subject::turn(&self.namespace), writer).await);
    }

    /// Hears what all brokers say so.
    pub async fn turns(&self) -> Result<Subscriber> {
        self.client.subscribe(subject::turn(&self.namespace)).await.map_err(unreachable)
    }

    async fn send(&self, entry: &Entry, headers: HeaderMap) -> Result<PublishAckFuture, Refusal> {
        let message = PublishMessage::build().payload(entry.records.clone()).headers(headers);
        self.context.send_publish(self.subject(entry), message).await.map_err(refused)
    }

    fn subject(&self, entry: &Entry) -> String {
        subject::of_topic(&self.namespace, entry.head().topic())
    }

    /// Entries from a position on, of some subjects or of all, at most so many and so many bytes (unless one alone has
    /// more). They may come from a replica that is behind.
    pub async fn read(&self, from: u64, filter: Option<&str>, batch: usize, max_bytes: usize) -> Result<Found> {
        self.get(from, &Request { seq: from.max(1), next_by_subj: filter, batch, max_bytes }).await
    }

    /// The newest entry of a topic that lies at a position or before it.
    pub async fn newest_up_to(&self, topic: &str, up_to: u64) -> Result<Option<Entry>> {
        let request = NewestUpTo { multi_last: [&subject::of_topic(&self.namespace, topic)], up_to_seq: up_to };
        Ok(self.get(0, &request).await?.entries.pop())
    }

    async fn get(&self, from: u64, request: &impl Serialize) -> Result<Found> {
        let request = serde_json::to_vec(request).expect("numbers and text are always JSON");
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(unreachable)?;
        let subject = format!("$JS.API.DIRECT.GET.{}", self.name);
        self.client.publish_with_reply(subject, inbox, request.into()).await.map_err(unreachable)?;
        let mut found = Found { entries: Vec::new(), next: from, end: false };
        loop {
            let answer = timeout(PATIENCE, answers.next()).await.map_err(unreachable)?;
            let answer = answer.ok_or_else(|| unreachable("the subscription ended"))?;
            let headers = answer.headers.unwrap_or_default();
            match answer.status {
                // The end of what was asked for, with how much more there is.
                Some(status) if status.as_u16() == END => {
                    found.end = number(&headers, "Nats-Num-Pending") == Some(0);
                    return Ok(found);
                }
                Some(StatusCode::NOT_FOUND) => {
                    found.end = true;
                    return Ok(found);
                }
                Some(status) => return Err(unreachable(format_args!("it answered {status}"))),
                None => {}
            }
            let position = number(&headers, "Nats-Sequence");
            let position = position.ok_or_else(|| unreachable("it answered without a sequence"))?;
            found.next = position + 1;
            found.entries.extend(self.entry(position, &headers, answer.payload));
        }
    }

    /// The first entry at a position or behind it, as the leader knows it.
    pub async fn next(&self, from: u64, filter: &str) -> Result<Option<Entry>> {
        let mut from = from.max(1);
        loop {
            let message = self.handle.raw_message_builder().sequence(from).next_by_subject(filter).send().await;
            match message {
                Ok(message) => match self.entry(message.sequence, &message.headers, message.payload) {
                    Some(entry) => return Ok(Some(entry)),
                    None => from = message.sequence + 1,
                },
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(None),
                Err(error) => return Err(unreachable(error)),
            }
        }
    }

    /// The newest entry of a topic, as the leader knows it.
    pub async fn newest(&self, topic: &str) -> Result<Option<Entry>> {
        let subject = subject::of_topic(&self.namespace, topic);
        match self.handle.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(self.entry(message.sequence, &message.headers, message.payload)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unreachable(error)),
        }
    }

    /// What lies in it, as the leader knows it; NAMESPACE_NOT_FOUND if it is gone, or another one is in its place.
    pub async fn ends(&self) -> Result<Ends> {
        let info = match self.handle.get_info().await {
            Err(error) if is_missing(&error) => return Err(refusal::removed()),
            info => info.map_err(unreachable)?,
        };
        if log_id(&info.config) != Some(self.id) {
            return Err(refusal::removed());
        }
        let state = info.state;
        let (first, last) = (state.first_sequence.max(1), state.last_sequence);
        Ok(Ends { first, last, messages: state.messages, bytes: state.bytes })
    }

    /// The topics below some subjects that have anything, by name.
    pub async fn topics(&self, filter: &str) -> Result<BTreeMap<String, usize>> {
        let mut subjects = self.handle.info_with_subjects(filter).await.map_err(unreachable)?;
        let mut topics = BTreeMap::new();
        while let Some((subject, count)) = subjects.try_next().await.map_err(unreachable)? {
            topics.extend(subject::topic(&self.namespace, &subject).map(|topic| (topic, count)));
        }
        Ok(topics)
    }

    /// What comes from a position on, as it comes.
    pub async fn follow(&self, from: u64) -> Result<jetstream::consumer::push::Ordered> {
        let config = jetstream::consumer::push::OrderedConfig {
            deliver_subject: self.client.new_inbox(),
            description: Some("a broker's live edge".into()),
            deliver_policy: jetstream::consumer::DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
            ..Default::default()
        };
        let consumer = self.handle.create_consumer(config).await.map_err(unreachable)?;
        consumer.messages().await.map_err(unreachable)
    }

    /// What stands at a position; None if it was not written by a broker.
    pub fn entry(&self, position: u64, headers: &HeaderMap, payload: Bytes) -> Option<Entry> {
        let entry = Entry::read(position, headers, payload);
        if entry.is_none() {
            tracing::warn!(
                stream = self.name,
                position,
                "a message in the stream is none of Tilde's and is passed over"
            );
        }
        entry
    }
}

async fn acknowledged(acknowledgement: PublishAckFuture) -> Result<u64, Refusal> {
    Ok(acknowledgement.await.map_err(refused)?.sequence)
}

fn refused(error: PublishError) -> Refusal {
    match error.kind() {
        PublishErrorKind::WrongLastSequence | PublishErrorKind::WrongLastMessageId => Refusal::Behind,
        _ if is_behind(&error) => Refusal::Behind,
        _ => Refusal::Unknown(error.to_string()),
    }
}

/// Whether NATS refused something because the last position is another one, or will be in a moment: a leader that is
/// still asking the others says it in a way that the client does not know.
pub fn is_behind(error: &(dyn std::error::Error + 'static)) -> bool {
    said(error).is_some_and(|said| WRONG_LAST.contains(&said.error_code().0))
}

fn is_missing(error: &InfoError) -> bool {
    said(error).is_some_and(|said| said.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// What NATS itself said, below what the client made of it.
fn said<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a jetstream::Error> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.as_str().parse().ok()
}
