//! Whatever is sent to the port: a clear error or a closed connection, and nobody else is hurt.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sends bytes and reads until the broker closes the connection.
async fn send(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // The broker may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the connection stays open");
    answer
}

#[tokio::test]
async fn garbage_is_answered_by_a_closed_connection() {
    let edge = Edge::start().await;
    // A simple generator (xorshift): the same bytes in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut garbage = |length: usize| -> Vec<u8> {
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..length).map(|_| next()).collect()
    };
    for length in [24, 100, 100_000] {
        send(edge.addr, &garbage(length)).await;
        // Frames that are none, behind a good preface.
        send(edge.addr, &[PREFACE, &garbage(length)].concat()).await;
    }
    // A frame of 16 MiB - 1 bytes, announced: larger than what is allowed.
    send(edge.addr, &[PREFACE, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat()).await;
    // More headers than there may be.
    send(edge.addr, format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000)).as_bytes()).await;
    edge.publish("a", "x").await;
}

#[tokio::test]
async fn half_open_connections_are_closed() {
    let edge = Edge::start_with(|config| config.handshake_timeout = Duration::from_millis(100)).await;
    for said in [&b""[..], &PREFACE[..10], b"GET / HT"] {
        send(edge.addr, said).await;
    }
    edge.publish("a", "x").await;
}

#[tokio::test]
async fn a_connection_that_gives_no_sign_of_life_is_closed() {
    let edge = Edge::start_with(|config| {
        config.keepalive_interval = Duration::from_millis(50);
        config.keepalive_timeout = Duration::from_millis(50);
    })
    .await;
    // Says hello with empty settings, and never answers a ping.
    send(edge.addr, &[PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat()).await;
}

#[tokio::test]
async fn too_many_connections_are_closed_and_the_others_go_on() {
    let edge = Edge::start_with(|config| config.max_connections = 1).await;
    edge.publish("a", "x").await;
    assert_eq!(send(edge.addr, b"").await, b"");
    edge.publish("a", "x").await;
}

#[tokio::test]
async fn streams_that_are_opened_and_dropped_leave_nothing() {
    let edge = Edge::start().await;
    for _ in 0..20 {
        let mut streams = Vec::new();
        for _ in 0..100 {
            streams.push(edge.subscribe(patterns(&["~"])).await);
        }
    }
    let mut stream = edge.subscribe(patterns(&["~"])).await;
    edge.publish("a", "still here").await;
    assert_eq!(next_text(&mut stream).await, "still here");
    drop(stream);
    assert_eq!(edge.stop().await.cut, 0);
}
