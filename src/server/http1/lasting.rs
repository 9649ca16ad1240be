//! An answer that goes on until its client goes, written piece by piece. It holds nothing while it waits.

use bytes::{Buf as _, Bytes};
use http::Response;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::body::Body;

use crate::server::connection::Io;

/// Among the extensions of an answer: it has no end of its own.
#[derive(Clone, Copy, Debug)]
pub struct Lasts;

/// The answer, and where it is to be written.
pub struct Lasting<T> {
    io: T,
    answer: Response<Body>,
}

impl<T: Io> Lasting<T> {
    /// All that was written there before has been written in full.
    pub fn new(io: T, answer: Response<Body>) -> Self {
        Lasting { io, answer }
    }

    /// Writes it to its end, or until its client has gone.
    pub async fn run(self) -> std::io::Result<()> {
        let Lasting { mut io, answer } = self;
        let (head, body) = answer.into_parts();
        io.write_all(&written(&head)).await?;
        drop(head);
        let mut body = body;
        loop {
            let mut more = [0; 64];
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                // What a client says besides is not looked at: the connection ends with this answer.
                read = io.read(&mut more) => match read? {
                    0 => return Ok(()),
                    _ => continue,
                },
            };
            match frame {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if !data.is_empty() {
                        write_piece(&mut io, data).await?;
                    }
                }
                // It broke off, which the missing end says.
                Some(Err(_)) => return Ok(()),
                None => break,
            }
        }
        io.write_all(b"0\r\n\r\n").await?;
        io.shutdown().await
    }
}

async fn write_piece(io: &mut impl Io, data: Bytes) -> std::io::Result<()> {
    let length = Bytes::from(format!("{:x}\r\n", data.len()));
    io.write_all_buf(&mut length.chain(data).chain(Bytes::from_static(b"\r\n"))).await?;
    io.flush().await
}

fn written(head: &http::response::Parts) -> Vec<u8> {
    let status = head.status;
    let first = format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let mut out = first.into_bytes();
    for (name, value) in &head.headers {
        out.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    out.extend(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    out
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};
    use http_body_util::Full;
    use tokio::io::{AsyncRead, duplex};

    use super::*;

    async fn read_all(mut from: impl AsyncRead + Unpin) -> String {
        let mut text = String::new();
        from.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn it_is_written_piece_by_piece_to_its_end() {
        let (client, io) = duplex(1 << 10);
        let mut answer = Response::new(Body::new(Full::from("data: x\n\n")));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        tokio::spawn(Lasting::new(io, answer).run());
        let told = read_all(client).await;
        let all = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
                   9\r\ndata: x\n\n\r\n0\r\n\r\n";
        assert_eq!(told, all);
    }

    #[tokio::test]
    async fn it_ends_with_its_client() {
        struct Never;
        impl http_body::Body for Never {
            type Data = Bytes;
            type Error = tonic::Status;

            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, tonic::Status>>> {
                std::task::Poll::Pending
            }
        }
        let (client, io) = duplex(1 << 10);
        let running = tokio::spawn(Lasting::new(io, Response::new(Body::new(Never))).run());
        drop(client);
        let _ = running.await.unwrap();
    }
}
