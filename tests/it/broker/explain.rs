//! Waiting for what becomes of a message: what ends the wait, and what does not. On paused time.

use std::time::Duration;

use tilde::{
    broker::subscription::{Explanation, Standing, Word},
    clock::Clock as _,
    model::{Error, Reason, RetryPolicy, Sequence, Subscription, Verdict},
};
use tokio::{task::JoinHandle, time::Instant};

use super::{
    support::{Fixture, open},
    work::{SECOND, attach, deliveries, home, jobs, name, ready, say},
};

/// The longest that the tests wait.
const WAIT: Duration = Duration::from_secs(100);

/// A wait for what becomes of a message, and how long it took.
type Waiting = JoinHandle<(Result<Explanation, Error>, Duration)>;

impl Fixture {
    async fn waiting(&self, sequence: u64) -> Waiting {
        let (broker, began) = (self.broker.clone(), Instant::now());
        let waiting = tokio::spawn(async move {
            let explained = broker.explain_within(&home(), &name(), Sequence(sequence), WAIT).await;
            (explained, began.elapsed())
        });
        // It waits by then, or it never does.
        tokio::time::sleep(Duration::from_millis(10)).await;
        waiting
    }

    /// Answered without any wait.
    async fn at_once(&self, sequence: u64) -> Standing {
        let (explained, took) = self.waiting(sequence).await.await.unwrap();
        assert!(took < Duration::from_millis(10), "it took {took:?}");
        explained.unwrap().standing
    }
}

/// What it was told, as soon as that was so.
async fn told(waiting: Waiting) -> (Standing, u32) {
    let (explained, took) = waiting.await.unwrap();
    assert!(took < SECOND, "nobody woke it: it took {took:?}");
    let explained = explained.unwrap();
    (explained.standing, explained.attempts)
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_the_message_is_settled_or_has_failed() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 4).await;
    // One that nobody has yet, too.
    let mut waits = Vec::new();
    for sequence in 1..=4 {
        waits.push(fixture.waiting(sequence).await);
    }
    let (mut session, _) = fixture.consume(attach("c", 10)).await;
    let held = ready(&mut session).await;
    // That is no attempt.
    say(&mut session, &held[0], Verdict::Release { delay: None });
    say(&mut session, &held[3], Verdict::Extend { by: None });
    let held_again = ready(&mut session).await;
    assert!(waits.iter().all(|wait| !wait.is_finished()));
    say(&mut session, &held_again[0], Verdict::Ack);
    tokio::task::yield_now().await;
    assert_eq!(told(waits.remove(0)).await, (Standing::Acked, 0));
    say(&mut session, &held[1], Verdict::Nack { delay: None });
    assert_eq!(told(waits.remove(0)).await, (Standing::BackingOff, 1));
    say(&mut session, &held[2], Verdict::Reject);
    assert_eq!(told(waits.remove(0)).await, (Standing::DeadLettered, 1));
    assert!(!waits[0].is_finished());
    drop(session);
    assert_eq!(told(waits.remove(0)).await, (Standing::Waiting, 1), "its connection broke");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_the_lease_does() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish("jobs/a", "x").await;
    let (mut session, _) = fixture.consume(attach("c", 10)).await;
    ready(&mut session).await;
    let (explained, took) = fixture.waiting(1).await.await.unwrap();
    let explained = explained.unwrap();
    assert_eq!((explained.standing, explained.attempts), (Standing::BackingOff, 1));
    assert!(took > 29 * SECOND && took < 31 * SECOND, "{took:?}");
    assert_eq!(fixture.at_once(1).await, Standing::BackingOff, "it has failed before");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_nothing_is_handed_out_any_more() {
    let fixture = open().await;
    let retry = RetryPolicy { min_backoff: Duration::ZERO, max_attempts: None, ..RetryPolicy::default() };
    fixture.create(Subscription { retry, ..jobs() }).await;
    fixture.publish_many("jobs/a", 30).await;
    let waiting = fixture.waiting(30).await;
    fixture.broker.pause_subscription(&home(), &name(), None).await.unwrap();
    assert_eq!(told(waiting).await, (Standing::Waiting, 0));
    assert_eq!(fixture.at_once(30).await, Standing::Waiting, "it is paused");
    fixture.broker.resume_subscription(&home(), &name()).await.unwrap();
    let waiting = fixture.waiting(30).await;
    let (mut session, _) = fixture.consume(attach("c", 20)).await;
    for delivery in deliveries(&mut session).await {
        say(&mut session, &delivery, Verdict::Nack { delay: None });
    }
    assert_eq!(told(waiting).await, (Standing::Waiting, 0), "it is tripped");
    assert_eq!(fixture.at_once(30).await, Standing::Waiting);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_subscription() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish("jobs/a", "x").await;
    let waiting = fixture.waiting(1).await;
    fixture.broker.delete_subscription(&home(), &name()).await.unwrap();
    let (explained, took) = waiting.await.unwrap();
    assert_eq!(explained.unwrap_err().reason(), Reason::SubscriptionNotFound);
    assert!(took < SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_the_broker_drains() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish("jobs/a", "x").await;
    let waiting = fixture.waiting(1).await;
    fixture.broker.drain(SECOND).await;
    assert_eq!(told(waiting).await, (Standing::Waiting, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_the_message_is_left_out_or_gone() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 2).await;
    let waiting = fixture.waiting(1).await;
    fixture.broker.purge_subscription(&home(), &name()).await.unwrap();
    assert_eq!(told(waiting).await, (Standing::Skipped, 0));
    let mut brief = super::support::publish("jobs/a", "brief");
    brief.ttl = Some(SECOND);
    fixture.broker.publish(brief).await.unwrap();
    let waiting = fixture.waiting(3).await;
    fixture.clock.advance(2 * SECOND);
    // Whoever looks for it notices.
    assert!(fixture.pull(1).await.is_empty());
    assert_eq!(told(waiting).await, (Standing::Expired, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_nothing_ends_is_answered_in_time() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 2).await;
    let waiting = fixture.waiting(2).await;
    // What becomes of others does not end it.
    let (mut session, _) = fixture.consume(attach("c", 1)).await;
    let held = ready(&mut session).await;
    say(&mut session, &held[0], Verdict::Nack { delay: Some(1_000 * SECOND) });
    session.detach();
    let (explained, took) = waiting.await.unwrap();
    assert_eq!(explained.unwrap().standing, Standing::Waiting);
    assert!(took >= WAIT && took < WAIT + SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_decided_is_answered_at_once() {
    let fixture = open().await;
    fixture.create(Subscription { filter: "topic != 'jobs/b'".into(), ..jobs() }).await;
    fixture.publish_many("jobs/a", 2).await;
    fixture.publish("jobs/b", "x").await;
    let mut later = super::support::publish("jobs/a", "later");
    later.message.deliver_time = Some(fixture.clock.now().plus(1_000 * SECOND));
    fixture.broker.publish(later).await.unwrap();
    let pulled = fixture.pull(1).await;
    let text = String::from_utf8(pulled[0].ack_id.unwrap().encode().to_vec()).unwrap();
    let word = [Word { ack_id: &text, verdict: Verdict::Ack, reason: "" }].into_iter();
    assert!(fixture.broker.acknowledge(&home(), &name(), word).await.unwrap().is_empty());
    for (sequence, standing) in
        [(1, Standing::Acked), (3, Standing::NotMatched), (4, Standing::Scheduled), (5, Standing::NotFound)]
    {
        assert_eq!(fixture.at_once(sequence).await, standing, "{sequence}");
    }
}
