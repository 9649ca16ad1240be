//! Durable subscriptions: who gets what, what comes again and when, and what is given up. On paused time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use proptest::prelude::*;
use tilde::{
    broker::subscription::{Attach, Attached, Consumed, Delivery, FlowControl, Pull, Redrive, Session, Standing, Word},
    broker::{Subscribe, SubscriptionChange},
    clock::Clock as _,
    model::{
        BacklogPolicy, ConsumerName, DeliveryOrder, Message, NamespaceName, Position, Reason, Records, RetryPolicy,
        Sequence, Subscription, SubscriptionName, SubscriptionState, Verdict,
    },
};
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt;

use super::support::{Fixture, Setup, all, earliest, open, publish, rest};

pub const SECOND: Duration = Duration::from_secs(1);

pub fn name() -> SubscriptionName {
    SubscriptionName::parse("work").unwrap()
}

pub fn home() -> NamespaceName {
    NamespaceName::default()
}

/// Everything under `jobs/`, from the beginning.
pub fn jobs() -> Subscription {
    let mut subscription = Subscription::new(name(), home());
    subscription.set_patterns(["jobs/~".to_owned()]);
    Subscription { start: Position::Earliest, ..subscription }
}

pub fn attach(consumer: &str, window: u32) -> Attach {
    Attach {
        consumer: Some(ConsumerName::parse(consumer).unwrap()),
        flow: FlowControl { messages: Some(window), bytes: None },
        auto: false,
        confirm: false,
        heartbeat_interval: Duration::from_secs(300),
        responder: false,
    }
}

impl Fixture {
    pub async fn create(&self, subscription: Subscription) {
        assert!(self.broker.create_subscription(subscription).await.unwrap().1);
    }

    pub async fn consume(&self, attach: Attach) -> (Session, Attached) {
        let mut session = self.broker.consume(&home(), &name(), attach).await.unwrap();
        let attached = consumed(&mut session).await.attached.expect("the first says so");
        (session, attached)
    }

    pub async fn stats(&self) -> tilde::model::SubscriptionStats {
        self.broker.get_subscription(&home(), &name()).await.unwrap().stats
    }

    pub async fn standing(&self, sequence: u64) -> Standing {
        self.broker.explain(&home(), &name(), Sequence(sequence)).await.unwrap().standing
    }

    pub async fn pull(&self, most: u32) -> Vec<Delivery> {
        let pull = Pull {
            namespace: home(),
            subscription: name(),
            max_messages: most,
            max_wait: Duration::ZERO,
            auto: false,
            early: false,
        };
        self.broker.pull(pull).await.unwrap().deliveries
    }
}

pub async fn consumed(session: &mut Session) -> Consumed {
    session.next().await.expect("the stream goes on").unwrap()
}

/// The next deliveries, however long they take.
pub async fn deliveries(session: &mut Session) -> Vec<Delivery> {
    loop {
        let event = consumed(session).await;
        if !event.deliveries.is_empty() {
            return event.deliveries;
        }
    }
}

/// What is there at once.
pub async fn ready(session: &mut Session) -> Vec<Delivery> {
    let mut all = Vec::new();
    while let Ok(event) = timeout(Duration::from_millis(1), consumed(session)).await {
        all.extend(event.deliveries);
    }
    all
}

pub fn sequence(delivery: &Delivery) -> u64 {
    Records::new(&delivery.record).next().unwrap().unwrap().sequence().0
}

pub fn sequences(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(sequence).collect()
}

pub fn say(session: &mut Session, delivery: &Delivery, verdict: Verdict) {
    let text = String::from_utf8(delivery.ack_id.unwrap().encode().to_vec()).unwrap();
    session.settle([Word { ack_id: &text, verdict, reason: "" }].into_iter());
}

#[tokio::test(start_paused = true)]
async fn consumers_share_and_each_message_is_settled_once() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 3_000).await;
    let mut sessions = Vec::new();
    for consumer in ["a", "b", "c"] {
        sessions.push(fixture.consume(attach(consumer, 50)).await.0);
    }
    let mut shares = BTreeMap::new();
    let mut seen = BTreeSet::new();
    while seen.len() < 3_000 {
        for (at, session) in sessions.iter_mut().enumerate() {
            let Ok(event) = timeout(SECOND, consumed(session)).await else { continue };
            for delivery in &event.deliveries {
                assert!(seen.insert(sequence(delivery)), "{} came twice", sequence(delivery));
                say(session, delivery, Verdict::Ack);
                *shares.entry(at).or_insert(0) += 1;
            }
        }
    }
    assert!(shares.values().all(|share| (800..=1_200).contains(share)), "{shares:?}");
    let stats = fixture.stats().await;
    assert_eq!((stats.acked, stats.outstanding_messages, stats.backlog_messages), (3_000, 0, 0));
    assert_eq!((stats.redelivered, stats.consumers), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn what_a_broken_connection_held_comes_again_at_once_and_counts_an_attempt() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 10).await;
    let (mut first, _) = fixture.consume(attach("first", 4)).await;
    let held = ready(&mut first).await;
    assert_eq!(sequences(&held), [1, 2, 3, 4]);
    let (mut second, _) = fixture.consume(attach("second", 100)).await;
    assert_eq!(sequences(&ready(&mut second).await), [5, 6, 7, 8, 9, 10]);
    drop(first);
    let again = ready(&mut second).await;
    assert_eq!(sequences(&again), [1, 2, 3, 4]);
    assert!(again.iter().all(|delivery| delivery.attempt == 2));
    let explained = fixture.broker.explain(&home(), &name(), Sequence(2)).await.unwrap();
    assert_eq!((explained.standing, explained.attempts), (Standing::Leased, 1));
    assert_eq!(explained.consumer.as_deref(), Some("second"));
    assert!(explained.last_reason.unwrap().contains("connection broke"));
}

#[tokio::test(start_paused = true)]
async fn who_detaches_or_releases_has_not_failed() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 3).await;
    let (mut first, _) = fixture.consume(attach("first", 3)).await;
    let held = ready(&mut first).await;
    say(&mut first, &held[0], Verdict::Release { delay: None });
    first.detach();
    say(&mut first, &held[1], Verdict::Ack);
    let (mut second, _) = fixture.consume(attach("second", 3)).await;
    let again = ready(&mut second).await;
    assert_eq!((sequences(&again), again[0].attempt), (vec![1], 1));
    drop(first);
    let again = ready(&mut second).await;
    assert_eq!((sequences(&again), again[0].attempt), (vec![3], 1));
}

#[tokio::test(start_paused = true)]
async fn a_detached_stream_ends_when_what_it_has_is_settled_or_has_expired() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 2).await;
    let (mut session, _) = fixture.consume(attach("c", 2)).await;
    let held = ready(&mut session).await;
    session.detach();
    say(&mut session, &held[0], Verdict::Ack);
    let before = Instant::now();
    while session.next().await.is_some() {}
    let took = before.elapsed();
    assert!(took > 29 * SECOND && took < 31 * SECOND, "the lease of the other ran out after {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_hoards_keeps_nobody_waiting_for_what_is_not_sent() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 1_500).await;
    let (mut hoarder, _) = fixture.consume(attach("hoarder", 1_000)).await;
    assert_eq!(ready(&mut hoarder).await.len(), 1_000);
    let (mut other, _) = fixture.consume(attach("other", 1_000)).await;
    assert_eq!(sequences(&ready(&mut other).await), (1_001..=1_500).collect::<Vec<_>>());
    fixture.publish("jobs/a", "new").await;
    assert_eq!(sequences(&ready(&mut other).await), [1_501]);
}

#[tokio::test(start_paused = true)]
async fn retries_follow_the_policy_and_the_last_failure_is_a_dead_letter() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    let mut message = publish("jobs/a", "poison");
    message.message.attributes.insert("own".into(), "kept".into());
    fixture.broker.publish(message).await.unwrap();
    let (mut session, _) = fixture.consume(attach("worker", 10)).await;
    let mut at = Instant::now();
    for attempt in 1..=5 {
        let delivery = deliveries(&mut session).await.remove(0);
        assert_eq!(delivery.attempt, attempt);
        if attempt > 1 {
            // 1, 2, 4, 8 s, give or take a tenth.
            let (expected, took) = (2f64.powi(attempt as i32 - 2), at.elapsed().as_secs_f64());
            assert!((took / expected - 1.0).abs() < 0.11, "attempt {attempt} came after {took} s");
        }
        at = Instant::now();
        say(&mut session, &delivery, Verdict::Nack { delay: None });
    }
    assert!(ready(&mut session).await.is_empty());
    let (mut dead, _) = fixture.subscribe(earliest(&["$dead/work"])).await;
    let event = dead.next().await.unwrap().unwrap();
    let letter = Message::decode(&Records::new(&event.runs[0]).next().unwrap().unwrap()).unwrap();
    let said: HashMap<_, _> = letter.attributes.iter().map(|(key, value)| (&**key, &**value)).collect();
    for (key, value) in [
        ("own", "kept"),
        ("tilde-subscription", "work"),
        ("tilde-topic", "jobs/a"),
        ("tilde-sequence", "1"),
        ("tilde-attempts", "5"),
        ("tilde-consumer", "worker"),
    ] {
        assert_eq!(said.get(key), Some(&value));
    }
    assert_eq!(fixture.standing(1).await, Standing::DeadLettered);
    let stats = fixture.stats().await;
    assert_eq!((stats.dead_lettered, stats.redelivered, stats.outstanding_messages), (1, 4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_is_given_up_at_once_and_dropped_where_that_is_wanted() {
    let fixture = open().await;
    let mut subscription = jobs();
    subscription.dead_letters.drop = true;
    fixture.create(subscription).await;
    fixture.publish("jobs/a", "poison").await;
    let (mut session, _) = fixture.consume(attach("worker", 10)).await;
    let delivery = deliveries(&mut session).await.remove(0);
    say(&mut session, &delivery, Verdict::Reject);
    assert!(ready(&mut session).await.is_empty());
    assert_eq!(fixture.stats().await.dead_lettered, 1);
    let (mut dead, _) = fixture.subscribe(Subscribe { stop_at_end: true, ..earliest(&["$dead/~"]) }).await;
    assert_eq!(rest(&mut dead).await.iter().map(|event| event.messages).sum::<usize>(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_expires_comes_again_and_what_is_extended_does_not() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 2).await;
    let (mut session, attached) = fixture.consume(attach("slow", 10)).await;
    assert_eq!(attached.ack_deadline, 30 * SECOND);
    let held = ready(&mut session).await;
    tokio::time::advance(20 * SECOND).await;
    say(&mut session, &held[1], Verdict::Extend { by: Some(60 * SECOND) });
    let before = Instant::now();
    let again = deliveries(&mut session).await;
    assert_eq!((sequences(&again), again[0].attempt), (vec![1], 2));
    // 10 s were left, and the first back-off is a second.
    assert!((before.elapsed().as_secs_f64() - 11.0).abs() < 0.3, "{:?}", before.elapsed());
    // The first delivery is void.
    say(&mut session, &held[0], Verdict::Nack { delay: None });
    let told = consumed(&mut session).await.confirmations;
    assert_eq!(told[0].1, Err(Reason::LeaseExpired));
    say(&mut session, &held[1], Verdict::Ack);
    say(&mut session, &held[1], Verdict::Ack);
    assert_eq!(consumed(&mut session).await.confirmations[0].1, Err(Reason::AlreadySettled));
}

#[tokio::test(start_paused = true)]
async fn whoever_has_done_the_work_is_believed_as_long_as_nobody_else_has_it() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish("jobs/a", "x").await;
    let (mut first, _) = fixture.consume(attach("first", 10)).await;
    let held = ready(&mut first).await;
    let text = String::from_utf8(held[0].ack_id.unwrap().encode().to_vec()).unwrap();
    drop(first);
    let word = |verdict| [Word { ack_id: &text, verdict, reason: "" }].into_iter();
    let refused = fixture.broker.acknowledge(&home(), &name(), word(Verdict::Nack { delay: None })).await.unwrap();
    assert_eq!(refused, [(text.clone(), Reason::LeaseExpired)]);
    assert!(fixture.broker.acknowledge(&home(), &name(), word(Verdict::Ack)).await.unwrap().is_empty());
    assert!(fixture.pull(10).await.is_empty());
    assert_eq!(fixture.standing(1).await, Standing::Acked);
}

#[tokio::test(start_paused = true)]
async fn one_is_active_where_it_is_exclusive_and_the_next_stands_by() {
    let fixture = open().await;
    fixture.create(Subscription { order: DeliveryOrder::Exclusive, ..jobs() }).await;
    let (mut first, _) = fixture.consume(attach("first", 10)).await;
    let (mut second, _) = fixture.consume(attach("second", 10)).await;
    fixture.publish_many("jobs/a", 2).await;
    assert!(ready(&mut second).await.is_empty());
    let held = ready(&mut first).await;
    assert_eq!(sequences(&held), [1, 2]);
    say(&mut first, &held[0], Verdict::Ack);
    drop(first);
    assert_eq!(sequences(&ready(&mut second).await), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_paused_subscription_hands_nothing_out_until_its_time() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    let (mut session, _) = fixture.consume(attach("c", 10)).await;
    fixture.broker.pause_subscription(&home(), &name(), None).await.unwrap();
    fixture.publish("jobs/a", "x").await;
    assert!(ready(&mut session).await.is_empty());
    let pull = Pull {
        namespace: home(),
        subscription: name(),
        max_messages: 1,
        max_wait: Duration::ZERO,
        auto: true,
        early: false,
    };
    assert_eq!(fixture.broker.pull(pull).await.unwrap_err().reason(), Reason::SubscriptionPaused);
    fixture.broker.resume_subscription(&home(), &name()).await.unwrap();
    assert_eq!(sequences(&ready(&mut session).await), [1]);
    let until = fixture.clock.now().plus(10 * SECOND);
    fixture.broker.pause_subscription(&home(), &name(), Some(until)).await.unwrap();
    fixture.publish("jobs/a", "y").await;
    assert!(ready(&mut session).await.is_empty());
    // The wall clock says when; nobody has to ask.
    fixture.clock.advance(10 * SECOND);
    assert_eq!(sequences(&deliveries(&mut session).await), [2]);
}

#[tokio::test(start_paused = true)]
async fn seek_and_purge_move_it_and_say_so() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 10).await;
    fixture.publish("other", "x").await;
    let (home, name) = (home(), name());
    let seek = |position, dry_run| fixture.broker.seek_subscription(&home, &name, position, dry_run);
    assert_eq!(seek(Position::At(Sequence(6)), true).await.unwrap(), 5);
    assert_eq!(sequences(&fixture.pull(2).await), [1, 2]);
    seek(Position::At(Sequence(6)), false).await.unwrap();
    assert_eq!(sequences(&fixture.pull(1).await), [6]);
    assert_eq!([fixture.standing(1).await, fixture.standing(5).await], [Standing::Skipped; 2]);
    assert_eq!((fixture.standing(6).await, fixture.standing(7).await), (Standing::Leased, Standing::Waiting));
    assert_eq!((fixture.standing(11).await, fixture.standing(12).await), (Standing::NotMatched, Standing::NotFound));
    assert_eq!(fixture.broker.purge_subscription(&home, &name).await.unwrap(), 5);
    assert!(fixture.pull(10).await.is_empty());
    seek(Position::Earliest, false).await.unwrap();
    let pulled = fixture.pull(1).await;
    seek(Position::Earliest, false).await.unwrap();
    let text = String::from_utf8(pulled[0].ack_id.unwrap().encode().to_vec()).unwrap();
    let word = [Word { ack_id: &text, verdict: Verdict::Ack, reason: "" }].into_iter();
    let refused = fixture.broker.acknowledge(&home, &name, word).await.unwrap();
    assert_eq!(refused, [(text.clone(), Reason::LeaseExpired)], "it comes again");
    assert_eq!(fixture.pull(100).await.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn who_rejects_has_judged_the_messages_and_goes_on() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 60).await;
    let (mut session, _) = fixture.consume(attach("c", 30)).await;
    for _ in 0..2 {
        let held = ready(&mut session).await;
        assert_eq!(held.len(), 30);
        held.iter().for_each(|delivery| say(&mut session, delivery, Verdict::Reject));
    }
    // They are put away beside it.
    tokio::time::sleep(SECOND).await;
    let described = fixture.broker.get_subscription(&home(), &name()).await.unwrap();
    assert_eq!((described.state, described.stats.dead_lettered), (SubscriptionState::Active, 60));
}

#[tokio::test(start_paused = true)]
async fn when_most_fails_it_tries_one_at_a_time_and_recovers_by_itself() {
    let fixture = open().await;
    let retry = RetryPolicy { min_backoff: Duration::ZERO, max_attempts: None, ..RetryPolicy::default() };
    fixture.create(Subscription { retry, ..jobs() }).await;
    fixture.publish_many("jobs/a", 30).await;
    let (mut session, _) = fixture.consume(attach("c", 100)).await;
    for delivery in ready(&mut session).await {
        say(&mut session, &delivery, Verdict::Nack { delay: None });
    }
    let state = || async { fixture.broker.get_subscription(&home(), &name()).await.unwrap().state };
    assert_eq!(state().await, SubscriptionState::Tripped);
    assert!(ready(&mut session).await.is_empty(), "it waits before it tries");
    let one = deliveries(&mut session).await;
    assert_eq!(one.len(), 1);
    assert!(ready(&mut session).await.is_empty(), "one at a time");
    say(&mut session, &one[0], Verdict::Ack);
    assert_eq!(ready(&mut session).await.len(), 29);
    assert_eq!(state().await, SubscriptionState::Active);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_resumed_tries_at_full_speed_again() {
    let fixture = open().await;
    let retry = RetryPolicy { min_backoff: Duration::ZERO, max_attempts: None, ..RetryPolicy::default() };
    fixture.create(Subscription { retry, ..jobs() }).await;
    fixture.publish_many("jobs/a", 30).await;
    let (mut session, _) = fixture.consume(attach("c", 100)).await;
    for delivery in ready(&mut session).await {
        say(&mut session, &delivery, Verdict::Nack { delay: None });
    }
    assert!(ready(&mut session).await.is_empty(), "it is tripped");
    fixture.broker.resume_subscription(&home(), &name()).await.unwrap();
    assert_eq!(ready(&mut session).await.len(), 30);
    assert_eq!(fixture.broker.get_subscription(&home(), &name()).await.unwrap().state, SubscriptionState::Active);
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept() {
    let fixture = open().await;
    fixture.create(Subscription { max_rate: Some(10.0), ..jobs() }).await;
    fixture.publish_many("jobs/a", 40).await;
    let (mut session, _) = fixture.consume(attach("c", 100)).await;
    assert_eq!(ready(&mut session).await.len(), 10, "what a second allows goes at once");
    let before = Instant::now();
    let mut count = 10;
    while count < 40 {
        count += deliveries(&mut session).await.len();
    }
    assert!((before.elapsed().as_secs_f64() - 3.0).abs() < 0.2, "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_window_can_change_and_zero_pauses() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 10).await;
    let (mut session, _) = fixture.consume(attach("c", 0)).await;
    assert!(ready(&mut session).await.is_empty());
    session.change(FlowControl { messages: Some(3), bytes: None });
    assert_eq!(sequences(&ready(&mut session).await), [1, 2, 3]);
    session.change(FlowControl { messages: Some(5), bytes: None });
    assert_eq!(sequences(&ready(&mut session).await), [4, 5]);
}

#[tokio::test(start_paused = true)]
async fn what_is_confirmed_is_kept_for_good() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 2).await;
    let (mut session, _) = fixture.consume(Attach { confirm: true, ..attach("c", 10) }).await;
    let held = ready(&mut session).await;
    say(&mut session, &held[0], Verdict::Ack);
    let told = consumed(&mut session).await.confirmations;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1, Ok(()));
    let kept = fixture.kept("ledger/default/work");
    assert!(!kept.is_empty(), "the ledger lies in the state by then");
}

#[tokio::test(start_paused = true)]
async fn a_draining_broker_takes_settlements_and_counts_nothing() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 2).await;
    let (mut session, _) = fixture.consume(attach("c", 10)).await;
    let held = ready(&mut session).await;
    let broker = fixture.broker.clone();
    let draining = tokio::spawn(async move { broker.drain(5 * SECOND).await });
    assert!(consumed(&mut session).await.closing.is_some());
    say(&mut session, &held[0], Verdict::Ack);
    say(&mut session, &held[1], Verdict::Release { delay: None });
    let last = session.next().await.unwrap().unwrap_err();
    assert_eq!(last.reason(), Reason::Draining);
    drop(session);
    assert_eq!(draining.await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_without_room_hears_that_the_broker_drains() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 2).await;
    let (mut session, _) = fixture.consume(attach("c", 1)).await;
    let held = ready(&mut session).await;
    let hearing = tokio::spawn(async move { (consumed(&mut session).await, session) });
    // It waits by then.
    tokio::task::yield_now().await;
    let broker = fixture.broker.clone();
    let draining = tokio::spawn(async move { broker.drain(5 * SECOND).await });
    let (told, mut session) = hearing.await.unwrap();
    assert!(told.closing.is_some());
    say(&mut session, &held[0], Verdict::Ack);
    assert_eq!(session.next().await.unwrap().unwrap_err().reason(), Reason::Draining);
    drop(session);
    assert_eq!(draining.await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_one_broken_consumer_held_does_not_keep_the_others_waiting() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish_many("jobs/a", 100).await;
    let (mut broken, _) = fixture.consume(attach("c", 100)).await;
    assert_eq!(ready(&mut broken).await.len(), 100);
    let (mut other, _) = fixture.consume(attach("d", 100)).await;
    let began = Instant::now();
    drop(broken);
    let mut again = 0;
    while again < 100 {
        for delivery in deliveries(&mut other).await {
            assert_eq!(delivery.attempt, 2);
            say(&mut other, &delivery, Verdict::Ack);
            again += 1;
        }
    }
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_deleted_ends_its_consumers() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    let (mut session, _) = fixture.consume(attach("c", 10)).await;
    fixture.broker.delete_subscription(&home(), &name()).await.unwrap();
    assert_eq!(session.next().await.unwrap().unwrap_err().reason(), Reason::SubscriptionNotFound);
    assert!(fixture.kept("ledger/").is_empty() && fixture.kept("subscription/").is_empty());
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_until_a_settlement_is_kept_is_told_that_its_subscription_is_deleted() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish("jobs/a", "x").await;
    let held = fixture.pull(1).await;
    let text = String::from_utf8(held[0].ack_id.unwrap().encode().to_vec()).unwrap();
    let (home, name) = (home(), name());
    let words = [Word { ack_id: &text, verdict: Verdict::Ack, reason: "" }].into_iter();
    let acknowledging = timeout(60 * SECOND, fixture.broker.acknowledge(&home, &name, words));
    let deleting = fixture.broker.delete_subscription(&home, &name);
    let (acknowledged, deleted) = tokio::join!(acknowledging, deleting);
    deleted.unwrap();
    let error = acknowledged.expect("it waits for ever").unwrap_err();
    assert_eq!(error.reason(), Reason::SubscriptionNotFound);
}

/// Within a key nothing overtakes, whatever fails and whoever goes.
async fn by_key(seed: u64) {
    let fixture = open().await;
    let retry = RetryPolicy { max_attempts: None, ..RetryPolicy::default() };
    fixture.create(Subscription { order: DeliveryOrder::Key, retry, ..jobs() }).await;
    const KEYS: u64 = 5;
    const MESSAGES: u64 = 100;
    for n in 0..MESSAGES {
        let mut message = publish("jobs/a", &n.to_string());
        message.message.ordering_key = format!("k{}", n % KEYS).into();
        fixture.broker.publish(message).await.unwrap();
    }
    let mut dice = crate::support::dice::Dice::of(seed);
    let mut sessions = Vec::new();
    for consumer in 0..4 {
        sessions.push(fixture.consume(attach(&format!("c{consumer}"), 10)).await.0);
    }
    let mut settled: HashMap<u64, u64> = HashMap::new();
    let mut in_flight: HashMap<u64, u64> = HashMap::new();
    let mut done = 0;
    while done < MESSAGES {
        let at = dice.roll(4) as usize;
        if dice.roll(20) == 0 {
            let held: Vec<_> =
                in_flight.iter().filter(|(_, holder)| **holder == at as u64).map(|(key, _)| *key).collect();
            in_flight.retain(|key, _| !held.contains(key));
            sessions[at] = fixture.consume(attach(&format!("c{at}"), 10)).await.0;
            continue;
        }
        let Ok(event) = timeout(SECOND, consumed(&mut sessions[at])).await else { continue };
        for delivery in event.deliveries {
            let sequence = sequence(&delivery);
            let key = (sequence - 1) % KEYS;
            assert!(in_flight.insert(key, at as u64).is_none(), "two of key {key} are out");
            let before = settled.get(&key).copied().unwrap_or(0);
            let expected = if before == 0 { key + 1 } else { before + KEYS };
            assert_eq!(sequence, expected, "of key {key}");
            let verdict = match dice.roll(3) {
                0 => Verdict::Nack { delay: Some(Duration::from_millis(dice.roll(3_000))) },
                1 => Verdict::Release { delay: None },
                _ => Verdict::Ack,
            };
            say(&mut sessions[at], &delivery, verdict);
            in_flight.remove(&key);
            if verdict == Verdict::Ack {
                settled.insert(key, sequence);
                done += 1;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn by_key_nothing_overtakes(seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(by_key(seed));
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_told_exactly_where_it_is_little() {
    let fixture = open().await;
    fixture.create(Subscription { filter: "topic != 'jobs/b'".into(), ..jobs() }).await;
    // What is elsewhere, or does not match, does not wait.
    for topic in ["other", "jobs/a", "jobs/b"] {
        fixture.publish_many(topic, 12).await;
    }
    assert_eq!(fixture.stats().await.backlog_messages, 12);
    fixture.pull(7).await;
    let stats = fixture.stats().await;
    assert_eq!((stats.backlog_messages, stats.outstanding_messages), (12, 7));
    let to = Position::At(Sequence(20));
    assert_eq!(fixture.broker.seek_subscription(&home(), &name(), to, true).await.unwrap(), 5);
    // Where it is much, all of what the topics hold and was not read may wait: those of `jobs/b`, too.
    fixture.publish_many("jobs/a", 1_100).await;
    let most = fixture.stats().await.backlog_messages;
    assert!((12 + 1_100..=12 + 12 + 1_100).contains(&most), "{most}");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_are_left_out_when_more_wait_than_may() {
    let fixture = open().await;
    fixture.create(Subscription { max_backlog: Some(10), ..jobs() }).await;
    fixture.publish_many("jobs/a", 3).await;
    assert_eq!(fixture.pull(3).await.len(), 3, "what was handed out does not count");
    for _ in 0..2 {
        fixture.publish_many("jobs/a", 8).await;
        fixture.publish_many("other", 50).await;
        tokio::time::sleep(2 * SECOND).await;
    }
    let stats = fixture.stats().await;
    assert_eq!((stats.dropped, stats.outstanding_messages), (6, 3));
    assert!(stats.backlog_bytes > stats.backlog_messages * 20, "{stats:?}");
    assert_eq!([fixture.standing(4).await, fixture.standing(9).await], [Standing::Skipped; 2]);
    let left = sequences(&fixture.pull(100).await);
    assert_eq!(left, [10, 11, 62, 63, 64, 65, 66, 67, 68, 69]);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_can_go_to_the_dead_letters() {
    let fixture = open().await;
    let policy = BacklogPolicy::DeadLetter;
    fixture.create(Subscription { max_backlog: Some(5), backlog_policy: policy, ..jobs() }).await;
    // More than are put there at a time.
    fixture.publish_many("jobs/a", 1_000).await;
    tokio::time::sleep(3 * SECOND).await;
    let letters = all(&fixture.broker, "$dead/work").await;
    assert_eq!(letters.len(), 995);
    assert_eq!(fixture.standing(995).await, Standing::DeadLettered);
    let told = fixture.broker.explain(&home(), &name(), Sequence(1)).await.unwrap();
    assert!(told.last_reason.unwrap().contains("more than 5 messages waited"));
    let left = sequences(&fixture.pull(100).await);
    assert_eq!(left, [996, 997, 998, 999, 1_000]);
    assert_eq!((fixture.stats().await.dead_lettered, fixture.stats().await.dropped), (995, 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_nobody_uses_is_deleted_when_it_wants_to_be() {
    let fixture = open().await;
    fixture.create(Subscription { expire_after_idle: Some(60 * SECOND), ..jobs() }).await;
    let exists = async || fixture.broker.get_subscription(&home(), &name()).await.is_ok();
    let (session, _) = fixture.consume(attach("c", 10)).await;
    tokio::time::sleep(100 * SECOND).await;
    assert!(exists().await, "it has a consumer");
    drop(session);
    tokio::time::sleep(50 * SECOND).await;
    fixture.pull(1).await;
    tokio::time::sleep(59 * SECOND).await;
    assert!(exists().await, "it was used");
    tokio::time::sleep(3 * SECOND).await;
    assert!(!exists().await);
    assert!(fixture.kept("ledger/").is_empty() && fixture.kept("subscription/").is_empty());
    // And one that is told to later.
    fixture.create(jobs()).await;
    tokio::time::sleep(1_000 * SECOND).await;
    let expire: SubscriptionChange = Box::new(|subscription| {
        subscription.expire_after_idle = Some(SECOND);
        Ok(())
    });
    fixture.broker.update_subscription(&home(), &name(), "", expire).await.unwrap();
    assert!(exists().await, "a change is use");
    fixture.broker.pause_subscription(&home(), &name(), None).await.unwrap();
    tokio::time::sleep(100 * SECOND).await;
    assert!(exists().await, "it is paused");
    fixture.broker.resume_subscription(&home(), &name()).await.unwrap();
    tokio::time::sleep(3 * SECOND).await;
    assert!(!exists().await);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_that_were_sent_back_are_taken_together() {
    // What lies in memory is found one by one as well.
    let fixture = Setup { tail_bytes: 0, ..Setup::default() }.open().await;
    let retry = RetryPolicy { max_attempts: Some(1), ..RetryPolicy::default() };
    fixture.create(Subscription { retry, ..jobs() }).await;
    fixture.publish_many("jobs/a", 5).await;
    let (mut session, _) = fixture.consume(attach("c", 10)).await;
    for delivery in ready(&mut session).await {
        say(&mut session, &delivery, Verdict::Reject);
    }
    drop(session);
    tokio::time::sleep(SECOND).await;
    // Between them lies something that is new.
    fixture.publish("jobs/a", "new").await;
    assert_eq!(fixture.broker.redrive(&home(), &name(), Redrive::default()).await.unwrap(), 5);
    assert_eq!(sequences(&fixture.pull(100).await), [6, 7, 8, 9, 10]);
    assert_eq!(sequences(&fixture.pull(100).await), [11]);
}

#[tokio::test(start_paused = true)]
async fn who_was_told_another_deadline_is_told_the_new_one_with_each_delivery() {
    let fixture = open().await;
    fixture.create(jobs()).await;
    fixture.publish("jobs/a", "x").await;
    let (mut session, attached) = fixture.consume(attach("c", 10)).await;
    assert_eq!(consumed(&mut session).await.ack_deadline, None);
    let longer: SubscriptionChange = Box::new(|subscription| {
        subscription.ack_deadline = 600 * SECOND;
        Ok(())
    });
    fixture.broker.update_subscription(&home(), &name(), "", longer).await.unwrap();
    fixture.publish("jobs/a", "y").await;
    assert_eq!(attached.ack_deadline, 30 * SECOND);
    assert_eq!(consumed(&mut session).await.ack_deadline, Some(fixture.clock.now().plus(600 * SECOND)));
}
