"""How files lie on the servers of Lustre: what `lfs getstripe` prints, read, and asked of the files of a tree.

Formats: lfs-getstripe(1); plain layouts, composite ones (a component for each extent), and those of folders, whose
fields stand in one line and have no `lmm_` before their names.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from iotrace.mounts.space import within
from iotrace.units import binary_text

_FIELD: Final = re.compile(r"(lcme_extent\.e_end|(?:lmm_)?(?:stripe_count|stripe_size|pattern)):\s*(\S+)")
ON_MDT: Final = "on the MDT"
_TAKES_S: Final = 10.0
_LOOKED_AT: Final = 1000
_ASKED: Final = 20


def layouts_in(text: str) -> list[str]:
    """The layout of each file or folder that `lfs getstripe` prints, for people; text of another form gives none.

    "2 stripes of 4.00 MiB (raid0)", of components joined by commas with their ends: "to 1.00 MiB: …, to the end: …".
    """
    return [layout for part in _parts(text) if (layout := _layout(part))]


def _parts(text: str) -> Iterator[str]:
    """Text about each file: it begins with a line that holds no field and is not indented, its name."""
    part: list[str] = []
    for line in text.splitlines():
        if line and not line[0].isspace() and not _FIELD.search(line) and not line.startswith(("lcm", "lmm", "obdidx")):
            yield "\n".join(part)
            part = []
        part.append(line)
    yield "\n".join(part)


def _layout(text: str) -> str:
    found: list[str] = []
    end, seen = "", {}
    for match in _FIELD.finditer(text):
        name, value = match[1].removeprefix("lmm_"), match[2]
        if name == "lcme_extent.e_end":
            end = f"to {_size(value)}: " if value != "EOF" else "to the end: "
            continue
        seen[name] = value
        if len(seen) == 3:
            pattern = {"0": "raid0", "1": "raid0"}.get(seen["pattern"], seen["pattern"])
            count = seen["stripe_count"]
            stripes = "all stripes" if count == "-1" else f"{count} stripe{'' if count == '1' else 's'}"
            what = ON_MDT if pattern == "mdt" else f"{stripes} of {_size(seen['stripe_size'])} ({pattern})"
            found.append(end + what)
            end, seen = "", {}
    return ", ".join(found)


def _size(value: str) -> str:
    return binary_text(int(value)) if value.isdigit() else value


def on_metadata_target(layouts: Iterable[str]) -> bool:
    """Whether data of some files lie, from their beginning on, on a metadata target (Data-on-MDT)."""
    return any(ON_MDT in layout for layout in layouts)


def layout_of_new_files(folder: str) -> str:
    """The layout that a folder gives to new files, for people; "" where `lfs` is not there or does not answer."""
    return next(iter(layouts_in(_lfs_getstripe(["-d", folder]))), "")


def layouts_of(tree: Path, without: Collection[str] = ()) -> list[str]:
    """Layouts of the largest files of a tree, with how many of those that were asked have it, the most frequent first.

    Empty where there is no `lfs`, or where it does not answer. `without`: names that are none of its files.
    """
    files = (os.path.join(folder, name) for folder, _, names in os.walk(tree) for name in names if name not in without)
    try:
        sizes = [(os.lstat(path).st_size, path) for path in islice(files, _LOOKED_AT) if not os.path.islink(path)]
        largest = [path for _, path in sorted(sizes, reverse=True)[:_ASKED]]
        if not largest:
            return []
    except OSError:
        return []
    said = _lfs_getstripe(largest)
    return [f"{layout} × {count}" for layout, count in Counter(layouts_in(said)).most_common()]


def _lfs_getstripe(words: Sequence[str]) -> str:
    def ask() -> str:
        try:
            done = subprocess.run(
                ["lfs", "getstripe", *words], capture_output=True, text=True, errors="replace", timeout=_TAKES_S,
                check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout

    # a process that hangs in the kernel cannot be ended, and who runs it would wait for it
    return within(ask, _TAKES_S + 1) or ""
