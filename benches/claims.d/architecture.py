"""Sections 1 and 2.1: LAMP beside herds, its database, protocols, idle clients, and restarts."""

from __future__ import annotations

import dataclasses
import json
import re
import resource
import statistics
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import clients
from languages import code_lines
from records import machine, slug
from running import PAIR, PROGRAMS, QUICK, TWINS, Extent, Figures, Missing, Other, of_each, pair, peer, program
from servers import HERE, PEERS, TARGET, Peer, alone, bench, free_port


def loads(extent: Extent) -> Figures:
    """The medians of the parts lamp and load, each from the newest record of this machine that has it.

    Without a record of LAMP it runs the part lamp, unless this is a short run.
    """
    rows = newest("lamp", extent)
    if not rows:
        peer("lamp")
        if extent is QUICK:
            raise Missing("no record of this machine has LAMP: run benches/run --quick --part lamp")
        subprocess.run([str(HERE / "run"), "--part", "lamp"], check=True, stdout=subprocess.DEVNULL)
        rows = newest("lamp", extent)
    found: dict[str, list[float]] = {}
    for row in [*rows, *newest("load", extent)]:
        for name, value in figures_of(row).items():
            found.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def newest(part: str, extent: Extent) -> list[Figures]:
    """The rows of the newest record that has the part, with the peers that we need. A short run also reads short runs'."""
    folders = [HERE / "record"] + [TARGET.parent / "bench-record"] * (extent is QUICK)
    paths = [path for folder in folders for path in (folder / slug(machine())).glob("*.json")]
    records = [json.loads(path.read_text()) for path in paths]
    for record in sorted(records, key=lambda record: record["date"], reverse=True):
        rows = [row for row in record["rows"] if row["part"] == part]
        if {"herd", "lamp" if part == "lamp" else "node"} <= {row["peer"] for row in rows}:
            return rows
    return []


def figures_of(row: Figures) -> Figures:
    name = row["peer"]
    if row["part"] == "load":
        return {f"{name} load {row['connections']} {row['pipeline']}": row["rate"]}
    where = f"{name} {row['sync']}"
    if "requests" in row:
        cell = f"{where} {row['requests']} {row['connections']}"
        return {cell: row["rate"], f"{cell} us": row["server_us_each"]}
    if "memory" in row:
        return {f"{where} {when} MiB": kinds["pss"] / (1 << 20) for when, kinds in row["memory"].items()}
    if "seen" in row:
        return {f"{where} seen us": row["seen"]["p50"]}
    return {f"{name} {row['killed']} {key}": float(row[key]) for key in ("failed", "pause_ms", "served")}


def queries(extent: Extent) -> Figures:
    """The statements for each of 1,000 asks to LAMP, and our server's connections after as many, without the client's."""
    asks = 1_000
    found = {}
    with alone(peer("herd")) as servers:
        port, pid = servers.members()["Alford"]
        client = clients.Client("herd", port)
        client.report("asked", 1)
        for _ in range(asks):
            client.ask("asked")
        open_files = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
        rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
        # State 1 is a connection.
        found["herd"] = sum(row[3] == "01" and f"socket:[{row[9]}]" in open_files for row in rows) - 1

    def lamp(peer: Peer) -> Figures:
        with alone(peer) as servers:
            members = servers.members()
            client = clients.Client("http", members["balancer"][0])
            client.report("asked", 1)

            def status() -> dict[str, int]:
                said = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_select', 'Com_admin_commands')"
                database = ["mariadb", "--no-defaults", f"--socket={members['database'][0]}", "--user=root", "--batch"]
                lines = subprocess.run([*database, f"--execute={said}"], capture_output=True, text=True, check=True).stdout
                return {name: int(count) for name, count in re.findall(r"^(Com_\w+)\t(\d+)$", lines, re.M)}

            before = status()
            for _ in range(asks):
                client.ask("asked")
            after = status()
        return {name: (after[name] - before[name]) / asks for name in before}

    return {**found, **of_each(["lamp"], lamp)}


def protocols(extent: Extent) -> Figures:
    """Twisted with a port for lines and one for HTTP, both under load at once."""
    twisted, port, web = peer("twisted"), free_port(), free_port()
    # The Python of Twisted's venv.
    command = [twisted.needs[0], PROGRAMS / "protocols.py", PEERS / "twisted/server.py", port, web]
    with program(*command, port=port) as pid:
        lines, http = clients.Client("herd", str(port)), clients.Client("http", str(web))
        lines.report("kiwi", 1_479_413_884)
        found: Figures = {"same_table": http.ask("kiwi").startswith(b"AT Alford ")}

        def load(name: str, speaks: str, port: int) -> None:
            other = Other(dataclasses.replace(twisted, speaks=speaks), port, pid)
            found[name] = bench(other, "-C", 50, "-d", extent.seconds)["rate"]

        both = [threading.Thread(target=load, args=given) for given in (("lines", "herd", port), ("http", "http", web))]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
    text = (PROGRAMS / "protocols.py").read_text()
    added = text.partition("# The second protocol begins here.\n")[2].partition("# It ends here.\n")[0]
    return {**found, "added_lines": code_lines(added, "#")}


def mobile(extent: Extent) -> Figures:
    """Memory for each idle connection, between the first 1,000 and all."""
    count = min(extent.idle, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 1_000)

    def idle(peer: Peer) -> float:
        with alone(peer) as servers:
            return bench(servers, "--idle", count)["idle"]["bytes_each"]

    return of_each(["herd", *TWINS, "lamp"], idle)


def restarts(extent: Extent) -> Figures:
    """A server is killed, misses reports, and starts again: how many of a sample it knows then, and how soon."""
    sample = [f"client-{number}" for number in range(0, 1_000, 50)]

    def restart(peer: Peer) -> Figures:
        if peer.name != "herd":
            address = f"http://127.0.0.1:{places.server_port}"
            command = peer.command
            peer = dataclasses.replace(peer, command=lambda *given: [*command(*given), "--places", address])
        with pair(peer) as servers:
            here, there = servers.members()[PAIR[0]], servers.members()[PAIR[1]]
            client = clients.Client(peer.speaks, here[0])
            for stamp in (1, 2):
                for number in range(1_000):
                    client.report(f"client-{number}", stamp)
                if stamp == 1:
                    servers.processes[PAIR[1]].kill()
                    servers.processes[PAIR[1]].wait()
            begun = time.monotonic()
            servers.start(PAIR[1])
            servers.wait(PAIR[1]).close()
            asking = clients.Client(peer.speaks, there[0])
            while (known := sum(asking.ask(one).endswith(b" 2") for one in sample)) < len(sample):
                if time.monotonic() - begun > 20:
                    break
            return {"known": known, "seconds": time.monotonic() - begun}

    with ThreadingHTTPServer(("127.0.0.1", 0), NoPlaces) as places:
        threading.Thread(target=places.serve_forever, daemon=True).start()
        found = of_each(["herd", "twisted", "node"], restart)
        places.shutdown()
    return {**found, "sample": len(sample)}


class NoPlaces(BaseHTTPRequestHandler):
    """A substitute for Google that knows no places."""

    def do_GET(self) -> None:
        body = b'{"html_attributions": [], "results": [], "status": "ZERO_RESULTS"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass
