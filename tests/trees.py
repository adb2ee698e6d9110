"""What the tests of replays share: what lies in the trees that they make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def in_tree(tree: Path) -> Iterator[Path]:
    """All that lies in the folder of a tree, but for what tells whose it is."""
    return (path for path in tree.rglob("*") if not path.name.startswith(("iotrace-", "_iotrace-")))


def in_trees(mount: Path) -> list[Path]:
    """All that replays have made under a mount."""
    return [path for tree in mount.glob("iotrace-*") if tree.is_dir() for path in in_tree(tree)]
