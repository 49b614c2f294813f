"""What the measurements of the claims share: servers, programs, and what the kernel counts of them."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

from servers import SERVER_CORE, TABLE, Failed, Peer, Servers, alone, family, missing, pinned

PROGRAMS = Path(__file__).resolve().parent / "programs"
PAIR = ["Alford", "Bolden"]
TWINS = ["twisted", "asyncio", "node", "tokio"]
Figures = dict[str, Any]


class Missing(Exception):
    """Something is not installed, or cannot be reached."""


class Extent(NamedTuple):
    seconds: float
    idle_seconds: float
    idle: int
    # Whether it may use package registries, and build programs.
    installs: bool


FULL, QUICK = Extent(2.0, 10.0, 8_500, True), Extent(0.2, 0.5, 1_100, False)


def peer(name: str) -> Peer:
    found = next(peer for peer in TABLE if peer.name == name)
    lacks = missing(found)
    if lacks:
        raise Missing(f"{name}: {', '.join(lacks)} is missing")
    return found


def of_each(names: list[str], measure: Callable[[Peer], Any]) -> Figures:
    """Measures each peer. Leaves out those that are not installed, and names them on stderr."""
    found = {}
    for name in names:
        try:
            found[name] = measure(peer(name))
        except Missing as why:
            print(f"left out {why}", file=sys.stderr)
    return found


def pair(peer: Peer) -> Servers:
    """Two linked servers; LAMP has two web servers by itself."""
    return alone(peer) if peer.name == "lamp" else Servers(peer, PAIR, [tuple(PAIR)])


def ports(servers: Servers) -> list[str]:
    """Where clients connect."""
    members = servers.members()
    return [members["balancer"][0]] if "balancer" in members else [port for port, _ in members.values()]


@contextlib.contextmanager
def program(*command: Any, port: int) -> Iterator[int]:
    """Starts a program that listens on the port. Yields its process id."""
    process = subprocess.Popen(pinned(SERVER_CORE, [str(word) for word in command]), stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.01)
        yield process.pid
    finally:
        process.kill()
        process.wait()


class Other(NamedTuple):
    """A server that this script has started, as `bench` expects it."""

    peer: Peer
    port: int
    pid: int

    def address(self, _: str) -> str:
        return f"127.0.0.1:{self.port}"

    def pids(self) -> list[int]:
        return family(self.pid)


def output(*command: Any) -> Any:
    """Runs a program on the servers' core, and returns the JSON that it prints."""
    words = pinned(SERVER_CORE, [str(word) for word in command])
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise Failed(f"{command[0]}: {done.stderr[-500:]}")
    return json.loads(done.stdout)


def switches(pids: list[int]) -> int:
    """The context switches of all threads so far, voluntary or not."""
    texts = [file.read_text() for pid in pids for file in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(count) for text in texts for count in re.findall(r"ctxt_switches:\t(\d+)", text))


def ticks(pids: list[int]) -> tuple[float, float]:
    """User and system time so far, in us."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in pids]
    return sum(int(stat[11]) for stat in stats) * 1e4, sum(int(stat[12]) for stat in stats) * 1e4
