"""The page of ``kache report --html`` as such: its frame, how it looks, what it can do, and how text gets into it.

Owns the template, and two promises. A browser asks nobody for anything: the policy in the page allows the style and
the script that stand here, by their hashes, and nothing else. What a build named is text, whatever is in it: all of it
comes in through ``escape``. Without the script everything can be read; with it one can filter and zoom. What stands
in the page, report_html.py and report_timeline.py say.
"""

import base64
import hashlib
import html
import re
from typing import List, Sequence

from kachelib import console

# What one does not see, or what turns a line around: controls, marks of direction, lone surrogates.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")

NUMBERS = ' class="n"'

# Of one text so many characters are shown.
MOST_TEXT = 300


def escape(text: object) -> str:
    """Text as HTML, for an element or a quoted attribute; what one would not see is spelt, what is long is cut."""
    shown = console.cut(" ".join(str(text).split()), MOST_TEXT)
    return html.escape(_UNSEEN.sub(lambda found: ascii(found[0])[1:-1], shown))


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> List[str]:
    """A table that the filter looks through. heads: one a column; a leading ">" makes numbers of it, a "`" names, and
    a "." keeps it in one line. caption, rows: HTML."""
    marks = [{">": NUMBERS, "`": ' class="name"', ".": ' class="short"'}.get(head[:1], "") for head in heads]
    titles = (head.lstrip(">`.") for head in heads)
    lines = ['<div class="wide"><table class="list">']
    lines += [f"<caption>{caption}</caption>"] if caption else []
    head = "".join(
        f'<th scope="col"{mark if mark == NUMBERS else ""}>{title}</th>' for mark, title in zip(marks, titles)
    )
    lines.append(f"<thead><tr>{head}</tr></thead><tbody>")
    lines += ["<tr>" + "".join(f"<td{mark}>{cell}</td>" for mark, cell in zip(marks, row)) + "</tr>" for row in rows]
    return [*lines, "</tbody></table></div>"]


def framed(title: str, body: str) -> str:
    """The whole page, in ASCII; title and body are HTML."""
    policy = (
        f"default-src 'none'; style-src 'sha256-{_hash(STYLE)}'; script-src 'sha256-{_hash(SCRIPT)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    text = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n<script>{SCRIPT}</script>\n"
        "</body>\n</html>"
    )
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("ascii")).digest()).decode("ascii")


STYLE = """
:root {
  --page: #ffffff; --card: #f4f6f8; --line: #cfd6dd; --text: #1c2128; --quiet: #566069; --focus: #0b57c2;
  --hit: #1b7a3d; --warmed: #1767c5; --miss: #b8500c; --dup: #8a6100; --pass: #6b7580; --error: #c0262d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161b; --card: #1b2128; --line: #39424c; --text: #e4e9ee; --quiet: #9aa5b1; --focus: #7fb4ff;
    --hit: #46b868; --warmed: #5ba2f5; --miss: #ef8a44; --dup: #d2a02c; --pass: #8d97a2; --error: #ff7d75;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0 auto; padding: 1.5rem 2rem 3rem; max-width: 80rem; background: var(--page); color: var(--text);
  font: 0.9375rem/1.45 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.5rem; line-height: 1.25; }
h2 { margin: 2rem 0 0.5rem; font-size: 1.125rem; }
p { margin: 0.4rem 0; max-width: 60rem; }
.quiet, caption, dt, .build > summary { color: var(--quiet); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: 0.6rem; margin: 1rem 0; }
dl div { padding: 0.6rem 0.8rem; background: var(--card); border: 1px solid var(--line); border-radius: 0.4rem; }
dt { font-size: 0.8125rem; }
dd { margin: 0; font-size: 1.375rem; font-weight: 600; font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; }
.share { height: 1.1rem; border-radius: 0.3rem; }
.legend { display: flex; flex-wrap: wrap; gap: 0.3rem 1.1rem; margin: 0.5rem 0; padding: 0; list-style: none; }
.key { display: inline-block; width: 0.7rem; height: 0.7rem; margin-right: 0.4rem; vertical-align: baseline; }
.key.h, .key.p, .key.e, .key.w, .key.m, .key.d { background: currentColor; }
.h { color: var(--hit); } .w { color: var(--warmed); } .m { color: var(--miss); } .d { color: var(--dup); }
.p { color: var(--pass); } .e { color: var(--error); }
rect { fill: currentColor; }
figure { margin: 0.4rem 0 0; }
.build { margin: 0.5rem 0; padding: 0.4rem 0.8rem; border: 1px solid var(--line); border-radius: 0.4rem; }
.row { display: flex; align-items: start; justify-content: space-between; gap: 1rem; margin: 0.4rem 0; }
.buttons { white-space: nowrap; }
summary b { color: var(--text); }
.time { margin-top: 0.5rem; border: solid var(--line); border-width: 1px 0; cursor: crosshair; touch-action: pan-y;
  background: linear-gradient(to right, var(--line) 1px, transparent 1px) 0 0 / 20% 100%; }
.time rect { stroke: currentColor; stroke-width: 1px; vector-effect: non-scaling-stroke; }
.time rect.off { opacity: 0.12; }
.time rect.chosen { stroke: var(--text); stroke-width: 2px; }
.axis { display: grid; grid-template-columns: repeat(5, 1fr); color: var(--quiet); font-size: 0.8125rem; }
output { min-height: 1.45em; overflow-wrap: anywhere; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
button, input { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--quiet);
  border-radius: 0.3rem; padding: 0.2rem 0.6rem; }
#tools { position: sticky; top: 0; z-index: 1; padding: 0.6rem 0; background: var(--page); display: flex;
  flex-wrap: wrap; align-items: baseline; gap: 0.4rem 0.8rem; }
input { min-width: 16rem; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; }
caption { text-align: left; padding-bottom: 0.3rem; }
th { text-align: left; font-weight: 600; color: var(--quiet); font-size: 0.8125rem; }
th, td { padding: 0.25rem 0.9rem 0.25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td:last-child, th:last-child { padding-right: 0; }
td { overflow-wrap: anywhere; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.name { font-family: ui-monospace, monospace; font-size: 0.875rem; }
.name, .short { white-space: nowrap; }
summary { cursor: pointer; padding: 0.2rem 0; }
"""

SCRIPT = """
"use strict";
(() => {
  const all = (css, base = document) => Array.from(base.querySelectorAll(css));
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  // In a crate's name - and _ are the same.
  const plain = text => text.toLowerCase().replace(/_/g, "-");
  const kept = element => [element, plain(element.textContent)];

  const box = document.getElementById("filter");
  const told = document.getElementById("told");
  const rows = all("table.list tbody tr").map(kept);
  const bars = all(".time rect").map(kept);
  function filter() {
    const words = plain(box.value).split(/\\s+/).filter(Boolean);
    const fits = text => words.every(word => text.includes(word));
    let rowCount = 0;
    let barCount = 0;
    for (const [row, text] of rows) {
      row.hidden = !fits(text);
      rowCount += !row.hidden;
    }
    for (const [bar, text] of bars) {
      barCount += fits(text);
      bar.classList.toggle("off", !fits(text));
    }
    told.textContent = words.length
      ? `${rowCount} of ${rows.length} rows, ${barCount} of ${bars.length} bars` : "";
  }
  box.addEventListener("input", filter);
  for (const element of all(".script")) element.hidden = false;
  if (location.hash.startsWith("#filter=")) {
    try {
      box.value = decodeURIComponent(location.hash.slice(8));
    } catch (error) {
      box.value = "";
    }
    filter();
  }

  function clock(ms) {
    if (ms < 1000) return `${Math.round(ms)} ms`;
    if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
    return `${Math.floor(ms / 60000)}m ${Math.round(ms % 60000 / 1000)}s`;
  }

  for (const figure of all("figure")) {
    const svg = figure.querySelector(".time");
    const labels = all(".axis span", figure);
    const said = figure.querySelector("output");
    const [, , full, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    const length = Number(svg.dataset.ms);
    const mine = all("rect", svg);
    let from = 0;
    let width = full;
    let chosen = null;

    function show(left, wide) {
      width = clamp(wide, full / 5000, full);
      from = clamp(left, 0, full - width);
      svg.setAttribute("viewBox", `${from} 0 ${width} ${height}`);
      labels.forEach((label, i) => {
        label.textContent = clock((from + width * i / labels.length) / full * length);
      });
    }
    function zoom(factor, at) {
      const wide = clamp(width * factor, full / 5000, full);
      show(from + (width - wide) * at, wide);
    }
    function choose(bar) {
      if (!bar) return;
      if (chosen) chosen.classList.remove("chosen");
      chosen = bar;
      bar.classList.add("chosen");
      said.textContent = bar.textContent;
    }
    function step(by) {
      const seen = mine.filter(bar => !bar.classList.contains("off"));
      const next = chosen && seen.includes(chosen) ? seen.indexOf(chosen) + by : by > 0 ? 0 : seen.length - 1;
      const bar = seen[clamp(next, 0, seen.length - 1)];
      choose(bar);
      if (!bar) return;
      const x = Number(bar.getAttribute("x"));
      if (x < from || x > from + width) show(x - width / 2, width);
    }
    const middle = () => {
      const at = chosen ? (Number(chosen.getAttribute("x")) - from) / width : 0.5;
      return at >= 0 && at <= 1 ? at : 0.5;
    };
    const acts = {
      "+": () => zoom(0.5, middle()), "=": () => zoom(0.5, middle()), "-": () => zoom(2, middle()),
      "0": () => show(0, full), "ArrowRight": () => step(1), "ArrowLeft": () => step(-1),
    };
    svg.addEventListener("keydown", event => {
      if (!acts[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      acts[event.key]();
    });
    for (const button of all("button", figure)) button.addEventListener("click", acts[button.dataset.key]);
    svg.addEventListener("pointerover", event => choose(event.target.closest("rect")));
    // Without a modifier the wheel scrolls the page, as everywhere.
    svg.addEventListener("wheel", event => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(event.deltaY > 0 ? 1.25 : 0.8, event.offsetX / svg.clientWidth);
    }, {passive: false});
    svg.addEventListener("pointermove", event => {
      if (event.buttons & 1) show(from - event.movementX / svg.clientWidth * width, width);
    });
  }
})();
"""
