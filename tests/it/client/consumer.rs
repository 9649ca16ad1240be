//! The consumer: what it says of a message, what it holds, and how it comes back.

use tilde::client::{Consumer, Delivery, Fate};

use super::*;

/// A broker with the subscription `s` of `numbers`, and the messages 0 to `count`.
async fn filled(count: u64, flags: &[&str]) -> Tilde {
    let broker = Tilde::in_memory();
    broker.run(&[&["subscription", "create", "s", "numbers"], flags].concat()).ok();
    publish(&broker, 0..count).await;
    broker
}

async fn publish(broker: &Tilde, numbers: std::ops::Range<u64>) {
    let publisher = client(broker).await.publisher();
    for number in numbers {
        drop(publisher.send(numbered(number)).await.unwrap());
    }
    soon("publishing", publisher.close()).await;
}

#[track_caller]
fn stats(broker: &Tilde) -> serde_json::Value {
    broker.run(&["subscription", "show", "s", "--format", "json"]).json().remove(0)["stats"].clone()
}

async fn next(consumer: &mut Consumer) -> Delivery {
    soon("a delivery", consumer.next()).await.expect("it goes on").unwrap()
}

async fn take(consumer: &mut Consumer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        deliveries.push(next(consumer).await);
    }
    deliveries
}

fn numbers_of(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| number(&delivery.message)).collect()
}

/// Cuts the connection, and waits until it is there again.
async fn cut(proxy: &Proxy, consumer: &Consumer) {
    let mut trouble = consumer.trouble();
    proxy.cut();
    soon("the break", trouble.wait_for(Option::is_some)).await.unwrap();
    soon("the return", trouble.wait_for(Option::is_none)).await.unwrap();
}

#[tokio::test]
async fn what_is_said_of_a_delivery_is_what_becomes_of_it() {
    let broker = filled(5, &["--min-backoff", "0s"]).await;
    let mut consumer = client(&broker).await.consume("s").consumer_id("c-1").start();
    let mut deliveries = take(&mut consumer, 5).await;
    assert_eq!(numbers_of(&deliveries), [0, 1, 2, 3, 4]);
    assert!(deliveries.iter().all(|delivery| delivery.attempt == 1));
    let [done, failed, wrong, untried, dropped] = std::array::from_fn(|_| deliveries.remove(0));
    soon("an extension", done.extend(None)).await.unwrap();
    soon("an extension", done.extend(Duration::from_secs(60))).await.unwrap();
    soon("an acknowledgement", done.ack()).await.unwrap();
    soon("a failure", failed.nack(Duration::ZERO, "no paper")).await.unwrap();
    soon("a rejection", wrong.reject("not a letter")).await.unwrap();
    soon("giving back", untried.release()).await.unwrap();
    drop(dropped);
    let mut again = take(&mut consumer, 3).await;
    again.sort_by_key(|delivery| delivery.message.sequence);
    assert_eq!(numbers_of(&again), [1, 3, 4]);
    assert_eq!(again.iter().map(|delivery| delivery.attempt).collect::<Vec<_>>(), [2, 1, 2]);
    let explained = |sequence: u64| {
        let sequence = sequence.to_string();
        broker.run(&["subscription", "explain", "s", &sequence, "--format", "json"]).json().remove(0)
    };
    assert_eq!(explained(2)["last_reason"], "no paper");
    assert_eq!(explained(5)["last_reason"], "the consumer dropped it");
    for delivery in again {
        soon("an acknowledgement", delivery.ack()).await.unwrap();
    }
    soon("the end", consumer.close()).await.unwrap();
    let dead = broker.run(&["subscribe", "$dead/s", "--from", "earliest", "--count", "1", "--format", "json"]).json();
    assert_eq!((&dead[0]["text"], &dead[0]["attributes"]["tilde-reason"]), (&"2".into(), &"not a letter".into()));
    assert_eq!(dead[0]["attributes"]["tilde-consumer"], "c-1");
    let stats = stats(&broker);
    assert_eq!((&stats["acked"], &stats["backlog_messages"]), (&4.into(), &0.into()));
}

#[tokio::test]
async fn whoever_waits_for_a_settlement_is_told_the_truth_and_the_stream_goes_on() {
    let broker = filled(2, &["--ack-deadline", "1s", "--min-backoff", "0s"]).await;
    let client = client(&broker).await;
    let (mut slow, mut other) = (client.consume("s").start(), client.consume("s").start());
    other.set_window(0, 0);
    let mut late = take(&mut slow, 2).await;
    slow.set_window(0, 0);
    other.set_window(2, 1 << 20);
    // Their leases expire.
    let again = take(&mut other, 2).await;
    assert!(again.iter().all(|delivery| delivery.attempt == 2));
    let refused = soon("a refusal", late.remove(0).ack()).await.unwrap_err();
    assert_eq!((refused.reason.as_deref(), refused.fate), (Some("LEASE_EXPIRED"), Fate::Refused));
    for delivery in again {
        soon("an acknowledgement", delivery.ack()).await.unwrap();
    }
    let refused = soon("a refusal", late.remove(0).ack()).await.unwrap_err();
    assert_eq!((refused.reason.as_deref(), refused.fate), (Some("ALREADY_SETTLED"), Fate::Refused));
    other.set_window(0, 0);
    slow.set_window(2, 1 << 20);
    publish(&broker, 2..3).await;
    soon("an acknowledgement", next(&mut slow).await.ack()).await.unwrap();
}

#[tokio::test]
async fn what_is_held_when_the_connection_breaks_is_settled_afterwards_and_not_handed_out_again() {
    let broker = filled(6, &["--ack-deadline", "10m"]).await;
    let (proxy, through) = over(&broker).await;
    let mut consumer = through.consume("s").start();
    let deliveries = take(&mut consumer, 6).await;
    cut(&proxy, &consumer).await;
    // Some are delivered again by now, perhaps.
    for (number, delivery) in deliveries.into_iter().enumerate() {
        match number % 2 {
            0 => soon("an acknowledgement", delivery.ack()).await.unwrap(),
            // The break was a failure already, or this is one of the second attempt.
            _ => drop(delivery.nack(Duration::ZERO, "")),
        }
    }
    let mut again = Vec::new();
    for _ in 0..3 {
        let delivery = next(&mut consumer).await;
        again.push(number(&delivery.message));
        soon("an acknowledgement", delivery.ack()).await.unwrap();
    }
    again.sort_unstable();
    assert_eq!(again, [1, 3, 5]);
    soon("the end", consumer.close()).await.unwrap();
    let stats = stats(&broker);
    assert_eq!((&stats["acked"], &stats["outstanding_messages"]), (&6.into(), &0.into()));
}

#[tokio::test]
async fn what_was_said_into_the_void_is_said_again() {
    let broker = filled(5, &["--ack-deadline", "10m"]).await;
    let (proxy, through) = over(&broker).await;
    let mut consumer = through.consume("s").start();
    let deliveries = take(&mut consumer, 5).await;
    proxy.hush();
    let settling: Vec<_> = deliveries.into_iter().map(Delivery::ack).collect();
    cut(&proxy, &consumer).await;
    for settling in settling {
        soon("an acknowledgement", settling).await.unwrap();
    }
    publish(&broker, 5..6).await;
    assert_eq!(number(&next(&mut consumer).await.message), 5, "nothing came again");
    assert_eq!(stats(&broker)["acked"], 5);
}

#[tokio::test]
async fn a_connection_that_went_silent_is_given_up() {
    let broker = filled(1, &[]).await;
    let (proxy, through) = over(&broker).await;
    let mut consumer = through.consume("s").heartbeat(Duration::from_secs(1)).start();
    let delivery = next(&mut consumer).await;
    let mut trouble = consumer.trouble();
    proxy.hush();
    soon("the silence", trouble.wait_for(Option::is_some)).await.unwrap();
    soon("an acknowledgement", delivery.ack()).await.unwrap();
}

#[tokio::test]
async fn leases_are_extended_of_what_waits_and_of_what_is_to_be_kept() {
    let broker = filled(2, &["--ack-deadline", "1s", "--min-backoff", "0s"]).await;
    let client = client(&broker).await;
    let mut keeping = client.consume("s").window(2, 1 << 20).keep_leases(Duration::MAX).start();
    let kept = next(&mut keeping).await;
    publish(&broker, 2..3).await;
    let mut careless = client.consume("s").window(1, 1 << 20).start();
    let lost = next(&mut careless).await;
    careless.set_window(0, 0);
    // Its lease is over when this comes, and so would be the others, which are older.
    let mut other = client.consume("s").start();
    let again = next(&mut other).await;
    assert_eq!((number(&again.message), again.attempt), (number(&lost.message), 2));
    soon("an acknowledgement", again.ack()).await.unwrap();
    soon("an acknowledgement", kept.ack()).await.unwrap();
    soon("an acknowledgement", next(&mut keeping).await.ack()).await.unwrap();
    assert_eq!((&stats(&broker)["acked"], &stats(&broker)["redelivered"]), (&3.into(), &1.into()));
}

#[tokio::test]
async fn one_that_detaches_gives_back_what_nobody_has_and_settles_what_somebody_has() {
    let broker = filled(10, &["--ack-deadline", "10m"]).await;
    let client = client(&broker).await;
    let mut consumer = client.consume("s").start();
    let held = next(&mut consumer).await;
    consumer.detach();
    let mut other = client.consume("s").start();
    let others = take(&mut other, 9).await;
    assert_eq!(numbers_of(&others).into_iter().max(), Some(9));
    assert!(others.iter().all(|delivery| delivery.attempt == 1), "it counts no attempt");
    let settling = held.ack();
    assert!(soon("the end", consumer.next()).await.is_none());
    soon("an acknowledgement", settling).await.unwrap();
    others.into_iter().for_each(|delivery| drop(delivery.ack()));
    soon("the end", other.close()).await.unwrap();
    let stats = stats(&broker);
    assert_eq!((&stats["acked"], &stats["redelivered"], &stats["consumers"]), (&10.into(), &0.into(), &0.into()));
}

#[tokio::test]
async fn a_detached_consumer_settles_what_it_has_also_after_a_break() {
    let broker = filled(2, &["--ack-deadline", "10m"]).await;
    let (proxy, through) = over(&broker).await;
    let mut consumer = through.consume("s").window(2, 1 << 20).start();
    let held = take(&mut consumer, 2).await;
    let mut trouble = consumer.trouble();
    consumer.detach();
    proxy.cut();
    soon("the break", trouble.wait_for(Option::is_some)).await.unwrap();
    for delivery in held {
        soon("an acknowledgement", delivery.ack()).await.unwrap();
    }
    soon("the end", consumer.close()).await.unwrap();
    assert_eq!(stats(&broker)["acked"], 2);
}

#[tokio::test]
async fn what_waiting_does_not_mend_ends_it() {
    let broker = filled(1, &[]).await;
    let client = client(&broker).await;
    let mut nothing = client.consume("nothing").start();
    let fault = soon("the end", nothing.next()).await.unwrap().unwrap_err();
    assert_eq!(fault.reason.as_deref(), Some("SUBSCRIPTION_NOT_FOUND"));
    assert!(!nothing.has_begun());
    assert!(soon("the end", nothing.next()).await.is_none());
    let mut consumer = client.consume("s").start();
    let delivery = next(&mut consumer).await;
    broker.run(&["subscription", "delete", "s", "--yes"]).ok();
    let fault = soon("the end", consumer.next()).await.unwrap().unwrap_err();
    assert_eq!(fault.reason.as_deref(), Some("SUBSCRIPTION_NOT_FOUND"));
    assert_eq!(soon("a refusal", delivery.ack()).await, Err(fault.clone()));
    assert_eq!(soon("the end", consumer.close()).await, Ok(()), "that was told");
}

#[tokio::test]
async fn comes_back_when_the_broker_does() {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    broker.run(&["subscription", "create", "s", "numbers"]).ok();
    publish(&broker, 0..4).await;
    let address = broker.url.trim_start_matches("http://").to_owned();
    let mut consumer = client(&broker).await.consume("s").window(2, 1 << 20).start();
    let held = take(&mut consumer, 2).await;
    let stopping = tokio::task::spawn_blocking(|| broker.stop());
    let mut trouble = consumer.trouble();
    let fault = soon("the stop", trouble.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert_eq!(fault.reason.as_deref(), Some("DRAINING"));
    soon("the stop", stopping).await.unwrap();
    let settling: Vec<_> = held.into_iter().map(Delivery::ack).collect();
    let broker = Tilde::start_in(place.path(), &["--listen", &address]);
    for settling in settling {
        soon("an acknowledgement", settling).await.unwrap();
    }
    let rest = take(&mut consumer, 2).await;
    assert_eq!(numbers_of(&rest), [2, 3]);
    assert!(rest.iter().all(|delivery| delivery.attempt == 1), "a stop counts no attempt");
    rest.into_iter().for_each(|delivery| drop(delivery.ack()));
    soon("the end", consumer.close()).await.unwrap();
    assert_eq!(stats(&broker)["backlog_messages"], 0);
    broker.stop();
}
