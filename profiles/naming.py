"""Names and paths of classes in a fitted recipe: what a trace holds is a stranger's text, and no two are the same."""

from __future__ import annotations

import os
import re
from typing import Any, Final

_PLAIN: Final = re.compile(r"[^a-z0-9]+")


def quoted(text: str) -> str:
    """Text for a TOML string: what a trace holds is a stranger's."""
    return "".join(character if character.isprintable() and character not in '"\\' else "_" for character in text)


def _pattern(path: str, count: int) -> str:
    """A path with one place for the file's number."""
    path = "/".join(part for part in path.split("/") if part not in ("", ".", "..")) or "folder"
    if count == 1:
        return path.replace("#", "0").replace("{", "_").replace("}", "_")
    path = path.replace("{", "_").replace("}", "_")
    if "#" not in path:
        # one name, made anew several times
        stem, extension = os.path.splitext(path)
        path = f"{stem}_#{extension}"
    head, _, tail = path.rpartition("#")
    return f"{head.replace('#', '0')}{{n}}{tail}"


def paths_of(classes: list[dict[str, Any]]) -> list[str]:
    """A path for each class, no two the same: what is replaced in a stranger's names may make them alike."""
    paths: list[str] = []
    for one in classes:
        path = quoted(_pattern(one["path"], one["count"]))
        stem, extension = os.path.splitext(path)
        number = 2
        while path in paths:
            path, number = f"{stem}_{number}{extension}", number + 1
        paths.append(path)
    return paths


def names_of(classes: list[dict[str, Any]]) -> list[str]:
    """A name for each class, from the end of its path."""
    names: list[str] = []
    for one in classes:
        stem, extension = os.path.splitext(os.path.basename(one["path"].replace("#", "")) or "folder")
        base = _PLAIN.sub("_", f"{stem}{extension}".lower()).strip("_") or "files"
        base = base if base[0].isalpha() else f"f_{base}"
        name, number = base, 2
        while name in names:
            name, number = f"{base}_{number}", number + 1
        names.append(name)
    return names
