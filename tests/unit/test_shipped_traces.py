"""The shipped traces are whole, are what their checksums say, and hold nothing of the machine they were made on."""

import re
from pathlib import Path

import pytest

from iotrace.data.recordings import TRACES, Recording, recording, recordings, recordings_of
from iotrace.data.relion import IMPORT, checksums, make_traces
from iotrace.data.synthetic import PIXEL_ANGSTROM
from iotrace.errors import UsageError
from iotrace.profiles.model import Profile, load, names_of
from iotrace.trace.reader import Trace, open_trace

ALL = pytest.mark.parametrize("one", recordings(), ids=lambda one: one.name)
WITHOUT = {"patch-ctf-estimation", "inspect-picks", "live", "microscope"}
"""Steps that no recording stands for: the first needs CTFFIND, the others a person or a microscope."""
SYSTEM = ("/usr", "/lib", "/etc", "/bin", "/sbin", "/tmp", "/selinux")


def opened(one: Recording) -> Trace:
    return open_trace(one.trace)


def test_the_checksums_are_those_of_the_files() -> None:
    assert (TRACES / "SHA256SUMS").read_text() == checksums()


def test_every_trace_is_of_the_table_and_every_row_has_its_trace() -> None:
    assert sorted(folder.name for folder in TRACES.glob("*.iotrace")) == sorted(one.trace.name for one in recordings())


def test_at_least_ten_are_anonymised_and_all_together_are_small() -> None:
    assert sum(bool(opened(one).info.anonymised) for one in recordings()) >= 10
    assert sum(file.stat().st_size for file in TRACES.rglob("*") if file.is_file()) < 5e6


@ALL
def test_a_shipped_trace_is_complete_and_says_what_ran(one: Recording) -> None:
    trace = opened(one)
    assert trace.info.complete
    assert trace.info.exit_status == 0
    assert not any(trace.info.lost.values())
    assert trace.info.command == one.words
    events = trace.events()
    assert trace.info.events == len(events) > 100
    assert (events.result > 0).any()


@ALL
def test_a_shipped_trace_names_no_machine(one: Recording) -> None:
    info = opened(one).info
    assert info.host in ("", "worker")
    assert info.boot_id == ""
    assert re.fullmatch(r"[0-9.]+", info.kernel)
    assert not any(mount.source or mount.options for mount in info.mounts if one.names_kept)


@ALL
def test_names_are_made_up_ones_or_tokens(one: Recording) -> None:
    trace = opened(one)
    texts = trace.paths().text
    if one.names_kept:
        usual = (*SYSTEM, "/scratch/relion", "/scratch", "/")
        assert not [text for text in texts if not text.startswith(usual[:-1]) and text != "/"]
        return
    assert "names of files and folders" in trace.info.anonymised
    words = {word for text in texts for word in Path(text).parts}
    folders = {word for row in recordings() for word in row.folder.split("/")}
    assert not words & (folders | {"Movies", "relion", "libc.so.6"})
    assert not [word for word in words if "movie_0" in word or "run_it" in word]


@ALL
def test_a_recording_is_mapped_to_a_step_or_to_job_types_beside_the_twelve(one: Recording) -> None:
    assert one.job_types
    assert one.alike
    assert one.unlike
    if one.step:
        assert one.step in names_of(Profile)


def test_every_step_has_a_recording_but_those_that_cannot() -> None:
    assert {name for name in names_of(Profile) if not recordings_of(name)} == WITHOUT


@pytest.mark.parametrize("name", sorted(set(names_of(Profile)) - WITHOUT))
def test_a_step_shares_a_job_type_with_a_recording_that_stands_for_it(name: str) -> None:
    keys = {key for one in recordings_of(name) for key in one.job_types}
    assert keys & set(load(Profile, name).job_types)


def test_the_import_tells_relion_the_pixel_size_of_the_synthetic_movies() -> None:
    words = recording("relion-import").words
    assert float(words[words.index("--angpix") + 1]) == PIXEL_ANGSTROM


def test_movies_are_read_by_memory_map_in_the_recordings_that_read_them() -> None:
    for name in ("relion-motion-correction", "relion-polishing"):
        assert (opened(recording(name)).events().op == "mmap.fault").any()


def test_a_recording_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(UsageError, match="no recording is called relion-nothing: there are relion-import, "):
        recording("relion-nothing")


def test_a_shell_leaves_the_pattern_of_the_import_to_relion() -> None:
    assert "'Movies/movie_*'" in IMPORT


def test_traces_are_not_made_in_a_folder_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(UsageError, match="is there already: give a folder that is to be made"):
        make_traces(tmp_path)


def test_without_relion_the_maker_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="relion_import is not installed"):
        make_traces(tmp_path / "new")
    assert not (tmp_path / "new").exists()
