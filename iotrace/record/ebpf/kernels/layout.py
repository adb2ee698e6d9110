"""The tables that kernels and Python share, in words of 64 bits: their places in the header, their fields.

Tables are reached by address, through one header: handing a dozen arrays down the calls costs Numba a pair of atomic
operations for each, ten times the work itself. iotrace.record.ebpf.state keeps the memory.
"""

from __future__ import annotations

from typing import Final

from iotrace.record.ebpf.kernels import records
from iotrace.trace.schema import EVENT_COLUMNS

NO_BASE: Final = -2
"""In place of the path of a relative name's folder: it is not known. (-1: the name needs none.)"""
COLUMN: Final = {column.name: number for number, column in enumerate(EVENT_COLUMNS)}

FAULT_SINGLE: Final = 1
"""flags of mmap.fault: the one page was looked up by itself, mapping the cached pages around it did not serve."""
FAULT_MAJOR: Final = 2
"""flags of mmap.fault: a major fault, the page came from storage."""

# the header: counters, then address and number of slots of each table, then where the rows go
(
    ROWS, PATHS, FILES, OPENS, THREADS, PROCESSES, BLOB, NOTES, BASE_NS, NEED, THREAD_ROWS, OPEN_ROWS, PROCESS_ROWS,
    PENDING, RINGS, LOOK, PREFIXES, BRIEF, ALL_FILES,
) = range(19)  # fmt: skip
(
    THREAD_SLOTS, PROCESS_SLOTS, FILE_SLOTS, OPEN_SLOTS, PATH_SLOTS, PENDING_SLOTS, RING_SLOTS, THREAD_INFO, FILE_INFO,
    OPEN_INFO, PATH_INFO, PENDING_INFO, BLOB_BYTES, NOTE_ROWS, EVENT_ROWS, PREFIX_BYTES,
) = range(20, 52, 2)  # fmt: skip
HEADER_WORDS: Final = 52
"""THREADS, OPENS, PROCESSES, PATHS, FILES count the numbers given out; *_ROWS count the rows of tables whose rows are
used again (a thread's after its end, an open file's when its address is). NEED: a table is full. LOOK: a process was
adopted whose open files are to be looked for. PREFIXES: how many mount points a recording is held to (0: all). BRIEF:
address of BRIEF_WORDS words, where a record is written out of a brief one. ALL_FILES: /proc and /sys count too."""

# fields of the tables
TID, THREAD = range(2)
TGID, PROCESS = range(2)
DEVICE, INODE, FILE = range(3)
ADDRESS, OPEN = range(2)
HASH, PATH = range(2)
(
    T_PROCESS, T_CHILD, T_EXEC_PATH, T_FAULT_ROW, T_FAULT_FILE, T_FAULT_FIRST, T_FAULT_LAST, T_FAULT_READ, T_CLONE,
    T_TID, T_NUMBER, T_ENDED, T_TGID,
) = range(13)  # fmt: skip
(
    F_GENERATION, F_PATH, F_DEVICE, F_INODE, F_MODE, F_SIZE, F_BLOCKS, F_PAGES, F_CREATED, F_LAST_PATH, F_SEEN_NS,
    F_WHERE, F_FLAGS, F_POSITION, F_KEPT, F_ELSEWHERE,
) = range(16)  # fmt: skip
O_NUMBER, O_PATH, O_FILE, O_USED = range(4)
# F_ELSEWHERE: 1 for a folder that only names start from, not itself what the recording is about
# F_KEPT: for how many chapters a file is remembered that nobody has open: what is mapped, a working folder
P_BASE, P_BEGIN, P_LENGTH = range(3)
(
    S_TIME, S_CPU, S_PROCESS, S_THREAD, S_OP, S_PATH, S_OTHER_PATH, S_FILE, S_OPEN, S_OTHER_OPEN, S_OFFSET,
    S_OTHER_OFFSET, S_SIZE, S_COUNT, S_FLAGS, S_MODE, S_RING, S_BATCH, S_WAITS,
) = range(19)  # fmt: skip
THREAD_FIELDS, FILE_FIELDS, OPEN_FIELDS, PATH_FIELDS, PENDING_FIELDS = 13, 16, 4, 3, 19
# fields of a note to the Python side
NOTE_FIELDS: Final = 11
(
    NOTE_KIND, NOTE_TIME, NOTE_THREAD, NOTE_PROCESS, NOTE_PARENT, NOTE_VALUE, NOTE_BASE, NOTE_TEXT, NOTE_LENGTH,
    NOTE_UMASK, NOTE_TALLY,
) = range(11)  # fmt: skip
NOTE_PROCESS_NEW, NOTE_EXEC, NOTE_EXIT, NOTE_NAME_MADE, NOTE_ADOPTED = range(5)

BRIEF_WORDS: Final = records.HEADER_WORDS + records.TEXT + 4096 // 8 + 1
