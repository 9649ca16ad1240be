"""Publish text and bytes, and publish again what may or may not have arrived."""

import grpc

from tilde.v1.broker_pb2 import PublishRequest, PublishResponse
from tilde.v1.broker_pb2_grpc import BrokerStub
from tilde.v1.message_pb2 import DURABILITY_SYNCED


def run(channel: grpc.Channel, prefix: str) -> None:
    broker = BrokerStub(channel)
    print("publish")

    text = broker.Publish(
        PublishRequest(topic=prefix + "orders/eu", text='{"id":7}', attributes={"tenant": "acme", "important": "true"})
    )
    check_complete(text)
    print("  text: SYNCED, with a sequence, a time and a cursor")

    data = broker.Publish(
        PublishRequest(
            topic=prefix + "images/7", data=b"\x89PNG\x00", content_type="image/png", attributes={"tenant": "acme"}
        )
    )
    check_complete(data)
    assert data.sequence > text.sequence
    print("  bytes: SYNCED, with a sequence, a time and a cursor")

    # Whoever does not know whether a publish arrived sends it again: with a message_id it counts once.
    payment = PublishRequest(topic=prefix + "payments", text="paid", message_id="payment-7")
    first = broker.Publish(payment)
    again = broker.Publish(payment)
    assert not first.duplicate and again.duplicate and again.sequence == first.sequence
    print("  again with its message_id: a duplicate, with the sequence of the first")


def check_complete(answer: PublishResponse) -> None:
    assert answer.durability == DURABILITY_SYNCED and not answer.duplicate
    assert answer.sequence > 0 and answer.HasField("publish_time") and answer.cursor
