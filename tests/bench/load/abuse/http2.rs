//! HTTP/2 that keeps to the grammar and breaks the manners.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet};

use super::{
    frames::{self, flag, kind},
    tally::Tally,
};

const PUBLISH: &str = "/tilde.v1.Broker/Publish";
const SUBSCRIBE: &str = "/tilde.v1.Broker/Subscribe";
const INFO: &str = "/tilde.v1.Operations/GetServerInfo";

/// What a connection may take to be ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest payload of a frame that every server must take.
const FRAME: usize = 16 << 10;

/// Frames and messages that announce far more than is allowed.
pub async fn announced(address: SocketAddr) -> Result<Tally> {
    let opened = [frames::greeting(), headers_frame(1, &frames::call(PUBLISH), flag::END_HEADERS)].concat();
    let prefix = |length: u32| [&[0][..], &length.to_be_bytes(), &[0; 64]].concat();
    let lines = [
        // A frame of 16 MiB, whole.
        [&opened[..], &frames::head(0xff_ffff, kind::DATA, flag::NONE, 1), &vec![0; 0xff_ffff]].concat(),
        // Messages of 100 MB and 4 GiB of which little comes.
        [&opened[..], &frames::frame(kind::DATA, flag::NONE, 1, &prefix(100_000_000))].concat(),
        [&opened[..], &frames::frame(kind::DATA, flag::NONE, 1, &prefix(u32::MAX))].concat(),
        // A compressed message that was never agreed on.
        [&opened[..], &frames::frame(kind::DATA, flag::END_STREAM, 1, &[1, 0, 0, 0, 1, 0])].concat(),
        // Data on a stream that does not exist.
        [frames::greeting(), frames::frame(kind::DATA, flag::NONE, 99, &[0; 64])].concat(),
    ];
    rude(address, lines.iter().cycle().take(20 * lines.len()).cloned()).await
}

/// Headers that are too large, too many, or unfold from a small table.
pub async fn headers(address: SocketAddr) -> Result<Tally> {
    let large = [frames::call(PUBLISH), frames::field("x-large", &"a".repeat(1 << 20))].concat();
    let many = [frames::call(PUBLISH), frames::field("x-many", "a").repeat(50_000)].concat();
    let bomb = [frames::call(PUBLISH), frames::remembered("x-bomb", &"a".repeat(4_000)), vec![frames::AGAIN; 16_000]];
    let lines = [large, many, bomb.concat()].map(|block| [frames::greeting(), blocks(1, &block)].concat());
    rude(address, lines.iter().cycle().take(20 * lines.len()).cloned()).await
}

/// A header block that goes on in empty pieces and never ends.
pub async fn continuation(address: SocketAddr) -> Result<Tally> {
    let piece = frames::frame(kind::CONTINUATION, flag::NONE, 1, &[]);
    let small = frames::frame(kind::CONTINUATION, flag::NONE, 1, &frames::field("x", "a"));
    let begun = [frames::greeting(), headers_frame(1, &frames::call(PUBLISH), flag::NONE)].concat();
    let lines = [piece, small].map(|piece| [&begun[..], &piece.repeat(100_000)].concat());
    rude(address, lines.iter().cycle().take(5 * lines.len()).cloned()).await
}

/// Pings and settings without end, whose answers nobody reads.
pub async fn floods(address: SocketAddr) -> Result<Tally> {
    let ping = frames::frame(kind::PING, flag::NONE, 0, &[7; 8]);
    let settings = frames::frame(kind::SETTINGS, flag::NONE, 0, &[0, 4, 0, 0, 0xff, 0xff]);
    let mut tally = Tally::default();
    for flood in [ping, settings] {
        let mut connection = TcpStream::connect(address).await?;
        connection.write_all(&frames::greeting()).await?;
        let (flood, start) = (flood.repeat(1_000), Instant::now());
        let mut sent = 0;
        // Until the broker takes no more (its answers are not read), or ends it, or has taken a million.
        while sent < 1_000_000 && start.elapsed() < PATIENCE {
            match tokio::time::timeout(Duration::from_secs(1), connection.write_all(&flood)).await {
                Ok(Ok(())) => sent += 1_000,
                _ => break,
            }
        }
        tally.count(if sent < 1_000_000 { "stopped" } else { "a million taken" });
        tally.count(frames::fate(&mut connection, PATIENCE).await.word());
    }
    Ok(tally)
}

/// Ten thousand calls that are opened and reset at once, over ten connections.
pub async fn rapid_reset(address: SocketAddr) -> Result<Tally> {
    let mut line = frames::greeting();
    for n in 0..1_000 {
        let stream = 2 * n + 1;
        line.extend(headers_frame(stream, &frames::call(SUBSCRIBE), flag::END_HEADERS));
        line.extend(frames::frame(kind::RESET, flag::NONE, stream, &8u32.to_be_bytes()));
    }
    rude(address, std::iter::repeat_n(line, 10)).await
}

/// Ten thousand calls on one connection whose requests never come.
pub async fn unfinished(address: SocketAddr) -> Result<Tally> {
    let mut line = frames::greeting();
    for n in 0..10_000 {
        line.extend(headers_frame(2 * n + 1, &frames::call(PUBLISH), flag::END_HEADERS));
    }
    rude(address, std::iter::once(line)).await
}

/// Calls that give the answer no room: ten connections with a thousand each, for some seconds.
pub async fn no_window(address: SocketAddr) -> Result<Tally> {
    let mut line = [frames::PREFACE, &frames::frame(kind::SETTINGS, flag::NONE, 0, &[0, 4, 0, 0, 0, 0])].concat();
    for n in 0..1_000 {
        line.extend(headers_frame(2 * n + 1, &frames::call(INFO), flag::END_HEADERS));
        line.extend(frames::frame(kind::DATA, flag::END_STREAM, 2 * n + 1, &frames::message(&[])));
    }
    rude(address, std::iter::repeat_n(line, 10)).await
}

fn headers_frame(stream: u32, block: &[u8], flags: u8) -> Vec<u8> {
    frames::frame(kind::HEADERS, flags, stream, block)
}

/// A header block in as many frames as it needs.
fn blocks(stream: u32, block: &[u8]) -> Vec<u8> {
    let mut pieces = block.chunks(FRAME).peekable();
    let (mut kind, mut line) = (kind::HEADERS, Vec::new());
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { flag::END_HEADERS } else { flag::NONE };
        line.extend(frames::frame(kind, flags, stream, piece));
        kind = kind::CONTINUATION;
    }
    line
}

/// Sends each line on a connection of its own, all at a time, keeps it open, and reads what comes.
async fn rude(address: SocketAddr, lines: impl Iterator<Item = Vec<u8>>) -> Result<Tally> {
    let mut rude = JoinSet::new();
    for line in lines {
        rude.spawn(async move {
            let (mut reading, mut writing) = TcpStream::connect(address).await?.into_split();
            let writing = tokio::spawn(async move {
                let _ = writing.write_all(&line).await;
                writing
            });
            let fate = frames::fate(&mut reading, PATIENCE).await;
            writing.abort();
            std::io::Result::Ok(fate)
        });
    }
    let mut tally = Tally::default();
    while let Some(fate) = rude.join_next().await {
        tally.fate(fate?);
    }
    Ok(tally)
}
