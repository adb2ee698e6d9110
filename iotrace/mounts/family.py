"""What is known of a kind of file system: how mountinfo names it, and what its options do to a measurement.

A family is one file in `families/` that holds a `FAMILY`; it is found by being there.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Literal

from iotrace.mounts.cold import FADVISE, Cold
from iotrace.mounts.counters.source import Source
from iotrace.mounts.mountinfo import Mount

Kind = Literal["network", "local", "memory", "layered", "unknown"]


def _none(_: Mount) -> Sequence[Source]:
    return ()


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of file system.

    Attributes
    ----------
    name: as its users call it. kind: where its data lie. types: mountinfo's types. sources: beginnings of mountinfo's
        source, for file systems whose type is plain `fuse`.
    options: option, or `option=value` where the value decides → what it does to a measurement
        (empty: nothing).
    important: those of the options that a replay tells before it begins: who does not know them misreads its figures.
    advice: what to do or know before a run, whatever the options.
    one_of: options of which one is expected; `unnamed` is the advice where none is there.
    counters: sources of counters for a mount, the narrowest first. own_io: the kernel counts in /proc/PID/io what a
        process has fetched from it.
    cold: how this client's caches are emptied. page_cache_only: unless an option says otherwise, this client keeps data
        in the kernel's page cache and nowhere else, so that what is not in there has to come from the storage.
    compresses: less may come over the wire than is read, or small files come with the metadata.
    """

    name: str
    kind: Kind
    types: tuple[str, ...]
    sources: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    important: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    unnamed: str = ""
    counters: Callable[[Mount], Sequence[Source]] = _none
    own_io: bool = False
    cold: Cold = FADVISE
    page_cache_only: bool = False
    compresses: bool = False

    def has(self, mount: Mount) -> bool:
        """Whether a mount is of this family."""
        return mount.type in self.types or (mount.type == "fuse" and mount.source.startswith(self.sources or ("\0",)))


@dataclass(frozen=True, slots=True)
class Note:
    """An option as the mount has it, and what it does to a measurement."""

    option: str
    meaning: str


CACHED: Final = "Reads of what this client wrote or read before come from its memory: replay with --cold."
"""Advice of those whose data the client's page cache keeps."""
UNKNOWN: Final = Family("unknown", "unknown", ())

EVERYWHERE: Final = {
    "ro": "read only: nothing can be staged or replayed here",
    "sync": "every write waits until it is stored",
    "dirsync": "every change of a folder waits until it is stored",
    "strictatime": "every read changes the file's time of access, which is a write to its inode",
}

EVERYWHERE_IMPORTANT: Final = ("ro", "sync", "dirsync")


@cache
def families() -> tuple[Family, ...]:
    """All families, by the name of their file."""
    package = importlib.import_module("iotrace.mounts.families")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(importlib.import_module(f"{package.__name__}.{name}").FAMILY for name in names)


def family_of(mount: Mount) -> Family:
    """The family of a mount; UNKNOWN where no file knows its type."""
    return next((family for family in families() if family.has(mount)), UNKNOWN)


def notes_of(mount: Mount) -> list[Note]:
    """The options of a mount that change what is measured on it, in the mount's order."""
    meanings = {**EVERYWHERE, **family_of(mount).options}
    notes = []
    for option in mount.options.split(","):
        meaning = meanings[option] if option in meanings else meanings.get(option.partition("=")[0])
        if meaning:
            notes.append(Note(option, meaning))
    return notes


def important_notes_of(mount: Mount) -> list[Note]:
    """Those of `notes_of` without which the figures of a run are misread."""
    chosen = {*EVERYWHERE_IMPORTANT, *family_of(mount).important}
    return [note for note in notes_of(mount) if not chosen.isdisjoint((note.option, note.option.partition("=")[0]))]


def advice_for(mount: Mount) -> list[str]:
    """What to do or know before a run on a mount."""
    family = family_of(mount)
    names = {option.partition("=")[0] for option in mount.options.split(",")}
    advice = list(family.advice)
    if family.one_of and names.isdisjoint(family.one_of):
        advice.insert(0, family.unnamed)
    if family is UNKNOWN:
        advice.append(
            f"iotrace does not know {mount.type}: whether it caches, and what its options do, is for you to find out."
        )
    return advice
