//! What the operator sees: counters for Prometheus, and the process's log. Labels name namespaces, never topics.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use crate::model::NamespaceName;

/// The counters of the process.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<ByNamespace>>);

type ByNamespace = BTreeMap<NamespaceName, Arc<NamespaceMetrics>>;

/// The counters of one namespace.
#[derive(Debug, Default)]
pub struct NamespaceMetrics {
    /// Messages that were taken.
    pub published_messages: Counter,
    /// Their encoded bytes.
    pub published_bytes: Counter,
    /// Publishes that were refused.
    pub refused_messages: Counter,
    /// Payloads that were not as their schema says, and taken or refused.
    pub schema_violations: Counter,
    /// Messages handed to live streams.
    pub delivered_messages: Counter,
    /// Their encoded bytes.
    pub delivered_bytes: Counter,
    /// Messages that filters were asked about.
    pub filtered_messages: Counter,
    /// Open live streams.
    pub streams: Gauge,
    /// Calls that got their replies.
    pub answered_calls: Counter,
    /// Calls that got none.
    pub unanswered_calls: Counter,
    /// Calls that wait.
    pub waiting_calls: Gauge,
}

/// One metric: its name (the format adds `_total` to counters), what it says, and where it is kept.
type Metric = (&'static str, &'static str, fn(&NamespaceMetrics) -> &dyn AnyMetric);

/// What is told of every namespace.
const METRICS: &[Metric] = &[
    ("published_messages", "Messages that were taken", |of| &of.published_messages),
    ("published_bytes", "Encoded bytes of the messages that were taken", |of| &of.published_bytes),
    ("refused_messages", "Publishes that were refused", |of| &of.refused_messages),
    ("schema_violations", "Payloads that were not as their schema says, taken with a warning or refused", |of| {
        &of.schema_violations
    }),
    ("delivered_messages", "Messages handed to live streams", |of| &of.delivered_messages),
    ("delivered_bytes", "Encoded bytes of the messages handed to live streams", |of| &of.delivered_bytes),
    ("filtered_messages", "Messages that filters were asked about", |of| &of.filtered_messages),
    ("streams", "Open live streams", |of| &of.streams),
    ("answered_calls", "Calls that got their replies", |of| &of.answered_calls),
    ("unanswered_calls", "Calls that got no reply", |of| &of.unanswered_calls),
    ("waiting_calls", "Calls that wait for a reply", |of| &of.waiting_calls),
];

impl Metrics {
    /// The counters of a namespace; they appear with the first call and go with [`Metrics::forget`].
    pub fn namespace(&self, name: &NamespaceName) -> Arc<NamespaceMetrics> {
        self.by_namespace().entry(name.clone()).or_default().clone()
    }

    /// Takes a deleted namespace's counters out.
    pub fn forget(&self, name: &NamespaceName) {
        self.by_namespace().remove(name);
    }

    /// All of it as Prometheus text.
    pub fn render(&self) -> String {
        let mut registry = Registry::with_prefix("tilde");
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        text::encode(&mut text, &registry).expect("a string takes all that is written to it");
        text
    }

    fn by_namespace(&self) -> MutexGuard<'_, ByNamespace> {
        self.0.lock().expect("nobody panics while holding the counters")
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let namespaces = self.by_namespace().clone();
        for (name, help, of) in METRICS {
            let Some(first) = namespaces.values().next() else { break };
            let mut family = encoder.encode_descriptor(name, help, None, of(first).kind())?;
            for (namespace, metrics) in &namespaces {
                of(metrics).write(family.encode_family(&[("namespace", namespace.as_str())])?)?;
            }
        }
        Ok(())
    }
}

/// A metric of any kind.
trait AnyMetric {
    fn kind(&self) -> prometheus_client::metrics::MetricType;
    fn write(&self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result;
}

impl<M: EncodeMetric> AnyMetric for M {
    fn kind(&self) -> prometheus_client::metrics::MetricType {
        self.metric_type()
    }

    fn write(&self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result {
        self.encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_namespace_has_its_own_lines_until_it_is_forgotten() {
        let metrics = Metrics::default();
        let (a, b) = (NamespaceName::parse("a").unwrap(), NamespaceName::parse("b").unwrap());
        metrics.namespace(&a).published_messages.inc_by(3);
        metrics.namespace(&a).published_messages.inc();
        metrics.namespace(&b).streams.inc();
        let text = metrics.render();
        assert!(text.contains("tilde_published_messages_total{namespace=\"a\"} 4\n"), "{text}");
        assert!(text.contains("tilde_streams{namespace=\"b\"} 1\n"), "{text}");
        assert_eq!(text.matches("# TYPE tilde_streams gauge").count(), 1);
        metrics.forget(&b);
        assert!(!metrics.render().contains("\"b\""));
    }
}
