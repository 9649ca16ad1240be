//! What the library refuses by itself, before there is a request, it refuses with a status alone. Here that becomes an answer
//! in words, as all others are. Everything else passes untouched.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answering::Shared;
use crate::server::http::unread;

/// How the library's own refusals begin.
const REFUSAL: &[u8] = b"HTTP/1.1 4";

/// A connection whose refusals are in words.
pub struct Words<T> {
    io: T,
    shared: Arc<Shared>,
    // Of what came since the last answer: whether a line has ended. The first is the one with the address.
    has_line: bool,
    // What is still to be written instead of the library's refusal.
    instead: Bytes,
}

impl<T> Words<T> {
    /// Around a connection.
    pub fn new(io: T, shared: Arc<Shared>) -> Self {
        Words { io, shared, has_line: false, instead: Bytes::new() }
    }

    /// The connection again.
    pub fn into_inner(self) -> T {
        self.io
    }

    /// Whether this is a refusal of the library: then it is told in words instead.
    fn replaces(&mut self, bytes: &[u8]) -> bool {
        if self.shared.writes() || !self.instead.is_empty() || !bytes.starts_with(REFUSAL) {
            return false;
        }
        let status = bytes.get(9..12).and_then(|code| StatusCode::from_bytes(code).ok()).unwrap_or_default();
        let status = match status {
            // The address is what was too large.
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE if !self.has_line => StatusCode::URI_TOO_LONG,
            status => status,
        };
        self.instead = unread(status).into();
        true
    }
}

impl<T: AsyncWrite + Unpin> Words<T> {
    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.instead))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.instead.advance(count),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Words<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, out))?;
        self.has_line = self.has_line || out.filled()[before..].contains(&b'\n');
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Words<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.replaces(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        self.has_line = false;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.first().is_some_and(|first| self.replaces(first)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        self.has_line = false;
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        // The library flushes when it has written all that it had.
        self.shared.is_written();
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
