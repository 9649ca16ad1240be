//! Many events of twenty tenants to five destinations, by two routers, while routers and broker are killed: nothing is
//! missing, the first of each event come in the order of their keys, and what is repeated is repeated by kills alone.
//!
//! Short by default; a million events with `TILDE_CAMPAIGN` in the environment.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rustix::process::Signal;
use tilde::{
    client::{Client, Event, PublishRequest, Publisher, Start},
    schema::{Kind, RecordWriter, Schema, Shape, Value},
};
use tokio::{
    task::{JoinSet, block_in_place},
    time::timeout,
};

use crate::support::{
    Tilde,
    dice::{Dice, rounds},
    ports::free_address,
    running::Running,
};

const TENANTS: u64 = 20;
const DESTINATIONS: [&str; 5] = ["BILLING", "FINANCE", "LEGAL", "MARKETING", "SALES"];
/// Longer than anything takes: what would hang fails instead.
const PATIENCE: Duration = Duration::from_secs(240);
/// In the order in which they are written.
const INPUT: [(&str, Shape); 5] = [
    ("origin_service_id", Shape::Text),
    ("origin_service_type", Shape::Text),
    ("destination_service_type", Shape::Text),
    ("event_timestamp", Shape::Long),
    ("payload", Shape::Text),
];

fn schema(side: &str) -> Schema {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/events").join(side);
    Schema::parse(Kind::Avro, &fs::read_to_string(path).unwrap(), &[]).unwrap()
}

/// A broker that is killed and comes back where it was, and two routers.
struct Scene {
    directory: tempfile::TempDir,
    address: String,
    broker: Option<Tilde>,
    routers: [Option<Running>; 2],
}

impl Scene {
    fn new() -> Scene {
        let (directory, address) = (tempfile::tempdir().unwrap(), free_address());
        let destination = |name: &&str| {
            format!(
                "[destination_configurations.{name}]\noutput_topic = \"out/{name}\"\noutput_subject = \"out-value\"\n"
            )
        };
        let destinations: String = DESTINATIONS.iter().map(destination).collect();
        let config = format!("source_topic = \"in\"\ngroup_id = \"router\"\n{destinations}");
        fs::write(directory.path().join("route.toml"), config).unwrap();
        let mut scene = Scene { directory, address, broker: None, routers: [None, None] };
        scene.start_broker();
        for (subject, side) in [("in-value", "producer-to-processor.avsc"), ("out-value", "processor-to-consumer.avsc")]
        {
            let text = schema(side).text().to_owned();
            scene.broker().run_with(&["schema", "register", subject, "-", "--type", "avro"], text.as_bytes()).ok();
        }
        (0..2).for_each(|router| scene.start_router(router));
        scene
    }

    fn broker(&self) -> &Tilde {
        self.broker.as_ref().expect("it runs")
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn start_broker(&mut self) {
        self.broker = Some(Tilde::start_in(self.directory.path(), &["--listen", &self.address]));
    }

    fn kill_broker(&mut self) {
        self.broker.take().expect("it runs").kill();
        self.start_broker();
    }

    fn start_router(&mut self, router: usize) {
        let id = format!("r{router}");
        let args = ["route", "--config", "route.toml", "--processor-id", &id, "--log-level", "ERROR"];
        let (running, ready) = Running::start(self.broker().command(&args));
        assert_eq!(ready, format!("{id} routes in as router"));
        self.routers[router] = Some(running);
    }

    /// Events that are not settled.
    fn left(&self) -> u64 {
        let show = ["subscription", "show", "router", "--format", "json"];
        block_in_place(|| self.broker().run(&show)).json()[0]["stats"]["backlog_messages"].as_u64().unwrap()
    }

    fn stop_routers(&mut self) {
        for router in &mut self.routers {
            let router = router.take().expect("it runs");
            router.signal(Signal::TERM);
            router.wait().ok();
        }
    }
}

/// Publishes events, each numbered within its key, from this number on.
async fn publish(publisher: Publisher, tenant: u64, numbers: std::ops::Range<u64>, id: u32) {
    let (writer, origin) = (writer(), format!("tenant-{tenant}"));
    for number in numbers {
        for destination in DESTINATIONS {
            let payload = number.to_string();
            let texts = [origin.as_str(), "monitor", destination, payload.as_str()].map(Value::Text);
            let values = [texts[0], texts[1], texts[2], Value::Long(number as i64), texts[3]];
            let mut bytes = vec![0];
            bytes.extend(id.to_be_bytes());
            writer.write(&values, &mut bytes);
            let ordering_key = format!("{origin}:{destination}");
            let request = PublishRequest { ordering_key, ..PublishRequest::data("in", bytes) };
            // What becomes of it is seen at the other end.
            drop(publisher.send(request).await.expect("the publisher outlives the broker's deaths"));
        }
    }
}

fn writer() -> RecordWriter {
    schema("producer-to-processor.avsc").writer(&INPUT).unwrap()
}

/// Reads what arrives, until there are so many different events.
async fn check(
    client: Client,
    from: Start,
    total: u64,
    arrived: Arc<AtomicU64>,
    next: &mut BTreeMap<String, u64>,
) -> u64 {
    let reader = schema("processor-to-consumer.avsc");
    let reader = reader.reader(&[("payload", Shape::Text), ("destination_type", Shape::Text)]).unwrap();
    let mut outputs = client.subscribe(["out/~"]).from(from).start();
    let mut repeated = 0;
    while arrived.load(Relaxed) < total {
        let event = timeout(PATIENCE, outputs.next()).await.expect("something arrives").unwrap().unwrap();
        let Event::Messages { messages, .. } = event else { continue };
        for message in messages {
            let mut values = [Value::Long(0); 2];
            reader.read(&message.bytes()[5..], &mut values).unwrap();
            let [Value::Text(number), Value::Text(destination)] = values else { panic!("{values:?}") };
            assert_eq!(message.topic, format!("out/{destination}"));
            assert!(message.ordering_key.ends_with(&format!(":{destination}")));
            let number: u64 = number.parse().unwrap();
            let next = next.entry(message.ordering_key).or_default();
            assert!(number <= *next, "{number} came before {next}");
            if number < *next {
                repeated += 1;
            } else {
                *next += 1;
                arrived.fetch_add(1, Relaxed);
            }
        }
    }
    repeated
}

/// Publishes so many events of each key, and has them routed. Answers how many were repeated.
async fn route(
    scene: &mut Scene,
    client: &Client,
    next: &mut BTreeMap<String, u64>,
    events: u64,
    mut disturb: impl AsyncFnMut(&mut Scene, &AtomicU64),
) -> u64 {
    let first = next.values().copied().max().unwrap_or_default();
    let total = (first + events) * TENANTS * DESTINATIONS.len() as u64;
    let arrived = Arc::new(AtomicU64::new(next.values().sum()));
    let from = match first {
        0 => Start::Earliest,
        _ => Start::New,
    };
    let (checked, done) = (Arc::clone(&arrived), Arc::new(AtomicBool::new(false)));
    let (reading, mut known, over) = (client.clone(), std::mem::take(next), Arc::clone(&done));
    let checking = tokio::spawn(async move {
        let repeated = check(reading, from, total, checked, &mut known).await;
        over.store(true, Relaxed);
        (repeated, known)
    });
    let publisher = client.publisher();
    let mut publishing = JoinSet::new();
    for tenant in 0..TENANTS {
        // The schema of events was registered first.
        publishing.spawn(publish(publisher.clone(), tenant, first..first + events, 1));
    }
    while !done.load(Relaxed) && !checking.is_finished() {
        disturb(scene, &arrived).await;
    }
    publishing.join_all().await;
    publisher.close().await;
    let (repeated, known) = checking.await.unwrap();
    *next = known;
    // What a kill has brought back still is on its way.
    while scene.left() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    repeated
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missing_and_what_is_repeated_is_repeated_by_kills_alone() {
    let mut dice = Dice::new();
    let mut scene = block_in_place(Scene::new);
    let client = Client::connect(&scene.url()).await.unwrap();
    let mut next = BTreeMap::new();
    let rest = async |_: &mut Scene, _: &AtomicU64| tokio::time::sleep(Duration::from_millis(20)).await;

    // Routers that stop and start in order repeat nothing, in the middle of it all.
    let few = rounds(20, 500) as u64;
    let mut stops = 0;
    let stop_and_start = async |scene: &mut Scene, arrived: &AtomicU64| {
        if stops < 3 && arrived.load(Relaxed) > (stops + 1) * few * 20 {
            stops += 1;
            block_in_place(|| {
                scene.stop_routers();
                (0..2).for_each(|router| scene.start_router(router));
            });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(route(&mut scene, &client, &mut next, few, stop_and_start).await, 0, "nobody was killed");

    // Everybody is killed, again and again.
    let many = rounds(200, 10_000) as u64;
    let mut kills = [0; 2];
    let kill = async |scene: &mut Scene, _: &AtomicU64| {
        tokio::time::sleep(Duration::from_millis(100 + dice.roll(rounds(300, 2_000) as u64))).await;
        block_in_place(|| match dice.roll(3) {
            2 => {
                scene.kill_broker();
                kills[1] += 1;
            }
            router => {
                drop(scene.routers[router as usize].take());
                scene.start_router(router as usize);
                kills[0] += 1;
            }
        });
    };
    let repeated = route(&mut scene, &client, &mut next, many, kill).await;
    eprintln!("{} routers and {} brokers were killed: {repeated} events were repeated", kills[0], kills[1]);

    // After all that, too, a clean stop repeats nothing.
    block_in_place(|| {
        scene.stop_routers();
        (0..2).for_each(|router| scene.start_router(router));
    });
    assert_eq!(route(&mut scene, &client, &mut next, 1, rest).await, 0, "they stopped in order");
    let events = next.values().sum::<u64>();
    assert_eq!(events, (few + many + 1) * TENANTS * DESTINATIONS.len() as u64);
    let shown = block_in_place(|| scene.broker().run(&["subscription", "show", "router", "--format", "json"]).json());
    assert_eq!(shown[0]["stats"]["dead_lettered"], 0);
    block_in_place(|| scene.stop_routers());
}
