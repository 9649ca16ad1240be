//! Cut off at random, at any byte, again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
};

use tilde::client::{Consumer, Event, Fate, Publisher, Settling};
use tokio::sync::{Notify, mpsc, watch};

use super::*;
use crate::support::{
    dice::{Dice, rounds},
    network::BadNetwork,
};

/// Bytes between two cuts, at most: on the machine itself, and over a bad line.
const FAST: u64 = 1 << 20;
const SLOW: u64 = 64 << 10;

/// How many answers may be waited for.
const UNDER_WAY: usize = 50_000;

/// How far a publisher may be ahead of who reads: over a bad line he would never come to the end.
const LEAD: u64 = 20_000;

/// Publishes 0, 1, 2, … at full speed until it is told to stop. Counts the answers, and answers with their sequences.
async fn publish(publisher: Publisher, stop: watch::Receiver<bool>, answered: Arc<watch::Sender<u64>>) -> Vec<u64> {
    // Nobody reads.
    publish_for(publisher, stop, answered, watch::Sender::new(u64::MAX).subscribe()).await
}

/// The same for somebody who reads, and counts what he has.
async fn publish_for(
    publisher: Publisher,
    stop: watch::Receiver<bool>,
    answered: Arc<watch::Sender<u64>>,
    mut received: watch::Receiver<u64>,
) -> Vec<u64> {
    let (send, mut pending) = mpsc::channel(UNDER_WAY);
    let answers = tokio::spawn(async move {
        let mut sequences = Vec::new();
        while let Some(answer) = pending.recv().await {
            let answer: tilde::client::Pending = answer;
            let published = answer.await.unwrap_or_else(|fault| panic!("{}: {fault:?}", sequences.len()));
            sequences.push(published.sequence.unwrap_or_default());
            answered.send_replace(sequences.len() as u64);
        }
        sequences
    });
    let mut number = 0;
    while !*stop.borrow() {
        // The reader may have gone, with the test.
        let _ = received.wait_for(|received| received.saturating_add(LEAD) > number).await;
        let pending = publisher.send(numbered(number)).await.unwrap();
        send.send(pending).await.unwrap();
        number += 1;
    }
    publisher.close().await;
    drop(send);
    answers.await.unwrap()
}

/// Waits until so many more are answered.
async fn answers(answered: &watch::Sender<u64>, more: u64) {
    let mut answered = answered.subscribe();
    let enough = *answered.borrow() + more;
    soon("publishing", answered.wait_for(|answered| *answered >= enough)).await.unwrap();
}

/// Cuts at any moment, or at any byte.
async fn cut(proxy: &Proxy, dice: &mut Dice, answered: &watch::Sender<u64>, most: u64) {
    if dice.hits(2) {
        soon("a cut", proxy.cut_after(dice.roll(most))).await;
    } else {
        answers(answered, dice.roll(most >> 8)).await;
        proxy.cut();
    }
}

fn broker_at(directory: &Path, address: &str) -> Tilde {
    Tilde::start_in(directory, &["--listen", address])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_publishes_every_number_once_and_in_order() {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    let address = broker.url.trim_start_matches("http://").to_owned();
    publish_through_cuts(
        broker,
        |broker| {
            broker.kill();
            broker_at(place.path(), &address)
        },
        FAST,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_misses_nothing_and_gets_nothing_twice() {
    follow_through_cuts(&Tilde::start(&[]), FAST).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_is_handed_each_message_once_and_settles_it_once() {
    let broker = Tilde::start(&[]);
    let (broker, handed) = consume_through_cuts(broker, None).await;
    assert!(handed.values().all(|times| *times == 1), "{handed:?}");
    let stats = broker.run(&["subscription", "show", "s", "--format", "json"]).json().remove(0)["stats"].clone();
    assert_eq!((&stats["acked"], &stats["dead_lettered"]), (&handed.len().into(), &0.into()));
    assert_eq!((&stats["backlog_messages"], &stats["outstanding_messages"]), (&0.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_consumer_knows_to_be_settled_never_comes_again_also_if_the_broker_is_killed() {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    let address = broker.url.trim_start_matches("http://").to_owned();
    let restart = |broker: Tilde| {
        broker.kill();
        broker_at(place.path(), &address)
    };
    let (broker, _) = consume_through_cuts(broker, Some(&restart)).await;
    let stats = broker.run(&["subscription", "show", "s", "--format", "json"]).json().remove(0)["stats"].clone();
    assert_eq!((&stats["backlog_messages"], &stats["dead_lettered"]), (&0.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_bad_line_both_hold_too() {
    let network = BadNetwork::new();
    let place = tempfile::tempdir().unwrap();
    follow_through_cuts(&network.start(place.path()), SLOW).await;
    let other = tempfile::tempdir().unwrap();
    let kill = |broker: Tilde| {
        broker.kill();
        network.start(other.path())
    };
    publish_through_cuts(network.start(other.path()), kill, SLOW).await;
}

/// Publishes at full speed while the connection is cut again and again, and the broker sometimes killed.
async fn publish_through_cuts(mut broker: Tilde, restart: impl Fn(Tilde) -> Tilde, most: u64) {
    let mut dice = Dice::new();
    let (proxy, through) = over(&broker).await;
    let (stop, stopped) = watch::channel(false);
    let answered = Arc::new(watch::Sender::new(0));
    let publishing = tokio::spawn(publish(through.publisher(), stopped, answered.clone()));
    for round in 1..=rounds(20, 1_000) {
        cut(&proxy, &mut dice, &answered, most).await;
        if round % 5 == 0 {
            broker = restart(broker);
        }
    }
    answers(&answered, 1).await;
    stop.send_replace(true);
    let sequences = soon("the end", publishing).await.unwrap();

    let log = all(&client(&broker).await).await;
    assert_eq!(log.len(), sequences.len());
    for (at, ((number, place), told)) in log.into_iter().zip(sequences).enumerate() {
        assert_eq!(number, at as u64);
        // The broker may know that it has a message, and no longer where.
        assert!(told == place || told == 0, "{number} lies at {place}, and {told} was told");
    }
}

/// Follows what is published at full speed, while the connection is cut again and again.
async fn follow_through_cuts(broker: &Tilde, most: u64) {
    let mut dice = Dice::new();
    let (proxy, through) = over(broker).await;
    let mut subscriber = through.subscribe(["numbers"]).start();
    arrived(&mut subscriber).await;

    let (stop, stopped) = watch::channel(false);
    let received = Arc::new(watch::Sender::new(0));
    let answered = Arc::new(watch::Sender::new(0));
    let publishing =
        tokio::spawn(publish_for(client(broker).await.publisher(), stopped, answered, received.subscribe()));
    let breaks = Arc::new(watch::Sender::new(0));
    let (counted, noticed) = (received.clone(), breaks.clone());
    // Ends when a number comes that says so: the last one is known when publishing has ended.
    let (end, mut last) = watch::channel(None);
    let reading = tokio::spawn(async move {
        let mut expected = 0;
        loop {
            tokio::select! {
                event = subscriber.next() => match event {
                    Some(Ok(Event::Messages { messages, .. })) => {
                        for message in &messages {
                            assert_eq!(number(message), expected);
                            expected += 1;
                        }
                        counted.send_replace(expected);
                    }
                    Some(Ok(Event::Disconnected(_))) => noticed.send_modify(|breaks| *breaks += 1),
                    Some(Ok(Event::Connected | Event::CaughtUp)) => {}
                    other => panic!("{other:?}"),
                },
                _ = last.changed() => {}
            }
            if last.borrow().is_some_and(|last: usize| last as u64 == expected) {
                return;
            }
        }
    });
    let rounds = rounds(20, 1_000);
    for _ in 0..rounds {
        let before = *breaks.borrow();
        cut(&proxy, &mut dice, &received, most).await;
        // What was on its way is told before the break, and what comes after it comes over another connection.
        soon("noticing", breaks.subscribe().wait_for(|breaks| *breaks > before)).await.unwrap();
        answers(&received, 1).await;
    }
    stop.send_replace(true);
    end.send_replace(Some(soon("publishing", publishing).await.unwrap().len()));
    soon("reading", reading).await.unwrap();
}

/// What a consumer has had, and what it knows of it.
#[derive(Debug, Default)]
struct Worked {
    /// How often each number was handed out.
    handed: BTreeMap<u64, u32>,
    /// Those that are not settled, as far as is known.
    open: BTreeSet<u64>,
    /// Those that are settled for good.
    confirmed: BTreeSet<u64>,
}

/// Works off what is published at full speed, while the connection is cut again and again, and the broker sometimes
/// killed. Answers how often each number was handed out.
async fn consume_through_cuts(
    mut broker: Tilde,
    restart: Option<&dyn Fn(Tilde) -> Tilde>,
) -> (Tilde, BTreeMap<u64, u32>) {
    let mut dice = Dice::new();
    let flags = ["--ack-deadline", "10m", "--max-attempts", "never"];
    broker.run(&[&["subscription", "create", "s", "numbers"][..], &flags].concat()).ok();
    let (proxy, through) = over(&broker).await;
    let consumer = through.consume("s").start();
    let (stop, stopped) = watch::channel(false);
    let (received, answered) = (Arc::new(watch::Sender::new(0)), Arc::new(watch::Sender::new(0)));
    let publisher = client(&broker).await.publisher();
    let publishing = tokio::spawn(publish_for(publisher, stopped, answered, received.subscribe()));
    let worked = Arc::new(Mutex::new(Worked::default()));
    let (end, last) = watch::channel(None);
    let working = tokio::spawn(work(consumer, worked.clone(), received.clone(), last, restart.is_some()));
    for round in 1..=rounds(20, 1_000) {
        cut(&proxy, &mut dice, &received, FAST).await;
        if let Some(restart) = restart.filter(|_| round % 5 == 0) {
            broker = restart(broker);
        }
        answers(&received, 1).await;
    }
    stop.send_replace(true);
    end.send_replace(Some(soon("publishing", publishing).await.unwrap().len()));
    soon("working", working).await.unwrap();
    let worked = Arc::into_inner(worked).expect("nobody works any more").into_inner().unwrap();
    (broker, worked.handed)
}

/// Acknowledges what comes, until all numbers below `last` are settled. Settlements are refused only if the broker `crashes`.
async fn work(
    mut consumer: Consumer,
    worked: Arc<Mutex<Worked>>,
    received: Arc<watch::Sender<u64>>,
    mut last: watch::Receiver<Option<usize>>,
    crashes: bool,
) {
    let (send, settling) = mpsc::unbounded_channel();
    let answered = Arc::new(Notify::new());
    let answers = tokio::spawn(note(settling, worked.clone(), answered.clone(), crashes));
    loop {
        tokio::select! {
            delivery = consumer.next() => {
                let delivery = delivery.expect("it goes on").unwrap();
                let number = number(&delivery.message);
                let count = {
                    let mut worked = worked.lock().unwrap();
                    assert!(!worked.confirmed.contains(&number), "{number} was settled for good, and came again");
                    *worked.handed.entry(number).or_default() += 1;
                    worked.open.insert(number);
                    worked.handed.len()
                };
                received.send_replace(count as u64);
                send.send((number, delivery.ack())).unwrap();
            }
            _ = last.changed() => {}
            () = answered.notified() => {}
        }
        let worked = worked.lock().unwrap();
        if last.borrow().is_some_and(|last| worked.handed.len() == last && worked.open.is_empty()) {
            break;
        }
    }
    consumer.close().await.unwrap();
    drop(send);
    answers.await.unwrap();
}

/// Writes down what became of settlements: each is taken, or it is not known which of its tries was. What a crash of the
/// broker took back comes again.
async fn note(
    mut settling: mpsc::UnboundedReceiver<(u64, Settling)>,
    worked: Arc<Mutex<Worked>>,
    answered: Arc<Notify>,
    crashes: bool,
) {
    while let Some((number, settling)) = settling.recv().await {
        let answer = settling.await;
        let mut worked = worked.lock().unwrap();
        match answer {
            Ok(()) => {
                assert!(worked.confirmed.insert(number), "{number} was settled twice");
                worked.open.remove(&number);
            }
            Err(fault) if crashes && fault.reason.as_deref() == Some("LEASE_EXPIRED") => {}
            Err(fault) => {
                let told = (fault.reason.as_deref(), fault.fate);
                assert_eq!(told, (Some("ALREADY_SETTLED"), Fate::Unknown), "{number}: {fault}");
                worked.open.remove(&number);
            }
        }
        answered.notify_one();
    }
}
