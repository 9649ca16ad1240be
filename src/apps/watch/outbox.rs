//! Publishes the changes that wait, in order, and each of them once: also when an answer was lost, and when this program or
//! the broker was killed. Never looks at files.
//!
//! A batch is published as a whole or not at all. Where it is not known whether it was, the broker is asked first what it
//! has: this watcher alone writes these topics, so what it published last is what they end with.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time;

use super::{
    change,
    known::{Entry, Store},
    room::{CHANGES, Room},
};
use crate::{
    apps::remote::{Remote, Tenant},
    client::{self, Backoff, Channel, Fate, Fault},
    clock::SystemClock,
    pb::v1::{
        BatchPublishRequest, PublishRequest, StartPosition, SubscribeRequest, broker_client::BrokerClient,
        publish_result, start_position::Position,
    },
};

/// Published together: messages, and their bytes.
const BATCH: usize = 100;
const BATCH_BYTES: usize = 1 << 20;
/// How long a call may take.
const CALL: Duration = Duration::from_secs(30);

/// Publishes.
pub struct Outbox {
    store: Arc<Store>,
    room: Arc<Room>,
    remote: Remote,
    tenant: Tenant,
    broker: Option<BrokerClient<Channel>>,
    /// Something that waits may be published already.
    doubt: bool,
    /// The person was told that nothing is published, and not that it goes on.
    troubled: bool,
    backoff: Backoff,
}

impl Outbox {
    /// With what is left from before, which may have been published.
    pub fn new(store: Arc<Store>, room: Arc<Room>, remote: Remote, tenant: Tenant) -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let doubt = room.changes() > 0;
        Outbox { store, room, remote, tenant, broker: None, doubt, troubled: false, backoff }
    }

    /// Publishes whatever comes, until it cannot go on: for as long as the broker is away, all is kept. Safe to drop while
    /// it waits.
    pub async fn run(&mut self) -> anyhow::Result<()> {
        loop {
            self.room.filled().await;
            self.step().await?;
        }
    }

    /// Publishes what waits, and ends.
    pub async fn drain(&mut self) -> anyhow::Result<()> {
        while self.room.changes() > 0 {
            self.step().await?;
        }
        Ok(())
    }

    async fn step(&mut self) -> anyhow::Result<()> {
        let batch = self.store.first(BATCH, BATCH_BYTES)?;
        let done = match self.doubt {
            true => self.find_published(&self.store.first(CHANGES as usize, usize::MAX)?).await,
            false => self.publish(&batch).await.map(|()| numbers(&batch)),
        };
        match done {
            Ok(published) => self.forget(&published),
            Err(fault) if fault.reason.as_deref() == Some("MESSAGE_TOO_LARGE") => self.cut(&batch).await,
            Err(fault) => self.wait(fault).await,
        }
    }

    /// All of them, or none.
    async fn publish(&mut self, batch: &[Entry]) -> Result<(), Fault> {
        let requests = batch.iter().map(|(_, request)| self.addressed(request.clone())).collect();
        let request = BatchPublishRequest { requests, atomic: true };
        let mut broker = self.broker().await?;
        // Also if nobody waits for the answer.
        self.doubt = true;
        let answer = client::within(CALL, request, |request| broker.batch_publish(request)).await;
        self.doubt = matches!(&answer, Err(fault) if fault.fate == Fate::Unknown);
        let refusal = answer?.results.into_iter().find_map(|result| match result.result {
            Some(publish_result::Result::Error(error)) => Some(error),
            _ => None,
        });
        refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// Which of those that wait the broker has.
    async fn find_published(&mut self, waiting: &[Entry]) -> Result<Vec<u64>, Fault> {
        let topics: BTreeSet<&String> = waiting.iter().map(|(_, request)| &request.topic).collect();
        let request = SubscribeRequest {
            topics: topics.into_iter().cloned().collect(),
            start: Some(StartPosition { position: Some(Position::LastMessages(waiting.len() as u32)) }),
            stop_at_end: true,
            namespace: self.tenant.namespace.clone(),
            ..SubscribeRequest::default()
        };
        let mut broker = self.broker().await?;
        let mut there = HashSet::new();
        let reading = async {
            let mut stream = broker.subscribe(request).await?.into_inner();
            while let Some(response) = stream.message().await? {
                there.extend(response.messages.into_iter().map(|message| message.message_id));
            }
            Ok::<(), tonic::Status>(())
        };
        match time::timeout(CALL, reading).await {
            Ok(read) => read?,
            Err(_) => return Err(Fault::from(tonic::Status::deadline_exceeded("no answer came in time"))),
        }
        self.doubt = false;
        let found = waiting.iter().filter(|(_, request)| there.contains(&request.message_id));
        Ok(found.map(|(number, _)| *number).collect())
    }

    fn forget(&mut self, numbers: &[u64]) -> anyhow::Result<()> {
        if std::mem::take(&mut self.troubled) {
            eprintln!("the broker at {} takes changes again", self.remote.broker);
        }
        self.backoff.reset();
        let changes = self.store.change()?;
        let bytes = changes.published(numbers.iter().copied())?;
        changes.commit()?;
        self.room.remove(numbers.len() as u64, bytes);
        Ok(())
    }

    /// One of these is more than the broker takes: it goes without its diff.
    async fn cut(&mut self, batch: &[Entry]) -> anyhow::Result<()> {
        for entry in batch {
            match self.publish(std::slice::from_ref(entry)).await {
                Ok(()) => self.forget(&[entry.0])?,
                Err(fault) if fault.reason.as_deref() == Some("MESSAGE_TOO_LARGE") => {
                    let shorter = change::without_diff(entry.1.clone());
                    if shorter == entry.1 {
                        return Err(self.remote.failure(fault).into());
                    }
                    let changes = self.store.change()?;
                    changes.replace(entry.0, &shorter)?;
                    return Ok(changes.commit()?);
                }
                Err(fault) => return self.wait(fault).await,
            }
        }
        Ok(())
    }

    /// Nothing could be published just now.
    async fn wait(&mut self, fault: Fault) -> anyhow::Result<()> {
        let failure = self.remote.failure(fault.clone());
        if !fault.is_passing() {
            return Err(failure.into());
        }
        if !std::mem::replace(&mut self.troubled, true) {
            eprintln!("changes are kept until they can be published: {failure}");
        }
        time::sleep(self.backoff.next(&SystemClock, fault.retry_delay)).await;
        Ok(())
    }

    async fn broker(&mut self) -> Result<BrokerClient<Channel>, Fault> {
        if let Some(broker) = &self.broker {
            return Ok(broker.clone());
        }
        Ok(self.broker.insert(self.remote.messages().await?).clone())
    }

    fn addressed(&self, request: PublishRequest) -> PublishRequest {
        PublishRequest { namespace: self.tenant.namespace.clone(), ..request }
    }
}

fn numbers(batch: &[Entry]) -> Vec<u64> {
    batch.iter().map(|(number, _)| *number).collect()
}
