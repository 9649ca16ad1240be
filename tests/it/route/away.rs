//! `tilde route`: a broker or a registry that is not there, and what can be read of a router from outside.

use super::support::*;
use crate::support::{Tilde, plain::ask, ports::free_address, proxy::Proxy, run, running::Running, tilde};

#[test]
fn a_broker_that_is_away_at_the_start_is_waited_for() {
    let place = tempfile::tempdir().unwrap();
    let address = free_address();
    let broker = Tilde::start_in(place.path(), &["--listen", &address]);
    register_both(&broker);
    broker.stop();
    let command = |within| {
        let flags = ["--broker", &address, "--start-within", within, "--destination-configurations", TWO];
        let common = ["route", "--processor-id", "r-1", "--source-topic", SOURCE, "--group-id", GROUP];
        tilde(place.path(), &[&common[..], &flags].concat())
    };
    let told = run(command("300ms"), None).told(1);
    let why = format!("cannot reach a broker at http://{address}: ");
    assert!(told.starts_with(&format!("waiting for up to 300ms: {why}")), "{told}");
    assert!(told.contains(&format!("\nerror: {why}")), "{told}");
    let mut given_up = Running::spawn(command("60s"));
    given_up.told("waiting for up to 1m: ");
    assert_eq!(given_up.stop().text(), "", "nobody has to wait for it");
    let mut router = Running::spawn(command("60s"));
    router.told(&format!("waiting for up to 1m: {why}"));
    let broker = Tilde::start_in(place.path(), &["--listen", &address]);
    assert_eq!(router.line(), format!("r-1 routes {SOURCE} as {GROUP}"));
    publish(&broker, [Maker::of(&broker).event("7", "finance", "0")]);
    arrived(&broker, "finance", 1);
    router.stop().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_is_waited_for_at_the_start_and_later() {
    let broker = registered();
    let proxy = Proxy::to(&broker.url).await;
    proxy.down(true);
    let url = format!("{}/schema-registry", proxy.url);
    let flags = ["--schema-registry-url", &url, "--destination-configurations", TWO];
    let told = run(command(&broker, "r-1", &[&flags[..], &["--start-within", "300ms"]].concat()), None).told(1);
    let why = format!("cannot reach the schema registry at {url}");
    assert!(told.starts_with(&format!("waiting for up to 300ms: {why}")), "{told}");
    assert!(told.contains(&format!("\nerror: {why}")), "{told}");
    let mut waiting = Running::spawn(command(&broker, "r-1", &flags));
    waiting.told(&format!("waiting for up to 30s: {why}"));
    proxy.down(false);
    assert_eq!(waiting.line(), format!("r-1 routes {SOURCE} as {GROUP}"));
    waiting.stop().ok();
    // A schema that is not the one of the beginning is asked for when the first event of it has come.
    let mut router = Router::with(&broker, "r-1", &flags);
    proxy.down(true);
    proxy.cut();
    let next = schema("producer-to-processor.avsc").replace(r#""payload","#, r#""payload", "doc": "any text","#);
    register(&broker, INPUT, &next);
    let maker = Maker::of(&broker);
    publish(&broker, (0..20).map(|n| maker.event("7", "finance", &n.to_string())));
    router.says("the registry cannot be reached: ");
    // What comes back keeps its order: none of its key is handed out before it.
    router.counts("processed_events_total", 3);
    assert_eq!(lying(&broker, "finance").len(), 0);
    proxy.down(false);
    router.says("the registry can be reached again");
    settled(&broker);
    assert_eq!(numbers(&routed(&broker, "finance"))["7:FINANCE"], (0..20).collect::<Vec<_>>());
    assert_eq!(lying(&broker, &format!("$dead/{GROUP}")).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_loses_nothing() {
    let broker = registered();
    let proxy = Proxy::to(&broker.url).await;
    let mut router = Router::start(&broker, "r-1", &["--broker", &proxy.url, "--batch-size-to-commit-offsets", "7"]);
    let maker = Maker::of(&broker);
    let flow = Flow::start(&broker, move |n| maker.event("7", "finance", &n.to_string()));
    for round in 1..=3 {
        router.delivers(50 * round);
        proxy.cut();
        router.says("disconnected: ");
        router.says("connected again");
    }
    let count = flow.stop();
    settled(&broker);
    assert_eq!(firsts(&numbers(&routed(&broker, "finance"))["7:FINANCE"]), (0..count).collect::<Vec<_>>());
}

#[test]
fn all_that_counts_can_be_read() {
    let broker = registered();
    let maker = Maker::of(&broker);
    let router = Router::start(&broker, "r-1", &["--batch-size-to-commit-offsets", "6", "--commit-interval", "1h"]);
    publish(&broker, (0..4).map(|n| maker.event("7", ["finance", "marketing"][n % 2], "p")));
    publish(&broker, [maker.event("7", "nowhere", "p")]);
    router.delivers(4);
    router.counts("dead_lettered_events_total{reason=\"destination\"}", 1);
    until("the dead one is settled", || router.measure("lag_events"), |waiting| *waiting == 4);
    let check = |delivered: f64, committed: f64| {
        let measures = router.measures();
        for (name, value) in [
            ("delivered_events_total{destination=\"FINANCE\"}", delivered),
            ("delivered_events_total{destination=\"MARKETING\"}", delivered),
            ("in_flight_events{destination=\"FINANCE\"}", 0.0),
            ("committed_events_total", committed),
            ("uncommitted_events_total", 0.0),
            ("untold_events_total", 0.0),
        ] {
            assert_eq!(measures.get(&format!("tilde_route_{name}")), Some(&value), "{name}");
        }
    };
    check(2.0, 0.0);
    assert_eq!(router.measure("processed_events_total"), 5);
    publish(&broker, ["finance", "marketing"].map(|destination| maker.event("7", destination, "p")));
    router.counts("committed_events_total", 6);
    check(3.0, 6.0);
    let measures = router.measures();
    assert!(
        measures["tilde_route_lag_seconds_sum"] >= 0.0 && measures["tilde_route_process_resident_memory_bytes"] > 0.0
    );
    assert_eq!(measures["tilde_route_lag_seconds_count"], 6.0);
    assert_eq!(router.measure("lag_events"), 0);
    let sequence = lying(&broker, SOURCE)[5]["sequence"].as_u64().unwrap();
    assert_eq!(router.measure("committed_sequence{ordering_key=\"7:FINANCE\"}"), sequence + 1);
    assert_eq!(router.measure("committed_sequence{ordering_key=\"7:MARKETING\"}"), sequence + 2);
    assert_eq!(ask("GET", &router.place("/"), &[], &[]).status(), 404);
}
