//! Where a reader begins that counts from the end or names a time, and what a filter leaves of what is read.

use std::{sync::Arc, time::Duration};

use tilde::{
    clock::Clock,
    engine::{Block, Filter, Log, LookBack, Query, Wanted, filter::GROUP},
    model::{Message, Pattern, Sequence},
};

use super::subject::{Subject, message, seen, set, texts};

/// Takes those whose text ends with one of these.
#[derive(Debug)]
pub struct Ending(pub &'static str);

impl Filter for Ending {
    fn choose(&self, block: &Block, group: usize, wanted: u64) -> u64 {
        assert_ne!(wanted, 0, "nobody is asked about nothing");
        let takes = |bit: &usize| wanted >> bit & 1 == 1 && self.takes(block.row(group * GROUP + bit).payload());
        (0..GROUP).filter(takes).fold(0, |rows, bit| rows | 1 << bit)
    }
}

impl Ending {
    pub fn takes(&self, payload: &[u8]) -> bool {
        payload.last().is_some_and(|last| self.0.as_bytes().contains(last))
    }
}

impl Subject {
    /// What a search finds, and in how many steps. Oldest first.
    pub async fn look_back(
        &self,
        log: &dyn Log,
        patterns: &[&str],
        filter: Option<&Arc<dyn Filter>>,
        wanted: Wanted,
    ) -> (Vec<Sequence>, usize) {
        let mut search = LookBack::new(set(patterns), wanted, log.bounds().end, self.clock.now());
        search.filter = filter.cloned();
        let mut steps = 0;
        while !search.done {
            let before = search.before;
            search = log.look_back(search).await.unwrap();
            assert!(search.done || search.before < before, "a step that is not the last gets on");
            steps += 1;
        }
        search.found.sort_unstable();
        (search.found, steps)
    }
}

pub async fn the_last_so_many_are_counted_back(subject: Subject) {
    let log = subject.log().await;
    let mut places = Vec::new();
    for n in 0..300 {
        let wide = format!("{n}{}", "-".repeat(200));
        places.extend(subject.take(&*log, &[message("a", &wide), message(&format!("b/{}", n % 7), &wide)]).await);
    }
    let last =
        async |patterns: &[&str], count: usize| subject.look_back(&*log, patterns, None, Wanted::Last(count)).await.0;
    assert_eq!(last(&["~"], 1).await, [places[599]]);
    assert_eq!(last(&["~"], 250).await, [places[350]]);
    assert_eq!(last(&["a"], 250).await, [places[100]]);
    assert_eq!(last(&["b/3", "b/4"], 3).await, [places[2 * 291 + 1]]);
    assert_eq!(last(&["~"], 10_000).await, [places[0]], "there are fewer");
    assert!(last(&["none"], 1).await.is_empty());
    log.purge(&Pattern::parse("a").unwrap(), None, false).await.unwrap();
    assert_eq!(last(&["~"], 250).await, [places[101]]);
}

pub async fn the_newest_of_each_topic_is_found(subject: Subject) {
    let log = subject.log().await;
    let brief = |topic: &str| Message {
        expire_time: Some(subject.clock.now().plus(Duration::from_secs(10))),
        ..message(topic, "brief")
    };
    let wide = "-".repeat(300);
    let old = subject.take(&*log, &[message("old", "1"), message("b", "2"), message("gone", "3")]).await;
    for n in 0..200 {
        subject.take(&*log, &[message(&format!("n/{}", n % 50), &wide), message("b", &wide)]).await;
        if n % 60 == 0 {
            subject.take(&*log, &[brief("old")]).await;
        }
    }
    let b = subject.take(&*log, &[message("b", "last")]).await[0];
    log.purge(&Pattern::parse("gone").unwrap(), None, false).await.unwrap();
    subject.take(&*log, &[brief("b"), brief("only"), message("$b", "own")]).await;
    let newest = async |patterns: &[&str], most: usize| {
        subject.look_back(&*log, patterns, None, Wanted::OfEachTopic(most)).await.0
    };
    assert_eq!(newest(&["~"], 1000).await.len(), 50 + 3);
    assert_eq!(newest(&["~"], 10).await.len(), 11, "one more than may be ends it");
    subject.clock.advance(Duration::from_secs(10));
    // What is newest and has expired makes way for what was before it, however far.
    assert_eq!(newest(&["old"], 1000).await, old[..1]);
    assert_eq!(newest(&["b", "old", "gone", "only"], 1000).await, [old[0], b]);
    assert_eq!(newest(&["~"], 1000).await.len(), 50 + 2);
}

pub async fn a_search_goes_through_everything_in_steps(subject: Subject) {
    let log = subject.log().await;
    let wide = "-".repeat(30_000);
    let first = subject.take(&*log, &[message("first", "x"), message("t", "x")]).await;
    for _ in 0..400 {
        subject.take(&*log, &[message("t", &wide)]).await;
    }
    let wanted = Wanted::OfEachTopic(10);
    let ending: Arc<dyn Filter> = Arc::new(Ending("x"));
    for (patterns, wanted) in [(&["~"], wanted), (&["~"], Wanted::Last(2))] {
        let (found, steps) = subject.look_back(&*log, patterns, Some(&ending), wanted).await;
        let oldest = matches!(wanted, Wanted::Last(_)).then_some(&first[..1]);
        assert_eq!(found, oldest.unwrap_or(&first));
        if subject.engine.name() == "embedded" {
            assert!((2..=5).contains(&steps), "{steps}");
        }
    }
    // An index leads to it at once.
    let (found, steps) = subject.look_back(&*log, &["first"], None, Wanted::Last(1)).await;
    assert_eq!((found, steps <= 2), (first[..1].to_vec(), true));
}

pub async fn a_time_is_where_what_came_then_begins(subject: Subject) {
    let log = subject.log().await;
    assert_eq!(log.at_time(subject.clock.now()).await.unwrap(), Sequence::FIRST);
    let mut batches = Vec::new();
    for n in 0..200 {
        let wide = format!("{n}{}", "-".repeat(300));
        let places = subject.take(&*log, &[message("t", &wide), message("u", &wide)]).await;
        batches.push((subject.clock.now(), places));
        subject.clock.advance(Duration::from_secs(10));
    }
    let second = Duration::from_secs(1);
    for (time, places) in &batches {
        assert_eq!(log.at_time(*time).await.unwrap(), places[0]);
        assert_eq!(log.at_time(time.minus(second)).await.unwrap(), places[0]);
        assert_eq!(log.at_time(time.plus(second)).await.unwrap(), places[1].next());
    }
    let end = batches[199].1[1].next();
    assert_eq!(log.at_time(subject.clock.now().plus(second)).await.unwrap(), end);
}

pub async fn a_filter_chooses_everywhere(subject: Subject) {
    let log = subject.log().await;
    for n in 0..40 {
        let messages: Vec<_> = (0..30).map(|m| message(&format!("t/{}", m % 3), &(n * 30 + m).to_string())).collect();
        subject.take(&*log, &messages).await;
    }
    let filter: Arc<dyn Filter> = Arc::new(Ending("7"));
    for patterns in [set(&["~"]), set(&["t/1"])] {
        for (max_messages, max_bytes) in [(usize::MAX, usize::MAX), (5, usize::MAX), (usize::MAX, 200)] {
            let query = Query { max_messages, max_bytes, ..subject.query(&patterns) };
            let (mut from, mut all, mut plain) = (Sequence::FIRST, Vec::new(), Vec::new());
            loop {
                let page = log.read(Query { from, filter: Some(&filter), ..query }).await.unwrap();
                assert!(page.messages <= max_messages && (page.bytes <= max_bytes || page.messages == 1));
                assert!(page.next > from || page.end);
                all.extend(seen(&page));
                from = page.next;
                if page.end {
                    break;
                }
            }
            from = Sequence::FIRST;
            loop {
                let page = log.read(Query { from, ..subject.query(&patterns) }).await.unwrap();
                plain.extend(seen(&page));
                from = page.next;
                if page.end {
                    break;
                }
            }
            plain.retain(|seen| seen.payload.ends_with(b"7"));
            assert!(!plain.is_empty());
            assert_eq!(texts(&all), texts(&plain));
        }
    }
}
