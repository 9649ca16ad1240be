//! How unary messages are encoded and decoded: as everywhere, but frugal with buffers, and what cannot be decoded is
//! the caller's fault and said so. Live streams have a body of their own (`subscribe.rs`) and use the decoder only.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::{
    Status,
    codec::{self, BufferSettings, DecodeBuf, EncodeBuf},
};

use super::incoming::{self, Raw};
use crate::model::Error;

/// The first buffer of a call, in bytes: an answer to a publish fits. The library's own 8 KiB are paid by every call.
const BUFFER_BYTES: usize = 256;
/// From how many bytes on the library hands out what it has encoded; one message is all that a unary call has.
const YIELD_BYTES: usize = 32 << 10;

/// Encodes `T`, decodes `U`.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

/// Encodes answers.
#[derive(Debug)]
pub struct Encoder<T>(PhantomData<T>);

/// Decodes requests.
#[derive(Debug)]
pub struct Decoder<U>(PhantomData<U>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Codec(PhantomData)
    }
}

impl<U> Default for Decoder<U> {
    fn default() -> Self {
        Decoder(PhantomData)
    }
}

/// What a request can be read as.
pub trait Read: Sized {
    /// Reads all the bytes of one message.
    fn read(bytes: &mut DecodeBuf<'_>) -> Result<Self, Error>;
}

impl<M: Message + Default> Read for M {
    fn read(bytes: &mut DecodeBuf<'_>) -> Result<Self, Error> {
        M::decode(bytes).map_err(|error| incoming::undecodable(&error.to_string()))
    }
}

impl Read for Raw {
    fn read(bytes: &mut DecodeBuf<'_>) -> Result<Self, Error> {
        Ok(Raw(bytes.copy_to_bytes(bytes.remaining())))
    }
}

impl<T, U> codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Read + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Encoder<T>;
    type Decoder = Decoder<U>;

    fn encoder(&mut self) -> Encoder<T> {
        Encoder(PhantomData)
    }

    fn decoder(&mut self) -> Decoder<U> {
        Decoder(PhantomData)
    }
}

impl<T: Message> codec::Encoder for Encoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(item.encoded_len());
        item.encode_raw(out);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}

impl<U: Read> codec::Decoder for Decoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        Ok(Some(U::read(bytes)?))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tonic::codec::Streaming;

    use super::*;
    use crate::pb::v1 as pb;

    #[tokio::test]
    async fn what_does_not_decode_is_the_callers_fault() {
        // Field 1, `topics`, with two bytes that are no UTF-8; and a field that ends too early.
        for bad in [&[0x0a, 2, 0xc3, 0x28][..], &[0x0a, 9, b'a']] {
            let mut framed = vec![0, 0, 0, 0, bad.len() as u8];
            framed.extend_from_slice(bad);
            let decoder = Decoder::<pb::SubscribeRequest>::default();
            let mut stream = Streaming::new_request(decoder, Full::new(bytes::Bytes::from(framed)), None, None);
            let status = stream.message().await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
            assert!(!status.details().is_empty());
        }
    }
}
