"""`iotrace cost`: prints the source text's Tables 1 to 4 worked out again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter

from iotrace.analysis.cost.prices import load_prices
from iotrace.analysis.cost.show import print_source
from iotrace.analysis.cost.source_text import source_tables
from iotrace.terminal import console

_EXACT: Final = msgspec.json.Encoder(decimal_format="number")


def cost(
    *,
    term: str = "reserved-1yr",
    prices: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Say what queue runs and storages cost.

    It works the tables of the WEKA reference architecture (July 2023) out again from its times and prices, and says
    where they differ from what is printed.

    ```
    iotrace cost
    ```

    Parameters
    ----------
    term
        How instances are bought: a name of the price list, such as on-demand or reserved-1yr.
    prices
        A price list of your own (.toml), on top of the shipped one.
    json
        Print one JSON object: US dollars to the cent, shares in percent to 0.01, times in s, capacities in bytes.
    """
    listed = load_prices(prices)
    made = source_tables(listed, term)
    if json:
        print_json(made.to_json())
        return
    print_source(made, console())


def print_json(figures: dict[str, Any]) -> None:
    """One object on standard output; decimal numbers stay exact."""
    print(_EXACT.encode(figures).decode())
