"""`iotrace mounts`: says which storage each mount is, and what of it changes a measurement."""

from __future__ import annotations

import errno
import json as json_module
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from iotrace.errors import MountHangs, StorageError
from iotrace.mounts.family import Note, advice_for, family_of, notes_of
from iotrace.mounts.mountinfo import Mount, is_system_mount, mount_of, mounts_of_this_machine, visible
from iotrace.mounts.space import ANSWERS_S, Space, space_of, within
from iotrace.mounts.stripes import layout_of_new_files
from iotrace.terminal import console, paragraph, show
from iotrace.units import bytes_text

_ASKED_AT_ONCE: Final = 64
_DEAD: Final = (errno.ENOTCONN, errno.ESTALE, errno.EHOSTDOWN, errno.ECONNABORTED)


@dataclass(frozen=True, slots=True)
class MountReport:
    """A mount as shown. `shares_with`: points of other mounts of the same file system. `space`: None where the mount
    does not answer. `layout`: how files that are made in its root lie on its servers (Lustre), "" where not known."""

    point: str
    type: str
    source: str
    root: str
    options: str
    family: str
    kind: str
    shares_with: list[str]
    space: Space | None
    layout: str
    notes: list[Note]
    advice: list[str]


def mounts(*paths: Path, all: bool = False, json: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Say which storage each mount is, which of its options change a measurement, and what to do before a run.

    ```
    iotrace mounts
    iotrace mounts /mnt/a
    ```

    Parameters
    ----------
    paths
        Files or folders whose mounts to show; by default every mount that is not the system's own.
    all
        The system's own mounts too.
    json
        One JSON object: `mounts`, a list.
    """
    found = mounts_of_this_machine()
    if not found:
        raise StorageError("/proc/self/mountinfo cannot be read or names no mount: is /proc mounted?")
    seen = visible(found)
    if paths:
        asked = [_mount_of_path(path, found) for path in paths]
        chosen = list(dict.fromkeys(asked))
    else:
        chosen = [mount for mount in seen if all or not is_system_mount(mount)]
    # a server that is gone may have many mounts, each of which is waited for
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as threads:
        reports = list(threads.map(lambda mount: report_of(mount, seen), chosen))
    if json:
        print(json_module.dumps({"mounts": [asdict(report) for report in reports]}, indent=2))
        return
    out = console()
    if not reports:
        paragraph(out, "No mount but the system's own; --all shows those, a path the one it is on.")
    for number, report in enumerate(reports):
        if number:
            show(out, "")
        _show(report)


def report_of(mount: Mount, others: Sequence[Mount]) -> MountReport:
    """What is known of a mount; asks it how full it is."""
    family = family_of(mount)
    shares = [one.point for one in others if one.device == mount.device and one.point != mount.point]
    space = space_of(mount.point)
    asks = mount.type == "lustre" and space is not None and not space.error
    return MountReport(
        point=mount.point,
        type=mount.type,
        source=mount.source,
        root=mount.root,
        options=mount.options,
        family=family.name,
        kind=family.kind,
        shares_with=shares,
        space=space,
        layout=layout_of_new_files(mount.point) if asks else "",
        notes=notes_of(mount),
        advice=advice_for(mount),
    )


def _mount_of_path(path: Path, found: Sequence[Mount]) -> Mount:
    def look() -> str | OSError:
        try:
            path.stat()
            return os.path.realpath(path)
        except OSError as error:
            return error

    real = within(look)
    if real is None:
        raise MountHangs(f"{path}: its mount does not answer within {ANSWERS_S:.0f} s; is its server up?")
    if isinstance(real, OSError) and real.errno in _DEAD:
        # it is the mount that is asked about, whose own server or process is gone
        real = os.path.abspath(path)
    if isinstance(real, OSError):
        raise StorageError(f"{path}: {real.strerror}; name a file or folder on the mount, which you may look at.")
    mount = mount_of(real, found)
    if mount is None:
        raise StorageError(f"{path}: /proc/self/mountinfo names no mount for it.")
    return mount


def _show(report: MountReport) -> None:
    out = console()
    part = "" if report.root == "/" else f", folder {report.root} of it"
    paragraph(out, f"{report.point}  {report.family} ({report.type}, {report.source}{part})", style="bold")
    if report.space is None:
        paragraph(out, f"  does not answer within {ANSWERS_S:.0f} s", style="bold red", indent=2)
    elif report.space.error:
        paragraph(out, f"  does not work: {report.space.error}", style="bold red", indent=2)
    elif report.space.total:
        room = f"  {bytes_text(report.space.free)} free of {bytes_text(report.space.total)}"
        paragraph(out, room + ("" if report.space.writable else ", not writable for you"), indent=2)
    if report.layout:
        paragraph(out, f"  new files: {report.layout}", indent=2)
    if report.shares_with:
        paragraph(out, f"  the same file system as {', '.join(report.shares_with)}", indent=2)
    for note in report.notes:
        paragraph(out, f"  {note.option}: {note.meaning}", indent=4)
    for advice in report.advice:
        paragraph(out, f"  → {advice}", indent=4)
