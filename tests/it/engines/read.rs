//! What readers get: pages, the tail, and the word that there is something new.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tilde::{
    clock::Clock,
    engine::{Block, Follower, Query},
    model::{Message, Payload, Sequence},
};

use super::subject::{Seen, Subject, message, seen, set, texts};

pub async fn pages_keep_their_limits(subject: Subject) {
    let log = subject.log().await;
    for batch in 0..10 {
        let messages: Vec<_> = (0..10).map(|n| message("t", &format!("{:03}", batch * 10 + n))).collect();
        subject.take(&*log, &messages).await;
    }
    let patterns = set(&["~"]);
    let whole = log.read(subject.query(&patterns)).await.unwrap();
    assert_eq!((whole.messages, whole.end), (100, true));
    let one = whole.bytes / 100;
    for (max_messages, max_bytes, each) in [(7, usize::MAX, 7), (usize::MAX, 7 * one + one - 1, 7), (3, 7 * one, 3)] {
        let mut from = Sequence::FIRST;
        let mut all = Vec::new();
        while all.len() < 100 {
            let query = Query { from, max_messages, max_bytes, ..subject.query(&patterns) };
            let page = log.read(query).await.unwrap();
            assert!(page.messages <= each && page.bytes <= max_bytes, "{page:?}");
            assert!(page.messages > 0 || page.next > from, "a page that is not the last moves on");
            all.extend(seen(&page));
            from = page.next;
        }
        assert_eq!(all, seen(&whole));
        assert!(log.read(Query { from, ..subject.query(&patterns) }).await.unwrap().end);
    }
}

pub async fn a_large_message_goes_alone(subject: Subject) {
    let log = subject.log().await;
    let large = Message { payload: Payload::Data(vec![7; 100_000].into()), ..message("t", "") };
    subject.take(&*log, &[message("t", "a"), large, message("t", "b")]).await;
    let patterns = set(&["t"]);
    let mut from = Sequence::FIRST;
    let mut pages = Vec::new();
    while pages.iter().sum::<usize>() < 3 {
        let page = log.read(Query { from, max_bytes: 1000, ..subject.query(&patterns) }).await.unwrap();
        from = page.next;
        pages.extend((page.messages > 0).then_some(page.messages));
    }
    assert_eq!(pages, [1, 1, 1]);
}

pub async fn patterns_choose_and_the_brokers_own_are_apart(subject: Subject) {
    let log = subject.log().await;
    for topic in ["orders/eu", "orders/us", "order", "$dead/x", "ö/ä"] {
        subject.take(&*log, &[message(topic, topic)]).await;
    }
    subject.take(&*log, &[message("$dead/y", "$dead/y"), message("order", "order")]).await;
    let cases: [(&[&str], &[&str]); 7] = [
        (&["~"], &["orders/eu", "orders/us", "order", "ö/ä", "order"]),
        (&["orders/~"], &["orders/eu", "orders/us"]),
        (&["order"], &["order", "order"]),
        (&["order~", "orders/eu"], &["orders/eu", "orders/us", "order", "order"]),
        (&["$~"], &["$dead/x", "$dead/y"]),
        (&["~", "$dead/y"], &["orders/eu", "orders/us", "order", "ö/ä", "$dead/y", "order"]),
        (&["nothing", "ö~"], &["ö/ä"]),
    ];
    for (patterns, expected) in cases {
        assert_eq!(texts(&subject.read_all(&*log, patterns).await), expected, "{patterns:?}");
    }
}

pub async fn through_ends_a_page(subject: Subject) {
    let log = subject.log().await;
    let mut places = Vec::new();
    for n in 0..4 {
        places.extend(subject.take(&*log, &[message("t", &n.to_string()), message("u", "-")]).await);
    }
    let patterns = set(&["t"]);
    let cases = [(0, 1), (2, 2), (3, 2), (4, 3), (7, 4)].map(|(at, expected): (usize, _)| (places[at], expected));
    for (through, expected) in cases.into_iter().chain([(Sequence::ZERO, 0)]) {
        let page = log.read(Query { through, ..subject.query(&patterns) }).await.unwrap();
        assert_eq!((page.messages, page.end), (expected, true));
        // Not further: what comes then was not looked at.
        assert_eq!(page.next, through.next());
    }
}

pub async fn nothing_is_read_after_the_end(subject: Subject) {
    let log = subject.log().await;
    let patterns = set(&["~"]);
    let empty = log.read(subject.query(&patterns)).await.unwrap();
    assert_eq!((empty.messages, empty.next, empty.end, empty.gap), (0, Sequence::FIRST, true, None));
    let places = subject.take(&*log, &[message("t", "a")]).await;
    for from in [places[0].next(), places[0].plus(100)] {
        let page = log.read(Query { from, ..subject.query(&patterns) }).await.unwrap();
        assert_eq!((page.messages, page.next, page.end, page.gap), (0, from, true, None));
    }
}

pub async fn what_has_expired_is_left_out(subject: Subject) {
    let log = subject.log().await;
    let expire_time = Some(subject.clock.now().plus(Duration::from_secs(10)));
    let brief = Message { expire_time, ..message("t", "brief") };
    subject.take(&*log, &[message("t", "a"), brief, message("t", "b")]).await;
    assert_eq!(texts(&subject.read_all(&*log, &["~"]).await), ["a", "brief", "b"]);
    subject.clock.advance(Duration::from_nanos(9_999_999_999));
    assert_eq!(subject.read_all(&*log, &["t"]).await.len(), 3);
    subject.clock.advance(Duration::from_nanos(1));
    assert_eq!(texts(&subject.read_all(&*log, &["~"]).await), ["a", "b"]);
    assert_eq!(texts(&subject.read_all(&*log, &["t"]).await), ["a", "b"]);
}

pub async fn the_tail_and_the_log_tell_the_same(subject: Subject) {
    let log = subject.log().await;
    for n in 0..50 {
        subject.take(&*log, &[message(&format!("t/{}", n % 3), &n.to_string()), message("u", "-")]).await;
    }
    for patterns in [set(&["~"]), set(&["t/1", "u"]), set(&["t/~"])] {
        for max_messages in [1, 7, usize::MAX] {
            let mut from = Sequence::FIRST;
            loop {
                let query = Query { from, max_messages, ..subject.query(&patterns) };
                // None where memory does not reach; it always holds the newest.
                let tail = log.tail().read(&query);
                let page = log.read(query).await.unwrap();
                assert!(tail.is_some() || !page.end || max_messages == usize::MAX);
                if let Some(tail) = tail {
                    assert_eq!(seen(&tail), seen(&page));
                    assert_eq!((tail.next, tail.end), (page.next, page.end));
                }
                from = page.next;
                if page.end {
                    break;
                }
            }
        }
    }
}

pub async fn the_follower_hears_of_every_block(subject: Subject) {
    #[derive(Default)]
    struct Notes(Mutex<Vec<Seen>>);
    impl Follower for Notes {
        fn committed(&self, block: &Arc<Block>) {
            let records = block.records().map(|record| Seen {
                sequence: record.sequence(),
                time: record.publish_time(),
                topic: record.topic().to_owned(),
                payload: record.payload().to_vec(),
            });
            self.0.lock().unwrap().extend(records);
        }
    }

    let log = subject.log().await;
    let notes = Arc::new(Notes::default());
    assert!(log.tail().follow(notes.clone()));
    assert!(!log.tail().follow(notes.clone()), "there is one follower");
    for n in 0..20 {
        subject.take(&*log, &[message("t", &n.to_string()), message("u", "")]).await;
        assert_eq!(log.tail().committed(), log.bounds().end);
    }
    // An answer may come a moment before the follower has been told; closing waits for all.
    subject.engine.close().await.unwrap();
    let all = notes.0.lock().unwrap().clone();
    assert_eq!(all.len(), 40);
    assert!(all.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
}
