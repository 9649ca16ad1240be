//! What the tests of `tilde route` share: a broker that knows the schemas, routers, events, and what lies in a topic.

use std::{
    collections::HashMap,
    fmt::Debug,
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustix::process::Signal;
use serde_json::Value as Json;
use tilde::{
    client::{Client, PublishRequest},
    schema::{Kind, RecordWriter, Schema, Shape, Value},
};

use crate::support::{Answer, Tilde, plain::ask, running::Running};

/// Where events come from, the subject of their schema, and that of the schema that they are sent on in.
pub const SOURCE: &str = "producer.to.processor";
pub const INPUT: &str = "producer.to.processor-value";
pub const OUTPUT: &str = "processor.to.consumer-value";
/// The group of the routers.
pub const GROUP: &str = "router";
/// Two destinations, in capital letters and not.
pub const TWO: &str = r#"{"FINANCE": {"output_topic": "finance", "output_subject": "processor.to.consumer-value"},
    "Marketing": {"output_topic": "marketing", "output_subject": "processor.to.consumer-value"}}"#;
/// Settles nothing by itself as long as a test runs.
pub const NEVER: [&str; 4] = ["--batch-size-to-commit-offsets", "1000000", "--commit-interval", "1h"];

/// Nothing that a test waits for takes longer, unless it hangs.
const HANGS: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(30);

/// A schema as it is registered.
pub fn schema(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/events").join(file)).unwrap()
}

/// Registers a schema of Avro.
#[track_caller]
pub fn register(broker: &Tilde, subject: &str, text: &str) {
    broker.run_with(&["schema", "register", subject, "-", "--type", "avro"], text.as_bytes()).ok();
}

/// Registers the schemas of both sides.
#[track_caller]
pub fn register_both(broker: &Tilde) {
    register(broker, INPUT, &schema("producer-to-processor.avsc"));
    register(broker, OUTPUT, &schema("processor-to-consumer.avsc"));
}

/// A broker that knows both.
#[track_caller]
pub fn registered() -> Tilde {
    let broker = Tilde::in_memory();
    register_both(&broker);
    broker
}

/// The id of a subject's newest schema.
#[track_caller]
pub fn id(broker: &Tilde, subject: &str) -> u32 {
    let told = ask("GET", &format!("{}/schema-registry/subjects/{subject}/versions/latest", broker.url), &[], &[]);
    assert_eq!(told.status(), 200, "{}", told.text());
    told.json()["id"].as_u64().unwrap() as u32
}

/// Looks again and again until there is what is looked for.
#[track_caller]
pub fn until<T: Debug>(what: &str, mut look: impl FnMut() -> T, found: impl Fn(&T) -> bool) -> T {
    let begun = Instant::now();
    loop {
        let seen = look();
        if found(&seen) {
            return seen;
        }
        assert!(begun.elapsed() < HANGS, "{what}: {seen:?}");
        thread::sleep(PAUSE);
    }
}

// Routers ---------------------------------------------------------------------------------------------------------------

/// A router that runs. Dropping it kills it.
pub struct Router {
    running: Running,
    metrics: String,
}

/// The command of a router with what all have in common.
pub fn command(broker: &Tilde, id: &str, flags: &[&str]) -> Command {
    let common = ["route", "--processor-id", id, "--source-topic", SOURCE, "--group-id", GROUP];
    broker.command(&[&common[..], flags].concat())
}

impl Router {
    /// Starts one to the two destinations.
    #[track_caller]
    pub fn start(broker: &Tilde, id: &str, flags: &[&str]) -> Router {
        Router::with(broker, id, &[&["--destination-configurations", TWO], flags].concat())
    }

    /// Starts one that is told by its flags where events go.
    #[track_caller]
    pub fn with(broker: &Tilde, id: &str, flags: &[&str]) -> Router {
        let (mut running, ready) =
            Running::start(command(broker, id, &[&["--metrics", "127.0.0.1:0"], flags].concat()));
        let metrics = ready.strip_prefix("metrics are on ").unwrap_or_else(|| panic!("{ready}")).to_owned();
        assert_eq!(running.line(), format!("{id} routes {SOURCE} as {GROUP}"));
        Router { running, metrics }
    }

    /// All that it counts, by its name with its labels.
    #[track_caller]
    pub fn measures(&self) -> HashMap<String, f64> {
        let told = ask("GET", &self.metrics, &[], &[]);
        assert_eq!(told.status(), 200);
        let text = told.text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect()
    }

    /// One figure; zero as long as there is none.
    #[track_caller]
    pub fn measure(&self, name: &str) -> u64 {
        self.measures().get(&format!("tilde_route_{name}")).map_or(0, |value| *value as u64)
    }

    /// Waits until a figure is so large at least.
    #[track_caller]
    pub fn counts(&self, name: &str, least: u64) -> u64 {
        until(name, || self.measure(name), |value| *value >= least)
    }

    /// Waits until so many events are durable at their destinations.
    #[track_caller]
    pub fn delivers(&self, least: u64) {
        let delivered = || {
            let all = self.measures().into_iter();
            all.filter(|(name, _)| name.starts_with("tilde_route_delivered_events_total")).map(|(_, value)| value).sum()
        };
        until("delivered", delivered, |sum: &f64| *sum >= least as f64);
    }

    /// Waits for a line of its log that holds this.
    #[track_caller]
    pub fn says(&mut self, part: &str) -> String {
        loop {
            let line = self.running.line();
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Something else at the place where it serves what it counts.
    pub fn place(&self, path: &str) -> String {
        format!("{}{path}", self.metrics.trim_end_matches("/metrics"))
    }

    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    #[track_caller]
    pub fn wait(self) -> Answer {
        self.running.wait()
    }

    #[track_caller]
    pub fn stop(self) {
        self.running.stop().ok();
    }

    #[track_caller]
    pub fn kill(self) {
        self.running.kill();
    }
}

/// What the broker says of the routers' subscription.
#[track_caller]
pub fn stats(broker: &Tilde) -> Json {
    broker.run(&["subscription", "show", GROUP, "--format", "json"]).json().remove(0)["stats"].clone()
}

/// Waits until all events are settled.
#[track_caller]
pub fn settled(broker: &Tilde) {
    until("all is settled", || stats(broker), |stats| stats["backlog_messages"] == 0);
}

// Events ----------------------------------------------------------------------------------------------------------------

/// Makes events.
#[derive(Clone)]
pub struct Maker {
    id: u32,
    writer: Arc<RecordWriter>,
}

impl Maker {
    /// In the schema that the broker has of them.
    #[track_caller]
    pub fn of(broker: &Tilde) -> Maker {
        let text = ["origin_service_id", "origin_service_type", "destination_service_type", "payload"];
        let fields = [&text.map(|name| (name, Shape::Text))[..], &[("event_timestamp", Shape::Long)]].concat();
        let schema = Schema::parse(Kind::Avro, &schema("producer-to-processor.avsc"), &[]).unwrap();
        Maker { id: id(broker, INPUT), writer: Arc::new(schema.writer(&fields).unwrap()) }
    }

    /// An event that happens now.
    pub fn event(&self, origin: &str, destination: &str, payload: &str) -> PublishRequest {
        self.event_at(now(), origin, destination, payload)
    }

    /// The same at another time.
    pub fn event_at(&self, time: i64, origin: &str, destination: &str, payload: &str) -> PublishRequest {
        let texts = [origin, "Ledger", destination, payload].map(Value::Text);
        let mut bytes = framed(self.id, &[]);
        self.writer.write(&[texts[0], texts[1], texts[2], texts[3], Value::Long(time)], &mut bytes);
        keyed(bytes, &format!("{origin}:{}", destination.to_uppercase()))
    }
}

/// Bytes behind the id of a schema.
pub fn framed(id: u32, bytes: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], bytes].concat()
}

/// Bytes at the source.
pub fn keyed(bytes: Vec<u8>, key: &str) -> PublishRequest {
    PublishRequest { ordering_key: key.to_owned(), ..PublishRequest::data(SOURCE, bytes) }
}

/// In milliseconds.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Publishes in order; all is stored when it returns.
#[track_caller]
pub fn publish(broker: &Tilde, requests: impl IntoIterator<Item = PublishRequest>) {
    let requests: Vec<_> = requests.into_iter().collect();
    let work = async {
        let publisher = Client::connect(&broker.url).await.unwrap().publisher();
        let mut sent = Vec::new();
        for request in requests {
            sent.push(publisher.send(request).await.unwrap());
        }
        for pending in sent {
            pending.await.unwrap();
        }
    };
    // A thread of its own, as the test may have a runtime.
    thread::scope(|scope| scope.spawn(|| runtime().block_on(work)).join()).unwrap();
}

/// Events that flow until they are stopped: each is stored before the next is published.
pub struct Flow {
    stop: Arc<AtomicBool>,
    work: JoinHandle<usize>,
}

impl Flow {
    /// `event` makes the one with a number, from zero on.
    pub fn start(broker: &Tilde, event: impl Fn(usize) -> PublishRequest + Send + 'static) -> Flow {
        let (url, stop) = (broker.url.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let work = thread::spawn(move || {
            runtime().block_on(async {
                let publisher = Client::connect(&url).await.unwrap().publisher();
                let mut count = 0;
                while !stopped.load(Relaxed) {
                    publisher.publish(event(count)).await.unwrap();
                    count += 1;
                }
                count
            })
        });
        Flow { stop, work }
    }

    /// Ends it; answers how many there were.
    #[track_caller]
    pub fn stop(self) -> usize {
        self.stop.store(true, Relaxed);
        self.work.join().unwrap()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

// What came of them -----------------------------------------------------------------------------------------------------

/// An event at its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    pub key: String,
    /// Of its schema.
    pub id: u32,
    pub producer: String,
    pub processor: String,
    pub destination: String,
    pub happened: i64,
    pub processed: i64,
    pub payload: String,
}

/// What lies in a topic, oldest first.
#[track_caller]
pub fn lying(broker: &Tilde, topic: &str) -> Vec<Json> {
    broker.run(&["subscribe", topic, "--from", "earliest", "--end", "--format", "json"]).json()
}

/// What was routed to a topic.
#[track_caller]
pub fn routed(broker: &Tilde, topic: &str) -> Vec<Routed> {
    let texts = ["producer_service_id", "processor_service_id", "destination_type", "payload"];
    let times = ["producer_event_timestamp", "processor_event_timestamp"];
    let fields = [texts.map(|name| (name, Shape::Text)).to_vec(), times.map(|name| (name, Shape::Long)).to_vec()];
    let schema = Schema::parse(Kind::Avro, &schema("processor-to-consumer.avsc"), &[]).unwrap();
    let reader = schema.reader(&fields.concat()).unwrap();
    let read = |message: &Json| {
        let bytes = BASE64_STANDARD.decode(message["data"].as_str().unwrap()).unwrap();
        assert_eq!(bytes[0], 0);
        let mut values = [Value::Long(0); 6];
        reader.read(&bytes[5..], &mut values).unwrap();
        let [
            Value::Text(producer),
            Value::Text(processor),
            Value::Text(destination),
            Value::Text(payload),
            Value::Long(happened),
            Value::Long(processed),
        ] = values
        else {
            unreachable!("the reader gives what was asked for")
        };
        Routed {
            key: message["ordering_key"].as_str().unwrap().to_owned(),
            id: u32::from_be_bytes(bytes[1..5].try_into().unwrap()),
            producer: producer.to_owned(),
            processor: processor.to_owned(),
            destination: destination.to_owned(),
            happened,
            processed,
            payload: payload.to_owned(),
        }
    };
    lying(broker, topic).iter().map(read).collect()
}

/// Waits until so many lie in a topic.
#[track_caller]
pub fn arrived(broker: &Tilde, topic: &str, least: usize) -> Vec<Routed> {
    until(topic, || lying(broker, topic).len(), |count| *count >= least);
    routed(broker, topic)
}

/// The payloads as numbers, by their keys, each as often as it came.
#[track_caller]
pub fn numbers<'a>(routed: impl IntoIterator<Item = &'a Routed>) -> HashMap<&'a str, Vec<usize>> {
    let mut numbers: HashMap<&str, Vec<usize>> = HashMap::new();
    for event in routed {
        numbers.entry(&event.key).or_default().push(event.payload.parse().unwrap());
    }
    numbers
}

/// The same without those that came again.
pub fn firsts(numbers: &[usize]) -> Vec<usize> {
    let mut seen = std::collections::HashSet::new();
    numbers.iter().copied().filter(|number| seen.insert(*number)).collect()
}
