"""A recorder that starts quickly: pyarrow and Numba import pandas and SciPy wherever they are, which takes longer than
all the rest, and a recorder needs neither."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Final

UNUSED: Final = ("pandas", "scipy")


class _Refusal(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name in UNUSED:
            raise ModuleNotFoundError(f"{name} is not used while iotrace records", name=name)


def refuse_unused() -> None:
    """Let this process, which shall do nothing but record, import neither."""
    sys.meta_path.insert(0, _Refusal())
