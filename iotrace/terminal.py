"""Text for a terminal: strangers' text is made harmless, tables fit the width, colour comes only where it is seen.

Takes texts and rows, gives Rich `Text` and printed lines. A trace's paths and commands are strangers' text: they may
hold escape sequences, Rich markup or characters that reverse the direction of reading. `printable` shows such
characters as `\\xNN`; tables are `Text` and never markup, so brackets stay brackets.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_HIDDEN: Final = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that cannot be seen or that steer the terminal; private and unassigned ones have no known look."""

_GAP: Final = "  "
_NARROWEST: Final = 8
"""A stretching column is never narrower than this, even where the table then exceeds the width."""


def printable(text: str) -> str:
    r"""The text on one line, every control, format and lone surrogate character as an escape: ESC → "\x1b"."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(c) if unicodedata.category(c) in _HIDDEN else c for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8, as surrogateescape keeps it
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def shorten(text: str, width: int) -> str:
    """At most `width` characters: the middle becomes "…"; the end, where file names differ, keeps the larger part."""
    if len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    tail = (width - 1) * 2 // 3
    head = width - 1 - tail
    return text[:head] + "…" + text[len(text) - tail :]


def fit(texts: Sequence[str], width: int) -> list[str]:
    """Shorten texts so that those which differ still look different: where they begin to differ is kept.

    Files of one folder with long names share their beginning and often their end, which is all that `shorten` keeps.
    """
    fitted = [shorten(text, width) for text in texts]
    alike: dict[str, list[int]] = {}
    for i, text in enumerate(fitted):
        alike.setdefault(text, []).append(i)
    for group in alike.values():
        if len({texts[i] for i in group}) > 1:
            begin = max(0, _shared_length([texts[i] for i in group]) - 3)
            for i in group:
                fitted[i] = shorten("…" + texts[i][begin:], width)
    return fitted


def _shared_length(texts: Sequence[str]) -> int:
    """How many characters all the texts begin with in common."""
    first, last = min(texts), max(texts)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a printed table.

    `stretch` marks the one whose texts are shortened in the middle to fit the width, `close` one that belongs to the
    column before it.
    """

    title: str
    align: Literal["left", "right"] = "right"
    style: str = ""
    stretch: bool = False
    close: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell with a style of its own."""

    text: str
    style: str = ""


def console(stderr: bool = False) -> Console:
    """A console that colours only a terminal (NO_COLOR is obeyed) and is 80 columns wide where there is none."""
    from rich.console import Console

    class PipedConsole(Console):
        """Rich would end the process here; the command line has one place for that."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return PipedConsole(stderr=stderr, highlight=False, soft_wrap=False, emoji=False, markup=False)


def table(columns: Sequence[Column], rows: Sequence[Sequence[str | Cell]], width: int, title: str = "") -> Text:
    """A table with a head line; all texts are made printable, those of the stretching column fitted to `width`.

    Parameters
    ----------
    columns: heads; at most one stretches.
    rows: texts, as many a row as there are columns.
    width: characters that the table may take, the console's width.
    title: printed above, at the left.
    """
    from rich.cells import cell_len
    from rich.text import Text

    cells = [[_cell(value) for value in row] for row in rows]
    widths = [
        max([cell_len(column.title), *(cell_len(row[i].text) for row in cells)]) for i, column in enumerate(columns)
    ]
    gaps = [" " if column.close else _GAP for column in columns[1:]]
    for i, column in enumerate(columns):
        if column.stretch:
            others = sum(widths) - widths[i] + sum(map(len, gaps))
            widths[i] = min(widths[i], max(len(column.title), _NARROWEST, width - others))
            for row, fitted in zip(cells, fit([row[i].text for row in cells], widths[i]), strict=True):
                row[i] = Cell(fitted, row[i].style)
    out = Text()
    if title:
        out.append(printable(title) + "\n", style="bold")
    heads = [Cell(column.title) for column in columns]
    for number, row in enumerate([heads, *cells]):
        line = Text()
        for column, cell, room, gap in zip(columns, row, widths, ["", *gaps], strict=True):
            blanks = " " * max(0, room - cell_len(cell.text))
            style = cell.style or (column.style if number else "bold")
            text = Text(cell.text, style=style)
            line.append(gap)
            line.append_text(text.append(blanks) if column.align == "left" else Text(blanks).append_text(text))
        line.rstrip()
        out.append_text(line)
        if number < len(cells):
            out.append("\n")
        if number == 0:
            out.append("─" * (sum(widths) + sum(map(len, gaps))), style="dim")
            if cells:
                out.append("\n")
    return out


def show(target: Console, text: str | Text) -> None:
    """Print without wrapping or cutting: a line that is too long for the terminal is the terminal's to wrap."""
    target.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)


def paragraph(target: Console, text: str, style: str = "", indent: int = 0) -> None:
    """Print a sentence, made printable and wrapped between words; lines behind the first are indented."""
    import textwrap

    from rich.text import Text

    width, behind = max(40, min(target.width, 100)), " " * indent
    for line in textwrap.wrap(printable(text), width, break_long_words=False, subsequent_indent=behind):
        show(target, Text(line, style=style))


def _cell(value: str | Cell) -> Cell:
    return Cell(printable(value.text), value.style) if isinstance(value, Cell) else Cell(printable(value))
