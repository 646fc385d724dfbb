"""What a measurement comes to: medians, the rows of the table, and how they are printed.

Knows nothing of what was measured.
"""

import json
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

Samples = Dict[str, List[float]]


@dataclass
class Row:
    """One line of the table."""

    what: str
    measured: str
    # what has to hold, in words; and whether it did, None where nothing is demanded or nothing was measured
    must: str = ""
    holds: Optional[bool] = None
    # the numbers behind ``measured``, for the JSON
    numbers: Dict[str, Any] = field(default_factory=dict)


def interleave(rounds: int, variants: Mapping[str, Callable[[], float]]) -> Samples:
    """Run every variant once a round and keep what it returns; each round begins with another one.

    Ratios are only honest between numbers that were taken side by side: a machine slows down and speeds up.
    """
    names = list(variants)
    samples: Samples = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(variants[name]())
    return samples


def ratio(samples: Samples, name: str, base: str) -> Optional[float]:
    """Median over median; None where one of the two was not measured."""
    if not samples.get(name) or not samples.get(base):
        return None
    return statistics.median(samples[name]) / statistics.median(samples[base])


def spread(values: Sequence[float], unit: str) -> str:
    """``median (min-max) unit``; seconds in, ``s`` or ``ms`` out."""
    scale, digits = (1000, 1) if unit == "ms" else (1, 2)
    figures = (min(values), statistics.median(values), max(values))
    low, middle, high = (f"{value * scale:.{digits}f}" for value in figures)
    return f"{middle} ({low}-{high}) {unit}"


def spreads(samples: Samples, unit: str) -> str:
    """Every variant and its spread, in one line."""
    return "; ".join(f"{name} {spread(values, unit)}" for name, values in samples.items() if values)


def ratio_row(what: str, samples: Samples, unit: str, wanted: Mapping[Tuple[str, str], Optional[float]]) -> Row:
    """A row of ratios. ``wanted``: (variant, base) -> the most that the ratio may be, None where it is only shown."""
    parts, must, holds = [], [], []
    for (name, base), limit in wanted.items():
        value = ratio(samples, name, base)
        parts.append(f"{base} not measured" if value is None else f"{value:.3f}x {base}")
        if limit is not None:
            must.append(f"≤ {limit}x {base}")
            if value is not None:
                holds.append(value <= limit)
    text = ", ".join(parts) + " · " + spreads(samples, unit)
    return Row(what, text, ", ".join(must), all(holds) if holds else None, {"samples": samples})


def mark(row: Row) -> str:
    return {True: "yes", False: "NO", None: ""}[row.holds]


def as_text(rows: Sequence[Row]) -> str:
    """For a terminal: one block a row."""
    blocks = []
    for row in rows:
        lines = [row.what, f"    {row.measured}"]
        if row.must:
            lines.append(f"    must be {row.must}: {mark(row) or 'not measured'}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def as_markdown(rows: Sequence[Row]) -> str:
    """For docs/performance.md."""
    lines = ["| what | measured | must | holds |", "|---|---|---|---|"]
    lines.extend(f"| {row.what} | {row.measured} | {row.must} | {mark(row)} |" for row in rows)
    return "\n".join(lines)


def as_json(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    return json.dumps({"schema": 1, "facts": dict(facts), "rows": [asdict(row) for row in rows]}, indent=2) + "\n"
