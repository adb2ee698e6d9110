"""Commands that start quickly: pyarrow, Numba and seaborn import pandas and SciPy wherever they are, which takes longer
than all that a recorder or a replay itself imports; what a command does not need it does not import."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Final

UNUSED: Final = {
    "record": ("pandas", "scipy"),
    "top": ("pandas", "scipy"),
    "replay": ("pandas", "scipy"),
    "summary": ("scipy",),
    "findings": ("scipy",),
    "report": ("scipy",),
    "compare": ("scipy",),
}
"""By command: libraries that others would import for what it never asks of them."""


class _Refusal(MetaPathFinder):
    def __init__(self, command: str) -> None:
        self._command = command

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name in UNUSED[self._command]:
            raise ModuleNotFoundError(f"{name} is not used by iotrace {self._command}", name=name)


def refuse_unused(command: str) -> None:
    """Let this process, which shall run this command and end, import none of what it does not use."""
    if command in UNUSED:
        sys.meta_path.insert(0, _Refusal(command))
