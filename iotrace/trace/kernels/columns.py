"""The columns of events, as numbers: where a value stands in a matrix of rows."""

from __future__ import annotations

from iotrace.trace.schema import EVENT_COLUMNS

_NUMBER = {column.name: number for number, column in enumerate(EVENT_COLUMNS)}
(
    TIME, DURATION, OFF_CPU, PROCESS, THREAD, OP, PATH, OTHER_PATH, FILE, OTHER_FILE, OPEN, OTHER_OPEN, OFFSET,
    OTHER_OFFSET, SIZE, COUNT, ADDRESS, FLAGS, MODE, RING, BATCH, CHILD, RESULT,
) = (
    _NUMBER[name]
    for name in (
        "time_ns", "duration_ns", "off_cpu_ns", "process", "thread", "op", "path", "other_path", "file", "other_file",
        "open", "other_open", "offset", "other_offset", "size", "count", "address", "flags", "mode", "ring", "batch",
        "child", "result",
    )
)  # fmt: skip
