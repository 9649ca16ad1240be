//! What becomes of records that are appended.

use std::time::Duration;

use tilde::{
    engine::{Appended, Log, Outcome},
    model::{Durability, Message, Reason, Sequence, Timestamp, limits},
};

use super::subject::{Subject, fill, message, texts, with_id};

pub async fn a_batch_has_one_order_without_holes(subject: Subject) {
    let log = subject.log().await;
    let batch: Vec<_> = (0..100).map(|n| message("t", &n.to_string())).collect();
    let first = subject.take(&*log, &batch).await;
    let second = subject.take(&*log, &batch).await;
    for sequences in [&first, &second] {
        assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].next()), "{sequences:?}");
    }
    assert!(first[0] >= Sequence::FIRST && second[0] > first[99]);
    let all = subject.read_all(&*log, &["~"]).await;
    assert_eq!(all.iter().map(|seen| seen.sequence).collect::<Vec<_>>(), [first, second].concat());
    assert_eq!(texts(&all)[..100], (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
}

pub async fn publish_time_never_falls(subject: Subject) {
    let log = subject.log().await;
    let start = Timestamp::from_nanos(1_800_000_000_000_000_000);
    let mut times = Vec::new();
    for seconds in [10, 5, 0, 11] {
        tilde::clock::ManualClock::set(&subject.clock, start.plus(Duration::from_secs(seconds)));
        times.push(one(&subject, &*log, message("t", "")).await.unwrap().publish_time);
    }
    let at = |seconds| start.plus(Duration::from_secs(seconds));
    assert_eq!(times, [at(10), at(10), at(10), at(11)]);
    let all = subject.read_all(&*log, &["~"]).await;
    assert_eq!(all.iter().map(|seen| seen.time).collect::<Vec<_>>(), times);
}

pub async fn an_id_published_again_gets_the_first_result(subject: Subject) {
    let log = subject.log().await;
    let first = one(&subject, &*log, with_id("t", "x", "id")).await.unwrap();
    assert!(!first.duplicate);
    subject.clock.advance(Duration::from_secs(1));
    let again = one(&subject, &*log, with_id("t", "x", "id")).await.unwrap();
    assert_eq!(again, Appended { duplicate: true, ..first });
    let other = one(&subject, &*log, with_id("t", "y", "id")).await.unwrap_err();
    assert_eq!(other.reason(), Reason::MessageIdReused);
    // Neither took a place.
    let next = one(&subject, &*log, message("t", "z")).await.unwrap();
    assert_eq!(next.sequence, first.sequence.next());
    assert_eq!(texts(&subject.read_all(&*log, &["~"]).await), ["x", "z"]);
}

pub async fn an_id_is_forgotten_after_the_window(subject: Subject) {
    let log = subject.log().await;
    let first = one(&subject, &*log, with_id("t", "x", "id")).await.unwrap();
    subject.clock.advance(Duration::from_secs(119));
    assert!(one(&subject, &*log, with_id("t", "x", "id")).await.unwrap().duplicate);
    subject.clock.advance(Duration::from_secs(2));
    let again = one(&subject, &*log, with_id("t", "y", "id")).await.unwrap();
    assert!(!again.duplicate && again.sequence > first.sequence);
}

pub async fn an_id_twice_in_one_batch_is_taken_once(subject: Subject) {
    let log = subject.log().await;
    let messages = [with_id("t", "x", "id"), message("t", "between"), with_id("t", "x", "id"), with_id("t", "y", "id")];
    let outcomes = subject.append(&*log, &messages).await.unwrap();
    let [Ok(first), Ok(between), Ok(again), Err(other)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!(*again, Appended { duplicate: true, ..*first });
    assert_eq!(between.sequence, first.sequence.next());
    assert_eq!(other.reason(), Reason::MessageIdReused);
    assert_eq!(texts(&subject.read_all(&*log, &["~"]).await), ["x", "between"]);
}

pub async fn an_id_belongs_to_its_topic(subject: Subject) {
    let log = subject.log().await;
    assert!(!one(&subject, &*log, with_id("a", "x", "id")).await.unwrap().duplicate);
    assert!(!one(&subject, &*log, with_id("ai", "y", "d")).await.unwrap().duplicate);
    assert!(!one(&subject, &*log, with_id("b", "z", "id")).await.unwrap().duplicate);
}

pub async fn the_expected_sequence_must_be_the_last(subject: Subject) {
    let log = subject.log().await;
    let none = expecting(&subject, &*log, "t", 0).await.unwrap();
    let conflict = expecting(&subject, &*log, "t", 0).await.unwrap_err();
    assert_eq!(conflict.reason(), Reason::SequenceConflict);
    assert_eq!(conflict.metadata(), [("actual", none.sequence.to_string())]);
    // Another topic does not count.
    one(&subject, &*log, message("other", "")).await.unwrap();
    let second = expecting(&subject, &*log, "t", none.sequence.0).await.unwrap();
    assert_eq!(expecting(&subject, &*log, "t", none.sequence.0).await.unwrap_err().reason(), Reason::SequenceConflict);
    expecting(&subject, &*log, "t", second.sequence.0).await.unwrap();
    assert_eq!(subject.read_all(&*log, &["t"]).await.len(), 3);
}

pub async fn the_expected_sequence_counts_what_is_in_the_same_batch(subject: Subject) {
    let log = subject.log().await;
    let mut batch = subject.batch();
    batch.push(&message("t", "1"), limits::MESSAGE_BYTES, Some(Sequence::ZERO)).unwrap();
    batch.push(&message("t", "2"), limits::MESSAGE_BYTES, Some(Sequence::ZERO)).unwrap();
    batch.push(&message("u", "3"), limits::MESSAGE_BYTES, Some(Sequence::ZERO)).unwrap();
    let outcomes: Vec<_> = log.append(batch).await.unwrap().iter().collect();
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    let conflict = outcomes[1].clone().unwrap_err();
    let first = outcomes[0].clone().unwrap().sequence;
    assert_eq!(conflict.metadata(), [("actual", first.to_string())]);
    assert_eq!(texts(&subject.read_all(&*log, &["~"]).await), ["1", "3"]);
}

pub async fn atomic_is_all_or_none(subject: Subject) {
    let log = subject.log().await;
    let known = one(&subject, &*log, with_id("t", "known", "id")).await.unwrap();
    let messages = [with_id("t", "new", "new"), with_id("t", "known", "id"), with_id("t", "other", "id")];
    let refusal = log.append(fill(subject.batch().atomic(true), &messages)).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::MessageIdReused);
    assert_eq!(refusal.violated_field(), Some("requests[2].message_id"));
    assert_eq!(texts(&subject.read_all(&*log, &["~"]).await), ["known"]);
    assert_eq!(refusal.metadata(), [("sequence", known.sequence.to_string())]);
    // An id that stands twice in the batch has no sequence to be told: nothing was published.
    let twice = [with_id("t", "x", "twice"), with_id("t", "y", "twice")];
    let refusal = log.append(fill(subject.batch().atomic(true), &twice)).await.unwrap_err();
    assert_eq!((refusal.reason(), refusal.metadata()), (Reason::MessageIdReused, &[][..]));
    // What was refused is not remembered, and a duplicate is no refusal.
    let outcomes = log.append(fill(subject.batch().atomic(true), &messages[..2])).await.unwrap();
    let outcomes: Vec<_> = outcomes.iter().collect();
    let [Ok(new), Ok(again)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(!new.duplicate && again.duplicate && again.sequence == known.sequence);
    assert_eq!(texts(&subject.read_all(&*log, &["~"]).await), ["known", "new"]);
    // Nor does a refused one move its topic on.
    let mut batch = subject.batch().atomic(true);
    batch.push(&message("fresh", "1"), limits::MESSAGE_BYTES, Some(Sequence::ZERO)).unwrap();
    batch.push(&message("fresh", "2"), limits::MESSAGE_BYTES, Some(Sequence::ZERO)).unwrap();
    assert_eq!(log.append(batch).await.unwrap_err().reason(), Reason::SequenceConflict);
    expecting(&subject, &*log, "fresh", 0).await.unwrap();
}

pub async fn others_are_refused_one_by_one(subject: Subject) {
    let log = subject.log().await;
    one(&subject, &*log, with_id("t", "known", "id")).await.unwrap();
    let messages = [message("t", "a"), with_id("t", "other", "id"), message("t", "b")];
    let outcomes = subject.append(&*log, &messages).await.unwrap();
    let [Ok(a), Err(refusal), Ok(b)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!(refusal.reason(), Reason::MessageIdReused);
    assert_eq!(b.sequence, a.sequence.next());
    assert_eq!(texts(&subject.read_all(&*log, &["~"]).await), ["known", "a", "b"]);
}

pub async fn nobody_gets_less_than_was_asked_for(subject: Subject) {
    let log = subject.log().await;
    let strongest = subject.engine.strongest();
    for asked in [Durability::Memory, Durability::Written, Durability::Synced] {
        if asked > strongest {
            continue;
        }
        let batch = fill(tilde::engine::Batch::new(asked), &[with_id("t", "x", "id")]);
        let answer = log.append(batch).await.unwrap().iter().next().unwrap().unwrap();
        assert!(answer.durability >= asked, "{asked:?}: {answer:?}");
    }
    assert!(log.append(subject.batch()).await.unwrap().is_empty());
}

async fn one(subject: &Subject, log: &dyn Log, message: Message<'_>) -> Outcome {
    subject.append(log, &[message]).await.unwrap().remove(0)
}

async fn expecting(subject: &Subject, log: &dyn Log, topic: &str, expected: u64) -> Outcome {
    let mut batch = subject.batch();
    batch.push(&message(topic, ""), limits::MESSAGE_BYTES, Some(Sequence(expected))).unwrap();
    log.append(batch).await.unwrap().iter().next().unwrap()
}
