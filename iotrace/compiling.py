"""Compiling kernels with Numba, once for all processes.

Numba keeps machine code beside a kernel's source and looks only at that one file for changes; what the kernel calls in
another file, and the constants that it takes from there, would go stale. Here the files that a kernel may use are
looked at too: those of its folder, where that is called `kernels`, those of the ground that kernels use, the kernels
over traces that those of other rooms call, and the tables of operations and columns, whose numbers many kernels hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])

COMPILING: Final = "Compiling, once after the installation, for about half a minute …"
_COMPILING_ANEW: Final = (
    "Compiling for about half a minute, each time anew: neither the installation nor this user's ~/.cache can be "
    "written. NUMBA_CACHE_DIR=FOLDER keeps what is compiled …"
)


def compiled(function: Callable[..., Any], error_model: Literal["python", "numpy"] = "python") -> Any:
    """A kernel without the GIL, cached beside its source or, where that is read-only, in the user's cache folder.

    Untyped: a kernel takes NumPy's integers as well as Python's. `error_model` is Numba's: with "numpy" a division does
    not look for zero.
    """
    options = {"nogil": True, "error_model": error_model}
    try:
        kernel = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to cache in: compiled anew in each process
        return numba.njit(**options)(function)
    # there is no public way to tell Numba of further files; without these attributes a test fails
    index = kernel._cache._cache_file
    index._source_stamp = (index._source_stamp, *stamps(Path(function.__code__.co_filename)))
    return kernel


def entry(function: F) -> F:
    """A kernel of integers that Python calls: compiled(), with its types."""
    return cast(F, compiled(function))


def inner(function: F) -> F:
    """A kernel of integers that only kernels call: it is compiled and kept within those."""
    return cast(F, numba.njit(function))


def is_compiled(kernel: Any) -> bool:
    """Whether a kernel's machine code is on disk; if not, its first call takes long."""
    file = _cache_file(kernel)
    return bool(getattr(kernel, "signatures", ())) or bool(file is not None and file._load_index())


def compiling_text(kernel: Any) -> str:
    """What to tell before the first call of a kernel, empty where its machine code is there."""
    if is_compiled(kernel):
        return ""
    return _COMPILING_ANEW if _cache_file(kernel) is None else COMPILING


def _cache_file(kernel: Any) -> Any:
    """Numba's index of a kernel's machine code; None where no folder can keep any."""
    return getattr(getattr(kernel, "_cache", None), "_cache_file", None)


@cache
def stamps(source: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, time of change (ns) and size of the files that kernels in `source` may use."""
    ground = Path(__file__).parent
    files = [
        ground / name for name in ("compiling.py", "hashing.py", "machine.py", "trace/operations.py", "trace/schema.py")
    ]
    files += (ground / "trace" / "kernels").glob("*.py")
    if source.parent.name == "kernels":
        files += source.parent.glob("*.py")
    found = [(str(file), file.stat()) for file in sorted(set(files)) if file.is_file()]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in found)
