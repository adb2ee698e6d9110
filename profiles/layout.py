"""The names and files of a synthesised job: every file of a class has a path and a file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from iotrace.errors import UsageError
from iotrace.profiles.model import Profile
from iotrace.profiles.numbers import Numbers
from iotrace.trace.schema import SCHEMAS

PLACES: Final = {"project": "/data{user}/CS-project", "raw": "/data{user}/raw", "cache": "/scratch{user}/cache"}
"""Where files of each place lie; a replay maps what it wants of them."""
FILES_MAX: Final = 1 << 30
_ROWS: Final = 1 << 17


@dataclass(frozen=True, slots=True)
class Class:
    """A class of files.

    Attributes
    ----------
    type: as in the table files; renamed: they are made under another name and renamed.
    first, temporary: numbers of the paths of final names, and of names before a rename, from there on.
    """

    name: str
    type: str
    renamed: bool
    exists: bool
    count: int
    size: int
    entries: int
    first: int
    temporary: int
    text: str

    def path(self, number: int) -> str:
        """Path of a file of the class."""
        return self.text.replace("{n}", f"{number:06d}")


@dataclass(frozen=True, slots=True)
class Layout:
    """All classes, in the order of Profile.files; `paths` names in all."""

    classes: list[Class]
    paths: int


def layout_of(profile: Profile, numbers: Numbers, user: str = "") -> Layout:
    """Numbers for all files of a job; `user` is a folder that the places lie in, such as "/user01".

    Raises
    ------
    UsageError: a number is missing, several files would have one name, or there would be too many.
    """
    classes = []
    actions = [action for phase in profile.phases for action in phase.actions]
    links = {action.file for action in actions if action.do == "symlink"}
    renamed = {action.file for action in actions if action.way == "rename"}
    paths = 0
    for name, files in profile.files.items():
        at = f"{profile.name}: files.{name}"
        count = numbers.count(files.count, f"{at}.count")
        if count > 1 and "{n}" not in files.path:
            raise UsageError(f"{at}.path: {count} files need names of their own: put {{n}} into it.")
        size = 0 if files.folder else numbers.count(files.size, f"{at}.size")
        classes.append(
            Class(
                name, "directory" if files.folder else "link" if name in links else "file", name in renamed,
                files.exists, count, size, numbers.count(files.entries, f"{at}.entries"), paths,
                paths + count, PLACES[files.place].replace("{user}", user) + "/" + files.path,
            )
        )  # fmt: skip
        paths += 2 * count
        if paths > FILES_MAX:
            raise UsageError(f"{at}: {paths} names are more than a trace can hold: choose a smaller --scale.")
    return Layout(classes, paths)


def path_batches(layout: Layout) -> Iterator[pa.RecordBatch]:
    """Rows of the table paths."""
    for one in layout.classes:
        for numbers in _pieces(one):
            texts = [one.path(n) for n in numbers]
            for base, suffix in ((one.first, ""), (one.temporary, ".tmp")):
                names = [text + suffix for text in texts]
                columns: dict[str, Any] = {
                    "path": [base + n for n in numbers], "text": names, "raw": [name.encode() for name in names],
                }  # fmt: skip
                yield _batch("paths", columns)


def file_batches(layout: Layout) -> Iterator[pa.RecordBatch]:
    """Rows of the table files."""
    for one in layout.classes:
        for numbers in _pieces(one):
            count = len(numbers)
            plain, folder = one.type == "file", one.type == "directory"
            columns: dict[str, Any] = {
                "file": [one.first + n for n in numbers],
                "path": [(one.temporary if one.renamed else one.first) + n for n in numbers],
                "type": [one.type] * count,
                "size": [one.size if one.exists and plain else None] * count,
                "existed": [one.exists] * count,
                "entries": [one.entries if folder else None] * count,
            }
            yield _batch("files", columns)


def _pieces(one: Class) -> Iterator[range]:
    """Numbers of the files of a class, some at a time."""
    return (range(begin, min(begin + _ROWS, one.count)) for begin in range(0, one.count, _ROWS))


def _batch(table: str, columns: dict[str, Any]) -> pa.RecordBatch:
    schema = SCHEMAS[table]
    count = len(next(iter(columns.values())))
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
