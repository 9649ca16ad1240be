//! Opens `Subscribe` streams whose messages are looked at and not decoded. Never reads further than `Started`.

use anyhow::{bail, ensure};
use bytes::Bytes;
use prost::Message;
use tokio::task::JoinSet;
use tonic::{Request, Streaming, client::Grpc};

use super::raw::{Delivered, Raw, Receive, path};
use crate::{
    client::{ANSWER_BYTES, Channel},
    pb::v1::{StartPosition, SubscribeRequest, start_position},
};

/// Streams that are opened at the same time, at most.
const OPENING: usize = 200;

/// Tells what kind of response it is.
pub trait Response: Send + Sync + 'static {
    /// What every stream's responses have.
    fn delivered(&self) -> &Delivered;
}

impl Response for Delivered {
    fn delivered(&self) -> &Delivered {
        self
    }
}

/// What to ask for.
pub fn request(namespace: &str, patterns: Vec<String>, from: start_position::Preset) -> SubscribeRequest {
    let position = start_position::Position::Preset(from.into());
    SubscribeRequest {
        topics: patterns,
        start: Some(StartPosition { position: Some(position) }),
        namespace: namespace.to_owned(),
        ..Default::default()
    }
}

/// Opens a stream and waits for its `Started`: what is answered from now on is delivered.
pub async fn open<R>(channel: Channel, request: &SubscribeRequest, receive: R) -> anyhow::Result<Streaming<R::Item>>
where
    R: Receive,
    R::Item: Response,
{
    let mut client = Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES);
    client.ready().await?;
    let request = Request::new(Bytes::from(request.encode_to_vec()));
    let mut stream = client.server_streaming(request, path::subscribe(), Raw::with(receive)).await?.into_inner();
    match stream.message().await? {
        Some(first) if first.delivered().started => Ok(stream),
        _ => bail!("the broker's first response is not `started`"),
    }
}

/// Opens as many streams as there are requests, over the connections in turn.
pub async fn open_many<R>(
    channels: &[Channel],
    requests: impl Iterator<Item = SubscribeRequest>,
    receive: R,
) -> anyhow::Result<Vec<Streaming<R::Item>>>
where
    R: Receive,
    R::Item: Response,
{
    let mut opened = Vec::new();
    let mut opening = JoinSet::new();
    for (n, (request, channel)) in requests.zip(channels.iter().cycle()).enumerate() {
        if opening.len() >= OPENING
            && let Some(stream) = opening.join_next().await
        {
            opened.push(stream??);
        }
        let (channel, receive) = (channel.clone(), receive.clone());
        opening.spawn(async move { anyhow::Ok((n, open(channel, &request, receive).await?)) });
    }
    while let Some(stream) = opening.join_next().await {
        opened.push(stream??);
    }
    opened.sort_unstable_by_key(|&(n, _)| n);
    Ok(opened.into_iter().map(|(_, stream)| stream).collect())
}

/// The next response, none at the end. Nothing may be missing.
pub async fn next<T: Response>(stream: &mut Streaming<T>) -> anyhow::Result<Option<T>> {
    let response = stream.message().await?;
    if let Some(delivered) = response.as_ref().map(Response::delivered) {
        ensure!(!delivered.gap, "a stream has a gap: the broker removed messages before they could be read");
        ensure!(!delivered.closing, "the broker is stopping: the run is of no worth");
    }
    Ok(response)
}
