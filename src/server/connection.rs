//! One connection, from its greeting to its end.

use std::sync::Arc;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    Config,
    counters::Open,
    gather::gather,
    greeting::{self, Greeted, Version},
    http1 as one,
    layer::Stack,
};

/// What a connection reads from and writes to.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// What all connections share.
pub struct Connections {
    stack: Arc<Stack>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    config: Config,
    /// Once cancelled, connections take no new calls, and end when their calls have.
    pub closing: CancellationToken,
    /// Once cancelled, connections end.
    pub cutting: CancellationToken,
}

impl Connections {
    /// Connections whose calls go to `stack`.
    pub fn new(config: &Config, stack: Stack) -> Self {
        Connections {
            stack: Arc::new(stack),
            http1: http1_builder(config),
            http2: http2_builder(config),
            config: config.clone(),
            closing: CancellationToken::new(),
            cutting: CancellationToken::new(),
        }
    }

    /// Others whose calls go elsewhere, and that end with these.
    pub fn beside(&self, stack: Stack) -> Self {
        Connections {
            stack: Arc::new(stack),
            http1: self.http1.clone(),
            http2: self.http2.clone(),
            config: self.config.clone(),
            closing: self.closing.clone(),
            cutting: self.cutting.clone(),
        }
    }

    /// Serves one connection until it ends.
    pub async fn serve(self: Arc<Self>, io: impl Io, _open: Open) {
        tokio::select! {
            biased;
            () = self.cutting.cancelled() => {}
            () = self.talk(io) => {}
        }
    }

    async fn talk(&self, io: impl Io) {
        let greeted = timeout(self.config.handshake_timeout, greeting::greet(io));
        let greeted = tokio::select! {
            biased;
            () = self.closing.cancelled() => return,
            greeted = greeted => greeted,
        };
        // What hyper needs for a connection is kilobytes: it is boxed, so that a silent connection does not hold it.
        match greeted {
            Ok(Ok((Version::Two, io))) => Box::pin(self.talk_http2(io)).await,
            Ok(Ok((Version::One, io))) => self.talk_http1(io).await,
            Ok(Err(error)) => tracing::trace!(%error, "a connection ended before it said anything"),
            Err(_) => tracing::debug!("a connection was closed: it did not say in time what it speaks"),
        }
    }

    async fn talk_http2(&self, io: Greeted<impl Io>) {
        let (mut gathering, io) = gather(io);
        let mut connection = std::pin::pin!(self.http2.serve_connection(TokioIo::new(io), Arc::clone(&self.stack)));
        let ended = tokio::select! {
            biased;
            ended = gathering.run(connection.as_mut()) => ended,
            () = self.closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                gathering.run(connection).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error, "a connection broke");
        }
    }

    async fn talk_http1(&self, io: Greeted<impl Io>) {
        let lasting = Box::pin(one::talk(&self.http1, &self.stack, io, &self.closing)).await;
        // What lasts ends when its stream does, which the broker ends as it drains.
        if let Some(lasting) = lasting
            && let Err(error) = Box::pin(lasting.run()).await
        {
            tracing::debug!(%error, "a connection broke");
        }
    }
}

fn http1_builder(config: &Config) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.handshake_timeout)
        // The least that the library takes.
        .max_buf_size((config.max_headers as usize).max(8 << 10));
    builder
}

fn http2_builder(config: &Config) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout)
        .max_concurrent_streams(config.max_connection_streams)
        .initial_stream_window_size(config.stream_window)
        .initial_connection_window_size(config.connection_window)
        .max_frame_size(config.max_frame)
        .max_header_list_size(config.max_headers)
        .max_pending_accept_reset_streams(config.max_pending_resets)
        .max_local_error_reset_streams(config.max_error_resets)
        .max_send_buf_size(config.send_buffer);
    builder
}
