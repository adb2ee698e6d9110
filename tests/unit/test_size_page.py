"""`iotrace size --html`: the page holds the figures of --json, says that they are modelled, and runs nothing."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made import HOSTILE, made_result

from iotrace.analysis.sizing.show import duration_of
from iotrace.cli import main
from iotrace.units import rate_text

OWN = """
[storages.%s]
title = %s
unit = "server"
disk_read = "2 GB"
write = "1 GB"
read_latency_us = 300
write_latency_us = 300
metadata_latency_us = 300
spare = 1
metadata = 5000
capacity = "50 TB"
source = %s
"""


class Page(HTMLParser):
    """Texts of cells, in order, and names of elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.elements: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self._inside = tag in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells.append(data)
            self._inside = False


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A page about a storage whose names are hostile, and what --json printed with it."""
    folder = tmp_path_factory.mktemp("page")
    name = json.dumps(HOSTILE.replace("\x1b", ""))
    (folder / "own.toml").write_text(OWN % (name, name, name))
    return folder, HOSTILE.replace("\x1b", "")


def test_the_page_holds_the_figures_of_json_and_says_that_they_are_modelled(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, name = made
    few = ["--set", "movies=30", "--set", "users=3"]
    words = ["--storages", str(folder / "own.toml"), "--storage", name, *few]
    assert main(["size", *words, "--html", str(folder / "size.html"), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    text = (folder / "size.html").read_text()
    page = Page(text)
    assert "modelled and were measured nowhere" in text
    assert answer["provenance"] == "modelled"
    for step in answer["steps"]:
        row = page.cells.index(step["step"])
        cells = page.cells[row : row + 14]
        assert cells[2:4] == [step["binding"], step["waits_for"] or "-"]
        waits = {name: share for name, share in step["parts"].items() if name != "compute"}
        assert waits[step["waits_for"]] == max(waits.values()) > 0
        for figure in ("peak_read", "peak_write"):
            assert rate_text(step[figure]) in cells
        assert repr(step["operations_s"]) in text
        assert step["peak_write"] > 0 or step["written_bytes"] == 0
        assert all(repr(value) in text for found in step["rates"].values() for value in found.values())
    for what, units in answer["needed_units"].items():
        assert page.cells[page.cells.index(what) + 1] == str(units)
    assert "of them failed" in text
    assert duration_of(answer["structure_all_working_s"]["mean"]) in text
    assert answer["units"] - answer["units_working"] == 1
    assert page.elements.count("svg") == 4
    # each word of the pictures that is not everyday English is explained beneath its picture
    pictures = re.findall(r"<svg.*?</svg>.*?</figcaption>", text, re.DOTALL)
    for word in ("lane", "metadata rate", "metadata latency", "compute", "knee"):
        beneath = [picture.split("<figcaption>")[1].lower() for picture in pictures if word in picture.lower()]
        assert any(re.search(f"{word}( runs|:| \\(dashed\\) is)", caption) for caption in beneath), word
    # each lane has a row, and each job is a bar in it
    (queue,) = (picture for picture in pictures if "jobs that wait" in picture)
    steps = [step["step"] for step in answer["steps"] if step["step"] != "live"]
    assert all(f">{step}<" in queue for step in steps)
    assert "share one queue" in queue
    (throughput,) = (picture for picture in pictures if "bytes read (up)" in picture)
    assert "bytes written (down)" in throughput
    # what a stranger wrote is text
    assert page.elements.count("script") == 1
    assert "<script>alert" not in text
    assert re.search(r"default-src 'none'", text)


def test_another_file_is_not_replaced_and_a_page_is(made: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = made
    target = folder / "mine.html"
    target.write_text("mine")
    words = ["size", "--storage", "local-nvme", "--set", "movies=30", "--html", str(target)]
    assert main(words) == 1
    assert "--force" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert main([*words, "--force"]) == 0
    assert main(words) == 0
    # a storage that nobody shares has no knee: three pictures
    assert Page(target.read_text()).elements.count("svg") == 3


def test_a_report_of_a_result_ends_with_how_much_storage_a_workload_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, page = tmp_path / "r.ioresult", tmp_path / "r.html"
    made_result(result, {"/a": 1}, 6)
    (tmp_path / "own.toml").write_text(OWN % ("ours", '"Ours"', '"us"'))
    size = ["--size", "single-user", "--storage", "ours", "--storages", str(tmp_path / "own.toml"), "--set", "users=2"]
    assert main(["report", str(result), *size, "-o", str(page)]) == 0
    capsys.readouterr()
    html = page.read_text()
    cells = Page(html).cells
    assert main(["size", "single-user", *size[2:], "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert repr(answer["structure_s"]["mean"]) in html
    assert all(step["step"] in cells for step in answer["steps"])
    assert html.index("Ours") > html.index("The choices beside each other") > html.index("/a")
    assert "measured nowhere" in html


def test_what_goes_with_size_is_refused_without_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_result(tmp_path / "r.ioresult", {"/a": 1}, 1)
    assert main(["report", str(tmp_path / "r.ioresult"), "--storage", "weka-i3en", "-o", str(tmp_path / "r.html")]) == 2
    assert "go with --size WORKLOAD" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()
