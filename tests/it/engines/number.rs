//! What becomes of records that a producer has numbered.

use std::{ops::Range, sync::Arc, time::Duration};

use tilde::{
    engine::{Appended, Batch, Log, Outcome, Session},
    model::{ProducerName, Reason, Result, Sequence, limits},
};
use tokio_util::sync::CancellationToken;

use super::subject::{Subject, message, texts};

pub async fn a_number_is_taken_once_whatever_is_sent_again(subject: Subject) {
    let log = subject.log().await;
    let (session, next) = attach(&*log, "p").await;
    assert_eq!(next, 1);
    let first = send(&subject, &*log, &session, 1..6).await.unwrap();
    assert!(first.windows(2).all(|pair| sequence(&pair[1]) == sequence(&pair[0]).next()));
    // Wholly, and in part.
    let again = send(&subject, &*log, &session, 1..6).await.unwrap();
    let more = send(&subject, &*log, &session, 3..9).await.unwrap();
    let places = |outcomes: &[Outcome]| outcomes.iter().map(sequence).collect::<Vec<_>>();
    assert!(again.iter().all(|outcome| outcome.as_ref().unwrap().duplicate));
    assert_eq!(places(&again), places(&first));
    assert_eq!(places(&more[..3]), places(&first[2..]));
    assert!(more[3..].iter().all(|outcome| !outcome.as_ref().unwrap().duplicate));
    let (_, next) = attach(&*log, "p").await;
    assert_eq!(next, 9);
    assert_eq!(texts(&subject.read_all(&*log, &["~"]).await), ["1", "2", "3", "4", "5", "6", "7", "8"]);
}

pub async fn nothing_is_taken_behind_a_number_that_is_missing(subject: Subject) {
    let log = subject.log().await;
    let (session, _) = attach(&*log, "p").await;
    send(&subject, &*log, &session, 1..3).await.unwrap();
    let refused = send(&subject, &*log, &session, 4..6).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::PrecedingFailed);
    assert_eq!(refused.metadata(), [("next_number", "3".to_owned())]);
    send(&subject, &*log, &session, 3..6).await.unwrap();
    assert_eq!(texts(&subject.read_all(&*log, &["~"]).await), ["1", "2", "3", "4", "5"]);
}

pub async fn a_number_that_was_refused_for_good_is_used_up(subject: Subject) {
    let log = subject.log().await;
    let (session, _) = attach(&*log, "p").await;
    let mut batch = subject.batch().number(session.clone(), 1);
    batch.push(&message("t", "1"), limits::MESSAGE_BYTES, None).unwrap();
    batch.skip_number();
    // The topic has a message by now: refused when its turn comes.
    batch.push(&message("t", "3"), limits::MESSAGE_BYTES, Some(Sequence::ZERO)).unwrap();
    batch.push(&message("t", "4"), limits::MESSAGE_BYTES, None).unwrap();
    batch.skip_number();
    let outcomes: Vec<_> = log.append(batch).await.unwrap().iter().collect();
    let [Ok(one), Err(conflict), Ok(four)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!((conflict.reason(), four.sequence), (Reason::SequenceConflict, one.sequence.next()));
    assert_eq!(attach(&*log, "p").await.1, 6);
    // Nothing but numbers that are used up.
    let (session, next) = attach(&*log, "q").await;
    let mut batch = subject.batch().number(session, next);
    batch.skip_number();
    assert!(log.append(batch).await.unwrap().is_empty());
    let (session, next) = attach(&*log, "q").await;
    assert_eq!(next, 2);
    // Sent again, what was used up is refused, and its neighbours are where they were.
    let places = send(&subject, &*log, &session, 2..4).await.unwrap();
    let again = send(&subject, &*log, &session, 1..4).await.unwrap();
    assert_eq!(again[0].as_ref().unwrap_err().reason(), Reason::RequestInvalid);
    assert!(again[1..].iter().map(sequence).eq(places.iter().map(sequence)));
    assert_eq!(texts(&subject.read_all(&*log, &["~"]).await), ["1", "4", "2", "3"]);
}

pub async fn a_new_session_ends_the_one_before(subject: Subject) {
    let log = subject.log().await;
    let (old, _) = attach(&*log, "p").await;
    // Handed over before the new session, and taken.
    let before = log.append(batch(&subject, &old, 1..4));
    let (new, next) = attach(&*log, "p").await;
    assert!(before.await.unwrap().iter().all(|outcome| outcome.is_ok()));
    assert_eq!(next, 4);
    assert!(old.replaced.is_cancelled() && !new.replaced.is_cancelled());
    let late = send(&subject, &*log, &old, 4..5).await.unwrap_err();
    assert_eq!(late.reason(), Reason::ProducerReplaced);
    send(&subject, &*log, &new, 4..5).await.unwrap();
    // Another producer is none of their business.
    let (other, next) = attach(&*log, "q").await;
    assert_eq!(next, 1);
    send(&subject, &*log, &other, 1..2).await.unwrap();
    assert_eq!(texts(&subject.read_all(&*log, &["~"]).await), ["1", "2", "3", "4", "1"]);
}

pub async fn a_producer_is_forgotten_after_the_window_unless_it_has_a_stream(subject: Subject) {
    let log = subject.log().await;
    let (stays, _) = attach(&*log, "stays").await;
    let (goes, _) = attach(&*log, "goes").await;
    send(&subject, &*log, &stays, 1..3).await.unwrap();
    send(&subject, &*log, &goes, 1..3).await.unwrap();
    drop(goes);
    subject.clock.advance(Duration::from_secs(300));
    // Somebody must publish for the log to look.
    subject.take(&*log, &[message("t", "x")]).await;
    assert_eq!(attach(&*log, "goes").await.1, 1);
    send(&subject, &*log, &stays, 3..4).await.unwrap();
    assert_eq!(attach(&*log, "stays").await.1, 4);
}

async fn attach(log: &dyn Log, name: &str) -> (Arc<Session>, u64) {
    let producer = ProducerName::parse(name).unwrap();
    let session = Arc::new(Session { producer, replaced: CancellationToken::new() });
    let next = log.attach(session.clone()).await.unwrap();
    (session, next)
}

/// A batch whose messages say their numbers.
fn batch(subject: &Subject, session: &Arc<Session>, numbers: Range<u64>) -> Batch {
    let mut batch = subject.batch().number(session.clone(), numbers.start);
    for number in numbers {
        batch.push(&message("t", &number.to_string()), limits::MESSAGE_BYTES, None).unwrap();
    }
    batch
}

async fn send(subject: &Subject, log: &dyn Log, session: &Arc<Session>, numbers: Range<u64>) -> Result<Vec<Outcome>> {
    Ok(log.append(batch(subject, session, numbers)).await?.iter().collect())
}

fn sequence(outcome: &Outcome) -> Sequence {
    let Appended { sequence, .. } = outcome.as_ref().unwrap();
    *sequence
}
