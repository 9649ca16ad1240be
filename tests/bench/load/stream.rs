//! Opens `Subscribe` streams whose messages are counted and not decoded. Never reads further than `Started`.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use prost::Message;
use tilde::pb::v1 as pb;
use tonic::{Request, Streaming, client::Grpc, transport::Channel};

use super::raw::{Delivered, Deliveries, Raw, path};

/// A response has at most 1 MiB; tonic's limit is for what it does not know.
const RESPONSE_BYTES: usize = 16 << 20;

/// From now on.
pub const NEW: pb::start_position::Preset = pb::start_position::Preset::New;
/// From the beginning.
pub const EARLIEST: pb::start_position::Preset = pb::start_position::Preset::Earliest;

/// What to ask for.
pub fn request(pattern: &str, from: pb::start_position::Preset) -> pb::SubscribeRequest {
    let position = pb::start_position::Position::Preset(from.into());
    pb::SubscribeRequest {
        topics: vec![pattern.to_owned()],
        start: Some(pb::StartPosition { position: Some(position) }),
        ..Default::default()
    }
}

/// Opens a stream and waits for its `Started`: what is answered from now on is delivered.
pub async fn open(channel: Channel, request: &pb::SubscribeRequest) -> Result<Streaming<Delivered>> {
    let mut client = Grpc::new(channel).max_decoding_message_size(RESPONSE_BYTES);
    client.ready().await.context("the connection is gone")?;
    let request = Request::new(Bytes::from(request.encode_to_vec()));
    let mut stream = client.server_streaming(request, path::subscribe(), Raw::<Deliveries>::new()).await?.into_inner();
    let first = stream.message().await?.context("the stream ended before it started")?;
    ensure!(first.started && first.messages == 0, "the first response is not Started alone");
    Ok(stream)
}

/// Opens so many streams over the connections in turn, a few hundred at a time.
pub async fn open_many(
    channels: &[Channel],
    streams: usize,
    request: impl Fn(usize) -> pb::SubscribeRequest,
) -> Result<Vec<Streaming<Delivered>>> {
    let mut opened = Vec::with_capacity(streams);
    let mut opening = tokio::task::JoinSet::new();
    for n in 0..streams {
        let (channel, request) = (channels[n % channels.len()].clone(), request(n));
        opening.spawn(async move { open(channel, &request).await });
        while opening.len() >= 200 || (n + 1 == streams && !opening.is_empty()) {
            opened.extend(opening.join_next().await.transpose()?.transpose()?);
        }
    }
    Ok(opened)
}
