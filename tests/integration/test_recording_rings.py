"""io_uring and libaio: every operation that fio says it issued is in the trace, with its file, position and size."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from iotrace.record.session import record
from iotrace.trace.reader import Trace, open_trace

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(shutil.which("fio") is None, reason="fio is not installed"),
]

ENGINES = {
    "uring": ["--ioengine=io_uring", "--iodepth=8"],
    "uring polled submission": ["--ioengine=io_uring", "--iodepth=8", "--sqthread_poll=1"],
    "uring fixed files and buffers": ["--ioengine=io_uring", "--iodepth=8", "--fixedbufs=1", "--registerfiles=1"],
    "uring vectored": ["--ioengine=io_uring", "--iodepth=4", "--nonvectored=0"],
    "uring in batches": ["--ioengine=io_uring", "--iodepth=8", "--iodepth_batch=4"],
    "aio": ["--ioengine=libaio", "--iodepth=8"],
    "aio in batches": ["--ioengine=libaio", "--iodepth=16", "--iodepth_batch=8", "--iodepth_batch_complete_min=2"],
}


def issued(folder: Path, options: list[str]) -> tuple[Trace, dict[str, tuple[int, int]]]:
    """The trace, and what fio says: operations and bytes by direction."""
    report = folder / "fio.json"
    command = [
        "fio", "--name=a", f"--filename={folder / 'data'}", "--size=2m", "--bs=4k", "--rw=randrw", "--fallocate=none",
        "--output-format=json", f"--output={report}", *options,
    ]  # fmt: skip
    outcome = record(command, folder / "t.iotrace", backend="ebpf")
    if outcome.exit_status:
        pytest.skip(f"fio cannot do {' '.join(options)} here")
    job = json.loads(report.read_text())["jobs"][0]
    said = {way: (job[way]["total_ios"], job[way]["io_bytes"]) for way in ("read", "write")}
    return open_trace(folder / "t.iotrace"), said


@pytest.mark.parametrize("options", ENGINES.values(), ids=list(ENGINES))
def test_every_operation_of_fio_is_recorded(tmp_path: Path, options: list[str]) -> None:
    trace, said = issued(tmp_path, options)
    events = trace.events()
    kind = "aio" if "libaio" in options[0] else "uring"
    for way, (count, size) in said.items():
        found = events[events.op == f"{kind}.{way}"]
        assert (len(found), found.result.sum()) == (count, size)
        assert set(found.path_text) == {str(tmp_path / "data")}
        assert set(found["size"]) == {4096}
        assert found.offset.between(0, (2 << 20) - 4096).all()
        assert (found.offset % 4096 == 0).all()
        assert found.file.nunique() == found.ring.nunique() == 1
        assert found.duration_ns.notna().all()
        assert (found.duration_ns > 0).all()
    both = events[events.op.isin([f"{kind}.read", f"{kind}.write"])]
    if "--sqthread_poll=1" in options:
        assert both.batch.isna().all()
    elif any("batch" in option for option in options):
        assert both.batch.nunique() < len(both)
    # each position is read or written once in a pass
    assert both.offset.nunique() == len(both) == 512


RING = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#define OP(name) IORING_OP_##name
typedef struct io_uring_sqe SQE;
static struct io_uring_params p;
static char *sq, *cq;
static struct io_uring_sqe *sqes;
static int ring;
static void *map(unsigned long size, long offset)
{
    return mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, offset);
}
static int one(struct io_uring_sqe sqe)
{
    unsigned *tail = (unsigned *)(sq + p.sq_off.tail), mask = *(unsigned *)(sq + p.sq_off.ring_mask);
    unsigned *head = (unsigned *)(cq + p.cq_off.head);
    sqes[*tail & mask] = sqe;
    ((unsigned *)(sq + p.sq_off.array))[*tail & mask] = *tail & mask;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0);
    struct io_uring_cqe *cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
    struct io_uring_cqe *cqe = cqes + (*head & *(unsigned *)(cq + p.cq_off.ring_mask));
    int result = cqe->res;
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    return result;
}
static char text[] = "0123456789";
static void begin(void)
{
    ring = syscall(SYS_io_uring_setup, 8, &p);
    if (ring < 0)
        _exit(77);
    sq = map(p.sq_off.array + p.sq_entries * 4, IORING_OFF_SQ_RING);
    cq = map(p.cq_off.cqes + p.cq_entries * 16, IORING_OFF_CQ_RING);
    sqes = map(p.sq_entries * 64, IORING_OFF_SQES);
}
"""

NAMES = r"""
int main(void)
{
    struct statx found;
    begin();
    one((SQE){ .opcode = OP(MKDIRAT), .fd = AT_FDCWD, .addr = (long)"folder", .len = 0755 });
    int fd = one((SQE){ .opcode = OP(OPENAT), .fd = AT_FDCWD, .addr = (long)"folder/a", .len = 0644,
                   .open_flags = O_CREAT | O_RDWR });
    one((SQE){ .opcode = OP(FALLOCATE), .fd = fd, .off = 0, .addr = 4096, .len = 0 });
    one((SQE){ .opcode = OP(WRITE), .fd = fd, .addr = (long)text, .len = 10, .off = 100 });
    one((SQE){ .opcode = OP(READ), .fd = fd, .addr = (long)text, .len = 10, .off = -1 });
    one((SQE){ .opcode = OP(FSYNC), .fd = fd });
    one((SQE){ .opcode = OP(STATX), .fd = AT_FDCWD, .addr = (long)"folder/a", .len = STATX_SIZE,
          .off = (long)&found });
    one((SQE){ .opcode = OP(CLOSE), .fd = fd });
    one((SQE){ .opcode = OP(RENAMEAT), .fd = AT_FDCWD, .addr = (long)"folder/a", .len = AT_FDCWD,
          .off = (long)"folder/b" });
    one((SQE){ .opcode = OP(UNLINKAT), .fd = AT_FDCWD, .addr = (long)"folder/b" });
    int missing = one((SQE){ .opcode = OP(OPENAT), .fd = AT_FDCWD, .addr = (long)"folder/b", .open_flags = O_RDONLY });
    return missing == -2 ? 0 : 1;
}
"""

# descriptors of the ring's own table, while the process's own first ones are files as well
TABLE = r"""
int main(void)
{
    int none[4] = { -1, -1, -1, -1 };
    begin();
    close(0);
    open("other", O_CREAT | O_RDWR, 0644);
    if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, none, 4))
        return 77;
    int slot = one((SQE){ .opcode = OP(OPENAT), .fd = AT_FDCWD, .addr = (long)"direct", .len = 0644,
                     .open_flags = O_CREAT | O_RDWR, .file_index = 1 });
    if (slot < 0)
        return 77;
    one((SQE){ .opcode = OP(WRITE), .flags = IOSQE_FIXED_FILE, .fd = 0, .addr = (long)text, .len = 10 });
    one((SQE){ .opcode = OP(READ), .fd = 0, .addr = (long)text, .len = 10 });
    one((SQE){ .opcode = OP(CLOSE), .file_index = 1 });
    mkdir("folder", 0755);
    int folder = open("folder", O_RDONLY);
    close(openat(folder, "a", O_CREAT | O_RDWR, 0644));
    one((SQE){ .opcode = OP(RENAMEAT), .fd = AT_FDCWD, .addr = (long)"folder", .len = AT_FDCWD, .off = (long)"new" });
    close(openat(folder, "a", O_RDWR));
    return 0;
}
"""


def trace_of(program: str, folder: Path) -> Trace:
    """The recording of a C program that begins with RING."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (folder / "ring.c").write_text(RING + program)
    built = subprocess.run([compiler, "-o", folder / "ring", folder / "ring.c"], capture_output=True, check=False)
    if built.returncode:
        pytest.skip("the kernel's headers know no io_uring")
    outcome = record(["/bin/sh", "-c", f"cd {folder}; exec ./ring"], folder / "t.iotrace", backend="ebpf")
    if outcome.exit_status == 77:
        pytest.skip("io_uring is switched off")
    assert outcome.exit_status == 0
    return open_trace(folder / "t.iotrace")


def test_names_opened_made_and_removed_through_io_uring_are_recorded(tmp_path: Path) -> None:
    trace = trace_of(NAMES, tmp_path)
    events = trace.events()
    texts = trace.paths().set_index("path")["text"]
    found = events[events.op.astype(str).str.startswith("uring.")]
    here = f"{tmp_path}/folder"
    assert list(zip(found.op.astype(str), found.path_text, found.result, strict=True)) == [
        ("uring.mkdirat", here, 0),
        ("uring.openat", f"{here}/a", 0),
        ("uring.fallocate", f"{here}/a", 0),
        ("uring.write", f"{here}/a", 10),
        ("uring.read", f"{here}/a", 10),
        ("uring.fsync", f"{here}/a", 0),
        ("uring.statx", f"{here}/a", 0),
        ("uring.close", f"{here}/a", 0),
        ("uring.renameat", f"{here}/a", 0),
        ("uring.unlinkat", f"{here}/b", 0),
        ("uring.openat", f"{here}/b", -2),
    ]
    by_op = found.drop_duplicates("op").set_index("op")
    assert (by_op.loc["uring.write"].offset, by_op.loc["uring.read"].offset) == (100, 0)
    assert texts[by_op.loc["uring.renameat"].other_path] == f"{here}/b"
    assert by_op.loc["uring.openat"].open == by_op.loc["uring.read"].open == by_op.loc["uring.close"].open
    assert (by_op.loc["uring.fallocate"]["size"], by_op.loc["uring.statx"]["mode"]) == (4096, 0x200)


def test_descriptors_of_a_rings_own_table_are_not_taken_for_the_process_own(tmp_path: Path) -> None:
    trace = trace_of(TABLE, tmp_path)
    events = trace.events()
    found = events[events.op.astype(str).str.startswith("uring.")]
    assert list(zip(found.op.astype(str), found.path_text, found.result, strict=True)) == [
        ("uring.openat", f"{tmp_path}/direct", 0),
        ("uring.write", f"{tmp_path}/direct", 10),
        ("uring.read", f"{tmp_path}/other", 0),
        ("uring.renameat", f"{tmp_path}/folder", 0),
    ]
    made = events[events.op.isin(["openat"]) & events.path_text.fillna("").str.endswith("/a")]
    assert made.path_text.tolist() == [f"{tmp_path}/folder/a", f"{tmp_path}/new/a"]
