"""The report with hostile names in a real browser: nothing of a stranger's text runs, nothing is fetched, it prints.

What a reader does with the pages, in light and dark, is tested in tests/system/test_pages_in_browser.py.
"""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import BROWSER, Browser
from made import HOSTILE, event, made_result, made_trace

from iotrace.analysis.report.write import write_report

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    rows = [
        event(
            i * 10**6,
            "read",
            process=i % 2,
            path=i % 3,
            file=i % 3,
            open=i % 3,
            offset=i * 100,
            size=100,
            result=100,
            duration_ns=1000 * (i % 7),
        )
        for i in range(120)
    ]
    rows.append(event(5, HOSTILE, path=0))
    rows.append(event(6, "openat", path=0))
    labels = dict.fromkeys(("command", "step", "job", "user"), HOSTILE)
    processes = [{"process": i, "pid": i + 1, "start_ns": 0} | labels for i in range(2)]
    trace = made_trace(
        folder / "t.iotrace", rows, [HOSTILE, "/data/b", "/data/c"], processes=processes, command=[HOSTILE]
    )
    made_result(folder / "r.ioresult", {"/mnt/a": 1, HOSTILE: 2}, 6, warnings=[HOSTILE])
    return write_report([trace, folder / "r.ioresult"], folder / "report.html")


def test_no_text_of_a_stranger_runs_and_nothing_is_fetched(browser: Browser, page: Path) -> None:
    browser.open(page.as_uri())
    assert browser.requests() == [page.as_uri()]
    # a script that the policy forbids stands in the console
    assert browser.complaints() == []
    assert browser.evaluate("document.scripts.length") == 1
    assert browser.evaluate("[...document.querySelectorAll('*')].every((one) => !one.onclick && !one.onerror)")


def test_a_script_that_slips_into_a_page_is_refused_and_noticed(browser: Browser, page: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text().replace("</main>", "<script>document.title = 'ran'</script></main>"))
    browser.open(broken.as_uri())
    assert browser.evaluate("document.title") != "ran"
    assert any("Content Security Policy" in complaint for complaint in browser.complaints())


def test_the_page_prints(browser: Browser, page: Path) -> None:
    browser.open(page.as_uri())
    assert base64.b64decode(browser.call("Page.printToPDF")["data"]).startswith(b"%PDF")
