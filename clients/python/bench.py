"""How many messages a second one Python process brings in on one PublishStream.

    python bench.py [HOST:PORT] [--messages N] [--frame N] [--payload BYTES]

Every request is built in Python, as a program would that has a payload at hand for each. The clock stops when the last
is answered. Prints one line of JSON.
"""

import argparse
import json
import time
import uuid
from collections.abc import Iterator

import grpc
from google.protobuf.internal import api_implementation

from tilde.v1.broker_pb2 import PublishRequest, PublishStreamRequest
from tilde.v1.broker_pb2_grpc import BrokerStub


def main() -> None:
    args = parse_args()
    try:
        result = measure(args)
    except grpc.RpcError as error:
        raise SystemExit(f"{error.code().name}: {error.details()}")
    print(json.dumps(result))


def measure(args: argparse.Namespace) -> dict[str, object]:
    payloads = [f"{number:08}".encode().ljust(args.payload, b".") for number in range(1000)]
    with grpc.insecure_channel(args.address) as channel:
        begin = time.perf_counter()
        answered = 0
        for response in BrokerStub(channel).PublishStream(frames(args, payloads)):
            if response.failures:
                raise SystemExit(f"refused: {response.failures[0].error.message}")
            answered += sum(run.requests for run in response.published if not run.duplicate)
        seconds = time.perf_counter() - begin
    if answered != args.messages:
        raise SystemExit(f"{answered} of {args.messages} messages were answered as published")
    return {
        "rate": round(answered / seconds),
        "messages": answered,
        "seconds": round(seconds, 3),
        "frame": args.frame,
        "payload_bytes": args.payload,
        "protobuf": api_implementation.Type(),  # "upb", in C; "python" would be many times slower
    }


def frames(args: argparse.Namespace, payloads: list[bytes]) -> Iterator[PublishStreamRequest]:
    topic = f"bench/{uuid.uuid4()}"
    yield PublishStreamRequest(producer_id=topic)
    for first in range(0, args.messages, args.frame):
        frame = PublishStreamRequest()
        # Half of what it costs to make each request by itself and copy it into the frame.
        add = frame.requests.add
        for number in range(first, min(first + args.frame, args.messages)):
            add(topic=topic, data=payloads[number % len(payloads)])
        yield frame


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("address", nargs="?", default="127.0.0.1:7126")
    parser.add_argument("--messages", type=int, default=2_000_000, help="how many to publish (default: %(default)s)")
    parser.add_argument("--frame", type=int, default=500, help="requests a frame, at most 1,000 (default: %(default)s)")
    parser.add_argument("--payload", type=int, default=128, help="bytes of each payload (default: %(default)s)")
    return parser.parse_args()


main()
