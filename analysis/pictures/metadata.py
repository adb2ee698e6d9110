"""The picture of the metadata mix: which calls about names and open files each step makes, and which take its time.

From a trace's tables or the sides of results; see iotrace.analysis.pictures.drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from iotrace.analysis.pictures.drawing import Picture, styled, svg_of, ticks
from iotrace.histogram import middles
from iotrace.terminal import printable, shorten
from iotrace.trace.operations import Kind
from iotrace.units import count_text, duration_text

if TYPE_CHECKING:
    from iotrace.analysis.comparison.sides import Side
    from iotrace.replay.result import Result
    from iotrace.trace.tables import Tables

COLUMNS: Final = ("label", "group", "op", "calls", "time_s")
"""Rows of one group, such as a step on several storages, are drawn under each other."""
_OPERATIONS: Final = 9
_ROWS: Final = 14
_OTHER: Final = "other"


def metadata_of_trace(tables: Tables) -> pd.DataFrame:
    """Metadata calls by step (job where there is none, else the process's command) and operation: COLUMNS.

    Raises
    ------
    TraceError: a part of the trace is damaged.
    """
    label = "coalesce(p.step, p.job, nullif(p.command, ''), 'process ' || e.process, 'unknown') as label"
    if tables.trace.info.detail == "histogram":
        frame = tables.query(
            f"""
            select {label}, e.op, coalesce(sum(count) filter (measure in ('latency', 'untimed')), 0)::bigint as calls,
                   coalesce(sum("sum") filter (measure = 'latency'), 0) / 1e9 as time_s
            from histograms e join kinds k on e.op = k.op left join processes p on e.process = p.process
            where k.kind = '{Kind.METADATA}' group by all having calls > 0 order by all
            """
        ).df()
    else:
        frame = tables.query(
            f"""
            with counted as (
                select process, op, count(*) as calls, coalesce(sum(duration_ns), 0) as took
                from sides where kind = '{Kind.METADATA}' group by all)
            select {label}, e.op, sum(e.calls)::bigint as calls, sum(e.took) / 1e9 as time_s
            from counted e left join processes p on e.process = p.process group by all order by all
            """
        ).df()
    return frame.assign(group=frame["label"])[list(COLUMNS)]


def metadata_of_sides(sides: Sequence[tuple[Side, Result]]) -> pd.DataFrame:
    """Metadata calls of a run (mean of a side's runs) by step, or side, and operation: COLUMNS.

    Parameters
    ----------
    sides: each with the result that its runs are of. Times are read off histograms, within 0.8 %.
    """
    found = []
    for side, result in sides:
        frame = result.histograms()
        frame = frame[frame["run"].isin([run.run for run in side.runs]) & (frame["class"] == str(Kind.METADATA))]
        steps = frame["step"].fillna("").astype(str)
        named = steps.where(steps != "", "(no label)") if (steps != "").any() else pd.Series("", steps.index)
        if len(sides) > 1:
            named = named.map(lambda step, label=side.label: f"{label}: {step}" if step else label)
        elif not (steps != "").any():
            named = pd.Series(side.label, steps.index)
        time_s = frame["count"].to_numpy() * middles()[frame["bucket"].to_numpy(dtype=int)] / 1e9
        part = pd.DataFrame(
            {"label": named, "group": steps, "op": frame["op"], "calls": frame["count"], "time_s": time_s}
        )
        summed = part.groupby(["label", "group", "op"], as_index=False)[["calls", "time_s"]].sum()
        summed[["calls", "time_s"]] /= len(side.runs)
        found.append(summed)
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(COLUMNS))


def metadata_mix(frame: pd.DataFrame, provenance: str, runs: int = 1) -> Picture | None:
    """Shares of calls and of their time by operation, a bar for each label; None without metadata calls.

    Parameters
    ----------
    frame: COLUMNS, a row for each label and operation. provenance: where the figures come from.
    runs: of how many they are means.
    """
    if frame.empty:
        return None
    totals = frame.groupby("label", sort=False)[["calls", "time_s"]].sum()
    groups = frame.groupby("group")["time_s"].sum().rank(method="first")
    rank = frame.drop_duplicates("label").set_index("label")["group"].map(groups)
    totals = totals.loc[rank.sort_values(ascending=False, kind="stable").index]
    left_out = max(0, len(totals) - _ROWS)
    totals = totals.head(_ROWS)
    frame = frame[frame["label"].isin(totals.index)]
    shown = _telling(frame)
    frame = frame.assign(op=frame["op"].where(frame["op"].isin(shown), _OTHER))
    ops = [*shown, _OTHER] if (frame["op"] == _OTHER).any() else shown
    colours = dict(zip(ops, _colours(len(ops)), strict=True))
    if _OTHER in colours:
        colours[_OTHER] = "#8a8f98"
    with styled():
        figure = Figure(figsize=(9, 1.5 + 0.3 * len(totals)), layout="constrained")
        panes = figure.subplots(1, 2, sharey=True)
        for axes, column, text in (
            (panes[0], "calls", count_text),
            (panes[1], "time_s", lambda seconds: duration_text(seconds * 1e9)),
        ):
            grid = frame.pivot_table(index="label", columns="op", values=column, aggfunc="sum", fill_value=0)
            grid = grid.reindex(index=totals.index, columns=ops, fill_value=0)
            whole = grid.sum(axis=1).to_numpy(dtype=float)
            left = np.zeros(len(totals))
            for op in ops:
                share = 100 * grid[op].to_numpy(dtype=float) / np.where(whole > 0, whole, 1)
                axes.barh(range(len(totals)), share, left=left, height=0.72, color=colours[op], label=printable(op))
                left += share
            for row, total in enumerate(whole):
                axes.text(101, row, text(float(total)), va="center", fontsize=8.5)
            axes.set_xlim(0, 100)
            axes.set_xticks([0, 25, 50, 75, 100])
            axes.xaxis.set_major_formatter(ticks(lambda value: f"{value:.0f}%"))
            axes.grid(visible=False, axis="y")
            axes.spines["left"].set_visible(False)
        panes[0].set_title("share of the calls")
        panes[1].set_title("share of their time")
        panes[0].set_yticks(range(len(totals)), [shorten(printable(str(name)), 34) for name in totals.index])
        panes[0].set_ylim(len(totals) - 0.45, -0.55)
        handles, names = panes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(6, len(names)), handlelength=1.2)
        svg = svg_of(figure)
    caption = (
        "Metadata mix: which calls about names and open files, not their bytes, each row makes, as shares of their "
        "number (left) and of the time inside them (right); beside each bar its whole"
        f"{f', in the mean of {runs} runs' if runs > 1 else ''}. Opens, stats, "
        "listings and renames ask the storage's metadata service, unless this client remembers the answer."
    )
    if left_out:
        caption += f" {left_out} more with less time are left out."
    return Picture(svg, caption, _told(frame, totals), provenance)


def _telling(frame: pd.DataFrame) -> list[Any]:
    """The operations with a part of calls or time that can be seen, the most called first."""
    by_op = frame.groupby("op")[["calls", "time_s"]].sum()
    shares = by_op / by_op.sum().where(by_op.sum() > 0, 1)
    seen = shares.max(axis=1).sort_values(ascending=False, kind="stable").head(_OPERATIONS).index
    return list(by_op.loc[seen].sort_values("calls", ascending=False, kind="stable").index)


def _colours(count: int) -> list[Any]:
    # without the palette's own grey, which is that of the others
    colours: list[Any] = [colour for number, colour in enumerate(sns.color_palette("muted")) if number != 7]
    return (colours * (count // len(colours) + 1))[:count]


def _told(frame: pd.DataFrame, totals: pd.DataFrame) -> str:
    told = []
    for label, total in totals.iterrows():
        mine = frame[frame["label"] == label].groupby("op")[["calls", "time_s"]].sum()
        most, longest = mine["calls"].idxmax(), mine["time_s"].idxmax()
        told.append(
            f"{printable(str(label))}: {count_text(float(total['calls']))} calls in "
            f"{duration_text(float(total['time_s']) * 1e9)}, most of them {printable(str(most))} "
            f"({mine['calls'].max() / total['calls']:.0%}), most time in {printable(str(longest))}"
        )
    return f"Metadata operations by step, shares of calls and time. {'; '.join(told)}."
