"""iotrace: record the file I/O of programs, replay it on any mount, compare storage with honest statistics.

The Python face of the commands; each name is loaded when first used. The rooms (`iotrace.replay`, `iotrace.analysis`,
…) are packages of their own and are imported by their full names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from iotrace.analysis.compare import compare_results as compare_results
    from iotrace.analysis.frames import cache_curve as cache_curve
    from iotrace.analysis.frames import compare as compare
    from iotrace.analysis.frames import findings as findings
    from iotrace.analysis.frames import latencies as latencies
    from iotrace.analysis.frames import runs as runs
    from iotrace.analysis.frames import size as size
    from iotrace.analysis.frames import table as table
    from iotrace.analysis.frames import timeline as timeline
    from iotrace.analysis.summary import summarise as summarise
    from iotrace.errors import IotraceError as IotraceError
    from iotrace.replay.result import open_result as open_result
    from iotrace.replay.run import run_replay as run_replay
    from iotrace.trace.reader import open_trace as open_trace

_FRAMES = ("cache_curve", "compare", "findings", "latencies", "runs", "size", "table", "timeline")
_HOME = dict.fromkeys(_FRAMES, "iotrace.analysis.frames") | {
    "IotraceError": "iotrace.errors",
    "compare_results": "iotrace.analysis.compare",
    "open_result": "iotrace.replay.result",
    "open_trace": "iotrace.trace.reader",
    "run_replay": "iotrace.replay.run",
    "summarise": "iotrace.analysis.summary",
}

__all__ = [
    "IotraceError", "__version__", "cache_curve", "compare", "compare_results", "findings", "latencies", "open_result",
    "open_trace", "run_replay", "runs", "size", "summarise", "table", "timeline",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'iotrace' has no attribute {name!r}")
