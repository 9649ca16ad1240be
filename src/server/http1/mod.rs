//! One connection over HTTP/1. The library talks, but for two things: what it refuses by itself is put into words, and a
//! stream that lasts is written here, as the library would hold 16 KiB of buffers for each. Never looks at what is asked.

mod answering;
mod lasting;
mod words;

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use hyper::server::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use self::answering::{Answering, Shared};
pub use self::lasting::{Lasting, Lasts};
use self::words::Words;
use super::{connection::Io, greeting::Greeted, layer::Stack};

/// What was sent and not read is read for so long when a connection is closed, and no more than so much: closed at once, it
/// would be reset, and the last answer lost with it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 8 << 20;

/// Talks until the connection ends. What lasts is handed over, to be written without the library.
pub async fn talk<T: Io>(
    library: &Builder,
    stack: &Arc<Stack>,
    io: Greeted<T>,
    closing: &CancellationToken,
) -> Option<Lasting<Greeted<T>>> {
    let shared = Arc::new(Shared::default());
    let io = TokioIo::new(Words::new(io, Arc::clone(&shared)));
    let mut connection =
        library.serve_connection(io, Answering { stack: Arc::clone(stack), shared: Arc::clone(&shared) });
    let mut closed = std::pin::pin!(closing.cancelled());
    let mut is_closing = false;
    let ended = poll_fn(|cx| {
        if !is_closing && closed.as_mut().poll(cx).is_ready() {
            is_closing = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Err(ended)),
            Poll::Pending => shared.take_lasting().map_or(Poll::Pending, |lasting| Poll::Ready(Ok(lasting))),
        }
    })
    .await;
    let parts = connection.into_parts();
    let mut io = parts.io.into_inner();
    match ended {
        Ok(answer) => return Some(Lasting::new(io.into_inner(), answer)),
        Err(Ok(())) => {}
        Err(Err(error)) => tracing::debug!(%error, "a connection broke"),
    }
    // Those that the broker closes as it stops are not waited for.
    if !is_closing && io.shutdown().await.is_ok() {
        let mut rest = [0; 1 << 10];
        let linger = async {
            let mut left = LINGER_BYTES;
            while let Ok(count @ 1..) = io.read(&mut rest).await {
                left = left.saturating_sub(count as u64);
                if left == 0 {
                    return;
                }
            }
        };
        let _ = timeout(LINGER, linger).await;
    }
    None
}
