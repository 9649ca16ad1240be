"""Runs the five scenarios against a broker: python -m scenarios [HOST:PORT]

The fifth drains the broker, and waits for it to come back on the same port with the same data.
"""

import sys
import uuid

import grpc

from . import batch, drain, errors, publish, subscribe


def main() -> None:
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7126"
    # Topics of this run only, so that nothing that is there already gets in the way.
    prefix = f"scenarios/{uuid.uuid4()}/"
    with grpc.insecure_channel(address) as channel:
        for scenario in (publish, subscribe, batch, errors, drain):
            scenario.run(channel, prefix)


main()
