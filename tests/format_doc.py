"""Makes the tables of docs/format.md from the schema, the operations table and the example rows below.

`python tests/format_doc.py` rewrites what stands between the markers; tests/unit/test_format_doc.py fails when the
page is behind.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from iotrace.trace.operations import OPERATIONS, Replay
from iotrace.trace.schema import COLUMNS, Column

PAGE: Final = Path(__file__).parent.parent / "docs" / "format.md"

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "read": {
        "time_ns": 51_200_000,
        "duration_ns": 41_000,
        "off_cpu_ns": 1_200_000,
        "process": 0,
        "thread": 0,
        "op": "read",
        "path": 3,
        "file": 2,
        "open": 5,
        "offset": 4096,
        "size": 65536,
        "result": 65536,
    },
    "write": {
        "time_ns": 60_100_000,
        "duration_ns": 18_000,
        "off_cpu_ns": 0,
        "process": 0,
        "thread": 0,
        "op": "pwritev",
        "path": 4,
        "file": 3,
        "open": 6,
        "offset": 1048576,
        "size": 8192,
        "count": 2,
        "result": 8192,
    },
    "copy": {
        "time_ns": 70_000_000,
        "duration_ns": 310_000,
        "off_cpu_ns": 0,
        "process": 1,
        "thread": 2,
        "op": "sendfile",
        "path": 3,
        "other_path": 7,
        "file": 2,
        "other_file": 6,
        "open": 8,
        "other_open": 9,
        "offset": 0,
        "other_offset": 0,
        "size": 8388608,
        "result": 8388608,
    },
    "metadata": {
        "time_ns": 12_000_000,
        "duration_ns": 5_500,
        "off_cpu_ns": 0,
        "process": 0,
        "thread": 0,
        "op": "openat",
        "path": 3,
        "file": 2,
        "open": 5,
        "other_open": 1,
        "flags": 524288,
        "mode": 0,
        "result": 0,
    },
    "sync": {
        "time_ns": 90_000_000,
        "duration_ns": 2_400_000,
        "off_cpu_ns": 0,
        "process": 0,
        "thread": 0,
        "op": "fsync",
        "path": 4,
        "file": 3,
        "open": 6,
        "result": 0,
    },
    "map": {
        "time_ns": 95_000_000,
        "duration_ns": 3_000,
        "off_cpu_ns": 0,
        "process": 0,
        "thread": 1,
        "op": "mmap",
        "path": 3,
        "file": 2,
        "open": 5,
        "offset": 0,
        "size": 16777216,
        "address": 140_200_000_000_000,
        "flags": 1,
        "mode": 1,
        "result": 0,
    },
    "lock": {
        "time_ns": 97_000_000,
        "duration_ns": 1_200,
        "off_cpu_ns": 0,
        "process": 1,
        "thread": 2,
        "op": "fcntl.lock",
        "path": 4,
        "file": 3,
        "open": 6,
        "offset": 0,
        "size": 0,
        "flags": 7,
        "mode": 1,
        "result": 0,
    },
    "process": {
        "time_ns": 30_000_000,
        "duration_ns": 90_000,
        "off_cpu_ns": 0,
        "process": 0,
        "thread": 0,
        "op": "fork",
        "flags": 18874385,
        "child": 2,
        "result": 4711,
    },
}
"""One row for each class of operation; columns that are not named are null."""

_REPLAYED: Final = {
    Replay.CALL: "the call itself",
    Replay.REQUEST: "a request to a ring, or the call that does the same",
    Replay.TOUCH: "the page is touched",
    Replay.ORDER: "orders threads, issues nothing",
    Replay.NEVER: "never; its time is think time",
}


def columns_table(columns: tuple[Column, ...]) -> str:
    """A Markdown table of a trace table's columns."""
    rows = [
        [f"`{column.name}`", _type(column.type), column.unit or "–", column.null or "never", _escape(column.meaning)]
        for column in columns
    ]
    return _markdown(["column", "dtype", "unit", "null when", "meaning"], rows)


def example_table(row: dict[str, Any]) -> str:
    """A Markdown table with the columns of one example row that are not null."""
    return _markdown([f"`{name}`" for name in row], [[str(value) for value in row.values()]])


def operations_table() -> str:
    """A Markdown table of all operations."""
    rows = []
    for operation in OPERATIONS:
        calls = [call for call in operation.calls if call != operation.name]
        arguments = " ".join(operation.arguments) or "–"
        rows.append(
            [
                f"`{operation.name}`", str(operation.kind), arguments, operation.result, _REPLAYED[operation.replay],
                _number(operation.x86_64), _number(operation.aarch64), ", ".join(f"`{call}`" for call in calls) or "–",
            ]
        )  # fmt: skip
    heads = ["operation", "class", "arguments", "result", "how replayed", "x86_64", "aarch64", "stands for"]
    return _markdown(heads, rows)


def generated() -> dict[str, str]:
    """Text for each marker of the page."""
    parts = {f"columns {table}": columns_table(columns) for table, columns in COLUMNS.items()}
    parts |= {f"example {kind}": example_table(row) for kind, row in EXAMPLES.items()}
    return parts | {"operations": operations_table()}


def rewritten(page: str) -> str:
    """The page with every generated part up to date."""
    for name, text in generated().items():
        begin, end = f"<!-- generated: {name} -->", "<!-- end -->"
        pattern = re.escape(begin) + r".*?" + re.escape(end)
        replacement = f"{begin}\n{text}\n{end}"
        page, found = re.subn(pattern, replacement.replace("\\", "\\\\"), page, flags=re.S)
        if found != 1:
            raise ValueError(f"docs/format.md has {found} places for {name!r}, not one")
    return page


def _markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _type(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return "string (dictionary)"
    return str(kind).replace("list<item: string>", "list of string").replace("element: ", "")


def _number(value: int | None) -> str:
    return "–" if value is None else str(value)


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text()))
