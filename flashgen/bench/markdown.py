"""What a run found as Markdown, for ``docs/benchmarks.md``: one table a suite, goals beside figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]


def markdown(data: Mapping[str, Any]) -> str:
    """The tables of one ``bench.json``."""
    machine = ", ".join(f"{k} {v}" for k, v in data["environment"].items())
    parts = [f"Machine and versions: {machine}."]
    suites = dict.fromkeys(r["suite"] for r in (*data["timings"], *data["figures"]))
    parts += [_suite(s, data["timings"], data["figures"]) for s in suites]
    if data["errors"]:
        rows = (
            (e["case"], e["contender"], *(f"{e[k]:.2e}" for k in ("max", "mean", "row_rms")))
            for e in data["errors"]
        )
        parts.append(table(("case", "of", "max", "mean", "worst row's rms"), rows))
    return "\n\n".join(parts) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    names = list(head)
    lines = [names, ["---"] * len(names), *(list(r) for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _suite(suite: str, timings: list[Row], figures: list[Row]) -> str:
    mine = [t for t in timings if t["suite"] == suite]
    contenders = list(dict.fromkeys(t["contender"] for t in mine))
    found = [f for f in figures if f["suite"] == suite]
    cases = list(dict.fromkeys(r["case"] for r in (*mine, *found)))
    whats = list(dict.fromkeys(f["what"] for f in found))
    rows = []
    for case in cases:
        times = {t["contender"]: t for t in mine if t["case"] == case}
        values = {f["what"]: f for f in found if f["case"] == case}
        rows.append(
            (
                case,
                *(_time(times.get(c)) for c in contenders),
                *(_figure(values.get(w)) for w in whats),
            )
        )
    return table(("case", *(f"{c}, ms (TFLOP/s)" for c in contenders), *whats), rows)


def _time(t: Row | None) -> str:
    if t is None or t["ms"] is None:
        return ""
    rate = f" ({t['tflops']:.0f})" if t["tflops"] else ""
    return f"{t['ms']:.4g}{rate}"


def _figure(f: Row | None) -> str:
    """The value, with its goal; bold where the goal is missed."""
    if f is None:
        return ""
    value = f"{f['value']:.4g} {f['unit']}"
    if f["goal"] is None:
        return value
    goal = f"{'≥' if f['at_least'] else '≤'} {f['goal']:g}"
    return f"{value} ({goal})" if f["met"] else f"**{value}** ({goal}, missed)"
