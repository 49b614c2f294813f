"""Clients that measure what a load cannot show: when a report is seen elsewhere, and what a client notices of a failure.

They send one request at a time, and speak the protocol of herd and the originals, or HTTP with LAMP.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from typing import Callable, NamedTuple

PATIENCE_SECONDS = 30
# Between two attempts of a client that cannot reach any server.
RETRY_SECONDS = 0.01
LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)\r\n", re.I)


class Client:
    """A connection to one server; OSError means that it failed."""

    def __init__(self, speaks: str, port: str):
        self.is_http = speaks == "http"
        self.stream = socket.create_connection(("127.0.0.1", int(port)), timeout=PATIENCE_SECONDS)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send_line(self, line: bytes) -> None:
        """Sends a line, or a request with this body."""
        head = b"POST /herd.php HTTP/1.1\r\nHost: herd\r\nContent-Length: %d\r\n\r\n" % len(line)
        self.stream.sendall(head + line if self.is_http else line)

    def send_report(self, client: str, stamp: int) -> None:
        self.send_line(b"IAMAT %s +34.068930-118.445127 %d\n" % (client.encode(), stamp))

    def send_ask(self, client: str) -> None:
        ask = "GET /herd.php?client=%s HTTP/1.1\r\nHost: herd\r\n\r\n" if self.is_http else "WHATSAT %s 1 1\n"
        self.stream.sendall((ask % client).encode())

    def reply(self, is_ask: bool = False) -> bytes:
        """The AT line, or what begins with "?" if the client is unknown or the command is invalid."""
        reply = b""
        while not (end := self.end_of(reply, is_ask)):
            chunk = self.stream.recv(65_536)
            if not chunk:
                raise ConnectionError("closed")
            reply += chunk
        if not self.is_http:
            return reply.split(b"\n", 1)[0]
        if not reply.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 404 ", b"HTTP/1.1 422 ")):
            raise ConnectionError(reply.split(b"\r\n", 1)[0].decode())
        return reply[:end].rsplit(b"\r\n\r\n", 1)[1].strip()

    def end_of(self, reply: bytes, is_ask: bool) -> int:
        """Where the reply ends; 0 if it is incomplete."""
        if self.is_http:
            head = reply.find(b"\r\n\r\n") + 4
            if head < 4:
                return 0
            length = LENGTH.search(reply[:head])
            # A long reply comes in chunks, whose sizes stay in it.
            end = head + int(length[1]) if length else reply.find(b"\r\n0\r\n\r\n") + 7
            return end if max(head, 7) <= end <= len(reply) else 0
        # Places follow the AT line, and end with a blank line.
        if is_ask and reply and not reply.startswith(b"?"):
            return reply.find(b"\n\n") + 2 if b"\n\n" in reply else 0
        return reply.find(b"\n") + 1

    def report(self, client: str, stamp: int) -> None:
        self.send_report(client, stamp)
        if not self.reply().startswith(b"AT "):
            raise ConnectionError("rejected")

    def ask(self, client: str) -> bytes:
        self.send_ask(client)
        return self.reply(is_ask=True)

    def close(self) -> None:
        self.stream.close()


def seen(speaks: str, ports: list[str], seconds: float) -> list[float]:
    """Sends reports to one server, and asks the other one until it knows each. Returns the times in us, sorted.

    A time counts from before the report is sent until a reply shows it.
    """
    here, there = (Client(speaks, port) for port in ports)
    stamp, times = int(time.time()) - 1_000_000, []
    # Neighbours may be linked only after a moment.
    end = time.monotonic() + PATIENCE_SECONDS
    here.report("seen", stamp)
    while not there.ask("seen").startswith(b"AT "):
        if time.monotonic() > end:
            raise TimeoutError(f"a report did not reach the other server in {PATIENCE_SECONDS} s")
        time.sleep(0.01)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        stamp += 1
        begun = time.perf_counter()
        here.send_report("seen", stamp)
        while not there.ask("seen").endswith(b" %d" % stamp):
            if time.perf_counter() - begun > PATIENCE_SECONDS:
                raise TimeoutError(f"a report did not reach the other server in {PATIENCE_SECONDS} s")
        times.append((time.perf_counter() - begun) * 1e6)
        here.reply()
    here.close()
    there.close()
    return sorted(times)


class Outage(NamedTuple):
    """What clients noticed when something was killed."""

    answered: int  # requests, of all clients
    failed: int
    pause_ms: float  # the longest time of one client without a reply
    served: bool  # whether the clients were served at the end


def outage(speaks: str, ports: list[str], kill: Callable[[], None], seconds: float, clients: int = 8) -> Outage:
    """Clients report without a pause, each at one of the servers. After a quarter of the time `kill` is called. A client
    whose request fails repeats it at the next server that it knows."""
    end = time.monotonic() + seconds
    answered, failed, pauses, lasts = ([0.0] * clients for _ in range(4))

    def run(number: int) -> None:
        connection, server, stamp, tries = None, number, int(time.time()) - 1_000_000, 0
        last = time.monotonic()
        while (now := time.monotonic()) < end:
            try:
                connection = connection or Client(speaks, ports[server % len(ports)])
                connection.report(f"client-{number}", stamp)
                now = time.monotonic()
                pauses[number] = max(pauses[number], now - last)
                last, stamp, tries = now, stamp + 1, 0
                answered[number] += 1
            except OSError:
                failed[number] += 1
                if connection:
                    connection.close()
                connection, server, tries = None, server + 1, tries + 1
                if tries >= len(ports):
                    time.sleep(RETRY_SECONDS)
        pauses[number] = max(pauses[number], now - last)
        lasts[number] = last

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 4)
    kill()
    for thread in threads:
        thread.join()
    served = end - min(lasts) < seconds / 4
    return Outage(int(sum(answered)), int(sum(failed)), max(pauses) * 1e3, served)
