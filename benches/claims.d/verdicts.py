"""Turns figures into the last three cells of a row: our figures, those of the others, and the verdict."""

from __future__ import annotations

from typing import Any, Callable

from running import TWINS, Figures

NAMES = {"lamp": "LAMP", "twisted": "Twisted", "node": "Node", "cpython": "CPython", "pypy": "PyPy"}
Cells = tuple[str, str, str]


def short(number: float) -> str:
    """
    >>> [short(number) for number in (167762.4, 5208, 16.04, 0.0123, 0)]
    ['168,000', '5,210', '16', '0.012', '0']
    """
    if abs(number) >= 1000:
        digits = 10 ** (len(str(int(abs(number)))) - 3)
        return f"{round(number / digits) * digits:,}"
    return f"{number:.2g}" if abs(number) < 100 else f"{number:.0f}"


def times(one: float, other: float) -> str:
    return f"{short(one / other)} times" if other else "many times"


def each(found: Figures, names: list[str], form: Callable[[Any], str] = str) -> str:
    """The figures of several servers."""
    return ", ".join(f"{NAMES.get(name, name)} {form(found[name])}" for name in names if name in found)


def updates(f: Figures) -> Cells:
    ours, lamp = f["herd x 2 always reports 50"], f["lamp always reports 50"]
    writes = f["lamp memory reports 50 us"] / f["lamp memory asks 50 us"]
    asks = f["herd x 2 memory asks 50"], f["lamp memory asks 50"]
    return (
        f"{short(ours)} reports/s, each on disk before its reply",
        f"LAMP {short(lamp)}",
        f"half true: {times(ours, lamp)} as many, but the herd also answers {times(*asks)} as many asks; "
        f"in memory a report takes LAMP only {times(writes, 1)} an ask's processor time",
    )


def performance(f: Figures) -> Cells:
    herd, lamp, twisted = (f"{name} memory" for name in ("herd x 2", "lamp", "twisted x 2"))
    ratios = [f[f"{one} reports 50"] / f[f"{lamp} reports 50"] for one in (herd, twisted)]
    of = lambda name: [short(f[f"{name} {what}"]) for what in ("reports 50", "asks 50", "idle MiB")]  # noqa: E731
    return (
        "{} reports/s, {} asks/s, {} MiB".format(*of(herd)),
        "LAMP {} reports/s, {} asks/s, {} MiB; ".format(*of(lamp)) + f"Twisted {short(f[f'{twisted} reports 50'])} reports/s",
        f"false for this use: herd takes {short(ratios[0])} times as many reports, Twisted {short(ratios[1])} times",
    )


def reliability(f: Figures) -> Cells:
    one = lambda name: f"{f[f'{name} failed']:.0f} failed requests, pause {f[f'{name} pause_ms']:.0f} ms"  # noqa: E731
    rest = [what for what in ("database", "balancer") if not f[f"lamp {what} served"]]
    return (
        f"a server killed: {one('herd x 2 server')}",
        f"LAMP, a web server: {one('lamp server')}; its {' or its '.join(rest)}: no client is served",
        "half true: only the web servers are redundant" if rest else "true",
    )


def seen(f: Figures) -> Cells:
    ours, lamp = f["herd x 2 memory seen us"], f["lamp memory seen us"]
    verdict = f"true: {times(lamp, ours)} sooner than with LAMP, in memory" if ours < lamp else "false"
    return f"p50 {short(ours)} us until the other server knows it", f"LAMP {short(lamp)} us", verdict


def asked(f: Figures) -> Cells:
    lamp = f["lamp"]
    return (
        f"{f['herd']} connections besides the client's",
        f"LAMP {short(lamp['Com_select'])} SELECT and {short(lamp['Com_admin_commands'])} ping for each ask",
        "true" if not f["herd"] and lamp["Com_select"] else "false",
    )


def more_protocols(f: Figures) -> Cells:
    return (
        "two of its own (clients, neighbours); no HTTP",
        f"Twisted: HTTP beside its own protocol takes {f['added_lines']} lines of code; one table serves "
        f"{short(f['http'])} HTTP requests/s and {short(f['lines'])} reports/s at once",
        "true of Twisted" if f["same_table"] else "false",
    )


def more_clients(f: Figures) -> Cells:
    more = [NAMES.get(name, name) for name in TWINS if f.get(name, 0) > f["lamp"]]
    return (
        f"{short(f['herd'])} bytes for an idle connection",
        f"{each(f, [*TWINS, 'lamp'], short)}",
        ("false of Twisted" if "Twisted" in more else "true of Twisted")
        + (f"; more memory than LAMP: {', '.join(more)}" if more else ""),
    )


def come_and_go(f: Figures) -> Cells:
    ours, lamp, twisted = (f[f"{name} memory connections 50"] for name in ("herd x 2", "lamp", "twisted x 2"))
    # A virtual machine drifts by a quarter.
    verdict = "true" if twisted > 1.25 * lamp else "false of Twisted" if 1.25 * twisted < lamp else "not shown of Twisted"
    return (
        f"{short(ours)} connections of one report/s",
        f"LAMP {short(lamp)}; Twisted {short(twisted)}",
        f"{verdict}: herd takes at least {times(ours, lamp)} as many as LAMP, Twisted {times(twisted, lamp)}",
    )


def restarted(f: Figures) -> Cells:
    one = lambda found: f"{found['known']} of {f['sample']} after {found['seconds']:.2f} s"  # noqa: E731
    whole = all(f[name]["known"] == f["sample"] for name in f if name != "sample")
    return one(f["herd"]), each(f, ["twisted", "node"], one), "true" if whole else "false"


def overflows(f: Figures) -> Cells:
    lines = f["lines"]
    end = {True: "a C server with a fixed buffer and no guards crashes", False: "a C server with a fixed buffer survived"}
    c = f"; {end[f['C ended']]}" if "C ended" in f else ""
    return (
        f"{f['herd']} of {lines} connections still work; {f['unsafe']} uses of unsafe",
        f"{each(f, [*TWINS, 'lamp'])} of {lines}{c}",
        "true" if all(f[name] == lines for name in ["herd", *TWINS] if name in f) else "not of all",
    )


def exceptions(f: Figures) -> Cells:
    return (
        "not measured: an error closes one connection; a panic, which is a bug, ends the process",
        f"{each(f, ['twisted', 'asyncio', 'node', 'lamp'])}, Node with callbacks {f['node callbacks']} of 10",
        "true of Twisted; Node depends on the style" if f["node callbacks"] < f["twisted"] else "true of Twisted and Node",
    )


def without_threads(f: Figures) -> Cells:
    both = lambda name: f"{short(f[name][0])} and {short(f[name][1])}"  # noqa: E731
    ratios = [threads / loop for loop, threads in zip(f["asyncio"], f["threads"])]
    # A virtual machine drifts by a quarter.
    verdict = "true" if max(ratios) < 0.8 else "false" if min(ratios) > 1.25 else "not shown"
    return (
        f"{both('herd')} reports/s at 50 and 500 connections",
        f"tokio {both('tokio')}; asyncio {both('asyncio')}; a thread for each connection instead: {both('threads')}",
        f"{verdict} of Python: threads take {times(ratios[0], 1)} and {times(ratios[1], 1)} as many reports as asyncio",
    )


def more_threads(f: Figures) -> Cells:
    at = lambda name: ", ".join(str(tasks) for _, tasks in f[name])  # noqa: E731
    direct = f.get("lamp direct")
    behind = f"LAMP {at('lamp')} in {f['lamp'][0][0]} processes" if "lamp" in f else ""
    alone = f"; without its balancer {direct['counts'][3][0]} processes, {short(direct['pss_mib'])} MiB" if direct else ""
    is_true = len({tasks for _, tasks in f["twisted"]}) == 1
    return (
        f"threads at 0, 1, 50, 500 connections: {at('herd')}",
        f"Twisted {at('twisted')}; {behind}{alone}",
        "true" if is_true else "false",
    )


def simpler(f: Figures) -> Cells:
    return (
        f"{f['herd']:,} lines of code, with the reactor, TLS, journal and tools",
        f"{each(f, TWINS)}; LAMP {f['lamp']} of PHP and SQL, and {f['lamp settings']} of settings",
        "false: LAMP's is the shortest; its database does the work, and it has no places",
    )


def switching(f: Figures) -> Cells:
    return (
        f"{short(f['herd']['each'])} context switches for a report, {short(f['herd']['idle_10_s'])} in 10 idle seconds",
        "; ".join(each(f, [name], lambda one: f"{short(one['each'])}, {short(one['idle_10_s'])}") for name in ("lamp", "twisted")),
        "true next to LAMP" if f["twisted"]["each"] < f["lamp"]["each"] else "false",
    )


def calculation(f: Figures) -> Cells:
    both = lambda one: f"{short(one['user_us'])} + {short(one['system_us'])}"  # noqa: E731
    shares = {name: one["user_us"] / (one["user_us"] + one["system_us"]) for name, one in f.items()}
    verdict = "false of Python" if shares["twisted"] > 0.5 else "true"
    return (
        f"{both(f['herd'])} us for a report, in the program + in the kernel",
        each(f, ["lamp", "twisted"], both),
        f"{verdict}: the program takes {shares['twisted']:.0%} of Twisted's time, and {shares['herd']:.0%} of herd's",
    )


def no_races(f: Figures) -> Cells:
    return (
        "none: one thread",
        f"four Python threads without a lock: {f['lost']:,} of {f['reports']:,} reports overwritten by an older one",
        "true" if f["lost"] else "not shown: no report was lost",
    )


def one_line(f: Figures) -> Cells:
    if not f:
        raise KeyError("of any package manager")
    lines = [
        f"{line}: {made['packages']} packages, {made['bytes'] / 1e6:.0f} MB, {made['seconds']:.0f} s"
        for line, made in f.items()
    ]
    ours = next((line for line in lines if line.startswith("cargo")), "-")
    return ours, "; ".join(line for line in lines if line != ours), f"true of {', '.join(line.split()[0] for line in f)}"


def json_speed(f: Figures) -> Cells:
    us = lambda one: f"{one['ns'] / 1e3:.0f} ({one['compact_ns'] / 1e3:.0f})"  # noqa: E731
    slower = [f["cpython"][key] / f["node"][key] for key in ("ns", "compact_ns")]
    return (
        "-",
        f"{each(f, ['cpython', 'pypy', 'node'], us)} us indented (compact)",
        f"{'half true' if min(slower) > 1 else 'false'}: CPython takes {short(slower[0])} ({short(slower[1])}) times as long; "
        "the code is as long",
    )


def slower(f: Figures) -> str:
    """The verdict on computing in Python and in Node."""
    verdict = "false" if f["node"] < f["cpython"] else "true"
    return f"{verdict}: CPython takes {short(f['cpython'] / f['node'])} times as long as Node"


def computes(f: Figures) -> Cells:
    return (
        f"{short(f['rust'])} ns (a Rust program)",
        f"{each(f, ['cpython', 'pypy', 'node'], short)} ns",
        slower(f),
    )


def works(f: Figures) -> Cells:
    return (
        f"{short(f['herd'])} ns" if "herd" in f else "-",
        f"{each(f, ['cpython', 'pypy', 'node'], short)} ns",
        slower(f),
    )


def fast(f: Figures) -> Cells:
    one = lambda name: f"{short(f[f'{name} load 50 1'])} and {short(f[f'{name} load 50 16'])}"  # noqa: E731
    nearer = f["herd load 50 1"] / f["node load 50 1"]
    node_is_faster = f["node load 50 1"] > f["twisted load 50 1"]
    return (
        f"{one('herd')} reports/s over 50 connections, 1 and 16 in flight on each",
        f"Twisted {one('twisted')}; Node {one('node')}",
        "true next to LAMP (§ 1, performance)"
        + (f"; Node is the faster of the two, and herd {short(nearer)} times as fast" if node_is_faster else ""),
    )
