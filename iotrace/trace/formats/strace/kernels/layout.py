"""The tables that kernels and Python share, in words of 64 bits: their places in the header, their fields, their rooms.

Tables are reached by address, through one header: handing a dozen arrays down the calls costs Numba a pair of atomic
operations for each, ten times the work itself. iotrace.trace.formats.strace.state keeps the memory.
"""

from __future__ import annotations

from typing import Final

from iotrace.trace.schema import EVENT_COLUMNS

COLUMNS: Final = len(EVENT_COLUMNS)
BATCH_ROWS: Final = 1 << 14
"""Rows at which the Python side is called to write them."""


# the header: counters and the log's state, then address and room of each table
(
    ROWS, NAMES, BLOB, PATHS, FILES, OPENS, FREE_OPEN, OPEN_TOP, DIRTY, INODES, TIMED, MEASURED, DECORATED, LAST_NS,
    BEFORE, BASE, LINES, UNDERSTOOD, UNKNOWN_FDS, UNKNOWN_FOLDERS, PAGE_BYTES, PROBES, LABELS, AT, LINE_END,
    PENDING_FREE, HEAP, RUNS, OUT, WANTS,
) = range(30)  # fmt: skip
(
    EVENT_TABLE, NAME_TABLE, NAME_SLOTS, BLOB_BYTES, PATH_TABLE, PATH_SLOTS, FILE_TABLE, OPEN_TABLE, DIRTY_TABLE,
    INODE_SLOTS, THREAD_TABLE, THREAD_OF, FD_TABLE, FOLDER_TABLE, MEMORY_TABLE, PROCESS_TABLE, PENDING_TABLE,
    PENDING_OF, PENDING_BYTES, CALL, SCRATCH, WORDS, OP_TABLE,
) = range(32, 78, 2)  # fmt: skip
HEADER_WORDS: Final = 80

# fields of the tables, in words of 64 bits
N_BEGIN, N_LENGTH, N_FILE, N_ABSENT = range(4)
P_NAME, P_RAW, P_LENGTH = range(3)
(
    F_PATH, F_WHERE, F_EXISTED, F_DEVICE, F_INODE, F_TYPE, F_SIZE, F_BLOCKS, F_MODE, F_ENTRIES, F_TARGET,
    F_TARGET_LENGTH, F_INHERITED_FLAGS, F_INHERITED_OFFSET, F_LENGTH, F_LINKS, F_BITS,
) = range(17)  # fmt: skip
O_NUMBER, O_FILE, O_PATH, O_TEXT, O_FLAGS, O_POSITION, O_SHOWN, O_LISTED, O_REFS, O_NEXT = range(10)
T_NUMBER, T_PROCESS, T_FDS, T_FOLDER, T_MEMORY = range(5)
NAME_FIELDS, PATH_FIELDS, FILE_FIELDS, OPEN_FIELDS, THREAD_FIELDS = 4, 3, 17, 10, 5
FD_ADDRESS, FD_ROOM = range(2)
M_ADDRESS, M_COUNT, M_ROOM, M_REPLACED = range(4)
R_START, R_END, R_FILE, R_PATH, R_OPEN, R_OFFSET, R_SINCE = range(7)
FD_FIELDS, MEMORY_FIELDS, REGION_FIELDS = 2, 4, 7
W_TIME, W_NAME, W_LENGTH = range(3)
PENDING_FIELDS: Final = 3
PENDING_ROOM: Final = 1024
"""Bytes kept of a call that waits to be resumed; a longer one waits on the Python side."""
IN_PYTHON: Final = (1 << 31) - 1
"""In place of the row of a call that waits: it is one of those."""
CHANGED, WRITTEN, IS_DIRTY = 1, 2, 4
FILE_TYPE, DIRECTORY_TYPE, LINK_TYPE, OTHER_TYPE = range(4)
GONE: Final = -2
"""In place of a file's number in the table of inodes: no longer."""

MAX_PID: Final = 1 << 22
MAX_FD: Final = 1 << 16
LINE_ROOM: Final = 1 << 16
"""Longer lines are left to Python."""
NAME_ROOM: Final = 1 << 14
"""A longer absolute name is left to Python."""
SCRATCH_BYTES: Final = 4 * LINE_ROOM
SPARE: Final = 16
"""Entries that each table has free before a line is read."""

DONE, TO_PYTHON, TO_FLUSH, TO_GROW = range(4)
MERGED, MERGE_FULL, MERGE_WANTS = range(3)
# of each of several logs: its buffer's next byte and end, its next line's end and time, its thread, whether all is read
L_AT, L_END, L_LINE, L_TIME, L_PID, L_DONE = range(6)
LOG_FIELDS, RUN_FIELDS = 6, 3


# the call in the making
(
    C_OP, C_CLASS, C_TID, C_CLOCK, C_TIME, C_BEFORE, C_THREAD, C_RESUMED, C_DURATION, C_RESULT, C_RNAME, C_RNAME_LENGTH,
    C_FD, C_FDN, C_FDN_LENGTH, C_DIRFD, C_DIRN, C_DIRN_LENGTH, C_PATH, C_PATH_LENGTH, C_SIZE, C_OFFSET, C_FLAGS, C_MODE,
    C_ADDRESS, C_ENTRIES, C_STAT, C_ST_MODE, C_ST_SIZE, C_ST_DEVICE, C_ST_INODE, C_ST_BLOCKS, C_ST_LINKS, C_AT, C_ODD,
    C_SPECIAL, C_TEXT, C_TEXT_LENGTH, C_BASE, C_MISSED, C_NAME,
    C_NAME_LENGTH, C_OTHER, C_COUNT,
) = range(44)  # fmt: skip
CALL_WORDS: Final = 48
NO_CLOCK, DAY_CLOCK, ABSOLUTE_CLOCK, RELATIVE_CLOCK = range(4)
"""C_CLOCK: no time; -t and -tt; -ttt; -r."""
DAY_NS: Final = 86_400 * 10**9
AT_FDCWD: Final = -100
