//! How a broker is reached: its URL, and a connection with the right settings. Never decides whether to try again.

use std::{future::Future, time::Duration};

use http::Uri;
use tokio::time;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint},
};

use super::Fault;

/// Where a broker listens if nobody says otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:7126";

/// Where a broker listens if a URL names no port.
const DEFAULT_PORT: u16 = 7126;

/// The largest answer that is taken. A broker sends at most 1 MiB, or one message, which can be set larger.
pub const ANSWER_BYTES: usize = 8 << 20;

/// Bytes that may be under way on one stream: 2.5 times the throughput of HTTP/2's 64 KiB.
const STREAM_WINDOW: u32 = 1 << 20;
/// On all streams of a connection: as many as HTTP/2 can say, so that one that is not read holds up no other.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// How long a connection may take, and how soon a dead one is noticed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects, and comes back by itself whenever a call finds the connection broken. `url` is written as [`full_url`]
/// takes it.
pub async fn connect(url: &str) -> Result<Channel, Fault> {
    let endpoint = endpoint(url).map_err(Fault::invalid)?;
    endpoint.connect().await.map_err(|error| Fault::unreachable(&error))
}

/// A broker's URL with all its parts: of `http://host:port` the scheme may be left out, and the port if it is 7126. The
/// error says how to write it.
pub fn full_url(text: &str) -> Result<String, String> {
    let url = match text.contains("://") {
        true => text.to_owned(),
        false => format!("http://{text}"),
    };
    if !url.starts_with("http://") {
        return Err(format!("{text:?} cannot be reached: only http:// is spoken"));
    }
    let wrong = || format!("{text:?} is no URL of a broker: write http://HOST:PORT");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong());
    }
    let (host, port) = host_and_port(&uri).ok_or_else(wrong)?;
    Ok(format!("http://{host}:{port}"))
}

fn host_and_port(uri: &Uri) -> Option<(&str, u16)> {
    let host = uri.host()?;
    match uri.authority()?.as_str().strip_prefix(host)? {
        "" => Some((host, DEFAULT_PORT)),
        port => Some((host, port.strip_prefix(':')?.parse().ok()?)),
    }
}

/// Makes a call that takes no longer than `limit`. The broker is told, so that it gives up too.
pub async fn within<R, T, F>(limit: Duration, request: R, call: impl FnOnce(Request<R>) -> F) -> Result<T, Fault>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut request = Request::new(request);
    request.set_timeout(limit);
    // The library's own timer runs only while there is a connection.
    match time::timeout(limit, call(request)).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(Fault::late()),
    }
}

pub(super) fn endpoint(url: &str) -> Result<Endpoint, String> {
    let url = full_url(url)?;
    let endpoint = Endpoint::from_shared(url).map_err(|error| error.to_string())?;
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

/// How long a stream may be silent that has a heartbeat of this interval: two of them may get lost.
pub(super) fn silence(heartbeat: Duration) -> Duration {
    heartbeat.mul_f32(2.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_with_and_without_a_scheme() {
        for good in ["http://127.0.0.1:7126", "127.0.0.1:7126", "localhost:7126", "http://[::1]:7126"] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in ["", "https://x:1", "http://", "ftp://x", "a b", "http://a b:1", "x:70000", "x/y", "x?y", "u:p@x"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_url_without_a_port_means_the_port_of_a_broker() {
        for (short, full) in [
            ("broker", "http://broker:7126"),
            ("http://broker", "http://broker:7126"),
            ("http://broker/", "http://broker:7126"),
            ("http://[::1]", "http://[::1]:7126"),
            ("http://broker:80", "http://broker:80"),
        ] {
            assert_eq!(full_url(short).as_deref(), Ok(full));
        }
        assert_eq!(full_url("127.0.0.1").as_deref(), Ok(DEFAULT_URL));
    }
}
