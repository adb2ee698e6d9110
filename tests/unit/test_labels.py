"""Labels of processes: what texts tell, how evidence ranks, and what a child makes of files that anyone wrote."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotrace.errors import TraceError
from iotrace.record.label_book import READS, WORKS_IN, WRITES, Facts, LabelBook
from iotrace.record.label_child import (
    JSON_LIMIT,
    PROJECT,
    TYPE,
    read_regular,
    slurm_job_of_cgroup,
    words_of_job,
    words_of_project,
)
from iotrace.record.label_reader import RESTARTS, LabelReader
from iotrace.record.labels import STEPS, job_folders, job_of_command, job_of_slurm_name, slurm_job_of, step_of
from iotrace.record.relabel import relabel
from iotrace.trace.info import TraceInfo
from iotrace.trace.reader import open_trace
from iotrace.trace.writer import TraceWriter

WORKER = [
    "/opt/cryosparcw",
    "run",
    "--project",
    "P1",
    "--job",
    "J6",
    "--master_hostname",
    "h",
    "--master_command_core_port",
    "39002",
]


def book() -> LabelBook:
    """A book whose reader never starts: what folders say, the tests enter as its answers."""
    return LabelBook(LabelReader())


def says(project: str | None = None, job_type: str | None = None) -> dict[str, Any]:
    return {"is_job": True, "project": project, "job_type": job_type}


def test_a_worker_is_known_by_its_command_line() -> None:
    assert job_of_command(WORKER) == ("P1", "J6")
    assert job_of_command(["sh", "-c", "/x/cryosparcw run --project P2 --job=J9 > log"]) == ("P2", "J9")


def test_other_programs_with_the_same_options_are_not() -> None:
    assert job_of_command(["make", "--project", "P1", "--job", "J6"]) == (None, None)


def test_slurm_variables_count_only_in_their_form() -> None:
    assert job_of_slurm_name({"SLURM_JOB_NAME": "cryosparc_P5_J8"}) == ("P5", "J8")
    assert job_of_slurm_name({"SLURM_JOB_NAME": "bash"}) == (None, None)
    assert slurm_job_of({"SLURM_JOB_ID": "4711_3"}) == "4711_3"
    assert slurm_job_of({"SLURM_JOB_ID": "x;y"}) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0::/system.slice/slurmstepd.scope/job_123/step_0/user/task_0\n", "123"),
        ("0::/system.slice/node7_slurmstepd.scope/job_9/step_batch\n", "9"),
        ("5:memory:/slurm/uid_1000/job_45/step_0\n1:name=systemd:/x\n", "45"),
        ("4:freezer:/slurm_node7/uid_0/job_6\n", "6"),
        ("0::/user.slice/job_7\n", None),
        ("0::/slurmstepd.scope/job_x\n", None),
        ("", None),
    ],
)
def test_a_control_group_names_the_slurm_job(text: str, found: str | None) -> None:
    assert slurm_job_of_cgroup(text) == found


def test_job_folders_are_whole_names_on_absolute_paths_innermost_first() -> None:
    assert job_folders("/p/CS-x/J6/motion/a.mrc") == ["/p/CS-x/J6"]
    assert job_folders("/S1/x/J2") == ["/S1/x/J2", "/S1"]
    assert job_folders("/p/CS-x/J6/../J7/a") == ["/p/CS-x/J7"]
    for path in ("J6/a", "/p/J6x/a", "/p/xJ6/a", "/p/J/a", "/proc/1/J6/a", "/p/J6\0/a", ""):
        assert job_folders(path) == []


def test_steps_are_the_twelve_and_other_types_stand_for_themselves() -> None:
    assert len(set(STEPS.values())) == 12
    assert step_of("class_2D_new") == step_of("class_2D") == "2D Classification"
    assert step_of("var_3D") == "var_3D"
    assert step_of(None) is None


def test_an_ancestors_command_line_ranks_before_a_slurm_name_and_that_before_folders() -> None:
    labels = book()
    labels.began(0, None)
    labels.executed(0, WORKER, {}, None)
    labels.began(1, 0)
    labels.executed(1, ["python"], {"SLURM_JOB_NAME": "cryosparc_P5_J8", "SLURM_JOB_ID": "7"}, "/x/J9")
    labels.began(2, None)
    labels.executed(2, ["python"], {"SLURM_JOB_NAME": "cryosparc_P5_J8"}, "/x/J9")
    labels.take([("/x/J9", says("P3", "sharpen"))])
    found = labels.changes()
    assert found[1] == {"project": "P1", "job": "J6", "slurm_job": "7"}
    assert found[2] == {"project": "P5", "job": "J8"}


def test_a_working_folder_ranks_before_a_written_one_and_that_before_read_ones() -> None:
    labels = book()
    for process in range(4):
        labels.began(process, None)
    labels.uses(0, "/p/J1/a", READS)
    labels.uses(0, "/p/J2/a", WRITES)
    labels.uses(0, "/p/J3", WORKS_IN)
    labels.uses(1, "/p/J1/a", READS)
    labels.uses(1, "/p/J2/a", WRITES)
    labels.uses(2, "/p/J1/a", READS)
    labels.uses(3, "/p/J1/a", READS)
    labels.uses(3, "/p/J2/a", READS)
    assert labels.changes() == {}
    labels.take([(f"/p/J{n}", says("P1")) for n in (1, 2, 3)])
    assert {process: found["job"] for process, found in labels.changes().items()} == {0: "J3", 1: "J2", 2: "J1"}


def test_late_labels_reach_descendants_that_have_none_and_no_others() -> None:
    labels = book()
    labels.began(0, None)
    labels.began(1, 0)
    labels.began(2, 1)
    labels.began(3, 0)
    labels.executed(3, WORKER, {}, None)
    labels.uses(0, "/p/J2/a", WRITES)
    labels.take([("/p/J2", says("P7", "sharpen"))])
    found = labels.changes()
    assert {number: found[number]["job"] for number in found} == {0: "J2", 1: "J2", 2: "J2", 3: "J6"}
    labels.began(4, 2)
    assert labels.changes() == {}  # a fork is its parent
    labels.keep_only([4])
    labels.told(4, Facts(user="ann", uid=7))
    assert labels.changes() == {4: {**found[2], "user": "ann"}}


def test_the_type_of_a_job_comes_from_the_folder_of_its_own_project_only() -> None:
    labels = book()
    labels.began(0, None)
    labels.executed(0, WORKER, {}, "/other/J6")
    labels.take([("/other/J6", says("P9", "sharpen"))])
    assert labels.changes() == {0: {"project": "P1", "job": "J6"}}
    labels.take([("/mine/J6", says("P1", "homo_abinit"))])
    assert labels.changes()[0]["step"] == "Ab-initio Reconstruction"


def test_slurms_user_ranks_before_the_owner() -> None:
    labels = book()
    labels.began(0, None)
    labels.told(0, Facts({"SLURM_JOB_USER": "ann"}, "root", 0, None, "12"))
    assert labels.changes() == {0: {"user": "ann", "slurm_job": "12"}}


def test_an_answer_of_another_form_is_not_believed() -> None:
    labels = book()
    labels.uses(0, "/p/J6/a", WRITES)
    labels.take([("/p/J6", says("<script>", "a b")), (0, {}), ("/p/J7", {})])
    assert labels.changes() == {0: {"job": "J6"}}


def test_both_versions_of_job_json_are_read() -> None:
    assert words_of_job(b'{"job_type": "class_2D", "project_uid": "P3"}') == ("P3", "class_2D")
    assert words_of_job(b'{"spec": {"type": "homo_abinit", "params": {}}}') == (None, "homo_abinit")
    assert words_of_project(b'{"uid": "P77", "x": [1]}') == "P77"


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20) | st.sampled_from(["P1", "sharpen"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["job_type", "spec", "type", "uid", "project_uid", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(value=_JSON, cut=st.integers(0, 200), junk=st.binary(max_size=8))
def test_no_file_breaks_the_parsers_and_only_words_of_a_known_form_leave(value: Any, cut: int, junk: bytes) -> None:
    whole = json.dumps(value).encode()
    for data in (whole, whole[:cut], whole[:cut] + junk + whole[cut:], junk):
        project, job_type = words_of_job(data)
        assert project is None or PROJECT.fullmatch(project)
        assert job_type is None or TYPE.fullmatch(job_type)
        uid = words_of_project(data)
        assert uid is None or PROJECT.fullmatch(uid)


@given(st.lists(st.text(max_size=30), max_size=6), st.text(max_size=60), st.text(max_size=60))
def test_no_text_breaks_what_reads_command_lines_paths_and_control_groups(
    arguments: list[str], text: str, path: str
) -> None:
    job_of_command(arguments)
    job_of_command(["cryosparcw", "--project", text, "--job", *arguments])
    job_of_slurm_name({"SLURM_JOB_NAME": text})
    slurm_job_of_cgroup(text)
    for folder in job_folders(path) + job_folders(f"/{path}/J6/{text}"):
        assert folder.startswith("/")
        assert folder.rpartition("/")[2][0] in "JS"


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"job_type": 5}', b'{"job_type": "a\\nb"}', b'{"spec": []}',
     b'{"spec": {"type": ["x"]}}', b"[" * 100_000, b'{"x": ' + b"[" * 1_000_000, b'{"job_type": "<script>"}',
     b'{"job_type": "' + b"x" * 1000 + b'"}', b'{"spec": {"type": "\xff"}}'],
)  # fmt: skip
def test_a_job_json_of_any_content_gives_no_word_and_no_error(data: bytes) -> None:
    assert words_of_job(data) == (None, None)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "huge", "missing"])
def test_only_small_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "job.json"
    real = tmp_path / "real.json"
    real.write_text('{"job_type": "x"}')
    if kind == "link":
        path.symlink_to(real)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        with path.open("wb") as file:
            file.write(b'{"job_type": "x"}')
            file.truncate(JSON_LIMIT + 1)
    folder = os.open(tmp_path, os.O_PATH)
    try:
        assert read_regular(folder, "job.json") is None
        assert read_regular(folder, "real.json") == b'{"job_type": "x"}'
    finally:
        os.close(folder)


def test_a_reader_answers_for_folders_and_live_processes_and_ends(tmp_path: Path) -> None:
    job = tmp_path / "CS-\udcff" / "J5"
    job.mkdir(parents=True)
    (job / "job.json").write_text('{"job_type": "sharpen"}')
    (job.parent / "project.json").write_text('{"uid": "P4"}')
    reader = LabelReader()
    reader.ask_folder(str(job), None)
    reader.ask_folder(str(tmp_path), None)
    reader.ask_process(3, os.getpid(), True)
    reader.ask_process(4, 1 << 30, True)
    answers = dict(reader.last_answers(10))
    reader.close()
    assert answers[str(job)] == {"is_job": True, "project": "P4", "job_type": "sharpen"}
    assert answers[str(tmp_path)] == {"is_job": False, "project": None, "job_type": None}
    assert answers[3]["uid"] == os.getuid()
    assert answers[3]["arguments"]
    assert answers[4]["uid"] is None
    assert (reader.waiting, reader.unseen()) == (0, [])


def test_a_reader_that_dies_is_begun_anew_and_not_for_ever(tmp_path: Path) -> None:
    reader = LabelReader()
    for number in range(RESTARTS + 3):
        reader.ask_process(number, os.getpid(), False)
        answer = dict(reader.last_answers(10)).get(number)
        assert bool(answer) == (number <= RESTARTS)
        if reader.child_pid is not None:
            os.kill(reader.child_pid, 9)
            time.sleep(0.05)
    reader.close()
    assert [sentence for sentence in reader.unseen() if "too often" in sentence]


def test_a_mount_that_hangs_is_asked_once_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "J5").mkdir()
    (tmp_path / "J5" / "job.json").write_text('{"job_type": "sharpen"}')
    reader = LabelReader(["/", "/mnt/dead"])
    reader.ask_process(0, os.getpid(), False)
    reader.last_answers(10)
    assert reader.child_pid is not None
    os.kill(reader.child_pid, signal.SIGSTOP)  # as the kernel would hold it
    for name in ("/mnt/dead/CS-a/J1", "/mnt/dead/CS-a/J2", "/mnt/dead/CS-b/J3", str(tmp_path / "J5")):
        reader.ask_folder(name, None)
    answers = dict(reader.last_answers(20))
    assert reader.hung == ["/mnt/dead/CS-a/J1"]
    assert [answers[name] for name in ("/mnt/dead/CS-a/J2", "/mnt/dead/CS-b/J3")] == [{}, {}]
    assert answers[str(tmp_path / "J5")]["job_type"] == "sharpen"
    reader.close()


def test_what_reads_labels_gives_way_to_jobs_whatever_priority_the_recorder_has() -> None:
    code = (
        "import os, time; from iotrace.record.label_reader import LabelReader; os.setpriority(os.PRIO_PROCESS, 0, {0});"
        "reader = LabelReader(); reader.ask_process(0, os.getpid(), False); reader.last_answers(10);"
        "print(os.getpriority(os.PRIO_PROCESS, reader.child_pid)); reader.close()"
    )
    own = -20 if os.geteuid() == 0 else 0
    said = subprocess.run([sys.executable, "-c", code.format(own)], capture_output=True, text=True, check=True).stdout
    assert int(said) == 5


def test_a_recording_that_was_cut_off_is_labelled_with_its_tail_and_one_that_goes_on_is_not(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "t.iotrace", TraceInfo())
    row = {"process": 0, "pid": 5, "start_ns": 0, "arguments": WORKER}
    writer.append_rows("processes", [row, {"process": 1, "pid": 6, "start_ns": 1, "parent": 0}])
    writer.flush()
    with pytest.raises(TraceError, match="still being recorded"):
        relabel(open_trace(writer.folder))
    for tail in writer.folder.glob("*/_tail-*"):
        os.utime(tail, (0, 0))
    found = relabel(open_trace(writer.folder))
    assert (found.changed, found.unseen) == (2, [])
    processes = open_trace(writer.folder).processes()
    assert processes.pid.tolist() == [5, 6]
    assert processes.job.tolist() == ["J6", "J6"]
