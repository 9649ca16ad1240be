//! The way to a broker: a connection with the right settings, and refusals that a program can act on. Never imports the
//! broker's own code.

pub mod backoff;
pub mod fault;

use std::time::Duration;

pub use backoff::Backoff;
pub use fault::{Fate, Fault};
pub use tonic::transport::Channel;

use tonic::transport::Endpoint;

/// Where a broker listens if nobody says otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:7126";

/// The largest answer that is taken. A broker sends at most 1 MiB, or one message, which can be set larger.
pub const ANSWER_BYTES: usize = 8 << 20;

/// Bytes that may be under way on one stream (2.5 times the throughput of HTTP/2's 64 KiB), and on all of a connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// How long a connection may take, and how soon a dead one is noticed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects, and comes back by itself whenever a call finds the connection broken. `url` is `http://host:port`, or
/// just `host:port`.
pub async fn connect(url: &str) -> Result<Channel, Fault> {
    let endpoint = endpoint(url)?;
    endpoint.connect().await.map_err(|error| Fault::unreachable(&error))
}

fn endpoint(url: &str) -> Result<Endpoint, Fault> {
    let url = match url.contains("://") {
        true => url.to_owned(),
        false => format!("http://{url}"),
    };
    if !url.starts_with("http://") {
        return Err(Fault::invalid(format!("{url:?} cannot be reached: only http:// is spoken")));
    }
    let endpoint = Endpoint::from_shared(url.clone())
        .ok()
        .filter(|endpoint| endpoint.uri().host().is_some())
        .ok_or_else(|| Fault::invalid(format!("{url:?} is no URL of a broker: write http://HOST:PORT")))?;
    let agent = concat!("tilde/", env!("CARGO_PKG_VERSION"));
    Ok(endpoint
        .user_agent(agent)
        .expect("the agent is plain ASCII")
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_with_and_without_a_scheme() {
        for good in ["http://127.0.0.1:7126", "127.0.0.1:7126", "localhost:7126", "http://[::1]:7126"] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in ["", "https://x:1", "http://", "ftp://x", "a b", "http://a b:1"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
