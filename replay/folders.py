"""The folders that --fs names: refused where they have no name, are no folders, or are the same."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from functools import partial
from pathlib import Path

from iotrace.errors import StorageError, UsageError
from iotrace.replay.stopping import aside
from iotrace.replay.telling import Tell


def folders_of(fs: str | Path | Sequence[str | Path]) -> list[Path]:
    """The folders as paths; touches none.

    Raises
    ------
    UsageError: one has no name, or a name is given twice.
    """
    given = [fs] if isinstance(fs, (str, Path)) else list(fs)
    if "" in given:
        raise UsageError('--fs "" names no folder; --fs . is the working folder.')
    known: set[Hashable] = set()
    for one in given:
        _refuse_again(one, os.path.abspath(one), known)
    return [Path(one) for one in given]


def look_at(folders: Sequence[Path], timeout_s: float | None, tell: Tell) -> None:
    """Refuse what is no folder, and the same folder by two names.

    Raises
    ------
    StorageError: there is none of that name. UsageError: it is there twice. MountHangs: its mount does not answer.
    """
    known: set[Hashable] = set()
    for folder in folders:
        found = aside(partial(_identity, folder), f"looking at {folder}", timeout_s=timeout_s, tell=tell.notice)
        if found is None:
            raise StorageError(f"{folder}: no such folder; --fs names one on the mount under test.")
        _refuse_again(folder, found, known)


def _identity(folder: Path) -> tuple[int, int] | None:
    if not folder.is_dir():
        return None
    status = folder.stat()
    return status.st_dev, status.st_ino


def _refuse_again(folder: str | Path, identity: Hashable, known: set[Hashable]) -> None:
    if identity in known:
        raise UsageError(
            f"--fs {folder} is a folder that was given before: --repeat makes more runs on it; for a comparison with "
            "itself make two folders on that mount."
        )
    known.add(identity)
