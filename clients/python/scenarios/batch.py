"""Publish many messages at once: in one call, all or none, and on a stream that may be sent again."""

from collections.abc import Iterator

import grpc

from tilde.v1.admin_pb2 import GetTopicRequest
from tilde.v1.admin_pb2_grpc import TopicsStub
from tilde.v1.broker_pb2 import BatchPublishRequest, PublishRequest, PublishResult, PublishStreamRequest
from tilde.v1.broker_pb2_grpc import BrokerStub

from .refusal import Refusal

REQUESTS = 1000
REQUESTS_A_FRAME = 100


def run(channel: grpc.Channel, prefix: str) -> None:
    broker = BrokerStub(channel)
    print("batch and stream publish")

    # Each request of a batch has a result of its own.
    answer = broker.BatchPublish(BatchPublishRequest(requests=with_a_bad_one(prefix + "batch")))
    print(f"  batch: {', '.join(outcome(result) for result in answer.results)}")

    # An atomic batch is taken or refused as a whole.
    try:
        broker.BatchPublish(BatchPublishRequest(requests=with_a_bad_one(prefix + "atomic"), atomic=True))
        raise AssertionError("it was not refused")
    except grpc.RpcError as error:
        refusal = Refusal(error)
    print(f"  atomic: {refusal}, field {refusal.field}")
    try:
        TopicsStub(channel).GetTopic(GetTopicRequest(name=prefix + "atomic"))
        raise AssertionError("a part of it was published")
    except grpc.RpcError as error:
        print(f"  its topic: {Refusal(error)}")

    # A stream has many requests in flight. Numbered by a producer, they may be sent again.
    producer = prefix + "producer"
    print(f"  stream: {publish_stream(broker, prefix + 'stream', producer)}")
    print(f"  sent again: {publish_stream(broker, prefix + 'stream', producer)}")


def with_a_bad_one(topic: str) -> list[PublishRequest]:
    return [
        PublishRequest(topic=topic, text="good"),
        PublishRequest(topic=topic + "~", text="a topic holds no ~"),
        PublishRequest(topic=topic, text="good too"),
    ]


def outcome(result: PublishResult) -> str:
    if result.HasField("published"):
        return "published"
    return f"{grpc_code(result.error.code)} ({result.error.reason})"


def grpc_code(number: int) -> str:
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)


def publish_stream(broker: BrokerStub, topic: str, producer: str) -> str:
    """Sends all requests, and reads the answers until the broker has given every one."""
    next_number, answered, duplicates = 0, [0] * REQUESTS, 0
    for response in broker.PublishStream(frames(topic, producer)):
        if response.HasField("next_number"):  # in the first response, alone
            next_number = response.next_number
        assert not response.failures, response.failures
        for run in response.published:
            for request in range(run.first_request, run.first_request + run.requests):
                answered[request] += 1
            duplicates += run.requests if run.duplicate else 0
    assert answered == [1] * REQUESTS
    return f"next number {next_number}, {REQUESTS} requests answered once each, {duplicates} of them duplicates"


def frames(topic: str, producer: str) -> Iterator[PublishStreamRequest]:
    for first in range(1, REQUESTS + 1, REQUESTS_A_FRAME):
        numbers = range(first, first + REQUESTS_A_FRAME)
        requests = [PublishRequest(topic=topic, text=str(number)) for number in numbers]
        if first == 1:
            yield PublishStreamRequest(producer_id=producer, first_number=1, requests=requests)
        else:
            yield PublishStreamRequest(requests=requests)
