//! Pulls that take also what backs off: what they are handed, what they wait for, and who makes way. On paused time.

use std::time::Duration;

use tilde::{
    broker::subscription::{Delivery, Pull, Pulled, Word},
    model::{DeliveryOrder, Error, Reason, RetryPolicy, Sequence, Subscription, SubscriptionState, Verdict},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{
    support::{Fixture, Setup, open},
    work::{SECOND, attach, deliveries, home, jobs, name, ready, say, sequences},
};

const MOMENT: Duration = Duration::from_millis(10);

fn early(max_wait: Duration) -> Pull {
    Pull { namespace: home(), subscription: name(), max_messages: 1_000, max_wait, auto: false, early: true }
}

/// A pull that is under way.
type Pulling = JoinHandle<Result<Pulled, Error>>;

impl Fixture {
    async fn early(&self) -> Vec<Delivery> {
        self.broker.pull(early(Duration::ZERO)).await.unwrap().deliveries
    }

    async fn begin_early(&self, max_wait: Duration) -> Pulling {
        let broker = self.broker.clone();
        let pulling = tokio::spawn(async move { broker.pull(early(max_wait)).await });
        sleep(MOMENT).await;
        pulling
    }

    async fn settle(&self, delivery: &Delivery, verdict: Verdict) {
        let text = String::from_utf8(delivery.ack_id.unwrap().encode().to_vec()).unwrap();
        let word = [Word { ack_id: &text, verdict, reason: "" }].into_iter();
        assert!(self.broker.acknowledge(&home(), &name(), word).await.unwrap().is_empty());
    }

    async fn state(&self) -> SubscriptionState {
        self.broker.get_subscription(&home(), &name()).await.unwrap().state
    }
}

async fn pulled(pulling: Pulling) -> Vec<u64> {
    sequences(&pulling.await.unwrap().unwrap().deliveries)
}

fn nack(seconds: u64) -> Verdict {
    Verdict::Nack { delay: Some(Duration::from_secs(seconds)) }
}

/// Trips with nothing, and tries for ever.
fn patient() -> Subscription {
    Subscription { retry: RetryPolicy { max_attempts: None, ..RetryPolicy::default() }, ..jobs() }
}

#[tokio::test(start_paused = true)]
async fn what_consumers_have_is_awaited_and_only_what_they_failed_is_handed_out() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 2).await;
    let (mut session, _) = fixture.consume(attach("c", 10)).await;
    let held = ready(&mut session).await;
    let pulling = fixture.begin_early(20 * SECOND).await;
    say(&mut session, &held[0], Verdict::Ack);
    sleep(MOMENT).await;
    assert!(!pulling.is_finished(), "the other is still out");
    let began = Instant::now();
    say(&mut session, &held[1], nack(1_000));
    let deliveries = pulling.await.unwrap().unwrap().deliveries;
    assert!(began.elapsed() < MOMENT);
    assert_eq!((sequences(&deliveries), deliveries[0].attempt), (vec![2], 2));
    fixture.settle(&deliveries[0], Verdict::Ack).await;
    assert!(fixture.early().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_consumers_have_is_not_awaited_for_longer_than_was_asked() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 2).await;
    let (mut session, _) = fixture.consume(attach("c", 10)).await;
    let held = ready(&mut session).await;
    say(&mut session, &held[0], nack(1_000));
    assert_eq!(sequences(&fixture.early().await), [1], "2 is just not there");
    fixture.publish("jobs/a", "x").await;
    let began = Instant::now();
    let pulling = fixture.begin_early(10 * SECOND).await;
    assert_eq!(pulled(pulling).await, [3]);
    assert!(began.elapsed() >= 10 * SECOND && began.elapsed() < 11 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn consumers_are_handed_nothing_meanwhile_and_go_on_when_it_ends_or_breaks() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 1).await;
    let (mut session, _) = fixture.consume(attach("c", 1)).await;
    let held = ready(&mut session).await;
    let pulling = fixture.begin_early(20 * SECOND).await;
    fixture.publish_many("jobs/a", 1).await;
    say(&mut session, &held[0], nack(1_000));
    assert!(ready(&mut session).await.is_empty());
    assert_eq!(pulled(pulling).await, [1, 2]);
    fixture.publish_many("jobs/a", 1).await;
    let held = ready(&mut session).await;
    assert_eq!(sequences(&held), [3]);
    let pulling = fixture.begin_early(20 * SECOND).await;
    assert!(!pulling.is_finished(), "the consumer has one");
    pulling.abort();
    sleep(MOMENT).await;
    say(&mut session, &held[0], Verdict::Ack);
    fixture.publish_many("jobs/a", 1).await;
    assert_eq!(sequences(&ready(&mut session).await), [4]);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_in_line_goes_on_at_once_when_a_pull_breaks() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    let (mut holder, _) = fixture.consume(attach("h", 1)).await;
    fixture.publish("jobs/a", "x").await;
    assert_eq!(sequences(&ready(&mut holder).await), [1]);
    let (mut session, _) = fixture.consume(attach("c", 1)).await;
    let mut pull = Box::pin(fixture.broker.pull(early(20 * SECOND)));
    assert!(tokio::time::timeout(MOMENT, &mut pull).await.is_err());
    let waiting = tokio::spawn(async move { sequences(&deliveries(&mut session).await) });
    sleep(MOMENT).await;
    // Nobody looks at the pull while this comes.
    fixture.publish("jobs/a", "x").await;
    sleep(MOMENT).await;
    assert!(!waiting.is_finished());
    drop(pull);
    let began = Instant::now();
    assert_eq!(waiting.await.unwrap(), [2]);
    assert!(began.elapsed() < MOMENT);
}

#[tokio::test(start_paused = true)]
async fn it_does_not_wait_for_what_is_yet_to_come() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    let began = Instant::now();
    assert!(pulled(fixture.begin_early(20 * SECOND).await).await.is_empty());
    fixture.publish("jobs/a", "x").await;
    assert_eq!(pulled(fixture.begin_early(20 * SECOND).await).await, [1]);
    assert!(
        pulled(fixture.begin_early(20 * SECOND).await).await.is_empty(),
        "what a pull has is not there for another"
    );
    assert!(began.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn it_is_not_held_up_by_what_failed_before_and_changes_nothing_of_that() {
    let fixture = open().await;
    fixture.create(patient()).await;
    fixture.publish_many("jobs/a", 30).await;
    let (mut session, _) = fixture.consume(attach("c", 20)).await;
    for delivery in deliveries(&mut session).await {
        say(&mut session, &delivery, nack(1_000));
    }
    assert_eq!(fixture.state().await, SubscriptionState::Tripped);
    assert!(fixture.pull(100).await.is_empty());
    assert_eq!(sequences(&fixture.early().await), (1..=30).collect::<Vec<_>>());
    assert_eq!(fixture.state().await, SubscriptionState::Tripped);
    fixture.publish("jobs/a", "x").await;
    assert!(ready(&mut session).await.is_empty(), "consumers are held up as before");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_come_first_whenever_they_were_due_and_the_rest_waits_on() {
    for tail_bytes in [64 << 20, 0] {
        let fixture = Setup { tail_bytes, ..Setup::default() }.open().await;
        fixture.create(patient()).await;
        fixture.publish_many("jobs/a", 310).await;
        for delivery in fixture.pull(300).await {
            // In any order, and none soon.
            let sequence = sequences(std::slice::from_ref(&delivery))[0];
            fixture.settle(&delivery, nack(100 + sequence * 7919 % 311)).await;
        }
        let pull = |max_messages| fixture.broker.pull(Pull { max_messages, ..early(Duration::ZERO) });
        let first = pull(100).await.unwrap();
        assert_eq!(sequences(&first.deliveries), (1..=100).collect::<Vec<_>>());
        assert_eq!(first.backlog, 210);
        assert!(fixture.pull(1).await.iter().all(|delivery| delivery.attempt == 1), "what was not taken waits on");
        let mut rest = Vec::new();
        while let more = pull(1_000).await.unwrap().deliveries
            && !more.is_empty()
        {
            rest.extend(more);
        }
        let first_new = rest.iter().position(|delivery| delivery.attempt == 1).unwrap();
        assert_eq!(first_new, 200);
        assert!(sequences(&rest).is_sorted(), "{:?}", sequences(&rest));
        assert_eq!(fixture.stats().await.outstanding_messages, 310);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_found_already_does_not_overtake_what_backs_off() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 5).await;
    let (mut session, _) = fixture.consume(attach("c", 2)).await;
    for delivery in deliveries(&mut session).await {
        session.change(tilde::broker::subscription::FlowControl { messages: Some(0), bytes: None });
        say(&mut session, &delivery, nack(1_000));
    }
    assert_eq!(sequences(&fixture.early().await), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn by_key_one_is_out_at_a_time_and_as_many_as_may_be() {
    let fixture = open().await;
    fixture.create(Subscription { order: DeliveryOrder::Key, max_outstanding: 3, ..patient() }).await;
    for key in ["a", "b", "a", "", "b", "", ""] {
        let mut message = super::support::publish("jobs/a", "x");
        message.message.ordering_key = key.to_owned().into();
        fixture.broker.publish(message).await.unwrap();
    }
    for delivery in fixture.pull(100).await {
        fixture.settle(&delivery, nack(1_000)).await;
    }
    let taken = fixture.early().await;
    assert_eq!(sequences(&taken), [1, 2, 4], "3 and 5 wait for 1 and 2, and 6 and 7 for room");
    fixture.settle(&taken[0], Verdict::Ack).await;
    fixture.settle(&taken[2], nack(1_000)).await;
    assert_eq!(sequences(&fixture.early().await), [3, 4]);
}

#[tokio::test(start_paused = true)]
async fn where_one_alone_is_served_it_gets_nothing_before_that_one_has_nothing() {
    let fixture = open().await;
    fixture.create(Subscription { order: DeliveryOrder::Exclusive, ..jobs() }).await;
    fixture.publish_many("jobs/a", 3).await;
    let (mut session, _) = fixture.consume(attach("c", 2)).await;
    let held = ready(&mut session).await;
    assert!(fixture.early().await.is_empty());
    let pulling = fixture.begin_early(20 * SECOND).await;
    say(&mut session, &held[0], nack(1_000));
    say(&mut session, &held[1], Verdict::Ack);
    assert_eq!(pulled(pulling).await, [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn several_share() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 2).await;
    let (mut session, _) = fixture.consume(attach("c", 1)).await;
    let held = ready(&mut session).await;
    let (one, other) = (fixture.begin_early(20 * SECOND).await, fixture.begin_early(20 * SECOND).await);
    say(&mut session, &held[0], nack(1_000));
    let mut all = [pulled(one).await, pulled(other).await].concat();
    all.sort_unstable();
    assert_eq!(all, [1, 2], "each is there for one of them");
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_subscription_and_is_refused_while_that_is_paused() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish("jobs/a", "x").await;
    fixture.broker.pause_subscription(&home(), &name(), None).await.unwrap();
    let refused = fixture.broker.pull(early(SECOND)).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::SubscriptionPaused);
    fixture.broker.resume_subscription(&home(), &name()).await.unwrap();
    let (mut session, _) = fixture.consume(attach("c", 1)).await;
    ready(&mut session).await;
    let (pulling, began) = (fixture.begin_early(20 * SECOND).await, Instant::now());
    fixture.broker.delete_subscription(&home(), &name()).await.unwrap();
    assert_eq!(pulling.await.unwrap().unwrap_err().reason(), Reason::SubscriptionNotFound);
    assert!(began.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_that_were_sent_back_come_early_too() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 2).await;
    for delivery in fixture.pull(2).await {
        fixture.settle(&delivery, Verdict::Reject).await;
    }
    sleep(SECOND).await;
    fixture.broker.redrive(&home(), &name(), Default::default()).await.unwrap();
    for delivery in fixture.pull(2).await {
        fixture.settle(&delivery, nack(1_000)).await;
    }
    let again = fixture.early().await;
    assert_eq!(sequences(&again), [3, 4]);
    let explained = fixture.broker.explain(&home(), &name(), Sequence(3)).await.unwrap();
    assert_eq!((again[0].attempt, explained.attempts), (2, 1));
}
