//! What the brokers of a cluster tell each other: a key for each in a bucket whose values are gone after a while, renewed as
//! long as its broker lives. Never reads what is told.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::{
    self, Context,
    kv::{Entry, Operation, Store, Watch},
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Config, log::Shared, state, unreachable};
use crate::{
    engine::{BoxFuture, Members},
    model::Result,
};

/// The bucket.
const BUCKET: &str = "tilde-brokers";
/// How long a value stays, and how often it is renewed.
const TERM: Duration = Duration::from_secs(10);
const RENEWAL: Duration = Duration::from_secs(3);
/// What failed is tried again after this; so often it is looked who is gone, too.
const AGAIN: Duration = Duration::from_secs(1);
/// What is on its way is here soon.
const SOON: Duration = Duration::from_millis(5);

/// A broker among the others.
pub struct Membership {
    store: Store,
    // Drawn at random by each process.
    me: String,
    // The word, and how often it was changed; and of which change the others can hear.
    word: watch::Sender<(u64, Bytes)>,
    told: watch::Sender<u64>,
    heard: Mutex<HashMap<String, (Bytes, Instant)>>,
    others: watch::Sender<Vec<Bytes>>,
    // The last of the bucket's changes that was heard of.
    seen: AtomicU64,
}

impl Membership {
    /// Listens to the others, and tells them, until the engine stops.
    pub async fn open(context: &Context, config: &Config, shared: &Shared) -> Result<Arc<Self>> {
        let bucket = jetstream::kv::Config {
            bucket: BUCKET.into(),
            description: "Tilde: what the brokers tell each other".into(),
            history: 1,
            max_age: TERM,
            num_replicas: config.replicas,
            ..Default::default()
        };
        let membership = Arc::new(Membership {
            store: state::bucket(context, bucket).await?,
            me: format!("{:016x}", shared.clock.random()),
            word: watch::Sender::default(),
            told: watch::Sender::default(),
            heard: Mutex::default(),
            others: watch::Sender::default(),
            seen: AtomicU64::new(0),
        });
        let (task, stop) = (membership.clone(), shared.stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = task.speak() => {}
                () = task.listen() => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(membership)
    }

    /// Puts the word whenever it changes, and again before it is gone.
    async fn speak(&self) {
        let mut word = self.word.subscribe();
        loop {
            let (change, bytes) = word.borrow_and_update().clone();
            let is_silent = bytes.is_empty();
            let put = match is_silent {
                false => self.store.put(&self.me, bytes).await.map(drop).map_err(unreachable),
                true if change == 0 => Ok(()),
                true => self.store.delete(&self.me).await.map_err(unreachable),
            };
            let pause = match put {
                Ok(()) => {
                    self.told.send_replace(change);
                    RENEWAL
                }
                Err(error) => {
                    tracing::debug!(%error, "the other brokers are not told");
                    AGAIN
                }
            };
            tokio::select! {
                changed = word.changed() => if changed.is_err() { return },
                () = sleep(pause), if !is_silent || pause == AGAIN => {}
            }
        }
    }

    /// Hears the others.
    async fn listen(&self) {
        loop {
            match self.begin().await {
                Ok(mut watch) => loop {
                    tokio::select! {
                        next = watch.next() => match next {
                            Some(Ok(entry)) => self.hear(entry),
                            Some(Err(error)) => tracing::debug!(%error, "the other brokers are not heard"),
                            None => break,
                        },
                        () = sleep(AGAIN) => self.tell_others(),
                    }
                },
                Err(error) => tracing::debug!(%error, "the other brokers cannot be heard"),
            }
            sleep(AGAIN).await;
        }
    }

    async fn begin(&self) -> Result<Watch> {
        let state = self.store.stream.get_info().await.map_err(unreachable)?.state;
        let watch = self.store.watch_with_history(">").await.map_err(unreachable)?;
        if state.messages == 0 {
            self.seen.fetch_max(state.last_sequence, Ordering::SeqCst);
        }
        Ok(watch)
    }

    fn hear(&self, entry: Entry) {
        if entry.key != self.me {
            let mut heard = self.heard();
            match entry.operation {
                Operation::Put => drop(heard.insert(entry.key, (entry.value, Instant::now()))),
                Operation::Delete | Operation::Purge => drop(heard.remove(&entry.key)),
            }
        }
        self.tell_others();
        self.seen.fetch_max(entry.revision, Ordering::SeqCst);
    }

    /// Hands out what is heard, without those who are gone.
    fn tell_others(&self) {
        let mut heard = self.heard();
        heard.retain(|_, (_, since)| since.elapsed() < TERM);
        let mut words: Vec<Bytes> = heard.values().map(|(word, _)| word.clone()).collect();
        words.sort_unstable();
        self.others.send_if_modified(|known| {
            let is_news = *known != words;
            *known = words;
            is_news
        });
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Bytes, Instant)>> {
        self.heard.lock().expect("nobody panics while holding what was heard")
    }
}

impl Members for Membership {
    fn tell(&self, word: Bytes) {
        self.word.send_if_modified(|(change, known)| {
            let is_news = *known != word;
            if is_news {
                (*change, *known) = (*change + 1, word);
            }
            is_news
        });
    }

    fn told(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let change = self.word.borrow().0;
            let told = self.told.subscribe().wait_for(|told| *told >= change).await.map(drop);
            told.map_err(unreachable)
        })
    }

    fn others(&self) -> watch::Receiver<Vec<Bytes>> {
        self.others.subscribe()
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let last = self.store.stream.get_info().await.map_err(unreachable)?.state.last_sequence;
            while self.seen.load(Ordering::SeqCst) < last {
                sleep(SOON).await;
            }
            Ok(())
        })
    }
}
