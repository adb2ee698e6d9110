"""Commands that start quickly: pyarrow and Numba import pandas and SciPy wherever they are, which takes longer than all
that a recorder or a replay itself imports, and these need neither."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Final

COMMANDS: Final = ("record", "top", "replay")
_UNUSED: Final = ("pandas", "scipy")


class _Refusal(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name in _UNUSED:
            raise ModuleNotFoundError(f"{name} is not used by iotrace {' and iotrace '.join(COMMANDS)}", name=name)


def refuse_unused() -> None:
    """Let this process, which shall run one of these commands and end, import neither."""
    sys.meta_path.insert(0, _Refusal())
