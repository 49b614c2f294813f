"""Plays one transcript to a chat server, as benches/fiveways does to each of the five: they must all do the same.

The transcript has the welcome, lines in one piece and in several, half-close, a line that is too long, a reset, and a
client that does not read. Which lines that client misses depends on the kernel's buffers; that it misses some, and gets
whole lines in order, does not.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Callable

from servers import Failed, memory

LINE_BYTES = 16_384
# 32 MB in all, far more than the kernel's buffers hold.
FLOOD = [b"%-16000d\n" % number for number in range(2_000)]
KEPT_BYTES_MAX = 16 << 20
PATIENCE_SECONDS = 300


def received(connection: socket.socket, end: bytes = b"\n") -> bytes:
    """Reads until `end`, or to the end of the stream if `end` is empty."""
    data = b""
    while not end or not data.endswith(end):
        try:
            chunk = connection.recv(65_536)
        except ConnectionResetError:
            chunk = b""
        if not chunk and end:
            raise Failed(f"the connection ended after {data[-100:]!r}, before {end!r}")
        if not chunk:
            break
        data += chunk
    return data


def play(server: str, connect: Callable[[], socket.socket], pid: int) -> None:
    def expect(client: str, data: bytes, wanted: bytes) -> None:
        if data != wanted:
            raise Failed(f"{server}: {client} received {data[:100]!r}, not {wanted[:100]!r}")

    def hear(wanted: bytes, **clients: socket.socket) -> None:
        for name, client in clients.items():
            expect(name, received(client, wanted[-5:]), wanted)

    a, b, c, slow = (connect() for _ in range(4))
    hear(b"welcome\n", a=a, b=b, c=c, slow=slow)
    for pieces, wanted in (
        ([b"one\n"], b"one\n"),
        ([b"two\r\nthree\n"], b"two\nthree\n"),
        ([b"fo", b"ur\n"], b"four\n"),
        ([b"\n\xff\x00 \n"], b"\n\xff\x00 \n"),
        ([b"x" * LINE_BYTES + b"\n"], b"x" * LINE_BYTES + b"\n"),
    ):
        for piece in pieces:
            a.sendall(piece)
            time.sleep(0.05)
        hear(wanted, b=b, c=c, slow=slow)

    # Half-close. The last line counts without a newline, and the server closes.
    c.sendall(b"last")
    c.shutdown(socket.SHUT_WR)
    hear(b"last\n", a=a, b=b, slow=slow)
    expect("c", received(c, b""), b"")

    # These two end without a line for the others.
    long, reset = connect(), connect()
    hear(b"welcome\n", long=long)
    long.sendall(b"x" * (LINE_BYTES + 3) + b"\n")
    expect("long", received(long, b""), b"")
    reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reset.close()

    # `b` reads each line before the next is sent, and misses none.
    before = memory([pid])["rss"]
    for line in FLOOD:
        a.sendall(line)
        hear(line, b=b)
    if (grown := memory([pid])["rss"] - before) > KEPT_BYTES_MAX:
        raise Failed(f"{server}: it keeps {grown:,} bytes for a client that does not read")
    # `slow` begins to read. Once it has read what was kept, it misses no more.
    slow.settimeout(1)
    data, end = b"", time.monotonic() + PATIENCE_SECONDS
    while not data.endswith(b"caught up\n"):
        if time.monotonic() > end:
            raise Failed(f"{server}: a client that reads again hears nothing new")
        try:
            data += slow.recv(1 << 20)
        except TimeoutError:
            a.sendall(b"caught up\n")
            hear(b"caught up\n", b=b)
    lines = [int(line) for line in data.split(b"\n") if line.strip().isdigit()]
    if not 0 < len(lines) < len(FLOOD) or lines != sorted(set(lines)) or b"".join(FLOOD[n] for n in lines) not in data:
        raise Failed(f"{server}: a client that did not read received {len(lines)} of {len(FLOOD)} lines, or not whole ones")

    # Nobody hears its own lines.
    a.shutdown(socket.SHUT_WR)
    expect("a", received(a, b""), b"")
