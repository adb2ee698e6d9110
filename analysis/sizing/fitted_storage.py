"""A fitted storage as an entry for --storages, and its fit as a table: what was replayed beside what the model says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from iotrace.analysis.sizing.fitting import Fitted
from iotrace.analysis.sizing.kernels import rates as r
from iotrace.analysis.sizing.replays import Work
from iotrace.analysis.sizing.storages import SHARINGS
from iotrace.errors import StorageError, UsageError
from iotrace.terminal import Column, paragraph, printable, show, table
from iotrace.units import duration_text

if TYPE_CHECKING:
    from rich.console import Console

_RATES: Final = (
    ("disk_read", r.DISK_READ), ("write", r.TOTAL_WRITE), ("stream_read", r.STREAM_READ),
    ("stream_write", r.STREAM_WRITE),
)  # fmt: skip
_LATENCIES: Final = (
    ("read_latency_us", r.READ_LATENCY), ("write_latency_us", r.WRITE_LATENCY), ("metadata_latency_us", r.META_LATENCY),
)  # fmt: skip

_UNLIKE: Final = 1.5
"""Factors of metadata operations that differ by less are not worth a sentence."""


def entry_of(found: Fitted, name: str, capacity: str, folders: Sequence[Path]) -> str:
    """The entry in TOML: one unit is the whole storage as it was replayed.

    Raises
    ------
    UsageError: the replays read or wrote nothing, so that there is no such limit.
    """
    for column, what in ((r.DISK_READ, "read"), (r.TOTAL_WRITE, "wrote"), (r.METADATA, "asked for metadata")):
        if not np.isfinite(found.row[column]):
            raise UsageError(f"--fit: no replay {what}, so that its limit is not known: add a result of one that does.")
    # a JSON string is a TOML string too
    lines = [
        f"[storages.{json.dumps(name)}]", f"title = {json.dumps(f'{name}, fitted from replays')}",
        'unit = "storage as replayed"', f"capacity = {json.dumps(capacity)}",
    ]  # fmt: skip
    lines += [f'{key} = "{found.row[at]:.0f} B"' for key, at in _RATES if np.isfinite(found.row[at])]
    lines += [f"{key} = {found.row[at] * 1e6:.4g}" for key, at in _LATENCIES]
    lines.append(f"metadata = {found.row[r.METADATA]:.6g}")
    if np.isfinite(found.row[r.OPERATIONS]):
        lines.append(f"operations = {found.row[r.OPERATIONS]:.6g}")
    lines.append(f"sharing = {json.dumps(next(way for way, at in SHARINGS.items() if at == found.row[r.SHARING]))}")
    source = "iotrace size --fit " + " ".join(folder.name for folder in folders)
    lines.append(f"source = {json.dumps(source)}")
    guessed = ["the replays ran on one node: its limits but for its processors' and the storage's are one figure"]
    guessed += found.unseen
    lines.append(f"inferred = {json.dumps('; '.join(guessed))}")
    return "\n".join(lines) + "\n"


def to_json(found: Fitted, entry: str) -> dict[str, Any]:
    """The entry, and each replay measured and modelled, in s."""
    return {
        "entry": entry,
        "points": [
            {
                "source": point.work.source, "users": point.users, "replayed_s": point.wall_s, "modelled_s": seconds,
                "error_percent": error,
            }
            for point, seconds, error in zip(found.points, found.modelled_s, found.errors, strict=True)
        ],
        "mean_error_percent": float(np.mean(np.abs(found.errors))),
        "worst_error_percent": max(found.errors, key=abs),
        "processor_s": {one.work.source: _processor_s(one.work) for one in found.points},
        "metadata_factors": found.factors,
        "unseen": found.unseen,
    }  # fmt: skip


def print_fit(found: Fitted, entry: str, out: Console) -> None:
    """The table of the fit, and the entry."""
    columns = [
        Column("replay", "left", stretch=True), Column("users"), Column("replayed s"), Column("modelled s"),
        Column("error"),
    ]  # fmt: skip
    rows = [
        [point.work.source, str(point.users), f"{point.wall_s:.3f}", f"{seconds:.3f}", f"{error:+.1f} %"]
        for point, seconds, error in zip(found.points, found.modelled_s, found.errors, strict=True)
    ]
    show(out, table(columns, rows, out.width, "Replays that the storage was fitted to"))
    mean = float(np.mean(np.abs(found.errors)))
    paragraph(
        out,
        f"Mean error {mean:.1f} %, worst {max(found.errors, key=abs):+.1f} %. These are the replays that it was fitted "
        "to: how well it predicts others is another question (docs/model.md).",
    )
    _print_processors(found, out)
    if max(found.factors.values()) > _UNLIKE * min(found.factors.values()):
        dear = ", ".join(f"{printable(name)} × {factor:.2g}" for name, factor in found.factors.items())
        paragraph(out, f"Metadata operations are not alike (one costs: {dear} the mean): the entry has the mean.")
    for sentence in found.unseen:
        paragraph(out, f"Not seen: {sentence}.", "yellow")
    show(out, "")
    for line in entry.splitlines():
        show(out, printable(line))


def _print_processors(found: Fitted, out: Console) -> None:
    """What the machine's processors did for the replays, or that it cannot be told."""
    spent = {one.work.source: _processor_s(one.work) for one in found.points}
    # least squares leave what rounding leaves
    spent = {name: seconds for name, seconds in spent.items() if seconds >= 1e-9}
    if any(one.processor_s for one in found.points) and not spent:
        paragraph(
            out,
            "The processors were so busy throughout that their work for the replays cannot be told from that of other "
            "programs: it is in the storage's figures. Replay on an idle machine, and begin with --users 1.",
            "yellow",
        )
    elif spent:
        each = ", ".join(f"{printable(name)} {duration_text(seconds * 1e9)}" for name, seconds in spent.items())
        paragraph(out, f"This machine's processors worked for one user: {each}. That is no part of the storage.")


def _processor_s(work: Work) -> float:
    """CPU time of the machine for one user, s."""
    return float(work.row[r.PROCESSOR] * work.row[r.WORKERS])


def write_entry(entry: str, path: Path, force: bool) -> None:
    """Write the entry as a file for --storages.

    Raises
    ------
    UsageError: it exists already. StorageError: it cannot be written.
    """
    if path.exists() and not force:
        raise UsageError(f"-o {path} exists already: choose another name, or --force to replace it.")
    try:
        path.write_text(entry, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}.") from None
