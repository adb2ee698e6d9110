"""Recipes that nobody should have written: each is refused in one line that says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from recipes import GOOD

from iotrace.errors import UsageError
from iotrace.profiles.model import DataSet, Profile, Workload, is_workload, load, read
from iotrace.profiles.needs import needs_of
from iotrace.profiles.numbers import numbers_of
from iotrace.profiles.synthesise import synthesise
from iotrace.profiles.totals import totals_of

WORKLOAD = """
name = "w"
title = "W"
about = "Some users."
dataset = "own"
[numbers]
users = { value = 2, unit = "users", source = "somewhere" }
lanes = { value = 1, unit = "jobs", source = "somewhere" }
[steps.import]
profile = "import-movies"
"""


def planned(kind: type[Any], text: str) -> None:
    recipe: Any = read(kind, text, "x.toml")
    if kind is Workload:
        needs_of(recipe)
    else:
        totals_of(recipe, numbers_of(recipe, load(DataSet, "own")))


def refused(kind: type[Any], text: str) -> str:
    with pytest.raises(UsageError) as raised:
        planned(kind, text)
    said = str(raised.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e18", "1" + "0" * 400])
def test_a_number_that_counts_nothing_is_refused_with_its_key(value: str) -> None:
    for more in ("", ", scales = true"):
        said = refused(Profile, GOOD.replace("value = 3", f"value = {value}{more}"))
        assert said.startswith("x.toml: numbers.n.value: a number from 0 to 1e+18")
    said = refused(Workload, f"{WORKLOAD}set = {{ movies = {value} }}\n")
    assert said.startswith(("x.toml: steps.import.set.movies: a number from 0", "x.toml: steps.import.set[*]: Number"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('actions = [{ do = "read", file = "f", chunk = "n" }]', "actions = []", "phases[0].actions: at least one"),
        ('{ do = "read", file = "f", chunk = "n" }', '{ do = "think", seconds = "n" }', "p: nothing but think time"),
        (
            "[[phases]]", 'g = { path = "./J1//{n}.mrc", count = "n" }\n[[phases]]',
            "files.g.path: files.f has the same",
        ),
        ("[numbers]", "a = " + "[" * 5000 + "]" * 5000 + "\n[numbers]", "something in it is too deep"),
    ],
)  # fmt: skip
def test_a_recipe_that_does_nothing_or_twice_the_same_is_refused(old: str, new: str, said: str) -> None:
    assert said in refused(Profile, GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('profile = "import-movies"', 'profile = "import-movies"\nset = { bx = 3 }', "import.set.bx: there is no"),
        ('profile = "import-movies"', 'profile = "import-movies"\nset = { movies = 0.2 }', "set.movies=0.2: how many"),
        ('[steps.import]\nprofile = "import-movies"', "[steps]", "x.toml: steps: at least one"),
        ("[numbers]", '[numbers]\narrival_seconds = { value = 1e17, source = "s" }', "the last user comes after"),
    ],
)
def test_a_workload_that_makes_no_sense_is_refused(old: str, new: str, said: str) -> None:
    assert needs_of(read(Workload, WORKLOAD, "x.toml")).total_jobs == 2
    assert said in refused(Workload, WORKLOAD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'value = 3, source = "somewhere"',
            'value = 3, sorce = "here"',
            "numbers.n: Object contains unknown field",
        ),
        ("value = 3", "value = [3]", "x.toml: numbers.n.value: Expected `int | float | str`, got `array`"),
        ('path = "J1/{n}.mrc"', "path = 7", "x.toml: files.f.path: Expected `str`, got `int`"),
        ("[numbers]", "numbers = 3\n[other]", "x.toml: "),
        ('do = "read"', 'do = "read", fast = true', "phases[0].actions[0]: Object contains unknown field `fast`"),
    ],
)
def test_what_is_wrong_is_told_with_its_name(old: str, new: str, said: str) -> None:
    assert said in refused(Profile, GOOD.replace(old, new, 1))


def test_a_recipe_without_phases_is_refused() -> None:
    text = GOOD[: GOOD.index("[numbers]")] + "phases = []\n" + GOOD[GOOD.index("[numbers]") :]
    assert "x.toml: phases: at least one" in refused(Profile, text[: text.index("[[phases]]")])


def test_a_workload_is_one_however_its_steps_are_written(tmp_path: Path) -> None:
    texts = {
        "table": WORKLOAD, "spaces": WORKLOAD.replace("[steps.import]", "[ steps . import ]"),
        "dotted": 'steps.import.profile = "import-movies"\n' + WORKLOAD.split("[steps")[0], "broken": WORKLOAD + "[",
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text)
        assert is_workload(tmp_path / f"{name}.toml"), name
    (tmp_path / "p.toml").write_text(GOOD)
    assert not is_workload(tmp_path / "p.toml")


def test_a_job_that_lasts_longer_than_times_can_tell_is_not_written(tmp_path: Path) -> None:
    given = {"seconds_a_movie": 1e7}
    with pytest.raises(UsageError, match="more than 37 years"):
        synthesise(load(Profile, "patch-motion-correction"), load(DataSet, "own"), tmp_path / "T.iotrace", given=given)
    assert not (tmp_path / "T.iotrace").exists()
