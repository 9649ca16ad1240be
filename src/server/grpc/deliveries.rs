//! Deliveries as they go on the wire: records are copied as they lie, never encoded again.

use bytes::{BufMut, Bytes, BytesMut};
use prost::{Message, encoding};

use super::{convert, settlements, stream};
use crate::{
    broker::subscription::{Attached, Consumed, Delivery, FlowControl},
    model::delivery::ACK_ID_LENGTH,
    pb::v1 as pb,
};

/// `ConsumeResponse.deliveries`.
const DELIVERIES: u32 = 1;
/// Fields of `Delivery`; its message is field 1, as a record already says.
const ACK_ID: u32 = 2;
const ATTEMPT: u32 = 3;
const ACK_DEADLINE: u32 = 4;

/// What a consumer is told as one gRPC message, a `tilde.v1.ConsumeResponse`, into a buffer of exactly its size.
pub fn frame(event: Consumed) -> Bytes {
    let deliveries = &event.deliveries;
    // The same for all, and rare.
    let deadline = event.ack_deadline.map(convert::timestamp);
    let deadline_len = deadline.as_ref().map_or(0, |time| encoding::message::encoded_len(ACK_DEADLINE, time));
    let own: usize = deliveries.iter().map(|delivery| field_len(delivery_len(delivery) + deadline_len)).sum();
    let rest = rest(event.attached, &event);
    let mut out = stream::frame(own + rest.as_ref().map_or(0, Message::encoded_len));
    for delivery in deliveries {
        encoding::encode_key(DELIVERIES, encoding::WireType::LengthDelimited, &mut out);
        encoding::encode_varint((delivery_len(delivery) + deadline_len) as u64, &mut out);
        put_delivery(delivery, &mut out);
        if let Some(time) = &deadline {
            encoding::message::encode(ACK_DEADLINE, time, &mut out);
        }
    }
    if let Some(rest) = rest {
        rest.encode_raw(&mut out);
    }
    out.freeze()
}

/// Everything but deliveries; none in the common case.
fn rest(attached: Option<Attached>, event: &Consumed) -> Option<pb::ConsumeResponse> {
    let quiet = attached.is_none()
        && event.confirmations.is_empty()
        && event.heartbeat.is_none()
        && event.gap.is_none()
        && event.closing.is_none();
    if quiet {
        return None;
    }
    Some(pb::ConsumeResponse {
        deliveries: Vec::new(),
        confirmations: settlements::confirmations(event.confirmations.iter().cloned()),
        attached: attached.map(|attached| pb::Attached {
            stream_id: format!("{:016x}", attached.stream_id),
            flow_control: Some(flow_control(attached.flow)),
            ack_deadline: Some(convert::duration(attached.ack_deadline)),
            backlog_messages: attached.backlog,
        }),
        heartbeat: event.heartbeat.map(convert::heartbeat),
        gap: event.gap.map(convert::gap),
        closing: event.closing.map(|closing| {
            convert::closing(
                closing,
                "the broker is stopping: settle what you have, and come back after the reconnect delay",
            )
        }),
    })
}

fn flow_control(flow: FlowControl) -> pb::FlowControl {
    pb::FlowControl { max_outstanding_messages: flow.messages, max_outstanding_bytes: flow.bytes }
}

fn delivery_len(delivery: &Delivery) -> usize {
    // A tag and a length of one byte each before the id, a tag before the attempt.
    let ack_id = delivery.ack_id.map_or(0, |_| 2 + ACK_ID_LENGTH);
    delivery.record.len() + ack_id + 1 + encoding::encoded_len_varint(delivery.attempt.into())
}

fn field_len(length: usize) -> usize {
    1 + encoding::encoded_len_varint(length as u64) + length
}

fn put_delivery(delivery: &Delivery, out: &mut BytesMut) {
    out.put_slice(&delivery.record);
    if let Some(ack_id) = delivery.ack_id {
        encoding::encode_key(ACK_ID, encoding::WireType::LengthDelimited, out);
        out.put_u8(ACK_ID_LENGTH as u8);
        out.put_slice(&ack_id.encode());
    }
    encoding::encode_key(ATTEMPT, encoding::WireType::Varint, out);
    encoding::encode_varint(delivery.attempt.into(), out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AckId, Message as Published, Payload, Sequence, Stamp, Timestamp, Topic, limits};

    #[test]
    fn a_frame_says_what_the_contract_says() {
        let mut record = Vec::new();
        let message = Published::new(Topic::parse("jobs/a").unwrap(), Payload::Text("x".into()));
        message.encode(limits::MESSAGE_BYTES, &mut record).unwrap();
        Stamp::new(Timestamp::EPOCH).put(&mut record, Sequence(7));
        let ack_id = AckId { subscription: 1, sequence: Sequence(7), lease: 2 };
        let delivery = Delivery {
            record: record.into(),
            ack_id: Some(ack_id),
            attempt: 300,
            deadline: tokio::time::Instant::now(),
        };
        for ack_deadline in [None, Some(Timestamp::from_nanos(5_000_000_003))] {
            let deliveries = vec![delivery.clone(); 2];
            let frame = frame(Consumed { deliveries, ack_deadline, ..Consumed::default() });
            let response = pb::ConsumeResponse::decode(&frame[stream::PREFIX_BYTES..]).unwrap();
            assert_eq!(response.deliveries.len(), 2);
            for told in response.deliveries {
                assert_eq!(told.message.unwrap().sequence, 7);
                assert_eq!((told.ack_id.as_bytes(), told.attempt), (&ack_id.encode()[..], 300));
                assert_eq!(told.ack_deadline, ack_deadline.map(convert::timestamp));
            }
        }
    }
}
