# A link between two network interfaces, HERE and THERE, with loss, delay, a rate and an MTU. Written
# for kernels without netem. Each line of standard input sets `loss delay_ms kbps mtu`.
import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
ETHERNET_HEADER = 14
# Packets that would wait longer than this are dropped.
QUEUE_SECONDS = 0.2


def tap(name):
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return end


here, there = tap("here"), tap("there")
loss, delay, kbps, mtu = 0.0, 0.0, 1_000_000, 1500
on_its_way, sent = [], 0
# When each direction is idle again.
free_at = {here: 0.0, there: 0.0}
print("ready", flush=True)
while True:
    now = time.monotonic()
    while on_its_way and on_its_way[0][0] <= now:
        _, _, end, packet = heapq.heappop(on_its_way)
        try:
            os.write(end, packet)
        except OSError:
            pass  # The other end is not up yet.
    wait = max(0.0, on_its_way[0][0] - now) if on_its_way else None
    for end in select.select([here, there, 0], [], [], wait)[0]:
        if end == 0:
            line = os.read(0, 4096).decode()
            if not line:
                sys.exit()
            words = line.splitlines()[-1].split()
            loss, delay, kbps, mtu = float(words[0]), float(words[1]) / 1_000, float(words[2]), int(words[3])
            continue
        while True:
            try:
                packet = os.read(end, 65536)
            except BlockingIOError:
                break
            if len(packet) - ETHERNET_HEADER > mtu or random.random() < loss:
                continue
            now = time.monotonic()
            if free_at[end] - now > QUEUE_SECONDS:
                continue
            free_at[end] = max(free_at[end], now) + len(packet) * 8 / 1_000 / kbps
            sent += 1
            heapq.heappush(on_its_way, (free_at[end] + delay, sent, there if end == here else here, packet))
