"""Packing the arguments of rows: what a form has in common apart, and of each row only the values of its own.

The kernel of a lane unpacks them (iotrace.replay.kernels.lane). What a row's own values are, and in which order, the
kinds of its form say: one value for each argument that is not CONSTANT, BUFFER, LOCK or HOW; behind that of a VECTOR
(the second argument) stands its count (the third), behind that of a MAPPED the distance within the mapping; a LOCK (the
third) has start and length (the last two), its type and what a HOW holds are constants; a RANGE (the third) has three
more (the last three).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from iotrace.compiling import compiled
from iotrace.replay.columns import Ids, Ints
from iotrace.replay.numbering import Numbering
from iotrace.replay.pieces import Pieces

VALUES_MAX: Final = 8
"""Most values of one row."""
_FIELDS: Final = 9
"""Of a form: op, special, extra and check in one; call number; kinds; six constants."""


@compiled
def _pack(arguments: Any, kinds: Any, delta: Any, fields: Any, begin: Any, values: Any) -> Any:
    """Put kinds and constants into the fields of forms, and the rows' own values one behind another; gives how many."""
    at = 0
    for i in range(len(arguments)):
        begin[i] = at
        packed = np.int64(0)
        for k in range(6):
            kind = np.int64(kinds[i, k])
            packed |= kind << (4 * k)
            fields[i, 3 + k] = 0
            if kind == 0 or kind == 3 or kind == 6 or kind == 7:
                fields[i, 3 + k] = arguments[i, k]
            else:
                values[at] = arguments[i, k]
                at += 1
            if kind == 4:
                values[at] = arguments[i, 2]
                at += 1
            elif kind == 6:
                values[at], values[at + 1] = arguments[i, 4], arguments[i, 5]
                at += 2
            elif kind == 8:
                values[at] = delta[i]
                at += 1
            elif kind == 11:
                values[at], values[at + 1], values[at + 2] = arguments[i, 3], arguments[i, 4], arguments[i, 5]
                at += 3
        if kinds[i, 1] == 4:
            fields[i, 5] = 0
        if kinds[i, 2] == 6:
            fields[i, 7], fields[i, 8] = 0, 0
        elif kinds[i, 2] == 11:
            fields[i, 6], fields[i, 7], fields[i, 8] = 0, 0, 0
        fields[i, 2] = packed
    return at


@compiled
def unpack_values(form: Any, kinds: Any, constants: Any, begin: Any, values: Any) -> Any:
    """Arguments, shape (n, 6), and distances within mappings, (n,), of packed rows."""
    arguments = np.empty((len(form), 6), np.int64)
    delta = np.zeros(len(form), np.int64)
    for i in range(len(form)):
        at = np.int64(begin[i])
        packed = kinds[form[i]]
        arguments[i] = constants[form[i]]
        for k in range(6):
            kind = (packed >> (4 * k)) & 15
            if kind != 0 and kind != 3 and kind != 6 and kind != 7:
                arguments[i, k] = values[at]
                at += 1
            if kind == 4:
                arguments[i, 2] = values[at]
                at += 1
            elif kind == 6:
                arguments[i, 4], arguments[i, 5] = values[at], values[at + 1]
                at += 2
            elif kind == 8:
                delta[i] = values[at]
                at += 1
            elif kind == 11:
                arguments[i, 3], arguments[i, 4], arguments[i, 5] = values[at], values[at + 1], values[at + 2]
                at += 3
    return arguments, delta


class Packer:
    """Packs rows, some at a time."""

    def __init__(self) -> None:
        self.forms = Numbering(_FIELDS)
        self._values = Pieces()

    def add(
        self, common: Ints, number: Ints, arguments: npt.NDArray[np.int64], kinds: npt.NDArray[np.uint8], delta: Ints
    ) -> tuple[Ids, Ints]:
        """Form and begin of the values of each row; `common` holds what else tells forms apart."""
        n = len(common)
        fields = np.empty((n, _FIELDS), np.int64)
        fields[:, 0], fields[:, 1] = common, number
        begin, values = np.empty(n, np.int64), np.empty(n * VALUES_MAX, np.int64)
        used = int(_pack(arguments, kinds, delta, fields, begin, values))
        begin += len(self._values)
        self._values.add(values[:used])
        return self.forms.numbers(fields), begin

    @property
    def total(self) -> int:
        """Values so far."""
        return len(self._values)

    def values(self) -> Ints:
        """All values, once."""
        return self._values.whole()
