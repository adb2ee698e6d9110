"""A long recording forgets what is no longer in use; each chapter of its trace can be read by itself."""

import sys
import textwrap
from pathlib import Path

import pytest

from iotrace.record.ebpf import backend
from iotrace.record.session import record
from iotrace.trace.reader import open_trace
from iotrace.trace.writer import TraceWriter

pytestmark = pytest.mark.bpf

PROGRAM = """
    import mmap, os
    os.mkdir("folder"); os.chdir("folder")
    kept = os.open("kept", os.O_RDWR | os.O_CREAT)
    os.ftruncate(kept, 1 << 20)
    mapped = mmap.mmap(kept, 1 << 20)
    for i in range(300_000):
        try:
            os.stat(f"some/longer/name/that/does/not/exist/{i}")
        except OSError:
            pass
        if i % 1000 == 0:
            os.pwrite(kept, b"x", i)
            with open(f"new{i}", "w") as f:
                f.write("y")
            os.stat(f"new{i}")
            if os.fork() == 0:
                os.stat("kept")
                os._exit(0)
            os.wait()
"""


def test_what_stays_in_use_keeps_its_name_through_the_chapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_TABLES_BYTES", 24 << 20)
    monkeypatch.chdir(tmp_path)
    record([sys.executable, "-S", "-c", textwrap.dedent(PROGRAM)], tmp_path / "t.iotrace", backend="ebpf")
    trace = open_trace(tmp_path / "t.iotrace")
    assert len(trace.info.chapters) > 2
    assert trace.info.complete
    events = trace.events()
    here = f"{tmp_path}/folder"
    assert (events.op == "newfstatat").sum() >= 300_000 + 600
    asked = events.path_text.str.startswith(f"{here}/some/longer/name/", na=False)
    missing = events[(events.op == "newfstatat") & (events.result == -2) & asked]
    assert len(missing) == 300_000
    assert missing.path_text.nunique() == 300_000
    writes = events[events.op == "pwrite64"]
    assert len(writes) == 300
    assert set(writes.path_text) == {f"{here}/kept"}
    assert writes.open.nunique() == 1
    assert events.thread[writes.index].nunique() == 1
    assert set(events[events.op == "newfstatat"].path_text) >= {f"{here}/kept", f"{here}/new5000"}
    # in each chapter every name, file and process that an event refers to has its row in that chapter
    starts = [chapter.first["events"] for chapter in trace.info.chapters] + [1 << 30]
    for chapter, end in zip(trace.info.chapters, starts[1:], strict=True):
        # a chapter that another follows at once has no events
        assert chapter.first["events"] <= end
    paths, files = trace.paths(), trace.files()
    assert paths.path.is_unique
    assert files.file.is_unique
    assert events.path.dropna().isin(paths.path).all()
    assert events.file.dropna().isin(files.file).all()
    numbers = files.set_index("file").path_text
    assert {numbers[file] for file in writes.file} == {f"{here}/kept"}
    assert len(trace.processes()) == 301


def test_chapters_go_on_where_the_writer_wants_the_next_one_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_FLUSH_SECONDS", 0.2)
    monkeypatch.setattr(TraceWriter, "wants_chapter", True)
    program = "import os, time\nfor i in range(12): os.stat('/'); time.sleep(0.25)"
    record([sys.executable, "-S", "-c", program], tmp_path / "t.iotrace", backend="ebpf")
    trace = open_trace(tmp_path / "t.iotrace")
    assert trace.info.complete
    # the first one and those of three seconds, of which each takes some looks at what has come
    assert len(trace.info.chapters) > 4
    assert (trace.events().path_text == "/").sum() == 12
