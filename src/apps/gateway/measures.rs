//! What the gateway counts, as Prometheus text.

use std::time::Duration;

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

type Label<T> = [(&'static str, T); 1];

/// Counters of the process.
#[derive(Debug)]
pub struct Measures {
    registry: Registry,
    answers: Family<Label<u32>, Counter>,
    seconds: Family<Label<&'static str>, Histogram>,
    sent: Counter,
    waiting: Gauge,
    out: Gauge,
    behind: Gauge,
    threads: Gauge,
    resident: Gauge,
}

/// Who waits, at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Callers.
    pub waiting: usize,
    /// Requests that are out.
    pub out: usize,
    /// Requests that wait for their turn.
    pub behind: usize,
}

impl Measures {
    /// All zero.
    pub fn new() -> Self {
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 17));
        let mut measures = Measures {
            registry: Registry::with_prefix("tilde_gateway"),
            answers: Family::default(),
            seconds: Family::new_with_constructor(buckets),
            sent: Counter::default(),
            waiting: Gauge::default(),
            out: Gauge::default(),
            behind: Gauge::default(),
            threads: Gauge::default(),
            resident: Gauge::default(),
        };
        let Measures { registry, answers, seconds, sent, waiting, out, behind, threads, resident } = &mut measures;
        registry.register("answers", "Callers that were answered, by status; 499 are those that left", answers.clone());
        registry.register("answer_seconds", "From a request to its answer, by how it came", seconds.clone());
        registry.register("broker_requests", "Requests that were sent to the broker", sent.clone());
        registry.register("waiting", "Callers that wait", waiting.clone());
        registry.register("groups", "Requests that are out at the broker", out.clone());
        registry.register("groups_behind", "Requests that wait for their turn", behind.clone());
        registry.register("process_threads", "Threads of the process", threads.clone());
        registry.register("process_resident_memory_bytes", "Memory that the process takes", resident.clone());
        measures
    }

    /// A request goes to the broker.
    pub fn sent(&self) {
        self.sent.inc();
    }

    /// A caller has its answer, or has left.
    pub fn answered(&self, status: u16, how: &'static str, took: Duration) {
        self.answers.get_or_create(&[("code", status.into())]).inc();
        self.seconds.get_or_create(&[("how", how)]).observe(took.as_secs_f64());
    }

    /// All of it as text.
    pub fn render(&self, counts: Counts) -> String {
        let set = |gauge: &Gauge, value: u64| gauge.set(value.try_into().unwrap_or(i64::MAX));
        set(&self.waiting, counts.waiting as u64);
        set(&self.out, counts.out as u64);
        set(&self.behind, counts.behind as u64);
        set(&self.threads, process::threads().unwrap_or_default());
        set(&self.resident, process::resident_bytes().unwrap_or_default());
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("a string takes all that is written to it");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_told() {
        let measures = Measures::new();
        measures.sent();
        measures.answered(504, "shared", Duration::from_secs(2));
        let text = measures.render(Counts { waiting: 7, out: 3, behind: 2 });
        for line in [
            "tilde_gateway_answers_total{code=\"504\"} 1",
            "tilde_gateway_answer_seconds_count{how=\"shared\"} 1",
            "tilde_gateway_broker_requests_total 1",
            "tilde_gateway_waiting 7",
            "tilde_gateway_groups 3",
            "tilde_gateway_groups_behind 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
