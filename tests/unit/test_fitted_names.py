"""Names of classes in a fitted recipe: digits that all files share stay, those that differ are the file's number."""

from __future__ import annotations

import pandas as pd
import pytest

from iotrace.profiles.classes import classes_of
from iotrace.profiles.naming import paths_of


@pytest.mark.parametrize(
    ("names", "path"),
    [
        # a job's folder is one, and the detector's gain is that of its mode
        (("J7/mode2/m1_v3.mrc", "J7/mode2/m2_v3.mrc"), "J7/mode2/m{n}_v3.mrc"),
        (("J7/run.out", "J8/run.out"), "J{n}/run.out"),
        (("J7/m1_f5.mrc", "J7/m2_f6.mrc"), "J7/m0_f{n}.mrc"),
        # one name, made anew
        (("J7/run2.out", "J7/run2.out"), "J7/run2_{n}.out"),
        (("run.out", "run.out"), "run_{n}.out"),
        # names that differ in more than digits
        (("J7/a1.star", "J7/b1.star", "J7/c1.star", "J7/dd.star"), "J7/{n}.star"),
        (("J7/a#1.star", "J7/a#2.star"), "J7/a0{n}.star"),
    ],
)
def test_a_class_keeps_the_digits_that_all_of_its_files_have(names: tuple[str, ...], path: str) -> None:
    mine = pd.DataFrame(
        {
            "text": [f"/data/{name}" for name in names], "type": "file", "existed": True, "size": 10.0,
            "entries": float("nan"),
        }
    )  # fmt: skip
    class_of, classes = classes_of(mine, ["/data"])
    assert (len(classes), classes[0]["count"]) == (1, len(names))
    assert set(class_of.values()) == {0}
    assert paths_of(classes) == [path]
