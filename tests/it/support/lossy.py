"""A bad network where the kernel has no netem: passes packets between two TUN devices, and loses and delays some.

Usage: lossy.py DEVICE DEVICE LOSS DELAY JITTER, as a share and in seconds. Ends with its standard input.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
PACKET = 64 << 10


def tun(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def main():
    ends = [tun(sys.argv[1]), tun(sys.argv[2])]
    loss, delay, jitter = map(float, sys.argv[3:])
    print("ready", flush=True)
    flying, count = [], 0
    while True:
        wait = max(0, flying[0][0] - time.monotonic()) if flying else None
        ready, _, _ = select.select([*ends, sys.stdin.fileno()], [], [], wait)
        for end in ready:
            if end not in ends:
                return
            try:
                packet = os.read(end, PACKET)
            except OSError:
                continue
            if random.random() >= loss:
                count += 1
                arrives = time.monotonic() + delay + random.uniform(-jitter, jitter)
                heapq.heappush(flying, (arrives, count, ends[1 - ends.index(end)], packet))
        while flying and flying[0][0] <= time.monotonic():
            _, _, end, packet = heapq.heappop(flying)
            try:
                os.write(end, packet)
            except OSError:
                pass  # The other side is down just now: that is a lost packet.


main()
