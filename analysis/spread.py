"""Work on each of many traces, here or on the workers of a Dask cluster: the same functions, the same answers.

A function takes one trace and gives what adds up (counts, sums, evidence), so that what travels is small. The workers
must have iotrace and see the traces under the same paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

from iotrace.errors import IotraceError, UsageError

Item = TypeVar("Item")
Made = TypeVar("Made")
_ANSWER: Final = 10
"""Seconds in which a scheduler has to answer."""


class Spread(Protocol):
    """As the built-in map, but whole: results in the order of the items."""

    def __call__(self, function: Callable[[Item], Made], items: Iterable[Item]) -> list[Made]: ...


def here(function: Callable[[Item], Made], items: Iterable[Item]) -> list[Made]:
    """One after the other, in this process."""
    return [function(item) for item in items]


@contextmanager
def spread(address: str | None = None) -> Iterator[Spread]:
    """A Spread: in this process, or over the Dask cluster whose scheduler has this address.

    Raises
    ------
    UsageError: Dask is not installed. IotraceError: no scheduler answers there, or its workers ended. What a function
    raises on a worker is raised here.
    """
    if address is None:
        yield here
        return
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise UsageError('--dask needs Dask: pip install "iotrace[dask]", or "dask[distributed]".') from None
    try:
        client: Any = Client(address, timeout=_ANSWER, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else "no answer"
        raise IotraceError(
            f"--dask {address}: no Dask scheduler can be reached there ({reason}); it has the form tcp://HOST:8786."
        ) from None

    def over(function: Callable[[Item], Made], items: Iterable[Item]) -> list[Made]:
        # not pure: a trace may grow between two calls, and Dask would remember
        try:
            made: list[Made] = client.gather(client.map(function, list(items), pure=False))
        except KilledWorker as error:
            raise IotraceError(
                f"--dask {address}: workers ended while they worked, mostly for want of memory: {error}."
            ) from None
        return made

    with client:
        yield over
