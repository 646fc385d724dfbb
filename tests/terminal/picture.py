"""A picture of a terminal: what tmux says of a pane's cells, as SVG.

Owns the reading of SGR sequences and the look of the picture. Knows nothing of tmux or kache.
"""

import re
from html import escape
from typing import List, NamedTuple, Sequence

CELL_WIDTH, CELL_HEIGHT, FONT, EDGE = 8.4, 18, 14, 12

BACKGROUND, FOREGROUND = "#1b1e24", "#d7dae0"
COLOURS = ("#3a3f4b", "#f0716b", "#8cc570", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d7dae0")

_SGR = re.compile(r"\x1b\[([0-9;]*)m|\x1b\([0AB]|\x0e|\x0f")


class Look(NamedTuple):
    """How a cell looks; colours are an index into COLOURS, or -1."""

    colour: int = -1
    ground: int = -1
    bold: bool = False
    dim: bool = False
    reverse: bool = False


class Stretch(NamedTuple):
    """Cells of one look in a row. column: where they begin."""

    column: int
    text: str
    look: Look


def stretches(lines: Sequence[str]) -> List[List[Stretch]]:
    """The cells of each line as ``tmux capture-pane -e`` prints them: a line begins as the one before it ended."""
    found: List[List[Stretch]] = []
    look = Look()
    for line in lines:
        row: List[Stretch] = []
        at = column = 0
        for mark in [*_SGR.finditer(line), None]:
            text = line[at : mark.start() if mark else len(line)]
            if text:
                row.append(Stretch(column, text, look))
                column += len(text)
            if mark:
                at = mark.end()
                if mark.group(1) is not None:
                    look = _look(look, [int(word or 0) for word in mark.group(1).split(";")])
        found.append(row)
    return found


def _look(look: Look, codes: Sequence[int]) -> Look:
    for code in codes:
        if code == 0:
            look = Look()
        elif code in (1, 2, 7):
            look = look._replace(**{{1: "bold", 2: "dim", 7: "reverse"}[code]: True})
        elif code == 22:
            look = look._replace(bold=False, dim=False)
        elif code == 27:
            look = look._replace(reverse=False)
        elif 30 <= code <= 37 or 90 <= code <= 97:
            look = look._replace(colour=code % 10)
        elif code == 39:
            look = look._replace(colour=-1)
        elif 40 <= code <= 47:
            look = look._replace(ground=code % 10)
        elif code == 49:
            look = look._replace(ground=-1)
    return look


def svg(lines: Sequence[str], width: int, title: str) -> str:
    """The picture of ``lines``, which are ``width`` columns wide."""
    across = round(width * CELL_WIDTH + 2 * EDGE)
    down = len(lines) * CELL_HEIGHT + 2 * EDGE
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{across}" height="{down}" viewBox="0 0 {across} {down}" '
        f'font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="{FONT}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
    ]
    for number, row in enumerate(stretches(lines)):
        for stretch in row:
            out += _drawn(stretch, number)
    return "\n".join([*out, "</svg>"]) + "\n"


def _drawn(stretch: Stretch, row: int) -> List[str]:
    look = stretch.look
    colour = FOREGROUND if look.colour < 0 else COLOURS[look.colour]
    ground = "" if look.ground < 0 else COLOURS[look.ground]
    if look.reverse:
        colour, ground = ground or BACKGROUND, colour
    x, y = EDGE + stretch.column * CELL_WIDTH, EDGE + row * CELL_HEIGHT
    room = len(stretch.text) * CELL_WIDTH
    out = []
    if ground:
        out.append(f'<rect x="{x:.1f}" y="{y}" width="{room:.1f}" height="{CELL_HEIGHT}" fill="{ground}"/>')
    if stretch.text.strip():
        weight = ' font-weight="bold"' if look.bold else ""
        faint = ' opacity="0.6"' if look.dim else ""
        out.append(
            f'<text x="{x:.1f}" y="{y + FONT}" textLength="{room:.1f}" fill="{colour}"{weight}{faint} '
            f'xml:space="preserve">{escape(stretch.text)}</text>'
        )
    return out
