"""The roof: the table of commands, and the one place that turns errors into a line and an exit status.

A command is a function in the room that it commands, imported when it is called; its NumPy-style docstring is its
help. It returns an exit status or None. What goes wrong ends here, as one line on standard error: 1 for what iotrace
explains (an error's own status where it has one), 2 for wrong usage, 130 after Ctrl-C, 141 when the reader of a pipe
went away.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App
from cyclopts.exceptions import CycloptsError

from iotrace import __version__, lean
from iotrace.errors import IotraceError, MountHangs
from iotrace.terminal import console, printable

COMMANDS: Final = {
    # name: (function, first line of its docstring)
    "record": (
        "iotrace.record.command:record",
        "Run a command, or look at running processes, and record their file I/O into a trace.",
    ),
    "top": ("iotrace.record.top_command:top", "Show live what jobs or processes ask of the storage."),
    "import": ("iotrace.trace.command:import_trace", "Make a trace from a log of another tool."),
    "export": (
        "iotrace.trace.export_command:export",
        "Give a trace to another tool: CSV, a job for fio, or Perfetto's format.",
    ),
    "label": ("iotrace.record.label_command:label", "Find the CryoSPARC labels of a finished trace's processes."),
    "anonymise": (
        "iotrace.trace.command:anonymise",
        "Make a copy of a trace that names nothing and replays the same.",
    ),
    "summary": (
        "iotrace.analysis.commands.summary:summary",
        "Say what a trace holds: calls, bytes, latencies and sizes.",
    ),
    "findings": (
        "iotrace.analysis.commands.findings:findings",
        "Say what in a trace hurts a shared storage, why, what to do, and what that could gain.",
    ),
    "replay": (
        "iotrace.replay.command:replay",
        "Replay a trace, or several at the same time, on one or more mounts.",
    ),
    "profile": (
        "iotrace.profiles.command:profile",
        "Show recipes of CryoSPARC's steps, what they ask of a storage, and make traces from them.",
    ),
    "compare": (
        "iotrace.analysis.commands.compare:compare",
        "Say which storage served a replay better, and how sure that is.",
    ),
    "cost": ("iotrace.analysis.commands.cost:cost", "Say what queue runs and storages cost."),
    "size": (
        "iotrace.analysis.commands.size:size",
        "Say by a model how much storage a workload needs, and how long its users wait.",
    ),
    "report": ("iotrace.analysis.commands.report:report", "Write traces and results as one HTML page."),
    "mounts": (
        "iotrace.mounts.command:mounts",
        "Say which storage each mount is, which of its options change a measurement, and what to do before a run.",
    ),
    "doctor": ("iotrace.doctor:doctor", "Say what this machine can and cannot do, and what mends each lack."),
    "demo": ("iotrace.demo:demo", "Record, replay, compare and report a small real program."),
}
"""The overall help would import every command for its first line, so the lines stand here; a test holds them equal."""

_NEW_OBJECTS: Final = 50_000
"""New objects between two looks of the garbage collector: importing Numba makes half a million that all stay, and
looking every 700 of them took a seventh of the start of a recording."""

TRACEBACK_VARIABLE: Final = "IOTRACE_TRACEBACK"

_HELP: Final = """Record the file I/O of programs, replay it on any mount, compare storage with honest statistics.

For example:
    iotrace record -o T.iotrace -- python job.py
    iotrace summary T.iotrace
    iotrace replay T.iotrace --fs /mnt/a --fs /mnt/b --repeat 6 -o R.ioresult
    iotrace compare R.ioresult

iotrace COMMAND --help explains a command."""


def build_app(overall_help: bool = False) -> App:
    """The command line; with `overall_help` each command carries its first line, which replaces its own help."""
    app = App(
        name="iotrace",
        help=_HELP,
        version=__version__,
        console=console(),
        # Markdown's renderer costs 20 ms at import; the overall help has none
        help_format="plaintext" if overall_help else "markdown",
        exit_on_error=False,
        print_error=False,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for position, (name, (function, first_line)) in enumerate(COMMANDS.items()):
        if overall_help:
            app.command(function, name=name, help=first_line, sort_key=position)
        else:
            app.command(function, name=name)
    app["--help"].group = app["--version"].group = "Options"
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments: words behind `iotrace`; the process's own by default.

    Returns
    -------
    The exit status.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - a caller closed it and wants none
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if arguments is None and words:
        lean.refuse_unused(words[0])
    try:
        status = _run(words)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _forget_output()
        return 141
    except KeyboardInterrupt:
        _complain("interrupted.")
        return 130
    except MountHangs as error:
        _complain(str(error))
        # what waits for the mount would be waited for
        os._exit(error.exit_status)
    except IotraceError as error:
        _complain(str(error))
        return error.exit_status
    except CycloptsError as error:
        _complain(_usage_line(error, words))
        return 2
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        _complain(_unexpected_line(error))
        return 1
    finally:
        if arguments is None:
            # the process ends: Python would look through all that it imported for garbage, several times
            gc.freeze()


def _run(words: list[str]) -> int:
    overall = not words or words[0] in ("--help", "-h")
    app = build_app(overall)
    result = app(words)
    return result if isinstance(result, int) else 0


def _forget_output() -> None:
    """What the interpreter would still flush at its end has no reader or no room either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _complain(line: str) -> None:
    print(f"iotrace: {printable(' '.join(line.split()))}", file=sys.stderr)


def _usage_line(error: CycloptsError, words: list[str]) -> str:
    error.verbose = False
    command = next((word for word in words if word in COMMANDS), "")
    if words[0] not in COMMANDS and words[0].startswith("-"):
        return f"there is no option {words[0]!r} before a command: see `iotrace --help`."
    if words[0] not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(words[0], COMMANDS, n=1, cutoff=0.5)
        meant = f"did you mean {near[0]!r}? " if near else ""
        return f"there is no command {words[0]!r}: {meant}The commands are {', '.join(COMMANDS)}."
    text = str(error).strip().rstrip(".")
    return f"{text}: see `iotrace {command + ' ' if command else ''}--help`."


def _unexpected_line(error: BaseException) -> str:
    if type(error) is ImportError and error.__cause__ is not None:
        # cyclopts wraps what went wrong while a command's module was imported
        return _unexpected_line(error.__cause__)
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("iotrace"):
        package = error.name.split(".")[0]
        return f"this needs the Python module {error.name!r}, which is not installed: pip install {package}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        _forget_output()
        return "no space is left where the output goes."
    return (
        f"unexpected {type(error).__name__}: {error}. This is a fault of iotrace: "
        f"run it again with {TRACEBACK_VARIABLE}=1 for the traceback, and report it."
    )
