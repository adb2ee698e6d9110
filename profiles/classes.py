"""Which files of a recording are alike: classes of them, by their names below the folders that count."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd

_DIGITS: Final = re.compile(r"\d+")
_LIKE_MIN: Final = 4
"""So many files of one folder and extension are one class although their names differ in more than digits."""


def beneath(text: object, prefixes: list[str]) -> bool:
    """Whether a path lies in one of the folders, or is one."""
    return isinstance(text, str) and any(text == one or text.startswith(one.rstrip("/") + "/") for one in prefixes)


def classes_of(mine: pd.DataFrame, prefixes: list[str]) -> tuple[dict[int, int], list[dict[str, Any]]]:
    """Files whose names differ in digits alone are one class; so are many of one folder and extension.

    Parameters
    ----------
    mine: rows of the table files by their numbers, with a column `text` (their path); all beneath one of the prefixes.

    Returns
    -------
    The number of the class of each file, and of each class: path (below the folders that count, # for what differs),
    count, size (mean of those known, in bytes), spread (10, 50, 90 %), exists, folder, entries (mean, names).
    """
    patterns: dict[int, tuple[str, ...]] = {}
    below = dict(zip(mine.index.tolist(), _below(mine["text"].tolist(), prefixes), strict=True))
    columns = zip(mine.index.tolist(), mine["type"], mine["existed"], strict=True)
    for file, kind, existed in columns:
        made = existed is not None and not existed
        root, name = below[file]
        patterns[int(file)] = (_DIGITS.sub("#", name), str(kind), "made" if made else "there", root)
    alike: dict[tuple[str, ...], list[int]] = {}
    for file, pattern in patterns.items():
        alike.setdefault(pattern, []).append(file)
    loose: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for pattern, members in alike.items():
        if len(members) == 1 and pattern[1] == "file":
            folder, name = os.path.split(pattern[0])
            loose.setdefault((folder, os.path.splitext(name)[1], pattern[2], pattern[3]), []).append(pattern)
    for (folder, extension, state, root), single in loose.items():
        if len(single) >= _LIKE_MIN:
            members = [file for pattern in single for file in alike.pop(pattern)]
            alike.setdefault((os.path.join(folder, f"#{extension}"), "file", state, root), []).extend(members)
    roots = _roots({pattern[3] for pattern in alike})
    class_of: dict[int, int] = {}
    classes: list[dict[str, Any]] = []
    for number, ((text, kind, state, root), members) in enumerate(alike.items()):
        class_of.update(dict.fromkeys(members, number))
        of = mine.loc[members]
        sizes = of["size"].dropna()
        name = _common([below[file][1] for file in members], text) if len(members) > 1 else below[members[0]][1]
        classes.append(
            {
                "path": os.path.join(roots[root], name) or ".", "count": len(members),
                "size": float(sizes.mean()) if len(sizes) else 0.0,
                "spread": sizes.quantile([0.1, 0.5, 0.9]).tolist() if len(sizes) else [], "exists": state == "there",
                "folder": kind == "directory", "entries": float(of["entries"].fillna(0).mean()),
            }
        )  # fmt: skip
    return class_of, classes


def _common(names: list[str], pattern: str) -> str:
    """The pattern of some names, with those digits that all of them have in the same place: a job's folder is one."""
    folder, file = os.path.split(pattern)
    folders, files = zip(*map(os.path.split, names), strict=True)
    kept = _with_digits(folder, folders)
    # names of a loose class differ in more than digits
    alike = all(_DIGITS.sub("#", one) == file for one in files)
    return os.path.join(kept, _with_digits(file, files) if alike else file)


def _with_digits(pattern: str, names: Sequence[str]) -> str:
    """What stands for digits in a pattern becomes them where all names have the same."""
    columns = list(zip(*map(_DIGITS.findall, names), strict=True))
    shared = [column[0] if len(set(column)) == 1 else "#" for column in columns]
    parts = pattern.split("#")
    # a name may hold a # of its own
    if len(parts) != len(shared) + 1:
        return pattern
    return "".join(part + digits for part, digits in zip(parts, [*shared, ""], strict=True))


def _below(texts: list[str], prefixes: list[str]) -> list[tuple[str, str]]:
    """The innermost folder among `prefixes` that each path lies in, and the path from there ("" for itself)."""
    roots = sorted({os.path.normpath(one) for one in prefixes}, key=len, reverse=True)
    found = []
    for text in texts:
        root = next(one for one in roots if beneath(text, [one]))
        found.append((root, text[len(root) :].strip("/")))
    return found


def _roots(roots: set[str]) -> dict[str, str]:
    """A folder of the profile for each root: none for a lone one; else its last name, and its parents' where alike."""
    if len(roots) < 2:
        return dict.fromkeys(roots, "")
    deep = 1
    while True:
        names = {root: "/".join(root.strip("/").split("/")[-deep:]) for root in roots}
        if len(set(names.values())) == len(roots):
            return {root: name.replace("#", "_") for root, name in names.items()}
        deep += 1
