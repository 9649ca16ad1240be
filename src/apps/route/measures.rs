//! What a router counts, as Prometheus text. Clones count together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use prometheus_client::{
    encoding::text,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::process;

/// Keys whose position is told. Those that come later are counted, and not told: each is a row of its own.
const KEYS: usize = 10_000;

type Label = [(&'static str, Arc<str>); 1];

/// Counters of the process.
#[derive(Clone, Debug)]
pub struct Measures(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    processed: Counter,
    delivered: Family<Label, Counter>,
    returned: Family<Label, Counter>,
    dead_lettered: Family<[(&'static str, &'static str); 1], Counter>,
    committed: Counter,
    uncommitted: Counter,
    lag: Histogram,
    backlog: Gauge,
    in_flight: Family<Label, Gauge>,
    refuses: Family<Label, Gauge>,
    resident: Gauge,
    positions: Family<Label, Gauge>,
    /// Those of keys that are told.
    known: Mutex<HashMap<Arc<str>, Gauge>>,
    untold: Counter,
}

/// Why an event was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead {
    /// Nobody configured its destination.
    Destination,
    /// What it was written with is not known, or of no use.
    Schema,
    /// It is not as its schema says.
    Payload,
    /// The broker takes no such message.
    Message,
}

impl Measures {
    /// All zero.
    pub fn new() -> Self {
        let mut inner = Inner {
            registry: Registry::with_prefix("tilde_route"),
            processed: Counter::default(),
            delivered: Family::default(),
            returned: Family::default(),
            dead_lettered: Family::default(),
            committed: Counter::default(),
            uncommitted: Counter::default(),
            lag: Histogram::new(exponential_buckets(0.001, 2.0, 20)),
            backlog: Gauge::default(),
            in_flight: Family::default(),
            refuses: Family::default(),
            resident: Gauge::default(),
            positions: Family::default(),
            known: Mutex::default(),
            untold: Counter::default(),
        };
        let registry = &mut inner.registry;
        registry.register("processed_events", "Events that were read from the source", inner.processed.clone());
        let what = "Events that are durable at their destination";
        registry.register("delivered_events", what, inner.delivered.clone());
        let what = "Events that went back to the source, as their destination did not take them";
        registry.register("returned_events", what, inner.returned.clone());
        let what = "Events that went to the dead letters, by what is wrong with them";
        registry.register("dead_lettered_events", what, inner.dead_lettered.clone());
        let what = "Events that are settled, as the broker has confirmed";
        registry.register("committed_events", what, inner.committed.clone());
        let what = "Events that were sent on and could not be settled: they come again";
        registry.register("uncommitted_events", what, inner.uncommitted.clone());
        let what = "From what an event says of its time to when it was sent on";
        registry.register("lag_seconds", what, inner.lag.clone());
        let what = "Events of the source that are not settled: where they are many, at most so many";
        registry.register("lag_events", what, inner.backlog.clone());
        let what = "Events that are on their way to their destination";
        registry.register("in_flight_events", what, inner.in_flight.clone());
        let what = "Whether a destination takes nothing just now";
        registry.register("destination_refuses", what, inner.refuses.clone());
        let what = "Of each ordering key the sequence behind its last event that is settled";
        registry.register("committed_sequence", what, inner.positions.clone());
        let what = "Events that are settled, of keys beyond the first 10000, whose committed_sequence is not told";
        registry.register("untold_events", what, inner.untold.clone());
        registry.register("process_resident_memory_bytes", "Memory that the process takes", inner.resident.clone());
        Measures(Arc::new(inner))
    }

    /// Events came in.
    pub fn processed(&self, events: u64) {
        self.0.processed.inc_by(events);
    }

    /// Events are durable where they were sent.
    pub fn delivered(&self, destination: &Arc<str>, events: u64) {
        self.0.delivered.get_or_create(&label("destination", destination)).inc_by(events);
    }

    /// An event is durable so long after it happened.
    pub fn lag(&self, lag: Duration) {
        self.0.lag.observe(lag.as_secs_f64());
    }

    /// Events went back.
    pub fn returned(&self, destination: &Arc<str>, events: u64) {
        self.0.returned.get_or_create(&label("destination", destination)).inc_by(events);
    }

    /// An event was given up.
    pub fn dead_lettered(&self, why: Dead) {
        self.0.dead_lettered.get_or_create(&[("reason", why.as_str())]).inc();
    }

    /// An event is settled.
    pub fn committed(&self, key: &str, sequence: u64) {
        self.0.committed.inc();
        let next = i64::try_from(sequence).unwrap_or(i64::MAX).saturating_add(1);
        let mut known = self.0.known.lock().expect("nobody panics while holding the keys");
        match known.get(key) {
            // What came again may be settled late.
            Some(gauge) if gauge.get() >= next => {}
            Some(gauge) => drop(gauge.set(next)),
            None if known.len() < KEYS => {
                let key: Arc<str> = key.into();
                let gauge = self.0.positions.get_or_create(&label("ordering_key", &key)).clone();
                gauge.set(next);
                known.insert(key, gauge);
            }
            None => drop(self.0.untold.inc()),
        }
    }

    /// A settlement was not taken.
    pub fn uncommitted(&self) {
        self.0.uncommitted.inc();
    }

    /// So many are on their way.
    pub fn in_flight(&self, destination: &Arc<str>, events: usize) {
        let events = i64::try_from(events).unwrap_or(i64::MAX);
        self.0.in_flight.get_or_create(&label("destination", destination)).set(events);
    }

    /// A destination takes nothing, or does again.
    pub fn refuses(&self, destination: &Arc<str>, refuses: bool) {
        self.0.refuses.get_or_create(&label("destination", destination)).set(refuses.into());
    }

    /// A destination is there no longer.
    pub fn forget(&self, destination: &Arc<str>) {
        let label = label("destination", destination);
        self.0.in_flight.remove(&label);
        self.0.refuses.remove(&label);
    }

    /// All of it as text; with how many events wait, if that is known.
    pub fn render(&self, backlog: Option<u64>) -> String {
        if let Some(backlog) = backlog {
            self.0.backlog.set(i64::try_from(backlog).unwrap_or(i64::MAX));
        }
        self.0.resident.set(process::resident_bytes().and_then(|bytes| bytes.try_into().ok()).unwrap_or_default());
        let mut text = String::new();
        text::encode(&mut text, &self.0.registry).expect("a string takes all that is written to it");
        text
    }
}

impl Dead {
    fn as_str(self) -> &'static str {
        match self {
            Dead::Destination => "destination",
            Dead::Schema => "schema",
            Dead::Payload => "payload",
            Dead::Message => "message",
        }
    }
}

fn label(name: &'static str, value: &Arc<str>) -> Label {
    [(name, value.clone())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_told() {
        let measures = Measures::new();
        let finance: Arc<str> = "FINANCE".into();
        measures.processed(3);
        measures.delivered(&finance, 1);
        measures.lag(Duration::from_millis(5));
        measures.returned(&finance, 2);
        measures.dead_lettered(Dead::Schema);
        measures.committed("7:FINANCE", 41);
        measures.committed("7:FINANCE", 12);
        measures.in_flight(&finance, 9);
        measures.refuses(&finance, true);
        let text = measures.render(Some(17));
        for line in [
            "tilde_route_processed_events_total 3",
            "tilde_route_delivered_events_total{destination=\"FINANCE\"} 1",
            "tilde_route_returned_events_total{destination=\"FINANCE\"} 2",
            "tilde_route_dead_lettered_events_total{reason=\"schema\"} 1",
            "tilde_route_committed_events_total 2",
            "tilde_route_committed_sequence{ordering_key=\"7:FINANCE\"} 42",
            "tilde_route_lag_seconds_count 1",
            "tilde_route_lag_events 17",
            "tilde_route_in_flight_events{destination=\"FINANCE\"} 9",
            "tilde_route_destination_refuses{destination=\"FINANCE\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        measures.forget(&finance);
        assert!(!measures.render(None).contains("tilde_route_in_flight_events{"));
    }
}
