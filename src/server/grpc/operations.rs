//! The `Operations` service: what this broker is, and how it is stopped.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::convert;
use crate::{
    broker::Broker,
    model::{Result, limits},
    pb::{server::operations_server, v1 as pb},
    process,
    shutdown::Shutdown,
};

/// What a client may rely on beyond the first contract, so that it need not guess from versions.
const FEATURES: [&str; 10] = [
    "atomic_batches",
    "deduplication",
    "deliver_time",
    "expected_last_sequence",
    "filters",
    "message_ttl",
    "publish_stream",
    "purge",
    "subscriptions",
    "transfer",
];

/// The longest that a drain may take: whoever asks for more has mistaken the unit.
const GRACE_MAX: Duration = Duration::from_secs(3600);

/// Tells of the process, and stops it.
#[derive(Clone)]
pub struct OperationsService {
    /// Asked for its engine and its sizes.
    pub broker: Arc<Broker>,
    /// What `Drain` asks.
    pub shutdown: Shutdown,
    /// As configured.
    pub streams_per_connection: u32,
    /// When the edge opened.
    pub started: Instant,
}

#[tonic::async_trait]
impl operations_server::Operations for OperationsService {
    async fn get_server_info(
        &self,
        _: Request<pb::GetServerInfoRequest>,
    ) -> Result<Response<pb::GetServerInfoResponse>, Status> {
        Ok(Response::new(pb::GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            engine: self.broker.engine().name().to_owned(),
            features: FEATURES.map(str::to_owned).to_vec(),
            limits: self.limits(),
            uptime: Some(convert::duration(self.started.elapsed())),
            cpu_time: process::cpu_time().map(convert::duration),
            resident_bytes: process::resident_bytes().unwrap_or_default(),
        }))
    }

    async fn drain(&self, request: Request<pb::DrainRequest>) -> Result<Response<pb::DrainResponse>, Status> {
        let grace = request.into_inner().grace.map(parse_grace).transpose()?;
        tracing::info!(?grace, "asked to drain by a call");
        self.shutdown.request(grace);
        Ok(Response::new(pb::DrainResponse {}))
    }
}

impl OperationsService {
    fn limits(&self) -> BTreeMap<String, u64> {
        let limits = [
            ("message_bytes", self.broker.config().message_bytes as u64),
            ("request_bytes", limits::REQUEST_BYTES as u64),
            ("batch_messages", limits::BATCH_MESSAGES as u64),
            ("patterns", limits::PATTERNS as u64),
            ("filter_bytes", limits::FILTER_BYTES as u64),
            ("last_messages", limits::LAST_MESSAGES.into()),
            ("last_topics", limits::LAST_TOPICS as u64),
            ("streams_per_connection", self.streams_per_connection.into()),
            ("ack_ids", limits::ACK_IDS as u64),
            ("window_messages", limits::WINDOW_MESSAGES.into()),
            ("window_bytes", limits::WINDOW_BYTES),
        ];
        limits.into_iter().map(|(name, most)| (name.to_owned(), most)).collect()
    }
}

fn parse_grace(grace: prost_types::Duration) -> Result<Duration> {
    let grace = convert::parse_duration(grace, "grace")?;
    match grace <= GRACE_MAX {
        true => Ok(grace),
        false => Err(convert::invalid("grace", "is longer than an hour")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_bounded() {
        let seconds = |seconds| prost_types::Duration { seconds, nanos: 0 };
        assert_eq!(parse_grace(seconds(0)).unwrap(), Duration::ZERO);
        assert_eq!(parse_grace(seconds(3601)).unwrap_err().violated_field(), Some("grace"));
    }
}
