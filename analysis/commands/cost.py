"""`iotrace cost`: prints the source text's Tables 1 to 4 worked out again, or the same tables of one's own results."""

from __future__ import annotations

import json as json_module
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter

from iotrace.analysis.cost.capacity import Purchase, purchase
from iotrace.analysis.cost.months import QueueMonth, held_by, queue_months, with_storage
from iotrace.analysis.cost.price_files import MOST_CAPACITY, load_prices
from iotrace.analysis.cost.prices import PriceList
from iotrace.analysis.cost.queues import Point
from iotrace.analysis.cost.show import print_source
from iotrace.analysis.cost.source_text import SourceTables, source_tables
from iotrace.errors import UsageError
from iotrace.terminal import console, paragraph, printable
from iotrace.units import parse_capacity

_EXACT: Final = msgspec.json.Encoder(decimal_format="number")
_MANY: Final[dict[str, Any]] = {"negative": (), "consume_multiple": False}
_MOST_QUEUES: Final = 10**9


def cost(
    *results: Path,
    size: str | None = None,
    instance: Annotated[list[str] | None, Parameter(name=("--instance", "--node"), **_MANY)] = None,
    storage: Annotated[list[str] | None, Parameter(**_MANY)] = None,
    term: str = "reserved-1yr",
    capacity: str | None = None,
    queues: int | None = None,
    work: str = "1",
    set: Annotated[list[str] | None, Parameter(**_MANY)] = None,
    units: int | None = None,
    datasets: float | None = None,
    retention: int | None = None,
    archive: int | None = None,
    storages: Path | None = None,
    prices: Path | None = None,
    plot: Path | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Say what queue runs and storages cost.

    Without results it works the tables of the WEKA reference architecture (July 2023) out again from its times and
    prices, and says where they differ from what is printed. With results it makes the same tables of them: each mount
    of each result stands for one storage. With --size it makes them by the model of iotrace size, for a workload on
    nodes and storages that nobody has to have.

    ```
    iotrace cost
    iotrace cost R1.ioresult R2.ioresult --instance g5.4xlarge --storage fsx-lustre-500 --storage weka-i3en-8
    iotrace cost --size reference-architecture --node g5.4xlarge --storage fsx-lustre-500 --storage weka-i3en
    ```

    Each figure says whether it is measured, printed, recomputed (arithmetic on printed figures) or modelled. All end
    with speed against cost: which choices no other one beats in time and in cost.

    Parameters
    ----------
    results
        Folders of results, NAME.ioresult.
    size
        A workload that iotrace profile list names, or the path of a .toml: all figures are modelled, none measured.
    instance
        The instance that the results ran on, of the price list: one for all, or one for each mount in order. With
        --size: the nodes that run jobs, by default all that have a price.
    storage
        The storage of each mount in order; the first on an instance is what the others are compared with. With --size:
        one of iotrace size --list, or of the price list; by default fsx-lustre-500 and weka-i3en.
    term
        How instances are bought: a name of the price list, such as on-demand or reserved-1yr.
    capacity
        What each storage shall hold, with its unit, such as 35TB or 35TiB; it is sized to what is on sale.
    queues
        Queue runs a month: adds what a month costs with instances and storage, and a queue's part of it. With --size
        a month is there always, with a queue for each data set by default, and a data set for each of --queues.
    work
        A queue is so many times the work that was replayed; its time is then modelled.
    set
        With --size: another value for a number of the workload, as in users=40; may be given again.
    units
        With --size: so many units (servers, 1200 GiB) of each storage; by default as many as the workload needs.
    datasets
        With --size: data sets that come each month; by default one for each of --queues, else for each user.
    retention
        With --size: months for which a data set and what was made of it stays on the storage; by default 3.
    archive
        With --size: months for which it is kept elsewhere after that, at the archive's price in the list; by default 0.
    storages
        With --size: storages and nodes of your own (.toml), such as what iotrace size --fit wrote.
    prices
        A price list of your own (.toml), on top of the shipped one.
    plot
        Write a picture, .png or .svg: time and cost of a queue, and speed against cost.
    force
        Let --plot replace a file.
    json
        Print one JSON object: US dollars to the cent, shares in percent to 0.01, times in s, capacities in bytes.
    """
    if plot is not None:
        from iotrace.analysis.cost.plots import check_target

        check_target(plot, force)
    if queues is not None and not 1 <= queues <= _MOST_QUEUES:
        raise UsageError(f"--queues {queues}: how many a month, at least 1.")
    given = {
        "--set": set, "--units": units, "--datasets": datasets, "--retention": retention, "--archive": archive,
        "--storages": storages,
    }  # fmt: skip
    for option, value in given.items():
        if size is None and value is not None:
            raise UsageError(f"{option} goes with --size WORKLOAD.")
    listed = load_prices(prices)
    out = console()
    if size is not None:
        from iotrace.analysis.cost.modelled import Question, modelled_tables
        from iotrace.analysis.cost.show_modelled import print_modelled
        from iotrace.analysis.sizing.storages import load_catalogue
        from iotrace.profiles.numbers import given_numbers

        if results:
            raise UsageError(f"--size is a model's answer, and {printable(str(results[0]))} a result: one of them.")
        if capacity is not None or work != "1":
            option = "--work" if capacity is None else "--capacity"
            raise UsageError(
                f"{option} goes with results; with --size the workload, --datasets and --retention say it."
            )
        question = Question(
            size, given_numbers(set or []), units, datasets, 3 if retention is None else retention, archive or 0
        )
        made = modelled_tables(question, instance or [], storage or [], listed, term, load_catalogue(storages), queues)
        months, points, queues = made.months, made.points, made.queues if made.months else None
        if json:
            print_json(made.to_json())
        else:
            print_modelled(made, out)
        what = f"Modelled: {made.rows[0].answer.case.workload.title}"
    elif results:
        from iotrace.analysis.cost.own import own_tables
        from iotrace.analysis.cost.show_own import print_own

        needed = None if capacity is None else parse_capacity(capacity)
        if needed is not None and not 0 < needed <= MOST_CAPACITY:
            raise UsageError(f"--capacity {capacity}: above 0 and at most 1000 PiB, such as 35TB.")
        own = own_tables(results, instance or [], storage or [], listed, term, needed, _factor(work))
        months, points = _months(own.points, own.purchases, listed, term, queues)
        if json:
            print_json(own.to_json() | _months_json(months, points))
        else:
            print_own(own, months, points, out)
        what = "Own results"
    else:
        for option, given in (("--instance", instance), ("--storage", storage), ("--capacity", capacity)):
            if given:
                raise UsageError(
                    f"{option} goes with results: give the folders (NAME.ioresult) that it is about"
                    + (", or --size WORKLOAD." if option != "--capacity" else ".")
                )
        if work != "1":
            raise UsageError("--work goes with results: give the folders (NAME.ioresult) that it is about.")
        tables = source_tables(listed, term)
        months, points = _months(tables.points, _benchmarked(tables), listed, term, queues)
        if json:
            print_json(tables.to_json() | _months_json(months, points))
        else:
            print_source(tables, months, points, out)
        what = f"{tables.printed.title}, {tables.printed.date}"
    if plot is not None:
        from iotrace.analysis.cost.plots import save_picture

        kinds = " and ".join(dict.fromkeys(point.provenance for point in points))
        with_it = (
            f"; costs hold {held_by(months)} at {queues:,} queues a month"
            if queues
            else "; costs are of instances alone"
        )
        save_picture(points, f"{what}\n{kinds}, {term}{with_it}", plot)
        if not json:
            paragraph(out, f"wrote {printable(str(plot))}")


def print_json(figures: dict[str, Any]) -> None:
    """One object on standard output, in ASCII as other commands' is; decimal numbers stay exact."""
    text = _EXACT.encode(figures).decode()
    # outside ASCII are only characters within strings
    print(re.sub(r"[^\x00-\x7e]", lambda found: json_module.dumps(found[0])[1:-1], text))


def _months(
    points: list[Point], bought: Sequence[Purchase], prices: PriceList, term: str, queues: int | None
) -> tuple[list[QueueMonth], list[Point]]:
    """Months of the choices, and the choices with their storage where there are months."""
    if queues is None:
        return [], points
    months = queue_months(points, bought, prices, term, queues)
    return months, with_storage(months)


def _months_json(months: Sequence[QueueMonth], points: Sequence[Point]) -> dict[str, Any]:
    if not months:
        return {}
    return {
        "queue_months": [month.to_json() for month in months],
        "speed_against_cost": [point.to_json() for point in points],
    }


def _benchmarked(tables: SourceTables) -> list[Purchase]:
    """The storages of Table 1, at what can be bought."""
    return [purchase(tables.prices, name) for name in (tables.printed.baseline, tables.printed.candidate)]


def _factor(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("nan")
    if not value.is_finite() or not 0 < value <= 10**9:
        raise UsageError(f"--work {text}: a factor above 0, such as 2000 for a replay of 1/2000 of a queue.")
    return value
