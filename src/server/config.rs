//! The edge's own sizes and times. What clients may rely on stands in `model/limits.rs`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::http::profiles::Profile;
use crate::model::limits;

/// How the edge listens, and what a connection may cost.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen. Port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Connections that the system may hold ready until they are accepted.
    pub backlog: u32,
    /// A connection that has not said by then which HTTP it speaks is closed; so is one on HTTP/1 that has not sent
    /// the headers of a request.
    pub handshake_timeout: Duration,
    /// A request that comes in pieces is given up when it has not arrived in full after this.
    pub request_timeout: Duration,
    /// Pages that browsers may call for besides the broker's own: `https://app.example`, or `*`.
    pub allow_origins: Vec<String>,
    /// Other systems that are served, each on a port of its own.
    pub profiles: Vec<(SocketAddr, Profile)>,
    /// Open at the same time; what comes beyond is closed at once. Fewer if the process may not open so many files.
    pub max_connections: usize,
    /// Streams of one connection, open at the same time. A client waits with more. (The library's own 200 would hang
    /// busy clients silently.)
    pub max_connection_streams: u32,
    /// A connection is asked for a sign of life when it was silent for so long.
    pub keepalive_interval: Duration,
    /// It is closed if the sign does not come within this time.
    pub keepalive_timeout: Duration,
    /// Bytes that a client may send ahead on one stream. At 64 KiB, the protocol's default, bulk publishing ran at
    /// two fifths of the speed.
    pub stream_window: u32,
    /// Bytes that a client may send ahead on all streams of a connection together.
    pub connection_window: u32,
    /// The largest HTTP/2 frame that is taken, in bytes. At 16 KiB, the protocol's default, bulk publishing ran at
    /// three fifths of the speed.
    pub max_frame: u32,
    /// Bytes of headers that one request may have.
    pub max_headers: u32,
    /// Streams of one connection that may be opened and reset before they were looked at; beyond, the connection is
    /// closed. (CVE-2023-44487, "rapid reset".)
    pub max_pending_resets: usize,
    /// Streams of one connection that may break the protocol; beyond, the connection is closed.
    pub max_error_resets: usize,
    /// A stream takes its next frame when fewer bytes than this wait to be sent. Small: a reader that is stuck costs
    /// this much at most and two frames besides, and its connection 32 KiB that were gathered.
    pub send_buffer: usize,
    /// How long streams and calls may go on after the process was asked to stop, unless the request says otherwise.
    pub drain_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: (Ipv4Addr::LOCALHOST, 7126).into(),
            backlog: 4_096,
            handshake_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            allow_origins: Vec::new(),
            profiles: Vec::new(),
            max_connections: 65_536,
            max_connection_streams: limits::STREAMS_PER_CONNECTION,
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            stream_window: 1 << 20,
            connection_window: 8 << 20,
            max_frame: 1 << 20,
            max_headers: 16 << 10,
            max_pending_resets: 64,
            max_error_resets: 256,
            send_buffer: 16 << 10,
            drain_grace: Duration::from_secs(2),
        }
    }
}
