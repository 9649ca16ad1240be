//! `tilde route`: what comes out of what goes in.

use tilde::model::limits::MESSAGE_BYTES;

use super::support::*;
use crate::support::{Tilde, finish};

/// Produces as the sample producer does.
fn produce<'a>(origin: &'a str, destinations: &[&'a str], count: &'a str) -> Vec<&'a str> {
    let begin = ["events", "--target-topic", SOURCE, "--origin-service-type", "Ledger", "--origin-service-id", origin];
    [&begin[..], &["--list-of-destinations"], destinations, &["--amount-of-messages", count]].concat()
}

#[test]
fn an_event_goes_to_its_destination_with_all_that_it_says() {
    let broker = registered();
    let before = now();
    publish(&broker, [Maker::of(&broker).event("123456", "FINANCE", "a payload")]);
    let router = Router::start(&broker, "r-1", &[]);
    let routed = arrived(&broker, "finance", 1);
    let Routed { happened, processed, id: of, .. } = routed[0];
    let expected = Routed {
        key: "123456:FINANCE".into(),
        id: id(&broker, "finance-value"),
        producer: "123456".into(),
        processor: "r-1".into(),
        destination: "FINANCE".into(),
        happened,
        processed,
        payload: "a payload".into(),
    };
    assert_eq!((routed.as_slice(), of), (&[expected][..], id(&broker, OUTPUT)));
    assert!(before <= happened && happened <= processed && processed <= now(), "{before} {happened} {processed}");
    settled(&broker);
    assert_eq!(lying(&broker, "marketing").len(), 0);
    assert!(!lying(&broker, "finance")[0].to_string().contains("Ledger"));
    router.stop();
}

#[test]
fn a_destination_is_the_same_in_whatever_case() {
    let broker = registered();
    let _router = Router::start(&broker, "r-1", &[]);
    broker.run(&produce("123456", &["marketing"], "1")).ok();
    assert_eq!(arrived(&broker, "marketing", 1)[0].key, "123456:MARKETING");
    let maker = Maker::of(&broker);
    publish(&broker, ["finance", "FINANCE", "fiNance"].map(|destination| maker.event("7", destination, destination)));
    let routed = arrived(&broker, "finance", 3);
    assert!(routed.iter().all(|event| (event.key.as_str(), event.destination.as_str()) == ("7:FINANCE", "FINANCE")));
    let payloads: Vec<_> = routed.iter().map(|event| event.payload.as_str()).collect();
    assert_eq!(payloads, ["finance", "FINANCE", "fiNance"]);
}

#[test]
fn events_in_turn_are_shared_between_their_destinations() {
    let broker = registered();
    let _router = Router::start(&broker, "r-1", &[]);
    broker.run(&produce("123456", &["FINANCE", "marketing"], "8")).ok();
    let shared = ["finance", "marketing"].map(|topic| arrived(&broker, topic, 4));
    settled(&broker);
    assert_eq!(["finance", "marketing"].map(|topic| lying(&broker, topic).len()), [4, 4]);
    // Payload by payload.
    let [finance, marketing] =
        shared.map(|routed| routed.iter().map(|event| event.payload.clone()).collect::<Vec<_>>());
    assert!(finance.iter().all(|payload| payload.starts_with("dummy-payload ") && !marketing.contains(payload)));
}

#[test]
fn two_producers_at_the_same_time_need_no_pause() {
    let broker = registered();
    let router = Router::start(&broker, "r-1", &["--batch-size-to-commit-offsets", "20", "--commit-interval", "1h"]);
    let producing =
        ["1", "2"].map(|origin| broker.command(&produce(origin, &["FINANCE", "marketing"], "100")).spawn().unwrap());
    producing.into_iter().for_each(|child| drop(finish(child).ok()));
    for (topic, destination) in [("finance", "FINANCE"), ("marketing", "MARKETING")] {
        let routed = arrived(&broker, topic, 100);
        let of = |origin: &str| routed.iter().filter(|event| event.key == format!("{origin}:{destination}")).count();
        assert_eq!((of("1"), of("2"), routed.len()), (50, 50, 100), "{topic}");
    }
    // A multiple of the batch.
    router.counts("committed_events_total", 200);
    assert_eq!(stats(&broker)["backlog_messages"], 0);
}

#[test]
fn events_of_a_producer_come_out_in_order() {
    let broker = registered();
    let maker = Maker::of(&broker);
    let count = 3_000;
    let _router = Router::start(&broker, "r-1", &["--batch-size-to-commit-offsets", "7"]);
    let event = |n: usize| maker.event(&(n % 3).to_string(), ["finance", "MARKETING"][n % 2], &n.to_string());
    publish(&broker, (0..count).map(event));
    for (at, topic) in ["finance", "marketing"].into_iter().enumerate() {
        let routed = arrived(&broker, topic, count / 2);
        let numbers = numbers(&routed);
        assert_eq!(numbers.len(), 3);
        for (key, numbers) in numbers {
            let origin: usize = key.split(':').next().unwrap().parse().unwrap();
            let expected: Vec<_> = (0..count).filter(|n| (n % 2, n % 3) == (at, origin)).collect();
            assert_eq!(numbers, expected, "{key}");
        }
    }
}

/// What lies with the dead letters: in what they came, and why they are there.
fn dead(broker: &Tilde) -> Vec<String> {
    let reason = |letter: &serde_json::Value| letter["attributes"]["tilde-reason"].as_str().unwrap().to_owned();
    lying(broker, &format!("$dead/{GROUP}")).iter().map(reason).collect()
}

#[test]
fn what_cannot_be_routed_goes_to_the_dead_letters_and_the_next_goes_on() {
    let broker = registered();
    let other = r#"{"type":"record","name":"Other","fields":[{"name":"cents","type":"long"}]}"#;
    register(&broker, "other-value", other);
    let (maker, key) = (Maker::of(&broker), "7:FINANCE");
    let good = |n: usize| maker.event("7", "FINANCE", &n.to_string());
    let bad = [
        maker.event("7", "nowhere", "p"),
        keyed(framed(id(&broker, INPUT), &[0x7f, 0xff]), key),
        keyed(b"hello".to_vec(), key),
        keyed(Vec::new(), key),
        keyed(framed(999, &[2]), key),
        keyed(framed(id(&broker, "other-value"), &[2]), key),
    ];
    let count = bad.len();
    let mut router = Router::start(&broker, "r-1", &[]);
    publish(&broker, bad.into_iter().enumerate().flat_map(|(n, bad)| [bad, good(n)]));
    let routed = arrived(&broker, "finance", count);
    assert_eq!(numbers(&routed)[key], (0..count).collect::<Vec<_>>());
    settled(&broker);
    let told = dead(&broker);
    let mut expected = vec![
        "no destination \"NOWHERE\" is configured".to_owned(),
        format!("it is not as schema {} says: ", id(&broker, INPUT)),
        "it does not say by which schema it was written".to_owned(),
        "it does not say by which schema it was written".to_owned(),
        "has no schema with the id 999".to_owned(),
        format!("the schema with the id {} is not that of such events: ", id(&broker, "other-value")),
    ];
    for reason in &told {
        let at = expected.iter().position(|part| reason.contains(part)).unwrap_or_else(|| panic!("{reason}"));
        expected.remove(at);
    }
    assert!(expected.is_empty(), "{expected:?} in {told:?}");
    for (reason, count) in [("destination", 1), ("payload", 3), ("schema", 2)] {
        assert_eq!(router.measure(&format!("dead_lettered_events_total{{reason=\"{reason}\"}}")), count, "{reason}");
    }
    let line = router.says("[INVALID] event 1: no destination \"NOWHERE\" is configured");
    assert!(line.contains("r-1"), "{line}");
}

#[test]
fn an_event_that_is_too_large_to_be_sent_on_holds_up_no_other() {
    let broker = registered();
    let maker = Maker::of(&broker);
    // It fits into a message as it comes, and no longer with the name of this router.
    let large = "p".repeat(MESSAGE_BYTES - 170);
    let payloads = ["0", "1", &large, "2", "3", &large, "4"];
    publish(&broker, payloads.map(|payload| maker.event("7", "finance", payload)));
    let router = Router::start(&broker, &"r".repeat(250), &[]);
    settled(&broker);
    assert_eq!(numbers(&routed(&broker, "finance"))["7:FINANCE"], [0, 1, 2, 3, 4]);
    let told = dead(&broker);
    assert!(told.len() == 2 && told.iter().all(|reason| reason.contains("MESSAGE_TOO_LARGE")), "{told:?}");
    assert_eq!(router.measure("dead_lettered_events_total{reason=\"message\"}"), 2);
}

#[test]
fn an_event_may_have_happened_at_any_time() {
    let broker = registered();
    let maker = Maker::of(&broker);
    let _router = Router::start(&broker, "r-1", &[]);
    let times = [i64::MIN, i64::MAX, -1, 0];
    publish(&broker, times.map(|time| maker.event_at(time, "7", "FINANCE", &time.to_string())));
    arrived(&broker, "finance", times.len());
    settled(&broker);
}

#[test]
fn many_that_cannot_be_routed_hold_up_no_other() {
    let broker = registered();
    let maker = Maker::of(&broker);
    publish(&broker, (0..300).map(|n| maker.event(&n.to_string(), "NOWHERE", "p")));
    publish(&broker, [maker.event("7", "FINANCE", "p")]);
    let _router = Router::start(&broker, "r-1", &["--max-in-flight", "10"]);
    arrived(&broker, "finance", 1);
    settled(&broker);
    assert_eq!(dead(&broker).len(), 300);
}
