"""Do profiles fitted to recordings take as long to replay as the recordings themselves? Prints a Markdown table.

    make bench-fit FIT='--pairs 7 relion-class-2d relion-polishing'

Each shipped recording is fitted, a trace is made from the profile, and both are replayed on one folder in turn:
recorded, fitted; fitted, recorded; … With think times (the default of `iotrace replay`) and as fast as it goes, where a
recording of a few calls is over before it can be timed. A ratio is that of a pair; printed are the median and the
extremes. Modelled is the ratio of the makespans without I/O, with a processor for each thread: it does not depend on
what else the machine does, where the think times of several threads share two processors with others' work.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from iotrace.profiles.fit import fit
from iotrace.profiles.model import DataSet, load
from iotrace.profiles.score import Measure, score
from iotrace.profiles.sessions import sessions_of
from iotrace.profiles.synthesise import synthesise
from iotrace.replay.run import run_replay
from iotrace.trace.reader import Trace, open_trace
from iotrace.units import duration_text

SHIPPED = Path(__file__).parent.parent.parent / "data" / "traces"
NAMES = sorted(one.name.removesuffix(".iotrace") for one in SHIPPED.glob("*.iotrace"))
PROJECT = "/data/CS-project"
"""Where a synthesised job works."""
BOUND = 0.1
"""How far a ratio may be from 1."""


@dataclass
class Ratios:
    """Median of the recording's replays in s; fitted ÷ recorded: of each pair, modelled; unexpected outcomes."""

    recorded_s: float
    pairs: list[float]
    modelled: float
    unexpected: int

    def __str__(self) -> str:
        """Median and extremes."""
        return f"{statistics.median(self.pairs):.3f} ({min(self.pairs):.3f}–{max(self.pairs):.3f})"


@dataclass
class Pair:
    """A recording, and the trace that was made from the profile fitted to it; each with the folder that is replayed."""

    recorded: Trace
    fitted: Trace
    measures: list[Measure]

    @classmethod
    def of(cls, name: str, folder: Path) -> Pair:
        """Fit a shipped recording."""
        trace = open_trace(SHIPPED / f"{name}.iotrace")
        prefixes = [trace.info.working_folder]
        profile, _ = fit(trace, prefixes, name)
        synthesise(profile, load(DataSet, "own"), folder / f"{name}.iotrace")
        made = open_trace(folder / f"{name}.iotrace")
        return cls(trace, made, score(sessions_of(trace, prefixes), sessions_of(made, [PROJECT])))

    def seconds(self, fitted: bool, place: Path, timing: Literal["think", "asap"]) -> tuple[float, float, int]:
        """How long a replay takes, and would take without I/O, in s, and how many outcomes were unexpected."""
        trace = self.fitted if fitted else self.recorded
        prefixes = [PROJECT] if fitted else [trace.info.working_folder]
        info = run_replay(trace, place, prefixes=prefixes, timing=timing).info
        modelled = info.without_io.makespan_s if info.without_io else math.nan
        return info.runs[0].wall_s, modelled, info.runs[0].errors

    def ratios(self, place: Path, timing: Literal["think", "asap"], count: int) -> Ratios:
        """Of so many pairs of replays."""
        recorded, ratios, modelled, unexpected = [], [], [], 0
        for number in range(count):
            order = (False, True) if number % 2 == 0 else (True, False)
            took = {fitted: self.seconds(fitted, place, timing) for fitted in order}
            recorded.append(took[False][0])
            ratios.append(took[True][0] / took[False][0])
            modelled.append(took[True][1] / took[False][1])
            unexpected += took[True][2]
        return Ratios(statistics.median(recorded), ratios, statistics.median(modelled), unexpected)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help="recordings, by default all that ship")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="where to replay")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of replays")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no recording {unknown[0]!r}: choose {', '.join(NAMES)}")
    near, alike, unexpected = 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="bench-fit-", dir=options.folder) as folder:
        place = Path(folder)
        heads = [
            "recording",
            "within",
            "its replay",
            "fitted ÷ it",
            "modelled",
            "its replay, asap",
            "fitted ÷ it, asap",
        ]
        print(f"| {' | '.join(heads)} |")
        print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
        for name in options.names:
            pair = Pair.of(name, place)
            for fitted in (False, True):  # the first replay of a process compiles, and fills the caches
                pair.seconds(fitted, place, "asap")
            fast = pair.ratios(place, "asap", options.pairs)
            timed = pair.ratios(place, "think", options.pairs)
            unexpected += fast.unexpected + timed.unexpected
            near += abs(statistics.median(timed.pairs) - 1) <= BOUND
            alike += abs(timed.modelled - 1) <= BOUND
            within = f"{sum(one.within for one in pair.measures)} of {len(pair.measures)}"
            cells = [
                name.removeprefix("relion-"), within, duration_text(timed.recorded_s * 1e9), str(timed),
                f"{timed.modelled:.3f}", duration_text(fast.recorded_s * 1e9), str(fast),
            ]  # fmt: skip
            print(f"| {' | '.join(cells)} |", flush=True)
    print(
        f"\nWith think times {near} of {len(options.names)} within {BOUND:.0%}, modelled {alike}; {unexpected} "
        f"unexpected outcomes in {2 * options.pairs * len(options.names)} replays of fitted traces. Load at the end: "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} processors."
    )


if __name__ == "__main__":
    main()
