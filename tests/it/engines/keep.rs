//! What is kept, what is removed, and how that is told.

use std::time::Duration;

use tilde::{
    clock::Clock,
    engine::{LogSettings, Query},
    model::{GapReason, Pattern, Sequence, limits},
};

use super::subject::{Subject, message, set, settings, texts, with_id};

pub async fn a_purge_hides_what_was_there(subject: Subject) {
    let log = subject.log().await;
    subject.take(&*log, &[message("a/1", "1"), message("b", "2"), message("a/2", "3"), message("$a", "4")]).await;
    let pattern = Pattern::parse("a/~").unwrap();
    assert_eq!(log.purge(&pattern, None, true).await.unwrap(), 2);
    assert_eq!(texts(&subject.read_all(&*log, &["~"]).await), ["1", "2", "3"]);
    assert_eq!(log.purge(&pattern, None, false).await.unwrap(), 2);
    assert_eq!(log.purge(&pattern, None, false).await.unwrap(), 0, "they are gone");
    subject.take(&*log, &[message("a/1", "later")]).await;
    assert_eq!(texts(&subject.read_all(&*log, &["~"]).await), ["2", "later"]);
    assert_eq!(texts(&subject.read_all(&*log, &["a/1", "a/2"]).await), ["later"]);
    // The broker's own are reached only by a pattern that names them.
    assert_eq!(log.purge(&Pattern::parse("~").unwrap(), None, false).await.unwrap(), 2);
    assert_eq!(texts(&subject.read_all(&*log, &["~", "$~"]).await), ["4"]);
}

pub async fn purges_at_the_same_time_all_count(subject: Subject) {
    let log = subject.log().await;
    for round in 0..10 {
        let topics: Vec<_> = (0..8).map(|n| format!("{round}/{n}")).collect();
        let messages: Vec<_> = topics.iter().map(|topic| message(topic, "gone")).collect();
        subject.take(&*log, &messages).await;
        let purges = topics.into_iter().map(|topic| {
            let log = log.clone();
            tokio::spawn(async move { log.purge(&Pattern::parse(&topic).unwrap(), None, false).await })
        });
        for purge in purges.collect::<Vec<_>>() {
            assert_eq!(purge.await.unwrap().unwrap(), 1);
        }
        assert!(subject.read_all(&*log, &["~"]).await.is_empty(), "round {round}");
    }
}

pub async fn a_purge_before_a_time_spares_what_is_newer(subject: Subject) {
    let log = subject.log().await;
    subject.take(&*log, &[message("t", "old")]).await;
    subject.clock.advance(Duration::from_secs(10));
    let time = subject.clock.now();
    subject.take(&*log, &[message("t", "new")]).await;
    let pattern = Pattern::parse("t").unwrap();
    assert_eq!(log.purge(&pattern, Some(time), true).await.unwrap(), 1);
    assert_eq!(log.purge(&pattern, Some(time), false).await.unwrap(), 1);
    assert_eq!(texts(&subject.read_all(&*log, &["~"]).await), ["new"]);
    assert_eq!(log.purge(&pattern, Some(time.plus(Duration::from_nanos(1))), false).await.unwrap(), 1);
    assert!(subject.read_all(&*log, &["~"]).await.is_empty());
}

pub async fn a_purged_topic_has_no_last_sequence(subject: Subject) {
    let log = subject.log().await;
    subject.take(&*log, &[message("t", "old")]).await;
    log.purge(&Pattern::parse("t").unwrap(), None, false).await.unwrap();
    let mut batch = subject.batch();
    batch.push(&message("t", "new"), limits::MESSAGE_BYTES, Some(Sequence::ZERO)).unwrap();
    log.append(batch).await.unwrap().iter().next().unwrap().unwrap();
    assert_eq!(texts(&subject.read_all(&*log, &["t"]).await), ["new"]);
}

pub async fn topics_are_listed_in_pages(subject: Subject) {
    let log = subject.log().await;
    let mut places = Vec::new();
    for topic in ["b", "a/1", "c", "a/2", "a/1", "$s"] {
        places.extend(subject.take(&*log, &[message(topic, topic)]).await);
        subject.clock.advance(Duration::from_secs(1));
    }
    let all = Pattern::parse("~").unwrap();
    let names = async |pattern: &str, after: &str, most: usize| {
        let rows = log.topics(&Pattern::parse(pattern).unwrap(), after, most).await.unwrap();
        rows.into_iter().map(|row| row.name).collect::<Vec<_>>()
    };
    assert_eq!(names("~", "", 100).await, ["a/1", "a/2", "b", "c"]);
    assert_eq!(names("~", "", 2).await, ["a/1", "a/2"]);
    assert_eq!(names("~", "a/2", 2).await, ["b", "c"]);
    assert_eq!(names("a/~", "a/1", 5).await, ["a/2"]);
    assert_eq!(names("$~", "", 5).await, ["$s"]);
    assert!(names("c", "c", 5).await.is_empty());

    let row = log.topics(&all, "", 1).await.unwrap().remove(0);
    assert_eq!((row.first, row.last, row.messages), (places[1], places[4], 2));
    assert!(row.bytes > 0);
    assert_eq!(row.last_publish_time, subject.clock.now().minus(Duration::from_secs(2)));

    log.purge(&Pattern::parse("a/1").unwrap(), None, false).await.unwrap();
    assert_eq!(names("~", "", 100).await, ["a/2", "b", "c"]);
    places.extend(subject.take(&*log, &[message("a/1", "again")]).await);
    let row = log.topics(&all, "", 1).await.unwrap().remove(0);
    assert_eq!((row.first, row.last, row.messages), (places[6], places[6], 1));
}

pub async fn bounds_tell_what_is_kept(subject: Subject) {
    let log = subject.log().await;
    let empty = log.bounds();
    assert_eq!(empty.first, Sequence::FIRST);
    assert!(empty.end < empty.first && empty.cuts.is_empty());
    let places = subject.take(&*log, &[message("t", "a"), message("t", "b")]).await;
    let bounds = log.bounds();
    assert_eq!((bounds.id, bounds.first <= places[0], bounds.end), (empty.id, true, places[1]));
    assert!(bounds.bytes > 0);
}

pub async fn retention_is_told_as_a_gap(subject: Subject) {
    let log = subject.log().await;
    log.configure(LogSettings { max_bytes: 1 << 20, ..settings() });
    let large = "x".repeat(64 << 10);
    // As many as it takes until something is removed, which an engine may do in its own time.
    let first = loop {
        let places = subject.take(&*log, &[message("t", &large)]).await;
        let first = log.bounds().first;
        if first > Sequence::FIRST {
            break first;
        }
        assert!(places[0] < Sequence(10_000), "nothing is removed");
        tokio::task::yield_now().await;
    };
    let patterns = set(&["~"]);
    // More may be removed meanwhile: then the gap is longer.
    let page = log.read(subject.query(&patterns)).await.unwrap();
    let gap = page.gap.expect("something is missing");
    assert_eq!((gap.reason, gap.first), (GapReason::Retention, Sequence::FIRST));
    assert!(gap.last >= first.previous());
    let next = gap.last.next();
    let page = log.read(Query { from: next, ..subject.query(&patterns) }).await.unwrap();
    if log.bounds().first == next {
        assert_eq!(page.gap, None);
    }
    assert!(page.messages > 0);
}

/// Whatever a topic is made of: it is told from all others, found by its name and by its beginnings, counted, and purged.
pub async fn odd_topics_are_topics(subject: Subject) {
    let log = subject.log().await;
    let longest = [&"é🦀".repeat(170)[..], "1234"].concat();
    let plain = "a".repeat(1_024);
    assert_eq!(longest.len(), 1_024);
    let odd = [
        "a",
        "a b",
        " ",
        "a.",
        "a..b",
        ".",
        "*",
        ">",
        "a.*",
        "a.>",
        "a=2E",
        "=",
        "=7E",
        "a/b",
        "a//b",
        "/",
        "a.b",
        "a/b.c",
        "é",
        "🦀",
        "$",
        "$odd/x",
        "$JS.API.>",
        "A",
        "\\",
        "\"",
        "%7E",
        "a-b",
        "a_b",
        &longest,
        &plain,
    ];
    let messages: Vec<_> = odd.iter().map(|topic| message(topic, topic)).collect();
    subject.take(&*log, &messages).await;
    for topic in odd {
        let exactly = subject.read_all(&*log, &[topic]).await;
        assert_eq!(texts(&exactly), [topic], "by its name");
        let beginning: String = topic.chars().take(2).collect();
        let expected: Vec<_> = odd
            .iter()
            .filter(|other| other.starts_with(&beginning) && other.starts_with('$') == beginning.starts_with('$'))
            .collect();
        let pattern = format!("{beginning}~");
        assert_eq!(
            texts(&subject.read_all(&*log, &[&pattern]).await),
            expected.into_iter().copied().collect::<Vec<_>>(),
            "{pattern}"
        );
        let stats = log.topics(&Pattern::parse(topic).unwrap(), "", 10).await.unwrap();
        assert_eq!(stats.iter().map(|topic| (&*topic.name, topic.messages)).collect::<Vec<_>>(), [(topic, 1)]);
    }
    let twice: Vec<_> = odd.iter().map(|topic| with_id(topic, "once", "id")).collect();
    let first = subject.take(&*log, &twice).await;
    assert_eq!(subject.take(&*log, &twice).await, first, "an id belongs to its topic");
    for topic in odd {
        assert_eq!(log.purge(&Pattern::parse(topic).unwrap(), None, false).await.unwrap(), 2, "{topic}");
    }
    assert!(subject.read_all(&*log, &["~", "$~"]).await.is_empty());
}
