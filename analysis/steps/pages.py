"""Writes docs/steps: a page and a picture for each step, and an index.

The words stand in templates beside this module and hold no figures; every figure is worked out (iotrace.profiles) or
measured (the shipped recordings) when the page is written, so that a page cannot say what the program does not.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from iotrace.analysis.steps.facts import Facts, facts_of, measured, steps, usual_size
from iotrace.analysis.steps.pictures import Drawn, alternative_of, drawn_of, picture_of, scale_of
from iotrace.data.recordings import recordings
from iotrace.errors import StorageError
from iotrace.trace.operations import Kind
from iotrace.units import bytes_text, count_text, duration_text, rate_text, significant, size_text

if TYPE_CHECKING:
    from jinja2 import Environment

INDEX: Final = "README.md"
_NONE: Final = "–"


def pages() -> Iterator[tuple[str, str, bytes | None]]:
    """Each page: name of the file, its text, the PNG beside it (None for the index)."""
    environment = _environment()
    facts = {name: facts_of(name) for name in steps()}
    for name, one in facts.items():
        drawn = drawn_of(name)
        yield f"{name}.md", _page(environment, one, drawn), picture_of(drawn)
    yield INDEX, _index(environment, list(facts.values())), None


def write_pages(folder: Path) -> None:
    """Write all into a folder.

    Raises
    ------
    StorageError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text, picture in pages():
            (folder / name).write_text(text)
            if picture is not None:
                (folder / name).with_suffix(".png").write_bytes(picture)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror or error}.") from None


def page_of(name: str) -> str:
    """The text of a step's page."""
    return _page(_environment(), facts_of(name), drawn_of(name))


def index() -> str:
    """The text of the index."""
    return _index(_environment(), [facts_of(name) for name in steps()])


def _page(environment: Environment, facts: Facts, drawn: Drawn) -> str:
    text = environment.get_template(f"{facts.profile.name}.md.j2").render(
        f=facts, t=facts.totals, v=facts.numbers.values, scale=scale_of(facts.profile.name),
        alternative=alternative_of(drawn), rows=_rows(facts),
    )  # fmt: skip
    return _single_spaced(text)


def _index(environment: Environment, facts: list[Facts]) -> str:
    beside = [measured(one) for one in recordings() if not one.step]
    titles = {one.profile.name: one.profile.title for one in facts}
    return _single_spaced(
        environment.get_template("index.md.j2").render(all=facts, recordings=recordings(), beside=beside, titles=titles)
    )


def _single_spaced(text: str) -> str:
    """No more than one empty line between two others, whatever blocks left between them."""
    return re.sub(r"\n{3,}", "\n\n", text)


def _rows(facts: Facts) -> list[tuple[str, list[str]]]:
    """Measures of the recipe at full size, and of each recording."""
    totals, calls = facts.totals, facts.totals.calls

    def row(name: str, of_recipe: str, of_recording: Any) -> tuple[str, list[str]]:
        return name, [of_recipe, *(of_recording(one) for one in facts.measured)]

    return [
        row("calls", count_text(facts.storage_calls), lambda one: count_text(one.calls)),
        row("bytes read", bytes_text(totals.bytes_read), lambda one: bytes_text(one.bytes_read)),
        row("bytes written", bytes_text(totals.bytes_written), lambda one: bytes_text(one.bytes_written)),
        row("files opened", count_text(facts.opens), lambda one: count_text(one.opens)),
        row("page faults on mapped files", count_text(calls["mmap.fault"]), lambda one: count_text(one.mapped)),
        row("locks taken and given back", count_text(totals.by_class["lock"]), lambda one: count_text(one.locks)),
        row("metadata share of the calls", _percent(facts.metadata_share), lambda one: _percent(one.metadata_share)),
        row(
            "half of the bytes read come in calls of at least",
            _size(usual_size(facts, Kind.READ)),
            lambda one: _size(one.read_size),
        ),
        row(
            "half of the bytes written go in calls of at least",
            _size(usual_size(facts, Kind.WRITE)),
            lambda one: _size(one.write_size),
        ),
    ]


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters |= {
        "bytes": bytes_text, "count": count_text, "rate": rate_text, "size": _size, "percent": _percent,
        "time": _time, "exact": lambda value: f"{value:,}",
        "number": _number, "value": _value, "line": lambda text: " ".join(text.split()),
    }  # fmt: skip
    return environment


def _percent(share: float) -> str:
    return f"{share:.0%}" if share == 0 or share >= 0.01 else f"{share * 100:.2g}%"


def _size(value: int | float | None) -> str:
    """Of a call; whole bytes."""
    return _NONE if value is None else size_text(round(value))


def _time(seconds: float) -> str:
    """Up to days, for think times of whole jobs."""
    for name, factor in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * factor:
            return f"{significant(seconds / factor)} {name}"
    return duration_text(seconds * 1e9)


def _value(value: float, unit: str) -> str:
    """A number of a recipe with its unit."""
    if unit == "bytes":
        return bytes_text(value)
    if unit == "s":
        return _time(value)
    return f"{_number(value)} {unit}".strip()


def _number(value: float) -> str:
    return count_text(value) if value == int(value) else significant(value)


def main() -> None:
    """Write the pages into a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="docs/steps of the repository")
    write_pages(parser.parse_args().folder)


if __name__ == "__main__":
    main()
