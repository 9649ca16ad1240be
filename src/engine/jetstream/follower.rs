//! Learns what lies in a stream, whoever has written it: as it comes, up to the end when that must be known, and what the
//! writer has put itself. Never writes, and never looks back.

use std::sync::{Arc, atomic::Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use tokio::time::sleep;

use super::{
    AGAIN, Entry,
    log::{JetStreamLog, PAGE_BYTES, PAGE_ENTRIES},
};
use crate::{
    engine::{Block, producers::Additions},
    model::{Result, Sequence},
};

impl JetStreamLog {
    /// Learns of what others put into the stream, as it comes.
    pub async fn follow(self: Arc<Self>) {
        loop {
            let from = self.known().position + 1;
            match self.stream.follow(from).await {
                Err(error) => tracing::debug!(namespace = %self.namespace, %error, "the stream cannot be followed"),
                Ok(mut messages) => {
                    while let Some(Ok(message)) = messages.next().await {
                        let mut came = vec![message];
                        while came.len() < PAGE_ENTRIES
                            && let Some(Some(Ok(message))) = messages.next().now_or_never()
                        {
                            came.push(message);
                        }
                        let _writing = self.writing.lock().await;
                        let known = self.known().position;
                        let mut last = known;
                        let entries = came.into_iter().filter_map(|message| {
                            let position = message.info().ok()?.stream_sequence;
                            last = last.max(position);
                            let headers = message.message.headers.as_ref()?;
                            let is_new = position > known;
                            is_new.then(|| self.stream.entry(position, headers, message.message.payload.clone()))?
                        });
                        self.learn(entries.collect());
                        self.known().passed(last);
                    }
                }
            }
            sleep(AGAIN).await;
        }
    }

    /// Learns of entries that are there, from whoever: each once, in order. Under `writing`.
    pub fn learn(&self, entries: Vec<Entry>) {
        let mut known = self.known();
        let mut run: Vec<Entry> = Vec::new();
        for entry in entries {
            if entry.position <= known.position {
                continue;
            }
            if entry.first <= self.tail.committed().max(run.last().map_or(Sequence::ZERO, Entry::last)) {
                tracing::error!(
                    namespace = %self.namespace, position = entry.position, first = %entry.first,
                    "an entry says that it lies before those that came before it: it is passed over"
                );
                known.position = entry.position;
                continue;
            }
            known.learn(&entry, self.writer);
            if entry.author.writer != self.writer {
                self.turns.is_taken();
            }
            let bytes: usize = run.iter().map(|entry| entry.records.len()).sum();
            if run.last().is_some_and(|last| last.last().next() != entry.first || bytes >= PAGE_BYTES) {
                self.commit(&std::mem::take(&mut run));
            }
            run.push(entry);
        }
        self.commit(&run);
    }

    /// Learns of entries that the writer has put, whose records lie together in `records`. Under `writing`.
    pub fn learn_own(&self, entries: Vec<Entry>, records: &Bytes, additions: &Additions) {
        let mut known = self.known();
        entries.iter().for_each(|entry| known.learn_place(entry));
        let time = known.time;
        known.producers.apply(additions, time);
        self.note(&entries);
        if let Some(first) = entries.first() {
            let expires = entries.iter().any(|entry| entry.expires);
            self.show(records.clone(), first.first, expires);
        }
    }

    fn commit(&self, run: &[Entry]) {
        let Some(first) = run.first() else { return };
        self.note(run);
        let records = match run {
            [one] => one.records.clone(),
            many => {
                let mut records = BytesMut::with_capacity(many.iter().map(|entry| entry.records.len()).sum());
                many.iter().for_each(|entry| records.extend_from_slice(&entry.records));
                records.freeze()
            }
        };
        self.show(records, first.first, run.iter().any(|entry| entry.expires));
    }

    fn show(&self, records: Bytes, first: Sequence, expires: bool) {
        // Counted exactly when it is looked at next.
        self.bytes.fetch_add(records.len() as u64, Ordering::Relaxed);
        match Block::index(records, first, expires) {
            Ok(block) => self.tail.commit(block),
            Err(_) => tracing::error!(namespace = %self.namespace, %first, "an entry holds no records"),
        }
    }

    fn note(&self, entries: &[Entry]) {
        let mut places = self.places.lock().expect("nobody panics while holding it");
        entries.iter().for_each(|entry| places.note(entry));
    }

    /// Learns of everything that is in the stream by now. Under `writing`.
    pub async fn catch_up(&self) -> Result<()> {
        let last = self.stream.ends().await?.last;
        loop {
            let position = self.known().position;
            if position >= last {
                return Ok(());
            }
            let found = self.stream.read(position + 1, None, PAGE_ENTRIES, PAGE_BYTES).await?;
            let next = found.next;
            self.learn(found.entries);
            if next > position + 1 {
                self.known().passed(next - 1);
                continue;
            }
            // A replica that is behind has nothing yet; or it was removed meanwhile.
            match self.stream.next(position + 1, ">").await? {
                Some(entry) if entry.position <= last => self.learn(vec![entry]),
                _ => self.known().position = last,
            }
        }
    }

    /// Up to where the entries of a block that began at `begin` are in the stream, after [`JetStreamLog::catch_up`].
    pub fn kept_of(&self, entries: &[Entry], begin: Sequence) -> Sequence {
        let places = self.places.lock().expect("nobody panics while holding it");
        let kept = entries.iter().take_while(|entry| places.author(entry.first) == Some(entry.author));
        kept.last().map_or(begin, |entry| entry.last().next())
    }
}
