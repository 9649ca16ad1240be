//! Connections, counted: for the limit and for `/metrics`.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use crate::process;

/// What the edge counts of itself.
#[derive(Debug, Default)]
pub struct Counters {
    open: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
}

/// One open connection; counted until it is dropped.
#[derive(Debug)]
pub struct Open(Arc<Counters>);

impl Counters {
    /// Counts a connection in; none, and counted as refused, if `most` are open already.
    pub fn open(self: &Arc<Self>, most: usize) -> Option<Open> {
        if self.open.fetch_add(1, Relaxed) >= most {
            self.open.fetch_sub(1, Relaxed);
            self.refused.fetch_add(1, Relaxed);
            return None;
        }
        self.accepted.fetch_add(1, Relaxed);
        Some(Open(Arc::clone(self)))
    }

    /// Appends these counters and the process's own to a Prometheus text.
    pub fn render(&self, out: &mut String) {
        let mut put = |name: &str, kind: &str, help: &str, value: &dyn std::fmt::Display| {
            // A counter's sample is named after the counter with `_total` behind it.
            let suffix = if kind == "counter" { "_total" } else { "" };
            writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{suffix} {value}")
                .expect("writing to a string never fails");
        };
        put("tilde_connections_open", "gauge", "Open connections.", &self.open.load(Relaxed));
        put("tilde_connections_accepted", "counter", "Connections taken.", &self.accepted.load(Relaxed));
        put(
            "tilde_connections_refused",
            "counter",
            "Connections closed at once, as too many were open.",
            &self.refused.load(Relaxed),
        );
        if let Some(bytes) = process::resident_bytes() {
            put("process_resident_memory_bytes", "gauge", "Memory that the process takes.", &bytes);
        }
        if let Some(time) = process::cpu_time() {
            put("process_cpu_seconds", "counter", "Processor time that the process used.", &time.as_secs_f64());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back() {
        let counters = Arc::new(Counters::default());
        let first = counters.open(1).unwrap();
        assert!(counters.open(1).is_none());
        drop(first);
        let _second = counters.open(1).unwrap();
        let mut text = String::new();
        counters.render(&mut text);
        for line in
            ["tilde_connections_open 1", "tilde_connections_accepted_total 2", "tilde_connections_refused_total 1"]
        {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
