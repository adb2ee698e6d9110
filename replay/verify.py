"""What --verify needs beside its kernels: the table of files and block states that workers share, and what was found.

See iotrace.replay.kernels.verify for what the words mean.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from iotrace.replay.columns import Ints
from iotrace.replay.kernels import blocks
from iotrace.replay.kernels import verify as kernel
from iotrace.replay.payload import BLOCK, Contents
from iotrace.units import bytes_text

KIND_NAMES: Final = (
    "damaged", "stale", "newer", "other_block", "other_file", "other_tree", "zeros", "stray", "unexpected",
)  # fmt: skip
_TEXTS: Final = (
    "bytes are not those that were written",
    "older contents, of version {seen_version}; the last that was written is {version}",
    "contents of version {seen_version}; the last that was written is {version}",
    "block {seen_block} of the same file",
    "a block of another file: block {seen_block} of {seen_file}",
    "a block of another replay's tree",
    "zeros, where data was written",
    "part of another block, its header not in what was read",
    "data, where nothing was written",
)


class Checks:
    """The table of files, in memory that processes forked later share.

    Parameters
    ----------
    contents: as the tree was staged, with Payload.verify.
    staged: bytes of data of each file at the start, shape (files,), int64; -1: not verified.
    ends: where the run writes to a file: the largest end of what it may hold, shape (files,), int64; 0 elsewhere.

    Attributes
    ----------
    address: of the context, for all kernels. Only one Checks may use a Contents at a time.
    """

    def __init__(self, contents: Contents, staged: Ints, ends: Ints) -> None:
        self._contents = contents
        count = len(staged)
        needed = np.where(ends > 0, (np.maximum(ends, staged) + BLOCK - 1) // BLOCK, 0)
        needed = np.where(staged < 0, 0, needed)
        begin = kernel.FILE_WORDS * count
        words = begin + int(needed.sum())
        # zeros, and no memory until they are changed
        self._memory = mmap.mmap(-1, max(mmap.PAGESIZE, 8 * words))
        self._words: Any = np.frombuffer(self._memory, np.int64, words)
        base = int(self._words.ctypes.data) if words else 0
        table = self._words[:begin].reshape(count, kernel.FILE_WORDS)
        places = base + 8 * (begin + np.cumsum(needed) - needed)
        table[:, kernel.STAGED] = staged
        table[:, kernel.STATES_AT] = np.where(needed > 0, places, 0)
        table[:, kernel.BLOCKS] = needed
        table[:, kernel.TOP] = (np.maximum(staged, 0) + BLOCK - 1) // BLOCK
        contents.words[blocks.FILES_AT], contents.words[blocks.FILES] = base, count
        self.address = contents.address

    @property
    def bytes(self) -> int:
        """Memory that it may take."""
        return int(self._words.nbytes)


def empty_findings() -> Any:
    """Words for `check_blocks` of one worker or lane."""
    return np.zeros(kernel.FOUND_WORDS, np.int64)


@dataclass(slots=True)
class Wrong:
    """A wrong block: kind (KIND_NAMES), file, block, first wrong byte of the file; versions and place, -1 for none."""

    kind: str
    file: int
    block: int
    offset: int
    version: int
    seen_file: int = -1
    seen_block: int = -1
    seen_version: int = -1

    def text(self, name_of: Callable[[int], str] = "file {}".format) -> str:
        """One sentence."""
        what = _TEXTS[KIND_NAMES.index(self.kind)].format(
            seen_file=name_of(self.seen_file), seen_block=self.seen_block, seen_version=self.seen_version,
            version=self.version,
        )  # fmt: skip
        return f"{name_of(self.file)}, block {self.block} (wrong from byte {self.offset}): {what}."


@dataclass(slots=True)
class Findings:
    """What reads showed.

    Attributes
    ----------
    wrong: wrong blocks by kind; checked_bytes, unchecked_bytes: of reads; named: the first wrong blocks of each lane.
    """

    wrong: dict[str, int] = field(default_factory=dict)
    checked_bytes: int = 0
    unchecked_bytes: int = 0
    named: list[Wrong] = field(default_factory=list)

    def text(self) -> str:
        """One line that sums it up."""
        unchecked = f", {bytes_text(self.unchecked_bytes)} could not be" if self.unchecked_bytes else ""
        counts = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in self.wrong.items())
        return f"verified: {bytes_text(self.checked_bytes)} read{unchecked}; wrong blocks: {counts or 'none'}"


def findings_of(lanes: list[Any]) -> Findings:
    """Sum up what lanes found; each an array of FOUND_WORDS words."""
    result = Findings()
    for words in lanes:
        for kind, count in zip(KIND_NAMES, words[: kernel.KINDS].tolist(), strict=True):
            if count:
                result.wrong[kind] = result.wrong.get(kind, 0) + count
        result.checked_bytes += int(words[kernel.CHECKED_BYTES])
        result.unchecked_bytes += int(words[kernel.UNCHECKED_BYTES])
        rows = words[kernel.NAMED_ROWS :].reshape(-1, kernel.NAMED_WORDS)
        for row in rows[: min(int(words[kernel.NAMED]), kernel.NAMED_MAX)].tolist():
            kind, file, block, place, *rest = row
            result.named.append(Wrong(KIND_NAMES[kind], file, block, block * BLOCK + place, *rest))
    return result
