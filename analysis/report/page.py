"""The frame of all of iotrace's pages: chapters in, one self-contained HTML file out.

The page loads nothing (a content security policy forbids it, and allows only its own script by hash), follows the
reader's light or dark setting, prints, and works with a keyboard and a screen reader. Texts come in printable
(iotrace.terminal.printable) and go through Jinja's escaping.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from iotrace import __version__
from iotrace.analysis.pictures.drawing import Picture
from iotrace.analysis.report.findings import FindingBlock
from iotrace.analysis.report.tables import Fact
from iotrace.errors import StorageError
from iotrace.terminal import printable

if TYPE_CHECKING:
    from jinja2 import Environment

_GENERATOR: Final = '<meta name="generator" content="iotrace '


@dataclass
class Section:
    """A chapter of the page: an opening sentence, key figures, warnings, findings, then pictures and tables; its
    verdict, which stands at the top of the page; where verdict and key figures come from."""

    id: str
    title: str
    lead: str = ""
    facts: list[Fact] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    findings: list[FindingBlock] = field(default_factory=list)
    findings_lead: str = ""
    blocks: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    verdict: str = ""
    provenance: str = ""


@dataclass
class Origin:
    """Where a source's figures come from."""

    title: str
    provenance: str
    facts: list[Fact]


def write_sections(
    title: str, sections: list[Section], origins: list[Origin], warnings: list[str], output: str | Path, force: bool
) -> Path:
    """Write a page of chapters that another module made; raises what iotrace.analysis.report.write_report does."""
    target = Path(output)
    check_target(target, force)
    return write_page(render_page(title, sections, origins, [], warnings), target)


def picture_block(picture: Picture) -> Any:
    """A picture for the template, its SVG marked as HTML of our own making."""
    return {
        "svg": _safe(picture.svg),
        "caption": picture.caption,
        "alternative": picture.alternative,
        "provenance": picture.provenance,
    }


def check_target(target: Path, force: bool) -> None:
    """Refuse to write over what iotrace did not make; see iotrace.analysis.report.write_report."""
    if target.is_dir():
        raise StorageError(f"{target} is a folder: give the file to write, such as {target / 'report.html'}.")
    if force or not target.exists():
        return
    with target.open("rb") as file:
        ours = _GENERATOR.encode() in file.read(4096)
    if not ours:
        raise StorageError(
            f"{target} exists and is not a report of iotrace: choose another name, or --force to replace it."
        )


def write_page(html: str, target: Path) -> Path:
    """Write a page whole or not at all; see iotrace.analysis.report.write_report."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=target.name[-100:], dir=target.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(html)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(target)
    except OSError as error:
        raise StorageError(f"cannot write the report {target}: {error.strerror or error}.") from None
    return target


def render_page(
    title: str, sections: list[Section], origins: list[Origin], verdicts: list[dict[str, str]], warnings: list[str]
) -> str:
    """The HTML of a page."""
    environment = _environment()
    script = environment.get_template("page.js.j2").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        title=title,
        subtitle=f"Written by iotrace {__version__} on {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}",
        version=__version__,
        style=_safe(environment.get_template("page.css.j2").render()),
        script=_safe(script),
        script_hash=f"sha256-{digest}",
        verdicts=verdicts,
        warnings=[printable(sentence) for sentence in warnings],
        sections=sections,
        origins=origins,
    )


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    environment.policies["urlize.rel"] = "noreferrer"
    return environment


def _safe(text: str) -> Any:
    """Mark text of our own making (style, script, pictures) as HTML."""
    from markupsafe import Markup

    return Markup(text)
