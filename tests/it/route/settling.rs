//! `tilde route`: when events are settled, and what a crash, a stop and another router make of them.

use rustix::process::Signal;

use super::support::*;
use crate::support::{Tilde, ports::free_address};

#[test]
fn events_are_settled_by_the_batch() {
    let broker = registered();
    let maker = Maker::of(&broker);
    let router = Router::start(&broker, "r-1", &["--batch-size-to-commit-offsets", "5", "--commit-interval", "1h"]);
    let event = |n: usize| maker.event("7", ["finance", "marketing"][n % 2], &n.to_string());
    publish(&broker, (0..4).map(event));
    router.delivers(4);
    assert_eq!(router.measure("committed_events_total"), 0);
    assert_eq!((&stats(&broker)["acked"], &stats(&broker)["backlog_messages"]), (&0.into(), &4.into()));
    publish(&broker, [event(4)]);
    router.counts("committed_events_total", 5);
    assert_eq!((&stats(&broker)["acked"], &stats(&broker)["backlog_messages"]), (&5.into(), &0.into()));
    let source = lying(&broker, SOURCE);
    for (key, last) in [("7:FINANCE", 4), ("7:MARKETING", 3)] {
        let sequence = source[last]["sequence"].as_u64().unwrap();
        assert_eq!(router.measure(&format!("committed_sequence{{ordering_key=\"{key}\"}}")), sequence + 1, "{key}");
    }
}

#[test]
fn fewer_than_a_batch_are_settled_in_time() {
    let broker = registered();
    let maker = Maker::of(&broker);
    let flags = ["--batch-size-to-commit-offsets", "100", "--commit-interval", "50ms"];
    let router = Router::start(&broker, "r-1", &flags);
    publish(&broker, (0..3).map(|n| maker.event("7", "finance", &n.to_string())));
    router.counts("committed_events_total", 3);
    assert_eq!(stats(&broker)["acked"], 3);
}

#[test]
fn what_was_sent_on_and_not_settled_comes_again_after_a_crash() {
    let broker = registered();
    let maker = Maker::of(&broker);
    let event = |n: usize| maker.event(&(n % 4).to_string(), "finance", &n.to_string());
    let router = Router::start(&broker, "r-1", &NEVER);
    publish(&broker, (0..50).map(event));
    router.delivers(50);
    router.kill();
    assert_eq!((&stats(&broker)["acked"], lying(&broker, "finance").len()), (&0.into(), 50));
    publish(&broker, (50..60).map(event));
    let _router = Router::start(&broker, "r-2", &[]);
    settled(&broker);
    let routed = routed(&broker, "finance");
    for (key, numbers) in numbers(&routed) {
        let origin: usize = key.split(':').next().unwrap().parse().unwrap();
        assert_eq!(firsts(&numbers), (0..60).filter(|n| n % 4 == origin).collect::<Vec<_>>(), "{key}");
    }
    assert_eq!(routed.len(), 110, "all that was not settled came again, and nothing else");
}

#[test]
fn whoever_is_stopped_finishes_what_it_has() {
    let broker = registered();
    let maker = Maker::of(&broker);
    let flow = Flow::start(&broker, move |n| maker.event(&(n % 4).to_string(), "finance", &n.to_string()));
    for signal in [Signal::INT, Signal::TERM, Signal::INT] {
        let router = Router::start(&broker, "r-1", &NEVER);
        router.delivers(50);
        router.signal(signal);
        let told = router.wait();
        assert_eq!(told.stderr, "");
        assert!(told.text().contains("stopping: "));
        assert_eq!(stats(&broker)["consumers"], 0);
    }
    let count = flow.stop();
    let router = Router::start(&broker, "r-1", &[]);
    settled(&broker);
    router.stop();
    let mut all: Vec<usize> = Vec::new();
    let routed = routed(&broker, "finance");
    for (key, numbers) in numbers(&routed) {
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
        all.extend(numbers);
    }
    all.sort_unstable();
    assert_eq!(all, (0..count).collect::<Vec<_>>(), "each is there once");
}

#[test]
fn routers_share_the_work_and_take_over() {
    const KEYS: usize = 20;
    let broker = registered();
    let maker = Maker::of(&broker);
    let routers = ["r-1", "r-2"].map(|id| Router::start(&broker, id, &["--batch-size-to-commit-offsets", "10"]));
    let flow = Flow::start(&broker, move |n| maker.event(&(n % KEYS).to_string(), "finance", &(n / KEYS).to_string()));
    routers.iter().for_each(|router| {
        router.counts("processed_events_total", 40);
    });
    let [killed, left] = routers;
    killed.kill();
    // Until the one that is left has settled events of every key, those of the dead one among them.
    let keys = || left.measures().keys().filter(|name| name.starts_with("tilde_route_committed_sequence")).count();
    until("every key is taken over", keys, |keys| *keys == KEYS);
    let count = flow.stop();
    settled(&broker);
    let routed = routed(&broker, "finance");
    assert!(["r-1", "r-2"].iter().all(|id| routed.iter().any(|event| event.processor == **id)));
    let numbers = numbers(&routed);
    assert_eq!(numbers.len(), KEYS);
    for (key, numbers) in numbers {
        let origin: usize = key.split(':').next().unwrap().parse().unwrap();
        let expected: Vec<_> = (0..count).filter(|n| n % KEYS == origin).map(|n| n / KEYS).collect();
        assert_eq!(firsts(&numbers), expected, "{key}");
    }
}

#[test]
fn a_broker_that_dies_and_comes_back_loses_nothing() {
    let place = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut broker = Tilde::start_in(place.path(), &["--listen", &address]);
    register_both(&broker);
    let maker = Maker::of(&broker);
    let event = |n: usize| maker.event(&(n % 4).to_string(), "finance", &n.to_string());
    let mut router = Router::start(&broker, "r-1", &["--batch-size-to-commit-offsets", "7"]);
    for round in 0..3 {
        publish(&broker, (round * 500..(round + 1) * 500).map(event));
        router.delivers(round as u64 * 500 + 50);
        broker.kill();
        router.says("disconnected: ");
        broker = Tilde::start_in(place.path(), &["--listen", &address]);
        router.says("connected again");
    }
    settled(&broker);
    let routed = routed(&broker, "finance");
    for (key, numbers) in numbers(&routed) {
        let origin: usize = key.split(':').next().unwrap().parse().unwrap();
        assert_eq!(firsts(&numbers), (0..1_500).filter(|n| n % 4 == origin).collect::<Vec<_>>(), "{key}");
    }
}
