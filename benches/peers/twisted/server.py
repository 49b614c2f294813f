"""One server of the herd as the original paper describes it, on Twisted: `python server.py Alford`.

Two pairs of factory and receiver. A Chatserver is one connection to our port, from a client or from a
neighbour: it reads IAMAT, WHATSAT and AT, and its factory keeps the dictionary of clients. An Interserver
is our connection to one neighbour: over it we flood AT lines. Flooding ends because a server passes on
only reports that are newer than its own.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple, Optional

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ReconnectingClientFactory, ServerFactory
from twisted.protocols.basic import LineReceiver
from twisted.python.log import PythonLoggingObserver
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from zope.interface import implementer

LOCATION = re.compile(rb"([+-]\d+(?:\.\d+)?)([+-]\d+(?:\.\d+)?)")
STAMP = re.compile(rb"(\d{1,10})(?:\.(\d{1,9}))?")
DIFFERENCE = re.compile(rb"[+-]\d+\.\d+")
# A radius is up to 50 km, and a bound 1 to 20. They are matched as text, so that no rounding lets
# 50.000...01 through.
RADIUS = re.compile(rb"0*(?:[1-4]?\d(?:\.\d+)?|50(?:\.0+)?)")
BOUND = re.compile(rb"0*(?:[1-9]|1\d|20)")

PLACES_SECONDS = 8
FAILED = {
    "error_message": "The places provider did not answer sensibly.",
    "html_attributions": [],
    "results": [],
    "status": "UNKNOWN_ERROR",
}

# Twisted's own Agent passes readBody the kind of transport that readBody warns about.
warnings.filterwarnings("ignore", "Using readBody with a transport", DeprecationWarning)

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


@implementer(IHalfCloseableProtocol)
class Chatserver(LineReceiver):
    """One connection to our port."""

    delimiter = b"\n"  # telnet's "\r" before it is white space, which is stripped
    factory: ChatserverFactory
    ended = False

    def connectionMade(self) -> None:
        log.info("Chatserver: connection from %s", self.transport.getPeer())

    def connectionLost(self, reason: Any = None) -> None:
        log.info("Chatserver: connection lost: %s", reason.getErrorMessage())

    def lineReceived(self, line: bytes) -> None:
        command = line.strip()
        if not command:
            return
        log.info("in: %r", command)
        try:
            self.handle(command.split())
        except Invalid:
            self.reply(b"? " + command)

    def handle(self, fields: list[bytes]) -> None:
        match fields:
            case [b"IAMAT", client, location, stamp]:
                self.iamat(client, location, stamp)
            case [b"AT", _, diff, client, location, stamp]:
                self.at(b" ".join(fields), diff, client, location, stamp)
            case [b"WHATSAT", client, radius, bound]:
                self.whatsat(client, radius, bound)
            case _:
                raise Invalid

    def iamat(self, client: bytes, location: bytes, stamp: bytes) -> None:
        sent = nanoseconds(stamp)
        coordinates(location)
        operands = (self.factory.name, difference(time.time_ns() - sent), client, location, stamp)
        line = b"AT %s %s %s %s %s" % operands
        self.reply(line)
        self.factory.learn(client, Sighting(sent, location, line))

    def at(self, line: bytes, diff: bytes, client: bytes, location: bytes, stamp: bytes) -> None:
        matched(DIFFERENCE, diff)
        coordinates(location)
        self.factory.learn(client, Sighting(nanoseconds(stamp), location, line))

    def whatsat(self, client: bytes, radius: bytes, bound: bytes) -> None:
        matched(RADIUS, radius), matched(BOUND, bound)
        if not radius.strip(b"0."):
            raise Invalid
        try:
            sighting = self.factory.clients[client]
        except KeyError:
            raise Invalid from None
        # The next line is not read before this one is answered, so that replies keep the order of the commands.
        self.pauseProducing()
        Deferred.fromCoroutine(self.answer(sighting, radius, int(bound)))

    async def answer(self, sighting: Sighting, radius: bytes, bound: int) -> None:
        try:
            found = await self.factory.places.nearby(sighting.location, radius)
            found["results"] = found["results"][:bound]
        except Exception:
            log.exception("WHATSAT: no places")
            found = FAILED
        # In Google's own layout.
        text = json.dumps(found, indent=3, separators=(",", " : "), ensure_ascii=False)
        self.reply(b"%s\n%s\n" % (sighting.line, text.encode()))
        if self.ended:
            self.transport.loseConnection()
        else:
            self.resumeProducing()

    def reply(self, line: bytes) -> None:
        log.info("out: %r", line)
        self.sendLine(line)

    def readConnectionLost(self) -> None:
        """The client has half-closed. Its last line counts even without a newline."""
        self.ended = True
        if rest := self.clearLineBuffer():
            self.lineReceived(rest)
        if not self.paused:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass


class ChatserverFactory(ServerFactory):
    """The state that all connections of this server share."""

    protocol = Chatserver
    noisy = False

    def __init__(self, name: bytes, places: Places) -> None:
        self.name = name
        self.places = places
        self.clients: dict[bytes, Sighting] = {}
        self.neighbours: list[InterserverFactory] = []

    def learn(self, client: bytes, sighting: Sighting) -> None:
        """Keeps and floods a sighting that is newer than the one we have; drops any other."""
        known = self.clients.get(client)
        if known is None or known.stamp < sighting.stamp:
            self.clients[client] = sighting
            for neighbour in self.neighbours:
                neighbour.tell(sighting.line)


class Interserver(LineReceiver):
    """Our connection to a neighbour. It ends AT lines with LineReceiver's own CR LF."""

    factory: InterserverFactory

    def connectionMade(self) -> None:
        log.info("Interserver: connected to %s", self.transport.getPeer())
        self.factory.resetDelay()
        self.factory.link = self
        # Sends the whole table, as the neighbour may have missed news; it drops the reports that it knows.
        for sighting in self.factory.chatserver.clients.values():
            self.sendLine(sighting.line)

    def connectionLost(self, reason: Any = None) -> None:
        log.info("Interserver: connection lost: %s", reason.getErrorMessage())
        self.factory.link = None

    def lineReceived(self, line: bytes) -> None:
        # A neighbour sends only complaints; an answer would cause another one.
        log.warning("Interserver: in: %r", line)


class InterserverFactory(ReconnectingClientFactory):
    """One neighbour, to which it reconnects for ever."""

    protocol = Interserver
    initialDelay = 0.2
    maxDelay = 5
    noisy = False

    def __init__(self, chatserver: ChatserverFactory) -> None:
        self.chatserver = chatserver
        self.link: Optional[Interserver] = None

    def tell(self, line: bytes) -> None:
        if self.link:
            self.link.sendLine(line)


class Places:
    """Google's Nearby Search, or a substitute."""

    def __init__(self, base: str, key: str) -> None:
        self.base = base
        self.key = key
        pool = HTTPConnectionPool(reactor)
        self.agent = Agent(reactor, connectTimeout=PLACES_SECONDS, pool=pool)

    async def nearby(self, location: bytes, radius: bytes) -> Any:
        latitude, longitude = (part.decode().lstrip("+") for part in coordinates(location))
        url = (
            f"{self.base}/maps/api/place/nearbysearch/json?location={latitude},{longitude}"
            f"&radius={float(radius) * 1000:g}&key={self.key}"
        )
        body = Deferred.fromCoroutine(self.get(url.encode()))
        return json.loads(await body.addTimeout(PLACES_SECONDS, reactor))

    async def get(self, url: bytes) -> bytes:
        response = await self.agent.request(b"GET", url)
        body = await readBody(response)
        if response.code != 200:
            raise ValueError(f"Places answered {response.code}")
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


def main() -> None:
    given = arguments()
    if given.log == "off":
        logging.disable()
    else:
        file = given.log or time.strftime(f"{given.name}-%Y-%m-%dT%H-%M-%S.log")
        form = "%(asctime)s %(levelname)s %(message)s"
        logging.basicConfig(filename=file, level=logging.INFO, format=form)
        logging.getLogger("twisted").setLevel(logging.WARNING)
        PythonLoggingObserver("twisted").start()  # exceptions that Twisted catches
    chatserver = ChatserverFactory(given.name.encode(), Places(given.places, given.key))
    for neighbour in given.neighbour:
        host, port = neighbour.rsplit(":", 1)
        factory = InterserverFactory(chatserver)
        chatserver.neighbours.append(factory)
        reactor.connectTCP(host, int(port), factory)
    port = reactor.listenTCP(given.port, chatserver, backlog=1024, interface="127.0.0.1")
    print(f"{given.name} listens on {port.getHost().port}", flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
