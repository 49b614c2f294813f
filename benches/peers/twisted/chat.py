"""A chat server on Twisted: `python chat.py [PORT]`. It sends each line of a client to all other clients."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ServerFactory
from twisted.protocols.basic import LineReceiver
from zope.interface import implementer


@implementer(IHalfCloseableProtocol)
class Client(LineReceiver):
    """One connection. `self.factory` has what they share."""

    delimiter = b"\n"
    factory: Room

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        # While our buffer for this client is full, `paused` is true, and nothing is read from it.
        self.transport.registerProducer(self, True)
        self.sendLine(b"welcome")
        self.factory.clients.add(self)

    def lineReceived(self, line: bytes) -> None:
        for other in self.factory.clients - {self}:
            # A client that does not read misses lines, so that it does not fill our memory.
            if not other.paused:
                other.sendLine(line.removesuffix(b"\r"))

    def readConnectionLost(self) -> None:
        """The client has half-closed. Its last line counts even without a newline."""
        if rest := self.clearLineBuffer():
            self.lineReceived(rest)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Any = None) -> None:
        self.factory.clients.discard(self)


class Room(ServerFactory):
    """The connected clients."""

    protocol = Client
    noisy = False

    def __init__(self) -> None:
        self.clients: set[Client] = set()


port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 0, Room(), interface="127.0.0.1")
print(f"127.0.0.1:{port.getHost().port}", flush=True)
reactor.run()
