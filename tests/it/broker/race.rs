//! Publishers and streams on several threads: nobody misses anything, nobody sleeps through a message.

use std::sync::Arc;

use tilde::{
    broker::{Config, Subscribe},
    model::{Filter, LagPolicy, PatternSet, Position},
};
use tokio_stream::StreamExt;

use super::support::{Setup, messages, publish, subscribe};

const MESSAGES: usize = 3_000;
const PUBLISHERS: usize = 3;

/// Message `n` of a publisher goes to one of a few topics, some of them rare.
fn topic(n: usize) -> &'static str {
    match n {
        _ if n.is_multiple_of(97) => "rare/1",
        _ if n.is_multiple_of(5) => "often/5",
        _ => "often/1",
    }
}

/// Filters, and which messages pass them. One is there twice, written in two ways.
type Passes = fn(usize) -> bool;
const FILTERS: [(&str, Passes); 6] = [
    ("", |_| true),
    (" ", |_| true),
    ("attributes.digit in ['1', '3']", |n| [1, 3].contains(&(n % 10))),
    ("attributes.digit in [\"1\", \"3\"]", |n| [1, 3].contains(&(n % 10))),
    ("attributes.digit == '5' || topic == 'rare/1'", |n| n % 10 == 5 || topic(n) == "rare/1"),
    ("!(attributes.digit < '9')", |n| n % 10 == 9),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_stream_gets_what_it_wants_once_and_in_order() {
    let config = Config { response_messages: 16, ..Config::default() };
    let fixture = Arc::new(Setup { config, tail_bytes: 16 << 10, ..Setup::default() }.open().await);
    let mut streams = Vec::new();
    for patterns in [&["~"][..], &["rare/~"], &["often/5"], &["often/~", "rare/1"], &["rare/1", "often/5"]] {
        for (filter, passes) in FILTERS {
            let set = PatternSet::parse(patterns).unwrap();
            let wants = move |n: &usize| set.matches(topic(*n)) && passes(*n);
            let wanted = PUBLISHERS * (0..MESSAGES).filter(&wants).count();
            let filter = Filter::parse(filter).unwrap();
            let wish = Subscribe { filter, lag_policy: LagPolicy::CatchUp, ..subscribe(patterns) };
            let mut stream = fixture.broker.subscribe(wish).await.unwrap();
            streams.push(tokio::spawn(async move {
                let mut all = Vec::new();
                while all.len() < wanted {
                    all.extend(messages(&stream.next().await.unwrap().unwrap()));
                }
                assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
                for publisher in 0..PUBLISHERS {
                    let prefix = format!("{publisher}:");
                    let numbers =
                        all.iter().filter_map(|(_, _, text)| text.strip_prefix(&prefix)?.parse::<usize>().ok());
                    assert!(numbers.eq((0..MESSAGES).filter(&wants)));
                }
            }));
        }
    }
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let fixture = fixture.clone();
        tokio::spawn(async move {
            for n in 0..MESSAGES {
                let mut request = publish(topic(n), &format!("{publisher}:{n}"));
                request.message.attributes.insert("digit".into(), (n % 10).to_string().into());
                fixture.broker.publish(request).await.unwrap();
                if n % 50 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        })
    });
    for task in publishers.collect::<Vec<_>>().into_iter().chain(streams) {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_begins_with_the_newest_of_each_topic_misses_nothing_after_it() {
    const TOPICS: usize = 20;
    let config = Config { response_messages: 4, ..Config::default() };
    let fixture = Arc::new(Setup { config, tail_bytes: 16 << 10, ..Setup::default() }.open().await);
    // Each topic comes as often as all others together that come after it: some of them are old when a stream begins.
    let topic = |n: usize| n.trailing_ones() as usize % TOPICS;
    let (told, mut progress) = tokio::sync::watch::channel(0);
    let publisher = tokio::spawn({
        let fixture = fixture.clone();
        async move {
            for n in 0..MESSAGES {
                fixture.broker.publish(publish(&format!("t/{}", topic(n)), &n.to_string())).await.unwrap();
                if n % 40 == 0 {
                    told.send_replace(n);
                }
                tokio::task::yield_now().await;
            }
        }
    });
    let mut streams = Vec::new();
    while progress.changed().await.is_ok() {
        let wish = Subscribe { position: Position::LastPerTopic, ..subscribe(&["t/~"]) };
        let mut stream = fixture.broker.subscribe(wish).await.unwrap();
        streams.push(tokio::spawn(async move {
            let mut all = Vec::new();
            // The last of all topics ends it.
            while all.last() != Some(&(MESSAGES - 1)) {
                let event = stream.next().await.unwrap().unwrap();
                all.extend(messages(&event).iter().map(|(_, _, text)| text.parse::<usize>().unwrap()));
            }
            assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
            // Of each topic there is an end of its messages, without a hole.
            for of in 0..TOPICS {
                let got: Vec<_> = all.iter().copied().filter(|&n| topic(n) == of).collect();
                let every: Vec<_> = (0..MESSAGES).filter(|&n| topic(n) == of).collect();
                assert!(every.ends_with(&got));
                assert_eq!(got.is_empty(), every.is_empty(), "topic {of}");
            }
        }));
    }
    publisher.await.unwrap();
    for stream in streams {
        stream.await.unwrap();
    }
}
