//! Slow readers, and positions that are no longer kept. Memory holds next to nothing here.

use tilde::{
    broker::{Config, Subscribe},
    model::{Gap, GapReason, LagPolicy, LogId, Namespace, NamespaceName, Position, Reason, Sequence},
};

use super::support::{
    Fixture, Setup, earliest, event, is_silent, last_word, messages, numbers, publish, subscribe, texts,
};

async fn forgetful() -> Fixture {
    let config = Config { response_messages: 10, ..Config::default() };
    Setup { config, tail_bytes: 1, ..Setup::default() }.open().await
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_catches_up_from_the_log_and_goes_on_live() {
    let fixture = forgetful().await;
    let (mut stream, _) = fixture.subscribe(subscribe(&["t"])).await;
    assert!(is_silent(&mut stream).await);
    fixture.publish_many("t", 95).await;
    let mut events = Vec::new();
    while texts(&events).len() < 95 {
        events.push(event(&mut stream).await);
    }
    assert_eq!(texts(&events), numbers(95));
    assert!(events.last().unwrap().caught_up && !events[0].caught_up);
    assert!(is_silent(&mut stream).await);
    fixture.publish("t", "live").await;
    assert_eq!(texts([&event(&mut stream).await]), ["live"]);
}

#[tokio::test(start_paused = true)]
async fn skip_jumps_to_the_end_and_tells_the_gap() {
    let fixture = forgetful().await;
    let (mut stream, _) = fixture.subscribe(Subscribe { lag_policy: LagPolicy::Skip, ..subscribe(&["t"]) }).await;
    fixture.publish_many("t", 5).await;
    let skipped = event(&mut stream).await;
    let gap = Gap { reason: GapReason::Skipped, first: Sequence(1), last: Sequence(5) };
    assert_eq!((skipped.gap, skipped.cursor.after, skipped.messages), (Some(gap), Sequence(5), 0));
    fixture.publish("t", "live").await;
    assert_eq!(texts([&event(&mut stream).await]), ["live"]);
}

#[tokio::test(start_paused = true)]
async fn disconnect_ends_with_the_cursor() {
    let fixture = forgetful().await;
    let lagging = Subscribe { lag_policy: LagPolicy::Disconnect, ..subscribe(&["t"]) };
    let (mut stream, first) = fixture.subscribe(lagging).await;
    fixture.publish_many("t", 5).await;
    let word = last_word(&mut stream).await;
    assert_eq!(word.reason(), Reason::SlowConsumer);
    assert_eq!(word.metadata(), [("cursor", first.cursor.encode())]);
}

#[tokio::test(start_paused = true)]
async fn whoever_begins_in_the_past_does_not_lag_before_it_has_caught_up() {
    let fixture = forgetful().await;
    fixture.publish_many("t", 95).await;
    for lag_policy in [LagPolicy::Skip, LagPolicy::Disconnect] {
        let (mut stream, _) = fixture.subscribe(Subscribe { lag_policy, ..earliest(&["t"]) }).await;
        let mut events = Vec::new();
        while texts(&events).len() < 95 {
            events.push(event(&mut stream).await);
        }
        assert_eq!(texts(&events), numbers(95));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_wants_little_does_not_lag_however_much_passes_by() {
    let fixture = forgetful().await;
    let lagging = Subscribe { lag_policy: LagPolicy::Disconnect, ..subscribe(&["rare"]) };
    let (mut stream, _) = fixture.subscribe(lagging).await;
    for round in 0..3 {
        assert!(is_silent(&mut stream).await);
        fixture.publish_many("busy", 100).await;
        let rare = fixture.publish("rare", &round.to_string()).await;
        let delivered = event(&mut stream).await;
        assert_eq!(messages(&delivered), [(rare.sequence, "rare".to_owned(), round.to_string())]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sparse_pattern_finds_its_messages_far_behind() {
    let fixture = forgetful().await;
    for round in 0..5 {
        fixture.publish_many("busy", 100).await;
        fixture.publish("rare", &round.to_string()).await;
    }
    let (mut stream, _) = fixture.subscribe(Subscribe { max_messages: 5, ..earliest(&["rare"]) }).await;
    assert_eq!(texts(&super::support::rest(&mut stream).await), numbers(5));
}

#[tokio::test(start_paused = true)]
async fn what_retention_removed_is_a_gap_or_refused() {
    let fixture = forgetful().await;
    let large = "x".repeat(100_000);
    let name = NamespaceName::parse("small").unwrap();
    let settings = Namespace { max_bytes: 1 << 20, ..Namespace::new(name.clone()) };
    fixture.broker.create_namespace(settings).await.unwrap();
    let here = |subscribe: Subscribe| Subscribe { namespace: name.clone(), ..subscribe };
    let send = async || {
        let message = tilde::broker::Publish { namespace: Some(name.clone()), ..publish("t", &large) };
        fixture.broker.publish(message).await.unwrap()
    };
    let first = send().await;
    let (mut overtaken, _) = fixture.subscribe(here(subscribe(&["t"]))).await;
    let (mut strict, _) = fixture.subscribe(here(Subscribe { strict: true, ..subscribe(&["t"]) })).await;
    for _ in 0..30 {
        send().await;
    }

    let after = Position::After(first.cursor);
    let (mut stream, begun) = fixture.subscribe(here(Subscribe { position: after, ..subscribe(&["t"]) })).await;
    let gap = begun.gap.expect("some are gone");
    assert_eq!((gap.reason, gap.first), (GapReason::Retention, first.sequence.next()));
    assert_eq!(begun.cursor.after, gap.last);
    assert_eq!(messages(&event(&mut stream).await)[0].0, gap.last.next());
    let refusal = fixture.refusal(here(Subscribe { position: after, strict: true, ..subscribe(&["t"]) })).await;
    assert_eq!(refusal.reason(), Reason::PositionExpired);
    assert_eq!(refusal.metadata(), [("first", gap.last.next().to_string())]);

    // Those who were reading are told as well.
    let told = event(&mut overtaken).await;
    assert_eq!(told.gap, Some(gap));
    assert_eq!(messages(&told)[0].0, gap.last.next());
    let word = last_word(&mut strict).await;
    assert_eq!(word.reason(), Reason::PositionExpired);
    assert_eq!(word.metadata()[1], ("cursor", first.cursor.encode()));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_another_log_is_told_and_begins_at_the_earliest() {
    let fixture = forgetful().await;
    let mut cursor = fixture.publish("t", "1").await.cursor;
    cursor.log = LogId(!cursor.log.0);
    let position = Position::After(cursor);
    let (mut stream, begun) = fixture.subscribe(Subscribe { position, ..subscribe(&["t"]) }).await;
    let gap = Gap { reason: GapReason::LogReplaced, first: Sequence::ZERO, last: Sequence::ZERO };
    assert_eq!((begun.gap, begun.caught_up), (Some(gap), false));
    assert_eq!(texts([&event(&mut stream).await]), ["1"]);
    let refusal = fixture.refusal(Subscribe { position, strict: true, ..subscribe(&["t"]) }).await;
    assert_eq!(refusal.reason(), Reason::PositionExpired);
}
