"""WEKA: `weka status -J` and `weka stats --json` (docs.weka.io, "Statistics").

Both are of the cluster, all clients together, and are rates: of this moment, and means of a minute. So they stand
beside a run, each half minute of it, and decide nothing. What this client keeps is in the page cache, which is looked
at itself.

Field names are those of WEKA's own exporter (github.com/weka/export) and operator; no cluster could be asked here.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from typing import Any, Final

from iotrace.mounts.counters.source import UNAVAILABLE, UNPROTECTED, Counts, Source
from iotrace.mounts.mountinfo import Mount

_WEKA_S: Final = 6.0
_EVERY_S: Final = 30.0
"""The command takes part of a second of a processor each time."""
_ACTIVITY: Final = {
    "num_ops": "ops_per_s",
    "num_reads": "reads_per_s",
    "num_writes": "writes_per_s",
    "sum_bytes_read": "read_bytes_per_s",
    "sum_bytes_written": "written_bytes_per_s",
    "obs_download_bytes_per_second": "object_read_bytes_per_s",
    "obs_upload_bytes_per_second": "object_written_bytes_per_s",
}
_STATS: Final = ("READS", "READ_BYTES", "WRITES", "WRITE_BYTES", "READ_LATENCY", "WRITE_LATENCY")
_FIGURE: Final = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?(e[+-]?[0-9]{1,2})?", re.IGNORECASE)
_MOST: Final = 1 << 62


def parse_status(text: str) -> Counts:
    """What the cluster does at the moment, from `weka status -J`; empty where the text is no such object.

    Of a rebuild: MiB that lack protection because something failed, and MiB that cannot be read at all.
    """
    said = _json(text)
    if not isinstance(said, dict):
        return {}
    activity, rebuild = (_object(said.get(name)) for name in ("activity", "rebuild"))
    found = {name: _number(activity.get(key)) for key, name in _ACTIVITY.items()}
    found[UNAVAILABLE] = _number(rebuild.get("unavailableMiB"))
    states = rebuild.get("protectionState")
    if isinstance(states, list):
        weak = [one for one in states if isinstance(one, dict) and one.get("numFailures") != 0]
        found[UNPROTECTED] = _number(sum(_number(one.get("MiB")) or 0 for one in weak))
    return {name: value for name, value in found.items() if value is not None}


def parse_stats(text: str) -> Counts:
    """Means of the last minute, from `weka stats --json`: a list of rows with stat_type, stat_value and timestamp.

    Of several rows of one statistic the newest counts; of several processes (`node`) in it, their sum, of latencies the
    longest.
    """
    said = _json(text)
    newest: dict[str, tuple[str, int]] = {}
    for row in said if isinstance(said, list) else []:
        if not isinstance(row, dict):
            continue
        name, value, when = row.get("stat_type"), _number(row.get("stat_value")), row.get("timestamp", "")
        if not isinstance(name, str) or value is None or not isinstance(when, str):
            continue
        before, total = newest.get(name, ("", 0))
        if when > before or name not in newest:
            newest[name] = (when, value)
        elif when == before:
            newest[name] = (when, max(total, value) if name.endswith("_LATENCY") else total + value)
    return {f"{name}_minute_mean": value for name, (_, value) in newest.items()}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int | None:
    """A figure as a whole number; versions of the command print some as text."""
    if isinstance(value, str) and _FIGURE.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST:
        return None
    return round(value)


def weka_sources(mount: Mount) -> list[Source]:
    """The cluster, where the `weka` command is there and its user has logged in."""
    return [
        Source("WEKA cluster (weka status -J)", "cluster", _status, every_s=_EVERY_S, decides=False),
        Source("WEKA cluster (weka stats --json)", "cluster", _stats, every_s=_EVERY_S, decides=False),
    ]


def _status() -> Counts:
    return parse_status(_weka(["status", "-J"]))


def _stats() -> Counts:
    asked = [word for name in _STATS for word in ("--stat", name)]
    return parse_stats(_weka(["stats", "--category", "ops", *asked, "--start-time", "-2m", "--json"]))


def _weka(words: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            ["weka", *words], capture_output=True, text=True, errors="replace", timeout=_WEKA_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError:
        raise OSError("there is no weka command in PATH") from None
    except subprocess.TimeoutExpired:
        raise OSError(f"weka does not answer within {_WEKA_S:.0f} s") from None
    if done.returncode:
        raise OSError(f"weka {words[0]} ended with {done.returncode}")
    return done.stdout
