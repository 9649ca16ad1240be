//! The end of the broker: who is told, what is still delivered, and how long it takes.

use std::{sync::Arc, time::Duration};

use tilde::{
    broker::{Config, Subscribe},
    engine::{
        Batch, Bounds, BoxFuture, Engine, Log, LogSettings, LookBack, Page, Query, Receipt, Session, State, Tail,
        TopicStats, memory::MemoryEngine,
    },
    model::{Durability, Error, NamespaceName, Pattern, Reason, Result, Sequence, Timestamp},
};
use tokio::{
    sync::watch,
    task::{JoinHandle, yield_now},
    time::Instant,
};

use super::support::{
    Fixture, Setup, earliest, event, is_silent, last_word, numbers, open, publish, rest, subscribe, texts,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_draining_broker_takes_nothing_and_a_stream_that_has_everything_ends_at_once() {
    let fixture = open().await;
    let (mut stream, _) = fixture.subscribe(subscribe(&["t"])).await;
    // Not for the stream, but its cursor moves all the same.
    let last = fixture.publish("other", "1").await;
    assert!(is_silent(&mut stream).await);
    let start = Instant::now();
    let drain = drain(&fixture, 60 * SECOND).await;
    let closing = event(&mut stream).await.closing.expect("the stream is told");
    assert_eq!(closing.grace, 60 * SECOND);
    assert!((SECOND..3 * SECOND).contains(&closing.reconnect_delay));

    let refusal = fixture.broker.publish(publish("t", "late")).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::Draining);
    assert!(refusal.retry_delay().is_some());
    let refusal = fixture.broker.publish_batch(vec![Ok(publish("t", "late"))], false).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::Draining);
    assert_eq!(fixture.refusal(subscribe(&["~"])).await.reason(), Reason::Draining);

    let word = last_word(&mut stream).await;
    assert_eq!((word.reason(), word.metadata()[0].0), (Reason::Draining, "cursor"));
    assert_eq!(word.metadata()[0].1, last.cursor.encode());
    drop(stream);
    assert_eq!((drain.await.unwrap(), start.elapsed()), (0, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_behind_gets_the_rest_first() {
    let config = Config { response_messages: 3, ..Config::default() };
    let fixture = Setup { config, ..Setup::default() }.open().await;
    fixture.publish_many("t", 10).await;
    let (mut stream, _) = fixture.subscribe(earliest(&["~"])).await;
    let drain = drain(&fixture, 60 * SECOND).await;
    assert!(event(&mut stream).await.closing.is_some());
    let mut events = Vec::new();
    while !events.last().is_some_and(|event: &tilde::broker::Event| event.caught_up) {
        events.push(event(&mut stream).await);
    }
    assert_eq!(texts(&events), numbers(10));
    assert_eq!(last_word(&mut stream).await.reason(), Reason::Draining);
    drop(stream);
    assert_eq!(drain.await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_to_the_log_is_still_delivered() {
    let (gate, slow) = watch::channel(false);
    let fixture = Setup::default().open_over(|inner| Arc::new(SlowEngine { inner, gate: slow })).await;
    let (mut stream, _) = fixture.subscribe(subscribe(&["~"])).await;
    let publisher = fixture.broker.clone();
    let published = tokio::spawn(async move { publisher.publish(publish("t", "last")).await });
    yield_now().await;
    let drain = drain(&fixture, 60 * SECOND).await;
    assert!(event(&mut stream).await.closing.is_some());
    yield_now().await;
    assert!(is_silent(&mut stream).await, "it waits for what comes");
    gate.send(true).unwrap();
    assert_eq!(texts([&event(&mut stream).await]), ["last"]);
    assert_eq!(last_word(&mut stream).await.reason(), Reason::Draining);
    drop(stream);
    published.await.unwrap().unwrap();
    assert_eq!(drain.await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_grace_time_ends_whoever_does_not_read() {
    let config = Config { response_messages: 1, ..Config::default() };
    let fixture = Setup { config, ..Setup::default() }.open().await;
    fixture.publish_many("t", 10).await;
    let (mut stream, _) = fixture.subscribe(earliest(&["~"])).await;
    let start = Instant::now();
    let drain = drain(&fixture, 2 * SECOND).await;
    assert!(event(&mut stream).await.closing.is_some());
    assert_eq!((drain.await.unwrap(), start.elapsed()), (1, 2 * SECOND));
    assert_eq!(last_word(&mut stream).await.reason(), Reason::Draining);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_by_itself_is_not_waited_for() {
    let fixture = open().await;
    fixture.publish_many("t", 10).await;
    let (mut stream, _) = fixture.subscribe(Subscribe { max_messages: 10, ..earliest(&["~"]) }).await;
    let drain = drain(&fixture, 60 * SECOND).await;
    assert_eq!(texts(&rest(&mut stream).await), numbers(10));
    drop(stream);
    assert_eq!(drain.await.unwrap(), 0);
}

/// Begins to drain.
async fn drain(fixture: &Fixture, grace: Duration) -> JoinHandle<usize> {
    let broker = fixture.broker.clone();
    let drain = tokio::spawn(async move { broker.drain(grace).await });
    yield_now().await;
    drain
}

/// The memory engine, whose appends wait until the gate is open.
struct SlowEngine {
    inner: Arc<MemoryEngine>,
    gate: watch::Receiver<bool>,
}

struct SlowLog {
    inner: Arc<dyn Log>,
    gate: watch::Receiver<bool>,
}

impl Engine for SlowEngine {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn strongest(&self) -> Durability {
        self.inner.strongest()
    }

    fn log<'a>(&'a self, name: &'a NamespaceName, settings: LogSettings) -> BoxFuture<'a, Result<Arc<dyn Log>>> {
        Box::pin(async move {
            let inner = self.inner.log(name, settings).await?;
            Ok(Arc::new(SlowLog { inner, gate: self.gate.clone() }) as Arc<dyn Log>)
        })
    }

    fn logs(&self) -> Result<Vec<NamespaceName>> {
        self.inner.logs()
    }

    fn remove<'a>(&'a self, name: &'a NamespaceName) -> BoxFuture<'a, Result<()>> {
        self.inner.remove(name)
    }

    fn state(&self) -> &dyn State {
        self.inner.state()
    }

    fn failed(&self) -> BoxFuture<'static, Error> {
        self.inner.failed()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.close()
    }
}

impl Log for SlowLog {
    fn append(&self, batch: Batch) -> Receipt {
        let (answer, receipt) = Receipt::waiting();
        let (inner, mut gate) = (self.inner.clone(), self.gate.clone());
        tokio::spawn(async move {
            gate.wait_for(|open| *open).await.unwrap();
            let _ = answer.send(inner.append(batch).await);
        });
        receipt
    }

    fn attach<'a>(&'a self, session: Arc<Session>) -> BoxFuture<'a, Result<u64>> {
        self.inner.attach(session)
    }

    fn read<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Page>> {
        self.inner.read(query)
    }

    fn look_back(&self, search: LookBack) -> BoxFuture<'_, Result<LookBack>> {
        self.inner.look_back(search)
    }

    fn at_time(&self, time: Timestamp) -> BoxFuture<'_, Result<Sequence>> {
        self.inner.at_time(time)
    }

    fn tail(&self) -> &Tail {
        self.inner.tail()
    }

    fn bounds(&self) -> Bounds {
        self.inner.bounds()
    }

    fn topics<'a>(
        &'a self,
        pattern: &'a Pattern,
        after: &'a str,
        most: usize,
    ) -> BoxFuture<'a, Result<Vec<TopicStats>>> {
        self.inner.topics(pattern, after, most)
    }

    fn purge<'a>(&'a self, pattern: &'a Pattern, before: Option<Timestamp>, dry: bool) -> BoxFuture<'a, Result<u64>> {
        self.inner.purge(pattern, before, dry)
    }

    fn configure(&self, settings: LogSettings) {
        self.inner.configure(settings);
    }
}
