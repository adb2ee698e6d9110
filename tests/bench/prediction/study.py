"""What a study has measured so far, as a file that later runs continue."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from prediction.runs import Recorded, Replayed

FORMAT: Final = 1


class Setting(msgspec.Struct, frozen=True):
    """What must be equal for figures to belong together."""

    cache: str
    recorded_on: str
    kernel: str
    cpus: str
    version: str


class Pair(msgspec.Struct):
    """One program on one mount, in the order run.

    Attributes
    ----------
    real_s: makespans of the real program; replayed: the replays between them.
    recorded: recordings of the real program there, for its I/O time and for what its calls took.
    failed: why it could not be measured, empty otherwise.
    """

    real_s: list[float] = []
    replayed: list[Replayed] = []
    recorded: list[Recorded] = []
    failed: str = ""


class Predicted(msgspec.Struct):
    """One program: the recording on the disk that is replayed, makespans of all recordings there, and its mounts."""

    recording: Recorded | None = None
    recorded_walls_s: list[float] = []
    mounts: dict[str, Pair] = {}


class Study(msgspec.Struct):
    """All figures; `mounts` says what each mount consists of, `command` what was called last."""

    setting: Setting
    format: int = FORMAT
    command: list[str] = []
    mounts: dict[str, str] = {}
    programs: dict[str, Predicted] = {}
    seconds: float = 0.0

    def pair(self, program: str, mount: str) -> Pair:
        """The pair, made when it is new."""
        return self.programs.setdefault(program, Predicted()).mounts.setdefault(mount, Pair())

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))
        new.replace(path)


def continue_study(path: Path, setting: Setting) -> Study:
    """The study in this file, or a new one where there is none.

    Raises
    ------
    ValueError: the file holds figures of another setting, or is not a study.
    """
    if not path.exists():
        return Study(setting)
    try:
        study = msgspec.json.decode(path.read_bytes(), type=Study)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is not a study of this version: {error}") from None
    for name in Setting.__struct_fields__:
        here, there = getattr(setting, name), getattr(study.setting, name)
        if here != there:
            raise ValueError(f"{path} was measured with {name} {there!r}, this is {here!r}: choose another --output")
    return study
