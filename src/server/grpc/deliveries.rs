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

/// What a consumer is told as one gRPC message, a `tilde.v1.ConsumeResponse`, into a buffer of exactly its size.
pub fn frame(event: Consumed) -> Bytes {
    let deliveries = &event.deliveries;
    let own: usize = deliveries.iter().map(|delivery| field_len(delivery_len(delivery))).sum();
    let rest = rest(event.attached, &event);
    let mut out = stream::frame(own + rest.as_ref().map_or(0, Message::encoded_len));
    for delivery in deliveries {
        put_delivery(delivery, &mut out);
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
    encoding::encode_key(DELIVERIES, encoding::WireType::LengthDelimited, out);
    encoding::encode_varint(delivery_len(delivery) as u64, out);
    out.put_slice(&delivery.record);
    if let Some(ack_id) = delivery.ack_id {
        encoding::encode_key(ACK_ID, encoding::WireType::LengthDelimited, out);
        out.put_u8(ACK_ID_LENGTH as u8);
        out.put_slice(&ack_id.encode());
    }
    encoding::encode_key(ATTEMPT, encoding::WireType::Varint, out);
    encoding::encode_varint(delivery.attempt.into(), out);
}
