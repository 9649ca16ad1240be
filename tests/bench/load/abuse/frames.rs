//! HTTP/2 by hand: just enough to say what no decent client says. Never reads what comes back, except to see whether
//! the connection ends.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How a client greets.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames.
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RESET: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of HEADERS and DATA.
pub mod flag {
    pub const NONE: u8 = 0;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
}

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(payload.len() as u32, kind, flags, stream);
    frame.extend_from_slice(payload);
    frame
}

/// The nine bytes before a payload.
pub fn head(length: u32, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
    let mut head = length.to_be_bytes()[1..].to_vec();
    head.extend([kind, flags]);
    head.extend(stream.to_be_bytes());
    head
}

/// The greeting and empty settings.
pub fn greeting() -> Vec<u8> {
    [PREFACE, &frame(kind::SETTINGS, flag::NONE, 0, &[])].concat()
}

/// The header block of a gRPC call.
pub fn call(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86]; // POST, http
    block.extend(named(4, path));
    block.extend(named(1, "tilde"));
    block.extend(field("content-type", "application/grpc"));
    block.extend(field("te", "trailers"));
    block
}

/// A header that goes into no table.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    [vec![0], string(name), string(value)].concat()
}

/// A header that goes into the table, as its newest entry (number 62).
pub fn remembered(name: &str, value: &str) -> Vec<u8> {
    [vec![0x40], string(name), string(value)].concat()
}

/// The newest entry of the table, again.
pub const AGAIN: u8 = 0x80 | 62;

fn named(index: u8, value: &str) -> Vec<u8> {
    [vec![index], string(value)].concat()
}

fn string(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 4);
    let mut length = text.len();
    if length < 127 {
        out.push(length as u8);
    } else {
        out.push(127);
        length -= 127;
        while length >= 128 {
            out.push(length as u8 | 128);
            length >>= 7;
        }
        out.push(length as u8);
    }
    out.extend_from_slice(text.as_bytes());
    out
}

/// A gRPC message: its length and its bytes.
pub fn message(bytes: &[u8]) -> Vec<u8> {
    [&[0][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// How the broker left a connection.
pub enum Fate {
    /// In good order.
    Closed,
    /// Cut.
    Reset,
    /// Not at all, as long as we waited.
    Open,
}

impl Fate {
    /// In one word.
    pub fn word(&self) -> &'static str {
        match self {
            Fate::Closed => "closed",
            Fate::Reset => "reset",
            Fate::Open => "still open",
        }
    }
}

/// Sends bytes on a connection of their own, says that there are no more, and waits until the broker ends it.
pub async fn throw(address: SocketAddr, bytes: &[u8], patience: Duration) -> io::Result<Fate> {
    let mut connection = TcpStream::connect(address).await?;
    let sent = timeout(patience, async {
        connection.write_all(bytes).await?;
        connection.shutdown().await
    });
    // A broker that ends the connection before it has read everything is in its right.
    let _ = sent.await;
    Ok(fate(&mut connection, patience).await)
}

/// Reads and forgets until the broker ends the connection or patience does.
pub async fn fate(connection: &mut (impl AsyncRead + Unpin), patience: Duration) -> Fate {
    let mut bytes = vec![0; 4 << 10];
    let end = timeout(patience, async {
        loop {
            match connection.read(&mut bytes).await {
                Ok(0) => return Fate::Closed,
                Ok(_) => {}
                Err(_) => return Fate::Reset,
            }
        }
    });
    end.await.unwrap_or(Fate::Open)
}
