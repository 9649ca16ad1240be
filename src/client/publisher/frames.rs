//! What goes out on a publisher's stream: frames of whatever has queued while the last one was being handed over. Polled
//! by the connection itself, so that nothing lies between. The messages in it are encoded already.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes};
use futures_core::Stream;
use prost::Message as _;
use tokio::time::Instant;
use tonic::{
    Status,
    codec::{self, BufferSettings, EncodeBuf},
};
use tonic_prost::ProstCodec;

use super::shared::Shared;
use crate::pb::v1::{PublishStreamRequest, PublishStreamResponse};

/// Bytes that are handed to the connection at once, and those that are allocated for them at first.
const YIELD_BYTES: usize = 128 << 10;
const BUFFER_BYTES: usize = 16 << 10;

/// A frame: what stands before the requests, and the requests, encoded.
#[derive(Debug)]
pub(super) struct Outgoing {
    head: PublishStreamRequest,
    requests: Bytes,
}

/// The frames of one stream. Ends when that stream is no longer the publisher's, or the publisher has nothing more.
#[derive(Debug)]
pub(super) struct Frames {
    shared: Arc<Shared>,
    /// Which of the publisher's streams it is.
    stream: u64,
    opening: Option<PublishStreamRequest>,
}

impl Frames {
    pub(super) fn new(shared: Arc<Shared>, stream: u64, opening: PublishStreamRequest) -> Self {
        Frames { shared, stream, opening: Some(opening) }
    }
}

impl Stream for Frames {
    type Item = Outgoing;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outgoing>> {
        let this = self.get_mut();
        if let Some(head) = this.opening.take() {
            return Poll::Ready(Some(Outgoing { head, requests: Bytes::new() }));
        }
        let mut state = this.shared.state();
        if !state.is_open(this.stream) {
            return Poll::Ready(None);
        }
        if let Some(frame) = state.take_frame(Instant::now()) {
            let head = PublishStreamRequest {
                first_number: frame.first_number.unwrap_or_default(),
                ..PublishStreamRequest::default()
            };
            return Poll::Ready(Some(Outgoing { head, requests: frame.requests }));
        }
        state.wake_with(cx.waker());
        Poll::Pending
    }
}

/// Encodes frames, decodes answers.
#[derive(Debug, Default)]
pub(super) struct Codec;

/// Encodes frames.
#[derive(Debug)]
pub(super) struct Encoder;

type Answers = ProstCodec<PublishStreamRequest, PublishStreamResponse>;

impl codec::Codec for Codec {
    type Encode = Outgoing;
    type Decode = PublishStreamResponse;
    type Encoder = Encoder;
    type Decoder = <Answers as codec::Codec>::Decoder;

    fn encoder(&mut self) -> Encoder {
        Encoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        codec::Codec::decoder(&mut Answers::default())
    }
}

impl codec::Encoder for Encoder {
    type Item = Outgoing;
    type Error = Status;

    fn encode(&mut self, item: Outgoing, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(item.head.encoded_len() + item.requests.len());
        item.head.encode_raw(out);
        out.put(item.requests);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}
