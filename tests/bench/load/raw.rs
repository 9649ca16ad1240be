//! A codec for tonic's client that sends ready bytes and counts what comes back, so that the machine's time goes to the
//! broker and not to the receiver. Never decodes a message: it walks their lengths and looks at their sequences.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
};

/// Sends `Bytes`; receives what an `R` makes of each response.
pub struct Raw<R>(PhantomData<R>);

/// Makes something of the bytes of one response.
pub trait Receive: Default + Send + 'static {
    /// What it makes.
    type Item: Send + Sync + 'static;

    /// Reads one whole response.
    fn receive(&mut self, bytes: &[u8]) -> Result<Self::Item, Status>;
}

impl<R> Raw<R> {
    /// For one call.
    pub fn new() -> Self {
        Raw(PhantomData)
    }
}

/// Paths of the calls that are made with ready bytes.
pub mod path {
    use super::PathAndQuery;

    /// `Subscribe`.
    pub fn subscribe() -> PathAndQuery {
        PathAndQuery::from_static("/tilde.v1.Broker/Subscribe")
    }

    /// `Publish`.
    pub fn publish() -> PathAndQuery {
        PathAndQuery::from_static("/tilde.v1.Broker/Publish")
    }

    /// `BatchPublish`.
    pub fn batch_publish() -> PathAndQuery {
        PathAndQuery::from_static("/tilde.v1.Broker/BatchPublish")
    }
}

/// Counts the messages of a `SubscribeResponse`, and refuses sequences that do not rise.
#[derive(Default)]
pub struct Deliveries {
    last: u64,
}

/// What one `SubscribeResponse` held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivered {
    /// Messages.
    pub messages: u64,
    /// Their bytes, encoded.
    pub bytes: u64,
    /// The last one's sequence.
    pub last: u64,
    /// It is the stream's first.
    pub started: bool,
    /// Something will never come.
    pub gap: bool,
}

/// Bytes of a message's end that hold sequence and time, and where in them the sequence is.
const TRAILER: usize = tilde::model::record::TRAILER;

impl Receive for Deliveries {
    type Item = Delivered;

    fn receive(&mut self, mut bytes: &[u8]) -> Result<Delivered, Status> {
        let mut delivered = Delivered::default();
        while let Some((number, content)) = take_field(&mut bytes)? {
            match number {
                1 => {
                    let at = content.len().checked_sub(TRAILER - 1).ok_or_else(malformed)?;
                    let (sequence, _) = content[at..].split_first_chunk().ok_or_else(malformed)?;
                    let sequence = u64::from_le_bytes(*sequence);
                    if sequence <= self.last {
                        return Err(Status::data_loss(format!("sequence {sequence} came after {}", self.last)));
                    }
                    self.last = sequence;
                    delivered.last = sequence;
                    delivered.messages += 1;
                    delivered.bytes += content.len() as u64;
                }
                3 => delivered.started = true,
                5 => delivered.gap = true,
                _ => {}
            }
        }
        Ok(delivered)
    }
}

/// Counts the results of a `BatchPublishResponse`; one refusal fails it.
#[derive(Default)]
pub struct Answers;

impl Receive for Answers {
    type Item = u64;

    fn receive(&mut self, mut bytes: &[u8]) -> Result<u64, Status> {
        let mut taken = 0;
        while let Some((_, mut result)) = take_field(&mut bytes)? {
            match take_field(&mut result)? {
                Some((1, _)) => taken += 1,
                _ => return Err(Status::aborted("a message of the batch was refused")),
            }
        }
        Ok(taken)
    }
}

/// Counts bytes.
#[derive(Default)]
pub struct Length;

impl Receive for Length {
    type Item = usize;

    fn receive(&mut self, bytes: &[u8]) -> Result<usize, Status> {
        Ok(bytes.len())
    }
}

/// The next field: its number, and its bytes if it has a length.
fn take_field<'a>(bytes: &mut &'a [u8]) -> Result<Option<(u64, &'a [u8])>, Status> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let tag = take_varint(bytes)?;
    let length = match tag & 7 {
        0 => {
            take_varint(bytes)?;
            return Ok(Some((tag >> 3, &[])));
        }
        1 => 8,
        2 => take_varint(bytes)? as usize,
        5 => 4,
        _ => return Err(malformed()),
    };
    let (content, rest) = bytes.split_at_checked(length).ok_or_else(malformed)?;
    *bytes = rest;
    Ok(Some((tag >> 3, content)))
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, Status> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Ok(value);
        }
    }
    Err(malformed())
}

fn malformed() -> Status {
    Status::data_loss("the broker sent bytes that are no response")
}

impl<R: Receive> Codec for Raw<R> {
    type Encode = Bytes;
    type Decode = R::Item;
    type Encoder = Sender;
    type Decoder = Receiver<R>;

    fn encoder(&mut self) -> Sender {
        Sender
    }

    fn decoder(&mut self) -> Receiver<R> {
        Receiver(R::default())
    }
}

/// Puts ready bytes on the wire.
pub struct Sender;

impl Encoder for Sender {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

/// Hands each response to an `R`, in place.
pub struct Receiver<R>(R);

impl<R: Receive> Decoder for Receiver<R> {
    type Item = R::Item;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<R::Item>, Status> {
        let length = from.remaining();
        let bytes = from.chunk();
        if bytes.len() != length {
            return Err(Status::internal("tonic hands out a message in one piece"));
        }
        let item = self.0.receive(bytes)?;
        from.advance(length);
        Ok(Some(item))
    }
}
