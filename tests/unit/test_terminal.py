"""Strangers' text in a terminal: nothing steers it, nothing is hidden, everything fits."""

import io
import unicodedata
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from made import HOSTILE
from rich.console import Console
from rich.text import Text

from iotrace.terminal import Cell, Column, fit, printable, shorten, show, table

any_text = st.text(st.characters(), max_size=60)


def printed(text: str | Text, **options: Any) -> Any:
    written = io.StringIO()
    show(Console(file=written, width=80, **options), text)
    return written.getvalue()


@given(any_text)
def test_printable_text_has_no_character_that_steers_a_terminal(text: str) -> None:
    assert not {unicodedata.category(c) for c in printable(text)} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_control_characters_are_shown_as_escapes() -> None:
    assert printable("a\x1b[31m\nb\u202e\udcff") == r"a\x1b[31m\x0ab\u202e\xff"


@given(st.text(max_size=100), st.integers(1, 40))
def test_a_shortened_text_fits_and_keeps_its_end(text: str, width: int) -> None:
    short = shorten(text, width)
    assert len(short) <= width
    if len(text) <= width:
        assert short == text
    elif width > 3:
        assert short[-1] == text[-1]


def test_names_that_differ_in_their_middle_still_differ_when_shortened() -> None:
    names = [f"/data/project/motioncorrected/movie_{i:04d}_patch_aligned_doseweighted.mrc" for i in range(20)]
    assert len(set(fit(names, 32))) == 20
    assert all(len(name) <= 32 for name in fit(names, 32))


def test_a_table_takes_no_more_than_the_width_and_aligns_its_columns() -> None:
    made = table(
        [Column("path", "left", stretch=True), Column("calls")], [["x" * 200, "12"], ["y", "3456"]], 80, "Title"
    )
    lines = made.plain.splitlines()
    assert lines[0] == "Title"
    assert max(len(line) for line in lines) == 80
    assert [line.split()[-1] for line in lines[3:]] == ["12", "3456"]
    assert len({len(line) for line in lines[3:]}) == 1


def test_hostile_text_in_a_table_is_neither_markup_nor_escape_sequence() -> None:
    made = table([Column("path", "left")], [[Cell(HOSTILE, "red")]], 80)
    seen = printed(made)
    assert "[red]x[/red]" in seen
    assert "\x1b" not in seen
    assert "\u202e" not in seen


def test_colour_comes_only_to_a_terminal() -> None:
    made = table([Column("path", "left")], [[Cell("x", "red")]], 80)
    assert "\x1b" not in printed(made)
    assert "\x1b" in printed(made, force_terminal=True, color_system="standard", no_color=False)
