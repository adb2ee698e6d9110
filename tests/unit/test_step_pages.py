"""The pages of docs/steps say what the program says now, their words hold no figures, their pictures are not stale."""

import dataclasses
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from iotrace.analysis.steps import pages, pictures
from iotrace.analysis.steps.facts import Facts, facts_of, measured, steps, usual_size
from iotrace.data.recordings import recording
from iotrace.errors import StorageError
from iotrace.profiles.model import Profile, names_of
from iotrace.trace.operations import BY_NAME, Kind
from iotrace.trace.reader import open_trace

ROOT = Path(__file__).parent.parent.parent
STEPS = ROOT / "docs" / "steps"
WORDS = sorted((ROOT / "analysis" / "steps").glob("*.md.j2"))
EACH = pytest.mark.parametrize("name", steps())


@cache
def drawn_of(name: str) -> pictures.Drawn:
    return pictures.drawn_of(name)


@cache
def facts(name: str) -> Facts:
    return facts_of(name)


@pytest.fixture(autouse=True, scope="module")
def each_worked_out_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "drawn_of", drawn_of)
        patch.setattr(pages, "facts_of", facts)
        yield


def test_every_recipe_of_a_step_has_a_page_and_no_page_is_left_over() -> None:
    assert {path.stem for path in STEPS.glob("*.md")} == {*names_of(Profile), "README"}
    assert {path.stem for path in STEPS.glob("*.png")} == set(names_of(Profile))


@EACH
def test_the_page_is_what_the_program_writes_now(name: str) -> None:
    assert (STEPS / f"{name}.md").read_text() == pages.page_of(name), "run `make steps`"


def test_the_index_is_what_the_program_writes_now() -> None:
    assert (STEPS / pages.INDEX).read_text() == pages.index(), "run `make steps`"


@EACH
def test_the_picture_shows_the_trace_that_the_recipe_makes_now(name: str) -> None:
    picture = STEPS / f"{name}.png"
    assert pictures.digest_of(picture) == drawn_of(name).digest, "run `make steps`"
    assert picture.stat().st_size <= 100_000


def test_a_picture_of_other_calls_has_another_digest() -> None:
    drawn = drawn_of("select-2d")
    calls = drawn.calls.assign(size=drawn.calls["size"] + 1)
    assert dataclasses.replace(drawn, calls=calls).digest != drawn.digest


def test_a_picture_carries_its_digest(tmp_path: Path) -> None:
    drawn = drawn_of("select-2d")
    (tmp_path / "P.png").write_bytes(pictures.picture_of(drawn))
    assert pictures.digest_of(tmp_path / "P.png") == drawn.digest


@pytest.mark.parametrize("words", WORDS, ids=lambda path: path.name)
def test_words_hold_no_figures_of_their_own(words: Path) -> None:
    text = re.sub(r"\{[{%].*?[}%]\}", "", words.read_text(), flags=re.DOTALL)
    text = re.sub(r"https://\S+|EMPIAR-\d+|\b[23]D\b|`J1/imported`|float16|SHA256SUMS", "", text)
    assert re.findall(r"\d+", text) == []


@EACH
def test_exact_figures_of_a_page_are_those_of_the_plan(name: str) -> None:
    of_step = facts(name)
    text = (STEPS / f"{name}.md").read_text()
    assert f"{of_step.totals.bytes_read:,} bytes read, {of_step.totals.bytes_written:,} bytes written" in text
    for op, count in of_step.totals.calls.items():
        assert f"{op} {count:,}" in text


@EACH
def test_every_number_that_a_page_lists_has_its_source_there(name: str) -> None:
    text = (STEPS / f"{name}.md").read_text()
    of_step = facts(name)
    assert of_step.used
    for number, known in of_step.used.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{number}` |"))
        assert " ".join(known.source.split()) in row
        assert ("| inferred |" in row) == known.inferred


@EACH
def test_a_picture_shows_every_class_of_files_that_the_recipe_uses(name: str) -> None:
    drawn = drawn_of(name)
    profile = facts(name).profile
    named = {used for phase in profile.phases for action in phase.actions for used in (action.file, action.to)}
    assert list(drawn.counts) == [files for files in profile.files if files in named]
    assert drawn.calls["place"].between(0, 1).all()


def test_what_is_copied_into_a_file_counts_as_read_and_as_written() -> None:
    calls = drawn_of("ssd-cache").calls
    copied = calls[calls["kind"] == "copy"]
    assert copied[copied["files"] == "particles"]["bytes_read"].sum() > 1e9
    assert (
        copied[copied["files"] == "cached"]["bytes_written"].sum()
        == copied[copied["files"] == "particles"]["bytes_read"].sum()
    )


def test_half_of_the_bytes_of_random_reads_move_in_boxes() -> None:
    assert usual_size(facts("class-2d"), Kind.READ) == facts("class-2d").value("particle_bytes")
    assert usual_size(facts("ssd-cache"), Kind.WRITE) == facts("ssd-cache").value("stack_bytes")


def test_a_recording_is_measured_as_its_events_say() -> None:
    trace = open_trace(recording("relion-class-2d").trace)
    events = trace.events().merge(trace.paths()[["path", "text"]], on="path")
    own = events[events["text"].str.startswith(trace.info.working_folder + "/")]
    kinds = own["op"].astype(str).map(lambda op: BY_NAME[op].kind)
    found = measured(recording("relion-class-2d"))
    assert found.calls == (kinds != Kind.PROCESS).sum()
    assert found.opens == ((own["op"] == "openat") & (own["result"] >= 0)).sum()
    assert found.locks == (kinds == Kind.LOCK).sum()
    assert found.bytes_read == own["result"][kinds == Kind.READ].clip(lower=0).sum()
    assert found.metadata_share == pytest.approx((kinds == Kind.METADATA).sum() / found.calls)
    read = np.sort(own["result"][(kinds == Kind.READ) & (own["result"] > 0)].to_numpy())[::-1]
    assert found.read_size == read[np.searchsorted(np.cumsum(read), read.sum() / 2)]


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file/steps cannot be written: Not a directory"):
        pages.write_pages(tmp_path / "file" / "steps")
