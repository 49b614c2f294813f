"""Sections 2.2 to 5: lines of code, package managers, and computing in each language."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from running import PROGRAMS, Extent, Figures, Missing, output
from servers import PEERS, ROOT, Failed


def code_lines(text: str, comment: str) -> int:
    """Lines with code: neither blank lines, nor comments, nor docstrings."""
    text = re.sub(r'^\s*"""(?:.|\n)*?"""\n', "", text, flags=re.M)
    lines = (line.strip() for line in text.splitlines())
    return sum(bool(line) and not line.startswith((comment, "/*", "*")) for line in lines)


def development(extent: Extent) -> Figures:
    """Lines of code of each server."""
    def lines(comment: str, *patterns: str) -> int:
        return sum(code_lines(path.read_text(), comment) for pattern in patterns for path in PEERS.glob(pattern))

    ours = []
    for path in (ROOT / "src").rglob("*.rs"):
        if not {"tests", "examples"} & set(path.relative_to(ROOT).parts):
            ours.append(code_lines(path.read_text().partition("\n#[cfg(test)]")[0], "//"))
    return {
        "herd": sum(ours),
        "twisted": lines("#", "twisted/server.py"),
        "asyncio": lines("#", "asyncio/server.py"),
        "node": lines("//", "node/server.mjs"),
        "tokio": lines("//", "tokio/src/*.rs"),
        "lamp": lines("//", "lamp/herd.php") + lines("--", "lamp/schema.sql"),
        "lamp settings": lines("#", "lamp/apache.conf", "lamp/haproxy.cfg") + lines(";", "lamp/php.ini"),
    }


def installs(extent: Extent) -> Figures:
    """What one line of a package manager installs: packages, bytes and seconds."""
    if not extent.installs:
        return {}

    def size(folder: Path) -> int:
        return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())

    def timed(*command: Any, cwd: Path) -> float:
        begun = time.monotonic()
        done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
        if done.returncode != 0:
            raise Missing(f"{command[0]}: {done.stderr[-300:]}")
        return time.monotonic() - begun

    def pip(folder: Path) -> Figures:
        taken = timed(sys.executable, "-m", "pip", "install", "--target", folder / "made", "twisted", cwd=folder)
        packages = len(list((folder / "made").glob("*.dist-info")))
        return {"packages": packages, "bytes": size(folder / "made"), "seconds": taken}

    def npm(folder: Path) -> Figures:
        taken = timed("npm", "install", "--no-fund", "--no-audit", "express", cwd=folder)
        packages = json.loads((folder / "package-lock.json").read_text())["packages"]
        return {"packages": len(packages) - 1, "bytes": size(folder / "node_modules"), "seconds": taken}

    def cargo(folder: Path) -> Figures:
        timed("cargo", "init", "--quiet", "--name", "server", "--vcs", "none", cwd=folder)
        taken = timed("cargo", "add", "--quiet", "tokio", "--features", "full", cwd=folder)
        taken += timed("cargo", "build", "--release", "--quiet", "--target-dir", folder / "target", cwd=folder)
        locked = (folder / "Cargo.lock").read_text().count("[[package]]") - 1
        return {"packages": locked, "bytes": size(folder / "target"), "seconds": taken}

    found = {}
    for name, measure in (("pip install twisted", pip), ("npm install express", npm), ("cargo add tokio", cargo)):
        with tempfile.TemporaryDirectory() as folder:
            try:
                found[name] = measure(Path(folder))
            except (Missing, OSError) as why:
                print(f"left out {name}: {why}", file=sys.stderr)
    return found


def engines(what: str, *operands: Any, node: Any = None) -> Figures:
    """Runs compute.py and compute.mjs."""
    found = {}
    for name, program in {"cpython": sys.executable, "pypy": "pypy3", "node": "node"}.items():
        if not shutil.which(program):
            print(f"left out {name}: {program} is missing", file=sys.stderr)
            continue
        is_node = name == "node"
        given = [node] if node and is_node else operands
        found[name] = output(program, PROGRAMS / ("compute.mjs" if is_node else "compute.py"), what, *given)
    return found


def computing(extent: Extent) -> Figures:
    found = engines("haversine")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["rustc", "-O", "-o", f"{folder}/compute", str(PROGRAMS / "compute.rs")], check=True)
        found["rust"] = output(f"{folder}/compute")
    if len({figures["sum"] for figures in found.values()}) != 1:
        raise Failed(f"the sums differ: {found}")
    return {name: figures["ns"] for name, figures in found.items()}


def own_work(extent: Extent) -> Figures:
    found = engines("report", PEERS / "asyncio/server.py", node=PEERS / "node/server.mjs")
    found = {name: figures["ns"] for name, figures in found.items()}
    if extent.installs:
        # The whole path of a report without the kernel.
        bench = ["cargo", "bench", "--quiet", "--bench", "parts"]
        said = subprocess.run(bench, capture_output=True, text=True, cwd=ROOT).stdout
        times = re.search(r"^IAMAT, 100 a turn, \d+ neighbours?, 1000 clients +([\d.]+)", said, re.M)
        if times:
            found["herd"] = float(times[1])
    return found


def json_text() -> str:
    """A Nearby Search of twenty places, in Google's layout."""
    def place(number: int) -> Figures:
        at = {"lat": 34.0689 + number / 1_000, "lng": -118.4451 - number / 1_000}
        return {
            "business_status": "OPERATIONAL",
            "geometry": {"location": at, "viewport": {"northeast": at, "southwest": at}},
            "icon": "https://maps.gstatic.com/mapfiles/place_api/icons/v1/png_71/restaurant-71.png",
            "name": f"Caf\u00e9 number {number}",
            "opening_hours": {"open_now": number % 2 == 0},
            "place_id": f"ChIJ{number:023}",
            "rating": 4.1,
            "reference": f"ChIJ{number:023}",
            "scope": "GOOGLE",
            "types": ["cafe", "restaurant", "food", "point_of_interest", "establishment"],
            "user_ratings_total": 100 + number,
            "vicinity": f"{number} Westwood Boulevard, Los Angeles",
        }

    found = {"html_attributions": [], "results": [place(number) for number in range(20)], "status": "OK"}
    return json.dumps(found, indent=3, separators=(",", " : "), ensure_ascii=False)


def json_work(extent: Extent) -> Figures:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json_text())
        file.flush()
        return engines("json", file.name)
