"""The report in a real browser: it renders, it sorts, nothing of a stranger's text runs, nothing is fetched."""

import json
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from browser import BROWSER
from made import HOSTILE, event, made_result, made_trace

from iotrace.analysis.report import write_report

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


def browse(page: Path, folder: Path, *options: str) -> str:
    """What Chromium prints of a page; it gets a profile of its own and must end by itself."""
    command = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=3000",
        "--enable-logging=stderr",
        *options,
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def requests_of_the_page(log: Path) -> list[str]:
    """URLs that the page asked for; those of the browser's own services have an initiator that is "not an origin"."""
    lines = [line.rstrip(",") for line in log.read_text().splitlines() if '"url":"http' in line]
    found = [json.loads(line)["params"] for line in lines]
    return [str(params["url"]) for params in found if params.get("initiator") == "null"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("page")
    rows = [
        event(
            i * 10**6,
            "read",
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
    processes = [{"process": 0, "pid": 1, "command": HOSTILE, "start_ns": 0, "step": HOSTILE}]
    trace = made_trace(
        folder / "t.iotrace", rows, [HOSTILE, "/data/b", "/data/c"], processes=processes, command=[HOSTILE]
    )
    made_result(folder / "r.ioresult", {"/mnt/a": 1, HOSTILE: 2}, 6, warnings=[HOSTILE])
    return write_report([trace, folder / "r.ioresult"], folder / "report.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_renders_in_light_and_dark(page: Path, tmp_path: Path, scheme: str) -> None:
    picture = tmp_path / "page.png"
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    browse(page, tmp_path, "--window-size=1100,2400", "--hide-scrollbars", f"--screenshot={picture}", *dark)
    data = picture.read_bytes()
    assert struct.unpack(">II", data[16:24]) == (1100, 2400)
    # a page of one colour would compress to far less
    assert len(data) > 50_000
    # the upper left corner is the page itself: light in one, dark in the other
    matplotlib_image = pytest.importorskip("matplotlib.image")
    corner = matplotlib_image.imread(picture)[2, 2, :3].mean()
    assert (corner > 0.8) == (scheme == "light")


def test_no_text_of_a_stranger_runs_and_nothing_is_fetched(page: Path, tmp_path: Path) -> None:
    log = tmp_path / "net.json"
    out = browse(page, tmp_path, "--dump-dom", f"--log-net-log={log}")
    assert "Refused to" not in out
    assert "Uncaught" not in out
    # the policy's own script ran: the page is whole, and there is one script in it
    assert len(re.findall(r"<script", out)) == 1
    assert requests_of_the_page(log) == []


def test_a_page_that_does_fetch_would_be_noticed(tmp_path: Path) -> None:
    page, log = tmp_path / "fetching.html", tmp_path / "net.json"
    page.write_text('<img src="http://127.0.0.1:9/x.png">')
    browse(page, tmp_path, "--dump-dom", f"--log-net-log={log}")
    assert requests_of_the_page(log) == ["http://127.0.0.1:9/x.png"]


def test_the_policy_lets_our_script_sort_a_table(page: Path, tmp_path: Path) -> None:
    """The page is loaded beside a small script of the test that presses a button; both are named in the policy."""
    html = page.read_text()
    press = "document.querySelectorAll('#trace-1 th button')[1].click();document.title='pressed'"
    allowed = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", html.replace("&#39;", "'"), count=1)
    driven = tmp_path / "driven.html"
    driven.write_text(allowed.replace("</body>", f"<script>{press}</script></body>"))
    dom = browse(driven, tmp_path, "--dump-dom")
    assert "<title>pressed</title>" in dom
    assert 'aria-sort="descending"' in dom


def test_the_page_prints(page: Path, tmp_path: Path) -> None:
    target = tmp_path / "page.pdf"
    browse(page, tmp_path, f"--print-to-pdf={target}")
    assert target.read_bytes().startswith(b"%PDF")
