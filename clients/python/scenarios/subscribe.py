"""Read what matches a pattern, stop, and go on at the cursor: nothing is missed, and nothing comes twice."""

import grpc

from tilde.v1.broker_pb2 import PublishRequest, SubscribeRequest
from tilde.v1.broker_pb2_grpc import BrokerStub
from tilde.v1.message_pb2 import StartPosition

EARLIEST = StartPosition(preset=StartPosition.PRESET_EARLIEST)


def run(channel: grpc.Channel, prefix: str) -> None:
    broker = BrokerStub(channel)
    pattern = prefix + "shop/orders/~"
    print("subscribe")

    broker.Publish(PublishRequest(topic=prefix + "shop/orders/eu", text="first"))
    broker.Publish(PublishRequest(topic=prefix + "shop/orders/us", text="second"))
    broker.Publish(PublishRequest(topic=prefix + "shop/refunds/eu", text="does not match"))
    broker.Publish(PublishRequest(topic=prefix + "shop/orders/eu", text="third"))

    texts, _ = read(broker, SubscribeRequest(topics=[pattern], start=EARLIEST, stop_at_end=True))
    print(f"  all from the earliest: {', '.join(texts)}")

    texts, cursor = read(broker, SubscribeRequest(topics=[pattern], start=EARLIEST, max_messages=2))
    print(f"  the first two: {', '.join(texts)}")

    broker.Publish(PublishRequest(topic=prefix + "shop/orders/us", text="fourth"))
    after = StartPosition(after_cursor=cursor)
    texts, _ = read(broker, SubscribeRequest(topics=[pattern], start=after, stop_at_end=True))
    print(f"  resumed at the cursor: {', '.join(texts)}")


def read(broker: BrokerStub, request: SubscribeRequest) -> tuple[list[str], str]:
    """Reads a stream to its end: the texts, and the cursor after them."""
    texts, cursor = [], ""
    for response in broker.Subscribe(request):
        texts += [message.text for message in response.messages]
        cursor = response.cursor  # every response has one
    return texts, cursor
