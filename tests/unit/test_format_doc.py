"""docs/format.md says what the schema and the operations table say, and its code runs."""

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from format_doc import EXAMPLES, PAGE, generated, rewritten
from made import event, made_result, made_trace

from iotrace.trace.info import TraceInfo
from iotrace.trace.operations import BY_NAME, OPERATIONS, Kind
from iotrace.trace.schema import COLUMNS, EVENT_COLUMNS, SCHEMAS


def test_the_page_is_up_to_date() -> None:
    """When this fails: python tests/format_doc.py"""
    page = PAGE.read_text()
    assert rewritten(page) == page


def test_every_column_and_every_operation_has_its_row() -> None:
    page = PAGE.read_text()
    for table, columns in COLUMNS.items():
        section = page[page.index(f"<!-- generated: columns {table} -->") :].split("<!-- end -->")[0]
        assert re.findall(r"^\| `(\w+)` ", section, re.M) == [column.name for column in columns]
    section = page[page.index("<!-- generated: operations -->") :]
    assert re.findall(r"^\| `([\w.]+)` ", section, re.M) == [operation.name for operation in OPERATIONS]


def test_every_field_of_trace_json_is_explained() -> None:
    table = PAGE.read_text().split("## trace.json")[1].split("##")[0]
    named = set(
        re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|")))
    )
    assert named == {field.name for field in msgspec.structs.fields(TraceInfo)}


def test_every_class_of_operation_has_an_example_that_fits_the_schema() -> None:
    assert set(EXAMPLES) == {str(kind) for kind in Kind}
    for kind, row in EXAMPLES.items():
        assert BY_NAME[row["op"]].kind == kind
        batch = pa.RecordBatch.from_pylist([row], SCHEMAS["events"])
        assert batch.to_pylist()[0] == {column.name: row.get(column.name) for column in EVENT_COLUMNS}


def test_every_generated_part_has_one_place() -> None:
    page = PAGE.read_text()
    assert sorted(re.findall(r"<!-- generated: (.*?) -->", page)) == sorted(generated())


@pytest.mark.parametrize("number", [0, 1])
def test_the_code_of_the_page_runs_without_iotrace(number: int, tmp_path: Path) -> None:
    made_trace(tmp_path / "T.iotrace", [event(i, "read", path=0, result=1) for i in range(5)], ["/data/a"])
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)[number]
    assert "iotrace." not in code.replace("T.iotrace", "")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"read\W+5", done.stdout)


@pytest.mark.parametrize("name", ["summary.md", "compare.md"])
def test_the_python_of_the_task_pages_runs(name: str, tmp_path: Path) -> None:
    made_trace(tmp_path / "T.iotrace", [event(i, "read", path=0, result=1) for i in range(5)], ["/data/a"])
    made_result(tmp_path / "R.ioresult", {"/a": 1, "/b": 2}, 6)
    blocks = re.findall(r"```python\n(.*?)```", (PAGE.parent / name).read_text(), re.S)
    assert blocks
    for code in blocks:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout
