"""The broker is stopped and started again under a live subscriber, which goes on at its cursor and misses nothing."""

import time
from collections.abc import Iterator

import grpc

from tilde.v1.admin_pb2 import DrainRequest
from tilde.v1.admin_pb2_grpc import OperationsStub
from tilde.v1.broker_pb2 import PublishRequest, SubscribeRequest, SubscribeResponse
from tilde.v1.broker_pb2_grpc import BrokerStub
from tilde.v1.message_pb2 import Closing, Gap, StartPosition

from .refusal import Refusal


def run(channel: grpc.Channel, prefix: str) -> None:
    broker = BrokerStub(channel)
    topic = prefix + "tickets"
    print("drain and reconnect")

    for text in ("1", "2", "3"):
        publish(broker, topic, text)
    received = []
    for response in follow(broker, topic):
        if response.HasField("gap"):  # what retention removed before it was read
            print(f"  Gap: {Gap.Reason.Name(response.gap.reason)}")
        if response.HasField("closing"):
            print(f"  Closing: {Closing.Reason.Name(response.closing.reason)}")
            publish(broker, topic, "5")  # refused until the broker is back
            publish(broker, topic, "6")
        for message in response.messages:
            received.append(message.text)
            if len(received) == 3:
                print(f"  before: {', '.join(received)}")
                publish(broker, topic, "4")
                OperationsStub(channel).Drain(DrainRequest())
        if len(received) == 6:
            break
    print(f"  after: {', '.join(received[3:])}")


def follow(broker: BrokerStub, pattern: str) -> Iterator[SubscribeResponse]:
    """All that matches, from the earliest on, across any stop of the broker."""
    start = StartPosition(preset=StartPosition.PRESET_EARLIEST)
    while True:
        try:
            for response in broker.Subscribe(SubscribeRequest(topics=[pattern], start=start)):
                start = StartPosition(after_cursor=response.cursor)
                yield response
        except grpc.RpcError as error:
            print(f"  ended: {Refusal(error)}")
            wait_for_the_broker(error)


def publish(broker: BrokerStub, topic: str, text: str) -> None:
    """Publishes once, however often it has to be tried: the message_id makes that safe."""
    while True:
        try:
            broker.Publish(PublishRequest(topic=topic, text=text, message_id=text))
            return
        except grpc.RpcError as error:
            wait_for_the_broker(error)


def wait_for_the_broker(error: grpc.RpcError) -> None:
    if error.code() != grpc.StatusCode.UNAVAILABLE:
        raise error
    time.sleep(Refusal(error).retry_delay_seconds)
