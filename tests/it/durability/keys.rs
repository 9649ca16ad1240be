//! A subscription that orders by key, through the real binary: consumers that fail, release and drop their connections,
//! and a broker that is killed while they work. Judged as the simulated world is: within a key nothing overtakes.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tilde::{
    client,
    pb::v1::{
        self as pb, Attach, BatchPublishRequest, ConsumeRequest, CreateSubscriptionRequest, DeliveryOrder, FlowControl,
        GetSubscriptionRequest, PublishRequest, RetryPolicy, Settlement, StartPosition, Subscription,
        broker_client::BrokerClient,
        start_position::{Position, Preset},
        subscriptions_client::SubscriptionsClient,
    },
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

use super::{Dice, PATIENCE, Tilde, client::message as request, rounds};
use crate::simulation::{
    check::check,
    history::{At, Book, Delivery, Message, Order, Part, Rules, Stream, Verdict, What},
};

const KEYS: usize = 50;
const CONSUMERS: usize = 8;

fn rules() -> Rules {
    let ack_deadline = Duration::from_secs(600);
    Rules { name: "work", order: Order::Key, ack_deadline, max_attempts: None, wants: |_| true }
}

fn subscription() -> Subscription {
    let none = Some(prost_types::Duration::default());
    Subscription {
        name: "work".into(),
        topics: vec!["jobs".into()],
        delivery_order: DeliveryOrder::Key.into(),
        ack_deadline: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        retry_policy: Some(RetryPolicy { min_backoff: none, max_backoff: none, multiplier: 1.0, max_attempts: -1 }),
        start: Some(StartPosition { position: Some(Position::Preset(Preset::Earliest.into())) }),
        ..Default::default()
    }
}

/// One run of the broker, and what all runs have in common.
#[derive(Clone)]
struct Scene {
    url: String,
    book: Book,
    began: Instant,
    /// The broker is gone, or is done with.
    is_over: Arc<AtomicBool>,
    /// Nothing fails any more.
    behaves: bool,
}

impl Scene {
    fn now(&self) -> At {
        self.began.elapsed()
    }

    fn write(&self, what: What) {
        self.book.write(self.now(), what);
    }

    async fn work(self, host: usize, mut dice: Dice) {
        while !self.is_over.load(Ordering::SeqCst) {
            let stream = Stream { subscription: 0, host, number: self.book.stream() };
            // Where it fails the broker is killed, and soon it is over.
            let _ = self.stream(stream, &mut dice).await;
            tokio::task::yield_now().await;
        }
    }

    /// Works until the stream ends, or it drops it.
    async fn stream(&self, stream: Stream, dice: &mut Dice) -> Result<(), tonic::Status> {
        let attaching = self.now();
        let connected =
            client::connect(&self.url).await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let mut broker = BrokerClient::new(connected);
        let (send, requests) = mpsc::channel(10_000);
        let flow =
            FlowControl { max_outstanding_messages: Some(1 + dice.roll(20) as u32), max_outstanding_bytes: None };
        let attach =
            Attach { subscription: "work".into(), flow_control: Some(flow), confirm: true, ..Default::default() };
        let _ = send.try_send(ConsumeRequest { attach: Some(attach), ..Default::default() });
        let mut responses = broker.consume(ReceiverStream::new(requests)).await?.into_inner();
        let mut said: HashMap<String, Verdict> = HashMap::new();
        // Dropped first: it is written down before the broker can see it.
        let _ends = Ends(self, stream);
        loop {
            if self.is_over.load(Ordering::SeqCst) {
                return Ok(());
            }
            // While nothing comes it looks whether it is over.
            let Ok(response) = timeout(Duration::from_millis(100), responses.message()).await else { continue };
            let Some(response) = response? else { return Ok(()) };
            for confirmation in response.confirmations {
                let refusal = (confirmation.code != 0).then_some(confirmation.reason);
                for ack_id in confirmation.ack_ids {
                    let verdict = said[&ack_id];
                    self.write(What::Told { ack_id, verdict, refusal: refusal.clone() });
                }
            }
            for delivery in response.deliveries {
                let ack_id = delivery.ack_id.clone();
                // It was handed out after this stream began.
                self.write(What::Delivered(received(delivery, stream, attaching)));
                if !self.behaves && dice.hits(50) {
                    return Ok(());
                }
                let verdict = match dice.roll(10) {
                    _ if self.behaves => Verdict::Ack,
                    0 => Verdict::Nack,
                    1 => Verdict::Release,
                    _ => Verdict::Ack,
                };
                said.insert(ack_id.clone(), verdict);
                self.write(What::Said { ack_id: ack_id.clone(), verdict });
                let settlements = vec![settlement(ack_id, verdict)];
                let _ = send.try_send(ConsumeRequest { settlements, ..Default::default() });
            }
        }
    }
}

/// Writes down that a stream ends.
struct Ends<'a>(&'a Scene, Stream);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.write(What::Broke(Part::Stream(self.1.number)));
    }
}

fn settlement(ack_id: String, verdict: Verdict) -> Settlement {
    let verdict = match verdict {
        Verdict::Ack => pb::Verdict::Ack,
        Verdict::Nack => pb::Verdict::Nack,
        _ => pb::Verdict::Release,
    };
    Settlement { ack_ids: vec![ack_id], verdict: verdict.into(), ..Default::default() }
}

fn received(delivery: pb::Delivery, stream: Stream, not_before: At) -> Delivery {
    let message = delivery.message.unwrap();
    Delivery {
        ack_id: delivery.ack_id,
        subscription: 0,
        stream: Some(stream),
        sequence: message.sequence,
        attempt: delivery.attempt,
        not_before,
        message: Message {
            text: super::client::text(&message).to_owned(),
            topic: message.topic,
            key: message.ordering_key,
            loud: false,
        },
    }
}

/// Publishes the same number of messages with each key, in turn.
async fn publish(broker: &Tilde, book: &Book, each: usize) {
    let mut client = BrokerClient::new(client::connect(&broker.url).await.unwrap());
    for round in 0..each {
        let text = |key: usize| format!("{key}-{round}");
        let key = |key: usize| format!("key-{key}");
        let requests = (0..KEYS).map(|n| PublishRequest { ordering_key: key(n), ..request("jobs", text(n)) }).collect();
        let answer = client.batch_publish(BatchPublishRequest { requests, atomic: true }).await.unwrap().into_inner();
        for (n, result) in answer.results.into_iter().enumerate() {
            let Some(pb::publish_result::Result::Published(stored)) = result.result else { panic!("it was refused") };
            let message = Message { text: text(n), topic: "jobs".into(), key: key(n), loud: false };
            book.write(At::ZERO, What::Published(message));
            book.write(At::ZERO, What::Stored { text: text(n), sequence: stored.sequence });
        }
    }
}

async fn backlog(broker: &Tilde) -> u64 {
    let mut client = SubscriptionsClient::new(client::connect(&broker.url).await.unwrap());
    let request = GetSubscriptionRequest { name: "work".into(), ..Default::default() };
    let subscription = client.get_subscription(request).await.unwrap().into_inner().subscription.unwrap();
    subscription.stats.unwrap().backlog_messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_a_key_nothing_overtakes_whoever_fails_and_however_often_the_broker_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (mut dice, book, began) = (Dice::new(), Book::default(), Instant::now());
    let mut broker = Tilde::start_in(directory.path(), &[]);
    let mut subscriptions = SubscriptionsClient::new(client::connect(&broker.url).await.unwrap());
    let request = CreateSubscriptionRequest { subscription: Some(subscription()) };
    subscriptions.create_subscription(request).await.unwrap();
    publish(&broker, &book, rounds(20, 200)).await;
    let kills = rounds(4, 40);
    for run in 0..=kills {
        let is_over = Arc::<AtomicBool>::default();
        let (url, behaves) = (broker.url.clone(), run == kills);
        let scene = Scene { url, book: book.clone(), began, is_over: is_over.clone(), behaves };
        let mut working = JoinSet::new();
        for host in 0..CONSUMERS {
            working.spawn(scene.clone().work(host, dice.split()));
        }
        if behaves {
            let done = async {
                while backlog(&broker).await > 0 {
                    tokio::task::yield_now().await;
                }
            };
            timeout(PATIENCE, done).await.expect("it is never done");
            is_over.store(true, Ordering::SeqCst);
        } else {
            // How far it comes until it is killed is chance.
            sleep(Duration::from_millis(dice.roll(300))).await;
            scene.write(What::Broke(Part::Broker));
            broker.kill();
            is_over.store(true, Ordering::SeqCst);
            broker = Tilde::start_in(directory.path(), &[]);
        }
        working.join_all().await;
    }
    let found = check(&book.close(vec![rules()]));
    assert!(found.is_empty(), "{:#?}", found.iter().map(ToString::to_string).collect::<Vec<_>>());
    broker.stop();
}
