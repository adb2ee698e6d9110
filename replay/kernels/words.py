"""What a run's processes share, in words of 64 bits: the control block, a line for each lane, the outcomes of rows."""

from __future__ import annotations

from typing import Final

# rows that have no outcome; below every -errno
NOT_RUN: Final = -100_000
SKIPPED: Final = -100_001
# in the place of a system call's number: nothing is issued, the result is the recorded one (iotrace.replay.null)
NULL_CALL: Final = -2

# words of the control block, one cache line each
STOP: Final = 0
READY: Final = 8
GO: Final = 16
START_NS: Final = 24
CONTROL_WORDS: Final = 32
# values of GO: the start is near, and the run has begun
SOON: Final = 1
BEGUN: Final = 2
# values of STOP
STOP_ASKED: Final = 1
STOP_FULL: Final = 2

# words of a lane's line
PROGRESS: Final = 0
WAKE_AT: Final = 1
EPOCH: Final = 2
ENDED_NS: Final = 3
SETUP_ERROR: Final = 4
TOUCHED: Final = 5
THREAD: Final = 6
CPU_BEFORE_NS: Final = 7
CPU_AFTER_NS: Final = 8
LANE_WORDS: Final = 16

# words of a lane's memory table: addresses of its buffers (the first five as arguments.BUFFER numbers them)
READ_AT, WRITE_AT, ALIGNED_READ_AT, ALIGNED_WRITE_AT, SCRATCH_AT, VECTOR_AT, POSITION_AT, STRUCT_AT, TIME_AT = range(9)
OWNER_AT, GROUP_AT = 9, 10
MEMORY_WORDS: Final = 16
VECTORS_MAX: Final = 1024

# values of a run's timing
ASAP, THINK, ORIGINAL = 0, 1, 2
