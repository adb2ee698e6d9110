"""Reading a trace: Parquet parts and, where a recording goes on or was cut off, the tail behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from iotrace.errors import TraceError
from iotrace.trace.info import TraceInfo, read_info
from iotrace.trace.parts import foot_name, part_name, tail_name
from iotrace.trace.schema import ADDED, SCHEMAS

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

_BATCH_ROWS = 1 << 17


class Trace:
    """An opened trace. Tables come as record batches, DuckDB views, or (whole in memory) pandas frames.

    Attributes
    ----------
    folder: where it lies.
    info: contents of trace.json.
    may_map_less: a replay may leave many of the events out (--map).
    """

    may_map_less = True

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.info: TraceInfo = read_info(self.folder)

    def __repr__(self) -> str:
        return f"Trace({str(self.folder)!r}, {self.info.events} events)"

    def parts(self, table: str) -> list[Path]:
        """Parquet parts of a table, in order; those that a bounded recording has just given up are left out.

        Raises
        ------
        TraceError: a part was cut off (it lacks Parquet's closing mark).
        """
        first = self.info.chapters[0].first.get(table, 0) if self.info.chapters else 0
        parts = sorted(part for part in (self.folder / table).glob("part-*.parquet") if part.name >= part_name(first))
        for part in parts:
            if not _is_whole(part):
                if not part.exists():
                    raise self._dropped(part)
                raise TraceError(f"{part} is damaged (not a whole Parquet file): move it away to read the rest.")
        return parts

    def event_count(self) -> int:
        """Events in the whole parts; a trace that goes on has more."""
        count = 0
        for part in self.parts("events"):
            try:
                count += int(pq.read_metadata(part).num_rows)
            except FileNotFoundError:  # a bounded recording has given it up meanwhile: who reads it will say so
                continue
        return count

    def first_part(self) -> str:
        """Name of the first part of the events; another one when a recording has dropped its oldest meanwhile."""
        return next((part.name for part in self.parts("events")), "")

    def how_to_shorten(self, events: int) -> str:
        """What to do where no more than so many events have room, as the end of a sentence."""
        return "replay a shorter recording"

    def _dropped(self, part: Path) -> TraceError:
        return TraceError(
            f"{part} is not there any more: the recording may only be so large and drops its oldest parts; read again."
        )

    def _snapshot(self, table: str) -> tuple[list[Path], list[int]]:
        """Whole parts, and the numbers of those that are not yet whole."""
        # in that order: a part that ends in between is in both, and none is in neither
        begun = _begun_parts(self.folder / table)
        parts = self.parts(table)
        whole = {part.name for part in parts}
        return parts, [number for number in begun if part_name(number) not in whole]

    def tails(self, table: str) -> list[Path]:
        """Arrow streams that hold the rows of a small table's part that is not yet written."""
        _, begun = self._snapshot(table)
        found = [self.folder / table / tail_name(number) for number in begun]
        return [path for path in found if path.exists()]

    def batches(self, table: str, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Rows of a table in the order written; columns that this version does not know are left out."""
        names = list(columns) if columns is not None else SCHEMAS[table].names
        parts, begun = self._snapshot(table)
        for part in parts:
            yield from self._part_batches(part, names)
        for number in begun:
            yield from self._begun_batches(table, number, names)

    def _part_batches(self, part: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            with pq.ParquetFile(part) as file:
                missing = set(names) - set(file.schema_arrow.names)
                if missing - set(ADDED.get(part.parent.name, ())):
                    raise TraceError(
                        f"{part} lacks the columns {', '.join(sorted(missing))}: it is not a part of a trace."
                    )
                for batch in file.iter_batches(_BATCH_ROWS, columns=[name for name in names if name not in missing]):
                    yield _with_columns(batch, names, part.parent.name)
        except FileNotFoundError:
            raise self._dropped(part) from None
        except (pa.ArrowException, OSError) as error:
            raise TraceError(f"{part} cannot be read: {str(error).splitlines()[0]}.") from None

    def _begun_batches(self, table: str, number: int, names: list[str]) -> Iterator[pa.RecordBatch]:
        """What a flush has left of a part: its row groups so far, then the tail that counts from there on."""
        folder = self.folder / table
        part, begun, foot = folder / part_name(number), folder / f"_{part_name(number)}", folder / foot_name(number)
        groups = 0
        if not part.exists() and foot.exists():
            try:
                metadata = pq.read_metadata(foot)
                with pq.ParquetFile(begun, metadata=metadata) as file:
                    for batch in file.iter_batches(_BATCH_ROWS, columns=names):
                        yield _with_columns(batch, names, table)
                groups = metadata.num_row_groups
            except (pa.ArrowException, OSError) as error:
                if not part.exists():
                    raise TraceError(f"{begun} cannot be read: {str(error).splitlines()[0]}.") from None
        rest = list(tail_batches(folder / tail_name(number, groups)))
        if part.exists() and not groups:
            # it has ended meanwhile
            yield from self._part_batches(part, names)
            return
        for batch in rest:
            yield _with_columns(batch, names, table)

    def table(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A whole table in memory."""
        names = list(columns) if columns is not None else SCHEMAS[table].names
        schema = pa.schema([SCHEMAS[table].field(name) for name in names])
        batches = [batch.cast(schema) if batch.schema != schema else batch for batch in self.batches(table, names)]
        return pa.Table.from_batches(batches, schema)

    def events(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All events as a pandas frame, in order of completion; `op` is categorical, ids are nullable integers.

        With the default `columns` the text of each event's path is added as `path_text`.
        """
        table = self.table("events", columns)
        frame: pd.DataFrame = table.to_pandas(types_mapper=_nullable_integers)
        if columns is None:
            text = self.paths().set_index("path")["text"]
            frame["path_text"] = frame["path"].map(text)
        return frame

    def paths(self) -> pd.DataFrame:
        """All paths: path, text, raw (bytes)."""
        frame: pd.DataFrame = self.table("paths").to_pandas()
        return frame

    def files(self) -> pd.DataFrame:
        """All files, with the text of the path at which each was first seen as `path_text`."""
        frame: pd.DataFrame = self.table("files").to_pandas(types_mapper=_nullable_integers)
        frame["path_text"] = frame["path"].map(self.paths().set_index("path")["text"])
        return frame

    def processes(self) -> pd.DataFrame:
        """All processes, one row each: the last one written for it."""
        frame: pd.DataFrame = self.table("processes").to_pandas(types_mapper=_nullable_integers)
        return frame.drop_duplicates("process", keep="last").sort_values("process", ignore_index=True)

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection with a view for each table (events, paths, files, processes)."""
        import duckdb

        connection = duckdb.connect()
        for table, schema in SCHEMAS.items():
            whole, begun = self._snapshot(table)
            parts = [str(part) for part in whole]
            tail = [
                batch.cast(schema) if batch.schema != schema else batch
                for number in begun
                for batch in self._begun_batches(table, number, schema.names)
            ]
            sources = []
            names = ", ".join(f'"{name}"' for name in schema.names)
            if parts:
                # file names go in as a value, never as SQL text: a folder's name is a stranger's text too
                found = connection.from_parquet(parts)
                found.create_view(f"{table}_parts")
                held = ", ".join(
                    f'null::{schema.field(name).type} as "{name}"'
                    if name in ADDED.get(table, ()) and name not in found.columns
                    else f'"{name}"'
                    for name in schema.names
                )
                sources.append(f"select {held} from {table}_parts")
            if tail or not parts:
                connection.register(f"{table}_tail", pa.Table.from_batches(tail, schema))
                sources.append(f"select {names} from {table}_tail")
            body = " union all ".join(sources)
            if table == "processes":
                # the last row written for a process is the one that holds, as in processes()
                body = f"select *, row_number() over () as written from ({body})"
                last = "qualify row_number() over (partition by process order by written desc) = 1"
                body = f"select {names} from ({body}) {last}"
            connection.execute(f"create view {table} as select * from ({body})")
        return connection


def open_trace(folder: str | Path) -> Trace:
    """Open a trace for reading.

    Raises
    ------
    TraceError: nothing is there, it is not a trace, it is damaged, or a newer iotrace wrote it.
    """
    return Trace(folder)


def _nullable_integers(kind: pa.DataType) -> Any:
    import pandas as pd

    return {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}.get(kind)


def _with_columns(batch: pa.RecordBatch, names: list[str], table: str) -> pa.RecordBatch:
    """The columns named; those that an earlier minor version did not write are null."""
    missing = [name for name in names if name in ADDED.get(table, ()) and name not in batch.schema.names]
    for name in missing:
        batch = batch.append_column(
            SCHEMAS[table].field(name), pa.nulls(batch.num_rows, SCHEMAS[table].field(name).type)
        )
    return batch.select(names)


def _is_whole(part: Path) -> bool:
    try:
        with part.open("rb") as file:
            file.seek(-4, 2)
            return file.read() == b"PAR1"
    except OSError:
        return False


def _begun_parts(folder: Path) -> list[int]:
    """Numbers of the parts of which a footer or a tail stands."""
    names = [path.name for path in folder.glob("_*") if path.name.startswith(("_foot-", "_tail-"))]
    return sorted({int(name[6:12]) for name in names if name[6:12].isdigit()})


def tail_batches(tail: Path) -> Iterator[pa.RecordBatch]:
    """Batches of an Arrow stream up to the last whole one; a recording that was killed leaves a torn end."""
    try:
        with tail.open("rb") as source, pa.ipc.open_stream(source) as stream:
            yield from stream
    except (pa.ArrowException, OSError, EOFError):
        return
