//! The first bytes of a connection: which HTTP does it speak? Nothing of hyper's is allocated before they came, so
//! that a connection that says nothing costs little until its time is over.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// What every HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Which HTTP a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1 or older; or no HTTP at all, which its parser will say.
    One,
    /// HTTP/2, known beforehand: no upgrade, no TLS.
    Two,
}

/// A connection whose first bytes were read; reading from it begins with them.
#[derive(Debug)]
pub struct Greeted<T> {
    io: T,
    head: [u8; PREFACE.len()],
    at: usize,
    end: usize,
}

/// Reads until it is known what the connection speaks. The caller puts a time limit around it.
pub async fn greet<T: AsyncRead + Unpin>(mut io: T) -> io::Result<(Version, Greeted<T>)> {
    let mut head = [0; PREFACE.len()];
    let mut end = 0;
    let version = loop {
        match io.read(&mut head[end..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => end += more,
        }
        if head[..end] != PREFACE[..end] {
            break Version::One;
        }
        if end == PREFACE.len() {
            break Version::Two;
        }
    };
    Ok((version, Greeted { io, head, at: 0, end }))
}

impl<T: AsyncRead + Unpin> AsyncRead for Greeted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.at == self.end {
            return Pin::new(&mut self.io).poll_read(cx, out);
        }
        let count = out.remaining().min(self.end - self.at);
        out.put_slice(&self.head[self.at..self.at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Greeted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{io::AsyncWriteExt as _, time::timeout};

    use super::*;

    #[tokio::test]
    async fn what_was_read_ahead_is_read_again() {
        for (sent, version) in [
            (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest"[..], Version::Two),
            (b"GET /healthz HTTP/1.1\r\n\r\n", Version::One),
            (b"PRI * HTTP/1.0\r\n\r\n", Version::One),
            (b"\x16\x03\x01", Version::One),
        ] {
            let (mut client, server) = tokio::io::duplex(64);
            let sending = tokio::spawn(async move {
                // One byte at a time: a greeting may come in any pieces.
                for byte in sent {
                    client.write_all(&[*byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
            });
            let (found, mut greeted) = greet(server).await.unwrap();
            assert_eq!(found, version);
            let mut all = Vec::new();
            greeted.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, sent);
            sending.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_with_the_callers_patience() {
        for said in [&b""[..], b"PRI * HT"] {
            let (mut client, server) = tokio::io::duplex(64);
            client.write_all(said).await.unwrap();
            assert!(timeout(Duration::from_secs(10), greet(server)).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_connection_that_ends_early_is_no_greeting() {
        let (client, server) = tokio::io::duplex(64);
        drop(client);
        assert!(greet(server).await.is_err());
    }
}
