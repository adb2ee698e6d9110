"""Which recordings of RELION are shipped, how each was made, and which step of CryoSPARC it stands for.

Reads recordings.toml; the one table from which the recordings are made, tested and described.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from iotrace.errors import UsageError

TRACES: Final = Path(__file__).parent / "traces"


class Recording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recording.

    Attributes
    ----------
    name: of its folder, without .iotrace; title: RELION's own name of the job.
    folder: of the job in RELION's project; command: words of the program, apart by white space.
    job_types: CryoSPARC's keys of the jobs that it stands for.
    step: the recipe of that step (`iotrace profile list`); empty where it is none of the twelve.
    alike, unlike: what is as CryoSPARC's job does it as far as that is known, and what is not.
    names_kept: the names of files, all made up, stand in it as they were; otherwise `iotrace anonymise` hid them.
    """

    name: str
    title: str
    folder: str
    command: str
    job_types: list[str]
    alike: str
    unlike: str
    step: str = ""
    names_kept: bool = False

    @property
    def words(self) -> list[str]:
        """The command, as execve takes it."""
        return self.command.split()

    @property
    def trace(self) -> Path:
        """Folder of the trace."""
        return TRACES / f"{self.name}.iotrace"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    recordings: list[Recording]


@cache
def recordings() -> tuple[Recording, ...]:
    """All shipped recordings, in the order in which they are made."""
    text = (resources.files("iotrace.data") / "recordings.toml").read_text()
    return tuple(msgspec.toml.decode(text, type=_File).recordings)


def recording(name: str) -> Recording:
    """The recording of a name.

    Raises
    ------
    UsageError: there is none.
    """
    for one in recordings():
        if one.name == name:
            return one
    raise UsageError(f"no recording is called {name}: there are {', '.join(one.name for one in recordings())}.")


def recordings_of(step: str) -> list[Recording]:
    """Those that stand for a step, by the name of its recipe; for most steps one, for some none."""
    return [one for one in recordings() if one.step == step]
