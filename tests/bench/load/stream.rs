//! Opens `Subscribe` streams as `tilde bench` does: their messages are counted and not decoded. Never reads further than
//! `Started`.

use anyhow::Result;
use tilde::{apps::bench::stream, pb::v1 as pb};
use tonic::{Streaming, transport::Channel};

use super::raw::{Delivered, Deliveries};

/// From now on.
pub const NEW: pb::start_position::Preset = pb::start_position::Preset::New;
/// From the beginning.
pub const EARLIEST: pb::start_position::Preset = pb::start_position::Preset::Earliest;

/// What to ask for.
pub fn request(pattern: &str, from: pb::start_position::Preset) -> pb::SubscribeRequest {
    stream::request("", vec![pattern.to_owned()], from)
}

/// Opens a stream and waits for its `Started`: what is answered from now on is delivered.
pub async fn open(channel: Channel, request: &pb::SubscribeRequest) -> Result<Streaming<Delivered>> {
    stream::open(channel, request, Deliveries::default()).await
}

/// Opens so many streams over the connections in turn.
pub async fn open_many(
    channels: &[Channel],
    streams: usize,
    request: impl Fn(usize) -> pb::SubscribeRequest,
) -> Result<Vec<Streaming<Delivered>>> {
    stream::open_many(channels, (0..streams).map(request), Deliveries::default()).await
}
