"""Event columns straight into Parquet row groups, each column in the encoding that suits it.

Takes columns of integers (a recorder's matrix, or record batches), gives the bytes of row groups and of the footer.
pyarrow's writer needs four to five times as long for the same columns, looks at each value of columns that hold
nothing, and keeps one encoding whatever the values are; it also writes no footer before the end, so that a recording
that is killed would leave an unreadable file. Here a row group is a fraction of a second of a busy machine, the
footer can be written at any time, and every so often each encoding is tried on each column and the smallest taken.
The format is that of apache/parquet-format (Encodings.md, parquet.thrift), data pages of version 1.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from iotrace.trace import encodings as e
from iotrace.trace.operations import OPERATIONS
from iotrace.trace.schema import EVENT_COLUMNS, NULL, SCHEMAS
from iotrace.trace.thrift import Struct

Ints = npt.NDArray[np.int64]

MAGIC: Final = b"PAR1"
TRY_EVERY: Final = 64
"""Row groups from one trial of the encodings to the next."""

_PLAIN, _RLE, _DELTA, _DICTIONARY, _SPLIT = 0, 3, 5, 8, 9
_INT32, _INT64, _BYTE_ARRAY = 1, 2, 6
_UNCOMPRESSED, _ZSTD = 0, 6
_WORTH_UNPACKING: Final = 0.97
"""zstd must save that much, or a reader would unpack for nothing."""
_SMALL: Final = 4096
"""Bytes of a page that is packed without asking what that saves."""
_ZSTD_1: Final = pa.Codec("zstd", compression_level=1)
_OP: Final = next(number for number, column in enumerate(EVENT_COLUMNS) if column.name == "op")
_OP_NAMES: Final = [operation.name for operation in OPERATIONS]
_WIDTHS: Final = [4 if column.type == pa.int32() else 8 for column in EVENT_COLUMNS]
_TYPES: Final = [
    _BYTE_ARRAY if column.name == "op" else _INT32 if column.type == pa.int32() else _INT64 for column in EVENT_COLUMNS
]


@dataclass(slots=True)
class _Page:
    """A column's values, encoded: they stand in the encoder's buffer up to `end`, their dictionary in `entries`."""

    end: int
    encoding: int
    entries: bytes = b""
    distinct: int = 0


@dataclass(slots=True)
class _Chunk:
    """A column of a row group: its pages' bytes (let go once written), and what the footer tells of it."""

    pages: list[bytes]
    codec: int
    encoding: int
    dictionary_bytes: int
    packed: int
    unpacked: int
    nulls: int = 0
    low: bytes | None = None
    high: bytes | None = None
    offset: int = 0


@dataclass(slots=True)
class RowGroup:
    """Encoded rows: `rows` of them, `chunks` by event column."""

    rows: int
    chunks: list[_Chunk]

    @property
    def packed_bytes(self) -> int:
        """Bytes in the file."""
        return sum(chunk.packed for chunk in self.chunks)


class EventEncoder:
    """Turns columns of events into row groups; keeps its buffers and the choice of encodings from one to the next.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._keys = np.empty(e.SLOTS, np.int64)
        self._numbers = np.empty(e.SLOTS, np.int32)
        self._entries = np.empty(e.SLOTS // 2, np.int64)
        self._block = np.empty(128, np.uint64)
        self._encodings = [_DICTIONARY] * len(EVENT_COLUMNS)
        self._pack = [True] * len(EVENT_COLUMNS)
        self._groups = 0
        self._trying = True
        self._valid = np.empty(0, np.uint8)
        self._reserve(1)

    def prepare(self) -> None:
        """Compile every kernel, or load it from the cache."""
        rows = np.zeros((len(EVENT_COLUMNS), 64), np.int64)
        rows[:, ::2] = 1
        rows[[number for number, column in enumerate(EVENT_COLUMNS) if column.null], 3] = NULL
        self.matrix(rows, 64, reset=True)
        self._groups = 0

    def matrix(self, rows: Ints, count: int, reset: bool = False) -> RowGroup:
        """A row group of the first `count` (at least one) rows of a recorder's matrix.

        Parameters
        ----------
        rows: shape (event columns, capacity), int64, NULL where there is no value; `op` as a position in OPERATIONS.
        reset: fill those rows with NULL again, for the matrix's next use.
        """
        self._begin(count)
        made = RowGroup(count, [])
        for column in range(len(EVENT_COLUMNS)):
            values = rows[column]
            dense, constant = self._dense, bool(e.is_constant(values, count))
            if constant:
                dense[0] = values[0]
                kept = 0 if values[0] == NULL else count
            else:
                kept = int(e.take(values, count, NULL, dense, self._valid))
            made.chunks.append(self._chunk(column, dense, count, kept, constant, _OP_NAMES))
            if reset and kept:
                values[:count] = NULL
        return made

    def batch(self, batch: pa.RecordBatch) -> RowGroup:
        """A row group of a record batch (at least one row) of the events' schema."""
        count = batch.num_rows
        self._begin(count)
        made = RowGroup(count, [])
        for column, values in enumerate(batch.columns):
            names = _OP_NAMES
            if column == _OP:
                names, values = values.dictionary.to_pylist(), values.indices
            kept = count - values.null_count
            if 0 < kept < count:
                self._valid[:count] = values.is_valid().to_numpy(zero_copy_only=False)
                values = values.drop_null()
            dense = values.to_numpy().astype(np.int64) if kept else self._dense
            constant = kept == count and bool(e.is_constant(dense, kept))
            made.chunks.append(self._chunk(column, dense, count, kept, constant, names))
        return made

    def _begin(self, count: int) -> None:
        self._reserve(count)
        self._trying = self._groups % TRY_EVERY == 0
        self._groups += 1

    def _reserve(self, rows: int) -> None:
        if rows > len(self._valid):
            # one more: a value that is null is written too, and then overwritten by the next
            self._dense = np.empty(rows + 1, np.int64)
            self._valid = np.empty(rows, np.uint8)
            self._indices = np.empty(rows, np.int32)
            # the largest page: 8 bytes a value and what its encoding adds, behind a bit a value of validity
            self._out = np.empty(9 * rows + rows // 4 + 4096, np.uint8)

    def _chunk(self, column: int, dense: Ints, rows: int, kept: int, constant: bool, names: list[str]) -> _Chunk:
        begin = self._levels(rows, kept) if EVENT_COLUMNS[column].null else 0
        if not kept:
            made = self._packed(_Page(begin, _PLAIN), rows, pack=False)
        elif constant:
            # a dictionary of one, and no bits at all for each row
            self._out[begin : begin + 1] = 1
            end = int(e.varint(kept << 1, self._out, begin + 1))
            self._out[end] = 0
            page = _Page(end + 1, _DICTIONARY, self._entries_bytes(column, dense[:1], names), 1)
            made = self._packed(page, rows, pack=False)
        elif self._trying:
            made = self._smallest(column, dense, rows, kept, begin, names)
        else:
            page = self._encoded(column, self._encodings[column], dense, kept, begin, names)
            made = self._packed(page, rows, self._pack[column])
        made.nulls = rows - kept
        if kept and column != _OP:
            low, high = (dense[0], dense[0]) if constant else e.bounds(dense, kept)
            made.low, made.high = (int(v).to_bytes(_WIDTHS[column], "little", signed=True) for v in (low, high))
        return made

    def _smallest(self, column: int, dense: Ints, rows: int, kept: int, begin: int, names: list[str]) -> _Chunk:
        made: _Chunk | None = None
        for encoding in (_DICTIONARY,) if column == _OP else (_DICTIONARY, _DELTA, _SPLIT):
            page = self._encoded(column, encoding, dense, kept, begin, names)
            other = self._packed(page, rows, pack=True)
            if made is None or other.packed < made.packed:
                made = other
        assert made is not None
        self._encodings[column], self._pack[column] = made.encoding, made.codec == _ZSTD
        return made

    def _levels(self, rows: int, kept: int) -> int:
        """Definition levels at the beginning of the page (which rows hold a value): where they end."""
        if 0 < kept < rows:
            end = int(e.hybrid(self._valid, rows, 1, self._out, 4))
        else:
            end = int(e.varint(rows << 1, self._out, 4))
            self._out[end] = kept > 0
            end += 1
        self._out[:4].view("<u4")[0] = end - 4
        return end

    def _encoded(self, column: int, encoding: int, dense: Ints, kept: int, begin: int, names: list[str]) -> _Page:
        """The values behind their levels; deltas in place of a dictionary where too many are distinct."""
        if encoding == _DICTIONARY:
            limit = e.SLOTS // 2 if column == _OP else min(e.SLOTS // 2, 16 + kept // 4)
            distinct = int(e.dictionary(dense, kept, limit, self._keys, self._numbers, self._entries, self._indices))
            if distinct < 0:
                return self._encoded(column, _DELTA, dense, kept, begin, names)
            bits = max(1, (distinct - 1).bit_length())
            self._out[begin] = bits
            end = int(e.hybrid(self._indices, kept, bits, self._out, begin + 1))
            return _Page(end, encoding, self._entries_bytes(column, self._entries[:distinct], names), distinct)
        width = _WIDTHS[column]
        if encoding == _DELTA:
            end = int(e.delta_binary_packed(dense, kept, width == 4, self._block, self._out, begin))
        else:
            end = int(e.byte_stream_split(dense, kept, width, self._out, begin))
        return _Page(end, encoding)

    def _entries_bytes(self, column: int, entries: Ints, names: list[str]) -> bytes:
        if column == _OP:
            texts = [names[number].encode() for number in entries.tolist()]
            return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
        return entries.astype(np.int32 if _WIDTHS[column] == 4 else np.int64).tobytes()

    def _packed(self, page: _Page, rows: int, pack: bool) -> _Chunk:
        body: bytes = (
            self._out[: page.end].tobytes() if not pack else _ZSTD_1.compress(self._out[: page.end], asbytes=True)
        )
        codec = _ZSTD if pack else _UNCOMPRESSED
        if pack and page.end > _SMALL and len(body) > _WORTH_UNPACKING * page.end:
            body, codec = self._out[: page.end].tobytes(), _UNCOMPRESSED
        pages, plain = [], 0
        if page.encoding == _DICTIONARY:
            entries: bytes = _ZSTD_1.compress(page.entries, asbytes=True) if codec == _ZSTD else page.entries
            pages = [_dictionary_header(len(page.entries), len(entries), page.distinct), entries]
            plain = len(pages[0]) + len(page.entries)
        dictionary_bytes = sum(map(len, pages))
        header = _data_header(page.end, len(body), rows, page.encoding)
        pages += [header, body]
        return _Chunk(
            pages, codec, page.encoding, dictionary_bytes,
            packed=sum(map(len, pages)), unpacked=plain + len(header) + page.end,
        )  # fmt: skip


def _dictionary_header(unpacked: int, packed: int, entries: int) -> bytes:
    about = Struct().i32(1, entries).i32(2, _PLAIN).done()
    return Struct().i32(1, 2).i32(2, unpacked).i32(3, packed).struct(7, about).done()


def _data_header(unpacked: int, packed: int, rows: int, encoding: int) -> bytes:
    about = Struct().i32(1, rows).i32(2, encoding).i32(3, _RLE).i32(4, _RLE).done()
    return Struct().i32(1, 0).i32(2, unpacked).i32(3, packed).struct(5, about).done()


def footer(groups: list[bytes], rows: int) -> bytes:
    """What ends a Parquet file of events: the metadata, its length, the mark.

    Parameters
    ----------
    groups: what place() gave for each row group; rows: the rows of all.
    """
    metadata = (
        Struct()
        .i32(1, 2)
        .structs(2, _SCHEMA)
        .i64(3, rows)
        .structs(4, groups)
        .structs(5, [_ARROW_SCHEMA])
        .text(6, b"iotrace")
        .structs(7, [Struct().struct(1, Struct().done()).done()] * len(EVENT_COLUMNS))
        .done()
    )
    return metadata + len(metadata).to_bytes(4, "little") + MAGIC


def place(group: RowGroup, offset: int, number: int) -> tuple[list[bytes], bytes]:
    """The bytes of a row group that begins at `offset` of its file, and its entry in the footer."""
    pages: list[bytes] = []
    columns: list[bytes] = []
    at = offset
    for column, chunk in zip(EVENT_COLUMNS, group.chunks, strict=True):
        kind = _TYPES[len(columns)]
        pages += chunk.pages
        used = sorted({_RLE, chunk.encoding} | ({_PLAIN} if chunk.dictionary_bytes else set()))
        about = (
            Struct()
            .i32(1, kind)
            .i32s(2, used)
            .texts(3, [column.name.encode()])
            .i32(4, chunk.codec)
            .i64(5, group.rows)
            .i64(6, chunk.unpacked)
            .i64(7, chunk.packed)
            .i64(9, at + chunk.dictionary_bytes)
        )
        if chunk.dictionary_bytes:
            about.i64(11, at)
        statistics = Struct().i64(3, chunk.nulls)
        if chunk.low is not None and chunk.high is not None:
            statistics.text(5, chunk.high).text(6, chunk.low)
        about.struct(12, statistics.done())
        columns.append(Struct().i64(2, at).struct(3, about.done()).done())
        at += chunk.packed
    entry = (
        Struct()
        .structs(1, columns)
        .i64(2, sum(chunk.unpacked for chunk in group.chunks))
        .i64(3, group.rows)
        .i64(5, offset)
        .i64(6, at - offset)
        .i16(7, number)
        .done()
    )
    return pages, entry


def _schema() -> list[bytes]:
    elements = [Struct().text(4, b"schema").i32(5, len(EVENT_COLUMNS)).done()]
    for kind, column in zip(_TYPES, EVENT_COLUMNS, strict=True):
        element = Struct().i32(1, kind).i32(3, int(bool(column.null))).text(4, column.name.encode())
        if kind == _BYTE_ARRAY:
            element.i32(6, 0).struct(10, Struct().struct(1, Struct().done()).done())
        elements.append(element.done())
    return elements


_SCHEMA: Final = _schema()
# tells Arrow that `op` is a dictionary of strings
_ARROW_SCHEMA: Final = (
    Struct().text(1, b"ARROW:schema").text(2, base64.b64encode(SCHEMAS["events"].serialize().to_pybytes())).done()
)
