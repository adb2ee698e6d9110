"""Row groups of our own making hold what was put in, for Arrow and for DuckDB, whatever the columns look like."""

from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.trace.info import TraceInfo
from iotrace.trace.matrix import event_batch
from iotrace.trace.operations import OPERATIONS
from iotrace.trace.parquet import MAGIC, EventEncoder, RowGroup, footer, place
from iotrace.trace.schema import EVENT_COLUMNS, NULL, SCHEMAS
from iotrace.trace.writer import TraceWriter

Ints = npt.NDArray[np.int64]

SHAPES = ("constant", "runs", "small", "walk", "any", "extremes", "sizes")
ROWS = st.sampled_from([1, 2, 7, 8, 9, 31, 33, 127, 128, 129, 130, 1000, 4097, 30_000])


def column(kind: pa.DataType, shape: str, nulls: float, rows: int, random: np.random.Generator) -> Ints:
    low, high = (-(2**31), 2**31 - 1) if kind == pa.int32() else (-(2**63) + 1, 2**63 - 1)
    if shape == "constant":
        values = np.full(rows, random.integers(low, high), np.int64)
    elif shape == "runs":
        values = np.repeat(random.integers(-3, 3, rows), random.integers(1, 40, rows))[:rows]
    elif shape == "small":
        values = random.integers(0, 300, rows)
    elif shape == "walk":
        values = np.cumsum(random.integers(-5, 2000, rows)) % high
    elif shape == "extremes":
        values = random.choice(np.array([low, high, 0, -1, 1], np.int64), rows)
    elif shape == "sizes":
        values = np.int64(2) ** random.integers(0, 30, rows)
    else:
        values = random.integers(low, high, rows)
    values = values.astype(np.int64)
    values[random.random(rows) < nulls] = NULL
    return values


@st.composite
def matrices(draw: st.DrawFn) -> Ints:
    rows, random = draw(ROWS), np.random.default_rng(draw(st.integers(0, 2**32)))
    made = np.full((len(EVENT_COLUMNS), rows + 5), NULL, np.int64)
    for number, kind in enumerate(EVENT_COLUMNS):
        if kind.name == "op":
            made[number, :rows] = random.integers(0, draw(st.integers(1, len(OPERATIONS))), rows)
            continue
        nulls = draw(st.sampled_from([0.0, 0.01, 0.5, 1.0])) if kind.null else 0.0
        made[number, :rows] = column(kind.type, draw(st.sampled_from(SHAPES)), nulls, rows, random)
    return made


def write(path: Path, groups: list[RowGroup]) -> None:
    entries, content = [], bytearray(MAGIC)
    for number, group in enumerate(groups):
        pages, entry = place(group, len(content), number)
        content += b"".join(pages)
        entries.append(entry)
    path.write_bytes(bytes(content) + footer(entries, sum(group.rows for group in groups)))


def plain(table: pa.Table) -> pa.Table:
    return table.cast(pa.schema([f.with_type(pa.string()) if f.name == "op" else f for f in table.schema]))


@given(parts=st.lists(matrices(), min_size=1, max_size=3), as_batches=st.booleans())
@settings(deadline=None, max_examples=60)
def test_columns_of_any_shape_come_back(
    parts: list[Ints], as_batches: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("groups") / "events.parquet"
    encoder = EventEncoder()
    batches = [event_batch(rows, rows.shape[1] - 5) for rows in parts]
    made = []
    for rows, batch in zip(parts, batches, strict=True):
        made.append(encoder.batch(batch) if as_batches else encoder.matrix(rows, batch.num_rows, reset=True))
        assert as_batches or (rows == NULL).all(), "the matrix is ready for its next use"
    write(path, made)
    expected = pa.Table.from_batches(batches, SCHEMAS["events"])
    found = pq.read_table(path)
    assert found.schema.equals(SCHEMAS["events"])
    assert plain(found).equals(plain(expected))
    relation = duckdb.sql("select * from read_parquet(?)", params=[str(path)])
    assert relation is not None
    other = relation.to_arrow_table()
    for name in expected.schema.names:
        values = expected.column(name)
        assert other.column(name).to_pylist() == values.to_pylist(), name


@given(rows=matrices())
@settings(deadline=None, max_examples=30)
def test_the_footer_tells_the_bounds_and_nulls_of_each_column(
    rows: Ints, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("bounds") / "events.parquet"
    batch = event_batch(rows, rows.shape[1] - 5)
    write(path, [EventEncoder().matrix(rows, batch.num_rows)])
    group = pq.read_metadata(path).row_group(0)
    assert group.num_rows == batch.num_rows
    for number, name in enumerate(batch.schema.names):
        values, told = batch.column(name), group.column(number).statistics
        assert told.null_count == values.null_count
        if name == "op" or values.null_count == batch.num_rows:
            assert not told.has_min_max
            continue
        bounds = pc.min_max(values).as_py()
        assert (told.min, told.max) == (bounds["min"], bounds["max"])


def test_encodings_follow_the_values_when_they_change(tmp_path: Path) -> None:
    """A column that held few values, and then holds many, no longer fits the dictionary that was best."""
    encoder, random = EventEncoder(), np.random.default_rng(1)
    few, many = (np.full((len(EVENT_COLUMNS), 5000), NULL, np.int64) for _ in range(2))
    for rows, most in ((few, 3), (many, 2**60)):
        for number, kind in enumerate(EVENT_COLUMNS):
            if not kind.null:
                rows[number] = 0
        rows[[kind.name for kind in EVENT_COLUMNS].index("offset")] = random.integers(0, most, 5000)
    groups = [encoder.matrix(rows, 5000) for rows in (few, many, few)]
    write(tmp_path / "events.parquet", groups)
    batches = [event_batch(rows, 5000) for rows in (few, many, few)]
    assert plain(pq.read_table(tmp_path / "events.parquet")).equals(plain(pa.Table.from_batches(batches)))


def test_columns_that_hold_nothing_or_one_value_cost_next_to_nothing() -> None:
    rows = np.full((len(EVENT_COLUMNS), 100_000), NULL, np.int64)
    for number, kind in enumerate(EVENT_COLUMNS):
        if not kind.null:
            rows[number] = 7
    assert EventEncoder().matrix(rows, 100_000).packed_bytes < 100_000 / 50


def test_a_prepared_encoder_compiles_nothing_more() -> None:
    from iotrace.trace import encodings

    kernels = [getattr(encodings, name) for name in dir(encodings)]
    kernels = [kernel for kernel in kernels if hasattr(kernel, "signatures")]
    encoder = EventEncoder()
    encoder.prepare()
    before = {kernel.__name__: list(kernel.signatures) for kernel in kernels}
    rows = np.full((len(EVENT_COLUMNS), 50_000), 5, np.int64)
    rows[::2] = np.random.default_rng(1).integers(0, 90, rows[::2].shape)
    rows[1::3] = np.random.default_rng(1).integers(0, 2**30, rows[1::3].shape)
    rows[1, ::3] = NULL
    rows[5] %= 90
    encoder.batch(event_batch(rows, 100))
    encoder.matrix(rows, 50_000)
    assert {kernel.__name__: list(kernel.signatures) for kernel in kernels} == before
    assert before


def test_a_prepared_writer_encodes_few_rows_too_and_a_fresh_one_leaves_them_to_arrow(tmp_path: Path) -> None:
    made = {}
    for name, prepared in (("prepared", True), ("fresh", False)):
        writer = TraceWriter(tmp_path / name, TraceInfo())
        if prepared:
            writer.prepare()
        writer.append_matrix(np.full((len(EVENT_COLUMNS), 10), 1, np.int64), 10)
        writer.close()
        made[name] = pq.ParquetFile(writer.folder / "events" / "part-000000.parquet").metadata.created_by
    assert made["prepared"] == "iotrace" != made["fresh"]
