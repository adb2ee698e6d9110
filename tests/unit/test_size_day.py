"""Throughput by the hour of the day: days of a run laid on each other."""

import numpy as np
import pytest

from iotrace.analysis.sizing.answer import answer
from iotrace.analysis.sizing.day import DAY_S, SLOTS, folded
from iotrace.analysis.sizing.kernels import events as e
from iotrace.analysis.sizing.plots import throughput
from iotrace.analysis.sizing.questions import Case, Keeping
from iotrace.analysis.sizing.storages import load_catalogue
from iotrace.profiles.model import Workload, load

HOUR = 3600.0


def timeline(*rows: tuple[float, float]) -> np.ndarray:
    """Rows of so many hours with a rate of reads, one after the other."""
    made = np.zeros((len(rows), e.TIMELINE_FIELDS))
    made[:, e.LENGTH] = [hours * HOUR for hours, _ in rows]
    made[:, e.START] = np.append(0, np.cumsum(made[:-1, e.LENGTH]))
    made[:, e.READ_RATE] = [rate for _, rate in rows]
    return made


def test_days_are_laid_on_each_other_with_their_median_and_range() -> None:
    # two days and a half: from 0 to 1 o'clock 10, 30, 20; from 23 to 1 o'clock of the third day 20
    made = folded(timeline((1, 10), (23, 0), (1, 30), (22, 4), (2, 20), (11, 0)), e.READ_RATE)
    assert made is not None
    assert made.days == 3
    hour = SLOTS // 24
    assert (made.least[:hour].tolist(), made.median[:hour].tolist(), made.most[:hour].tolist()) == (
        pytest.approx([10] * hour), pytest.approx([20] * hour), pytest.approx([30] * hour),
    )  # fmt: skip
    # in the morning 0, 4, 0; in the evening there is no third day
    assert made.median[2 * hour] == pytest.approx(0)
    assert made.median[20 * hour] == pytest.approx(2)
    assert made.most[-1] == pytest.approx(20)


def test_a_quarter_of_an_hour_has_the_mean_of_its_rates_and_nothing_is_lost() -> None:
    rows = timeline((0.1, 50), (0.3, 7), (20.05, 1), (3.55, 9))
    made = folded(rows, e.READ_RATE)
    assert made is not None
    assert made.median[0] == pytest.approx((0.1 * 50 + 0.15 * 7) / 0.25)
    assert made.median.sum() * DAY_S / SLOTS == pytest.approx(rows[:, e.READ_RATE] @ rows[:, e.LENGTH])
    # what there is of a last quarter counts, were it a second
    longer = folded(timeline((24, 1), (1 / 3600, 8)), e.READ_RATE)
    assert longer is not None
    assert (longer.days, longer.most[0], longer.most[1]) == (2, pytest.approx(8), pytest.approx(1))


def test_less_than_a_day_is_no_day() -> None:
    assert folded(timeline((23.99, 1)), e.READ_RATE) is None


@pytest.mark.parametrize(("movies", "said"), [(2756, "hour of the day"), (50, "shorter than a day")])
def test_the_picture_is_of_the_day_or_says_that_the_run_is_shorter(movies: int, said: str) -> None:
    catalogue = load_catalogue()
    case = Case(
        load(Workload, "reference-architecture"), "reference", catalogue.node("reference"), "nfs-server",
        catalogue.storage("nfs-server"), {"movies": movies, "users": 10, "live": 0, "particles": 500 * movies},
    )  # fmt: skip
    picture = throughput(answer(case, 1, Keeping(), search=False))
    assert said in picture.svg + picture.caption
    assert ("laid on each other" in picture.caption) == (movies > 1000)
