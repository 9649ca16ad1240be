//! Blocks with many topics, and many streams that want a few of them each: every stream gets just that, whoever comes and
//! goes meanwhile.

use std::sync::Arc;

use tilde::{
    broker::Subscribe,
    model::{Filter, PatternSet},
};
use tokio_stream::StreamExt;

use super::support::{Setup, messages, publish, subscribe};

const TOPICS: usize = 60;
const BATCHES: usize = 150;

fn topic(n: usize) -> String {
    format!("{}/{}", ["a", "ab", "b"][n % 3], n % TOPICS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_stream_gets_what_it_wants_of_blocks_with_many_topics() {
    let fixture = Arc::new(Setup::default().open().await);
    let mut streams = Vec::new();
    let end = BATCHES * TOPICS;
    for patterns in [&["~"][..], &["a~"], &["a/~", "b/2"], &["ab/1", "ab/4", "b/5", "nobody"], &["b/~"], &["nobody"]] {
        for filter in ["", "topic.endsWith('1') || topic == 'end'"] {
            streams.push((with_end(patterns), filter, fixture.broker.subscribe(wish(patterns, filter)).await.unwrap()));
        }
    }
    let listening = streams.into_iter().map(|(patterns, filter, mut stream)| {
        tokio::spawn(async move {
            let set = PatternSet::parse(&patterns).unwrap();
            let passes = |topic: &str| filter.is_empty() || topic.ends_with('1');
            let wanted: Vec<_> = (0..end).filter(|&n| set.matches(&topic(n)) && passes(&topic(n))).collect();
            let mut got = Vec::new();
            while got.last() != Some(&end) {
                let event = stream.next().await.unwrap().unwrap();
                got.extend(messages(&event).iter().map(|(_, _, text)| text.parse::<usize>().unwrap()));
            }
            got.pop();
            assert_eq!(got, wanted, "{patterns:?} {filter}");
        })
    });
    let listening: Vec<_> = listening.collect();
    for batch in 0..BATCHES {
        // Whoever comes now is told of what comes now, and its place is another's afterwards.
        let mut guest = match batch % 10 {
            0 => Some(fixture.broker.subscribe(wish(&["ab/4"], "")).await.unwrap()),
            _ => None,
        };
        let numbers = batch * TOPICS..(batch + 1) * TOPICS;
        let requests = numbers.clone().map(|n| Ok(publish(&topic(n), &n.to_string()))).collect();
        fixture.broker.publish_batch(requests, true).await.unwrap();
        if let Some(guest) = &mut guest {
            let mut got = Vec::new();
            let wanted: Vec<_> = numbers.filter(|&n| topic(n) == "ab/4").map(|n| n.to_string()).collect();
            while got.len() < wanted.len() {
                let event = guest.next().await.unwrap().unwrap();
                got.extend(messages(&event).into_iter().map(|(_, _, text)| text));
            }
            assert_eq!(got, wanted);
        }
    }
    fixture.broker.publish(publish("end", &end.to_string())).await.unwrap();
    for stream in listening {
        stream.await.unwrap();
    }
}

fn with_end(patterns: &[&str]) -> Vec<String> {
    patterns.iter().chain(&["end"]).map(|pattern| pattern.to_string()).collect()
}

fn wish(patterns: &[&str], filter: &str) -> Subscribe {
    let patterns = PatternSet::parse(&with_end(patterns)).unwrap();
    Subscribe { patterns, filter: Filter::parse(filter).unwrap(), ..subscribe(&["~"]) }
}
