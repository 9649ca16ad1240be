//! Durable subscriptions that are ordered by key and let several messages of a key be out: all are with one consumer, in
//! their order, and what comes back is followed by what was behind it. On paused time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use tilde::{
    broker::subscription::{Delivery, Session},
    model::{DeliveryOrder, RetryPolicy, Subscription, Verdict},
};
use tokio::time::timeout;

use super::{
    support::{Fixture, open, publish},
    work::{SECOND, attach, consumed, jobs, ready, say, sequence, sequences},
};

async fn by_key(per_key: u32, keys: u64, messages: u64) -> Fixture {
    let fixture = open().await;
    let retry = RetryPolicy { max_attempts: None, ..RetryPolicy::default() };
    let subscription = Subscription { order: DeliveryOrder::Key, max_outstanding_per_key: per_key, retry, ..jobs() };
    fixture.create(subscription).await;
    for n in 0..messages {
        let mut message = publish("jobs/a", &n.to_string());
        message.message.ordering_key = format!("k{}", n % keys).into();
        fixture.broker.publish(message).await.unwrap();
    }
    fixture
}

#[tokio::test(start_paused = true)]
async fn several_of_a_key_are_out_and_what_comes_back_is_followed_by_the_others() {
    let fixture = by_key(3, 1, 6).await;
    let (mut session, _) = fixture.consume(attach("a", 100)).await;
    let held = ready(&mut session).await;
    assert_eq!(sequences(&held), [1, 2, 3]);
    say(&mut session, &held[1], Verdict::Nack { delay: Some(10 * SECOND) });
    say(&mut session, &held[2], Verdict::Ack);
    say(&mut session, &held[0], Verdict::Ack);
    assert_eq!(sequences(&ready(&mut session).await), [0; 0], "4 to 6 wait for 2");
    let stats = fixture.stats().await;
    assert_eq!((stats.outstanding_messages, stats.acked), (0, 2), "who has done 3 is believed");
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(sequences(&ready(&mut session).await), [2, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_release_with_a_delay_counts_nothing_and_waits() {
    let fixture = by_key(2, 1, 3).await;
    let (mut session, _) = fixture.consume(attach("a", 100)).await;
    let held = ready(&mut session).await;
    say(&mut session, &held[0], Verdict::Release { delay: Some(5 * SECOND) });
    assert!(ready(&mut session).await.is_empty());
    let explained = fixture.broker.explain(&super::work::home(), &super::work::name(), tilde::model::Sequence(1)).await;
    assert!(explained.unwrap().sentence.contains("gave it back"));
    tokio::time::sleep(5 * SECOND).await;
    let again = ready(&mut session).await;
    assert_eq!((sequences(&again), again[0].attempt, again[1].attempt), (vec![1, 2], 1, 1));
}

#[tokio::test(start_paused = true)]
async fn keys_are_shared_among_consumers_and_those_of_who_goes_move() {
    let fixture = by_key(50, 40, 400).await;
    let (mut first, _) = fixture.consume(attach("a", 1_000)).await;
    let (mut second, _) = fixture.consume(attach("b", 1_000)).await;
    let keys = |held: &[Delivery]| sequences(held).iter().map(|n| (n - 1) % 40).collect::<BTreeSet<_>>();
    let (a, b) = (ready(&mut first).await, ready(&mut second).await);
    assert_eq!(a.len() + b.len(), 400);
    assert!(keys(&a).is_disjoint(&keys(&b)));
    assert!(keys(&a).len() > 5 && keys(&b).len() > 5, "{} and {}", keys(&a).len(), keys(&b).len());
    drop(first);
    // That so much failed at once has tripped the subscription, until one is done.
    assert!(ready(&mut second).await.is_empty());
    say(&mut second, &b[0], Verdict::Ack);
    let moved = ready(&mut second).await;
    assert_eq!((keys(&moved), moved.len()), (keys(&a), a.len()));
}

/// What consumers have, as they must.
struct Scene {
    per_key: usize,
    keys: u64,
    messages: u64,
    settled: BTreeSet<u64>,
    /// Who has which, by which lease.
    out: BTreeMap<u64, (usize, u32)>,
    held: Vec<(usize, Delivery)>,
}

impl Scene {
    fn of_key(&self, key: u64) -> impl Iterator<Item = u64> {
        (1..=self.messages).filter(move |sequence| sequence % self.keys == key)
    }

    fn take(&mut self, consumer: usize, delivery: Delivery) {
        let sequence = sequence(&delivery);
        let key = sequence % self.keys;
        let out: Vec<_> = self.out.iter().filter(|(out, _)| *out % self.keys == key).collect();
        assert!(out.iter().all(|(_, (holder, _))| *holder == consumer), "two consumers have key {key}");
        assert!(out.len() < self.per_key, "of key {key}");
        let open = self.of_key(key).filter(|sequence| !self.settled.contains(sequence));
        let before: Vec<_> = open.take_while(|open| *open != sequence).collect();
        assert_eq!(before, out.iter().map(|(out, _)| **out).collect::<Vec<_>>(), "of key {key}, then {sequence}");
        self.out.insert(sequence, (consumer, lease(&delivery)));
        self.held.push((consumer, delivery));
    }

    fn come_back(&mut self, sequence: u64) {
        let keys = self.keys;
        self.out.retain(|out, _| *out < sequence || *out % keys != sequence % keys);
    }

    fn leave(&mut self, consumer: usize) {
        self.out.retain(|_, (holder, _)| *holder != consumer);
        self.held.retain(|(holder, _)| *holder != consumer);
    }

    fn say(&mut self, session: &mut Session, delivery: &Delivery, verdict: Verdict) {
        let sequence = sequence(delivery);
        say(session, delivery, verdict);
        let now = self.out.get(&sequence).map(|(_, now)| *now == lease(delivery));
        match (verdict, now) {
            // Who was handed it before is believed, as long as nobody has it now.
            (Verdict::Ack, Some(true) | None) => {
                self.settled.insert(sequence);
                self.out.remove(&sequence);
            }
            (Verdict::Ack, Some(false)) => {}
            (_, Some(true)) => self.come_back(sequence),
            _ => {}
        }
    }
}

fn lease(delivery: &Delivery) -> u32 {
    delivery.ack_id.unwrap().lease
}

/// Within a key nothing overtakes, whatever fails and whoever comes and goes.
async fn in_order(seed: u64, per_key: u32) {
    const KEYS: u64 = 5;
    const MESSAGES: u64 = 100;
    let fixture = by_key(per_key, KEYS, MESSAGES).await;
    let (settled, out, held) = Default::default();
    let mut scene = Scene { per_key: per_key as usize, keys: KEYS, messages: MESSAGES, settled, out, held };
    let mut dice = crate::support::dice::Dice::of(seed);
    let mut sessions = Vec::new();
    for consumer in 0..3 {
        sessions.push(fixture.consume(attach(&format!("c{consumer}"), 10)).await.0);
    }
    let mut steps = 0;
    while scene.settled.len() < MESSAGES as usize {
        steps += 1;
        assert!(steps < 20_000, "{:?} of {MESSAGES} are settled", scene.settled.len());
        let at = dice.roll(3) as usize;
        match dice.roll(30) {
            0 => {
                scene.leave(at);
                sessions[at] = fixture.consume(attach(&format!("c{at}"), 10)).await.0;
            }
            1..10 => {
                let wait = Duration::from_millis(1 + dice.roll(500));
                if let Ok(event) = timeout(wait, consumed(&mut sessions[at])).await {
                    event.deliveries.into_iter().for_each(|delivery| scene.take(at, delivery));
                }
            }
            _ if scene.held.is_empty() => {}
            _ => {
                let (holder, delivery) = scene.held.swap_remove(dice.roll(scene.held.len() as u64) as usize);
                let delay = Some(Duration::from_millis(dice.roll(2_000)));
                let verdict = match dice.roll(8) {
                    0 => Verdict::Nack { delay },
                    1 => Verdict::Release { delay },
                    2 => Verdict::Release { delay: None },
                    _ => Verdict::Ack,
                };
                scene.say(&mut sessions[holder], &delivery, verdict);
            }
        }
    }
    assert_eq!(fixture.stats().await.backlog_messages, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn within_a_key_nothing_overtakes_though_several_are_out(seed: u64, per_key in 2..12u32) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(in_order(seed, per_key));
    }
}
