//! Publishers and streams on several threads: nobody misses anything, nobody sleeps through a message.

use std::sync::Arc;

use tilde::{
    broker::{Config, Subscribe},
    model::{LagPolicy, PatternSet},
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_stream_gets_what_it_wants_once_and_in_order() {
    let config = Config { response_messages: 16, ..Config::default() };
    let fixture = Arc::new(Setup { config, tail_bytes: 16 << 10, ..Setup::default() }.open().await);
    let mut streams = Vec::new();
    for patterns in [&["~"][..], &["rare/~"], &["often/5"], &["often/~", "rare/1"], &["rare/1", "often/5"]] {
        for _ in 0..4 {
            let set = PatternSet::parse(patterns).unwrap();
            let wanted = PUBLISHERS * (0..MESSAGES).filter(|&n| set.matches(topic(n))).count();
            let wish = Subscribe { lag_policy: LagPolicy::CatchUp, ..subscribe(patterns) };
            let mut stream = fixture.broker.subscribe(wish).await.unwrap();
            streams.push(tokio::spawn(async move {
                let mut all = Vec::new();
                while all.len() < wanted {
                    all.extend(messages(&stream.next().await.unwrap().unwrap()));
                }
                assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
                assert!(all.iter().all(|(_, topic, _)| set.matches(topic)));
                for publisher in 0..PUBLISHERS {
                    let prefix = format!("{publisher}:");
                    let numbers =
                        all.iter().filter_map(|(_, _, text)| text.strip_prefix(&prefix)?.parse::<usize>().ok());
                    let expected = (0..MESSAGES).filter(|&n| set.matches(topic(n)));
                    assert!(numbers.eq(expected));
                }
            }));
        }
    }
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let fixture = fixture.clone();
        tokio::spawn(async move {
            for n in 0..MESSAGES {
                fixture.broker.publish(publish(topic(n), &format!("{publisher}:{n}"))).await.unwrap();
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
