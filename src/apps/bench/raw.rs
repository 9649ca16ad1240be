//! A codec for tonic's client that sends ready bytes and looks at what comes back in place, so that the machine's time
//! goes to the broker and not to the receiver. Never decodes a message.

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use super::wire::{Value, malformed, take_field};

/// Sends `Bytes`; receives what an `R` makes of each response.
#[derive(Clone, Debug, Default)]
pub struct Raw<R>(R);

/// Makes something of the bytes of one response.
pub trait Receive: Clone + Send + 'static {
    /// What it makes.
    type Item: Send + Sync + 'static;

    /// Reads one whole response.
    fn receive(&mut self, bytes: &[u8]) -> Result<Self::Item, Status>;
}

impl<R: Receive> Raw<R> {
    /// For one call, whose responses a fresh `R` receives.
    pub fn new() -> Self
    where
        R: Default,
    {
        Raw::default()
    }

    /// For one call, whose responses this one receives.
    pub fn with(receive: R) -> Self {
        Raw(receive)
    }
}

/// Paths of the calls that are made with ready bytes.
pub mod path {
    use super::PathAndQuery;

    /// `Subscribe`.
    pub fn subscribe() -> PathAndQuery {
        PathAndQuery::from_static("/tilde.v1.Broker/Subscribe")
    }

    /// `Consume`.
    pub fn consume() -> PathAndQuery {
        PathAndQuery::from_static("/tilde.v1.Broker/Consume")
    }

    /// `Publish`.
    pub fn publish() -> PathAndQuery {
        PathAndQuery::from_static("/tilde.v1.Broker/Publish")
    }

    /// `BatchPublish`.
    pub fn batch_publish() -> PathAndQuery {
        PathAndQuery::from_static("/tilde.v1.Broker/BatchPublish")
    }

    /// `PublishStream`.
    pub fn publish_stream() -> PathAndQuery {
        PathAndQuery::from_static("/tilde.v1.Broker/PublishStream")
    }
}

/// Counts the messages of a `SubscribeResponse`, and refuses sequences that do not rise.
#[derive(Clone, Debug, Default)]
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
    /// The broker is about to end the stream.
    pub closing: bool,
}

impl Receive for Deliveries {
    type Item = Delivered;

    fn receive(&mut self, bytes: &[u8]) -> Result<Delivered, Status> {
        self.each(bytes, |_| Ok(()))
    }
}

impl Deliveries {
    /// Reads one response, and shows each of its messages to `look`.
    pub fn each(
        &mut self,
        mut bytes: &[u8],
        mut look: impl FnMut(&[u8]) -> Result<(), Status>,
    ) -> Result<Delivered, Status> {
        let mut delivered = Delivered::default();
        while let Some((number, value)) = take_field(&mut bytes)? {
            match number {
                1 => {
                    let message = value.bytes();
                    self.rise(sequence(message)?)?;
                    look(message)?;
                    delivered.last = self.last;
                    delivered.messages += 1;
                    delivered.bytes += message.len() as u64;
                }
                3 => delivered.started = true,
                5 => delivered.gap = true,
                7 => delivered.closing = true,
                _ => {}
            }
        }
        Ok(delivered)
    }

    fn rise(&mut self, sequence: u64) -> Result<(), Status> {
        if sequence <= self.last {
            return Err(Status::data_loss(format!("sequence {sequence} came after {}", self.last)));
        }
        self.last = sequence;
        Ok(())
    }
}

/// A message's sequence. The broker writes it last but for the time, whose length is the same in every message: it is
/// looked for there first, which saves the way through the others.
fn sequence(message: &[u8]) -> Result<u64, Status> {
    const TAG: u8 = 2 << 3 | 1;
    const TIME_TAG: u8 = 3 << 3 | 2;
    const TRAILER: usize = 23;
    if let Some(trailer) = message.last_chunk::<TRAILER>()
        && trailer[0] == TAG
        && trailer[9] == TIME_TAG
        && trailer[10] as usize == TRAILER - 11
        && let Some(sequence) = trailer[1..].first_chunk()
    {
        return Ok(u64::from_le_bytes(*sequence));
    }
    let mut rest = message;
    while let Some(field) = take_field(&mut rest)? {
        if let (2, Value::Number(sequence)) = field {
            return Ok(sequence);
        }
    }
    Err(malformed())
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
        Receiver(self.0.clone())
    }
}

/// Puts ready bytes on the wire.
#[derive(Debug)]
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
#[derive(Debug)]
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

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::pb::v1::{Gap, Message, SubscribeResponse, message::Payload};

    fn response(sequences: &[u64]) -> Vec<u8> {
        let message = |&sequence: &u64| Message {
            topic: "a".into(),
            sequence,
            payload: Some(Payload::Data(vec![b'x'; 40].into())),
            ..Default::default()
        };
        let messages = sequences.iter().map(message).collect();
        SubscribeResponse { messages, gap: Some(Gap::default()), ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn messages_are_counted_wherever_their_sequence_stands() {
        let delivered = Deliveries::default().receive(&response(&[3, 9, 1 << 40])).unwrap();
        assert_eq!((delivered.messages, delivered.last, delivered.gap, delivered.started), (3, 1 << 40, true, false));
    }

    #[test]
    fn the_sequence_is_found_at_the_end_as_well() {
        let mut message = vec![0x0a, 1, b'a', 0x11];
        message.extend(7u64.to_le_bytes());
        message.extend([0x1a, 12, 0x08, 0x81, 0x80, 0x80, 0x80, 0x00, 0x10, 0x81, 0x80, 0x80, 0x80, 0x00]);
        assert_eq!(sequence(&message).unwrap(), 7);
        assert!(sequence(&message[..3]).is_err());
    }

    #[test]
    fn sequences_rise_from_response_to_response() {
        let mut deliveries = Deliveries::default();
        deliveries.receive(&response(&[3, 9])).unwrap();
        assert!(deliveries.receive(&response(&[9])).is_err());
        assert!(Deliveries::default().receive(&response(&[5, 4])).is_err());
    }
}
