//! Ports of programs that answer HTTP: takes connections, HTTP/1.1 and HTTP/2 on the same, and lets go of them when the
//! program stops. Never looks at what is asked.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::failure::Failure;
use crate::process;

/// Files that a program opens besides connections.
const OTHER_FILES: u64 = 256;
/// Connections that the system keeps until they are taken.
const BACKLOG: u32 = 4_096;
/// What one caller has of headers, and of buffers while it waits: the least that the library takes.
const BUFFER: usize = 8 << 10;
/// Requests at the same time on one connection over HTTP/2.
const STREAMS: u32 = 4_096;
/// How long a connection may take to send a head.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// A caller over HTTP/2 that is not heard of is asked after this, and has as long to answer.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// After an error that another try would meet again.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Connections of one port, and what they have in common with those of others.
#[derive(Clone, Debug)]
pub struct Connections {
    /// For each that is open.
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Connections {
    /// As many as the process may have files, once its limit is raised as far as it goes.
    pub fn raised() -> Self {
        let files = process::raise_open_files().unwrap_or(u64::MAX);
        let places = usize::try_from(files.saturating_sub(OTHER_FILES).max(1)).unwrap_or(usize::MAX);
        Connections {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        }
    }

    /// Answers whoever comes, for ever.
    pub async fn serve<A, F>(&self, listener: TcpListener, answer: A)
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
    {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(_) => {
                    sleep(BACK_OFF).await;
                    continue;
                }
            };
            match Arc::clone(&self.places).try_acquire_owned() {
                Ok(place) => drop(self.tasks.spawn(talk(stream, answer.clone(), place, self.closing.clone()))),
                Err(_) => turn_away(stream).await,
            }
        }
    }

    /// Lets connections end with the answers that are under way.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Opens a port.
pub fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let open = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|error| {
        Failure::new(format!("cannot listen on {address}: {error}")).hint("--listen and --metrics take other addresses")
    })
}

async fn talk<A, F>(stream: TcpStream, answer: A, place: OwnedSemaphorePermit, closing: CancellationToken)
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
{
    // It is gone already if not, which the first read tells.
    let _ = stream.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(BUFFER as u32)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service_fn(answer)));
    // A connection that breaks is its caller's to mend.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
    drop(place);
}

/// Says in one piece that there is no room.
async fn turn_away(mut stream: TcpStream) {
    let body = problem(503, "TOO_MANY_CONNECTIONS", "as many connections are open as files may be");
    let body = http_body_util::BodyExt::collect(body.into_body()).await.map(|body| body.to_bytes()).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // Into the buffer of a new connection it fits at once.
    let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
}

/// An answer of the program's own, as RFC 9457 writes it.
pub fn problem(status: u16, reason: &str, detail: &str) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "reason": reason, "detail": detail,
    });
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
