"""Draws the figures of benches/run as SVG, without any library.

Colours have medium brightness and the background is transparent, so that a plot is readable on a light and on a dark
page; in dark mode the text is brighter. Every axis has its unit. Bars begin at zero; where sizes differ by orders of
magnitude, the plot has points on a logarithmic axis instead.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any, Callable, Iterable
from xml.sax.saxutils import escape

WIDTH = 760
LABELS = 130
RIGHT = 150
ROW = 20
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #767676; }
  .title { font-size: 15px; font-weight: 600; }
  .panel { font-size: 13px; font-weight: 600; }
  .value { font-size: 11px; }
  .grid { stroke: #888; stroke-opacity: .3; }
  .whisker { stroke: #888; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) { text { fill: #bbb; } }
"""
OURS, YARDSTICK, OTHERS = "#d9772b", "#8a8f98", "#4c86b8"
SERIES = ["#4c86b8", "#3f9c78", "#d9772b", "#b0568f", "#8a8f98", "#b09a3c", "#c8504c"]


def colour(peer: str) -> str:
    """The colour of a server: one for ours, one for the yardstick, one for all others."""
    return OURS if peer.startswith("herd") else YARDSTICK if peer == "echo" else OTHERS


def short(number: float) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


class Drawing:
    """The elements of a plot from top to bottom; the next one goes at `top`."""

    def __init__(self, title: str, caption: str):
        self.elements: list[str] = []
        self.text(10, 24, title, "title")
        self.text(10, 42, caption)
        self.title = title
        self.top = 60.0

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        name = f' class="{kind}"' if kind else ""
        self.elements.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{name}>{escape(text)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self.elements.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def bar(self, y: float, width: float, fill: str) -> None:
        self.elements.append(
            f'<rect x="{LABELS}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{ROW - 6}" rx="2" fill="{fill}"/>'
        )

    def dot(self, x: float, y: float, fill: str) -> None:
        self.elements.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{fill}"/>')

    def write(self, path: Path) -> Path:
        height = self.top + 10
        body = "\n".join(self.elements)
        path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
            f'height="{height:.0f}" role="img" aria-label="{escape(self.title)}">\n'
            f"<style>{STYLE}</style>\n{body}\n</svg>\n"
        )
        return path


def bars(drawing: Drawing, panel: str, unit: str, rows: list[tuple[str, list[float]]]) -> None:
    """Draws a bar for the median of each row, and a whisker from the lowest to the highest; the axis begins at zero."""
    rows = [(name, values) for name, values in rows if values]
    if not rows:
        return
    most = max(max(values) for _, values in rows) or 1.0
    scale = (WIDTH - LABELS - RIGHT) / most
    drawing.text(10, drawing.top + 12, f"{panel} ({unit})", "panel")
    drawing.top += 22
    bottom = drawing.top + ROW * len(rows)
    for tick in nice_ticks(most):
        x = LABELS + tick * scale
        drawing.line(x, drawing.top, x, bottom, "grid")
        drawing.text(x, bottom + 13, short(tick) if tick else "0", "value", "middle")
    for name, values in rows:
        middle, y = statistics.median(values), drawing.top + 3
        drawing.text(LABELS - 8, y + 11, name, anchor="end")
        drawing.bar(y, max(middle, 0.0) * scale, colour(name))
        end = max(values) * scale
        if len(values) > 1:
            drawing.line(LABELS + min(values) * scale, y + 7, LABELS + end, y + 7, "whisker")
        drawing.text(LABELS + max(end, 0.0) + 6, y + 11, short(middle), "value")
        drawing.top += ROW
    drawing.top += 30


def nice_ticks(most: float) -> list[float]:
    """The ticks of an axis: zero and up to five round numbers."""
    step = 10 ** math.floor(math.log10(most))
    while most / step < 3:
        step /= 2
    while most / step > 5:
        step *= 2
    return [step * count for count in range(int(most / step) + 1)]


def points(drawing: Drawing, unit: str, series: list[str], rows: list[tuple[str, list[float]]]) -> None:
    """Draws a point for each series in each row, on a logarithmic axis."""
    values = [value for _, row in rows for value in row if value > 0]
    if not values:
        return
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    scale = (WIDTH - LABELS - 40) / max(high - low, 1)
    place: Callable[[float], float] = lambda value: LABELS + (math.log10(value) - low) * scale
    for number, name in enumerate(series):
        x = LABELS + number * 95
        drawing.dot(x, drawing.top, SERIES[number])
        drawing.text(x + 9, drawing.top + 4, name)
    drawing.top += 16
    bottom = drawing.top + ROW * len(rows)
    for power in range(low, high + 1):
        x = LABELS + (power - low) * scale
        drawing.line(x, drawing.top, x, bottom, "grid")
        drawing.text(x, bottom + 14, f"{10.0**power:,.0f}" if power >= 0 else f"{10.0**power:g}", "value", "middle")
    drawing.text(LABELS, bottom + 30, unit, "value")
    for name, row in rows:
        y = drawing.top + ROW / 2
        drawing.text(LABELS - 8, y + 4, name, anchor="end")
        if any(value > 0 for value in row):
            there = [place(value) for value in row if value > 0]
            drawing.line(min(there), y, max(there), y, "whisker")
        for number, value in enumerate(row):
            if value > 0:
                drawing.dot(place(value), y, SERIES[number])
        drawing.top += ROW
    drawing.top += 44


def curves(drawing: Drawing, panel: str, across: str, up: str, series: dict[str, list[tuple[float, float]]]) -> None:
    """Draws a line with points for each series, on two logarithmic axes; values of zero are left out."""
    series = {name: [(x, y) for x, y in line if x > 0 and y > 0] for name, line in series.items()}
    series = {name: sorted(line) for name, line in series.items() if line}
    if not series:
        return
    every = [point for line in series.values() for point in line]
    (left, right), (low, high) = (decades([point[axis] for point in every]) for axis in (0, 1))
    width, height = WIDTH - LABELS - RIGHT, 200.0
    drawing.text(10, drawing.top + 12, panel, "panel")
    drawing.top += 34
    drawing.text(LABELS, drawing.top - 4, up, "value")
    bottom = drawing.top + height
    x_of: Callable[[float], float] = lambda x: LABELS + (math.log10(x) - left) / (right - left) * width
    y_of: Callable[[float], float] = lambda y: bottom - (math.log10(y) - low) / (high - low) * height
    for tick in ticks(left, right):
        drawing.line(x_of(tick), drawing.top, x_of(tick), bottom, "grid")
        drawing.text(x_of(tick), bottom + 14, short(tick), "value", "middle")
    for tick in ticks(low, high):
        drawing.line(LABELS, y_of(tick), LABELS + width, y_of(tick), "grid")
        drawing.text(LABELS - 8, y_of(tick) + 4, short(tick), "value", "end")
    drawing.text(LABELS + width / 2, bottom + 30, across, "value", "middle")
    for number, (name, line) in enumerate(series.items()):
        fill = SERIES[number % len(SERIES)]
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line)
        drawing.elements.append(f'<polyline points="{path}" fill="none" stroke="{fill}" stroke-width="2"/>')
        for x, y in line:
            drawing.dot(x_of(x), y_of(y), fill)
        drawing.dot(LABELS + width + 20, drawing.top + 10 + 18 * number, fill)
        drawing.text(LABELS + width + 30, drawing.top + 14 + 18 * number, name)
    drawing.top = bottom + 56


def decades(values: list[float]) -> tuple[float, float]:
    """The ends of a logarithmic axis, as powers of ten: whole decades, or 1, 2 and 5 times these if the values are close."""
    low, high = math.log10(min(values)), math.log10(max(values))
    if high - low < 1:
        steps = [power + math.log10(digit) for power in range(-9, 13) for digit in (1, 2, 5)]
        ends = max(step for step in steps if step <= low + 1e-9), min(step for step in steps if step >= high - 1e-9)
        return ends if ends[0] < ends[1] else (ends[0] - 0.3, ends[1] + 0.3)
    return math.floor(low + 1e-9), math.ceil(high - 1e-9)


def ticks(low: float, high: float) -> list[float]:
    """The ticks between two powers of ten: each decade, and 2 and 5 times it if there are few."""
    digits = (1, 2, 5) if high - low < 2.5 else (1,)
    every = [digit * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for digit in digits]
    return [tick for tick in every if low - 1e-9 <= math.log10(tick) <= high + 1e-9]


def values_by_peer(rows: Iterable[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> list[tuple[str, list[float]]]:
    by_peer: dict[str, list[float]] = {}
    for row in rows:
        by_peer.setdefault(row["peer"], []).append(value(row))
    return list(by_peer.items())


def medians(rows: list[dict[str, Any]], read: list[Callable[[dict[str, Any]], float]]) -> list[tuple[str, list[float]]]:
    columns = [dict(values_by_peer(rows, value)) for value in read]
    peers = dict.fromkeys(row["peer"] for row in rows)
    return [(peer, [statistics.median(column[peer]) for column in columns]) for peer in peers]


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    """Writes one file to `folder` for each topic that was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in results["rows"]:
        parts.setdefault(row["part"], []).append(row)
    about = results["machine"]
    caption = f"{about['cores']} cores of {about['processor']}, Linux {about['kernel']}, {results['date'][:10]}"
    drawn = []
    if "load" in parts:
        drawn += [throughput(parts["load"], caption, folder), latency(parts["load"], caption, folder)]
    if "idle" in parts or "records" in parts:
        drawn.append(memory(parts, caption, folder))
    if "flood" in parts:
        drawn.append(propagation(parts["flood"], caption, folder))
    return drawn


def throughput(rows: list[dict[str, Any]], caption: str, folder: Path) -> Path:
    drawing = Drawing("Throughput: requests answered", caption + "; median, lowest and highest")
    for connections, pipeline in dict.fromkeys((row["connections"], row["pipeline"]) for row in rows):
        cell = [row for row in rows if (row["connections"], row["pipeline"]) == (connections, pipeline)]
        panel = f"{connections} connection{'s' * (connections > 1)}, {pipeline} in flight on each"
        bars(drawing, panel, "messages a second", values_by_peer(cell, lambda row: row["rate"]))
    return drawing.write(folder / "throughput.svg")


def latency(rows: list[dict[str, Any]], caption: str, folder: Path) -> Path:
    drawing = Drawing("Latency: 50 connections, one request in flight on each", caption)
    cell = [row for row in rows if (row["connections"], row["pipeline"]) == (50, 1)]
    names = ["p50", "p90", "p99", "p99.9"]
    read = [lambda row, name=name: row["latency_us"][name] for name in names]
    drawing.top += 6
    points(drawing, "microseconds from send to reply, logarithmic", names, medians(cell, read))
    return drawing.write(folder / "latency.svg")


def memory(parts: dict[str, list[dict[str, Any]]], caption: str, folder: Path) -> Path:
    drawing = Drawing("Memory of the server's process", caption)
    idle = values_by_peer(parts.get("idle", []), lambda row: row["bytes_each"])
    bars(drawing, "A connection that says nothing", "bytes", idle)
    records = values_by_peer(parts.get("records", []), lambda row: row["bytes_each"])
    bars(drawing, "A known client", "bytes", records)
    return drawing.write(folder / "memory.svg")


def propagation(rows: list[dict[str, Any]], caption: str, folder: Path) -> Path:
    drawing = Drawing("Propagation: from the client's send until servers know, median", caption + "; five servers on one core")
    names = ["reply", "1 hop", "2 hops", "3 hops"]
    read = [lambda row, name=name: row["latency_us"][name]["p50"] for name in names]
    drawing.top += 6
    points(drawing, "microseconds, logarithmic", names, medians(rows, read))
    burst = values_by_peer(rows, lambda row: row["burst_rate"])
    bars(drawing, "A burst into all five servers, until all know all", "records a second", burst)
    return drawing.write(folder / "propagation.svg")
