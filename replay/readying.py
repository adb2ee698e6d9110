"""The trees of a replay's mounts: staged before the first run, restored and brought to their cache state before each.

Work on a tree is done by threads, so that the main thread can look for signals; what was asked to stop ends it soon.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from iotrace.errors import ReplayError, StorageError
from iotrace.mounts.family import family_of
from iotrace.mounts.mountinfo import Mount
from iotrace.mounts.remount import mount_anew
from iotrace.replay.cache import read_files_of, set_cache
from iotrace.replay.flushing import sync_file_system
from iotrace.replay.ground import Ground
from iotrace.replay.options import Options
from iotrace.replay.stage import Needs, check_room
from iotrace.replay.stopping import Asked, aside
from iotrace.replay.telling import Tell
from iotrace.replay.trees import PreparedTree, prepare_tree, restore_tree
from iotrace.replay.work import Work, needs_of_users

T = TypeVar("T")


class Trees:
    """The trees of a replay's runs, by mount and user; what ends with `ends` is removed there.

    Parameters
    ----------
    users: what each user replays whose trees are made here; readers: those that run here. In a fleet these are others.

    Attributes
    ----------
    needs: what the trees of all users take; made: the users' trees on each mount, once they are there.
    """

    def __init__(
        self, users: Sequence[Work], readers: Sequence[Work], options: Options, asked: Asked, ends: ExitStack,
        tell: Tell,
    ) -> None:  # fmt: skip
        self._readers = readers
        self._users, self._options, self._asked, self._ends, self._tell = users, options, asked, ends, tell
        self._pieces = 0
        self.needs = needs_of_users(users)
        self.made: dict[Path, list[PreparedTree]] = {}
        works = {id(work): work for work in readers}
        self._read_files = {number: read_files_of(work.plan) for number, work in works.items()}
        self._changes = any(work.changes for work in readers)

    def check_room(self, folder: Path, needs: Needs) -> None:
        """Refuse what the file system has no room for; `needs`: of all ranks of a fleet.

        Raises
        ------
        StorageError: with what is needed and what there is. MountHangs: the mount does not answer.
        """
        self._aside(f"looking at {folder}", lambda: self._check_room(folder, needs))

    def _check_room(self, folder: Path, needs: Needs) -> None:
        check_room(needs, folder, self._options.max_bytes, needs.staged_bytes if self._options.staged else 0)

    def ready(self, folder: Path) -> list[PreparedTree]:
        """The users' trees on a mount, as they were recorded: for the next run.

        Raises
        ------
        StorageError: no room, the file system refuses, or no kept tree fits.
        MountHangs: it does not answer. Interrupted: a signal came.
        """
        what = f"{'restoring' if folder in self.made else 'making'} {self._what} on {folder}"
        trees = self._aside(what, lambda: self._ready(folder, self._step(what)))
        if self._options.ranks > 1:
            # another rank replays on them
            self._aside(f"writing {folder} out (syncfs)", lambda: sync_file_system(trees[0].tree))
        return trees

    def _ready(self, folder: Path, step: Callable[[int], None]) -> list[PreparedTree]:
        if folder in self.made:
            for tree in self.made[folder]:
                restore_tree(tree, step, self._asked.event)
                self._asked.check()
            return self.made[folder]
        self._check_room(folder, self.needs)
        trees = self.made[folder] = []
        first: dict[int, Path] = {}
        for work in self._users:
            shared = (first[id(work)], work.shared) if id(work) in first and work.shared else None
            tree = prepare_tree(
                work.plan, folder, work.contents, work.sights, keep=self._options.keep, staged=self._options.staged,
                step=step, stop=self._asked.event, shared=shared,
            )  # fmt: skip
            trees.append(self._ends.enter_context(tree))
            first.setdefault(id(work), tree.tree)
            self._asked.check()
        return trees

    def cache(self, folder: Path, mount: Mount | None, grounds: Sequence[Ground]) -> tuple[list[str], list[list[int]]]:
        """Bring the page cache of the readers' trees to its state, by the way of the mount's family; gives notes for
        people, and of each reader how many pages of each file are cached (-1 where the kernel does not tell)."""
        what = f"preparing the page cache of {folder}"
        return self._aside(what, lambda: self._cache(mount, grounds, self._step(what)))

    def _cache(
        self, mount: Mount | None, grounds: Sequence[Ground], step: Callable[[int], None]
    ) -> tuple[list[str], list[list[int]]]:
        notes: dict[str, None] = {}
        cached: list[list[int]] = []
        way = family_of(mount).cold if mount else None
        beyond = partial(way.step, mount) if way and way.step and mount else None
        for work, ground in zip(self._readers, grounds, strict=True):
            if ground.borrowed and not ground.folder.is_dir():
                raise ReplayError(
                    f"{ground.folder}, which another rank has made on {ground.staged_by}, is not there on "
                    f"{platform.node()}: mount one file system on {ground.parent} on all nodes."
                )
            report = set_cache(
                work.plan.snapshot, ground.folder, self._options.cache_state, work.sights,
                read_files=self._read_files[id(work)], mount_type=mount.type if mount else "",
                drop_caches=self._options.drop_caches, go_cold=beyond, step=step, stop=self._asked.event,
            )  # fmt: skip
            self._asked.check()
            notes |= dict.fromkeys(report.notes)
            cached.append(report.of_file)
        if way and way.keeps and self._options.cache_state == "cold" and not self._options.remount:
            notes[way.keeps] = None
        return list(notes), cached

    def mount_anew(self, folder: Path, mount: Mount | None) -> None:
        """Unmount what a folder is on and mount it again, when nobody works on it.

        Raises
        ------
        StorageError: somebody uses it, or /etc/fstab does not name it. MountHangs: it does not answer.
        """
        if mount is None:
            raise StorageError(f"--remount: which mount {folder} is on cannot be found out.")
        self._aside(f"mounting {mount.point} anew", lambda: mount_anew(mount))

    def flush(self, folder: Path) -> float | None:
        """Write the mount out, where runs change something; gives the seconds that it took."""
        if not self._changes:
            return None
        return self._aside(f"writing {folder} out (syncfs)", lambda: sync_file_system(self.made[folder][0].tree))

    def kept(self) -> list[str]:
        """Sentences about the trees that stay."""
        return [
            f"The tree on {folder} was kept: {tree.ground.folder}"
            for folder, trees in self.made.items() for tree in trees if tree.ground.keep
        ]  # fmt: skip

    @property
    def _what(self) -> str:
        return "the tree" if len(self._users) == 1 else f"{len(self._users)} trees"

    def _step(self, what: str) -> Callable[[int], None]:
        done = 0

        def step(count: int) -> None:
            nonlocal done
            done += count
            self._pieces += 1
            self._tell.progress(what, done, self.needs.staged_bytes)

        return step

    def _aside(self, what: str, work: Callable[[], T]) -> T:
        result = aside(
            work, what, self._asked, timeout_s=self._options.timeout, progress=lambda: self._pieces,
            tell=self._tell.notice,
        )  # fmt: skip
        self._asked.check()
        return result
