"""A cable that is slow and loses frames: arguments are NEAR FAR DELAY_S LOSS SEED.

Makes two network devices (taps) in the namespace that it is started in, and says "ready". Each
Ethernet frame that is sent into one of them comes out of the other after the delay, in order, or is
lost, by a die of its own seed. Ends with its stdin, and the devices with it.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque
from contextlib import suppress

_SET_DEVICE = 0x400454CA
_TAP, _FRAMES_ALONE = 0x0002, 0x1000
_LARGEST_FRAME = 65536
_AT_ONCE = 64
"""Most frames that are read from one device before others are written."""


def tap(name: str) -> int:
    """Make a device; each read of its file is a frame that was sent, each write one that comes."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, _SET_DEVICE, struct.pack("16sH22x", name.encode(), _TAP | _FRAMES_ALONE))
    return file


def forward(near: int, far: int, delay_s: float, loss: float, die: random.Random) -> None:
    """Carry frames both ways until stdin ends."""
    other = {near: far, far: near}
    poll = select.poll()
    for file in (sys.stdin.fileno(), near, far):
        poll.register(file, select.POLLIN)
    under_way: deque[tuple[float, int, bytes]] = deque()  # in the order in which they are due
    while True:
        wait_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for file, _ in poll.poll(None if wait_s is None else wait_s * 1e3):
            if file not in other:
                return
            kept = [frame for frame in _frames(file) if die.random() >= loss]
            due = time.monotonic() + delay_s
            under_way.extend((due, other[file], frame) for frame in kept)
        while under_way and under_way[0][0] <= time.monotonic():
            _, file, frame = under_way.popleft()
            with suppress(OSError):  # a device that is down, or full, loses it
                os.write(file, frame)


def _frames(file: int) -> list[bytes]:
    found: list[bytes] = []
    with suppress(BlockingIOError):
        while len(found) < _AT_ONCE:
            found.append(os.read(file, _LARGEST_FRAME))
    return found


if __name__ == "__main__":
    near, far, delay_s, loss, seed = sys.argv[1:]
    devices = tap(near), tap(far)
    print("ready", flush=True)
    forward(*devices, float(delay_s), float(loss), random.Random(int(seed)))
