//! The ordinary pair: publishes a message, waits until its subscriber has it, and again. What it feels of an attack is
//! what others would feel.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use tilde::pb::v1::broker_client::BrokerClient;
use tokio::{sync::oneshot, time::timeout};
use tonic::{Streaming, transport::Channel};

use crate::load::{
    batch,
    latencies::Latencies,
    publish::publish,
    raw::Delivered,
    stream,
    target::{Durability, Target, Window},
};

const TOPIC: &str = "bench/pair";

/// A round that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(2);

/// What the pair felt since it was last asked.
#[derive(Clone)]
pub struct Felt {
    rounds: Latencies,
    failures: u64,
}

impl Felt {
    fn new() -> Felt {
        Felt { rounds: Latencies::new(), failures: 0 }
    }

    /// As an object.
    pub fn json(&self) -> Value {
        json!({
            "rounds": self.rounds.count(),
            "failures": self.failures,
            "p50_us": self.rounds.micros(0.5),
            "p99_us": self.rounds.micros(0.99),
            "max_us": self.rounds.micros(1.0),
        })
    }
}

/// A pair at work, on a thread of its own, so that it feels what the broker does and not what the attacker does.
pub struct Pair {
    felt: Arc<Mutex<Felt>>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<u64>>,
}

impl Pair {
    /// Begins. What goes wrong in connecting is told by `stop`.
    pub fn start(target: &Target) -> Pair {
        let felt = Arc::new(Mutex::new(Felt::new()));
        let (stop, stopped) = oneshot::channel();
        let going_on = go_on(target.clone(), felt.clone(), stopped);
        let thread =
            thread::spawn(|| tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(going_on));
        Pair { felt, stop, thread }
    }

    /// What it felt since the last time.
    pub fn take(&self) -> Felt {
        mem::replace(&mut *self.felt.lock().unwrap_or_else(PoisonError::into_inner), Felt::new())
    }

    /// Ends it, and says how many rounds failed in all.
    pub fn stop(self) -> Result<u64> {
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| anyhow!("the pair panicked"))?
    }
}

async fn go_on(target: Target, felt: Arc<Mutex<Felt>>, mut stopped: oneshot::Receiver<()>) -> Result<u64> {
    let mut publisher = BrokerClient::new(target.connect(Window::ORDINARY).await?);
    let subscriber = target.connect(Window::ORDINARY).await?;
    let mut subscriber = stream::open(subscriber, &stream::request(TOPIC, stream::NEW)).await?;
    let mut failures = 0;
    while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
        let start = Instant::now();
        let round = timeout(PATIENCE, round(&mut publisher, &mut subscriber, target.durability))
            .await
            .context("too late")
            .flatten();
        {
            let mut felt = felt.lock().unwrap_or_else(PoisonError::into_inner);
            felt.rounds.since(start);
            felt.failures += u64::from(round.is_err());
        }
        if let Err(error) = round {
            eprintln!("the pair: {error:#}");
            failures += 1;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(failures)
}

async fn round(
    publisher: &mut BrokerClient<Channel>,
    subscriber: &mut Streaming<Delivered>,
    durability: Durability,
) -> Result<()> {
    let sequence = publish(publisher, batch::message(TOPIC, 128, durability)).await?;
    loop {
        let delivered = subscriber.message().await?.context("the stream ended")?;
        ensure!(!delivered.gap, "the stream has a gap");
        if delivered.messages > 0 && delivered.last >= sequence {
            return Ok(());
        }
    }
}
