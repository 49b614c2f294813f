"""Computations of the claims, in Python: prints one line of JSON. compute.mjs and compute.rs do the same.

    compute.py haversine
    compute.py json FILE          FILE: the reply of a Nearby Search
    compute.py report SERVER      SERVER: the original on asyncio

Times are in nanoseconds, the best of many short passes, so that other programs disturb few.
"""

import json
import math
import re
import sys
import time
import types

sys.dont_write_bytecode = True
PASSES = 60
POINTS = 2_000
CLIENTS = 1_000


def best(prepare, run, each):
    """The shortest time of a run, divided by `each`, and the last result."""
    times = []
    for number in range(PASSES):
        argument = prepare(number)
        begun = time.perf_counter()
        result = run(argument)
        times.append(time.perf_counter() - begun)
    return min(times) * 1e9 / each, result


def points():
    """The same points in every language: latitudes and longitudes in radians."""
    state, found = 1, []
    for _ in range(2 * POINTS):
        state = (1664525 * state + 1013904223) % 2**32
        found.append(state / 2**32 * 3 - 1.5)
    return found


def haversine(places):
    total = 0.0
    for at in range(0, 2 * POINTS - 2, 2):
        a, b, c, d = places[at], places[at + 1], places[at + 2], places[at + 3]
        u, v = math.sin((c - a) / 2), math.sin((d - b) / 2)
        total += 12742 * math.asin(math.sqrt(u * u + math.cos(a) * math.cos(c) * v * v))
    return total


def reports(number):
    """A line for each client, newer in each pass."""
    line = b"IAMAT client-%07d +34.068930-118.445127 %d.392014450"
    return [line % (client, 1479413884 + number) for client in range(CLIENTS)]


def reporting(path):
    with open(path) as file:
        # Without the one method that PyPy 3.9 cannot read: it has "match".
        source = re.sub(r"    async def handle.*?(?=    def iamat)", "", file.read(), flags=re.DOTALL)
    server = types.ModuleType("server")
    sys.modules["server"] = server
    exec(compile(source, path, "exec"), server.__dict__)
    chatserver = server.Chatserver(b"Alford", None)

    def report(lines):
        for line in lines:
            chatserver.iamat(*line.split()[1:])
        return len(chatserver.clients)

    return report


def main():
    what, *rest = sys.argv[1:]
    if what == "haversine":
        places = points()
        ns, total = best(lambda _: places, haversine, POINTS - 1)
        print(json.dumps({"ns": ns, "sum": f"{total:.3f}"}))
    elif what == "json":
        with open(rest[0]) as file:
            text = file.read()

        def keep(layout):
            for _ in range(10):
                found = json.loads(text)
                found["results"] = found["results"][:5]
                out = json.dumps(found, **layout)
            return len(out)

        indented, length = best(lambda _: {"indent": 3, "ensure_ascii": False}, keep, 10)
        compact, _ = best(lambda _: {"separators": (",", ":"), "ensure_ascii": False}, keep, 10)
        print(json.dumps({"ns": indented, "compact_ns": compact, "bytes": len(text), "kept": length}))
    else:
        ns, known = best(reports, reporting(rest[0]), CLIENTS)
        print(json.dumps({"ns": ns, "known": known}))


main()
