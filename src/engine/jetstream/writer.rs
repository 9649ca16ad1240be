//! Puts what waits behind the last entry of a stream, block after block. Whoever else writes is found out by NATS: it takes
//! an entry only behind the one that the writer knows as the last. Then the writer learns what came in between, and decides
//! anew. So any number of brokers may write, and no answer is given for what is not there.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::{
    draft::{Append, Draft, Frame},
    entry::Totals,
    known::Newest,
    log::JetStreamLog,
    stream::Refusal,
    unreachable,
};
use crate::{
    engine::{Batch, Session},
    model::{Durability, Error, Result, Sequence},
};

/// What waits for the writer.
pub enum Submission {
    /// Records.
    Append(Append),
    /// A producer's session, and who waits for its next number.
    Attach(Arc<Session>, oneshot::Sender<Result<u64>>),
}

/// Bytes and records that go into one block; one batch more may.
const BLOCK_BYTES: usize = 1 << 20;
const BLOCK_RECORDS: usize = 8_192;
/// Entries that NATS puts all or none.
const BATCH_ENTRIES: usize = 1_000;
/// What is refused so often though nothing came in between is refused for good; and how long is waited in between.
const TRIES: u32 = 8;
const SOON: Duration = Duration::from_millis(50);
/// Topics that are asked about at a time.
const ASKED: usize = 64;

/// Writes one log.
pub struct Writer {
    /// The log.
    pub log: Arc<JetStreamLog>,
    /// What waits.
    pub waiting: mpsc::UnboundedReceiver<Submission>,
    /// What is the same for all blocks.
    pub frame: Frame,
    /// Nobody knows whether the last block is there.
    pub is_unsure: bool,
}

impl Writer {
    /// Writes until nobody can hand in anything any more.
    pub async fn run(mut self) {
        let mut next = None;
        loop {
            let first = match next.take() {
                Some(first) => first,
                None => match self.waiting.recv().await {
                    Some(first) => first,
                    None => return,
                },
            };
            match first {
                Submission::Attach(session, answer) => {
                    let attached = self.attach(session).await;
                    drop(answer.send(attached));
                }
                Submission::Append(append) => {
                    let (mut bytes, mut records) = (append.batch.bytes(), append.batch.len());
                    let mut appends = vec![append];
                    while bytes < BLOCK_BYTES && records < BLOCK_RECORDS {
                        match self.waiting.try_recv() {
                            Ok(Submission::Append(append)) => {
                                bytes += append.batch.bytes();
                                records += append.batch.len();
                                appends.push(append);
                            }
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.write(appends).await;
                    self.log.turns.give().await;
                }
            }
        }
    }

    async fn attach(&mut self, session: Arc<Session>) -> Result<u64> {
        let log = self.log.clone();
        let _writing = log.writing.lock().await;
        log.check()?;
        // Its last numbers may have been written elsewhere.
        log.catch_up().await?;
        self.is_unsure = false;
        log.known().attach(session, log.clock.now())
    }

    /// Writes records, however often others come in between.
    async fn write(&mut self, mut appends: Vec<Append>) {
        let log = self.log.clone();
        let _writing = log.writing.lock().await;
        let mut idle = 0;
        while !appends.is_empty() {
            let ready = async {
                log.check()?;
                if self.is_unsure {
                    log.catch_up().await?;
                    self.is_unsure = false;
                }
                self.ask(&appends).await
            };
            if let Err(error) = ready.await {
                appends.into_iter().for_each(|append| append.tell(Err(error.clone())));
                return;
            }
            let (later, before) = (appends.split_off(fitting(&appends)), log.known().position);
            appends = self.write_once(&log, appends).await;
            // Whoever is behind has learned something. If there was nothing, NATS refuses for another reason.
            idle = if appends.is_empty() || log.known().position > before { 0 } else { idle + 1 };
            appends.extend(later);
            if idle == TRIES {
                let error = unreachable("it takes nothing, and what it says is in the broker's log");
                appends.into_iter().for_each(|append| append.tell(Err(error.clone())));
                return;
            }
            sleep(SOON * idle).await;
        }
    }

    /// Writes one block. Answers what must be placed anew.
    async fn write_once(&mut self, log: &JetStreamLog, appends: Vec<Append>) -> Vec<Append> {
        self.frame.block += 1;
        let (mut draft, begin, position) = {
            let mut known = log.known();
            known.expire(log.clock.now());
            (Draft::new(appends, &known, log.first(), &log.tail.marks(), self.frame), known.next, known.position)
        };
        // A server that syncs each message by itself syncs those of a batch together.
        let together = self.frame.strongest == Durability::Synced || log.stream.breaks_by_chains();
        let put = match draft.entries.len() {
            0 => Ok(position),
            1 => log.stream.put(&draft.entries[0], position).await,
            entries if draft.atomic || (together && entries <= BATCH_ENTRIES) => {
                log.stream.put_atomic(&draft.entries, position).await
            }
            _ => log.stream.put_chain(&draft.entries, position).await,
        };
        match put {
            Ok(_) => {
                for (entry, position) in draft.entries.iter_mut().zip(position + 1..) {
                    entry.position = position;
                }
                log.learn_own(std::mem::take(&mut draft.entries), &draft.records, &draft.additions);
                draft.settle();
                Vec::new()
            }
            Err(refusal) => {
                self.is_unsure = true;
                log.ask_for_turn().await;
                if let Refusal::Unknown(reason) = &refusal {
                    tracing::warn!(namespace = %log.namespace, reason, "a block was not taken: what NATS has is looked up");
                }
                match log.catch_up().await {
                    Err(error) => {
                        draft.fail(&error);
                        Vec::new()
                    }
                    Ok(()) => {
                        self.is_unsure = false;
                        // Nothing can have been put in between the entries of one block.
                        let kept = log.kept_of(&draft.entries, begin);
                        draft.settle_before(begin, kept)
                    }
                }
            }
        }
    }

    /// Finds out what must be known of the topics that are written to.
    async fn ask(&self, appends: &[Append]) -> Result<()> {
        let log = &self.log;
        let unknown: HashSet<String> = {
            let known = log.known();
            let records = appends.iter().flat_map(|append| (0..append.batch.len()).map(|at| append.batch.record(at)));
            records.filter(|record| !known.knows(record.topic())).map(|record| record.topic().to_owned()).collect()
        };
        let asked = unknown.into_iter().map(|topic| async move {
            let newest = log.stream.newest(&topic).await?;
            Ok::<_, Error>((topic, newest))
        });
        let found: Vec<_> = stream::iter(asked).buffer_unordered(ASKED).try_collect().await?;
        let mut known = log.known();
        for (topic, entry) in found {
            let newest = entry.map_or((Sequence::ZERO, Totals::default()), |entry| (entry.last(), entry.totals));
            known.remember(&topic, Newest { last: newest.0, totals: newest.1 });
        }
        Ok(())
    }
}

/// How many of them make no more entries than can be put all or none; at least one.
fn fitting(appends: &[Append]) -> usize {
    let mut entries = 0;
    let fits = |append: &&Append| {
        entries += spans(&append.batch);
        entries <= BATCH_ENTRIES
    };
    appends.iter().take_while(fits).count().max(1)
}

/// How often the topic changes among the records of a batch, with the first.
fn spans(batch: &Batch) -> usize {
    let (mut spans, mut last) = (0, "");
    for at in 0..batch.len() {
        let record = batch.record(at);
        if record.topic() != last {
            (spans, last) = (spans + 1, record.topic());
        }
    }
    spans
}
