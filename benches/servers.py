"""The servers that the scripts of this folder measure: their commands, and how they are started, pinned and driven."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

import own

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = Path(os.environ.get("HERD_PEERS", HERE / "peers"))
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
HERD, GENERATOR = TARGET / "herd", TARGET / "herd-bench"

# Debian installs servers here, which is not in every user's PATH.
os.environ["PATH"] += ":/usr/sbin"

SERVER_CORE, GENERATOR_CORE = 0, 1
DISTURBED = 0.1
# A folder on a disk, for journals and databases; /tmp may be memory.
DISK = Path("/var/tmp")
CELLS = [(1, 1), (50, 1), (500, 1), (50, 16), (50, 128)]

# The herd of the original paper. A report to Hamilton takes three hops to Welsh.
EDGES = [("Alford", "Parker"), ("Alford", "Welsh"), ("Bolden", "Parker"), ("Bolden", "Welsh"), ("Hamilton", "Parker")]
HOPS = {"Hamilton": 0, "Parker": 1, "Alford": 2, "Bolden": 2, "Welsh": 3}


# The servers that are measured. TABLE has everything about each: its command, its protocol, and what it can do.

@dataclass
class Herd:
    """Servers that start together, with their ports. The generator acts as the observers, which are neighbours."""

    folder: Path
    ports: dict[str, int]
    edges: list[tuple[str, str]] = field(default_factory=list)
    observers: dict[str, int] = field(default_factory=dict)
    # When a report is on the disk: "" never, "everysec" a second later, "always" before its reply.
    journal: str = ""
    # Whether the ports are those for HTTP; then the client ports are others.
    is_http: bool = False

    def neighbours(self, name: str) -> list[str]:
        return sorted({a if b == name else b for a, b in self.edges if name in (a, b)})


@dataclass
class Peer:
    name: str
    # The command line of one server: (herd, server's name, log file or "off").
    command: Callable[[Herd, str, str], list[str]]
    speaks: str = "herd"
    required: bool = False
    needs: list[Path | str] = field(default_factory=list)
    floods: bool = False
    logs: bool = False
    # The cells of the part load.
    cells: list[tuple[int, int]] = field(default_factory=lambda: CELLS)
    ended_by: signal.Signals = signal.SIGKILL
    parts: tuple[str, ...] = ("load", "idle", "records", "connect", "start")
    # Rough figures, to estimate how long a run takes: reports a second with many in flight, and the time of a start.
    pace: int = 1_000_000
    start_seconds: float = 0.1


def herd_command(herd: Herd, name: str, log: str) -> list[str]:
    """The command of our server; writes its topology first."""
    topology = herd.folder / "topology.toml"
    if not topology.exists():
        topology.write_text(herd_topology(herd, log))
    # RUST_LOG in the environment turns the log off.
    level = "RUST_LOG=off" if log == "off" else "RUST_LOG=info"
    return ["env", level, str(HERD), "serve", name, "--topology", str(topology)]


def herd_http_command(herd: Herd, name: str, log: str) -> list[str]:
    herd.is_http = True
    return herd_command(herd, name, log)


def herd_topology(herd: Herd, log: str) -> str:
    text = 'herd = "bench"\n'
    for number, (name, port) in enumerate(herd.ports.items()):
        neighbours = herd.neighbours(name) + [f"By{name}"] * (name in herd.observers)
        peer = free_port()
        doors = f'client = "127.0.0.1:{port}"'
        if herd.is_http:
            doors = f'client = "127.0.0.1:{free_port()}"\nhttp = "127.0.0.1:{port}"'
        text += (
            f'[[server]]\nname = "{name}"\n{doors}\npeer = "127.0.0.1:{peer}"\n'
            f"neighbours = {json.dumps(neighbours)}\n"
        )
    for name, port in herd.observers.items():
        text += (
            f'[[server]]\nname = "By{name}"\nclient = "127.0.0.1:{port}"\nneighbours = ["{name}"]\nplain = true\n'
        )
    # The log is not rotated, because the originals log to one file.
    folder = herd.folder if log == "off" else Path(log).parent
    if herd.journal:
        text += f'[journal]\nsync = "{herd.journal}"\n'
    text += f'[log]\nfolder = "{folder}"\nrotate_bytes = 0\n[limits]\nretry_first_ms = 50\nretry_max_ms = 200\n'
    return text


def original(*program: str) -> Callable[[Herd, str, str], list[str]]:
    def command(herd: Herd, name: str, log: str) -> list[str]:
        config = herd.folder / "herd.json"
        servers = {
            server: {
                "port": port,
                "neighbours": herd.neighbours(server) + [f"By{server}"] * (server in herd.observers),
            }
            for server, port in herd.ports.items()
        }
        for server, port in herd.observers.items():
            servers[f"By{server}"] = {"port": port, "neighbours": []}
        # No request asks for places, so the port is closed.
        config.write_text(json.dumps({"places": "http://127.0.0.1:9", "key": "none", "servers": servers}))
        log = log if log == "off" else f"{log}-{name}"
        return [*program, name, "--config", str(config), "--log", log]

    return command


def redis_command(herd: Herd, name: str, log: str) -> list[str]:
    # Debian's redis-tools has the server's program under another name; its argv[0] decides what it is.
    append = ["--appendonly", "no"] if log == "off" else ["--appendonly", "yes", "--appendfsync", "everysec"]
    folder = herd.folder if log == "off" else Path(log).parent
    program = shutil.which("redis-server") or shutil.which("redis-check-rdb") or ""
    shell = 'exec -a redis-server "$0" "$@"'
    options = ["--port", str(herd.ports[name]), "--bind", "127.0.0.1", "--save", "", "--maxclients", "19500"]
    return ["bash", "-c", shell, program, *options, *append, "--dir", str(folder), "--daemonize", "no"]


def lamp_command(herd: Herd, name: str, log: str) -> list[str]:
    """LAMP's two web servers, database and balancer, which has the port."""
    durability = {"": "memory", "everysec": "flush-2", "always": "flush-1"}[herd.journal]
    command = [sys.executable, str(PEERS / "lamp/lamp.py"), "start", "--durability", durability]
    return [*command, "--port", str(herd.ports[name]), *(["--folder", str(DISK)] if herd.journal else [])]


def python(*program: str) -> Callable[[Herd, str, str], list[str]]:
    return original(str(PEERS / ".venv/bin/python"), str(PEERS.joinpath(*program)))


def own_peer(command: str) -> Peer:
    """A reader's own server; benches/own.py describes the command."""

    def filled(herd: Herd, name: str, log: str) -> list[str]:
        ports = [herd.ports[neighbour] for neighbour in herd.neighbours(name)]
        ports += [port for server, port in herd.observers.items() if server == name]
        neighbours = ",".join(f"127.0.0.1:{port}" for port in ports)
        # No request asks for places, so the port is closed.
        places = "http://127.0.0.1:9"
        return own.words(command, name=name, port=herd.ports[name], neighbours=neighbours, places=places)

    is_filled = own.has(command)
    floods = not is_filled or own.has(command, "neighbours")
    if not floods:
        print("--own: COMMAND has no {neighbours}, so propagation is not measured", file=sys.stderr)
    return Peer("own", filled if is_filled else original(*own.words(command)), floods=floods,
                parts=("load", "idle", "connect", "start"))  # fmt: skip


ECHO = Peer(
    "echo",
    lambda herd, name, log: [str(PEERS / "echo/target/release/echo-peer"), "--port", str(herd.ports[name])],
    speaks="echo",
    required=True,
    needs=[PEERS / "echo/target/release/echo-peer"],
    parts=("load", "idle", "connect", "start"),
)

TABLE = [
    ECHO,
    Peer("herd", herd_command, required=True, needs=[HERD], floods=True, logs=True,
         parts=("load", "idle", "records", "connect", "start", "whatsat", "lamp", "http")),
    Peer("twisted", python("twisted", "server.py"), required=True, floods=True, logs=True,
         needs=[PEERS / ".venv/bin/python", PEERS / "twisted/server.py"], pace=130_000, start_seconds=0.3,
         parts=("load", "idle", "records", "connect", "start", "lamp")),
    Peer("asyncio", python("asyncio", "server.py"), required=True, floods=True, logs=True,
         needs=[PEERS / ".venv/bin/python", PEERS / "asyncio/server.py"], pace=80_000),
    Peer("node", original("node", str(PEERS / "node/server.mjs")), required=True, floods=True, logs=True,
         needs=["node", PEERS / "node/server.mjs"], pace=120_000),
    Peer("tokio", original(str(PEERS / "tokio/target/release/tokio-peer")), floods=True, logs=True,
         needs=[PEERS / "tokio/target/release/tokio-peer"]),
    # Its log is its append-only file, synced every second.
    Peer("redis SET", redis_command, speaks="resp-set", logs=True, needs=["redis-check-rdb"]),
    Peer("redis GEOADD", redis_command, speaks="resp-geoadd", needs=["redis-check-rdb"], parts=("load", "records")),
    Peer("nats", lambda herd, name, log: ["nats-server", "-a", "127.0.0.1", "-p", str(herd.ports[name])],
         speaks="nats", needs=["nats-server"], parts=("load", "idle", "start")),
    # Clients of web servers do not pipeline. SIGTERM, because its script has a folder to remove.
    Peer("lamp", lamp_command, speaks="http", cells=[(c, p) for c, p in CELLS if p == 1],
         needs=["apache2", "haproxy", "mariadbd", PEERS / "lamp/lamp.py"], ended_by=signal.SIGTERM,
         parts=("load", "connect", "start", "lamp"), start_seconds=1.5),
    # Of the part http; the echo answers every request with the same bytes.
    Peer("echo http", lambda herd, name, log: [*ECHO.command(herd, name, log), "--http", "on"], speaks="http-fixed",
         needs=ECHO.needs, parts=("http",)),
    Peer("herd PUT", herd_http_command, speaks="http-put", needs=[HERD], parts=("http",)),
    Peer("herd owntracks", herd_http_command, speaks="http-owntracks", needs=[HERD], parts=("http",)),
    Peer("node PUT", lambda herd, name, log: ["node", str(PEERS / "node/http.mjs"), "--port", str(herd.ports[name])],
         speaks="http-put", needs=["node", PEERS / "node/http.mjs"], parts=("http",)),
]  # fmt: skip

FIRST_REQUEST = {
    "herd": (b"IAMAT kiwi +34.068930-118.445127 1479413884.392014450\n", b"\n"),
    "echo": (b"IAMAT kiwi +34.068930-118.445127 1479413884.392014450\n", b"\n"),
    "resp-set": (b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n", b"+OK\r\n"),
    "nats": (b'CONNECT {"verbose":true}\r\n', b"+OK\r\n"),
    "http": (
        b"POST /herd.php HTTP/1.1\r\nHost: herd\r\nContent-Length: 54\r\n\r\n"
        b"IAMAT kiwi +34.068930-118.445127 1479413884.392014450\n",
        b" kiwi +34.068930-118.445127 1479413884.392014450\n",
    ),
}


# Starting, pinning and driving.

def build() -> None:
    """Builds our programs; cargo rebuilds only what has changed."""
    command = ["cargo", "build", "--release", "--locked", "--quiet", "-p", "places-herd", "-p", "herd-bench"]
    subprocess.run(command, check=True, cwd=ROOT)


class Failed(SystemExit):
    """A server that does not start, or that answers wrongly."""


def missing(peer: Peer) -> list[str]:
    there = lambda need: need.exists() if isinstance(need, Path) else shutil.which(need)  # noqa: E731
    return [str(need) for need in peer.needs if not there(need)]


CORES = sorted(os.sched_getaffinity(0))


def pinned(core: int, command: list[str]) -> list[str]:
    if len(CORES) < 2:
        return command
    return ["taskset", "-c", str(CORES[core]), *command]


used_ports = set()


def free_port() -> int:
    """A free port below the kernel's ephemeral ports, a different one at each call."""
    start = 15_000 + os.getpid() * 37 % 10_000
    for port in range(start, 32_000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port in used_ports:
                continue
            used_ports.add(port)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise SystemExit("no free port")


class Servers:
    """The servers of one herd. Leaving the context ends them, by their process ids."""

    def __init__(self, peer: Peer, names: list[str], edges: Any = (), observed: bool = False, log: bool = False,
                 journal: str = ""):  # fmt: skip
        self.peer = peer
        # Without a journal the folder is in memory: see warm_memory.
        self.folder = Path(tempfile.mkdtemp(prefix="herd-bench-", dir=DISK if journal else "/dev/shm"))
        observers = {name: free_port() for name in names} if observed else {}
        self.herd = Herd(self.folder, {name: free_port() for name in names}, list(edges), observers, journal)
        self.log = str(self.folder / "log" / "file") if log else "off"
        (self.folder / "log").mkdir()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Servers":
        try:
            for name in self.herd.ports:
                self.start(name)
            for name in self.herd.ports:
                self.wait(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self, name: str) -> None:
        command = pinned(SERVER_CORE, self.peer.command(self.herd, name, self.log))
        said = open(self.folder / f"{name}.said", "ab")
        self.processes[name] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=self.folder
        )

    def wait(self, name: str, seconds: float = 30) -> socket.socket:
        """Connects as soon as the server listens."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.herd.ports[name]), timeout=30)
            except ConnectionRefusedError:
                if self.processes[name].poll() is not None or time.monotonic() > deadline:
                    said = (self.folder / f"{name}.said").read_text(errors="replace")
                    raise Failed(f"{self.peer.name}: {name} does not listen: {said[-2000:]}")
                time.sleep(0.001)

    def address(self, name: str) -> str:
        return f"127.0.0.1:{self.herd.ports[name]}"

    def pids(self) -> list[int]:
        """All processes, without the script that starts LAMP's."""
        pids = [pid for process in self.processes.values() for pid in family(process.pid)]
        return pids[1:] if self.peer.speaks == "http" else pids

    def members(self) -> dict[str, tuple[str, int]]:
        """The port or socket, and the process id, of each server; with LAMP also of its balancer and database."""
        if self.peer.speaks != "http":
            return {name: (str(self.herd.ports[name]), process.pid) for name, process in self.processes.items()}
        deadline = time.monotonic() + 30
        said = ""
        # The database's line is the last one.
        while "database listens" not in said and time.monotonic() < deadline:
            time.sleep(0.01)
            said = (self.folder / "Alford.said").read_text()
        found = re.findall(r"^(\S+) listens on (\S+), process (\d+)$", said, re.M)
        return {name: (port, int(pid)) for name, port, pid in found}

    def __exit__(self, *_: Any) -> None:
        for process in self.processes.values():
            process.send_signal(self.peer.ended_by)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        # It has ended, which the generator will find.
        children = []
    return [pid, *(each for child in children for each in family(int(child)))]


def memory(pids: list[int]) -> dict[str, int]:
    """The memory of processes in bytes: what each sees (RSS), and with shared pages divided among them (PSS)."""
    found = {"rss": 0, "pss": 0}
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        for kind in found:
            found[kind] += 1024 * int(re.search(rf"^{kind}:\s+(\d+)", text, re.M | re.I)[1])
    return found


def alone(peer: Peer, log: bool = False) -> Servers:
    return Servers(peer, ["Alford"], log=log)


def warm_memory() -> None:
    """Writes to as much memory as a log will need, so that the run does not measure the allocation of new pages.

    It runs before each logging run, because a virtual machine may return memory that was free for a while.
    """
    # As much as a log grows to, or as there is room for.
    with tempfile.NamedTemporaryFile(dir="/dev/shm", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(128):
            file.write(bytes(16 << 20))


def bench(servers: Servers, *arguments: Any, names: Optional[list[str]] = None) -> dict[str, Any]:
    """Runs the generator once. A wrong reply raises Failed."""
    addresses = [servers.address(name) for name in names or ["Alford"]]
    command = [str(GENERATOR), "--json", "--protocol", servers.peer.speaks, "--pid", ",".join(map(str, servers.pids()))]
    command += [str(argument) for argument in arguments] + addresses
    done = subprocess.run(pinned(GENERATOR_CORE, command), capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise Failed(f"{servers.peer.name}: {' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


class Spare:
    """The time that is left for repeating disturbed loads; benches/run sets it."""

    seconds = float("inf")


def least_disturbed(attempts: int, run: Callable[[], Any], others: Callable[[Any], float]) -> Any:
    best = None
    for attempt in range(attempts):
        begun = time.monotonic()
        result = run()
        if best is None or others(result) < others(best):
            best = result
        if attempt:
            Spare.seconds -= time.monotonic() - begun
        if others(best) < DISTURBED or Spare.seconds <= 0:
            break
    return best


def others_of(*reports: dict[str, Any]) -> float:
    return max(report["used"]["others_share"] or 0.0 for report in reports)
