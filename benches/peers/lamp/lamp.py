#!/usr/bin/env python3
"""Starts the LAMP herd: HAProxy before two Apaches with PHP, Alford and Bolden, and one MariaDB behind them.

    lamp.py start [--durability memory|flush-2|flush-1] [--workers N] [--port N] [--folder PARENT]

When all of them serve, the script prints a line for each: its name, where it listens, and its process. SIGTERM or
SIGINT ends all of them and removes their folder. If the script itself is killed, the kernel ends them, and the folder
stays. They run as the user of the script, or as www-data if that is root. They read no configuration of the system, and
are no services.

Each of them is the leader of a process group: `kill -9 -- -PROCESS` kills a web server with all its processes.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import http.client
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NAMES = ["Alford", "Bolden"]
# The engine, innodb_flush_log_at_trx_commit, and the processes of each Apache: more if they wait for the disk.
DURABILITY = {"memory": ("MEMORY", 0, 4), "flush-2": ("InnoDB", 2, 4), "flush-1": ("InnoDB", 1, 16)}
PATIENCE_SECONDS = 30
PROGRAMS = ["apache2", "haproxy", "mariadb", "mariadbd", "mysql_install_db", "setpriv"]
PHP_MODULE = "/usr/lib/apache2/modules/libphp*.so"
# Debian's servers are here, which is not in everybody's PATH.
os.environ["PATH"] += ":/usr/sbin"


def missing() -> list[str]:
    """What is not installed."""
    return [name for name in PROGRAMS if not shutil.which(name)] + [PHP_MODULE] * (not glob.glob(PHP_MODULE))


def free_ports(count: int) -> list[int]:
    """Free ports below the kernel's ephemeral ones, which connections use."""
    ports: list[int] = []
    for port in range(15_000 + os.getpid() * 37 % 10_000, 32_000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise SystemExit("lamp: no port is free")


class Lamp:
    def __init__(self, given: argparse.Namespace) -> None:
        self.engine, self.flush, workers = DURABILITY[given.durability]
        self.workers = given.workers or workers
        port, *web = free_ports(3)
        self.ports = {"balancer": given.port or port, **dict(zip(NAMES, web))}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        memory = given.durability == "memory" and Path("/dev/shm").is_dir()
        self.folder = Path(tempfile.mkdtemp(prefix="herd-lamp-", dir=given.folder or ("/dev/shm" if memory else None)))
        self.socket = self.folder / "database.sock"

    def is_in_memory(self) -> bool:
        kind = subprocess.run(["stat", "--file-system", "--format=%T", self.folder], capture_output=True, text=True)
        return kind.stdout.strip() in ("tmpfs", "ramfs")

    def run(self, name: str, *command: str, **environment: Any) -> subprocess.Popen[bytes]:
        """Starts a program as an ordinary user, which gets SIGTERM when this script ends."""
        user = ["--reuid=www-data", "--regid=www-data", "--clear-groups"] if os.geteuid() == 0 else []
        variables = {**os.environ, **{key: str(value) for key, value in environment.items()}}
        with open(self.folder / f"{name}.said", "ab") as said:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig=TERM", *user, *command],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=self.folder, env=variables,
                start_new_session=True,
            )  # fmt: skip

    def start(self) -> None:
        for file in ["herd.php", "php.ini", "apache.conf", "haproxy.cfg", "schema.sql"]:
            shutil.copy(HERE / file, self.folder)
        if os.geteuid() == 0:
            for path in [self.folder, *self.folder.iterdir()]:
                shutil.chown(path, "www-data", "www-data")
        common = {
            "HERD_FOLDER": self.folder,
            "HERD_DATABASE": self.socket,
            "HERD_WORKERS": self.workers,
            "HERD_PHP": sorted(glob.glob(PHP_MODULE))[-1],
            # Without it PHP reads the system's conf.d, too.
            "PHP_INI_SCAN_DIR": "",
        }
        for name in NAMES:
            self.processes[name] = self.run(
                name, "apache2", "-f", str(self.folder / "apache.conf"), "-D", "FOREGROUND",
                HERD_NAME=name, HERD_PORT=self.ports[name], **common,
            )  # fmt: skip
        self.start_database()
        self.wait(NAMES)
        # The balancer is last, so that all serve when its port is open. A connection takes two descriptors.
        connections = min(20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 100)
        self.processes["balancer"] = self.run(
            "balancer", "haproxy", "-f", "haproxy.cfg", "-db",
            HERD_PORT=self.ports["balancer"], ALFORD_PORT=self.ports["Alford"], BOLDEN_PORT=self.ports["Bolden"],
            HERD_WORKERS=self.workers, HERD_CONNECTIONS=connections,
        )  # fmt: skip
        self.wait(["balancer"])

    def start_database(self) -> None:
        data = self.folder / "data"
        # In memory half a second; on a disk up to four, because it syncs each table.
        install = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        if self.run("install", "mysql_install_db", "--no-defaults", f"--datadir={data}", *install).wait() != 0:
            raise SystemExit(f"lamp: mysql_install_db failed:\n{self.said('install')}")
        self.processes["database"] = self.run(
            "database", "mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={self.socket}",
            f"--pid-file={self.folder}/database.pid", f"--init-file={self.folder}/schema.sql",
            f"--default-storage-engine={self.engine}",
            # Synced at each commit (1), or written at each commit and synced about each second (2), or neither (0).
            f"--innodb-flush-log-at-trx-commit={self.flush}",
            # PHP is on the same machine: a Unix socket is faster than TCP.
            "--skip-networking",
            # Nobody replicates, so there is no second log to sync.
            "--skip-log-bin",
            # A connection for each process of Apache, and some for a person who looks.
            f"--max-connections={2 * self.workers + 20}",
            # Enough for all reports; the log is large enough to hold a run.
            "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=64M", "--max-heap-table-size=256M",
        )  # fmt: skip

    def wait(self, names: list[str]) -> None:
        """Waits until all of these say that they do not know a client."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        for name in names:
            while not self.serves(self.ports[name]):
                self.check_processes()
                if time.monotonic() > deadline:
                    raise SystemExit(f"lamp: {name} does not serve:\n{self.said('*')}")
                time.sleep(0.01)
        # The port that answered may be another program's.
        self.check_processes()

    def check_processes(self) -> None:
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise SystemExit(f"lamp: {name} ended:\n{self.said(name)}")

    def serves(self, port: int) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", "/herd.php?client=nobody")
            reply = connection.getresponse()
            return (reply.status, reply.read()) == (404, b"?\n")
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def said(self, name: str) -> str:
        files = sorted([*self.folder.glob(f"{name}.said"), *self.folder.glob(f"{name}.log")])
        return "".join(file.read_text(errors="replace")[-2_000:] for file in files)

    def end(self) -> None:
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, signal.SIG_IGN)
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            # Apache waits for its own processes, so that none is left to init.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    start = parser.add_subparsers(required=True).add_parser("start", help="start all servers, and run until SIGTERM")
    start.add_argument("--durability", choices=DURABILITY, default="memory",
                       help="memory: nothing on disk. flush-2: on disk, synced about each second. flush-1: synced "
                            "before each reply (default: memory)")  # fmt: skip
    start.add_argument("--workers", type=int, help="processes of each Apache (default: 4; with flush-1: 16)")
    start.add_argument("--port", type=int, help="the balancer's port (default: a free one)")
    start.add_argument("--folder",
                       help="make the servers' folder in this one, on a disk for flush-1 and flush-2 "
                            "(default: TMPDIR's, or /tmp; with memory: /dev/shm)")  # fmt: skip
    given = parser.parse_args()
    if missing():
        sys.exit(f"lamp: {', '.join(missing())} is missing; run benches/peers/install lamp")
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: sys.exit(0))
    lamp = Lamp(given)
    if given.durability != "memory" and lamp.is_in_memory():
        print(f"lamp: {lamp.folder} is in memory, and not on a disk; choose another --folder", file=sys.stderr)
    try:
        lamp.start()
        for name, port in lamp.ports.items():
            print(f"{name} listens on {port}, process {lamp.processes[name].pid}")
        print(f"database listens on {lamp.socket}, process {lamp.processes['database'].pid}", flush=True)
        while True:
            signal.pause()
    finally:
        lamp.end()


if __name__ == "__main__":
    main()
