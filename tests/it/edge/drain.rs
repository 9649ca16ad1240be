//! How it ends.

use tilde::pb::v1::{DrainRequest, closing::Reason, operations_client::OperationsClient};
use tokio::net::TcpStream;
use tonic::Code;

use super::*;

#[tokio::test]
async fn streams_are_told_and_end_and_nothing_is_cut() {
    let edge = Edge::start().await;
    let mut stream = edge.subscribe(patterns(&["~"])).await;
    let addr = edge.addr;
    let stopping = tokio::spawn(edge.stop());
    let closing = loop {
        let response = next(&mut stream).await.unwrap().expect("the stream ended without a word");
        if let Some(closing) = response.closing {
            assert!(!response.cursor.is_empty());
            break closing;
        }
    };
    assert_eq!(closing.reason(), Reason::Draining);
    assert!(closing.reconnect_delay.is_some());
    let ended = loop {
        match next(&mut stream).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a stream that the broker ends has a status"),
            Err(status) => break status,
        }
    };
    refusals::assert_refused(&ended, Code::Unavailable, "DRAINING", None);
    let ended = stopping.await.unwrap();
    assert!(ended.failure.is_none() && ended.cut == 0, "{ended:?}");
    assert!(TcpStream::connect(addr).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn a_call_can_ask_for_it() {
    let edge = Edge::start().await;
    let grace = Some(prost_types::Duration { seconds: 5, nanos: 0 });
    OperationsClient::new(edge.channel.clone()).drain(DrainRequest { grace }).await.unwrap();
    let ended = timeout(PATIENCE, edge.serving).await.unwrap().unwrap();
    assert!(ended.failure.is_none() && ended.cut == 0, "{ended:?}");
}

#[tokio::test]
async fn a_connection_that_says_nothing_does_not_hold_it_up() {
    let edge = Edge::start().await;
    let _silent = TcpStream::connect(edge.addr).await.unwrap();
    // Answered on a later connection: so the silent one was taken.
    operators::get(edge.addr, "/healthz").await;
    assert_eq!(edge.stop().await.cut, 0);
}
