//! Publishers, streams and consumers at all brokers, that go on until they are told to stop, and write down what they see;
//! the checker of the simulation judges it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tilde::{
    client::{Client, Event, Start},
    pb::v1::{PublishRequest, publish_request::Payload},
};
use tokio::{sync::watch, task::JoinHandle};

use super::{BROKERS, Cluster, soon};
use crate::simulation::{
    check::check,
    history::{Book, Delivery, Message, Order, Part, Rules, Stream, Verdict, What},
};

/// One whose messages have no order, and one that works off each key in order.
const SUBSCRIPTIONS: [(&str, Order); 2] = [("work", Order::Shared), ("keys", Order::Key)];
const ACK_DEADLINE: Duration = Duration::from_secs(20);
/// From when a broker hands out a message until its consumer writes it down.
const TRANSIT: Duration = Duration::from_millis(500);
/// Between two messages of a publisher.
const PACE: Duration = Duration::from_millis(5);
/// So often leases may be thought to end, while anything may have gone wrong.
const STORM: Duration = Duration::from_millis(50);

/// The load.
pub struct Load {
    shared: Arc<Shared>,
    publishers: Vec<JoinHandle<BTreeMap<u64, String>>>,
    streams: Vec<JoinHandle<Vec<(u64, String)>>>,
    consumers: Vec<JoinHandle<()>>,
}

struct Shared {
    book: Book,
    began: Instant,
    published: watch::Sender<u64>,
    settled: [watch::Sender<u64>; SUBSCRIPTIONS.len()],
    // How many there are in all, once that is known.
    all: watch::Sender<Option<u64>>,
    is_over: AtomicBool,
    is_stormy: AtomicBool,
    deliveries: AtomicU64,
}

impl Load {
    /// Begins it.
    pub async fn begin(cluster: &Cluster) -> Self {
        let deadline = format!("{}s", ACK_DEADLINE.as_secs());
        for (name, order) in SUBSCRIPTIONS {
            let order = if order == Order::Key { "key" } else { "shared" };
            let create = ["subscription", "create", name, "load/~", "--from", "earliest", "--order", order];
            let rest = ["--ack-deadline", &deadline, "--max-attempts", "100", "--min-backoff", "100ms"];
            let created = cluster.brokers[0].run(&[&create[..], &rest].concat());
            assert!(created.status.success(), "{}\n{}", created.stderr, cluster.logs());
        }
        let shared = Arc::new(Shared {
            book: Book::default(),
            began: Instant::now(),
            published: watch::Sender::new(0),
            settled: [watch::Sender::new(0), watch::Sender::new(0)],
            all: watch::Sender::new(None),
            is_over: AtomicBool::new(false),
            is_stormy: AtomicBool::new(false),
            deliveries: AtomicU64::new(0),
        });
        let (mut publishers, mut streams, mut consumers) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..BROKERS {
            let client = cluster.client(at).await;
            publishers.push(tokio::spawn(publish(shared.clone(), client.clone(), at)));
            streams.push(tokio::spawn(follow(shared.clone(), client.clone())));
            for subscription in 0..SUBSCRIPTIONS.len() {
                consumers.push(tokio::spawn(consume(shared.clone(), client.clone(), at, subscription)));
            }
        }
        let storm = shared.clone();
        consumers.push(tokio::spawn(async move {
            loop {
                tokio::time::sleep(STORM).await;
                if storm.is_stormy.load(Ordering::SeqCst) {
                    storm.write(What::Broke(Part::Broker));
                }
            }
        }));
        Load { shared, publishers, streams, consumers }
    }

    /// Ends when so many more messages were published, and as many settled by each subscription.
    pub async fn goes_on(&self, messages: u64) {
        let published = *self.shared.published.borrow() + messages;
        let settled = self.shared.settled.each_ref().map(|settled| *settled.borrow() + messages);
        soon("publishing", self.shared.published.subscribe().wait_for(|count| *count >= published)).await.unwrap();
        for (count, least) in self.shared.settled.iter().zip(settled) {
            soon("settling", count.subscribe().wait_for(|count| *count >= least)).await.unwrap();
        }
    }

    /// From now on leases may end at any time, or not any more.
    pub fn storm(&self, is_stormy: bool) {
        self.shared.write(What::Broke(Part::Broker));
        self.shared.is_stormy.store(is_stormy, Ordering::SeqCst);
    }

    /// Stops, waits until everything has come everywhere, and judges.
    pub async fn judge(self, cluster: &Cluster) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let mut answered = BTreeMap::new();
        let mut messages = 0;
        for publisher in self.publishers {
            let own = soon("publishing", publisher).await.unwrap();
            messages += own.len();
            answered.extend(own);
        }
        assert_eq!(answered.len(), messages, "each has a place of its own");
        self.shared.all.send_replace(Some(answered.len() as u64));
        for stream in self.streams {
            let seen = soon("a stream", stream).await.unwrap();
            assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "in one order");
            assert!(seen.into_iter().collect::<BTreeMap<_, _>>() == answered, "everything, once");
        }
        for (name, _) in SUBSCRIPTIONS {
            soon("settling", async {
                while !is_done(cluster, name, answered.len() as u64) {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            })
            .await;
        }
        self.consumers.iter().for_each(JoinHandle::abort);
        let rules =
            |(name, order)| Rules { name, order, ack_deadline: ACK_DEADLINE, max_attempts: None, wants: |_| true };
        let history = self.shared.book.close(SUBSCRIPTIONS.map(rules).to_vec());
        let found = check(&history);
        let mut told: Vec<_> = found.iter().take(20).map(ToString::to_string).collect();
        told.extend(found.first().into_iter().flat_map(|first| history.of_key_of(&first.text)));
        assert!(found.is_empty(), "{} faults:\n{}\n{}", found.len(), told.join("\n"), cluster.logs());
    }
}

impl Shared {
    fn write(&self, what: What) {
        // The book is in the order of its times.
        self.book.write_now(self.began, what);
    }
}

/// Whether so many messages were acknowledged, and none waits.
fn is_done(cluster: &Cluster, name: &str, messages: u64) -> bool {
    let shown = cluster.brokers[0].run(&["subscription", "show", name, "--format", "json"]);
    let Some(shown) = shown.status.success().then(|| shown.json().remove(0)) else { return false };
    let stats = ["acked", "backlog_messages", "outstanding_messages"].map(|name| shown["stats"][name].as_u64());
    stats == [Some(messages), Some(0), Some(0)]
}

async fn publish(shared: Arc<Shared>, client: Client, at: usize) -> BTreeMap<u64, String> {
    let publisher = client.publisher();
    let mut answers = BTreeMap::new();
    for number in 0.. {
        if shared.is_over.load(Ordering::SeqCst) {
            break;
        }
        let (text, topic, key) =
            (format!("{at}/{number}"), format!("load/{}", number % 7), format!("{at}-{}", number % 5));
        let message = Message { text: text.clone(), topic: topic.clone(), key: key.clone(), loud: false };
        shared.write(What::Published(message));
        let payload = Some(Payload::Text(text.clone()));
        let request = PublishRequest { topic, payload, ordering_key: key, ..Default::default() };
        let published = publisher.publish(request).await.unwrap();
        let sequence = published.sequence.expect("it was published within the window");
        shared.write(What::Stored { text: text.clone(), sequence });
        answers.insert(sequence, text);
        shared.published.send_modify(|count| *count += 1);
        tokio::time::sleep(PACE).await;
    }
    publisher.close().await;
    answers
}

async fn follow(shared: Arc<Shared>, client: Client) -> Vec<(u64, String)> {
    let mut stream = client.subscribe(["load/~"]).from(Start::Earliest).start();
    let mut all = shared.all.subscribe();
    let mut seen = Vec::new();
    while all.borrow().is_none_or(|all| (seen.len() as u64) < all) {
        let next = tokio::select! {
            next = stream.next() => next,
            _ = all.changed() => continue,
        };
        match next.expect("a stream goes on").unwrap() {
            Event::Messages { messages, .. } => {
                seen.extend(messages.iter().map(|message| (message.sequence, text(message.bytes()))));
            }
            Event::Gap(gap) => panic!("{gap:?}"),
            _ => {}
        }
    }
    seen
}

/// Acknowledges what comes, and every now and then fails at it first.
async fn consume(shared: Arc<Shared>, client: Client, host: usize, subscription: usize) {
    let name = SUBSCRIPTIONS[subscription].0;
    let stream = Stream { subscription, host, number: (host * SUBSCRIPTIONS.len() + subscription) as u32 };
    let mut consumer = client.consume(name).window(50, 1 << 20).start();
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery.unwrap();
        let (nth, sequence) = (shared.deliveries.fetch_add(1, Ordering::SeqCst), delivery.message.sequence);
        let ack_id = nth.to_string();
        let message = Message {
            text: text(delivery.message.bytes()),
            topic: delivery.message.topic.clone(),
            key: delivery.message.ordering_key.clone(),
            loud: false,
        };
        shared.write(What::Delivered(Delivery {
            ack_id: ack_id.clone(),
            subscription,
            stream: Some(stream),
            message,
            sequence,
            attempt: delivery.attempt,
            not_before: shared.began.elapsed().saturating_sub(TRANSIT),
        }));
        let verdict = if nth % 40 == 7 { Verdict::Nack } else { Verdict::Ack };
        shared.write(What::Said { ack_id: ack_id.clone(), verdict });
        let settling = match verdict {
            Verdict::Ack => delivery.ack(),
            _ => delivery.nack(None, "once more"),
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            // Else it may come again, or not.
            if settling.await.is_ok() {
                shared.write(What::Told { ack_id, verdict, refusal: None });
                if verdict == Verdict::Ack {
                    shared.settled[subscription].send_modify(|count| *count += 1);
                }
            }
        });
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
