//! What a broker keeps, and a crash does not take: the memory engine, behind what makes it a disk. Everything takes time,
//! by the seed; what is on its way when the broker crashes never arrives, and what arrived may never have been answered.
//! A broker that starts finds what was stored, and memory that is empty. Never loses what it answered: see `bugs`.
//!
//! Why not the embedded engine on the simulated disk of `crash`: its writer, its keeper and its state are threads of the
//! system, and a thread is done when the system says so, which no seed decides. Above the seam nobody can tell the two
//! apart but by what is left out here: numbers that a crash skips, and what was visible before it was synced.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tilde::{
    clock::Clock,
    engine::{
        Batch, Block, Bounds, BoxFuture, Engine, Follower, Log, LogSettings, LookBack, Outcomes, Page, Query, Receipt,
        Session, State, Tail, TopicStats, Value, memory::MemoryEngine, tail::TailBudget,
    },
    model::{Durability, Error, NamespaceName, Pattern, Result, Sequence, Timestamp},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use crate::support::dice::Dice;

/// Of the newest blocks so many bytes are in memory: few, so that the log is read too.
const TAIL_BYTES: usize = 4 << 10;

/// The disk of one machine.
pub struct Disk {
    engine: MemoryEngine,
    relays: Mutex<HashMap<NamespaceName, Arc<Relay>>>,
    dice: Mutex<Dice>,
}

impl Disk {
    pub fn new(clock: Arc<dyn Clock>, dice: Dice) -> Arc<Self> {
        let engine = MemoryEngine::pretending(clock, Durability::Synced).with_tail_bytes(0);
        Arc::new(Disk { engine, relays: Mutex::default(), dice: Mutex::new(dice) })
    }

    /// The engine of a broker that starts now.
    pub fn start(self: &Arc<Self>) -> Arc<dyn Engine> {
        Arc::new(Started {
            disk: self.clone(),
            state: Small(self.clone()),
            tails: TailBudget::new(TAIL_BYTES),
            logs: Mutex::default(),
        })
    }

    /// Takes its time.
    async fn work(&self, most: u64) {
        let micros = self.dice.lock().unwrap().roll(most * 1_000);
        sleep(Duration::from_micros(micros)).await;
    }
}

/// The engine of one run of a broker.
struct Started {
    disk: Arc<Disk>,
    state: Small,
    tails: Arc<TailBudget>,
    logs: Mutex<HashMap<NamespaceName, Arc<Open>>>,
}

impl Engine for Started {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn strongest(&self) -> Durability {
        Durability::Synced
    }

    fn log<'a>(&'a self, name: &'a NamespaceName, settings: LogSettings) -> BoxFuture<'a, Result<Arc<dyn Log>>> {
        Box::pin(async move {
            let kept = self.disk.engine.log(name, settings).await?;
            let mut logs = self.logs.lock().unwrap();
            let open = logs.entry(name.clone()).or_insert_with(|| {
                let relay = self.disk.relays.lock().unwrap().entry(name.clone()).or_default().clone();
                kept.tail().follow(relay.clone());
                Open::new(self.disk.clone(), kept, &relay, self.tails.clone())
            });
            Ok(open.clone() as Arc<dyn Log>)
        })
    }

    fn logs(&self) -> Result<Vec<NamespaceName>> {
        self.disk.engine.logs()
    }

    fn remove<'a>(&'a self, name: &'a NamespaceName) -> BoxFuture<'a, Result<()>> {
        self.disk.engine.remove(name)
    }

    fn state(&self) -> &dyn State {
        &self.state
    }

    fn failed(&self) -> BoxFuture<'static, Error> {
        self.disk.engine.failed()
    }

    /// What was answered is there already, and another run goes on with it.
    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Tells those who run of what is stored.
#[derive(Default)]
struct Relay(Mutex<Vec<Weak<Tail>>>);

impl Follower for Relay {
    fn committed(&self, block: &Arc<Block>) {
        let mut tails = self.0.lock().unwrap();
        tails.retain(|tail| tail.strong_count() > 0);
        tails.iter().filter_map(Weak::upgrade).for_each(|tail| tail.commit(block.clone()));
    }
}

/// A log as one run of a broker has it open.
struct Open {
    disk: Arc<Disk>,
    kept: Arc<dyn Log>,
    tail: Arc<Tail>,
    writer: mpsc::UnboundedSender<(Batch, oneshot::Sender<Result<Outcomes>>)>,
}

impl Open {
    fn new(disk: Arc<Disk>, kept: Arc<dyn Log>, relay: &Relay, tails: Arc<TailBudget>) -> Arc<Self> {
        let tail = Arc::new(Tail::new(kept.bounds().end, tails));
        relay.0.lock().unwrap().push(Arc::downgrade(&tail));
        let (writer, mut waiting) = mpsc::unbounded_channel::<(Batch, oneshot::Sender<_>)>();
        let open = Arc::new(Open { disk: disk.clone(), kept: kept.clone(), tail, writer });
        tokio::spawn(async move {
            while let Some(first) = waiting.recv().await {
                disk.work(8).await;
                // All that waits by now, as one sync serves them.
                let all = std::iter::once(first).chain(std::iter::from_fn(|| waiting.try_recv().ok()));
                let stored: Vec<_> = all.map(|(batch, answer)| (kept.append(batch), answer)).collect();
                disk.work(4).await;
                for (receipt, answer) in stored {
                    let _ = answer.send(receipt.await);
                }
            }
        });
        open
    }
}

impl Log for Open {
    fn append(&self, batch: Batch) -> Receipt {
        let (answer, receipt) = Receipt::waiting();
        let _ = self.writer.send((batch, answer));
        receipt
    }

    fn attach<'a>(&'a self, session: Arc<Session>) -> BoxFuture<'a, Result<u64>> {
        self.kept.attach(session)
    }

    fn read<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async move {
            self.disk.work(10).await;
            self.kept.read(query).await
        })
    }

    fn look_back(&self, search: LookBack) -> BoxFuture<'_, Result<LookBack>> {
        self.kept.look_back(search)
    }

    fn at_time(&self, time: Timestamp) -> BoxFuture<'_, Result<Sequence>> {
        self.kept.at_time(time)
    }

    fn tail(&self) -> &Tail {
        &self.tail
    }

    fn bounds(&self) -> Bounds {
        self.kept.bounds()
    }

    fn topics<'a>(
        &'a self,
        pattern: &'a Pattern,
        after: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<TopicStats>>> {
        self.kept.topics(pattern, after, most)
    }

    fn purge<'a>(
        &'a self,
        pattern: &'a Pattern,
        before: Option<Timestamp>,
        dry_run: bool,
    ) -> BoxFuture<'a, Result<u64>> {
        self.kept.purge(pattern, before, dry_run)
    }

    fn configure(&self, settings: LogSettings) {
        self.kept.configure(settings);
    }
}

/// The small values.
struct Small(Arc<Disk>);

impl State for Small {
    fn get(&self, key: &str) -> Result<Option<Value>> {
        self.0.engine.state().get(key)
    }

    fn list(&self, prefix: &str) -> Result<Vec<(String, Value)>> {
        self.0.engine.state().list(prefix)
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Vec<u8>, expected: u64) -> BoxFuture<'a, Result<Option<u64>>> {
        Box::pin(async move {
            self.0.work(40).await;
            let put = self.0.engine.state().put(key, bytes, expected).await;
            self.0.work(10).await;
            put
        })
    }

    fn delete<'a>(&'a self, key: &'a str, expected: u64) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            self.0.work(40).await;
            self.0.engine.state().delete(key, expected).await
        })
    }
}
