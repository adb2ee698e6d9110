"""The Assembler's state: positions, mappings, descriptors and names follow what the kernel would do."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.trace.assemble import Assembler, Call
from iotrace.trace.assembly.calls import is_device_name, is_pseudo, is_recorded
from iotrace.trace.assembly.identity import File, FileTable, Stat, birth_ns, normalise, printable
from iotrace.trace.assembly.tasks import Memory, Region
from iotrace.trace.info import Mount, TraceInfo
from iotrace.trace.reader import Trace, open_trace
from iotrace.trace.redact import redact
from iotrace.trace.writer import TraceWriter

PAGE = 4096


def call(op: str, result: int | None = 0, tid: int = 1, **values: object) -> Call:
    made = Call()
    made.op, made.result, made.tid = op, result, tid
    made.__dict__.update(values)
    return made


def assembled(folder: Path, *calls: Call, mounts: list[Mount] | None = None, **options: object) -> Trace:
    with TraceWriter(folder / "t.iotrace", TraceInfo(mounts=mounts or []), force=True) as writer:
        assembler = Assembler(writer, b"/w", **options)  # type: ignore[arg-type]
        for one in calls:
            assembler.add(one)
        assembler.finish()
    return open_trace(folder / "t.iotrace")


MAPPING = st.tuples(st.sampled_from(["map", "unmap"]), st.integers(0, 30), st.integers(1, 12))


@given(steps=st.lists(MAPPING, max_size=25), at=st.integers(0, 40), length=st.integers(1, 10))
def test_mappings_are_what_a_page_table_says(steps: list[tuple[str, int, int]], at: int, length: int) -> None:
    memory = Memory()
    pages: dict[int, tuple[int, int]] = {}  # page → (mapping, page of the file)
    for number, (what, first, count) in enumerate(steps):
        within = range(first, first + count)
        hit = {pages[page][0] for page in within if page in pages}
        if what == "map":
            assert {region.open for region in memory.find(first * PAGE, count * PAGE)} == hit
            memory.add(Region(first * PAGE, (first + count) * PAGE, File(0, None, None), 0, number, 0))
            pages.update({page: (number, page - first) for page in within})
        else:
            assert {region.open for region in memory.cut(first * PAGE, count * PAGE)} == hit
            for page in within:
                pages.pop(page, None)
    found = memory.find(at * PAGE, length * PAGE)
    assert {r.open for r in found} == {pages[p][0] for p in range(at, at + length) if p in pages}
    assert memory.starts == sorted(r.start for r in memory.regions)
    covered = {
        page: (r.open, r.offset // PAGE + page - r.start // PAGE)
        for r in memory.regions
        for page in range(r.start // PAGE, r.end // PAGE)
    }
    assert covered == pages


STEP = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 2), st.integers(0, 5000)),
    st.tuples(st.just("write"), st.integers(0, 2), st.integers(0, 5000)),
    st.tuples(st.just("pread64"), st.integers(0, 2), st.integers(0, 5000)),
    st.tuples(st.just("lseek"), st.integers(0, 2), st.integers(0, 9000)),
    st.tuples(st.just("dup"), st.integers(0, 2), st.integers(0, 2)),
    st.tuples(st.just("ftruncate"), st.integers(0, 2), st.integers(0, 9000)),
)


@given(steps=st.lists(STEP, max_size=30), append=st.booleans())
@settings(deadline=None)
def test_offsets_are_those_of_the_real_calls(
    steps: list[tuple[str, int, int]], append: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same calls are issued on a real file, whose position the kernel tells; the trace must agree."""
    folder = tmp_path_factory.mktemp("offsets")
    flags = os.O_RDWR | os.O_CREAT | (os.O_APPEND if append else 0)
    fds = [os.open(folder / f"f{number}", flags) for number in range(3)]
    calls = [call("openat", fd, path=f"f{n}".encode(), flags=flags | os.O_EXCL) for n, fd in enumerate(fds)]
    expected: list[int] = []
    try:
        for op, which, amount in steps:
            fd = fds[which]
            before = os.lseek(fd, 0, os.SEEK_CUR)
            if op == "read":
                calls.append(call(op, len(os.read(fd, amount)), fd=fd, size=amount))
                expected.append(before)
            elif op == "write":
                end = os.fstat(fd).st_size
                calls.append(call(op, os.write(fd, b"x" * amount), fd=fd, size=amount))
                expected.append(end if append else before)
            elif op == "pread64":
                calls.append(call(op, len(os.pread(fd, 10, amount)), fd=fd, size=10, offset=amount))
                expected.append(amount)
            elif op == "lseek":
                calls.append(call(op, os.lseek(fd, amount, os.SEEK_SET), fd=fd, offset=amount, flags=os.SEEK_SET))
            elif op == "ftruncate":
                os.ftruncate(fd, amount)
                calls.append(call(op, 0, fd=fd, size=amount))
            elif fds[which] != fds[amount]:
                os.dup2(fd, fds[amount])
                calls.append(call("dup2", fds[amount], fd=fd, fd2=fds[amount]))
    finally:
        for fd in set(fds):
            os.close(fd)
    events = assembled(folder, *calls).events()
    got = events[events.op.isin(["read", "write", "pread64"])].offset
    assert got.tolist() == expected


@given(
    base=st.lists(st.sampled_from([b"a", b"bc"]), max_size=3).map(lambda parts: b"/" + b"/".join(parts)),
    parts=st.lists(st.sampled_from([b"x", b"..", b".", b"", b"...", b".y"]), max_size=6),
    absolute=st.booleans(),
)
def test_names_are_resolved_lexically_and_stay_absolute(base: bytes, parts: list[bytes], absolute: bool) -> None:
    given_name = (b"/" if absolute else b"") + b"/".join(parts)
    expected = os.path.normpath(os.path.join(base, given_name))
    assert normalise(base, given_name) == b"/" + expected.lstrip(b"/")


@given(raw=st.binary(max_size=50))
def test_text_of_a_name_is_safe_to_print_and_keeps_each_byte(raw: bytes) -> None:
    text = printable(raw)
    text.encode()
    assert not any(c < " " or "\x7f" <= c <= "\x9f" for c in text)
    if b"\\x" not in raw:
        plain = text.encode()
        while (at := plain.find(b"\\x")) >= 0 and at >= 0:
            plain = plain[:at] + b"\0" + bytes.fromhex(plain[at + 2 : at + 4].decode()) + plain[at + 4 :]
        # a zero byte of our own stands before each byte that was written as \xNN
        assert plain.count(b"\0") - raw.count(b"\0") == text.count("\\x")


def test_pseudo_files_and_devices_are_told_by_whole_components() -> None:
    assert [is_pseudo(name) for name in (b"/proc", b"/proc/1", b"/sys/x", b"/process", b"/sysroot/a", b"/a/proc")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    assert [is_device_name(n) for n in (b"/dev/null", b"/dev/shm/a", b"/dev/shm", b"/device")] == [
        True,
        False,
        False,
        False,
    ]
    assert not is_recorded(b"/memfd:x (deleted)")
    assert is_recorded(b"/tmp/#123 (deleted)")


def test_an_unmade_name_is_absent_until_it_is_made() -> None:
    files = FileTable()
    assert files.created_at(b"/a") is None
    files.miss(b"/a")
    assert files.created_at(b"/a") is False
    made = files.new(b"/a", 0, False)
    assert files.created_at(b"/a") is True
    assert (made.size, made.existed) == (0, False)
    files.remove(b"/a")
    assert files.created_at(b"/a") is False


def test_hard_links_are_one_file_by_inode_and_a_changed_inode_is_another() -> None:
    files = FileTable()
    one = files.at(b"/a", 0, True, Stat(0o100644, 5, 1, 42))
    assert files.at(b"/b", 1, True, Stat(0o100644, 5, 1, 42)) is one
    replaced = files.at(b"/a", 0, True, Stat(0o100644, 6, 1, 43))
    assert replaced is not one
    assert files.at(b"/b", 1) is one


def test_links_are_followed_only_as_far_as_the_log_showed_them(tmp_path: Path) -> None:
    trace = assembled(
        tmp_path,
        call("symlink", path=b"l", path2=b"d/t"),
        call("openat", 3, path=b"l", flags=0),
        call("openat", 4, path=b"d/t", flags=0),
        call("lstat", path=b"l"),
        call("symlink", path=b"loop", path2=b"loop"),
        call("openat", -40, path=b"loop", flags=0),
    )
    number = trace.events().file.tolist()
    assert number[1] == number[2]
    assert number[0] == number[3] != number[1]


def test_an_inode_unchanged_since_before_the_recording_was_there_with_its_size(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"x" * 777)
    since = os.stat(old).st_ctime_ns + 1
    while os.stat(tmp_path).st_ctime_ns < since or not (tmp_path / "new").exists():
        (tmp_path / "new").unlink(missing_ok=True)
        (tmp_path / "new").write_bytes(b"y")
    trace = assembled(
        tmp_path,
        call("openat", 3, path=os.fsencode(old), flags=0),
        call("openat", 4, path=os.fsencode(tmp_path / "new"), flags=os.O_RDWR | os.O_CREAT),
        call("openat", 5, path=b"/no/such/file", flags=os.O_RDWR | os.O_CREAT),
        probe_since_ns=since,
    )
    files = trace.files().set_index("path_text")
    row = files.loc[str(old)]
    assert (row["size"], row.existed, row.inode, row.device) == (777, True, old.stat().st_ino, old.stat().st_dev)
    if birth_ns(os.fsencode(tmp_path / "new")) is not None:
        assert not files.existed[str(tmp_path / "new")]
    assert pd.isna(files.existed["/no/such/file"])


def test_files_know_their_mount_by_the_longest_point(tmp_path: Path) -> None:
    mounts = [Mount(1, "/", "ext4", "a"), Mount(2, "/mnt", "nfs", "b"), Mount(3, "/mnt/x", "wekafs", "c")]
    calls = [
        call("openat", 3 + n, path=p, flags=0) for n, p in enumerate([b"/a", b"/mnt/a/b", b"/mnt/x/a", b"/mnt/xy/a"])
    ]
    assert assembled(tmp_path, *calls, mounts=mounts).files().mount.tolist() == [0, 1, 2, 1]


class Told:
    """A labeler that keeps what it is told, and labels process N with job JN."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.due: set[int] = set()

    def began(self, process: int, parent: int | None) -> None:
        self.told.append(("began", process, parent))
        self.due.add(process)

    def executed(
        self, process: int, arguments: Sequence[str], environment: Mapping[str, str] | None, cwd: str | None
    ) -> None:
        self.told.append(("executed", process, list(arguments), environment, cwd))

    def opened(self, process: int, path: str, writes: bool) -> None:
        self.told.append(("opened", process, path, writes))

    def changes(self) -> dict[int, dict[str, str]]:
        due, self.due = self.due, set()
        return {process: {"job": f"J{process}"} for process in due}


def test_a_labeler_is_told_of_forks_execs_and_files_of_jobs_and_its_labels_are_written(tmp_path: Path) -> None:
    labeler = Told()
    trace = assembled(
        tmp_path,
        call("fork", 2, flags=17),
        call("exec", 0, path=b"/bin/run", arguments=[b"run", b"J5"], environment=[b"SLURM_JOB_ID=5", b"SECRET=x"]),
        call("fork", 3, flags=17),
        call("openat", 3, tid=2, path=b"/p/J6/input", flags=os.O_RDONLY),
        call("openat", 3, tid=2, path=b"/p/J7/a", flags=os.O_WRONLY),
        call("openat", 3, tid=2, path=b"/p/J7/b", flags=os.O_WRONLY),
        call("openat", 3, tid=3, path=b"/p/J7/b", flags=os.O_WRONLY),
        labeler=labeler,
    )
    processes = trace.processes()
    assert processes.job.tolist() == ["J0", "J1", "J2"]
    assert labeler.told == [
        ("began", 0, None),
        ("began", 1, 0),
        ("executed", 0, ["run", "J5"], {"SLURM_JOB_ID": "5"}, "/w"),
        ("began", 2, 0),
        ("opened", 1, "/p/J6/input", False),
        ("opened", 1, "/p/J7/a", True),
        ("opened", 1, "/p/J7/b", True),
        ("opened", 2, "/p/J7/b", True),
    ]
    assert processes.arguments[2].tolist() == ["run", "J5"]


def test_rows_flow_in_batches_and_paths_come_once(tmp_path: Path) -> None:
    calls = [call("access", 0, path=b"f%d" % (n % 500), mode=4, time_ns=n) for n in range(40_000)]
    trace = assembled(tmp_path, *calls)
    events = trace.table("events", ["time_ns", "path", "file"]).to_pandas()
    assert events.time_ns.tolist() == list(range(40_000))
    assert len(trace.paths()) == len(trace.files()) == 500
    assert (trace.paths().text[events.path].to_numpy()[:3] == ["/w/f0", "/w/f1", "/w/f2"]).all()


@pytest.mark.parametrize(
    ("given_words", "kept"),
    [
        (["run", "--project", "P1", "--job", "J6"], ["run", "--project", "P1", "--job", "J6"]),
        (["x", "--password", "hunter2", "file"], ["x", "--password", "***", "file"]),
        (["x", "--db-password=hunter2"], ["x", "--db-password=***"]),
        (["x", "--token", "--verbose"], ["x", "--token", "--verbose"]),
        (["CRYOSPARC_LICENSE_ID=abc", "x"], ["CRYOSPARC_LICENSE_ID=***", "x"]),
        (["curl", "https://me:pw@host/path"], ["curl", "https://***@host/path"]),
        (["sh", "-c", "login --token abcdef; ls"], ["sh", "-c", "login --token *** ls"]),
        (["x", "8ad0b123-0000-4fff-8888-0123456789ab"], ["x", "***"]),
        (["curl", "-H", "Authorization: Bearer abcdefghij"], ["curl", "-H", "Authorization: ***"]),
        (["curl", "-H", "authorization: ApiKey id secret"], ["curl", "-H", "authorization: ***"]),
        (["sh", "-c", "curl -H 'Cookie: a=b; c=d' -u me:pw x:y"], ["sh", "-c", "curl -H 'Cookie: *** -u me:*** x:y"]),
        (["curl", "-u", "me:pw:w", "x:y"], ["curl", "-u", "me:***", "x:y"]),
        (["curl", "--user=me:pw", "-T", "f"], ["curl", "--user=me:***", "-T", "f"]),
        (["tar", "cf", "passwords.tar", "compass=5", "/data/token_mics"], ["tar", "cf", "passwords.tar", "compass=5", "/data/token_mics"]),  # noqa: E501
        (["AKIAABCDEFGHIJKLMNOP"], ["***"]),
    ],
)  # fmt: skip
def test_secrets_leave_a_command_line(given_words: list[str], kept: list[str]) -> None:
    assert redact(given_words) == kept


@given(
    words=st.lists(st.text(max_size=30), max_size=8), secret=st.text(alphabet="abcdefXYZ0189", min_size=8, max_size=20)
)
def test_no_secret_behind_an_option_survives(words: list[str], secret: str) -> None:
    for form in (["--password", secret], [f"--api-key={secret}"], [f"token={secret}"], [f"http://u:{secret}@h/"]):
        got = redact([*words, *form])
        assert len(got) == len(words) + len(form)
        assert secret not in " ".join(got[len(words) :])
