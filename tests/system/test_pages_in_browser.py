"""The pages of report and size in a real Chromium: mouse, keyboard, light, dark, and nothing that leaves the page."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from browser import BROWSER, Browser

from iotrace import data

pytestmark = [pytest.mark.system, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]

PAGES = ("trace", "result", "comparison", "size")
TRACES = Path(data.__path__[0]) / "traces"
# the first table with three rows or more, and a column of it that holds different figures: they can be sorted
TABLE = """(() => {
  for (const [number, table] of [...document.querySelectorAll("table")].entries())
    for (let column = 1; column < table.tHead.rows[0].cells.length; column++) {
      const values = [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.value);
      const numbers = values.every((value) => value !== "" && !Number.isNaN(Number(value)));
      if (numbers && new Set(values).size >= 3) return [number, column];
    }
})()"""

# texts whose ink and ground are too alike; the ground is that of the nearest element that has one
FAINT = """(() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = parts(color).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (one) => {
    const color = getComputedStyle(one).backgroundColor;
    return parts(color)[3] === 0 ? ground(one.parentElement) : color;
  };
  const faint = [];
  for (const one of document.body.querySelectorAll("*")) {
    const words = [...one.childNodes].filter((node) => node.nodeType === 3 && node.data.trim());
    if (!words.length || one.matches("script, style")) continue;
    const style = getComputedStyle(one), inks = [one.closest("svg") ? style.fill : style.color, ground(one)].map(light);
    const contrast = (Math.max(...inks) + 0.05) / (Math.min(...inks) + 0.05);
    if (contrast < 4.5) faint.push([words[0].data, contrast]);
  }
  return faint;
})()"""


def iotrace(*words: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "iotrace", *map(str, words)], capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a page of each kind, each written by its command, from replays that ran here."""
    folder = tmp_path_factory.mktemp("pages")
    for mount in ("a", "b"):
        (folder / mount).mkdir()
    replay = ("replay", TRACES / "relion-post-process.iotrace", "--timing", "asap", "--fs", folder / "a")
    iotrace(*replay, "--users", "2", "-o", folder / "one.ioresult")
    iotrace(*replay, "--fs", folder / "b", "--repeat", "3", "-o", folder / "two.ioresult")
    iotrace("report", TRACES / "relion-class-2d.iotrace", "-o", folder / "trace.html")
    iotrace("report", folder / "one.ioresult", "-o", folder / "result.html")
    iotrace("report", folder / "two.ioresult", "-o", folder / "comparison.html")
    iotrace("size", "--set", "movies=30", "--set", "users=3", "--html", folder / "size.html")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


def url(pages: Path, page: str) -> str:
    return (pages / f"{page}.html").as_uri()


def sorted_column(browser: Browser, table: int, column: int) -> tuple[str | None, list[float]]:
    """How a column says that it is sorted, and its values from top to bottom."""
    found = browser.evaluate(
        f"(() => {{ const table = document.querySelectorAll('table')[{table}]; "
        f"return [table.tHead.rows[0].cells[{column}].getAttribute('aria-sort'), "
        f"[...table.tBodies[0].rows].map((row) => Number(row.cells[{column}].dataset.value))]; }})()"
    )
    return found[0], found[1]


@pytest.mark.parametrize("page", PAGES)
def test_a_click_on_the_head_of_a_column_sorts_the_table_and_another_turns_it_round(
    browser: Browser, pages: Path, page: str
) -> None:
    browser.open(url(pages, page))
    table, column = browser.evaluate(TABLE)
    browser.evaluate(f"document.querySelectorAll('table')[{table}].id = 'sorted'")
    before = sorted_column(browser, table, column)[1]
    for says, turned in (("descending", True), ("ascending", False)):
        browser.click(f"#sorted thead th:nth-child({column + 1}) button")
        assert sorted_column(browser, table, column) == (says, sorted(before, reverse=turned))


@pytest.mark.parametrize("page", PAGES)
def test_every_column_with_different_texts_can_be_sorted_names_from_a_on(
    browser: Browser, pages: Path, page: str
) -> None:
    browser.open(url(pages, page))
    dead = browser.evaluate("""[...document.querySelectorAll("thead th")].filter((head) => {
      const cells = [...head.closest("table").tBodies[0].rows].map((row) => row.cells[head.cellIndex]);
      return new Set(cells.map((cell) => cell.textContent)).size > 2 && cells.every((cell) => !cell.dataset.value);
    }).map((head) => head.textContent)""")
    assert dead == []
    names = "[...document.querySelector('table').tBodies[0].rows].map((row) => row.cells[0].dataset.value)"
    browser.click("table thead th:first-child button")
    found = browser.evaluate(names)
    assert found == browser.evaluate(f"{names}.sort((a, b) => a.localeCompare(b, undefined, {{ numeric: true }}))")


@pytest.mark.parametrize(("page", "key"), [*((page, "Enter") for page in PAGES), ("trace", " ")])
def test_the_keyboard_alone_reaches_the_head_of_a_column_and_sorts(
    browser: Browser, pages: Path, page: str, key: str
) -> None:
    browser.open(url(pages, page))
    table, column = browser.evaluate(TABLE)
    before = sorted_column(browser, table, column)[1]
    at = (
        f"document.activeElement === document.querySelectorAll('table')[{table}]"
        f".tHead.rows[0].cells[{column}].querySelector('button')"
    )
    for _ in range(300):
        browser.press("Tab")
        if browser.evaluate(at):
            break
    assert browser.evaluate(at), "Tab does not come to the head of the column"
    # who goes by keyboard must see where they are
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press(key)
    assert sorted_column(browser, table, column) == ("descending", sorted(before, reverse=True))
    assert browser.evaluate(at), "sorting lost the keyboard's place"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_follows_light_and_dark_is_not_blank_asks_for_nothing_and_complains_of_nothing(
    browser: Browser, pages: Path, page: str, scheme: str
) -> None:
    browser.open(url(pages, page), scheme)
    png = browser.picture()
    # beside the pages, for who wants to look
    (pages / f"{page}-{scheme}.png").write_bytes(png)
    picture = matplotlib.image.imread(io.BytesIO(png))[:, :, :3]
    background = picture[2, 2].mean()
    assert (background > 0.8) == (scheme == "light")
    assert (background < 0.2) == (scheme == "dark")
    # words and pictures: a hundredth of all points or more are far from the page's own colour
    assert (np.abs(picture.mean(axis=2) - background) > 0.3).mean() > 0.01
    assert browser.requests() == [url(pages, page)]
    assert browser.complaints() == []


@pytest.mark.parametrize(("medium", "scheme", "shown"), [
    ("screen", "light", "light"), ("screen", "dark", "dark"), ("print", "dark", "light"),
])  # fmt: skip
def test_of_the_heat_maps_the_one_for_the_ground_is_shown(
    browser: Browser, pages: Path, medium: str, scheme: str, shown: str
) -> None:
    browser.open(url(pages, "trace"), scheme)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", media=medium, features=features)
    try:
        for one in ("light", "dark"):
            displays = browser.evaluate(
                f"[...document.querySelectorAll('image.for-{one}')].map((one) => getComputedStyle(one).display)"
            )
            # the map and the bar of its colours
            assert len(displays) == 2
            assert [display != "none" for display in displays] == [one == shown] * 2
    finally:
        browser.call("Emulation.setEmulatedMedia", media="", features=[])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_every_word_stands_out_from_its_ground(browser: Browser, pages: Path, page: str, scheme: str) -> None:
    """WCAG's contrast of 4.5, of each text in the page and its drawings against the ground it lies on."""
    browser.open(url(pages, page), scheme)
    assert browser.evaluate(FAINT) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_screen_reader_finds_headings_heads_of_tables_and_words_for_pictures(
    browser: Browser, pages: Path, page: str
) -> None:
    browser.open(url(pages, page))
    levels = browser.evaluate("[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map((one) => +one.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1, "a level of headings is left out"
    assert browser.evaluate("document.documentElement.lang") == "en"
    assert browser.evaluate("[...document.querySelectorAll('thead th:not([scope=col])')].length") == 0
    assert browser.evaluate("[...document.querySelectorAll('tbody tr')].every((r) => r.cells[0].scope === 'row')")
    assert browser.evaluate("[...document.querySelectorAll('table')].every((one) => one.caption.textContent.trim())")
    assert browser.evaluate("[...document.querySelectorAll('img')].every((one) => one.alt.trim())")
    assert browser.evaluate(
        "[...document.querySelectorAll('svg')]"
        ".every((one) => one.closest('[role=img]')?.getAttribute('aria-label').trim().length > 20)"
    )
    twice = "(() => { const ids = [...document.querySelectorAll('[id]')].map((one) => one.id); "
    twice += "return ids.filter((id, at) => ids.indexOf(id) !== at); })()"
    assert browser.evaluate(twice) == [], "two elements have one id"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_a_telephone_and_is_small_enough_for_mail(browser: Browser, pages: Path, page: str) -> None:
    assert (pages / f"{page}.html").stat().st_size < 5_000_000
    browser.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=False)
    try:
        browser.open(url(pages, page))
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
        # pictures are not shrunk until nobody can read them: they scroll
        heights = browser.evaluate(
            "[...document.querySelectorAll('svg text')].map((one) => one.getBoundingClientRect())"
            ".map((box) => Math.min(box.width, box.height)).filter((size) => size > 0)"
        )
        assert np.median(heights) > 6
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


def test_a_page_that_fetches_and_fails_is_noticed(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<img src="http://127.0.0.1:9/x.png"><script>console.error("a"); undefined.b</script>')
    browser.open(page.as_uri())
    assert browser.requests() == [page.as_uri(), "http://127.0.0.1:9/x.png"]
    assert len(browser.complaints()) >= 2
