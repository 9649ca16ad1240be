"""What the broker refuses, and what its details tell a program: the reason, the field, facts, when to try again."""

import time
import uuid

import grpc

from tilde.v1.admin_pb2 import CreateNamespaceRequest, DeleteNamespaceRequest, Namespace
from tilde.v1.admin_pb2_grpc import NamespacesStub
from tilde.v1.broker_pb2 import PublishRequest
from tilde.v1.broker_pb2_grpc import BrokerStub

from .refusal import Refusal


def run(channel: grpc.Channel, prefix: str) -> None:
    broker = BrokerStub(channel)
    print("errors with their details")

    refusal = refused(broker, PublishRequest(topic=prefix + "a~", text="a topic holds no ~"))
    print(f"  a bad topic: {refusal}, field {refusal.field}")

    refusal = refused(broker, PublishRequest(topic=prefix + "a", text="lost", namespace="no-such-namespace"))
    print(f"  an unknown namespace: {refusal}")

    # Publish only if nobody was faster: the topic's last sequence is still the one that was read.
    config = prefix + "config"
    first = broker.Publish(PublishRequest(topic=config, text="v1", expected_last_sequence=0))
    refusal = refused(broker, PublishRequest(topic=config, text="v2", expected_last_sequence=0))
    assert int(refusal.metadata["actual"]) == first.sequence
    print(f"  somebody was faster: {refusal}, and the actual sequence")

    # A namespace of its own, which takes one message a second.
    namespaces = NamespacesStub(channel)
    name = f"scenarios-{uuid.uuid4()}"
    namespaces.CreateNamespace(CreateNamespaceRequest(namespace=Namespace(name=name, max_messages_per_second=1)))
    too_fast(broker, PublishRequest(topic="a", text="again", namespace=name))
    namespaces.DeleteNamespace(DeleteNamespaceRequest(name=name))


def too_fast(broker: BrokerStub, request: PublishRequest) -> None:
    while True:
        try:
            broker.Publish(request)
        except grpc.RpcError as error:
            refusal = Refusal(error)
            break
    print(f"  too fast: {refusal}, and when to try again")
    assert 0 < refusal.retry_delay_seconds <= 1
    time.sleep(refusal.retry_delay_seconds)
    broker.Publish(request)
    print("  after that time: published")


def refused(broker: BrokerStub, request: PublishRequest) -> Refusal:
    try:
        broker.Publish(request)
    except grpc.RpcError as error:
        return Refusal(error)
    raise AssertionError("it was not refused")
