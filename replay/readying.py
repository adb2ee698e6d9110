"""The trees of a replay's mounts: staged before the first run, restored and brought to their cache state before each.

Work on a tree is done by threads, so that the main thread can look for signals; what was asked to stop ends it soon.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from iotrace.replay.cache import read_files_of, set_cache
from iotrace.replay.flushing import sync_file_system
from iotrace.replay.options import Options
from iotrace.replay.payload import Contents
from iotrace.replay.rows import Plan
from iotrace.replay.sight import Sights
from iotrace.replay.stage import Needs, check_room
from iotrace.replay.stopping import Asked
from iotrace.replay.trees import PreparedTree, prepare_tree, restore_tree


class Trees:
    """One tree on each mount, made when it is first asked for and ended with `ends`.

    Parameters
    ----------
    needs: what the plan puts on a mount; asked: what stops the work.
    progress: told (what, bytes done, bytes in all).
    """

    def __init__(
        self, plan: Plan, contents: Contents, sights: Sights, options: Options, needs: Needs, asked: Asked,
        ends: ExitStack, progress: Callable[[str, int, int], None] | None,
    ) -> None:  # fmt: skip
        self._plan, self._contents, self._sights, self._options = plan, contents, sights, options
        self._needs, self._asked, self._ends, self._progress = needs, asked, ends, progress
        self._trees: dict[Path, PreparedTree] = {}
        self._read_files = read_files_of(plan)

    def ready(self, folder: Path) -> PreparedTree:
        """The tree on a mount, as it was recorded: for the next run.

        Raises
        ------
        StorageError: no room, the file system refuses, or no kept tree fits.
        Interrupted: a signal came.
        """
        tree, options = self._trees.get(folder), self._options
        if tree is not None:
            restore_tree(tree, self._step(f"restoring the tree on {folder}"), self._asked.event)
        else:
            check_room(self._needs, folder, options.max_bytes, self._needs.staged_bytes if options.staged else 0)
            tree = self._ends.enter_context(
                prepare_tree(
                    self._plan, folder, self._contents, self._sights, keep=options.keep, staged=options.staged,
                    step=self._step(f"making the tree on {folder}"), stop=self._asked.event,
                )
            )  # fmt: skip
            self._trees[folder] = tree
        self._asked.check()
        return tree

    def cache(self, tree: PreparedTree, mount_type: str) -> list[str]:
        """Bring the page cache to the chosen state; gives sentences about what that did not reach."""
        report = set_cache(
            self._plan.snapshot, tree.tree, self._options.cache_state, self._sights, read_files=self._read_files,
            mount_type=mount_type, drop_caches=self._options.drop_caches, stop=self._asked.event,
        )  # fmt: skip
        self._asked.check()
        return report.notes

    def flush(self, tree: PreparedTree) -> float:
        """Write out the file system that a tree is on; gives the seconds that it took."""
        return sync_file_system(tree.tree, self._asked)

    def kept(self) -> list[str]:
        """Sentences about the trees that stay."""
        return [f"The tree on {folder} was kept: {tree.ground.folder}" for folder, tree in self._trees.items()
                if tree.ground.keep]  # fmt: skip

    def _step(self, what: str) -> Callable[[int], None]:
        done = 0

        def step(count: int) -> None:
            nonlocal done
            done += count
            if self._progress:
                self._progress(what, done, self._needs.staged_bytes)

        return step
