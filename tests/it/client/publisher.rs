//! The publisher: what it keeps in flight, how it waits, and when it gives up.

use tilde::client::{Fate, Publisher};
use tonic::Code;

use super::*;
use crate::support::ports::free_address;

/// Whether a message is taken at once.
async fn is_taken(publisher: &Publisher, number: u64) -> bool {
    tokio::select! {
        biased;
        sent = publisher.send(numbered(number)) => sent.is_ok(),
        () = std::future::ready(()) => false,
    }
}

#[tokio::test]
async fn takes_no_more_than_its_window() {
    let broker = Tilde::in_memory();
    let (proxy, through) = over(&broker).await;
    let publisher = through.publisher_options().window(10, 1 << 20).start();
    soon("the first", publisher.publish(numbered(0))).await.unwrap();
    proxy.hush();
    for number in 1..=10 {
        assert!(is_taken(&publisher, number).await, "there is room for {number}");
    }
    assert!(!is_taken(&publisher, 11).await, "ten are unanswered");
    proxy.cut();
    soon("the next", publisher.publish(numbered(11))).await.unwrap();
    let large = publisher.publish(PublishRequest::text("t", "x".repeat(5 << 20))).await.unwrap_err();
    assert_eq!((large.reason.as_deref(), large.fate), (Some("MESSAGE_TOO_LARGE"), Fate::Refused));
    soon("all", publisher.close()).await;
    let numbers: Vec<u64> = all(&client(&broker).await).await.into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, (0..=11).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_nobody_waits_for_is_published_too() {
    let broker = Tilde::in_memory();
    let client = client(&broker).await;
    let mut subscriber = client.subscribe(["numbers"]).from(Start::Earliest).max_messages(100).start();
    let publisher = client.publisher();
    for number in 0..100 {
        drop(publisher.send(numbered(number)).await.unwrap());
    }
    drop(publisher);
    let mut expected = 0;
    while expected < 100 {
        for message in messages(&mut subscriber).await {
            assert_eq!(number(&message), expected);
            expected += 1;
        }
    }
}

#[tokio::test]
async fn a_closed_publisher_takes_nothing() {
    let broker = Tilde::in_memory();
    let publisher = client(&broker).await.publisher();
    let other = publisher.clone();
    let pending = publisher.send(numbered(0)).await.unwrap();
    soon("closing", publisher.close()).await;
    soon("the answer", pending).await.unwrap();
    let refused = other.publish(numbered(1)).await.unwrap_err();
    assert_eq!(refused.fate, Fate::Refused);
}

#[tokio::test]
async fn waits_as_long_as_the_broker_asks_and_keeps_the_order() {
    let broker = Tilde::in_memory();
    broker.run(&["namespace", "create", "slow", "--max-messages-per-second", "60", "--durability", "memory"]).ok();
    let publisher = client(&broker).await.publisher_options().namespace("slow").start();
    let mut trouble = publisher.trouble();
    let mut pending = Vec::new();
    // The first second's worth, and one more.
    for number in 0..60 {
        soon("an answer", publisher.publish(numbered(number))).await.unwrap();
    }
    for number in 60..150 {
        pending.push(publisher.send(numbered(number)).await.unwrap());
    }
    let limited = soon("the limit", trouble.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert_eq!(limited.reason.as_deref(), Some("RATE_LIMITED"));
    let mut last = 0;
    for pending in pending {
        let sequence = soon("an answer", pending).await.unwrap().sequence.unwrap();
        assert!(sequence > last);
        last = sequence;
    }
    soon("the end of it", trouble.wait_for(Option::is_none)).await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_its_callers_alone() {
    let broker = Tilde::in_memory();
    let publisher = client(&broker).await.publisher();
    let mut pending = Vec::new();
    for number in 0..20 {
        let topic = if number % 5 == 3 { "wrong~" } else { "numbers" };
        pending.push(publisher.send(PublishRequest { topic: topic.into(), ..numbered(number) }).await.unwrap());
    }
    for (number, pending) in pending.into_iter().enumerate() {
        match soon("an answer", pending).await {
            Ok(_) => assert_ne!(number % 5, 3),
            Err(fault) => {
                assert_eq!((fault.reason.as_deref(), fault.fate), (Some("TOPIC_INVALID"), Fate::Refused));
                assert_eq!(number % 5, 3);
            }
        }
    }
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_told_and_may_come() {
    let broker = Tilde::in_memory();
    let publisher = client(&broker).await.publisher_options().namespace("later").start();
    let refused = soon("the refusal", publisher.publish(numbered(0))).await.unwrap_err();
    assert_eq!((refused.reason.as_deref(), refused.fate), (Some("NAMESPACE_NOT_FOUND"), Fate::Refused));
    broker.run(&["namespace", "create", "later"]).ok();
    soon("the answer", publisher.publish(numbered(1))).await.unwrap();
}

#[tokio::test]
async fn gives_up_when_its_patience_ends_and_goes_on_afterwards() {
    let broker = Tilde::in_memory();
    let (proxy, through) = over(&broker).await;
    let publisher = through.publisher_options().patience(Duration::from_millis(300)).start();
    soon("the first", publisher.publish(numbered(0))).await.unwrap();
    proxy.hush();
    let late = soon("its patience", publisher.publish(numbered(1))).await.unwrap_err();
    assert_eq!((late.code, late.fate), (Code::DeadlineExceeded, Fate::Unknown));
    proxy.cut();
    soon("the next", async { while publisher.publish(numbered(2)).await.is_err() {} }).await;
    let numbers: Vec<u64> = all(&client(&broker).await).await.into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [0, 2]);
}

#[tokio::test]
async fn nobody_there_is_told_as_unsent() {
    let nobody = free_address();
    let client = Client::options(&nobody).lazy().unwrap();
    let publisher = client.publisher_options().trouble_limit(Duration::ZERO).start();
    let fault = soon("the fault", publisher.publish(numbered(0))).await.unwrap_err();
    assert_eq!(fault.fate, Fate::Unsent);
    let fault = Client::options(&nobody).connect_for(Duration::ZERO).connect().await.unwrap_err();
    assert_eq!(fault.fate, Fate::Unsent);
}

#[tokio::test]
async fn there_is_one_publisher_of_a_name() {
    let broker = Tilde::in_memory();
    let client = client(&broker).await;
    let named = || client.publisher_options().producer_id("till-7").start();
    let first = named();
    soon("the first", first.publish(numbered(0))).await.unwrap();
    let second = named();
    soon("the second", second.publish(numbered(1))).await.unwrap();
    // It may not know yet, and what it sends then is not taken.
    let replaced = soon("the end of the first", first.publish(numbered(2))).await.unwrap_err();
    assert_eq!(replaced.reason.as_deref(), Some("PRODUCER_REPLACED"));
    assert_eq!(replaced.code, Code::Aborted);
    soon("the second", second.publish(numbered(3))).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_went_silent_is_given_up() {
    let broker = Tilde::in_memory();
    let (proxy, through) = over(&broker).await;
    let publisher = through.publisher_options().heartbeat(Duration::from_secs(1)).start();
    soon("the first", publisher.publish(numbered(0))).await.unwrap();
    proxy.hush();
    soon("the next", publisher.publish(numbered(1))).await.unwrap();
    let numbers: Vec<u64> = all(&client(&broker).await).await.into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [0, 1]);
}

#[tokio::test]
async fn a_broker_that_restarts_in_order_costs_nothing() {
    let place = tempfile::tempdir().unwrap();
    let broker = Tilde::start_in(place.path(), &[]);
    let address = broker.url.trim_start_matches("http://").to_owned();
    let client = client(&broker).await;
    let mut subscriber = client.subscribe(["~"]).from(Start::Earliest).start();
    let publisher = client.publisher();
    let mut pending = Vec::new();
    for number in 0..1_000 {
        pending.push(publisher.send(numbered(number)).await.unwrap());
    }
    broker.stop();
    for number in 1_000..2_000 {
        pending.push(publisher.send(numbered(number)).await.unwrap());
    }
    let broker = Tilde::start_in(place.path(), &["--listen", &address]);
    for pending in pending {
        soon("an answer", pending).await.unwrap();
    }
    let mut expected = 0;
    while expected < 2_000 {
        for message in messages(&mut subscriber).await {
            assert_eq!(number(&message), expected);
            expected += 1;
        }
    }
    broker.stop();
}
