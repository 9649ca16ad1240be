//! Bytes that are no HTTP, or stop being it.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use prost::Message;
use tokio::task::JoinSet;

use super::{
    frames::{self, flag, kind},
    tally::Tally,
};
use crate::load::{batch, target::Durability};

/// Longer than the broker's handshake may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Connections at a time.
const AT_ONCE: usize = 50;

/// A good call, cut after each of its bytes.
pub async fn truncated(address: SocketAddr) -> Result<Tally> {
    let whole = good_call();
    throw_all(address, (0..whole.len()).map(|end| whole[..end].to_vec())).await
}

/// Random bytes, every second time after a greeting.
pub async fn random(address: SocketAddr, seed: u64) -> Result<Tally> {
    let mut chance = Chance(seed);
    let lines = (0..1_000).map(move |n| {
        let mut line = if n % 2 == 0 { Vec::new() } else { frames::greeting() };
        line.extend((0..chance.below(4_096)).map(|_| chance.next() as u8));
        line
    });
    throw_all(address, lines).await
}

/// A good call with a few of its bits turned.
pub async fn flipped(address: SocketAddr, seed: u64) -> Result<Tally> {
    let (mut chance, whole) = (Chance(seed), good_call());
    let lines = (0..2_000).map(move |_| {
        let mut line = whole.clone();
        for _ in 0..=chance.below(4) {
            let at = chance.below(line.len() as u64) as usize;
            line[at] ^= 1 << chance.below(8);
        }
        line
    });
    throw_all(address, lines).await
}

/// The beginning of a TLS 1.2 and 1.3 handshake.
pub async fn tls(address: SocketAddr) -> Result<Tally> {
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.resize(517, 0x5a);
    throw_all(address, std::iter::repeat_n(hello, 100)).await
}

/// HTTP/1 requests that are none.
pub async fn http1(address: SocketAddr) -> Result<Tally> {
    let requests = [
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "\r\n\r\n\r\n\r\n".to_owned(),
        "GET  /healthz\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1\r\n\r\n".to_owned(),
        "POST /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n".to_owned(),
        "POST /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello".to_owned(),
        "POST /healthz HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nhello".to_owned(),
        "POST /tilde.v1.Broker/Publish HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n"
            .to_owned(),
        format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(1 << 20)),
        format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(8 << 20)),
        format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: a\r\n".repeat(100_000)),
        format!("{} / HTTP/1.1\r\nhost: a\r\n\r\n", "A".repeat(100_000)),
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: !!!!\r\n\r\n".to_owned(),
        "GET /\0\x01\x02 HTTP/1.1\r\n\x03: \x04\r\n\r\n".to_owned(),
    ];
    throw_all(address, requests.iter().cycle().take(20 * requests.len()).map(|request| request.clone().into_bytes()))
        .await
}

/// Publishes one message, as a client would put it on the wire.
fn good_call() -> Vec<u8> {
    let request = batch::message("bench/bad", 64, Durability::Memory).encode_to_vec();
    let mut line = frames::greeting();
    line.extend(frames::frame(kind::HEADERS, flag::END_HEADERS, 1, &frames::call("/tilde.v1.Broker/Publish")));
    line.extend(frames::frame(kind::DATA, flag::END_STREAM, 1, &frames::message(&request)));
    line
}

async fn throw_all(address: SocketAddr, lines: impl Iterator<Item = Vec<u8>>) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut thrown = JoinSet::new();
    for line in lines {
        if thrown.len() == AT_ONCE
            && let Some(fate) = thrown.join_next().await
        {
            tally.fate(fate?);
        }
        thrown.spawn(async move { frames::throw(address, &line, PATIENCE).await });
    }
    while let Some(fate) = thrown.join_next().await {
        tally.fate(fate?);
    }
    Ok(tally)
}

/// Numbers that look random and follow from a seed (SplitMix64).
pub struct Chance(pub u64);

impl Chance {
    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
