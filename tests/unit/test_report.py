"""The report: one file, self-contained, with everything escaped and every figure's origin."""

import hashlib
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from builders import TraceBuilder
from made import HOSTILE, event, made_result, made_trace

from iotrace.analysis.report.write import render_report, write_report
from iotrace.cli import main
from iotrace.errors import StorageError, TraceError, UsageError
from iotrace.replay.figures import Guard, RankTotals
from iotrace.replay.result import MountInfo

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Elements, ids, links and texts of a page, and whether its tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.ids: list[str | None] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def busy_trace(folder: Path, hostile: bool = False) -> Any:
    name = HOSTILE if hostile else "/data/movie.tif"
    rows = [
        event(i * 10**6, "read", path=0, file=0, open=0, offset=i * 4096, size=4096, result=4096) for i in range(200)
    ]
    rows += [event(i * 10**7, "write", path=1, file=1, open=1, offset=i, size=99, result=99) for i in range(50)]
    rows += [event(5, HOSTILE if hostile else "openat", path=0, result=-2)]
    processes = [
        {"process": 0, "pid": 1, "command": name, "start_ns": 0, "step": name, "job": name, "arguments": [name]}
    ]
    info: dict[str, Any] = {"command": [name], "unseen": [name], "host": name} if hostile else {}
    return made_trace(folder, rows, [name, "/data/out.mrc"], processes=processes, **info)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("report")
    trace = busy_trace(folder / "t.iotrace")
    made_result(folder / "r.ioresult", {"/a": 1, "/b": 2}, 6)
    return [trace, folder / "r.ioresult"]


@pytest.fixture(scope="module")
def page(sources: list[Path]) -> str:
    return render_report(sources)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One run on one storage."""
    folder = tmp_path_factory.mktemp("alone") / "r.ioresult"
    options = {"fs": ["/a", "/b"], "staged": "", "map": [], "direct": False, "seed": 1}
    made_result(folder, {"/a": 1}, 1, options=options)
    return render_report([folder])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("hostile")
    trace = busy_trace(folder / "t.iotrace", hostile=True)
    made_result(
        folder / "r.ioresult", {"/a": 1, HOSTILE: 2}, 6, warnings=[HOSTILE], source=HOSTILE, source_command=[HOSTILE],
        options={HOSTILE: HOSTILE}, not_replayed={HOSTILE: 3}, host=HOSTILE,
    )  # fmt: skip
    return render_report([trace, folder / "r.ioresult"])


def test_the_verdict_comes_before_warnings_and_warnings_before_figures(page: str) -> None:
    verdict, warning, figure = (
        page.index(text) for text in ("/b is slower than /a", "page cache may have served", "<figure")
    )
    assert verdict < warning < figure


def test_the_page_loads_nothing_from_anywhere(page: str) -> None:
    for _, name, value in Page(page).attributes:
        if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert value.startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"@import|url\((?!#)", page)
    assert {"link", "iframe", "object", "embed", "base"}.isdisjoint(Page(page).elements)


def test_the_only_script_is_the_one_whose_hash_the_policy_names(page: str) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
    assert len(scripts) == 1
    digest = b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.replace("&#39;", "'")


@pytest.mark.parametrize("which", ["page", "hostile"])
def test_tags_are_balanced_and_ids_are_unique(which: str, request: pytest.FixtureRequest) -> None:
    made = Page(request.getfixturevalue(which))
    assert len(made.ids) == len(set(made.ids))


def test_every_figure_table_and_picture_says_where_it_comes_from(page: str) -> None:
    figures = re.findall(r"<figure>.*?</figure>", page, re.S)
    captions = re.findall(r"<caption>.*?</caption>", page, re.S)
    assert len(figures) >= 6
    assert len(captions) >= 8
    facts = re.findall(r'<p>[^\n]*</p>\n<dl class="facts">', page)
    assert len(facts) == page.count('<dl class="facts">') >= 1
    verdicts = re.findall(r'<p class="verdict.*?</p>', page)
    assert len(verdicts) == 2
    for part in [*figures, *captions, *facts, *verdicts]:
        assert re.search(r'class="mark">(measured|replayed)<', part)


def test_pictures_have_a_text_for_those_who_do_not_see_them(page: str) -> None:
    labels = re.findall(r'role="img" aria-label="([^"]+)"', page)
    assert len(labels) == page.count("<figure>")
    assert all(len(label) > 40 for label in labels)


def test_the_page_has_a_language_captions_and_headers_for_a_screen_reader(page: str) -> None:
    made = Page(page)
    assert ("html", "lang", "en") in made.attributes
    assert made.elements.count("caption") == made.elements.count("table")
    assert made.elements.count("h1") == 1
    assert 'scope="col"' in page
    assert 'scope="row"' in page


def test_the_page_follows_light_dark_and_print(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert "#010203" not in page


def test_it_is_smaller_than_five_megabytes(page: str) -> None:
    assert len(page.encode()) < 5e6


def test_strangers_text_is_neither_markup_nor_control_characters(hostile: str) -> None:
    made = Page(hostile)
    assert made.elements.count("script") == 1
    assert "<script>alert" not in hostile
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", hostile)
    assert any("<script>alert(1)</script>" in text for text in made.texts)
    # no attribute was broken out of
    assert not [name for _, name, _ in made.attributes if name.startswith("on") or name == "drop"]


def test_provenance_names_command_machine_options_and_what_was_left_out(page: str) -> None:
    origin = page[page.index('id="origin"') :]
    for text in ("made by hand", "by the hand backend", "timing: asap", "operations not replayed", "abababab"):
        assert text in origin or text.replace(" ", "&#39; &#39;") in origin or "made &#39;by hand&#39;" in origin


@pytest.mark.parametrize(("mounts", "repeat"), [({"/a": 1}, 6), ({"/a": 1, "/b": 1, "/c": 2}, 1)])
def test_results_alone_make_a_page(tmp_path: Path, mounts: dict[str, float], repeat: int) -> None:
    made_result(tmp_path / "r.ioresult", mounts, repeat)
    html = render_report([tmp_path / "r.ioresult"])
    Page(html)
    assert "page cache may have served" in html
    assert ("With 1 run a side" in html) == (repeat == 1)


def test_a_page_on_a_trace_or_on_one_storage_begins_with_a_verdict_too(tmp_path: Path) -> None:
    b = TraceBuilder()
    for _ in range(300):
        b.named("newfstatat", "f")
    made_result(tmp_path / "r.ioresult", {"/a": 1}, 3)
    page = render_report([b.save(tmp_path / "t.iotrace"), tmp_path / "r.ioresult"])
    said = re.findall(r'<p class="verdict open">(.*?)</p>', page)
    assert len(said) == 2
    assert re.match(r"/a took \S+ ms for made.iotrace, in the median of 3 runs; .* no other storage", said[0])
    assert said[1].startswith("t.iotrace: what hurts a shared storage most is “The same names are looked at again")
    assert "Storage comparison" not in page
    assert page.index(said[1]) < page.index("<h2")


def test_a_storage_alone_has_its_latency_curves_and_its_course(alone: str) -> None:
    Page(alone)
    for text in ("Cumulative latency curves by class of operation. read: a quarter", "Bytes per second over time"):
        assert f'aria-label="{text}' in alone
    assert "farthest apart" not in alone


def test_a_storage_alone_is_not_told_how_many_runs_a_comparison_needs(alone: str) -> None:
    assert "a side" not in alone


def test_options_are_words_and_what_was_left_empty_is_not_shown(alone: str) -> None:
    assert "<dd>fs: /a /b, seed: 1</dd>" in alone


def test_a_result_says_of_which_storage_it_is_in_which_state_and_whose_the_reads_were(tmp_path: Path) -> None:
    result = made_result(tmp_path / "r.ioresult", {"/a": 1}, 2)
    for run, verdict in zip(result.info.runs, ("client cache", "storage"), strict=True):
        run.mount = MountInfo("/mnt", "nfs4", "filer:/a", "rw,noac")
        run.guard = Guard(verdict, f"Why {verdict}.", 5, 0, 5, "x")
        run.ranks = [RankTotals(rank, f"n{rank}", 1, 5, 1.0, rank + 2.0, 30, -4.0 * rank, 9) for rank in range(2)]
    result.save(tmp_path / "r.ioresult", force=True)
    page = render_report([tmp_path / "r.ioresult"])
    assert "<dd>client cache in 1 of 2 runs, storage in 1 of 2 runs</dd>" in page
    origin = page[page.index('id="origin"') :]
    assert "<dd>/a: nfs4, filer:/a on /mnt (rw,noac)</dd>" in origin
    why = "/a: client cache in 1 of 2 runs, storage in 1 of 2 runs; the first: Why client cache."
    assert f"<dd>{why}</dd>" in origin
    assert "run 2: 2 ranks: rank 0 (n0) was done first, after 2.00 s, rank 1 (n1) last, after 3.00 s" in origin
    assert "clocks known to 9.00 µs, UTC at most 4.00 ms behind rank 0&#39;s" in origin


def test_results_of_different_work_are_each_compared_within_themselves(tmp_path: Path) -> None:
    made_result(tmp_path / "one.ioresult", {"/a": 1, "/b": 2}, 6, source="one.iotrace")
    made_result(tmp_path / "two.ioresult", {"/a": 1, "/b": 0.2}, 6, source="two.iotrace", plan_hash="cd" * 32)
    html = render_report([tmp_path / "one.ioresult", tmp_path / "two.ioresult"])
    Page(html)
    assert "one: /b is slower than /a" in html
    assert "two: /b is faster than /a" in html
    assert "different plans" not in html
    assert html.count("page cache may have served") == 1


def test_findings_stand_before_pictures_with_files_reasons_and_advice(tmp_path: Path) -> None:
    b = TraceBuilder()
    for _ in range(300):
        b.named("newfstatat", HOSTILE)
    html = render_report([b.save(tmp_path / "t.iotrace")])
    page = Page(html)
    text = " ".join(" ".join(page.texts).split())
    assert "The same names are looked at again and again" in text
    assert text.index("What to do") < text.index("By operation")
    assert "299 ×" in text
    assert "On Lustre" in text
    assert "<script>alert" not in html
    assert "details" in page.elements


def test_an_empty_trace_makes_a_page(tmp_path: Path) -> None:
    Page(render_report([made_trace(tmp_path / "t.iotrace", [])]))


def test_where_nothing_hurts_it_says_what_was_looked_for_and_warns_of_losses(tmp_path: Path) -> None:
    html = render_report([made_trace(tmp_path / "t.iotrace", [event(0, "read")], lost={"read": 1234})])
    assert "Nothing was found of what iotrace looks for" in html
    assert "lost 1,234 operations (read 1,234): the figures are too low." in html


def test_the_same_sources_make_the_same_page(sources: list[Path], page: str) -> None:
    first, second = (
        re.sub(r"on \d{4}-.*? UTC", "", re.sub(r"\bp\d+-", "", one)) for one in (page, render_report(sources))
    )
    assert first == second


def test_the_command_replaces_an_earlier_report_and_no_other_file(
    tmp_path: Path, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = made_trace(tmp_path / "t.iotrace", [event(0, "read")])
    target = tmp_path / "report.html"
    target.write_text(page)
    assert main(["report", str(trace), "-o", str(target)]) == 0
    assert str(target) in capsys.readouterr().out
    assert target.read_text() != page
    target.write_text("my thesis")
    with pytest.raises(StorageError, match="--force"):
        write_report([trace], target)
    assert target.read_text() == "my thesis"
    write_report([trace], target, force=True)
    assert "<!DOCTYPE html>" in target.read_text()


def test_a_folder_that_is_neither_gets_one_line(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(TraceError, match="neither a trace nor a result"):
        render_report([tmp_path / "x"])
    with pytest.raises(UsageError, match="nothing to report"):
        render_report([])


def test_a_place_that_cannot_be_written_gets_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = made_trace(tmp_path / "t.iotrace", [event(0, "read")])
    assert main(["report", str(trace), "-o", str(tmp_path / "missing" / "r.html")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["report", str(trace), "-o", str(tmp_path)]) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.iotrace"]
