//! Streams that begin at a time, or with the last messages.

use std::time::Duration;

use tilde::{
    broker::{Config, Event, LiveStream, Subscribe},
    clock::Clock,
    model::{LagPolicy, Position, Reason, Sequence, limits},
};

use super::support::{Fixture, Setup, event, is_silent, last_word, messages, numbers, open, rest, subscribe, texts};

fn at(position: Position, patterns: &[&str]) -> Subscribe {
    Subscribe { position, ..subscribe(patterns) }
}

/// Events until all was sent.
async fn until_caught_up(stream: &mut LiveStream) -> Vec<Event> {
    let mut events = vec![event(stream).await];
    while !events.last().unwrap().caught_up {
        events.push(event(stream).await);
    }
    events
}

/// With little memory, so that what was published lies in the log.
async fn forgetful() -> Fixture {
    let config = Config { response_messages: 3, ..Config::default() };
    Setup { config, tail_bytes: 1, ..Setup::default() }.open().await
}

#[tokio::test(start_paused = true)]
async fn a_time_begins_with_what_was_published_then() {
    let fixture = open().await;
    let mut times = Vec::new();
    for n in 0..10 {
        times.push(fixture.clock.now());
        fixture.publish("t", &n.to_string()).await;
        fixture.clock.advance(Duration::from_secs(10));
    }
    for (time, expected) in [
        (times[3], 3),
        (times[3].plus(Duration::from_nanos(1)), 4),
        (times[0].minus(Duration::from_secs(3600)), 0),
        (fixture.clock.now().plus(Duration::from_secs(3600)), 10),
    ] {
        let position = Position::Time(time);
        let strict = Subscribe { strict: true, stop_at_end: true, ..at(position, &["t"]) };
        let (mut stream, first) = fixture.subscribe(strict).await;
        assert_eq!((first.gap, first.cursor.after), (None, Sequence(expected as u64)));
        assert_eq!(texts(&rest(&mut stream).await), numbers(10)[expected..]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_so_many_come_first_and_then_new_ones() {
    let fixture = forgetful().await;
    for n in 0..20 {
        fixture.publish("t", &n.to_string()).await;
        fixture.publish("u", "other").await;
    }
    let (mut stream, first) = fixture.subscribe(at(Position::Last(7), &["t"])).await;
    assert!(!first.caught_up && first.gap.is_none());
    assert_eq!(texts(&until_caught_up(&mut stream).await), numbers(20)[13..]);
    fixture.publish("t", "new").await;
    assert_eq!(texts([&event(&mut stream).await]), ["new"]);
    let (mut stream, _) = fixture.subscribe(at(Position::Last(100), &["t"])).await;
    assert_eq!(texts(&until_caught_up(&mut stream).await)[..20], numbers(20));
    // None that matches is as new.
    let (mut stream, first) = fixture.subscribe(at(Position::Last(5), &["v"])).await;
    assert!(first.caught_up && is_silent(&mut stream).await);
}

#[tokio::test(start_paused = true)]
async fn the_newest_of_each_topic_comes_first_and_then_everything() {
    let fixture = forgetful().await;
    for round in 0..5 {
        for topic in ["a", "b", "c", "other"] {
            fixture.publish(topic, &format!("{topic}{round}")).await;
        }
    }
    fixture.publish("b", "b5").await;
    for lag_policy in [LagPolicy::CatchUp, LagPolicy::Disconnect] {
        let asked = Subscribe { lag_policy, ..at(Position::LastPerTopic, &["a", "b", "c"]) };
        let (mut stream, first) = fixture.subscribe(asked).await;
        assert!(!first.caught_up && first.gap.is_none());
        // What comes while it reads is neither missed nor taken for the newest.
        fixture.publish("a", "live").await;
        let events = until_caught_up(&mut stream).await;
        assert_eq!(texts(&events)[..4], ["a4", "c4", "b5", "live"]);
        assert!(events.iter().rev().skip(1).all(|event| !event.caught_up));
        fixture.publish("c", "more").await;
        assert_eq!(texts([&event(&mut stream).await]), ["more"]);
        for (topic, text) in [("a", "a4"), ("c", "c4"), ("b", "b5")] {
            fixture.publish(topic, text).await;
        }
    }
    let ends = Subscribe { stop_at_end: true, ..at(Position::LastPerTopic, &["~"]) };
    let (mut stream, _) = fixture.subscribe(ends).await;
    assert_eq!(texts(&rest(&mut stream).await), ["other4", "a4", "c4", "b5"]);
    let counted = Subscribe { max_messages: 2, ..at(Position::LastPerTopic, &["~"]) };
    let (mut stream, _) = fixture.subscribe(counted).await;
    assert_eq!(texts(&rest(&mut stream).await), ["other4", "a4"]);
    let (mut stream, first) = fixture.subscribe(at(Position::LastPerTopic, &["none"])).await;
    assert!(first.caught_up && is_silent(&mut stream).await);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_from_within_the_newest_loses_no_topic() {
    let config = Config { response_messages: 2, ..Config::default() };
    let fixture = Setup { config, ..Setup::default() }.open().await;
    // Far apart, so that they are read one by one, and some of them together.
    for n in 0..6 {
        fixture.publish(&format!("t/{n}"), "early").await;
    }
    for n in 0..6 {
        fixture.publish_many("filler", if n % 2 == 0 { 1100 } else { 3 }).await;
        fixture.publish(&format!("t/{n}"), &format!("newest {n}")).await;
    }
    let asked = at(Position::LastPerTopic, &["t/~"]);
    let (mut stream, first) = fixture.subscribe(asked).await;
    let mut cursors = vec![(first.cursor, 0)];
    let mut got = Vec::new();
    for event in until_caught_up(&mut stream).await {
        got.extend(messages(&event).into_iter().map(|(_, topic, _)| topic));
        cursors.push((event.cursor, got.len()));
    }
    assert_eq!(got.len(), 6);
    for (cursor, seen) in cursors {
        let (mut stream, _) = fixture.subscribe(at(Position::After(cursor), &["t/~"])).await;
        let mut all = got[..seen].to_vec();
        if seen < 6 {
            let events = until_caught_up(&mut stream).await;
            all.extend(events.iter().flat_map(messages).map(|(_, topic, _)| topic));
        }
        assert_eq!(all, got, "nothing is missed, and here nothing comes twice");
    }
}

#[tokio::test(start_paused = true)]
async fn snapshots_of_stuck_readers_are_bounded() {
    let config = Config { snapshot_bytes: 100, ..Config::default() };
    let fixture = Setup { config, ..Setup::default() }.open().await;
    for n in 0..10 {
        fixture.publish(&n.to_string(), "x").await;
    }
    let asked = at(Position::LastPerTopic, &["~"]);
    let (mut stream, _) = fixture.subscribe(asked.clone()).await;
    let refusal = fixture.refusal(asked.clone()).await;
    assert_eq!(refusal.reason(), Reason::QuotaExceeded);
    until_caught_up(&mut stream).await;
    let (_second, _) = fixture.subscribe(asked).await;
}

#[tokio::test(start_paused = true)]
async fn more_topics_than_may_be_are_refused() {
    let fixture = open().await;
    let publish = async |numbers: std::ops::Range<usize>| {
        let batch = numbers.map(|n| Ok(super::support::publish(&format!("t/{n}"), "x"))).collect();
        fixture.broker.publish_batch(batch, false).await.unwrap();
    };
    for n in 0..100 {
        publish(n * 1000..(n + 1) * 1000).await;
    }
    let asked = Subscribe { stop_at_end: true, ..at(Position::LastPerTopic, &["t/~"]) };
    let (mut stream, _) = fixture.subscribe(asked.clone()).await;
    let delivered: usize = rest(&mut stream).await.iter().map(|event| event.messages).sum();
    assert_eq!(delivered, limits::LAST_TOPICS);
    publish(100_000..100_001).await;
    let refusal = fixture.refusal(asked).await;
    assert_eq!((refusal.reason(), refusal.violated_field()), (Reason::RequestInvalid, Some("topics")));
    let fewer = at(Position::LastPerTopic, &["t/1~"]);
    let (_stream, first) = fixture.subscribe(fewer).await;
    assert!(!first.caught_up);
}

#[tokio::test(start_paused = true)]
async fn what_retention_takes_from_the_newest_is_told() {
    let fixture = forgetful().await;
    let name = tilde::model::NamespaceName::parse("small").unwrap();
    let settings = tilde::model::Namespace { max_bytes: 1 << 20, ..tilde::model::Namespace::new(name.clone()) };
    fixture.broker.create_namespace(settings).await.unwrap();
    let send = async |topic: &str, text: &str| {
        let message = tilde::broker::Publish { namespace: Some(name.clone()), ..super::support::publish(topic, text) };
        fixture.broker.publish(message).await.unwrap()
    };
    let first = send("a", "x").await;
    send("b", "x").await;
    let asked = Subscribe { namespace: name.clone(), ..at(Position::LastPerTopic, &["~"]) };
    let (mut stream, _) = fixture.subscribe(asked.clone()).await;
    let (mut strict, _) = fixture.subscribe(Subscribe { strict: true, ..asked }).await;
    let large = "x".repeat(100_000);
    for _ in 0..30 {
        send("c", &large).await;
    }
    let gap = event(&mut stream).await.gap.expect("both are gone");
    assert_eq!(gap.first, first.sequence);
    assert_eq!(last_word(&mut strict).await.reason(), Reason::PositionExpired);
}
