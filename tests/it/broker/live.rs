//! Live streams: beginning, delivery, silence, and every planned end.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tilde::{
    broker::{Config, LiveStream, Subscribe},
    clock::Clock,
    model::{NamespaceName, Position, Reason, Sequence},
};
use tokio::time::Instant;
use tokio_stream::Stream;

use super::support::{Setup, earliest, event, is_silent, last_word, messages, numbers, open, rest, subscribe, texts};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn what_is_answered_after_started_is_delivered_in_order_and_nothing_before() {
    let fixture = open().await;
    let before = fixture.publish("a", "before").await;
    let (mut stream, first) = fixture.subscribe(subscribe(&["~"])).await;
    assert!(first.caught_up && first.gap.is_none());
    assert_eq!(first.cursor, before.cursor);
    assert!(is_silent(&mut stream).await);
    let a = fixture.publish("a", "1").await;
    let b = fixture.publish("b", "2").await;
    let delivered = event(&mut stream).await;
    let expected = [(a.sequence, "a".to_owned(), "1".to_owned()), (b.sequence, "b".to_owned(), "2".to_owned())];
    assert_eq!(messages(&delivered), expected);
    assert!(delivered.caught_up);
    assert_eq!(delivered.cursor, b.cursor);
    assert!(is_silent(&mut stream).await);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_two_patterns_match_comes_once() {
    let fixture = open().await;
    let (mut stream, _) = fixture.subscribe(subscribe(&["a~", "ab", "~"])).await;
    fixture.publish("ab", "1").await;
    fixture.publish("$ab", "hidden").await;
    fixture.publish("b", "2").await;
    assert_eq!(texts([&event(&mut stream).await]), ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_resumes_after_its_message_for_any_pattern() {
    let fixture = open().await;
    fixture.publish_many("t", 10).await;
    let (mut stream, _) = fixture.subscribe(Subscribe { max_messages: 4, ..earliest(&["t"]) }).await;
    let cursor = rest(&mut stream).await.last().unwrap().cursor;
    let position = Position::After(cursor);
    let (mut stream, _) = fixture.subscribe(Subscribe { position, stop_at_end: true, ..subscribe(&["~"]) }).await;
    assert_eq!(texts(&rest(&mut stream).await), numbers(10)[4..]);
    let at = Subscribe { position: Position::At(Sequence(9)), stop_at_end: true, ..subscribe(&["~"]) };
    let (mut stream, _) = fixture.subscribe(at).await;
    assert_eq!(texts(&rest(&mut stream).await), ["8", "9"]);
}

#[tokio::test(start_paused = true)]
async fn a_sequence_that_is_yet_to_come_is_waited_for() {
    let fixture = open().await;
    let at = Subscribe { position: Position::At(Sequence(3)), ..subscribe(&["~"]) };
    let (mut stream, _) = fixture.subscribe(at).await;
    fixture.publish_many("t", 2).await;
    assert!(is_silent(&mut stream).await);
    fixture.publish_many("t", 2).await;
    assert_eq!(texts([&event(&mut stream).await]), ["0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn responses_are_bounded_and_the_last_says_that_all_was_sent() {
    let config = Config { response_messages: 7, response_bytes: 1000, ..Config::default() };
    let fixture = Setup { config, ..Setup::default() }.open().await;
    fixture.publish_many("t", 20).await;
    fixture.publish("t", &"x".repeat(5000)).await;
    let (mut stream, first) = fixture.subscribe(earliest(&["t"])).await;
    assert!(!first.caught_up);
    let mut sizes = Vec::new();
    loop {
        let next = event(&mut stream).await;
        sizes.push((next.messages, next.caught_up));
        if next.caught_up {
            break;
        }
    }
    assert_eq!(sizes, [(7, false), (7, false), (6, false), (1, true)]);
}

#[tokio::test(start_paused = true)]
async fn whoever_was_behind_is_told_of_the_end_even_if_nothing_matched() {
    let fixture = open().await;
    fixture.publish_many("t", 3).await;
    let (mut stream, first) = fixture.subscribe(earliest(&["other"])).await;
    assert!(!first.caught_up);
    let next = event(&mut stream).await;
    assert!(next.caught_up && next.messages == 0);
    assert_eq!(next.cursor.after, Sequence(3));
    // From now on nothing is said for what it does not want.
    fixture.publish_many("t", 3).await;
    assert!(is_silent(&mut stream).await);
}

#[tokio::test(start_paused = true)]
async fn only_a_match_wakes() {
    struct Count(AtomicU64);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let fixture = open().await;
    let (mut stream, _) = fixture.subscribe(subscribe(&["wanted/~"])).await;
    let count = Arc::new(Count(AtomicU64::new(0)));
    let waker = Waker::from(count.clone());
    let poll = |stream: &mut LiveStream| Pin::new(stream).poll_next(&mut Context::from_waker(&waker));
    assert!(poll(&mut stream).is_pending());
    fixture.publish_many("unwanted", 100).await;
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    fixture.publish("wanted/1", "1").await;
    fixture.publish("wanted/2", "2").await;
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    let Poll::Ready(Some(Ok(delivered))) = poll(&mut stream) else { panic!("there is something") };
    assert_eq!(texts([&delivered]), ["1", "2"]);
    drop(stream);
    fixture.publish("wanted/3", "3").await;
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_heartbeats_that_move_the_cursor() {
    let fixture = open().await;
    let start = Instant::now();
    let (mut stream, _) = fixture.subscribe(Subscribe { heartbeat_interval: 10 * SECOND, ..subscribe(&["a"]) }).await;
    let first = event(&mut stream).await;
    let jittered = start.elapsed();
    assert!((9 * SECOND..=11 * SECOND).contains(&jittered), "{jittered:?}");
    let beat = first.heartbeat.expect("nothing else is to be told");
    assert_eq!((beat.last_sequence, beat.server_time), (Sequence(0), fixture.clock.now()));

    // Not for it, but it need not come back for it either.
    let other = fixture.publish("b", "").await;
    assert!(is_silent(&mut stream).await);
    let start = Instant::now();
    let second = event(&mut stream).await;
    assert_eq!(start.elapsed(), 10 * SECOND);
    assert_eq!(second.heartbeat.unwrap().last_sequence, other.sequence);
    assert_eq!(second.cursor, other.cursor);

    // A message is a sign of life too.
    tokio::time::advance(7 * SECOND).await;
    fixture.publish("a", "1").await;
    assert_eq!(texts([&event(&mut stream).await]), ["1"]);
    let start = Instant::now();
    assert!(event(&mut stream).await.heartbeat.is_some());
    assert_eq!(start.elapsed(), 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn max_messages_and_stop_at_end_end_the_stream() {
    let fixture = open().await;
    let (mut stream, _) = fixture.subscribe(Subscribe { stop_at_end: true, ..earliest(&["~"]) }).await;
    assert!(rest(&mut stream).await.is_empty(), "an empty log has been sent at once");

    fixture.publish_many("t", 10).await;
    let (mut stream, _) = fixture.subscribe(Subscribe { stop_at_end: true, ..earliest(&["~"]) }).await;
    fixture.publish("t", "later").await;
    assert_eq!(texts(&rest(&mut stream).await), numbers(10));
    let (mut stream, _) = fixture.subscribe(Subscribe { stop_at_end: true, ..earliest(&["none"]) }).await;
    assert!(texts(&rest(&mut stream).await).is_empty());
    let (mut stream, _) = fixture.subscribe(Subscribe { stop_at_end: true, ..subscribe(&["~"]) }).await;
    assert!(rest(&mut stream).await.is_empty());

    let (mut stream, _) = fixture.subscribe(Subscribe { max_messages: 3, ..earliest(&["t"]) }).await;
    assert_eq!(texts(&rest(&mut stream).await), numbers(3));
    let (mut stream, _) = fixture.subscribe(Subscribe { max_messages: 2, ..subscribe(&["t"]) }).await;
    fixture.publish_many("t", 5).await;
    assert_eq!(texts(&rest(&mut stream).await), numbers(2));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_namespace_ends_its_streams() {
    let fixture = open().await;
    let name = NamespaceName::parse("team").unwrap();
    fixture.broker.create_namespace(tilde::model::Namespace::new(name.clone())).await.unwrap();
    let (mut stream, _) = fixture.subscribe(Subscribe { namespace: name.clone(), ..subscribe(&["~"]) }).await;
    assert!(is_silent(&mut stream).await);
    fixture.broker.delete_namespace(&name).await.unwrap();
    assert_eq!(last_word(&mut stream).await.reason(), Reason::NamespaceNotFound);
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_is_small() {
    let size = size_of::<LiveStream>() + size_of::<tokio::time::Sleep>();
    assert!(size <= 640, "{size} bytes, and about 300 for its patterns and its seat");
}
