"""Sections 2.1 and 2.2: faults, malformed lines, threads, context switches, races."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Optional

import clients
from running import (
    PAIR, PROGRAMS, QUICK, TWINS, Extent, Figures, Other, of_each, pair, peer, ports, program, switches, ticks,
)  # fmt: skip
from servers import PEERS, ROOT, Failed, Peer, Servers, alone, bench, free_port, lamp_command, memory


# For each server, a line of its handler, and the fault that is inserted before it. A client triggers it by sending FAULT.
FAULTS = {
    "twisted": ("        match fields:\n", '        if fields[0] == b"FAULT":\n            raise KeyError("fault")\n'),
    "asyncio": ("        match fields:\n", '        if fields[0] == b"FAULT":\n            raise KeyError("fault")\n'),
    "node": ("    const [name, ...operands] = fields;\n", '    if (fields[0] === "FAULT") null.field;\n'),
    "lamp": ("    // A float of this size", "    if ($said === 'FAULT') throw new Error('fault');\n"),
}


FILES = {
    "twisted": "twisted/server.py",
    "asyncio": "asyncio/server.py",
    "node": "node/server.mjs",
    "lamp": "lamp/herd.php",
}


def faults(extent: Extent) -> Figures:
    """How many of ten connections are served after one of them met a fault in its handler."""

    def faulty(peer: Peer) -> int:
        line, fault = FAULTS[peer.name]
        with tempfile.TemporaryDirectory() as folder:
            file = PEERS / FILES[peer.name]
            copy = Path(shutil.copytree(file.parent, Path(folder) / peer.name)) / file.name
            text = copy.read_text()
            if text.count(line) != 1:
                raise Failed(f"{file}: {line!r} is there {text.count(line)} times")
            copy.write_text(text.replace(line, fault + line))

            def command(*given: Any) -> list[str]:
                return [word.replace(str(file.parent), str(copy.parent)) for word in peer.command(*given)]

            with alone(dataclasses.replace(peer, command=command)) as servers:
                return served(peer.speaks, ports(servers)[0])

    found = of_each(list(FAULTS), faulty)
    port = free_port()
    with program("node", PROGRAMS / "callbacks.mjs", port, port=port):
        found["node callbacks"] = served("herd", str(port))
    return found


def served(speaks: str, port: str) -> int:
    ten = [clients.Client(speaks, port) for _ in range(10)]
    for client in ten:
        client.stream.settimeout(2)
        client.report("kiwi", 1)
    ten[0].send_line(b"FAULT\n")
    with contextlib.suppress(OSError):
        ten[0].reply()
    alive = 0
    for client in ten:
        with contextlib.suppress(OSError):
            client.report("kiwi", 2)
            alive += 1
        client.close()
    return alive


HOSTILE = [
    b"IAMAT", b"IAMAT a", b"IAMAT a +1+1", b"IAMAT a +1+1 x", b"IAMAT a +91+1 1", b"IAMAT a 1 1", b"IAMAT a +1+1 1 1",
    b"IAMAT a +1+1 -1", b"IAMAT a +1+1 " + b"9" * 400, b"IAMAT a +" + b"1" * 400 + b"+1 1", b"WHATSAT nobody 10 5",
    b"WHATSAT a -1 5", b"WHATSAT a 10 99999999999999999999", b"WHATSAT a nan 1", b"AT", b"AT x y z", b"AT x y z a b c d",
    b"\x00\xff\xfe", b"\x80" * 100, b"%s%n%x", b"IAMAT " + b"x" * 5_000 + b" +1+1 y", b"x" * 10_000,
]  # fmt: skip


def malformed(extent: Extent) -> Figures:
    """Each malformed line over a connection of its own: how many connections answer a valid line afterwards."""

    def survive(speaks: str, port: str) -> int:
        alive = 0
        for line in HOSTILE:
            with contextlib.suppress(OSError):
                client = clients.Client(speaks, port)
                client.stream.settimeout(2)
                client.send_line(line + b"\n")
                # An AT line that is invalid has an answer, too.
                client.reply()
                client.report("kiwi", 1)
                alive += 1
                client.close()
        return alive

    def each(peer: Peer) -> int:
        with alone(peer) as servers:
            return survive(peer.speaks, ports(servers)[0])

    found = of_each(["herd", *TWINS, "lamp"], each)
    found["lines"] = len(HOSTILE)
    if shutil.which("cc"):
        with tempfile.TemporaryDirectory() as folder:
            # Without the compiler's own guards.
            plain = ["-O1", "-fno-stack-protector", "-U_FORTIFY_SOURCE", "-w"]
            subprocess.run(["cc", *plain, "-o", f"{folder}/overflow", PROGRAMS / "overflow.c"], check=True)
            port = free_port()
            with program(f"{folder}/overflow", port, port=port) as pid:
                client = clients.Client("herd", str(port))
                client.send_line(b"x" * 10_000 + b"\n")
                with contextlib.suppress(OSError):
                    client.reply()
                    client.send_line(b"x\n")
                    client.reply()
                time.sleep(0.1)
                found["C ended"] = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    sources = "".join(path.read_text() for path in (ROOT / "src").rglob("*.rs"))
    return {**found, "unsafe": len(re.findall(r"\bunsafe\s*(?:\{|fn|impl)", sources))}


def threads(extent: Extent) -> Figures:
    """Processes and threads at 0, 1, 50 and 500 connections that are kept open."""

    def count(servers: Servers, ports: list[str]) -> list[list[int]]:
        found, kept = [], []
        for connections in (0, 1, 50, 500):
            while len(kept) < connections:
                kept.append(clients.Client(servers.peer.speaks, ports[len(kept) % len(ports)]))
                kept[-1].report(f"client-{len(kept)}", 1)
            tasks = [len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in servers.pids()]
            found.append([len(tasks), sum(tasks)])
        for client in kept:
            client.close()
        return found

    def through(peer: Peer) -> list[list[int]]:
        with alone(peer) as servers:
            return count(servers, ports(servers))

    def direct(peer: Peer) -> Figures:
        """Without the balancer, a web server needs a process for each connection."""
        command = lambda *given: [*lamp_command(*given), "--workers", "255"]  # noqa: E731
        with alone(dataclasses.replace(peer, command=command)) as servers:
            members = servers.members()
            counts = count(servers, [members[name][0] for name in PAIR])
            return {"counts": counts, "pss_mib": memory(servers.pids())["pss"] / (1 << 20)}

    found = of_each(["herd", *TWINS, "lamp"], through)
    if "lamp" in found and extent is not QUICK:
        found["lamp direct"] = direct(peer("lamp"))
    return found


def one_thread(extent: Extent) -> Figures:
    """Reports a second of one core: the original on asyncio, and the same with a thread for each connection."""
    def rates(peer: Peer, port: Optional[int] = None, pid: int = 0) -> list[float]:
        context = alone(peer) if port is None else contextlib.nullcontext(Other(peer, port, pid))
        with context as servers:
            return [bench(servers, "-C", connections, "-d", extent.seconds)["rate"] for connections in (50, 500)]

    found = of_each(["herd", "tokio", "asyncio"], rates)
    port = free_port()
    with program(sys.executable, PROGRAMS / "threaded.py", PEERS / "asyncio/server.py", port, port=port) as pid:
        found["threads"] = rates(peer("asyncio"), port, pid)
    return found


def costs(extent: Extent) -> Figures:
    """Context switches and processor time for each report of 50 connections, and context switches of idle servers."""

    def cost(peer: Peer) -> Figures:
        with pair(peer) as servers:
            names = list(servers.herd.ports)
            bench(servers, "-C", 50, "-d", 0.1, names=names)
            before, (user, system) = switches(servers.pids()), ticks(servers.pids())
            report = bench(servers, "-C", 50, "-d", max(extent.seconds, 0.5), names=names)
            count = report["rate"] * max(extent.seconds, 0.5)
            (user_after, system_after) = ticks(servers.pids())
            each = (switches(servers.pids()) - before) / count
            time.sleep(0.5)
            before = switches(servers.pids())
            time.sleep(extent.idle_seconds)
            idle = (switches(servers.pids()) - before) * 10 / extent.idle_seconds
        return {
            "each": each,
            "idle_10_s": idle,
            "user_us": (user_after - user) / count,
            "system_us": (system_after - system) / count,
        }

    return of_each(["lamp", "twisted", "herd"], cost)


def races(extent: Extent) -> Figures:
    command = [sys.executable, PROGRAMS / "threaded.py", PEERS / "asyncio/server.py", "races", str(extent.seconds)]
    # On all cores, as threads are meant to be.
    reports, lost = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return {"reports": int(reports), "lost": int(lost)}
