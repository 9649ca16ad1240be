//! The office of a cluster: a key of a bucket whose values are gone after a while. Its holder renews it, and stops to
//! trust in it before anybody else can have it. Never does what the office is for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::{self, Context, kv::Store};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Config, FAREWELL, KvState, log::Shared, state, unreachable};
use crate::{
    engine::{BoxFuture, Holder, Office, State as _},
    model::Result,
};

/// The bucket, and its key.
const BUCKET: &str = "tilde-office";
const KEY: &str = "subscriptions";
/// How long a value stays; how often it is renewed; and how long before its end its holder stops.
const TERM: Duration = Duration::from_secs(10);
const RENEWAL: Duration = Duration::from_secs(3);
const MARGIN: Duration = Duration::from_secs(2);
/// What failed is tried again after this.
const SOON: Duration = Duration::from_millis(200);
/// So often it is looked who holds it.
const LOOK: Duration = Duration::from_secs(1);

/// A broker's part in it.
pub struct Candidacy {
    store: Store,
    state: Arc<KvState>,
    me: Term,
    began: Instant,
    // It is held until then: in milliseconds since it began; zero if it is not.
    until: AtomicU64,
    holder: watch::Sender<Holder>,
    reach: Arc<watch::Sender<bool>>,
    leaving: CancellationToken,
}

/// The value: JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Term {
    // Drawn at random by each process.
    broker: String,
    address: String,
}

impl Candidacy {
    /// Stands for it, until the engine stops. Tells whether NATS answers.
    pub async fn open(
        context: &Context,
        config: &Config,
        shared: &Shared,
        reach: Arc<watch::Sender<bool>>,
    ) -> Result<Arc<Self>> {
        let bucket = jetstream::kv::Config {
            bucket: BUCKET.into(),
            description: "Tilde: which broker works off the subscriptions".into(),
            history: 1,
            max_age: TERM,
            num_replicas: config.replicas,
            ..Default::default()
        };
        let candidacy = Arc::new(Candidacy {
            store: state::bucket(context, bucket).await?,
            state: shared.state.clone(),
            me: Term { broker: format!("{:016x}", shared.clock.random()), address: config.address.clone() },
            began: Instant::now(),
            until: AtomicU64::new(0),
            holder: watch::Sender::default(),
            reach,
            leaving: CancellationToken::new(),
        });
        let (task, stop) = (candidacy.clone(), shared.stop.clone());
        tokio::spawn(async move {
            let leaving = task.leaving.clone();
            tokio::select! {
                () = task.stand() => {}
                () = leaving.cancelled() => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(candidacy)
    }

    /// Takes it when nobody has it, and keeps it as long as that can be.
    async fn stand(&self) {
        loop {
            let taken = timeout(RENEWAL, self.take()).await.unwrap_or_else(|late| Err(unreachable(late)));
            self.reached(taken.is_ok());
            match taken {
                Ok(Some(version)) => self.hold(version).await,
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%error, "it is not known who works off the subscriptions");
                    self.tell(Holder::Nobody);
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Takes it if nobody has it. Answers its version then.
    async fn take(&self) -> Result<Option<u64>> {
        let before = Instant::now();
        let taken = match self.held().await? {
            // It was renewed too late to be trusted.
            Some((term, version)) if term == self.me => self.store.update(KEY, self.value(), version).await.ok(),
            Some((term, _)) => {
                self.tell(Holder::Other(term.address));
                return Ok(None);
            }
            None => {
                self.tell(Holder::Nobody);
                self.store.create(KEY, self.value()).await.ok()
            }
        };
        let Some(version) = taken else {
            // Another one was faster: who is it?
            if let Some((term, _)) = self.held().await?.filter(|(term, _)| *term != self.me) {
                self.tell(Holder::Other(term.address));
            }
            return Ok(None);
        };
        self.trust(before);
        // What others kept before is to be known before anything is done.
        self.state.catch_up().await?;
        self.tell(Holder::Me(version));
        tracing::info!("this broker works off the subscriptions from now on");
        Ok(Some(version))
    }

    /// Who has it, and its version.
    async fn held(&self) -> Result<Option<(Term, u64)>> {
        let held = state::newest(&self.store, KEY).await?;
        Ok(held.and_then(|(value, version)| Some((serde_json::from_slice(&value).ok()?, version))))
    }

    /// Renews it until it is lost.
    async fn hold(&self, mut version: u64) {
        let mut pause = RENEWAL;
        loop {
            sleep(pause).await;
            let before = Instant::now();
            let renewed = timeout(RENEWAL, self.store.update(KEY, self.value(), version)).await;
            // An answer that comes after the trust has ended is worth nothing.
            if !self.is_mine() {
                break;
            }
            pause = match renewed {
                Ok(Ok(renewed)) => {
                    version = renewed;
                    self.trust(before);
                    self.reached(true);
                    RENEWAL
                }
                // It may have been renewed, and the answer was lost.
                Ok(Err(_)) | Err(_) => match timeout(RENEWAL, self.held()).await {
                    Ok(Ok(Some((term, renewed)))) if term == self.me => {
                        version = renewed;
                        SOON
                    }
                    Ok(Ok(other)) => {
                        tracing::debug!(?other, "another broker has it, or nobody");
                        break;
                    }
                    Ok(Err(_)) | Err(_) => {
                        self.reached(false);
                        SOON
                    }
                },
            };
        }
        self.until.store(0, Ordering::SeqCst);
        self.tell(Holder::Nobody);
        tracing::warn!("this broker does not work off the subscriptions any more: another one does, or will");
    }

    fn reached(&self, answers: bool) {
        let is_news = self.reach.send_if_modified(|known| std::mem::replace(known, answers) != answers);
        if is_news && !answers {
            tracing::warn!("JetStream does not answer: what needs it is refused, or waits");
        } else if is_news {
            tracing::info!("JetStream answers");
        }
    }

    fn trust(&self, since: Instant) {
        let until = (since - self.began) + TERM - MARGIN;
        self.until.store(until.as_millis() as u64, Ordering::SeqCst);
    }

    fn tell(&self, holder: Holder) {
        self.holder.send_if_modified(|known| {
            let is_news = *known != holder;
            if let Holder::Other(address) = &holder
                && is_news
            {
                tracing::info!(address, "another broker works off the subscriptions");
            }
            *known = holder;
            is_news
        });
    }

    fn value(&self) -> bytes::Bytes {
        serde_json::to_vec(&self.me).expect("texts are always JSON").into()
    }
}

impl Office for Candidacy {
    fn is_mine(&self) -> bool {
        (self.began.elapsed().as_millis() as u64) < self.until.load(Ordering::SeqCst)
    }

    fn holder(&self) -> watch::Receiver<Holder> {
        self.holder.subscribe()
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let was_mine = self.is_mine();
            self.leaving.cancel();
            self.until.store(0, Ordering::SeqCst);
            self.tell(Holder::Nobody);
            if was_mine && !matches!(timeout(FAREWELL, self.store.delete(KEY)).await, Ok(Ok(()))) {
                tracing::debug!("the office is given away when its term is over");
            }
        })
    }
}
