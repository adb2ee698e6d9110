"""An anonymised trace names nothing of the original, and a replay of it does what a replay of the original does."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from builders import TraceBuilder
from commands import Command, Forked

from iotrace.errors import TraceError
from iotrace.record.session import record
from iotrace.replay.fidelity import compare_recording
from iotrace.replay.plan import build_plan
from iotrace.trace.anonymise import anonymise_trace, read_key
from iotrace.trace.info import INFO_NAME, Mount, read_info, write_info
from iotrace.trace.operations import BY_NAME
from iotrace.trace.reader import open_trace
from iotrace.trace.schema import SCHEMAS
from iotrace.trace.tokens import EXTENSIONS, NAMESPACES, SYSTEM_WORDS

KEY = b"a key for tests, fixed so that no token falls on a name by chance"
PROGRAMS = Path(__file__).parent.parent / "programs"
SHIPPED = ("relion-motion-correction", "relion-particle-extraction")


def shipped(name: str) -> Path:
    return Path(str(resources.files("iotrace.data") / "traces" / f"{name}.iotrace"))


def hand_made(folder: Path, **info: Any) -> Path:
    """A trace with all that can identify: labels, secrets in arguments, links, attributes, odd names."""
    trace = TraceBuilder(cwd="/bigsite/projects/P31/J12")
    trace.processes[0] |= {
        "command": "leadscientist", "arguments": ["cryosparc", "--patientname", "meier"], "cgroup": "/slurm/job_77123",
        "project": "P31", "job": "J12", "job_type": "patch_motion_correction", "step": "motion",
        "user": "leadscientist", "slurm_job": "77123",
    }  # fmt: skip
    for name in ("movies/FoilHole_0001.tif", "movies/FoilHole_0002.eer", "notes.patient", "odd \udcff\n name.mrc", "é"):
        opened = trace.open(name, size=5000)
        trace.read(opened, name, 0, 4096)
        trace.close(opened, name)
    trace.named("stat", "../J12/./movies//FoilHole_0001.tif", file=trace.file("movies/FoilHole_0001.tif"))
    trace.file("latest", type="link", target="movies/FoilHole_0001.tif")
    trace.named("lstat", "latest")
    trace.named("readlink", "latest", "movies/FoilHole_0001.tif", size=4095, result=24)
    trace.named("stat", "latest", file=trace.file("movies/FoilHole_0001.tif"))
    trace.named("symlink", "made-link", "/bigsite/projects/P31/J12/notes.patient", seen=False)
    trace.named("rename", "notes.patient", "archived.patient", file=trace.file("notes.patient"))
    trace.named("setxattr", "archived.patient", "user.hospital", file=trace.file("notes.patient"), size=10)
    trace.named("getxattr", "archived.patient", "security.selinux", file=trace.file("notes.patient"), size=10, result=5)
    trace.missing("stat", "/home/leadscientist/.config.json")
    trace.call("brandnewcall")
    mounts = [
        Mount(1, "/", "ext4", "/dev/mapper/vgbigsite-root", "rw,relatime,errors=remount-ro"),
        Mount(
            2, "/bigsite", "nfs4", "filer.bigsite.example:/export", "rw,vers=4.2,rsize=1048576,addr=10.1.2.3,sec=sys"
        ),
        Mount(3, "/dev/shm", "tmpfs", "tmpfs", "rw,size=1024k,uid=4711"),
        Mount(4, "/run/user/4711", "tmpfs", "tmpfs"),
    ]
    identifying: dict[str, Any] = {
        "host": "worker7.bigsite", "boot_id": "0b1d2c3e-bootid", "kernel": "5.14.0-bigsite.el9",
        "filters": {"fs": "/bigsite"}, "command": ["cryosparc", "bigsite"], "started_utc": "2026-11-23T03:57:08Z",
        "base_monotonic_ns": 987654321987,
        "clock": [(1, 1795406228816697396)], "complete": True, "max_reorder_ns": 5,
        "unseen": ["3 of 9 lines, which were not understood; the first is line 7: open(\"/bigsite/secretfile\""],
    }  # fmt: skip
    return trace.save(folder, mounts, **(identifying | info))


def components(folder: Path) -> set[bytes]:
    """All components of all names of a trace, command lines, labels and other texts, of 4 bytes and more."""
    trace = open_trace(folder)
    texts: set[str | bytes] = set(trace.paths().text) | set(trace.paths().raw) | set(trace.files().target.dropna())
    processes = trace.table("processes").to_pylist()
    for row in processes:
        for value in row.values():
            texts |= {value} if isinstance(value, str) else set(value) if isinstance(value, list) else set()
    info = trace.info
    texts |= {info.host, info.boot_id, info.working_folder, *info.command, info.started_utc}
    texts |= {part for mount in info.mounts for part in (mount.point, mount.source)}
    data = {text.encode() if isinstance(text, str) else text for text in texts}
    parts = {part for text in data for part in text.split(b"/")}
    parts |= {stem for part in parts for stem in part.split(b".")}
    public = SYSTEM_WORDS | EXTENSIONS | {*NAMESPACES, b"tmpfs", b"ext4"}
    return {part for part in parts if len(part) >= 4 and part.lower() not in public}


def everything(folder: Path) -> bytes:
    """All that a trace's folder holds: the bytes of its files, and of its tables all texts, decoded."""
    found = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    trace = open_trace(folder)
    for table in SCHEMAS:
        found += [repr(row).encode() for batch in trace.batches(table) for row in _texts(batch)]
    found += list(trace.paths().raw)
    return b"\n".join(found)


def _texts(batch: pa.RecordBatch) -> Iterator[list[Any]]:
    for field in batch.schema:
        if not pa.types.is_integer(field.type):
            yield batch.column(field.name).to_pylist()


@pytest.mark.parametrize("name", [*SHIPPED, "hand"])
def test_no_component_of_the_original_is_anywhere_in_the_copy(name: str, tmp_path: Path) -> None:
    source = hand_made(tmp_path / "T.iotrace") if name == "hand" else shipped(name)
    anonymise_trace(source, tmp_path / "A.iotrace", KEY)
    found, names = everything(tmp_path / "A.iotrace"), components(source)
    assert len(names) > 20
    # words of the format itself: names of columns, operations, backends
    own = everything_of_an_empty_trace(tmp_path / "E.iotrace")
    assert [name for name in sorted(names) if name in found and name not in own] == []


def everything_of_an_empty_trace(folder: Path) -> bytes:
    trace = TraceBuilder(cwd="/")
    trace.call("sync")
    own = everything(trace.save(folder, host="", command=[]))
    return own + b"".join(SCHEMAS[table].to_string().encode() for table in SCHEMAS) + " ".join(BY_NAME).encode()


def test_what_is_not_a_name_stays_and_what_identifies_goes(tmp_path: Path) -> None:
    source, copy = hand_made(tmp_path / "T.iotrace"), tmp_path / "A.iotrace"
    done = anonymise_trace(source, copy, KEY)
    before, after = open_trace(source), open_trace(copy)
    assert before.info.complete
    assert after.info.complete
    assert after.info == done.info
    for name in ("events", "duration_ns", "max_reorder_ns", "page_size", "memory_bytes", "architecture", "backend"):
        assert getattr(after.info, name) == getattr(before.info, name)
    assert (after.info.host, after.info.boot_id, after.info.command, after.info.filters) == ("", "", [], {})
    assert (after.info.started_utc, after.info.clock, after.info.base_monotonic_ns) == ("", [], 0)
    assert after.info.kernel == "5.14.0"
    assert after.info.unseen == ["3 of 9 lines, which were not understood"]
    assert after.info.anonymised
    assert [mount.source for mount in after.info.mounts] == [""] * 4
    assert [mount.options for mount in after.info.mounts] == [
        "rw,relatime,errors=remount-ro", "rw,vers=4.2,rsize=1048576,sec=sys", "rw,size=1024k", "",
    ]  # fmt: skip
    assert [mount.point for mount in after.info.mounts][::2] == ["/", "/dev/shm"]
    assert after.info.mounts[3].point.startswith("/run/")
    numbers = [field.name for field in SCHEMAS["events"] if field.name != "op"]
    assert after.table("events", numbers) == before.table("events", numbers)
    assert after.table("events", ["op"]).column("op").to_pylist()[-1] == "unknown"
    process = after.table("processes").to_pylist()[0]
    for name in ("command", "arguments", "cgroup", "project", "job", "job_type", "step", "user", "slurm_job"):
        assert process[name] is None
    assert process["cwd"] == after.info.working_folder
    assert [len(raw) for raw in after.paths().raw] == [len(raw) for raw in before.paths().raw]
    assert [raw.count(b"/") for raw in after.paths().raw] == [raw.count(b"/") for raw in before.paths().raw]


def test_steps_and_time_stay_only_where_they_are_asked_for(tmp_path: Path) -> None:
    source = hand_made(tmp_path / "T.iotrace")
    anonymise_trace(source, tmp_path / "A.iotrace", keep_steps=True, keep_time=True)
    made = open_trace(tmp_path / "A.iotrace")
    process = made.table("processes").to_pylist()[0]
    assert (process["step"], process["job_type"], process["job"]) == ("motion", "patch_motion_correction", None)
    assert made.info.started_utc == "2026-11-23T03:57:08Z"
    assert made.info.clock


def test_one_key_gives_two_traces_the_same_tokens_and_no_key_does_not(tmp_path: Path) -> None:
    source, key = hand_made(tmp_path / "T.iotrace"), tmp_path / "key"
    secret, made = read_key(key)
    assert made
    assert key.stat().st_mode & 0o777 == 0o600
    assert read_key(key) == (secret, False)
    copies = [tmp_path / f"{i}.iotrace" for i in range(4)]
    for copy, used in zip(copies, (secret, secret, None, None), strict=True):
        anonymise_trace(source, copy, used)
    texts = [list(open_trace(copy).paths().text) for copy in copies]
    assert texts[0] == texts[1]
    assert texts[2] != texts[0]
    assert texts[2] != texts[3]
    key.write_bytes(b"short")
    with pytest.raises(TraceError, match="holds 5 bytes"):
        read_key(key)


def test_a_trace_that_was_cut_off_stays_incomplete_and_says_what_it_lost(tmp_path: Path) -> None:
    source = hand_made(tmp_path / "T.iotrace")
    info = read_info(source)
    info.complete, info.lost = False, {"read": 3, "of bigsite": 2}
    write_info(source, info)
    done = anonymise_trace(source, tmp_path / "A.iotrace")
    assert not done.info.complete
    assert read_info(tmp_path / "A.iotrace").lost == {"read": 3, "other": 2}


def test_the_command_says_what_it_did_and_what_it_did_not_hide(tmp_path: Path, iotrace: Command) -> None:
    source = hand_made(tmp_path / "T.iotrace")
    done = iotrace("anonymise", source, "-o", tmp_path / "A.iotrace", "--key", tmp_path / "key")
    assert done.returncode == 0, done.stderr
    for text in ("hidden: names of files", "NOT hidden:\n  - sizes", ".eer", "made the key"):
        assert text in done.stdout
    figures = json.loads(iotrace("anonymise", source, "-o", tmp_path / "A.iotrace", "--force", "--json").stdout)
    assert figures["events"] == read_info(source).events
    assert "eer" in figures["kept_extensions"]
    shown = iotrace("summary", tmp_path / "A.iotrace").stdout
    assert "(anonymised)" in shown
    assert "bigsite" not in shown


def test_what_cannot_be_done_is_one_line_and_leaves_nothing(tmp_path: Path, iotrace: Command) -> None:
    source, out = hand_made(tmp_path / "T.iotrace"), tmp_path / "A.iotrace"
    (tmp_path / "link").symlink_to(source)
    other = shutil.copytree(source, tmp_path / "other.iotrace")
    inner = shutil.copytree(source, other / "inner.iotrace")
    shutil.copytree(source, tmp_path / "torn.iotrace")
    part = next((tmp_path / "torn.iotrace" / "events").glob("part-*"))
    part.write_bytes(part.read_bytes()[:-100])
    for words, says in (
        (("nothere", "-o", out, "--key", tmp_path / "k"), "there is no such trace"),
        ((source, "-o", source, "--force"), "is the trace itself"),
        ((source, "-o", tmp_path / "link", "--force"), "is the trace itself"),
        ((source, "-o", source / "A.iotrace"), "lies within the trace"),
        ((tmp_path / "torn.iotrace", "-o", out), "damaged"),
        ((source, "-o", tmp_path, "--force"), "exists and is not a trace"),
        ((source, "-o", other), "exists already"),
        ((inner, "-o", other, "--force"), "holds the trace"),
        ((source, "-o", tmp_path / "no" / "A.iotrace"), "cannot make"),
    ):
        done = iotrace("anonymise", *words)
        assert done.returncode == 1, words
        assert done.stderr.startswith("iotrace: ")
        assert done.stderr.count("\n") == 1
        assert says in done.stderr
        assert not out.exists()
        assert not (tmp_path / "k").exists()
    assert iotrace("anonymise", source).returncode == 2
    assert (source / INFO_NAME).exists()


@pytest.mark.parametrize("size", [0, 60_000])
def test_a_full_disk_is_one_line_and_leaves_nothing(size: int, tmp_path: Path, iotrace: Command) -> None:
    """A file system of the test's own; making one needs root."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    mount = tmp_path / "full"
    mount.mkdir()
    options = f"size={size or 4096}" + ("" if size else ",nr_inodes=3")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", mount], check=False).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        done = iotrace("anonymise", shipped(SHIPPED[0]), "-o", mount / "A.iotrace")
        assert done.returncode == 1
        assert "no space left" in done.stderr.lower()
        assert done.stderr.count("\n") == 1
        assert list(mount.iterdir()) == []
    finally:
        subprocess.run(["umount", mount], check=True)


def test_a_file_system_that_takes_no_more_is_one_line_and_leaves_nothing(tmp_path: Path, iotrace: Command) -> None:
    source = hand_made(tmp_path / "T.iotrace")

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    done = Forked("anonymise", source, "-o", tmp_path / "A.iotrace", first=small).end()
    assert done.returncode == 1
    assert "cannot write the trace" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "A.iotrace").exists()


def assert_same_plan(source: Path, copy: Path) -> None:
    before, after = build_plan(open_trace(source)), build_plan(open_trace(copy))
    assert len(before.rows.op) > 5
    assert after.strings.texts == before.strings.texts
    # compare refuses results of different plans
    assert after.hash == before.hash


@pytest.mark.parametrize("name", [*SHIPPED, "hand"])
def test_the_plan_of_a_replay_is_the_same_so_that_results_compare(name: str, tmp_path: Path) -> None:
    source = hand_made(tmp_path / "T.iotrace") if name == "hand" else shipped(name)
    anonymise_trace(source, tmp_path / "A.iotrace", KEY)
    assert_same_plan(source, tmp_path / "A.iotrace")


def replayed(trace: Path, folder: Path, iotrace: Command) -> dict[str, Any]:
    folder.mkdir()
    done = iotrace("replay", trace, "--fs", folder, "--timing", "asap", "-o", folder / "R.ioresult", "--json")
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    by_op = {op: (row["calls"], row["errors"]) for op, row in figures["by_op"].items()}
    names = ("ops", "errors", "bytes_read", "bytes_written", "fidelity")
    return {name: figures[name] for name in names} | {"by_op": by_op}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_replay_of_the_copy_makes_the_same_calls_with_the_same_results(
    name: str, tmp_path: Path, iotrace: Command
) -> None:
    anonymise_trace(shipped(name), tmp_path / "A.iotrace")
    copied = replayed(tmp_path / "A.iotrace", tmp_path / "a", iotrace)
    assert copied == replayed(shipped(name), tmp_path / "b", iotrace)


@pytest.mark.bpf
@pytest.mark.parametrize("program", ["mixed_io.py", "every_call.py"])
def test_a_fresh_recording_replays_the_same_and_exactly(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "Projekt Süd"
    (work / "movies").mkdir(parents=True)
    random = np.random.default_rng(1)
    for number in range(5):
        (work / "movies" / f"m_{number:03d}.tif").write_bytes(random.bytes(300_000))
    monkeypatch.chdir(work)
    source, copy = tmp_path / "T.iotrace", tmp_path / "A.iotrace"
    assert record([sys.executable, "-S", str(PROGRAMS / program)], source, backend="ebpf").info.complete
    anonymise_trace(source, copy, KEY)
    assert_same_plan(source, copy)
    (tmp_path / "mount").mkdir()
    monkeypatch.chdir(tmp_path)
    replay = [sys.executable, "-m", "iotrace", "replay", str(copy), "--fs", str(tmp_path / "mount"), "--timing", "asap"]
    again = tmp_path / "again.iotrace"
    assert record([*replay, "-o", "R.ioresult", "--json"], again, backend="ebpf").info.complete
    found = compare_recording(build_plan(open_trace(copy)), open_trace(again))
    assert found.differences == []
    assert found.exact
    assert os.path.basename(work).encode() not in everything(copy)
