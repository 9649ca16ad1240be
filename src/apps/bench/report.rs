//! What a run says in the end: one JSON line. Never judges a figure.

use std::time::Duration;

use serde::Serialize;

use super::{
    latencies::{Latencies, Told},
    usage::Used,
};
use crate::apps::output;

/// One run. `P` are its parameters as they were in effect, and what it counts beside what all count.
#[derive(Debug, Serialize)]
pub struct Report<P> {
    bench: &'static str,
    #[serde(flatten)]
    parameters: P,
    /// What was counted.
    messages: u64,
    seconds: f64,
    /// Messages a second.
    rate: u64,
    #[serde(flatten)]
    latency: Told,
    #[serde(flatten)]
    used: Used,
}

impl<P: Serialize> Report<P> {
    /// So many messages in such a time.
    pub fn new(
        bench: &'static str,
        parameters: P,
        messages: u64,
        took: Duration,
        latencies: &Latencies,
        used: Used,
    ) -> Self {
        let seconds = took.as_secs_f64();
        let rate = rate(messages, took);
        Report { bench, parameters, messages, seconds, rate, latency: latencies.told(), used }
    }

    /// Prints it on a line of its own.
    pub fn print(&self) -> anyhow::Result<()> {
        Ok(output::json(self)?)
    }
}

/// So many a second; of nothing, none.
pub fn rate(count: u64, took: Duration) -> u64 {
    match took.is_zero() {
        true => 0,
        false => (count as f64 / took.as_secs_f64()) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Parameters {
        streams: u32,
    }

    #[test]
    fn one_object_with_all_that_is_promised() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_micros(100));
        let used = Used { broker_cpu_s: 0.5, broker_resident_bytes: 7, client_cpu_s: 0.25 };
        let took = Duration::from_millis(500);
        let report = Report::new("publish", Parameters { streams: 3 }, 1_000, took, &latencies, used);
        let line = serde_json::to_string(&report).unwrap();
        let expected = r#"{"bench":"publish","streams":3,"messages":1000,"seconds":0.5,"rate":2000,"p50_us":100.031,"p99_us":100.031,"p999_us":100.031,"max_us":100.031,"broker_cpu_s":0.5,"broker_resident_bytes":7,"client_cpu_s":0.25}"#;
        assert_eq!(line, expected);
    }

    #[test]
    fn nothing_in_no_time_is_no_rate() {
        assert_eq!(rate(0, Duration::ZERO), 0);
        assert_eq!(rate(10, Duration::from_secs(4)), 2);
    }
}
