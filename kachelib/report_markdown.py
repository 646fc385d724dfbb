"""The report as Markdown: for a pull request, a wiki, and the summary of a CI job.

Owns the look. What is counted, report.py says; why a crate missed, why.py.
"""

from typing import Any, Dict, List, Sequence

from kachelib import console

Fields = Dict[str, Any]

# Of the most expensive misses these stand open; the rest is folded away.
OPEN_MISSES = 5

_KINDS = (
    ("units put back before Cargo looked", "warmed"),
    ("hits in the own store", "local_hits"),
    ("hits that had been prefetched", "prefetch_hits"),
    ("hits in the remote", "remote_hits"),
    ("compiled and stored", "misses"),
    ("compiled, and the bytes were known", "dups"),
    ("not cached", "passthroughs"),
    ("excluded", "skipped"),
    ("errors of kache's own", "errors"),
)


def lines(document: Fields, reasons: Sequence[str], folded: bool) -> List[str]:
    """The report. reasons: why each of ``top_misses`` missed. folded: what is long goes into ``<details>``."""
    found = [f"### kache: {headline(document)}", ""]
    misses = [
        [_code(miss["crate_name"]), miss["crate_types"], _took(miss), str(miss["count"]), _text(reason)]
        for miss, reason in zip(document["top_misses"], reasons)
    ]
    if misses:
        found += ["**Most expensive misses**", ""]
        found += _table(("crate", "types", ">compiled in", ">times", "why"), misses[:OPEN_MISSES])
        if misses[OPEN_MISSES:]:
            more = _table(("crate", "types", ">compiled in", ">times", "why"), misses[OPEN_MISSES:])
            found += _fold(f"{len(misses) - OPEN_MISSES} more", more, folded)
    found += _fold("All counts", _counts(document), folded)
    reasons_of_bypass = document["bypass"]["reasons"]
    if reasons_of_bypass:
        rows = [[str(row["count"]), _text(row["text"])] for row in reasons_of_bypass]
        found += _fold("Not cached", _table((">count", "why"), rows), folded)
    if document["errors_detail"]:
        errors = document["errors_detail"]
        rows = [[_code(row["crate_name"]), str(row["count"]), _text(row["reason"])] for row in errors]
        found += _fold("Errors", _table(("crate", ">count", "why"), rows), folded)
    return found


def headline(document: Fields) -> str:
    """What matters in one line: how much came from the cache, and what it was worth."""
    s = document["summary"]
    hits = s["local_hits"] + s["prefetch_hits"] + s["remote_hits"]
    compiled = s["misses"] + s["dups"]
    if not hits + compiled + s["warmed"]:
        return "no compile was seen"
    parts = [f"{s['hit_rate_pct']:.1f} % from the cache"]
    if s["warmed"]:
        parts.append(f"{console.plural(s['warmed'], 'unit')} warmed")
    if hits:
        parts.append(console.plural(hits, "hit"))
    parts.append(f"{compiled:,} compiled")
    if s["time_saved_ms"] >= 1000:
        parts.append(f"{console.duration(s['time_saved_ms'] / 1000)} of compiling saved")
    return ", ".join(parts)


def _counts(document: Fields) -> List[str]:
    s = document["summary"]
    rows = [[text, f"{s[field]:,}"] for text, field in _KINDS if s[field]]
    network = document.get("network")
    if network:
        for way in ("pulled", "pushed"):
            if network[way]:
                rows.append([f"objects {way}", f"{network[way]:,} ({console.size(network[way + '_bytes'])})"])
    return _table(("what", ">count"), rows or [["nothing", "0"]])


def _took(miss: Fields) -> str:
    return console.duration(miss["compile_time_ms"] / 1000)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> List[str]:
    titles = " | ".join(head.lstrip(">") for head in heads)
    rule = "|".join("--:" if head.startswith(">") else "---" for head in heads)
    return [f"| {titles} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _fold(title: str, content: List[str], folded: bool) -> List[str]:
    if folded:
        return [f"<details><summary>{title}</summary>", "", *content, "</details>", ""]
    return [f"**{title}**", "", *content]


def _code(text: str) -> str:
    """A name as code. It comes from a build, so nothing in it may end the cell or the quotes."""
    return f"`{text.replace('`', '').replace('|', '')}`" if text else ""


def _text(text: str) -> str:
    """Text that is no Markdown and no HTML, whatever is in it, and stays in its cell."""
    return " ".join("".join(_SPELT.get(char, char) for char in text).split())


# An @ would call people, a # link to an issue.
_SPELT = {
    **{char: "\\" + char for char in "\\`*_[]|~"},
    **{char: f"&#{ord(char)};" for char in "&<>@#"},
}
