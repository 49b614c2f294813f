#!/usr/bin/env python3
"""Plays the recorded transcripts to herd and each original, as real processes, and compares the replies.

    equality.py [herd|twisted|asyncio|node|tokio|lamp ...]

    equality.py --own COMMAND     plays them to your own server, and says whether it is right

The commands and expected replies are in tests/fixtures/transcripts and, beside this file, in transcripts/;
differences.md lists the deliberate differences of the originals. Each transcript is played to a new process, in one
piece, in pieces of seven bytes and without its last newline; then the client half-closes and reads to the end. LAMP
speaks HTTP: it starts once, each command is a request, and its table is emptied before each transcript.

The substitute for Google has two places around every point, but none within less than a kilometre, and fails at
13 km. Transcripts were recorded with a stopped clock: time differences are checked against the real clock,
and not compared.

benches/own.py describes COMMAND. Your server is right in a transcript if it replies like herd or like the originals; the
layout of JSON does not matter. It must close a connection when the client has half-closed it.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, Optional
from urllib.parse import parse_qs, urlencode, urlsplit

PEERS = Path(__file__).resolve().parents[1]
ROOT = PEERS.parents[1]
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "benches"), str(PEERS / "lamp")]
import lamp  # noqa: E402
import own  # noqa: E402

PYTHON = os.environ.get("HERD_TWISTED_PYTHON", str(PEERS / ".venv/bin/python"))
COMMANDS = {
    "twisted": [PYTHON, str(PEERS / "twisted/server.py")],
    "asyncio": [PYTHON, str(PEERS / "asyncio/server.py")],
    "node": ["node", str(PEERS / "node/server.mjs")],
    "tokio": [str(PEERS / "tokio/target/release/tokio-peer")],
}
PATIENCE_SECONDS = 30
WHITE = b" \t\r\n\f\v"
SLACK_NANOS = 1_000_000  # to a millisecond, as the specification has it
AT_LINE = re.compile(r"AT (\S+) ([+-]\d+)\.(\d{9}) (.*) (\d+)(?:\.(\d+))?$", re.DOTALL)


class Wrong(Exception):
    """A difference that is not deliberate."""


class Reply(NamedTuple):
    """One line or, for a WHATSAT, the line and the JSON that follows it."""

    line: str
    places: Optional[str] = None


class Step(NamedTuple):
    """A command, and the expected reply."""

    number: int  # of its line in the transcript
    said: str
    heard: Optional[Reply]


class Difference(NamedTuple):
    """A row of differences.md."""

    where: str
    said: str
    who: list[str]
    heard: str


# --- Transcripts. tests/suite/server/transcripts.rs describes their form.


def unescape(text: str) -> bytes:
    codes = {"r": "\r", "t": "\t", "\\": "\\"}
    form = r"\\(?:x([0-9a-f]{2})|([rt\\]))"
    plain = re.sub(form, lambda m: chr(int(m[1], 16)) if m[1] else codes[m[2]], text)
    return plain.encode("latin1")


def escape(data: bytes) -> str:
    return re.sub(r"[^ -~\n]", lambda m: f"\\x{ord(m[0]):02x}", data.decode("latin1"))


def steps(path: Path) -> tuple[list[Step], str]:
    """The client's commands in the transcript, and the limits that it sets."""
    found: list[tuple[int, str, list[str]]] = []
    limits = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        mark, text = line[:1], line[2:]
        if mark == ">":
            found.append((number, text, []))
        elif mark == "<":
            # Replies are compared as this file escapes them; a transcript may be escaped differently.
            found[-1][2].append(escape(unescape(text)) if "\\" in text else text)
        elif mark == "!":
            limits += f"{text}\n"
    return [Step(number, said, reply_of(heard)) for number, said, heard in found], limits


def reply_of(heard: list[str]) -> Optional[Reply]:
    if not heard:
        return None
    return Reply(heard[0], "\n".join(heard[1:]) + "\n" if len(heard) > 1 else None)


def replies(text: str) -> Iterator[Reply]:
    """Splits the received text into replies. JSON ends with the first blank line."""
    while text:
        line, _, text = text.partition("\n")
        if line.startswith("AT ") and text.startswith("{\n"):
            places, _, text = text.partition("\n\n")
            yield Reply(line, f"{places}\n\n")
        else:
            yield Reply(line)


# --- Differences.


def differences() -> list[Difference]:
    rows = (PEERS / "equality/differences.md").read_text().split("|---|---|---|---|---|\n")[1]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.splitlines()]
    return [
        Difference(where, said.strip("`"), who.split(), heard)
        for where, said, who, heard, _why in cells
    ]


def heard_instead(difference: Difference, step: Step) -> Optional[Reply]:
    said = escape(unescape(step.said))
    if not said.startswith(difference.said):
        raise Wrong(f"differences.md: the command at {difference.where} is not {difference.said!r} but {said!r}")
    if difference.heard == "nothing":
        return None
    if difference.heard == "the copy":
        return Reply(f"? {said}")
    if difference.heard == "the AT line":
        return Reply(f"AT Alford # {said.split(' ', 1)[1]}")
    if match := re.fullmatch(r"`(.*)` and (\d+) places?", difference.heard):
        return Reply(match[1], match[2])
    raise Wrong(f"differences.md: the reply {difference.heard!r} has an unknown form")


# --- Playing.


class Gazetteer(BaseHTTPRequestHandler):
    """The substitute for Google."""

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        latitude, longitude = map(float, query["location"][0].split(","))
        metres = float(query["radius"][0])
        names = [] if metres < 1_000 else ["Here", "There"]
        results = [place(latitude, longitude, name) for name in names]
        status = "OK" if results else "ZERO_RESULTS"
        found = {"html_attributions": [], "results": results, "status": status}
        body = json.dumps(found, indent=3, separators=(",", " : ")).encode() + b"\n"
        code, kind = 200, "application/json; charset=UTF-8"
        if metres == 13_000:
            code, kind, body = 502, "text/html", b"<html>Bad Gateway</html>"
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def place(latitude: float, longitude: float, name: str) -> dict[str, Any]:
    def number(degrees: float) -> Any:
        return int(degrees) if degrees == int(degrees) else degrees

    point = {"lat": number(latitude), "lng": number(longitude)}
    return {
        "geometry": {"location": point, "viewport": {"northeast": point, "southwest": point}},
        "name": name,
        "place_id": f"test:{name}",
        "reference": f"test:{name}",
        "scope": "APP",
        "types": [],
    }


class Server:
    """The server Alford, as a process of its own."""

    patience_seconds = PATIENCE_SECONDS

    def __init__(self, who: str, limits: str, places: str, folder: Path) -> None:
        self.log = folder / "herd.log"
        self.errors = (folder / "errors").open("wb+")
        is_ours = who == "herd"
        command = ours(limits, places, folder) if is_ours else self.theirs(who, places, folder)
        environment = {**os.environ, "RUST_LOG": "off"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, env=environment
        )
        said = self.process.stdout.readline().decode()
        port = re.search(r"(?:listens on |clients 127\.0\.0\.1:)(\d+)", said)
        if not port:
            raise Wrong(f"{who} does not start: {said} {self.said()}")
        self.address = ("127.0.0.1", int(port[1]))

    def theirs(self, who: str, places: str, folder: Path) -> list[str]:
        config = folder / "herd.json"
        servers = {"Alford": {"port": 0, "neighbours": []}}
        config.write_text(json.dumps({"places": places, "key": "none", "servers": servers}))
        return COMMANDS[who] + ["Alford", "--config", str(config), "--log", str(self.log)]

    def said(self) -> str:
        self.errors.seek(0)
        return self.errors.read().decode()

    def play(self, pieces: list[bytes]) -> bytes:
        """Sends all pieces, half-closes, and returns the whole reply."""
        with socket.create_connection(self.address, self.patience_seconds) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            heard = b""
            while chunk := connection.recv(65_536):
                heard += chunk
            return heard

    def logged(self, text: str) -> None:
        """Waits until the log contains the text."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.log.read_text():
            if time.monotonic() > deadline:
                raise Wrong(f"the log has no {text!r}")
            time.sleep(0.02)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


class LampAdapter:
    """Starts LAMP, and turns the commands of a transcript into its requests."""

    def __init__(self) -> None:
        command = [sys.executable, str(PEERS / "lamp/lamp.py"), "start"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        # LAMP ends with this script, even if SIGTERM ends it.
        atexit.register(self.end)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
        said = [self.process.stdout.readline() for _ in range(4)]
        listens = dict(re.findall(r"(\S+) listens on ([^ ,]+)", "".join(said)))
        if "database" not in listens:
            sys.exit("lamp does not start")
        self.database = listens["database"]
        self.balancer = http.client.HTTPConnection("127.0.0.1", int(listens["balancer"]), timeout=PATIENCE_SECONDS)

    def empty(self) -> None:
        client = ["mariadb", "--no-defaults", f"--socket={self.database}", "--user=root", "--execute"]
        subprocess.run([*client, "TRUNCATE herd.reports"], check=True)

    def play(self, said: bytes) -> bytes:
        """Sends each command as a request, and returns all replies."""
        self.empty()
        return b"".join(self.request(line) for line in said.split(b"\n") if line.strip(WHITE))

    def request(self, line: bytes) -> bytes:
        """A WHATSAT of three operands is a GET; everything else is a POST, which takes only IAMAT."""
        command, *operands = line.split()
        if command == b"WHATSAT" and len(operands) == 3:
            query = urlencode(dict(zip(["client", "radius", "bound"], operands)))
            self.balancer.request("GET", f"/herd.php?{query}")
        else:
            self.balancer.request("POST", "/herd.php", body=line)
        reply = self.balancer.getresponse()
        heard = reply.read()
        if reply.status not in (200, 404, 422):
            raise Wrong(f"status {reply.status}: {escape(line)}")
        if heard == b"?\n":
            # A GET has no command that the reply could repeat.
            return b"? " + line.strip(WHITE) + b"\n"
        # The balancer chooses one of two servers.
        return re.sub(rb"^AT Bolden ", b"AT Alford ", heard)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def ours(limits: str, places: str, folder: Path) -> list[str]:
    """Writes a topology and returns the command of herd. Topologies cannot have port 0, so it chooses two free ports."""
    with socket.socket() as one, socket.socket() as other:
        ports = [free_port(one), free_port(other)]
    (folder / "key").write_text("none\n")
    (folder / "key").chmod(0o600)
    (folder / "topology.toml").write_text(
        f'herd = "equality"\n[[server]]\nname = "Alford"\nneighbours = []\n'
        f'client = "127.0.0.1:{ports[0]}"\npeer = "127.0.0.1:{ports[1]}"\n'
        f'[places]\nsource = "google-legacy"\nbase_url = "{places}"\nkey_file = "key"\n[limits]\n{limits}'
    )
    built = [ROOT / "target" / kind / "herd" for kind in ("release", "debug")]
    latest = max((path for path in built if path.exists()), key=lambda path: path.stat().st_mtime)
    program = os.environ.get("HERD", str(latest))
    return [program, "serve", "Alford", "--topology", str(folder / "topology.toml")]


def free_port(held: socket.socket) -> int:
    start = os.getpid() * 7_919 + time.monotonic_ns()
    for attempt in range(1_000):
        port = 15_000 + (start + attempt) % 17_000
        try:
            held.bind(("127.0.0.1", port))
            return port
        except OSError:
            pass
    raise Wrong("no port is free")


class OwnServer(Server):
    """The server Alford that a reader's COMMAND starts."""

    # Shorter, because a server that does not close costs it in every transcript.
    patience_seconds = 5

    def __init__(self, command: str, places: str, folder: Path) -> None:
        with socket.socket() as held:
            self.address = ("127.0.0.1", free_port(held))
        if own.has(command):
            port = self.address[1]
            words = own.words(command, name="Alford", port=port, neighbours="", places=places)
        else:
            words = own.words(command) + self.arguments(places, folder)
        # Its output goes to a file, because it would wait for a reader of a full pipe.
        self.errors = (folder / "errors").open("wb+")
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.errors, stderr=self.errors)
        try:
            self.wait()
        except Wrong:
            self.end()
            raise

    def arguments(self, places: str, folder: Path) -> list[str]:
        config = folder / "herd.json"
        servers = {"Alford": {"port": self.address[1], "neighbours": []}}
        config.write_text(json.dumps({"places": places, "key": "none", "servers": servers}))
        return ["Alford", "--config", str(config), "--log", str(folder / "herd.log")]

    def wait(self) -> None:
        """Waits until the server listens."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                socket.create_connection(self.address, PATIENCE_SECONDS).close()
                return
            except ConnectionRefusedError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise Wrong(f"it does not listen on port {self.address[1]}: {self.said()}") from None
                time.sleep(0.01)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.errors.close()


def ways(said: bytes) -> list[tuple[str, list[bytes]]]:
    return [
        ("in one piece", [said]),
        ("in pieces of seven", [said[at : at + 7] for at in range(0, len(said), 7)]),
        ("without the last newline", [said.removesuffix(b"\n")]),
    ]


# --- Comparing.


def unmasked_nanos(line: str) -> Optional[tuple[int, int]]:
    """The time difference of an AT line, and its stamp."""
    match = AT_LINE.fullmatch(line)
    if not match:
        return None
    whole, fraction = match[2], int(match[3])
    nanos = int(whole) * 10**9 + (-fraction if whole[0] == "-" else fraction)
    return nanos, int(match[5]) * 10**9 + int((match[6] or "").ljust(9, "0"))


def mask(line: str) -> str:
    return AT_LINE.sub(lambda m: line.replace(f" {m[2]}.{m[3]} ", " # ", 1), line)


def masked_expected(all_steps: list[Step]) -> list[Step]:
    """Replaces the time differences of the transcript's own reports by `#`; those of AT lines stay."""
    reports = [step for step in all_steps if unescape(step.said).split()[:1] == [b"IAMAT"]]
    own = {step.heard.line for step in reports if step.heard}

    def masked(heard: Reply) -> Reply:
        return heard._replace(line=mask(heard.line)) if heard.line in own else heard

    return [step._replace(heard=masked(step.heard)) if step.heard else step for step in all_steps]


def masked_heard(heard: list[Reply], began: int, ended: int) -> list[Reply]:
    """Replaces correct time differences in replies by `#`. A difference that fits no moment between `began` and `ended`
    stays, and the comparison finds it."""
    told = set()
    result = []
    for reply in heard:
        nanos = unmasked_nanos(reply.line)
        if nanos and began - SLACK_NANOS <= sum(nanos) <= ended + SLACK_NANOS:
            told.add(reply.line)
        result.append(reply._replace(line=mask(reply.line)) if reply.line in told else reply)
    return result


def same_places(expected: Optional[str], got: Optional[str], by_value: bool) -> bool:
    if expected is None or got is None:
        return expected == got
    found = json.loads(got)
    if expected.isdigit():
        return len(found["results"]) == int(expected)
    wanted = json.loads(expected)
    if "error_message" in wanted and "error_message" in found:
        wanted["error_message"] = found["error_message"] = "?"
        expected = got = ""
    return wanted == found and (by_value or expected == got)


def expected_of(who: str, path: Path, rows: list[Difference]) -> list[Step]:
    rows_by_line = {row.where: row for row in rows if who in row.who}
    every = rows_by_line.get("every WHATSAT")
    result = []
    for step in masked_expected(steps(path)[0]):
        row = rows_by_line.get(f"{path.stem}:{step.number}")
        heard = heard_instead(row, step) if row else step.heard
        if row and heard == step.heard:
            raise Wrong(f"differences.md: {row.where} is not a difference")
        if heard and every and every.heard == "the AT line":
            heard = heard._replace(places=None)
        result.append(step._replace(heard=heard))
    return result


def compare(expected: list[Step], got: list[Reply], by_value: bool) -> None:
    wanted = [(step, step.heard) for step in expected if step.heard]
    for (step, heard), reply in zip(wanted, got):
        same = heard.line == reply.line
        if not same or not same_places(heard.places, reply.places, by_value):
            what = f"line {step.number}: {step.said}"
            raise Wrong(f"{what}\n  expected {heard}\n  heard    {reply}")
    if len(wanted) != len(got):
        raise Wrong(f"{len(wanted)} replies were expected, {len(got)} heard: {got[len(wanted):]}")


def check(who: str, path: Path, rows: list[Difference], places: str, web: Optional[LampAdapter]) -> int:
    """Plays one transcript in all ways; returns the number of deliberately different replies."""
    all_steps, limits = steps(path)
    expected = expected_of(who, path, rows)
    by_value = any(row.heard == "the same value" and who in row.who for row in rows)
    said = b"".join(unescape(step.said) + b"\n" for step in expected)

    def compared(play: Callable[[], bytes]) -> str:
        began = time.time_ns()
        heard = escape(play())
        compare(expected, masked_heard(list(replies(heard)), began, time.time_ns()), by_value)
        return heard

    if who == "lamp":
        compared(lambda: web.play(said))
    for way, pieces in ways(said) if who != "lamp" else []:
        with tempfile.TemporaryDirectory() as folder:
            server = Server(who, limits, places, Path(folder))
            try:
                heard = compared(lambda: server.play(pieces))
                if by_value and '"status" : "OK"' in heard:
                    raise Wrong("differences.md: every WHATSAT: the layout is the same")
                if who != "herd":
                    server.logged(re.split(r"[^ -\[\]-~]", expected[0].said)[0])
            except Wrong as wrong:
                raise Wrong(f"{who}, {path.stem}, {way}: {wrong}\n{server.said()}") from None
            finally:
                server.end()
    others = {row.where for row in rows if who in row.who}
    return sum(f"{path.stem}:{step.number}" in others for step in all_steps)


def check_own(command: str, path: Path, rows: list[Difference], places: str) -> None:
    """Plays one transcript in all ways to a reader's own server. It may reply like herd or like the originals."""
    like = [expected_of(who, path, rows) for who in ("herd", "twisted")]
    said = b"".join(unescape(step.said) + b"\n" for step in like[0])
    for way, pieces in ways(said):
        with tempfile.TemporaryDirectory() as folder:
            server = OwnServer(command, places, Path(folder))
            try:
                began = time.time_ns()
                heard = escape(server.play(pieces))
                got = masked_heard(list(replies(heard)), began, time.time_ns())
                with contextlib.suppress(Wrong):
                    compare(like[0], got, True)
                    continue
                compare(like[1], got, True)
            except (Wrong, OSError, ValueError) as why:
                if isinstance(why, TimeoutError):
                    why = Wrong(f"it has not closed the connection {server.patience_seconds} s after the client's last byte")
                raise Wrong(f"{way}: {why}\n{server.said()}") from None
            finally:
                server.end()


def judge(command: str, transcripts: list[Path], rows: list[Difference], places: str) -> None:
    """Says whether a reader's own server is right; exits with 1 if not."""
    failures = []
    for path in transcripts:
        try:
            check_own(command, path, rows, places)
            print(f"{path.stem:<32}     right", flush=True)
        except Wrong as why:
            failures.append(f"{path.stem}, {why}")
            print(f"{path.stem:<32}     WRONG", flush=True)
    print(f"the server is right in {len(transcripts) - len(failures)} of {len(transcripts)} transcripts")
    if failures:
        sys.exit("\n" + "\n\n".join(failures))


def chosen() -> list[str]:
    """The servers of the command line, or all that are installed."""
    if sys.argv[1:]:
        return sys.argv[1:]
    lacks = lamp.missing()
    if lacks and not os.environ.get("HERD_REQUIRE_ALL"):
        print(f"skipped lamp: {', '.join(lacks)} is missing; run benches/peers/install lamp")
        return ["herd", *COMMANDS]
    return ["herd", *COMMANDS, "lamp"]


def main() -> None:
    whom = chosen()
    rows = differences()
    folders = [ROOT / "tests/fixtures/transcripts", PEERS / "equality/transcripts"]
    transcripts = [path for folder in folders for path in sorted(folder.glob("*.txt"))]
    lines = {f"{path.stem}:{step.number}" for path in transcripts for step in steps(path)[0]}
    for row in rows:
        if row.where != "every WHATSAT" and row.where not in lines:
            sys.exit(f"differences.md: there is no command at {row.where}")
    gazetteer = ThreadingHTTPServer(("127.0.0.1", 0), Gazetteer)
    threading.Thread(target=gazetteer.serve_forever, daemon=True).start()
    places = f"http://127.0.0.1:{gazetteer.server_port}"
    if sys.argv[1:2] == ["--own"]:
        if len(sys.argv) != 3:
            sys.exit("equality.py: --own takes one COMMAND; put it between quotes")
        judge(sys.argv[2], transcripts, rows, places)
        return
    web = LampAdapter() if "lamp" in whom else None
    failures = []
    print(f"{'transcript':<32}" + "".join(f"{who:>10}" for who in whom))
    for path in transcripts:
        cells = []
        for who in whom:
            try:
                others = check(who, path, rows, places, web)
                cells.append(f"{others} others" if others else "same")
            except (Wrong, OSError, ValueError) as why:
                failures.append(f"{who}, {path.stem}: {why}")
                cells.append("WRONG")
        print(f"{path.stem:<32}" + "".join(f"{cell:>10}" for cell in cells), flush=True)
    gazetteer.shutdown()
    if failures:
        sys.exit("\n" + "\n\n".join(failures))
    print("same: all replies are equal, except for correct time differences. others: see differences.md.")


if __name__ == "__main__":
    main()
