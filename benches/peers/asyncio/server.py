"""One server of the herd on asyncio's streams: `python server.py Alford`.

The same program as the one on Twisted, function by function, with coroutines. A Chatserver serves the
connections to our port and keeps the dictionary of clients; an Interserver keeps one connection to a
neighbour, over which it floods AT lines. Replies keep their order because a connection's coroutine waits for
one answer before it reads the next line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import re
import time
from asyncio import StreamReader, StreamWriter
from pathlib import Path
from typing import Any, NamedTuple, Optional
from urllib.parse import urlsplit

LOCATION = re.compile(rb"([+-]\d+(?:\.\d+)?)([+-]\d+(?:\.\d+)?)")
STAMP = re.compile(rb"(\d{1,10})(?:\.(\d{1,9}))?")
DIFFERENCE = re.compile(rb"[+-]\d+\.\d+")
# A radius is up to 50 km, and a bound 1 to 20. They are matched as text, so that no rounding lets
# 50.000...01 through.
RADIUS = re.compile(rb"0*(?:[1-4]?\d(?:\.\d+)?|50(?:\.0+)?)")
BOUND = re.compile(rb"0*(?:[1-9]|1\d|20)")

LINE_BYTES = 16_384
PLACES_SECONDS = 8
FAILED = {
    "error_message": "The places provider did not answer sensibly.",
    "html_attributions": [],
    "results": [],
    "status": "UNKNOWN_ERROR",
}

log = logging.getLogger("herd")


class Invalid(Exception):
    """The command is invalid, and is answered with a question mark."""


class Sighting(NamedTuple):
    """Where a client was last seen."""

    stamp: int  # nanoseconds since 1970, by the client's clock
    location: bytes
    line: bytes  # the AT line of the server that took the report


def matched(pattern: re.Pattern[bytes], text: bytes) -> re.Match[bytes]:
    if match := pattern.fullmatch(text):
        return match
    raise Invalid


def coordinates(location: bytes) -> tuple[bytes, bytes]:
    latitude, longitude = matched(LOCATION, location).groups()
    if abs(float(latitude)) > 90 or abs(float(longitude)) > 180:
        raise Invalid
    return latitude, longitude


def nanoseconds(stamp: bytes) -> int:
    seconds, fraction = matched(STAMP, stamp).groups(default=b"")
    return int(seconds + fraction.ljust(9, b"0"))


def difference(nanos: int) -> bytes:
    seconds, rest = divmod(abs(nanos), 1_000_000_000)
    return b"%c%d.%09d" % (b"-" if nanos < 0 else b"+", seconds, rest)


class Chatserver:
    """All connections to our port, and their shared state."""

    def __init__(self, name: bytes, places: Places) -> None:
        self.name = name
        self.places = places
        self.clients: dict[bytes, Sighting] = {}
        self.neighbours: list[Interserver] = []

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        log.info("Chatserver: connection from %s", peer)
        try:
            # At the end of the stream readline returns the line without a newline, then nothing.
            while line := await reader.readline():
                if command := line.strip():
                    log.info("in: %r", command)
                    await self.reply(writer, command)
        except (OSError, ValueError) as why:  # ValueError: the line is longer than LINE_BYTES
            log.info("Chatserver: %s: %s", peer, why)
        finally:
            writer.close()
            log.info("Chatserver: connection lost: %s", peer)

    async def reply(self, writer: StreamWriter, command: bytes) -> None:
        try:
            answer = await self.handle(command.split())
        except Invalid:
            answer = b"? " + command
        if answer:
            log.info("out: %r", answer)
            writer.write(answer + b"\n")
            await writer.drain()

    async def handle(self, fields: list[bytes]) -> Optional[bytes]:
        match fields:
            case [b"IAMAT", client, location, stamp]:
                return self.iamat(client, location, stamp)
            case [b"AT", _, diff, client, location, stamp]:
                self.at(b" ".join(fields), diff, client, location, stamp)
                return None
            case [b"WHATSAT", client, radius, bound]:
                return await self.whatsat(client, radius, bound)
            case _:
                raise Invalid

    def iamat(self, client: bytes, location: bytes, stamp: bytes) -> bytes:
        sent = nanoseconds(stamp)
        coordinates(location)
        operands = (self.name, difference(time.time_ns() - sent), client, location, stamp)
        line = b"AT %s %s %s %s %s" % operands
        self.learn(client, Sighting(sent, location, line))
        return line

    def at(self, line: bytes, diff: bytes, client: bytes, location: bytes, stamp: bytes) -> None:
        matched(DIFFERENCE, diff)
        coordinates(location)
        self.learn(client, Sighting(nanoseconds(stamp), location, line))

    async def whatsat(self, client: bytes, radius: bytes, bound: bytes) -> bytes:
        matched(RADIUS, radius), matched(BOUND, bound)
        if not radius.strip(b"0."):
            raise Invalid
        try:
            sighting = self.clients[client]
        except KeyError:
            raise Invalid from None
        try:
            found = await self.places.nearby(sighting.location, radius)
            found["results"] = found["results"][: int(bound)]
        except Exception:
            log.exception("WHATSAT: no places")
            found = FAILED
        # In Google's own layout.
        text = json.dumps(found, indent=3, separators=(",", " : "), ensure_ascii=False)
        return b"%s\n%s\n" % (sighting.line, text.encode())

    def learn(self, client: bytes, sighting: Sighting) -> None:
        """Keeps and floods a sighting that is newer than the one we have; drops any other."""
        known = self.clients.get(client)
        if known is None or known.stamp < sighting.stamp:
            self.clients[client] = sighting
            for neighbour in self.neighbours:
                neighbour.tell(sighting.line)


class Interserver:
    """Our connection to one neighbour, which reconnects for ever."""

    def __init__(self, chatserver: Chatserver, address: str) -> None:
        self.chatserver = chatserver
        self.host, self.port = address.rsplit(":", 1)
        self.link: Optional[StreamWriter] = None

    def tell(self, line: bytes) -> None:
        if self.link:
            self.link.write(line + b"\r\n")

    async def run(self) -> None:
        delay = 0.2
        while True:
            try:
                reader, self.link = await asyncio.open_connection(self.host, self.port)
                delay = 0.2
                await self.talk(reader)
            except (OSError, ValueError) as why:
                log.info("Interserver: %s:%s: %s", self.host, self.port, why)
            finally:
                if self.link:
                    self.link.close()
                self.link = None
            await asyncio.sleep(delay)
            delay = min(2 * delay, 5)

    async def talk(self, reader: StreamReader) -> None:
        log.info("Interserver: connected to %s:%s", self.host, self.port)
        # Sends the whole table, as the neighbour may have missed news; it drops the reports that it knows.
        for sighting in self.chatserver.clients.values():
            self.tell(sighting.line)
        while line := await reader.readline():
            # A neighbour sends only complaints; an answer would cause another one.
            log.warning("Interserver: in: %r", line)


class Places:
    """Google's Nearby Search, or a substitute. HTTP/1.0 suffices for one question."""

    def __init__(self, base: str, key: str) -> None:
        self.url = urlsplit(base)
        self.key = key

    async def nearby(self, location: bytes, radius: bytes) -> Any:
        latitude, longitude = (part.decode().lstrip("+") for part in coordinates(location))
        path = (
            f"/maps/api/place/nearbysearch/json?location={latitude},{longitude}"
            f"&radius={float(radius) * 1000:g}&key={self.key}"
        )
        return json.loads(await asyncio.wait_for(self.get(path), PLACES_SECONDS))

    async def get(self, path: str) -> bytes:
        reader, writer = await asyncio.open_connection(self.url.hostname, self.url.port or 80)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {self.url.netloc}\r\n\r\n".encode())
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        finally:
            writer.close()
        if head.split()[1:2] != [b"200"]:
            raise ValueError(f"Places answered {head[:40]!r}")
        return body


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One server of the herd.")
    parser.add_argument("name")
    parser.add_argument("--config", type=Path, default=Path(__file__).parents[1] / "herd.json")
    parser.add_argument("--port", type=int, help="default: from the configuration")
    parser.add_argument("--neighbour", action="append", metavar="HOST:PORT", help="default: from the configuration")
    parser.add_argument("--places", metavar="URL", help="default: from the configuration")
    parser.add_argument("--log", metavar="FILE|off", help="default: NAME-TIME.log")
    given = parser.parse_args()
    config = json.loads(given.config.read_text())
    server = config["servers"].get(given.name, {"port": 0, "neighbours": []})
    given.key = config["key"]
    given.places = given.places or config["places"]
    given.port = server["port"] if given.port is None else given.port
    if given.neighbour is None:
        ports = [config["servers"][name]["port"] for name in server["neighbours"]]
        given.neighbour = [f"127.0.0.1:{port}" for port in ports]
    return given


async def main() -> None:
    given = arguments()
    if given.log == "off":
        logging.disable()
    else:
        file = given.log or time.strftime(f"{given.name}-%Y-%m-%dT%H-%M-%S.log")
        form = "%(asctime)s %(levelname)s %(message)s"
        logging.basicConfig(filename=file, level=logging.INFO, format=form)
    chatserver = Chatserver(given.name.encode(), Places(given.places, given.key))
    chatserver.neighbours = [Interserver(chatserver, address) for address in given.neighbour]
    server = await asyncio.start_server(
        chatserver.serve, "127.0.0.1", given.port, limit=LINE_BYTES, backlog=1024
    )
    print(f"{given.name} listens on {server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.gather(server.serve_forever(), *(one.run() for one in chatserver.neighbours))


if __name__ == "__main__":
    asyncio.run(main())
