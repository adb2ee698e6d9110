"""A log of strace, read twice: by the kernel with Python's help, and by Python alone."""

from pathlib import Path
from typing import Any

from iotrace.trace.assemble import Assembler
from iotrace.trace.formats.strace.fast import FastLog, TableAssembler
from iotrace.trace.formats.strace.importing import split_bytes
from iotrace.trace.formats.strace.lines import StraceLog
from iotrace.trace.info import TraceInfo
from iotrace.trace.reader import open_trace
from iotrace.trace.writer import TraceWriter

FACTS = (
    "lines", "understood", "foreign", "lost", "first_bad", "decorated", "timed", "measured", "notices", "last_ns",
    "base_utc_ns", "command", "cut_names", "cut_arguments",
)  # fmt: skip


def told(folder: Path, data: bytes, fast: bool, cwd: bytes | None, portion: int) -> tuple[dict[str, Any], int]:
    """Everything that a log says, and how many of its lines the kernel took."""
    with TraceWriter(folder / "t.iotrace", TraceInfo(), force=True) as writer:
        log = FastLog(TableAssembler(writer, cwd)) if fast else StraceLog(Assembler(writer, cwd))
        carry = b""
        for at in range(0, len(data), portion):
            whole, carry = split_bytes(carry, data[at : at + portion])
            log.feed_bytes(whole)
        log.finish(carry.decode("latin-1"))
    trace = open_trace(folder / "t.iotrace")
    tables = {name: trace.table(name).to_pylist() for name in ("events", "paths", "files", "processes")}
    facts = {name: getattr(log, name) for name in FACTS}
    facts["unknown"] = (log.assembler.unknown_descriptors, log.assembler.unknown_folders)
    return tables | facts, log.by_kernel if isinstance(log, FastLog) else 0


def assert_both_say_the_same(folder: Path, data: bytes, cwd: bytes | None = b"/w", portion: int = 1 << 20) -> int:
    plain, _ = told(folder, data, False, cwd, portion)
    fast, by_kernel = told(folder, data, True, cwd, portion)
    for name, value in plain.items():
        assert fast[name] == value, name
    return by_kernel
