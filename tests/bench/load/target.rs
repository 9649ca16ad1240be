//! The broker under load: how to reach it, and what it says or shows of itself. Never starts one (`open` does).

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail};
pub use tilde::apps::durability::Durability;
use tilde::{apps::bench::usage::own_cpu, pb::v1 as pb};
use tonic::transport::{Channel, Endpoint};

/// Where the broker is.
#[derive(clap::Args, Clone, Debug)]
pub struct Target {
    /// The broker's address.
    #[arg(long, default_value = "http://127.0.0.1:7126")]
    pub broker: String,
    /// The broker's process, to read its memory from the system instead of asking it.
    #[arg(long)]
    pub pid: Option<u32>,
    /// What to ask of each publish. The memory engine gives no more than `memory`.
    #[arg(long, env = "LOAD_DURABILITY", default_value = "synced")]
    pub durability: Durability,
}

/// How much a client lets the broker send ahead.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Bytes, on one stream.
    pub stream: u32,
    /// Bytes, on one connection.
    pub connection: u32,
}

impl Window {
    /// For clients that read at full speed.
    pub const LARGE: Window = Window { stream: 1 << 20, connection: 16 << 20 };
    /// HTTP/2's own, which most clients leave as they are.
    pub const ORDINARY: Window = Window { stream: 65_535, connection: 65_535 };
}

/// Frames that hold a whole response are received faster than its parts (tonic's own limit is 16 KiB).
const FRAME_BYTES: u32 = 1 << 20;

/// What the broker uses, and the CPU time that its client took meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// The broker's resident memory.
    pub resident_bytes: u64,
    /// The broker's CPU time since it started; zero if it does not tell it.
    pub broker_cpu: Duration,
    /// The client's CPU time since it started.
    pub client_cpu: Duration,
}

impl Target {
    /// A connection of its own.
    pub async fn connect(&self, window: Window) -> Result<Channel> {
        let endpoint = Endpoint::from_shared(self.broker.clone()).context("--broker wants http://HOST:PORT")?;
        let endpoint = endpoint
            .tcp_nodelay(true)
            .initial_stream_window_size(window.stream)
            .initial_connection_window_size(window.connection)
            .max_frame_size(FRAME_BYTES)
            .buffer_size(64 << 10)
            .connect_timeout(Duration::from_secs(10));
        endpoint.connect().await.with_context(|| format!("no broker answers at {}", self.broker))
    }

    /// So many connections.
    pub async fn connect_many(&self, connections: usize, window: Window) -> Result<Vec<Channel>> {
        let mut channels = Vec::with_capacity(connections);
        for _ in 0..connections {
            channels.push(self.connect(window).await?);
        }
        Ok(channels)
    }

    /// What the broker uses now.
    pub async fn usage(&self) -> Result<Usage> {
        let mut operations = pb::operations_client::OperationsClient::new(self.connect(Window::ORDINARY).await?);
        let info = operations.get_server_info(pb::GetServerInfoRequest {}).await?.into_inner();
        let resident_bytes = match self.pid {
            Some(pid) => status_bytes(pid, "VmRSS:")?,
            None => info.resident_bytes,
        };
        let broker_cpu = info.cpu_time.and_then(|time| Duration::try_from(time).ok()).unwrap_or_default();
        Ok(Usage { resident_bytes, broker_cpu, client_cpu: own_cpu() })
    }

    /// The most that the broker ever had resident; only if its process is known.
    pub fn peak_bytes(&self) -> Result<Option<u64>> {
        self.pid.map(|pid| status_bytes(pid, "VmHWM:")).transpose()
    }
}

/// Waits until memory does not move any more: freed pages go back to the system some time after the work.
pub async fn settle() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

/// Resident memory of a process.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmRSS:")
}

fn status_bytes(pid: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the broker's process is gone")?;
    for line in status.lines() {
        if let Some(rest) = line.strip_prefix(field) {
            let kib: u64 = rest.trim().trim_end_matches("kB").trim().parse()?;
            return Ok(kib << 10);
        }
    }
    bail!("/proc/{pid}/status has no {field}")
}
