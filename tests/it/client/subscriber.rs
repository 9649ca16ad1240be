//! The subscriber: where it begins, when it ends, and how it comes back.

use super::*;

async fn publish(client: &Client, numbers: std::ops::Range<u64>) {
    let publisher = client.publisher();
    for number in numbers {
        drop(publisher.send(numbered(number)).await.unwrap());
    }
    soon("publishing", publisher.close()).await;
}

async fn numbers(subscriber: &mut Subscriber, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        numbers.extend(messages(subscriber).await.iter().map(number));
    }
    numbers
}

#[tokio::test]
async fn what_is_published_between_a_break_and_the_return_is_not_lost_to_one_that_began_with_new() {
    let broker = Tilde::in_memory();
    let (proxy, through) = over(&broker).await;
    let direct = client(&broker).await;
    publish(&direct, 0..5).await;
    let mut subscriber = through.subscribe(["~"]).start();
    arrived(&mut subscriber).await;
    proxy.cut();
    assert!(matches!(soon("the break", subscriber.next()).await, Some(Ok(Event::Disconnected(_)))));
    publish(&direct, 5..8).await;
    assert_eq!(soon("the return", subscriber.next()).await, Some(Ok(Event::Connected)));
    assert_eq!(numbers(&mut subscriber, 3).await, [5, 6, 7]);
}

#[tokio::test]
async fn as_many_as_were_asked_for_come_however_often_it_breaks() {
    let broker = Tilde::in_memory();
    let (proxy, through) = over(&broker).await;
    let direct = client(&broker).await;
    publish(&direct, 0..2).await;
    let mut subscriber = through.subscribe(["~"]).from(Start::Earliest).max_messages(5).start();
    assert_eq!(numbers(&mut subscriber, 2).await, [0, 1]);
    proxy.cut();
    publish(&direct, 2..9).await;
    assert_eq!(numbers(&mut subscriber, 3).await, [2, 3, 4]);
    assert_eq!(next(&mut subscriber).await, None);
    assert_eq!(next(&mut subscriber).await, None);
}

#[tokio::test]
async fn the_end_is_the_end_also_if_its_word_is_lost() {
    let broker = Tilde::in_memory();
    let (proxy, through) = over(&broker).await;
    publish(&client(&broker).await, 0..3).await;
    let mut subscriber = through.subscribe(["~"]).from(Start::Earliest).stop_at_end(true).start();
    assert_eq!(numbers(&mut subscriber, 3).await, [0, 1, 2]);
    proxy.cut();
    assert_eq!(next(&mut subscriber).await, None);
}

#[tokio::test]
async fn its_cursor_is_where_another_one_goes_on() {
    let broker = Tilde::in_memory();
    let client = client(&broker).await;
    publish(&client, 0..3).await;
    let mut first = client.subscribe(["~"]).from(Start::Earliest).start();
    assert_eq!(first.cursor(), None);
    assert_eq!(numbers(&mut first, 3).await, [0, 1, 2]);
    let cursor = first.cursor().unwrap().to_owned();
    drop(first);
    publish(&client, 3..5).await;
    let mut second = client.subscribe(["~"]).from(Start::After(cursor)).start();
    assert_eq!(numbers(&mut second, 2).await, [3, 4]);
}

#[tokio::test]
async fn a_connection_that_went_silent_is_given_up() {
    let broker = Tilde::in_memory();
    let (proxy, through) = over(&broker).await;
    let mut subscriber = through.subscribe(["~"]).heartbeat(Duration::from_secs(1)).start();
    arrived(&mut subscriber).await;
    proxy.hush();
    publish(&client(&broker).await, 0..3).await;
    assert!(matches!(soon("the silence", subscriber.next()).await, Some(Ok(Event::Disconnected(_)))));
    assert_eq!(numbers(&mut subscriber, 3).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_broker_that_stops_says_so_and_one_that_lost_its_log_is_a_gap() {
    let broker = Tilde::in_memory();
    let address = broker.url.trim_start_matches("http://").to_owned();
    let client = client(&broker).await;
    publish(&client, 0..3).await;
    let mut subscriber = client.subscribe(["~"]).from(Start::Earliest).start();
    assert_eq!(numbers(&mut subscriber, 3).await, [0, 1, 2]);
    let stopping = tokio::task::spawn_blocking(|| broker.stop());
    let fault = loop {
        match soon("the stop", subscriber.next()).await {
            Some(Ok(Event::Disconnected(fault))) => break fault,
            Some(Ok(Event::CaughtUp)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fault.reason.as_deref(), Some("DRAINING"));
    soon("the stop", stopping).await.unwrap();
    let broker = Tilde::start(&["--engine", "memory", "--listen", &address]);
    publish(&Client::connect(&broker.url).await.unwrap(), 7..8).await;
    assert!(matches!(next(&mut subscriber).await, Some(Ok(Event::Gap(_)))));
    assert_eq!(numbers(&mut subscriber, 1).await, [7]);
}

#[tokio::test]
async fn what_waiting_does_not_mend_ends_it() {
    let broker = Tilde::in_memory();
    let client = client(&broker).await;
    let mut subscriber = client.subscribe(["~"]).namespace("nobody").start();
    let fault = next(&mut subscriber).await.unwrap().unwrap_err();
    assert_eq!(fault.reason.as_deref(), Some("NAMESPACE_NOT_FOUND"));
    assert_eq!(next(&mut subscriber).await, None);
    let mut strict = client.subscribe(["~"]).from(Start::After("A".repeat(30))).strict(true).start();
    assert!(next(&mut strict).await.unwrap().is_err());
}
