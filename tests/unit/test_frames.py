"""The Python face refuses what makes no sense in one line, and gives the columns that it names."""

from pathlib import Path

import pytest
from builders import TraceBuilder

import iotrace
from iotrace.errors import UsageError


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    b = TraceBuilder()
    for number in range(10):
        b.named("newfstatat", f"f{number}")
    return b.save(tmp_path / "t.iotrace")


@pytest.mark.parametrize("bins", [0, -3])
def test_a_recording_is_cut_into_one_slice_or_more(trace: Path, bins: int) -> None:
    assert iotrace.timeline(trace, 1)["calls"].sum() == 10
    with pytest.raises(UsageError, match="1 or more"):
        iotrace.timeline(trace, bins)


def test_a_limit_below_nothing_is_no_damaged_trace(trace: Path) -> None:
    with pytest.raises(UsageError, match="limit -1"):
        iotrace.table(trace, "file", -1)


@pytest.mark.parametrize("units", [0, -1])
def test_a_storage_has_one_unit_or_more(units: int) -> None:
    with pytest.raises(UsageError, match="1 or more"):
        iotrace.size("single-user", units=units)


def test_sizing_for_no_storage_has_the_columns_all_the_same() -> None:
    assert {"node", "storage", "structure_h", "job_h"} <= set(iotrace.size("single-user", []).columns)


def test_nothing_to_compare_is_said_without_a_hole_in_the_sentence() -> None:
    with pytest.raises(UsageError, match=r"nothing to compare\. Give"):
        iotrace.compare()
