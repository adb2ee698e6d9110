"""From names as programs gave them to absolute texts: a table of all paths of a chapter, as bytes.

Most names are plain and are put together by one Numba loop; those with `.`, `..`, doubled slashes, control characters
or other bytes than ASCII pass through Python one by one.
"""

from __future__ import annotations

import posixpath
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from iotrace.compiling import compiled
from iotrace.record.ebpf.kernels import layout as d
from iotrace.trace.schema import SCHEMAS

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
_LONGEST: Final = 3 * 4096


def path_text(raw: bytes) -> str:
    """A path for people: UTF-8; other bytes and control characters as \\xNN."""
    text = raw.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}" for c in text)


@compiled
def _compose(
    paths: Ints, begin: int, blob: Bytes, blob_begin: int, texts: Bytes, ends: Ints, raws: Bytes, raw_ends: Ints,
    in_job: Bytes, first: int, count: int,
) -> int:  # fmt: skip
    """Put plain names together from row `begin` on; returns the row of the first that is not plain, or that lacks room.

    `in_job` is set where a folder like J6 or S2 is named. `ends[i]` is where the text of path `first + i` ends;
    `raw_ends[i]` the same for row i of `paths`.
    """
    for row in range(begin, len(paths)):
        base, start, length = paths[row, 0], paths[row, 1] - blob_begin, paths[row, 2]
        number = count + row
        at = ends[number - 1] if number > 0 else 0
        raw_at = raw_ends[row - 1] if row > 0 else 0
        if base == -2:
            return row
        from_folder, folder_ends = 0, 0
        if base >= first and not (length > 0 and blob[start] == 47):
            place = base - first
            from_folder, folder_ends = ends[place - 1] if place > 0 else 0, ends[place]
        # a folder's text may be longer than any path of the kernel's: odd bytes take four letters each
        if at + folder_ends - from_folder + 1 + length > len(texts):
            return row
        here = at
        if folder_ends > from_folder:
            for i in range(from_folder, folder_ends):
                texts[here] = texts[i]
                here += 1
            if texts[here - 1] != 47:
                texts[here] = 47
                here += 1
        for i in range(length):
            letter = blob[start + i]
            if letter < 32 or letter > 126:
                return row
            texts[here] = letter
            here += 1
        if here > at and texts[at] == 47:
            if here - at > 1 and texts[here - 1] == 47:
                return row
            job = 0
            for i in range(at + 1, here):
                if texts[i - 1] == 47:
                    if texts[i] == 47 or texts[i] == 46:
                        return row
                    if (texts[i] == 74 or texts[i] == 83) and i + 1 < here and 48 <= texts[i + 1] <= 57:
                        job = 1
            in_job[row] = job
        for i in range(length):
            raws[raw_at + i] = blob[start + i]
        ends[number] = here
        raw_ends[row] = raw_at + length
    return len(paths)


class Names:
    """All paths of a chapter: texts by number.

    Attributes
    ----------
    first: number of the chapter's first path.
    unresolved: relative names so far whose folder nobody knew.
    perhaps_in_job: of the paths added last those that may lie in a job's folder, J6 or S2.
    """

    def __init__(self) -> None:
        self.unresolved = 0
        self.perhaps_in_job: list[int] = []
        self.begin(0)

    def begin(self, first: int) -> None:
        """Begin a chapter: forget all."""
        self.first, self._count = first, 0
        self._texts = np.zeros(1 << 16, np.uint8)
        self._ends = np.zeros(1 << 10, np.int64)

    @property
    def memory_bytes(self) -> int:
        """What the texts take."""
        return self._texts.nbytes + self._ends.nbytes

    def text(self, path: int) -> str:
        """Text of a path of this chapter."""
        place = path - self.first
        begin = int(self._ends[place - 1]) if place > 0 else 0
        return self._texts[begin : int(self._ends[place])].tobytes().decode()

    def prepare(self) -> None:
        """Compile, or load from the cache."""
        none = np.zeros(0, np.uint8)
        ends = none.astype(np.int64)
        _compose(np.zeros((0, 3), np.int64), 0, none, 0, none, ends, none, ends, none, 0, 0)

    def add(self, paths: Ints, blob: bytes, blob_begin: int) -> pa.RecordBatch:
        """Take new paths, shape (n, 3) as in the drain's table of paths; returns their rows."""
        count = len(paths)
        data = np.frombuffer(blob, np.uint8)
        raws, raw_ends = np.zeros(int(paths[:, d.P_LENGTH].sum()), np.uint8), np.zeros(count, np.int64)
        while self._count + count > len(self._ends):
            self._ends = np.concatenate([self._ends, np.zeros_like(self._ends)])
        in_job, row = np.zeros(count, np.uint8), 0
        while row < count:
            row = _compose(
                paths, row, data, blob_begin, self._texts, self._ends, raws, raw_ends, in_job, self.first, self._count
            )
            if row < count:
                in_job[row] = 1  # whoever wants to know looks at the text
                row = self._add_one(paths, row, blob, blob_begin, raws, raw_ends)
        self.perhaps_in_job = (np.nonzero(in_job)[0] + self.first + self._count).tolist()
        begin = int(self._ends[self._count - 1]) if self._count else 0
        ends = self._ends[self._count : self._count + count]
        numbers = np.arange(self.first + self._count, self.first + self._count + count, dtype=np.int32)
        self._count += count
        texts = self._texts[begin : int(ends[-1]) if count else begin].copy()
        columns = [pa.array(numbers), _strings(pa.string(), texts, ends - begin), _strings(pa.binary(), raws, raw_ends)]
        return pa.RecordBatch.from_arrays(columns, schema=SCHEMAS["paths"])

    def _add_one(self, paths: Ints, row: int, blob: bytes, blob_begin: int, raws: Bytes, raw_ends: Ints) -> int:
        """Add one path that is not plain, or make room; returns the next row."""
        number = self._count + row
        at = int(self._ends[number - 1]) if number else 0
        if at + 2 * _LONGEST > len(self._texts):
            self._texts = np.concatenate([self._texts, np.zeros_like(self._texts)])
            return row
        base, start, length = (int(value) for value in paths[row])
        raw = blob[start - blob_begin : start - blob_begin + length]
        text = path_text(raw)
        if not raw.startswith(b"/"):
            # the folder's own path was numbered before
            folder = self.text(base) if base >= self.first else ""
            self.unresolved += base == d.NO_BASE
            text = f"{folder.rstrip('/')}/{text}" if folder else text
        if text.startswith("/") and ("//" in text or "/." in text or text.endswith("/")):
            text = posixpath.normpath(text)
            text = text[1:] if text.startswith("//") else text
        encoded = np.frombuffer(text.encode(), np.uint8)
        while at + len(encoded) + _LONGEST > len(self._texts):
            self._texts = np.concatenate([self._texts, np.zeros_like(self._texts)])
        self._texts[at : at + len(encoded)] = encoded
        self._ends[number] = at + len(encoded)
        raw_at = int(raw_ends[row - 1]) if row else 0
        raws[raw_at : raw_at + length] = np.frombuffer(raw, np.uint8)
        raw_ends[row] = raw_at + length
        return row + 1


def _strings(kind: pa.DataType, data: Bytes, ends: Ints) -> Any:
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends
    return pa.Array.from_buffers(kind, len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
