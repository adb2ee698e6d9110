"""`iotrace profile`: shows recipes and where their numbers come from, works out what they ask for, makes traces."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from iotrace.errors import UsageError
from iotrace.profiles.model import (
    DATASET,
    SUMS,
    DataSet,
    Profile,
    Workload,
    is_workload,
    load,
    names_of,
    workload_on,
)  # fmt: skip
from iotrace.profiles.numbers import Numbers, given_numbers, numbers_of
from iotrace.profiles.planned import say_numbers, say_plan, say_workload
from iotrace.terminal import Cell, Column, console, paragraph, printable, show, table
from iotrace.units import bytes_text, count_text, duration_text

if TYPE_CHECKING:
    from iotrace.profiles.totals import Totals
    from iotrace.trace.info import TraceInfo

_MANY = {"negative": (), "consume_multiple": False}
_SCORE_COLUMNS: Final = (
    Column("measure", align="left", stretch=True), Column("recorded"), Column("fitted"), Column("apart"),
    Column("bound"), Column("within"),
)  # fmt: skip


def profile(
    action: Literal["list", "show", "plan", "synthesise", "fit"],
    name: str | None = None,
    /,
    *,
    dataset: str | None = None,
    set: Annotated[list[str] | None, Parameter(**_MANY)] = None,
    scale: float = 1.0,
    seed: int = 1,
    map: Annotated[list[str] | None, Parameter(**_MANY)] = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    force: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Show recipes of CryoSPARC's steps, what they ask of a storage, and make traces from them.

    A recipe says which files a job type uses and what it does with them; each of its numbers has a source.

    ```
    iotrace profile list
    iotrace profile show patch-motion-correction
    iotrace profile show empiar-10288
    iotrace profile plan reference-architecture
    iotrace profile synthesise class-2d --scale 0.001 -o class-2d.iotrace
    iotrace profile fit T.iotrace -o mine.toml
    ```

    Parameters
    ----------
    action
        list: all recipes. show: one (or a data set), with its numbers and their sources. plan: what a recipe or a
        workload asks for, by arithmetic. synthesise: make a trace. fit: make a recipe from a recording, and say how
        well it stands for it.
    name
        A recipe that `iotrace profile list` names, or the path of a .toml; for fit the folder of a trace.
    dataset
        The data set whose numbers are taken, or the path of a .toml; by default empiar-10288, and of a workload its
        own.
    set
        Another value for a number, as in movies=500; may be given again.
    scale
        Multiply counts (movies, particles, …) by this; sizes of files and of calls stay.
    seed
        The same seed makes the same trace.
    map
        For fit: folder of the recorded machine whose files count; may be given again. By default the command's working
        folder.
    output
        Folder of the trace to make, by default the recipe's name with .iotrace; for fit the .toml.
    force
        Replace a trace that stands there already.
    json
        Print one JSON object.
    """
    if action == "list":
        return _list(json)
    if name is None:
        raise UsageError(f"{action} which recipe? `iotrace profile list` names them.")
    if map and action != "fit":
        raise UsageError(f"--map goes with fit: {action} has no recording.")
    if action == "fit" and (set or dataset or scale != 1 or seed != 1):
        raise UsageError(
            "--set, --dataset, --scale and --seed are for what is made from a recipe: fit makes the recipe."
        )
    if action == "fit":
        return _fit(Path(name), map or [], output, force, json)
    given = given_numbers(set or [])
    if is_workload(name):
        workload = workload_on(load(Workload, name), dataset)
        if action != "synthesise":
            return say_workload(workload, given, scale, action == "show", json)
        from iotrace.profiles.workload import compose

        target = output or Path(f"{workload.name}.iotrace")
        return _say_made(compose(workload, target, given=given, scale=scale, seed=seed, force=force), target, json)
    if action == "show" and name in names_of(DataSet):
        return _show_dataset(load(DataSet, name), json)
    recipe, chosen = load(Profile, name), load(DataSet, dataset or DATASET)
    numbers = numbers_of(recipe, chosen, given, scale)
    if action == "show":
        return _show(recipe, numbers, json)
    if action == "plan":
        from iotrace.profiles.totals import totals_of

        def at(scale: float) -> Totals:
            return totals_of(recipe, numbers_of(recipe, chosen, given, scale))

        return say_plan(recipe, at, scale, json)
    from iotrace.profiles.synthesise import synthesise

    target = output or Path(f"{recipe.name}.iotrace")
    info = synthesise(recipe, chosen, target, given=given, scale=scale, seed=seed, force=force)
    return _say_made(info, target, json)


def _say_made(info: TraceInfo, target: Path, json: bool) -> None:
    print(f"{count_text(info.events)} operations in {duration_text(info.duration_ns)} → {target}", file=sys.stderr)
    if json:
        print(json_module.dumps({"events": info.events, "duration_s": info.duration_ns / 1e9, "trace": str(target)}))


def _fit(folder: Path, prefixes: list[str], output: Path | None, force: bool, json: bool) -> None:
    """Fit, make a trace of the fitted profile, and compare the two."""
    import tempfile

    from iotrace.profiles.fit import fit
    from iotrace.profiles.score import score
    from iotrace.profiles.sessions import sessions_of
    from iotrace.profiles.synthesise import synthesise
    from iotrace.trace.reader import open_trace

    trace = open_trace(folder)
    prefixes = prefixes or [trace.info.working_folder]
    target = output or Path(f"{folder.name.removesuffix('.iotrace')}.toml")
    if target.exists() and not force:
        raise UsageError(f"{target} exists already: choose another name with -o, or --force to replace it.")
    jobs = {one for one in trace.table("processes").column("job").to_pylist() if one}
    if len(jobs) > 1:
        text = f"Note: {folder} holds {len(jobs)} jobs. A profile is of one: fit recordings of each by itself."
        show(console(stderr=True), printable(text))
    recorded = sessions_of(trace, prefixes)
    fitted, text = fit(trace, prefixes, target.stem, recorded)
    try:
        target.write_text(text)
    except OSError as error:
        raise UsageError(f"{target}: cannot be written: {error.strerror}.") from None
    with tempfile.TemporaryDirectory(prefix="iotrace-fit-") as place:
        synthesise(fitted, load(DataSet, "own"), Path(place) / "fitted.iotrace")
        made = open_trace(Path(place) / "fitted.iotrace")
        measures = score(recorded, sessions_of(made, ["/data/CS-project"]))
    within = sum(measure.within for measure in measures)
    if json:
        rows = [
            {
                "measure": one.name, "recorded": one.recorded, "fitted": one.fitted, "apart": one.apart,
                "bound": one.bound, "within": one.within,
            }
            for one in measures
        ]  # fmt: skip
        print(json_module.dumps({"profile": str(target), "within": within, "of": len(measures), "measures": rows}))
        return
    out = console()
    rows_: list[list[str | Cell]] = [
        [
            one.name, f"{one.recorded:,.4g}", f"{one.fitted:,.4g}", f"{one.apart:.1%}", f"{one.bound:.0%}",
            "yes" if one.within else Cell("no", "bold red"),
        ]
        for one in measures
    ]  # fmt: skip
    show(out, table(_SCORE_COLUMNS, rows_, out.width))
    show(out, printable(f"{within} of {len(measures)} measures within their bounds → {target}"))


def _list(json: bool) -> None:
    found: dict[str, list[dict[str, str]]] = {}
    kinds: tuple[tuple[Any, str], ...] = (Profile, "steps"), (DataSet, "data sets"), (Workload, "workloads")
    for kind, title in kinds:
        recipes: list[Any] = [load(kind, name) for name in names_of(kind)]
        if kind is Profile:
            recipes.sort(key=lambda one: (one.step or 99, one.name))
        found[title] = [{"name": one.name, "title": one.title} for one in recipes]
    if json:
        print(json_module.dumps(found))
        return
    out = console()
    for title, rows in found.items():
        show(out, f"{title.capitalize()}:")
        for row in rows:
            show(out, f"  {row['name']:26}{row['title']}")


def _show_dataset(dataset: DataSet, json: bool) -> None:
    if json:
        import msgspec

        print(json_module.dumps(msgspec.to_builtins(dataset)))
        return
    out = console()
    show(out, printable(f"{dataset.title} ({dataset.name})"))
    paragraph(out, printable(" ".join(dataset.about.split())))
    show(out, "")
    whole = numbers_of(None, dataset)
    say_numbers(Numbers(whole.values, dataset.numbers, whole.where), out)


def _show(recipe: Profile, numbers: Numbers, json: bool) -> None:
    if json:
        import msgspec

        known = {
            name: msgspec.to_builtins(number) | {"worked_out": numbers.values[name], "from": numbers.where[name]}
            for name, number in numbers.known.items()
        }
        print(json_module.dumps(msgspec.to_builtins(recipe) | {"numbers": known}))
        return
    out = console()
    show(out, printable(f"{recipe.title} ({recipe.name}; job types {', '.join(recipe.job_types)})"))
    paragraph(out, printable(" ".join(recipe.about.split())))
    if gpus := numbers.count(recipe.gpus, "gpus"):
        show(out, f"GPUs of a job: {gpus}")
    show(out, "")
    show(out, "Files:")
    for name, files in recipe.files.items():
        count, size = numbers.count(files.count), numbers.count(files.size)
        what = "folder" if files.folder else f"{count_text(count)} of {bytes_text(size)}" if files.exists else "made"
        show(out, printable(f"  {name:14}{files.place:9}{files.path}  ({what})"))
    for phase in recipe.phases:
        show(out, "")
        items = numbers.count(phase.items)
        follows = f", each when its file of {phase.follows} is there" if phase.follows else ""
        threads = f"threads: {phase.workers}{follows}"
        show(out, printable(f"Phase “{phase.name}”: {count_text(items)} × ({phase.items}), {threads}"))
        for action in phase.actions:
            words = [action.do, action.way] if action.way else [action.do]
            words += [action.file, f"to {action.to}" if action.to else ""]
            details = (
                {
                    field: getattr(action, field)
                    for field in SUMS
                    if getattr(action, field)
                    and (field != "busy" or action.do == "think")
                    and (field, getattr(action, field)) not in (("times", "1"), ("seeks", "0"))
                }
                | ({"fsync": "at the end"} if action.sync else {})
                | ({} if action.fstat else {"fstat": "none"})
            )
            words.append(", ".join(f"{field} {text}" for field, text in details.items()))
            show(out, printable("  " + " ".join(filter(None, words))))
    show(out, "")
    say_numbers(numbers, out)
