//! gRPC calls in good order with bad content.

use std::{future::pending, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::Message;
use tilde::pb::v1::{self as pb, broker_client::BrokerClient};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::{
    Request, Status,
    body::Body,
    client::{Grpc, GrpcService},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};

use super::{lines::Chance, tally::Tally};
use crate::load::{
    batch,
    raw::{Raw, Receive, path},
    stream,
    target::{Target, Window},
};

/// Topics and patterns that are none.
pub async fn names(target: &Target) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut client = BrokerClient::new(target.connect(Window::ORDINARY).await?);
    let long = |bytes: usize| "a".repeat(bytes);
    let names =
        [long(1_025), long(1 << 20), long(3 << 20), long(0), "a~".into(), "a\nb".into(), "$own".into(), "\0".into()];
    for name in names.iter().cycle().take(50 * names.len()) {
        tally.answer(&client.publish(batch::message(name, 1, target.durability)).await);
    }
    for pattern in [long(1_025), long(3 << 20), long(0), "\n~".into()] {
        tally.answer(&client.subscribe(stream::request(&pattern, stream::NEW)).await);
    }
    let topics = vec!["a".to_owned(); 100_000];
    tally.answer(&client.subscribe(pb::SubscribeRequest { topics, ..Default::default() }).await);
    Ok(tally)
}

/// Bytes that are no UTF-8, in the topic of a publish, of one in a batch, and in a pattern.
pub async fn utf8(target: &Target) -> Result<Tally> {
    let channel = target.connect(Window::ORDINARY).await?;
    let topic = Bytes::from_static(&[1 << 3 | 2, 4, b'a', 0xff, 0xfe, b'b']);
    let batch = [&[1 << 3 | 2, topic.len() as u8][..], &topic].concat();
    let mut tally = Tally::default();
    for _ in 0..100 {
        tally.answer(&unary(&channel, path::publish(), topic.clone()).await);
        tally.answer(&unary(&channel, path::batch_publish(), batch.clone().into()).await);
        tally.answer(&unary(&channel, path::subscribe(), topic.clone()).await);
    }
    Ok(tally)
}

/// Random bytes as requests.
pub async fn protobuf(target: &Target, seed: u64) -> Result<Tally> {
    let (mut tally, mut chance) = (Tally::default(), Chance(seed));
    let channel = target.connect(Window::ORDINARY).await?;
    for _ in 0..1_000 {
        let noise: Bytes = (0..chance.below(512)).map(|_| chance.next() as u8).collect();
        for path in [path::publish(), path::batch_publish(), path::subscribe()] {
            tally.answer(&unary(&channel, path, noise.clone()).await);
        }
    }
    // Groups in groups, which a decoder must not follow without end.
    tally.answer(&unary(&channel, path::publish(), vec![15 << 3 | 3; 1 << 20].into()).await);
    Ok(tally)
}

/// Messages of 100 MB, a few at a time, and some that are just over the limits.
pub async fn large(target: &Target) -> Result<Tally> {
    let mut tally = Tally::default();
    let request = Bytes::from(batch::message("bench/large", 100_000_000, target.durability).encode_to_vec());
    let mut sending = JoinSet::new();
    for _ in 0..10 {
        let (channel, request) = (target.connect(Window::ORDINARY).await?, request.clone());
        sending.spawn(async move { unary(&channel, path::publish(), request).await });
    }
    let mut client = BrokerClient::new(target.connect(Window::ORDINARY).await?);
    for bytes in [1 << 20, (1 << 20) + 1, 4 << 20, 5 << 20] {
        tally.answer(&client.publish(batch::message("bench/large", bytes, target.durability)).await);
    }
    while let Some(answer) = sending.join_next().await {
        tally.answer(&answer?);
    }
    Ok(tally)
}

/// Requests of almost 1 MiB whose last byte never comes: 1,000 over 100 connections, for some seconds.
pub async fn half_sent(target: &Target) -> Result<Tally> {
    let request = batch::message("bench/half", 1_000_000, target.durability).encode_to_vec();
    let mut bytes = super::frames::message(&request);
    bytes.pop();
    let bytes = Bytes::from(bytes);
    let channels = target.connect_many(100, Window::ORDINARY).await?;
    let mut sending = JoinSet::new();
    for n in 0..1_000 {
        let (channel, bytes) = (channels[n % channels.len()].clone(), bytes.clone());
        sending.spawn(tokio::time::timeout(Duration::from_secs(5), half(channel, bytes)));
    }
    let mut tally = Tally::default();
    while let Some(answer) = sending.join_next().await {
        match answer? {
            Err(_) => tally.count("waits"),
            Ok(answer) => tally.count(if answer.is_ok() { "answered" } else { "refused" }),
        }
    }
    Ok(tally)
}

/// Streams that are opened in good order and dropped at once: 10,000 over ten connections.
pub async fn dropped(target: &Target) -> Result<Tally> {
    let channels = target.connect_many(10, Window::ORDINARY).await?;
    let mut opening = JoinSet::new();
    for channel in channels {
        opening.spawn(async move {
            let mut tally = Vec::new();
            for _ in 0..1_000 {
                tally.push(stream::open(channel.clone(), &stream::request("~", stream::NEW)).await.is_ok());
            }
            tally
        });
    }
    let mut tally = Tally::default();
    while let Some(opened) = opening.join_next().await {
        opened?.into_iter().for_each(|opened| tally.count(if opened { "opened" } else { "refused" }));
    }
    Ok(tally)
}

async fn unary(channel: &Channel, path: PathAndQuery, request: Bytes) -> Result<usize, Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let answer = client.unary(Request::new(request), path, Raw::<Length>::new()).await?;
    Ok(answer.into_inner())
}

/// Sends bytes as the body of a publish, and never its end.
async fn half(mut channel: Channel, bytes: Bytes) -> Result<()> {
    let endless = tokio_stream::once(Ok::<_, Status>(Frame::data(bytes))).chain(never());
    let request = hyper::Request::post("/tilde.v1.Broker/Publish")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(StreamBody::new(endless)))?;
    std::future::poll_fn(|cx| GrpcService::poll_ready(&mut channel, cx)).await?;
    GrpcService::call(&mut channel, request).await.context("the call failed")?;
    Ok(())
}

/// A stream that waits for ever.
fn never<T>() -> impl tokio_stream::Stream<Item = T> {
    tokio_stream::once(()).then(|()| pending())
}

/// Counts bytes.
#[derive(Clone, Default)]
struct Length;

impl Receive for Length {
    type Item = usize;

    fn receive(&mut self, bytes: &[u8]) -> Result<usize, Status> {
        Ok(bytes.len())
    }
}
