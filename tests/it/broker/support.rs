//! A broker to test, and the shorthands of the cases.

use std::{sync::Arc, time::Duration};

use tilde::{
    broker::{Broker, Config, Event, LiveStream, Publish, Published, Subscribe},
    clock::ManualClock,
    engine::{Engine, memory::MemoryEngine},
    model::{
        Durability, LagPolicy, Message, NamespaceName, PatternSet, Payload, Position, Records, Result, Sequence,
        Timestamp, Topic,
    },
    telemetry::Metrics,
};
use tokio_stream::StreamExt;

/// A broker over the memory engine.
pub struct Fixture {
    pub broker: Arc<Broker>,
    pub clock: Arc<ManualClock>,
    pub metrics: Arc<Metrics>,
    engine: Arc<dyn Engine>,
}

/// What differs from test to test.
pub struct Setup {
    pub config: Config,
    pub tail_bytes: usize,
    pub strongest: Durability,
}

impl Default for Setup {
    fn default() -> Self {
        Setup { config: Config::default(), tail_bytes: 64 << 20, strongest: Durability::Synced }
    }
}

impl Setup {
    pub async fn open(self) -> Fixture {
        self.open_over(|engine| engine).await
    }

    /// With something between the broker and the memory engine.
    pub async fn open_over(self, wrap: impl FnOnce(Arc<MemoryEngine>) -> Arc<dyn Engine>) -> Fixture {
        let clock = Arc::new(ManualClock::new(Timestamp::from_nanos(1_800_000_000_000_000_000), 7));
        let engine = MemoryEngine::pretending(clock.clone(), self.strongest).with_tail_bytes(self.tail_bytes);
        let (engine, metrics) = (wrap(Arc::new(engine)), Arc::new(Metrics::default()));
        let broker = Broker::open(engine.clone(), clock.clone(), metrics.clone(), self.config).await.unwrap();
        Fixture { broker, clock, metrics, engine }
    }
}

/// A broker with nothing special.
pub async fn open() -> Fixture {
    Setup::default().open().await
}

impl Fixture {
    /// Publishes to the default namespace.
    pub async fn publish(&self, topic: &str, text: &str) -> Published {
        self.broker.publish(publish(topic, text)).await.unwrap()
    }

    /// Publishes so many numbered messages to a topic.
    pub async fn publish_many(&self, topic: &str, count: usize) {
        for n in 0..count {
            self.publish(topic, &n.to_string()).await;
        }
    }

    /// Opens a stream and takes its first event.
    pub async fn subscribe(&self, subscribe: Subscribe) -> (LiveStream, Event) {
        let mut stream = self.broker.subscribe(subscribe).await.unwrap();
        let first = event(&mut stream).await;
        assert!(first.started.is_some() && first.messages == 0);
        (stream, first)
    }

    /// The keys of the engine's state that begin so.
    pub fn kept(&self, prefix: &str) -> Vec<String> {
        self.engine.state().list(prefix).unwrap().into_iter().map(|(key, _)| key).collect()
    }

    /// Refused with this.
    pub async fn refusal(&self, subscribe: Subscribe) -> tilde::model::Error {
        match self.broker.subscribe(subscribe).await {
            Ok(_) => panic!("the stream was let in"),
            Err(error) => error,
        }
    }
}

/// A message to the default namespace.
pub fn publish(topic: &str, text: &str) -> Publish<'static> {
    Publish {
        namespace: None,
        message: Message::new(Topic::parse(topic.to_owned()).unwrap(), Payload::Text(text.to_owned().into())),
        ttl: None,
        expected_last_sequence: None,
        durability: None,
    }
}

/// A stream of the default namespace, from now on.
pub fn subscribe(patterns: &[&str]) -> Subscribe {
    Subscribe {
        namespace: NamespaceName::default(),
        patterns: PatternSet::parse(patterns).unwrap(),
        filter: None,
        position: Position::New,
        heartbeat_interval: Duration::from_secs(15),
        max_messages: 0,
        stop_at_end: false,
        lag_policy: LagPolicy::CatchUp,
        strict: false,
        responder: false,
    }
}

/// A stream from the beginning.
pub fn earliest(patterns: &[&str]) -> Subscribe {
    Subscribe { position: Position::Earliest, ..subscribe(patterns) }
}

/// The next event.
pub async fn event(stream: &mut LiveStream) -> Event {
    stream.next().await.expect("the stream goes on").unwrap()
}

/// The stream's last word.
pub async fn last_word(stream: &mut LiveStream) -> tilde::model::Error {
    let error = stream.next().await.expect("the stream ends with an error").unwrap_err();
    assert!(stream.next().await.is_none());
    error
}

/// Everything up to the end of a stream that ends.
pub async fn rest(stream: &mut LiveStream) -> Vec<Event> {
    stream.collect::<Result<Vec<_>>>().await.unwrap()
}

/// Everything that is there of the topics that match.
pub async fn all(broker: &Broker, pattern: &str) -> Vec<(Sequence, String, String)> {
    let request = Subscribe { stop_at_end: true, ..earliest(&[pattern]) };
    let mut stream = broker.subscribe(request).await.unwrap();
    rest(&mut stream).await.iter().flat_map(messages).collect()
}

/// Whether the stream has nothing to tell at this moment.
pub async fn is_silent(stream: &mut LiveStream) -> bool {
    let mut next = std::pin::pin!(stream.next());
    std::future::poll_fn(|cx| std::task::Poll::Ready(next.as_mut().poll(cx).is_pending())).await
}

/// Topics and texts of an event's messages.
pub fn messages(event: &Event) -> Vec<(Sequence, String, String)> {
    let records = event.runs.iter().flat_map(|run| Records::new(run)).map(|record| record.unwrap());
    let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
    let seen: Vec<_> =
        records.map(|record| (record.sequence(), record.topic().to_owned(), text(record.payload()))).collect();
    assert_eq!(seen.len(), event.messages);
    seen
}

/// Texts of the messages of some events.
pub fn texts<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<String> {
    events.into_iter().flat_map(messages).map(|(_, _, text)| text).collect()
}

/// "0" to the number before `count`.
pub fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}
