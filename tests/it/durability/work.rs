//! What a subscription has settled survives its broker: nothing that was confirmed, or settled a while before, comes
//! again; nothing that was not settled is lost; and the subscription is there as it was made.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tilde::{
    client,
    pb::v1::{
        AckMode, Attach, BatchPublishRequest, ConsumeRequest, ConsumeResponse, CreateSubscriptionRequest, FlowControl,
        GetSubscriptionRequest, PullRequest, RetryPolicy, Settlement, StartPosition, SubscribeRequest, Subscription,
        Verdict,
        broker_client::BrokerClient,
        start_position::{Position, Preset},
        subscriptions_client::SubscriptionsClient,
    },
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Dice, PATIENCE, Tilde, message, rounds};

/// Messages that wait in each round.
const MESSAGES: usize = 3_000;
/// Settled so long before a kill, it is kept.
const KEPT_WITHIN: Duration = Duration::from_millis(100);

fn subscription() -> Subscription {
    Subscription {
        name: "work".into(),
        topics: vec!["jobs/~".into()],
        start: Some(StartPosition { position: Some(Position::Preset(Preset::Earliest.into())) }),
        ..Default::default()
    }
}

/// What became of each message, by sequence.
#[derive(Default)]
struct Book {
    // When it was settled, as its consumer saw it.
    settled: BTreeMap<u64, Instant>,
    confirmed: BTreeMap<u64, ()>,
    ids: BTreeMap<String, u64>,
}

type Settling = mpsc::Sender<ConsumeRequest>;

async fn consume(broker: &Tilde, confirm: bool) -> (Settling, Streaming<ConsumeResponse>) {
    let mut client = BrokerClient::new(client::connect(&broker.url).await.unwrap());
    let (send, requests) = mpsc::channel(1_000);
    let flow = FlowControl { max_outstanding_messages: Some(200), max_outstanding_bytes: None };
    let attach = Attach { subscription: "work".into(), flow_control: Some(flow), confirm, ..Default::default() };
    send.send(ConsumeRequest { attach: Some(attach), ..Default::default() }).await.unwrap();
    let stream = timeout(PATIENCE, client.consume(ReceiverStream::new(requests))).await.unwrap().unwrap();
    (send, stream.into_inner())
}

/// Settles what comes, each by itself, until the broker is gone.
async fn work(broker: &Tilde, confirm: bool, book: Arc<Mutex<Book>>) -> Status {
    let (settle, mut stream) = consume(broker, confirm).await;
    loop {
        let response = match timeout(PATIENCE, stream.message()).await.expect("a stream hangs") {
            Ok(Some(response)) => response,
            Ok(None) => return Status::ok(""),
            Err(status) => return status,
        };
        for delivery in response.deliveries {
            let sequence = delivery.message.unwrap().sequence;
            let ack_ids = vec![delivery.ack_id.clone()];
            let verdict = Verdict::Ack.into();
            let settlements = vec![Settlement { ack_ids, verdict, ..Default::default() }];
            book.lock().unwrap().ids.insert(delivery.ack_id, sequence);
            if settle.send(ConsumeRequest { settlements, ..Default::default() }).await.is_ok() {
                book.lock().unwrap().settled.insert(sequence, Instant::now());
            }
        }
        let mut book = book.lock().unwrap();
        for confirmation in response.confirmations {
            assert_eq!((confirmation.code, confirmation.reason.as_str()), (0, ""));
            for id in confirmation.ack_ids {
                let sequence = book.ids[&id];
                book.confirmed.insert(sequence, ());
            }
        }
    }
}

async fn publish(broker: &Tilde) {
    let mut client = BrokerClient::new(client::connect(&broker.url).await.unwrap());
    for _ in 0..MESSAGES / 1_000 {
        let requests = (0..1_000).map(|n| message("jobs/a", n.to_string())).collect();
        client.batch_publish(BatchPublishRequest { requests, atomic: false }).await.unwrap();
    }
}

/// Takes all that is left; it is done with that.
async fn rest(broker: &Tilde) -> Vec<u64> {
    let mut client = BrokerClient::new(client::connect(&broker.url).await.unwrap()).max_decoding_message_size(8 << 20);
    let mut sequences = Vec::new();
    loop {
        let request = PullRequest {
            subscription: "work".into(),
            max_messages: 1_000,
            ack_mode: AckMode::Auto.into(),
            ..Default::default()
        };
        let deliveries = client.pull(request).await.unwrap().into_inner().deliveries;
        if deliveries.is_empty() {
            return sequences;
        }
        sequences.extend(deliveries.into_iter().map(|delivery| delivery.message.unwrap().sequence));
    }
}

async fn created(broker: &Tilde) -> bool {
    let mut client = SubscriptionsClient::new(client::connect(&broker.url).await.unwrap());
    let request = CreateSubscriptionRequest { subscription: Some(subscription()) };
    client.create_subscription(request).await.unwrap().into_inner().created
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_settled_survives_kill_nine_and_nothing_else_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let mut dice = Dice::new();
    let mut broker = Tilde::start_in(directory.path(), &[]);
    assert!(created(&broker).await);
    let mut last = 0;
    for round in 0..rounds(6, 100) {
        publish(&broker).await;
        let book = Arc::new(Mutex::new(Book::default()));
        let ended = AtomicBool::new(false);
        let working = async {
            let status = work(&broker, round % 2 == 0, book.clone()).await;
            ended.store(true, Ordering::SeqCst);
            status
        };
        let killing = async {
            let most = dice.roll(400);
            // How far it comes until it is killed is chance.
            tokio::time::sleep(Duration::from_millis(most)).await;
            let killed = Instant::now();
            broker.signal(rustix::process::Signal::KILL);
            killed
        };
        let (_, killed) = tokio::join!(working, killing);
        broker.wait();
        broker = Tilde::start_in(directory.path(), &[]);
        assert!(!created(&broker).await, "it is there, as it was made");
        let again = rest(&broker).await;
        let book = Arc::into_inner(book).unwrap().into_inner().unwrap();
        let first = last + 1;
        last += MESSAGES as u64;
        for sequence in first..=last {
            // A crash leaves numbers out.
            let came_again = again.contains(&sequence);
            let settled = book.settled.get(&sequence);
            let is_kept = settled.is_some_and(|settled| *settled + KEPT_WITHIN < killed);
            assert!(!came_again || !is_kept, "round {round}: {sequence} was settled long before, and came again");
            assert!(!came_again || !book.confirmed.contains_key(&sequence), "round {round}: {sequence} was confirmed");
            assert!(came_again || settled.is_some(), "round {round}: {sequence} is lost");
        }
        last = end(&broker).await;
    }
}

/// The last sequence that the log has given out, or left out, by now.
async fn end(broker: &Tilde) -> u64 {
    let mut client = BrokerClient::new(client::connect(&broker.url).await.unwrap());
    client.publish(message("elsewhere", "x")).await.unwrap().into_inner().sequence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_takes_back_no_settlement() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(directory.path(), &[]);
    assert!(created(&broker).await);
    publish(&broker).await;
    let book = Arc::new(Mutex::new(Book::default()));
    let working = work(&broker, false, book.clone());
    let stopping = async {
        // Until it is in the middle of its work.
        while book.lock().unwrap().settled.len() < 500 {
            tokio::task::yield_now().await;
        }
        broker.signal(rustix::process::Signal::TERM);
    };
    tokio::join!(working, stopping);
    broker.wait().ok();
    let broker = Tilde::start_in(directory.path(), &[]);
    let mut client = SubscriptionsClient::new(client::connect(&broker.url).await.unwrap());
    let request = GetSubscriptionRequest { name: "work".into(), ..Default::default() };
    let stats = client.get_subscription(request).await.unwrap().into_inner().subscription.unwrap().stats.unwrap();
    let settled = std::mem::take(&mut book.lock().unwrap().settled);
    let again = rest(&broker).await;
    assert_eq!(stats.acked as usize + again.len(), MESSAGES);
    // What was said when the stream had ended already was never heard.
    let unheard = again.iter().filter(|sequence| settled.contains_key(sequence)).count();
    assert!(unheard <= 200, "{unheard} of what was settled came again: more than a window");
}

/// On paused time it is tested in `broker::work`. Here the time is real, so that there is no upper bound.
#[tokio::test]
async fn retries_follow_the_policy_by_the_clock_on_the_wall() {
    let broker = Tilde::start(&[]);
    let least = Duration::from_millis(200);
    let retry = RetryPolicy {
        min_backoff: Some(least.try_into().unwrap()),
        max_backoff: Some(Duration::from_secs(60).try_into().unwrap()),
        multiplier: 2.0,
        max_attempts: 5,
    };
    let asked = Subscription { retry_policy: Some(retry), ..subscription() };
    let channel = client::connect(&broker.url).await.unwrap();
    let request = CreateSubscriptionRequest { subscription: Some(asked) };
    SubscriptionsClient::new(channel.clone()).create_subscription(request).await.unwrap();
    let mut client = BrokerClient::new(channel);
    client.publish(message("jobs/a", "x")).await.unwrap();
    let (settle, mut stream) = consume(&broker, false).await;
    let mut failed: Option<Instant> = None;
    for attempt in 1..=5 {
        let delivery = loop {
            let response = timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
            if let Some(delivery) = response.deliveries.into_iter().next() {
                break delivery;
            }
        };
        assert_eq!(delivery.attempt, attempt);
        if let Some(failed) = failed {
            // A tenth less, by chance.
            let wait = least * 2u32.pow(attempt - 2);
            assert!(failed.elapsed() >= wait.mul_f64(0.9), "attempt {attempt} after {:?}", failed.elapsed());
        }
        failed = Some(Instant::now());
        let settlement = Settlement {
            ack_ids: vec![delivery.ack_id],
            verdict: Verdict::Nack.into(),
            reason: "no paper".into(),
            ..Default::default()
        };
        settle.send(ConsumeRequest { settlements: vec![settlement], ..Default::default() }).await.unwrap();
    }
    let request = SubscribeRequest { topics: vec!["$dead/work".into()], max_messages: 1, ..Default::default() };
    let start = Some(StartPosition { position: Some(Position::Preset(Preset::Earliest.into())) });
    let mut dead = client.subscribe(SubscribeRequest { start, ..request }).await.unwrap().into_inner();
    let letter = loop {
        let response = timeout(PATIENCE, dead.message()).await.unwrap().unwrap().unwrap();
        if let Some(letter) = response.messages.into_iter().next() {
            break letter;
        }
    };
    assert_eq!(
        (letter.attributes["tilde-reason"].as_str(), letter.attributes["tilde-attempts"].as_str()),
        ("no paper", "5")
    );
}
