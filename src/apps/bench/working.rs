//! A subscription that is made to be measured, and its consumers, whose deliveries are looked at and not decoded. Never
//! says when a run is over.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, client::Grpc};

use super::{
    frames::number,
    options::Target,
    raw::{Raw, Receive, path},
    wire::take_field,
};
use crate::{
    client::{ANSWER_BYTES, Channel},
    clock::{Clock, SystemClock},
    pb::v1::{
        Attach, ConsumeRequest, CreateSubscriptionRequest, DeleteSubscriptionRequest, FlowControl, StartPosition,
        Subscription, Verdict,
        start_position::{Position, Preset},
        subscriptions_client::SubscriptionsClient,
    },
};

/// A subscription of one topic, with a name that nobody else has.
pub struct Working {
    client: SubscriptionsClient<Channel>,
    name: String,
    namespace: String,
}

/// One who works it off.
pub struct Consumer {
    /// Encoded requests.
    pub say: mpsc::Sender<Bytes>,
    /// What is delivered, from behind the first response on.
    pub stream: Streaming<Handed>,
}

impl Working {
    /// Makes it.
    pub async fn begin(target: &Target, topic: String, from: Preset) -> anyhow::Result<Working> {
        let mut client = SubscriptionsClient::new(target.connect().await?);
        let name = format!("bench-{:016x}", SystemClock.random());
        let namespace = target.tenant.namespace.clone();
        let subscription = Subscription {
            name: name.clone(),
            namespace: namespace.clone(),
            topics: vec![topic],
            start: Some(StartPosition { position: Some(Position::Preset(from.into())) }),
            ..Subscription::default()
        };
        client.create_subscription(CreateSubscriptionRequest { subscription: Some(subscription) }).await?;
        Ok(Working { client, name, namespace })
    }

    /// Adds a consumer that may have so many messages, and waits until it is attached.
    pub async fn attach(&self, channel: Channel, window: u32, is_numbered: bool) -> anyhow::Result<Consumer> {
        let flow = FlowControl { max_outstanding_messages: Some(window), max_outstanding_bytes: Some(256 << 20) };
        let attach = Attach {
            subscription: self.name.clone(),
            namespace: self.namespace.clone(),
            flow_control: Some(flow),
            ..Attach::default()
        };
        let (say, said) = mpsc::channel(64);
        say.send(ConsumeRequest { attach: Some(attach), ..ConsumeRequest::default() }.encode_to_vec().into()).await?;
        let mut client = Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES);
        client.ready().await?;
        let codec = Raw::with(Settling { is_numbered });
        let requests = Request::new(ReceiverStream::new(said));
        let mut stream = client.streaming(requests, path::consume(), codec).await?.into_inner();
        stream.message().await?;
        Ok(Consumer { say, stream })
    }

    /// Deletes it.
    pub async fn end(mut self) -> anyhow::Result<()> {
        let request = DeleteSubscriptionRequest { name: self.name, namespace: self.namespace };
        self.client.delete_subscription(request).await?;
        Ok(())
    }
}

/// Makes the settlements of the deliveries of a response, one for each.
#[derive(Clone, Debug, Default)]
pub struct Settling {
    /// Whether the numbers in the payloads are wanted.
    pub is_numbered: bool,
}

/// What one response held.
#[derive(Debug)]
pub struct Handed {
    /// Deliveries.
    pub messages: u64,
    /// The numbers in their payloads, if they are wanted.
    pub numbers: Vec<u64>,
    /// An encoded request that settles each of them by itself.
    pub settlements: Bytes,
    /// The broker refused a settlement, or is stopping.
    pub refused: bool,
}

impl Receive for Settling {
    type Item = Handed;

    fn receive(&mut self, mut bytes: &[u8]) -> Result<Handed, Status> {
        const DELIVERIES: u64 = 1;
        const CONFIRMATIONS: u64 = 2;
        const CLOSING: u64 = 5;
        let (mut settlements, mut numbers, mut messages, mut refused) = (BytesMut::new(), Vec::new(), 0, false);
        while let Some((field, value)) = take_field(&mut bytes)? {
            match field {
                DELIVERIES => {
                    let (message, ack_id) = parts(value.bytes())?;
                    put_settlement(&mut settlements, ack_id);
                    if self.is_numbered {
                        numbers.push(number(message)?);
                    }
                    messages += 1;
                }
                CONFIRMATIONS | CLOSING => refused = true,
                _ => {}
            }
        }
        Ok(Handed { messages, numbers, settlements: settlements.freeze(), refused })
    }
}

/// A delivery's message and ack_id.
fn parts(mut delivery: &[u8]) -> Result<(&[u8], &[u8]), Status> {
    const MESSAGE: u64 = 1;
    const ACK_ID: u64 = 2;
    let (mut message, mut ack_id) = (&[][..], &[][..]);
    while let Some((field, value)) = take_field(&mut delivery)? {
        match field {
            MESSAGE => message = value.bytes(),
            ACK_ID => ack_id = value.bytes(),
            _ => {}
        }
    }
    match ack_id.is_empty() {
        true => Err(Status::data_loss("a delivery has no ack_id")),
        false => Ok((message, ack_id)),
    }
}

/// `ConsumeRequest.settlements` with one ack_id and the verdict ACK.
fn put_settlement(out: &mut BytesMut, ack_id: &[u8]) {
    let length = ack_id.len() as u8;
    out.put_slice(&[2 << 3 | 2, length + 4, 1 << 3 | 2, length]);
    out.put_slice(ack_id);
    out.put_slice(&[2 << 3, Verdict::Ack as u8]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1::{ConsumeResponse, Delivery, Settlement};

    #[test]
    fn each_delivery_is_settled_by_itself() {
        let delivery = |ack_id: &str| Delivery { ack_id: ack_id.into(), attempt: 1, ..Delivery::default() };
        let response = ConsumeResponse { deliveries: vec![delivery("a"), delivery("bcd")], ..Default::default() };
        let handed = Settling::default().receive(&response.encode_to_vec()).unwrap();
        let settlement = |ack_id: &str| Settlement {
            ack_ids: vec![ack_id.into()],
            verdict: Verdict::Ack.into(),
            ..Settlement::default()
        };
        let request = ConsumeRequest::decode(handed.settlements).unwrap();
        assert_eq!((handed.messages, request.settlements), (2, vec![settlement("a"), settlement("bcd")]));
    }
}
