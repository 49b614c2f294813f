"""The records of the scripts in this folder: the machine, the versions, and the files."""

from __future__ import annotations

import json
import platform
import re
import resource
import subprocess
from pathlib import Path
from typing import Any

from servers import CORES, PEERS, ROOT


def output_of(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
        return (done.stdout or done.stderr).strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return "not installed"


def machine() -> dict[str, Any]:
    models = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": len(CORES),
        "memory_gib": round(int(memory[1]) / (1 << 20)) if memory else None,
        "kernel": platform.release().split("-")[0],
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }


def commit() -> str:
    """The commit; it ends in "-dirty" if tracked files differ from it."""
    return output_of("git", "describe", "--always", "--dirty", "--abbrev=12")


def versions() -> dict[str, str]:
    twisted = "import platform, twisted; print(f'{twisted.__version__} on CPython {platform.python_version()}')"
    redis = "exec -a redis-server redis-check-rdb --version"
    return {
        "commit": commit(),
        "rust": output_of("rustc", "--version"),
        "twisted": output_of(str(PEERS / ".venv/bin/python"), "-c", twisted),
        "node": output_of("node", "--version"),
        "redis": output_of("bash", "-c", redis),
        "nats": output_of("nats-server", "--version"),
        "apache": output_of("apache2", "-v"),
        "php": output_of("php", "--version"),
        "mariadb": output_of("mariadbd", "--version"),
        "haproxy": output_of("haproxy", "-v"),
    }


def slug(about: dict[str, Any]) -> str:
    """The name of a machine's folder."""
    name = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", about["processor"].lower())).strip("-")
    return f"{name}-{about['cores']}-cores"


def record(folder: Path, results: dict[str, Any]) -> Path:
    folder = folder / slug(results["machine"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{results['date']}.json"
    # One row a line, so that two records can be compared with diff.
    rows = ",\n".join("  " + json.dumps(row) for row in results["rows"])
    head = json.dumps({key: value for key, value in results.items() if key != "rows"}, indent=1)
    path.write_text(head[:-2] + f',\n "rows": [\n{rows}\n ]\n}}\n')
    return path
