"""Recipes as they stand in TOML: profiles (one job type each), data sets, workloads; read and checked.

A profile says which files a job uses and, phase by phase, what it does with each item (a movie, a micrograph, an
iteration). All that is a number is a sum of named numbers (iotrace.profiles.expressions), and each named number has a
source.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from posixpath import normpath
from typing import Any, Final, Literal, TypeVar

import msgspec

from iotrace.errors import UsageError
from iotrace.profiles.expressions import Unclear, names_in
from iotrace.profiles.keys import told

Do = Literal[
    "read", "write", "append", "copy", "stat", "list", "symlink", "mkdir", "unlink", "think", "boxes",
    "open",
]  # fmt: skip
HOW: Final = {
    "read": ("whole", "sendfile", "mmap", "header"), "write": ("whole", "rename"), "append": ("plain", "locked"),
    "copy": ("sendfile", "copy_file_range"), "boxes": ("read", "pread"),
}  # fmt: skip
"""Ways of doing what can be done in several, the first by default."""
SUMS: Final = ("chunk", "bytes", "header", "reads", "box", "stacks", "among", "seconds", "busy", "times", "seeks")


class Number(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A named number.

    Attributes
    ----------
    value: a number, or a sum of other names.
    unit: for people: bytes, s, movies, …
    source: where it comes from; inferred: the source does not say it, it follows or is guessed from what it says.
    scales: --scale shrinks it (counts of things, never sizes of operations), a sum by what it is made of.
    """

    value: float | int | str
    source: str
    unit: str = ""
    inferred: bool = False
    scales: bool = False


class Files(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A class of files.

    Attributes
    ----------
    path: below the project's folder, {n} for the file's number; count: how many; size: of each, in bytes, at the start.
    exists: they are there before the job; folder: they are folders, with `entries` names in each.
    place: "project", "raw" (where the microscope puts movies) or "cache" (a node's own disk).
    """

    path: str
    count: str = "1"
    size: str = "0"
    exists: bool = False
    folder: bool = False
    entries: str = "0"
    place: Literal["project", "raw", "cache"] = "project"


class Action(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What is done once for each item.

    Attributes
    ----------
    do, how: see HOW; file: the class of files: item i of n uses file i·count//n; to: the second one (copy, symlink).
    chunk: bytes of each call (append: by default one call); bytes: how many are written (append, write) or read
    (header; whole: the first so many).
    header: bytes that are read before a file is mapped (read mmap, by default none).
    boxes: `reads` pieces of `box` bytes at random places of random files, behind a header of `header` bytes that is
    read again each time a file is opened; `stacks`: from how many of the files (1: each in turn), by default wherever
    the boxes fall; `among`: how many of the boxes of all files take part, each once before any comes again, by default
    all.
    seconds: time until the next call, of which the share `busy` is CPU time.
    times: how often it is done for each item, one time after another; seeks: calls of lseek that move nothing, behind
    each opening; fstat: who reads a file (but for a header alone), maps or copies it asks for its length first.
    sync: fsync before the close.
    """

    do: Do
    file: str = ""
    to: str = ""
    how: str = ""
    chunk: str = ""
    bytes: str = ""
    header: str = ""
    reads: str = ""
    box: str = ""
    stacks: str = ""
    among: str = ""
    seconds: str = ""
    busy: str = "1"
    times: str = "1"
    seeks: str = "0"
    fstat: bool = True
    sync: bool = False

    @property
    def way(self) -> str:
        """How, or the usual way."""
        return self.how or HOW.get(self.do, ("",))[0]


class Phase(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One after another: `workers` threads take the items in turn, and do all actions for each.

    `follows`: a class of files that something else may make meanwhile: then an item begins when its file is there, and
    nobody sleeps in between.
    """

    name: str
    actions: list[Action]
    items: str = "1"
    workers: str = "1"
    follows: str = ""


class Profile(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A job type.

    Attributes
    ----------
    name: of the recipe; step: its number in the workflow, 0 for none; job_types: keys as in job.json.
    about: what it stands for, in a few sentences. gpus: how many GPUs a job holds from its begin to its end, a sum of
    numbers; none unless it says so.
    numbers: its own; a data set's and those of --set come on top.
    """

    name: str
    title: str
    about: str
    job_types: list[str]
    files: dict[str, Files]
    phases: list[Phase]
    step: int = 0
    gpus: str = "0"
    numbers: dict[str, Number] = {}

    @property
    def read_back(self) -> set[str]:
        """Classes whose files it both changes and reads."""
        actions = [action for phase in self.phases for action in phase.actions]
        changed = {one.file for one in actions if one.do in ("write", "append", "unlink")}
        changed |= {one.to for one in actions if one.do == "copy"}
        return changed & {one.file for one in actions if one.do in ("read", "boxes", "copy")}


class DataSet(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a microscope gave: numbers that all profiles may use."""

    name: str
    title: str
    about: str
    numbers: dict[str, Number]


class Step(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A job of a workload: its profile, which steps come before it, and numbers that differ from the profile's."""

    profile: str
    after: list[str] = []
    set: dict[str, float] = {}


class Workload(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Users who each run the same steps on a copy of a data set.

    Attributes
    ----------
    numbers: users, lanes (how many jobs run at a time), cached_lanes (how many of them run on nodes that copy particle
    stacks to a disk of their own first), arrival_seconds (between users), live (sessions of CryoSPARC Live beside the
    users), microscopes (that write the movies of so many of these sessions).
    steps: by name.
    """

    name: str
    title: str
    about: str
    dataset: str
    numbers: dict[str, Number]
    steps: dict[str, Step]


Recipe = TypeVar("Recipe", Profile, DataSet, Workload)
_FOLDERS: Final[dict[type[Any], str]] = {Profile: "cryosparc", DataSet: "datasets", Workload: "workloads"}
DATASET: Final = "empiar-10288"
"""The data set of a profile, if nobody names another."""
NUMBER_MAX: Final = 1e18
COMMON: Final = "common.toml"
"""Numbers that all profiles may use, such as the sizes of file formats."""


def _shipped(kind: type[Any]) -> Traversable:
    return resources.files("iotrace.profiles") / _FOLDERS[kind]


def names_of(kind: type[Any]) -> list[str]:
    """Names of the shipped recipes of a kind, sorted."""
    files = _shipped(kind).iterdir()
    return sorted(one.name.removesuffix(".toml") for one in files if one.name.endswith(".toml"))


def load(kind: type[Recipe], name: str | Path) -> Recipe:
    """A recipe, by its shipped name or from a file.

    Raises
    ------
    UsageError: there is none, or it is wrong; names file, key and reason.
    """
    if str(name) in _names(kind):
        shipped: Recipe = _read_shipped(kind, str(name))
        return shipped
    path = Path(name)
    if path.suffix != ".toml":
        known = ", ".join(names_of(kind))
        raise UsageError(f"there is no {kind.__name__.lower()} {str(name)!r}: choose {known}, or the path of a .toml.")
    try:
        return read(kind, path.read_text(), str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text.") from None


@cache
def _read_shipped(kind: type[Recipe], name: str) -> Recipe:
    return read(kind, (_shipped(kind) / f"{name}.toml").read_text(), f"{name}.toml")


@cache
def _names(kind: type[Recipe]) -> frozenset[str]:
    return frozenset(names_of(kind))


def workload_on(workload: Workload, dataset: str | None) -> Workload:
    """A workload whose users have another data set; its own for None.

    Raises
    ------
    UsageError: there is no such data set.
    """
    if dataset is None:
        return workload
    load(DataSet, dataset)
    return msgspec.structs.replace(workload, dataset=dataset)


def is_workload(name: str | Path) -> bool:
    """Whether a shipped name or a .toml is a workload; what is wrong in a file is told when it is loaded."""
    if str(name) in names_of(Workload):
        return True
    path = Path(name)
    try:
        text = path.read_text(errors="replace") if path.suffix == ".toml" else ""
    except OSError:
        return False
    try:
        return "steps" in tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return "\n[steps" in text


@cache
def common_numbers() -> dict[str, Number]:
    """Numbers that all profiles may use; nobody changes them."""
    text = (resources.files("iotrace.profiles") / COMMON).read_text()
    return msgspec.toml.decode(text, type=dict[str, Number])


def read(kind: type[Recipe], text: str, where: str) -> Recipe:
    """A recipe from its text; `where` names it in messages. Nobody changes it.

    Raises
    ------
    UsageError: it is wrong; names file, key and reason.
    """
    try:
        recipe = msgspec.toml.decode(text, type=kind)
    except msgspec.ValidationError as error:
        key, reason = told(error, text, {"numbers": Number, "files": Files, "steps": Step})
        raise UsageError(f"{where}: {f'{key}: ' if key else ''}{reason}.") from None
    except msgspec.DecodeError as error:
        raise UsageError(f"{where} is no TOML: {error}.") from None
    except (RecursionError, OverflowError):
        raise UsageError(f"{where} is no recipe: something in it is too deep or too large.") from None
    for key, reason in _faults(recipe):
        raise UsageError(f"{where}: {key}: {reason}.")
    return recipe


def _faults(recipe: Profile | DataSet | Workload) -> Iterator[tuple[str, str]]:
    """What is wrong, as key and reason."""
    for name, number in recipe.numbers.items():
        if not name.isidentifier():
            yield f"numbers.{name}", "a name is of letters, digits and _"
        if not number.source.strip():
            yield f"numbers.{name}.source", "every number needs one"
        if isinstance(number.value, str):
            yield from _sum_faults(f"numbers.{name}.value", number.value)
        elif not 0 <= number.value < NUMBER_MAX:
            yield f"numbers.{name}.value", f"a number from 0 to {NUMBER_MAX:g}"
    if isinstance(recipe, Profile):
        yield from _profile_faults(recipe)
    if isinstance(recipe, Workload):
        if not recipe.steps:
            yield "steps", "at least one"
        for name, step in recipe.steps.items():
            for key, value in step.set.items():
                if not 0 <= value < NUMBER_MAX:
                    yield f"steps.{name}.set.{key}", f"a number from 0 to {NUMBER_MAX:g}"
            for before in step.after:
                if before not in recipe.steps:
                    yield f"steps.{name}.after", f"there is no step {before!r}"


def _profile_faults(profile: Profile) -> Iterator[tuple[str, str]]:
    if not profile.job_types:
        yield "job_types", "at least one"
    if not profile.phases:
        yield "phases", "at least one"
    yield from _sum_faults("gpus", profile.gpus)
    for name, files in profile.files.items():
        for field in ("count", "size", "entries"):
            yield from _sum_faults(f"files.{name}.{field}", getattr(files, field))
        if files.path in ("", ".") or files.path.startswith("/") or ".." in files.path.split("/"):
            yield f"files.{name}.path", "a path below the project's folder"
    owners: dict[tuple[str, str], str] = {}
    for name, files in profile.files.items():
        other = owners.setdefault((files.place, normpath(files.path)), name)
        if other != name:
            yield f"files.{name}.path", f"files.{other} has the same: a file is of one class"
    for number, phase in enumerate(profile.phases):
        at = f"phases[{number}]"
        if not phase.actions:
            yield f"{at}.actions", "at least one"
        yield from _sum_faults(f"{at}.items", phase.items)
        yield from _sum_faults(f"{at}.workers", phase.workers)
        if phase.follows and phase.follows not in profile.files:
            yield f"{at}.follows", f"there is no class of files {phase.follows!r}"
        for place, action in enumerate(phase.actions):
            yield from _action_faults(f"{at}.actions[{place}]", action, profile)


_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "read": ("file",), "write": ("file", "bytes", "chunk"), "append": ("file", "bytes"),
    "copy": ("file", "to", "chunk"), "stat": ("file",), "list": ("file",), "symlink": ("file", "to"),
    "mkdir": ("file",), "unlink": ("file",), "open": ("file",), "think": ("seconds",),
    "boxes": ("file", "reads", "box", "header"),
}  # fmt: skip


def _action_faults(at: str, action: Action, profile: Profile) -> Iterator[tuple[str, str]]:
    for field in _NEEDS[action.do]:
        if not getattr(action, field):
            yield f"{at}.{field}", f"{action.do!r} needs it"
    if action.do == "read":
        wanted = "bytes" if action.way == "header" else "chunk"
        if not getattr(action, wanted):
            yield f"{at}.{wanted}", f"reading {action.way!r} needs it"
    if action.among and action.stacks:
        yield f"{at}.among", "boxes of so many stacks an item are drawn from these: leave out 'among' or 'stacks'"
    if action.how and action.how not in HOW.get(action.do, ()):
        yield (
            f"{at}.how",
            f"{action.how!r} is no way to {action.do}: {', '.join(HOW.get(action.do, ())) or 'leave it out'}",
        )
    for field in ("file", "to"):
        name = getattr(action, field)
        if name and name not in profile.files:
            yield f"{at}.{field}", f"there is no class of files {name!r}"
    for field in SUMS:
        text = getattr(action, field)
        if text:
            yield from _sum_faults(f"{at}.{field}", text)


def _sum_faults(key: str, text: str) -> Iterator[tuple[str, str]]:
    try:
        names_in(text)
    except Unclear as error:
        yield key, str(error)
