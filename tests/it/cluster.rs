//! Several brokers over one NATS server, through the binary: whoever is asked, it is one log and one set of subscriptions,
//! also when a broker is killed, when one is frozen, and when NATS is away for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;
use tilde::{
    client::{Client, Event, Start},
    pb::v1::{PublishRequest, publish_request::Payload},
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::support::{Tilde, nats::Nats};

/// Nothing that is waited for takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);
const BROKERS: usize = 3;
const SAYS_THAT_IT_WORKS: &str = "this broker works off the subscriptions from now on";

/// Brokers over one server.
struct Cluster {
    nats: Nats,
    brokers: Vec<Tilde>,
    // One a broker, whoever runs there.
    places: Vec<TempDir>,
}

impl Cluster {
    fn start() -> Self {
        let mut cluster = Cluster { nats: Nats::start(), brokers: Vec::new(), places: Vec::new() };
        for _ in 0..BROKERS {
            let place = tempfile::tempdir().unwrap();
            cluster.brokers.push(cluster.broker(&place, "127.0.0.1:0"));
            cluster.places.push(place);
        }
        cluster
    }

    fn broker(&self, place: &TempDir, address: &str) -> Tilde {
        let nats = self.nats.urls().remove(0);
        Tilde::start_in(place.path(), &["--engine", "jetstream", "--nats", &nats, "--listen", address])
    }

    /// The one that works off the subscriptions, when there is one.
    async fn worker(&self) -> usize {
        let works = |broker: &Tilde| {
            let log = broker.logged();
            let last = log.lines().rfind(|line| line.contains("this broker") && line.contains("the subscriptions"));
            last.is_some_and(|line| line.contains(SAYS_THAT_IT_WORKS))
        };
        soon("a worker", async {
            loop {
                if let Some(at) = self.brokers.iter().position(works) {
                    return at;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    }

    /// Ends a broker as a power cut would, and starts another one in its place.
    fn replace(&mut self, at: usize) {
        let address = self.brokers[at].url.trim_start_matches("http://").to_owned();
        self.brokers.remove(at).kill();
        // What the one before said counts no more.
        std::fs::remove_file(self.places[at].path().join("stderr")).unwrap();
        let broker = self.broker(&self.places[at], &address);
        self.brokers.insert(at, broker);
    }

    /// What all of them said.
    fn logs(&self) -> String {
        self.brokers.iter().map(|broker| format!("{}\n{}", broker.url, broker.logged())).collect()
    }

    /// Whether so many messages were acknowledged, and none waits.
    fn is_done(&self, messages: u64) -> bool {
        let shown = self.brokers[0].run(&["subscription", "show", "work", "--format", "json"]);
        let Some(shown) = shown.status.success().then(|| shown.json().remove(0)) else { return false };
        let stats = ["acked", "backlog_messages", "outstanding_messages"].map(|name| shown["stats"][name].as_u64());
        stats == [Some(messages), Some(0), Some(0)]
    }

    async fn client(&self, at: usize) -> Client {
        Client::connect(&self.brokers[at].url).await.unwrap()
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// Publishers, streams and consumers at all brokers, and what they saw.
struct Load {
    publishers: Vec<JoinHandle<BTreeMap<u64, String>>>,
    streams: Vec<JoinHandle<Vec<(u64, String)>>>,
    consumers: Vec<JoinHandle<()>>,
    /// How many were published; how many were confirmed to be settled.
    published: watch::Receiver<u64>,
    settled: watch::Receiver<u64>,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    handed: BTreeMap<u64, u32>,
    confirmed: BTreeSet<u64>,
    // Handed out after they were confirmed.
    doubled: Vec<u64>,
}

impl Load {
    async fn begin(cluster: &Cluster, messages: u64) -> Self {
        let create = ["subscription", "create", "work", "load/~", "--from", "earliest", "--max-attempts", "100"];
        let created = cluster.brokers[0].run(&create);
        assert!(created.status.success(), "{}\n{}", created.stderr, cluster.logs());
        let (count, published) = watch::channel(0);
        let (done, settled) = watch::channel(0);
        let (count, done) = (Arc::new(count), Arc::new(done));
        let book = Arc::<Mutex<Book>>::default();
        let all = messages * BROKERS as u64;
        let (mut publishers, mut streams, mut consumers) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..BROKERS {
            let client = cluster.client(at).await;
            publishers.push(tokio::spawn(publish(client.clone(), at, messages, count.clone())));
            streams.push(tokio::spawn(follow(client.clone(), all)));
            consumers.push(tokio::spawn(consume(client, book.clone(), done.clone())));
        }
        Load { publishers, streams, consumers, published, settled, book }
    }

    /// Ends when a part of the messages is published, and as many are settled as there are then.
    async fn halfway(&mut self, published: u64) {
        soon("publishing", self.published.wait_for(|count| *count >= published)).await.unwrap();
        soon("settling", self.settled.wait_for(|count| *count >= published / 4)).await.unwrap();
    }

    /// Waits until everything has come everywhere, and judges.
    async fn judge(self, cluster: &Cluster, messages: u64) {
        let all = messages * BROKERS as u64;
        let mut answered = BTreeMap::new();
        for publisher in self.publishers {
            answered.extend(soon("publishing", publisher).await.unwrap());
        }
        assert_eq!(answered.len() as u64, all, "each has a place of its own");
        soon("settling", async {
            while !cluster.is_done(all) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        })
        .await;
        for stream in self.streams {
            let seen = soon("a stream", stream).await.unwrap();
            assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "in one order");
            assert_eq!(seen.into_iter().collect::<BTreeMap<_, _>>(), answered, "everything, once");
        }
        self.consumers.iter().for_each(JoinHandle::abort);
        let book = self.book.lock().unwrap();
        assert_eq!(book.doubled, [0; 0], "settled for good, and handed out again");
        // Whose settlement was not confirmed may have been settled all the same.
        assert_eq!(book.handed.keys().copied().collect::<BTreeSet<_>>(), answered.keys().copied().collect());
    }
}

async fn publish(client: Client, at: usize, messages: u64, count: Arc<watch::Sender<u64>>) -> BTreeMap<u64, String> {
    let publisher = client.publisher();
    let mut answers = BTreeMap::new();
    for number in 0..messages {
        let text = format!("{at}/{number}");
        let topic = format!("load/{}", number % 7);
        let payload = Some(Payload::Text(text.clone()));
        let request = PublishRequest { topic, payload, ..Default::default() };
        let published = publisher.publish(request).await.unwrap();
        answers.insert(published.sequence.expect("it was published within the window"), text);
        count.send_modify(|count| *count += 1);
    }
    publisher.close().await;
    answers
}

async fn follow(client: Client, messages: u64) -> Vec<(u64, String)> {
    let mut stream = client.subscribe(["load/~"]).from(Start::Earliest).start();
    let mut seen = Vec::new();
    while (seen.len() as u64) < messages {
        match stream.next().await.expect("a stream goes on").unwrap() {
            Event::Messages { messages, .. } => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                seen.extend(messages.iter().map(|message| (message.sequence, text(message.bytes()))));
            }
            Event::Gap(gap) => panic!("{gap:?}"),
            _ => {}
        }
    }
    seen
}

async fn consume(client: Client, book: Arc<Mutex<Book>>, done: Arc<watch::Sender<u64>>) {
    let mut consumer = client.consume("work").window(50, 1 << 20).start();
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery.unwrap();
        let sequence = delivery.message.sequence;
        {
            let mut book = book.lock().unwrap();
            *book.handed.entry(sequence).or_default() += 1;
            if book.confirmed.contains(&sequence) {
                book.doubled.push(sequence);
            }
        }
        let (book, done, settling) = (book.clone(), done.clone(), delivery.ack());
        tokio::spawn(async move {
            // Else it may come again, or not.
            if settling.await.is_ok() {
                let count = {
                    let mut book = book.lock().unwrap();
                    book.confirmed.insert(sequence);
                    book.confirmed.len() as u64
                };
                done.send_modify(|done| *done = count.max(*done));
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_asked_it_is_one_log_and_one_subscription() {
    let cluster = Cluster::start();
    cluster.worker().await;
    Load::begin(&cluster, 300).await.judge(&cluster, 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_is_replaced_by_another_one() {
    let mut cluster = Cluster::start();
    let worker = cluster.worker().await;
    let mut load = Load::begin(&cluster, 1_000).await;
    load.halfway(600).await;
    cluster.replace(worker);
    load.judge(&cluster, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_was_frozen_does_no_harm_when_it_wakes() {
    let cluster = Cluster::start();
    let worker = cluster.worker().await;
    let mut load = Load::begin(&cluster, 1_000).await;
    load.halfway(600).await;
    cluster.brokers[worker].signal(Signal::STOP);
    tokio::time::sleep(Duration::from_secs(15)).await;
    cluster.brokers[worker].signal(Signal::CONT);
    load.judge(&cluster, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nats_has_taken_is_there_when_it_is_back() {
    let mut cluster = Cluster::start();
    cluster.worker().await;
    let mut load = Load::begin(&cluster, 1_000).await;
    load.halfway(600).await;
    cluster.nats.kill(0);
    let refused = cluster.brokers[0].run(&["publish", "other", "x", "--timeout", "30s"]);
    assert!(refused.told(1).contains("ENGINE_UNREACHABLE"));
    cluster.nats.restart(0);
    load.judge(&cluster, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_is_deleted_and_made_again_is_another_one_everywhere() {
    let cluster = Cluster::start();
    cluster.worker().await;
    let [one, two, three] = [0, 1, 2].map(|at| &cluster.brokers[at]);
    // A broker hears of what another one did within a second or two: who asks again is not refused for long.
    let done = async |broker: &Tilde, args: &[&str]| {
        soon("a command", async {
            while !broker.run(args).status.success() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    };
    for round in ["first", "second"] {
        done(one, &["namespace", "create", "team"]).await;
        for broker in [one, two, three] {
            done(broker, &["publish", "t", round, "--namespace", "team"]).await;
        }
        for broker in [three, two, one] {
            let read = ["subscribe", "t", "--from", "earliest", "--end", "--namespace", "team"];
            soon("reading", async {
                let expected = format!("t  {round}\n").repeat(3);
                while broker.run(&read).stdout != expected.as_bytes() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
            .await;
        }
        if round == "first" {
            done(two, &["namespace", "delete", "team", "--yes"]).await;
        }
    }
}
