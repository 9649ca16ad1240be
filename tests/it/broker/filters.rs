//! Streams with filters: what they get, live and from the log, that they get on where nothing passes, and that their
//! filters are asked no more often than they must.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use tilde::{
    broker::{Broker, Config, LiveStream, Subscribe},
    model::{Filter, NamespaceName, Position, Sequence},
};
use tokio_stream::Stream as _;

use super::support::{Fixture, Setup, earliest, event, is_silent, messages, open, publish, rest, subscribe, texts};

fn filtered(filter: &str, subscribe: Subscribe) -> Subscribe {
    Subscribe { filter: Filter::parse(filter).unwrap(), ..subscribe }
}

/// Publishes numbered messages, whose attribute `n` is the number, to `t/0`, `t/1` and `t/2` in turn.
async fn publish_numbered(broker: &Broker, numbers: std::ops::Range<usize>) {
    let all: Vec<_> = numbers.collect();
    for batch in all.chunks(100) {
        let requests = batch.iter().map(|n| {
            let mut request = publish(&format!("t/{}", n % 3), &n.to_string());
            request.message.attributes.insert("n".into(), n.to_string().into());
            request
        });
        for result in broker.publish_batch(requests.map(Ok).collect(), false).await.unwrap() {
            result.unwrap();
        }
    }
}

fn asked(fixture: &Fixture) -> u64 {
    fixture.metrics.namespace(&NamespaceName::default()).filtered_messages.get()
}

fn ending(numbers: std::ops::Range<usize>, digit: char) -> Vec<String> {
    numbers.map(|n| n.to_string()).filter(|text| text.ends_with(digit)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_filter_chooses_live_and_from_the_log() {
    for tail_bytes in [1, 64 << 20] {
        let config = Config { response_messages: 7, ..Config::default() };
        let fixture = Setup { config, tail_bytes, ..Setup::default() }.open().await;
        publish_numbered(&fixture.broker, 0..500).await;
        let asked = filtered("attributes.n.endsWith('7')", earliest(&["t/~"]));
        let (mut stream, _) = fixture.subscribe(asked.clone()).await;
        let (mut other, _) = fixture.subscribe(filtered("attributes.n.endsWith('3')", asked.clone())).await;
        for (stream, digit) in [(&mut stream, '7'), (&mut other, '3')] {
            let mut events = vec![event(stream).await];
            while !events.last().unwrap().caught_up {
                events.push(event(stream).await);
            }
            assert_eq!(texts(&events), ending(0..500, digit));
            assert_eq!(events.last().unwrap().cursor.after, Sequence(500));
            assert!(is_silent(stream).await);
        }
        publish_numbered(&fixture.broker, 500..520).await;
        assert_eq!(texts([&event(&mut stream).await]), ["507", "517"]);
        assert_eq!(texts([&event(&mut other).await]), ["503", "513"]);
        let ends = Subscribe { stop_at_end: true, max_messages: 40, ..asked };
        let (mut stream, _) = fixture.subscribe(ends.clone()).await;
        assert_eq!(texts(&rest(&mut stream).await), ending(0..400, '7'));
        let (mut stream, _) = fixture.subscribe(Subscribe { max_messages: 0, ..ends }).await;
        assert_eq!(texts(&rest(&mut stream).await), ending(0..520, '7'));
    }
}

#[tokio::test(start_paused = true)]
async fn all_filters_are_asked_once_a_message_whoever_uses_them() {
    let fixture = open().await;
    let mut streams = Vec::new();
    for n in 0..12 {
        let asked = filtered(&format!("attributes.n.endsWith('{}')", n % 4), subscribe(&["t/~"]));
        streams.push(fixture.subscribe(asked).await.0);
    }
    // Written otherwise, and yet the same.
    let same = filtered(" ( attributes[\"n\"].endsWith(\"3\") )", subscribe(&["t/1", "t/2"]));
    let (mut narrow, _) = fixture.subscribe(same).await;
    publish_numbered(&fixture.broker, 0..1000).await;
    fixture.publish("other", "nobody asks about it").await;
    for (n, stream) in streams.iter_mut().enumerate() {
        let digit = char::from_digit(n as u32 % 4, 10).unwrap();
        assert_eq!(texts([&event(stream).await]), ending(0..1000, digit));
    }
    let expected: Vec<_> = (0..1000).filter(|n| n % 10 == 3 && n % 3 != 0).map(|n| n.to_string()).collect();
    assert_eq!(texts([&event(&mut narrow).await]), expected);
    assert_eq!(asked(&fixture), 1000);
    drop((streams, narrow));

    // By itself a stream asks only about what its patterns want.
    let (mut alone, _) = fixture.subscribe(filtered("attributes.n.endsWith('3')", subscribe(&["t/1"]))).await;
    publish_numbered(&fixture.broker, 0..30).await;
    assert_eq!(texts([&event(&mut alone).await]), ["13"]);
    assert_eq!(asked(&fixture), 1010);
    // One that comes later, when the others have been asked, is asked by itself.
    let (_other, _) = fixture.subscribe(filtered("attributes.n == '4'", subscribe(&["t/1"]))).await;
    let (mut late, _) = fixture.subscribe(filtered("attributes.n == '7'", earliest(&["t/1"]))).await;
    assert_eq!(texts([&event(&mut late).await]), ["7", "7"]);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_passes_the_cursor_gets_on_and_nobody_is_woken_in_vain() {
    struct Count(AtomicU64);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let fixture = open().await;
    let wants = Subscribe { heartbeat_interval: Duration::from_secs(10), ..subscribe(&["t/~"]) };
    let (mut stream, _) = fixture.subscribe(filtered("attributes.n == 'none'", wants)).await;
    let count = Arc::new(Count(AtomicU64::new(0)));
    let waker = Waker::from(count.clone());
    let poll = |stream: &mut LiveStream| Pin::new(stream).poll_next(&mut Context::from_waker(&waker)).is_pending();
    assert!(poll(&mut stream));
    for _ in 0..50 {
        fixture.publish("other", "not even asked about").await;
    }
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    publish_numbered(&fixture.broker, 0..300).await;
    assert_eq!(count.0.load(Ordering::Relaxed), 1, "until it looks it is called once");
    assert!(poll(&mut stream));
    assert_eq!((count.0.load(Ordering::Relaxed), asked(&fixture)), (1, 300));
    let beat = event(&mut stream).await;
    assert!(beat.heartbeat.is_some() && beat.messages == 0);
    assert_eq!(beat.cursor.after, Sequence(350));
    assert_eq!(asked(&fixture), 300, "nothing is asked about again");
}

#[tokio::test(start_paused = true)]
async fn a_long_way_through_nothing_is_gone_in_steps() {
    let fixture = open().await;
    publish_numbered(&fixture.broker, 0..40_000).await;
    let (mut stream, _) = fixture.subscribe(filtered("attributes.n == '39999'", earliest(&["~"]))).await;
    // Between its turns others have theirs.
    assert!(is_silent(&mut stream).await && is_silent(&mut stream).await);
    let last = event(&mut stream).await;
    assert_eq!((texts([&last]), last.caught_up), (vec!["39999".to_owned()], true));
}

#[tokio::test(start_paused = true)]
async fn what_a_stream_begins_with_is_counted_after_the_filter() {
    for tail_bytes in [1, 64 << 20] {
        let fixture = Setup { tail_bytes, ..Setup::default() }.open().await;
        publish_numbered(&fixture.broker, 0..300).await;
        let at = |position| Subscribe { position, stop_at_end: true, ..subscribe(&["t/~"]) };
        let seven = "attributes.n.endsWith('7')";
        let (mut stream, _) = fixture.subscribe(filtered(seven, at(Position::Last(5)))).await;
        assert_eq!(texts(&rest(&mut stream).await), ["257", "267", "277", "287", "297"]);
        let (mut stream, _) = fixture.subscribe(filtered(seven, at(Position::LastPerTopic))).await;
        assert_eq!(texts(&rest(&mut stream).await), ["277", "287", "297"]);
        let live = Subscribe { stop_at_end: false, ..at(Position::LastPerTopic) };
        let (mut stream, _) = fixture.subscribe(filtered(seven, live)).await;
        publish_numbered(&fixture.broker, 300..310).await;
        let mut got = Vec::new();
        while got.len() < 4 {
            got.extend(messages(&event(&mut stream).await).into_iter().map(|(_, _, text)| text));
        }
        assert_eq!(got, ["277", "287", "297", "307"]);
    }
}
