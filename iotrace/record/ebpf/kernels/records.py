"""Records of the BPF ring, in words of 64 bits, as records.bpf.h lays them out."""

from __future__ import annotations

from typing import Final

# words of struct header and struct event
START, DURATION, CPU, IDS, KIND, FILE, INODE, DEVICE, OFFSET, SIZE, RESULT, FLAGS, ADDRESS, MODE = range(14)
OTHER, BASE, BASE2, OTHER_OFFSET, ST_SIZE, ST_BLOCKS, ST_MODE, TEXT = 14, 17, 20, 23, 24, 25, 26, 27
# values of KIND's low 16 bits
(
    K_EVENT, K_LONG_EVENT, K_FILE_SEEN, K_TASK, K_EXEC, K_FAULT, K_FAULT_AROUND, K_FAULT_END, K_FAULT_AT, K_OPEN_FOUND,
    K_SUBMIT, K_COMPLETE, K_BRIEF_STAT,
) = range(1, 14)  # fmt: skip

BRIEF_BYTES: Final = 56
"""sizeof(struct brief)."""
BRIEF_STAT_WORDS: Final = 10
"""sizeof(struct brief_stat) ÷ 8."""
HEADER_WORDS: Final = 14
"""sizeof(struct header) ÷ 8: a struct brief is written out as one, and behind it a struct brief_stat as an event."""
KERNEL_BITS: Final = -(1 << 48)
"""Set in every kernel address; a struct brief does not carry them."""
