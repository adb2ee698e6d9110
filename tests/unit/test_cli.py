"""The roof: help, exit statuses, and one line for everything that goes wrong."""

import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made import event, made_trace

from iotrace import cli
from iotrace.cli import COMMANDS, main
from iotrace.errors import IotraceError, RecordError, StorageError, TraceError, UsageError

HEAVY = ("numba", "pandas", "matplotlib", "pyarrow", "scipy", "duckdb", "seaborn", "jinja2", "numpy")


def run(*words: Any, **options: Any) -> Any:
    command = [sys.executable, "-m", "iotrace", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def function_of(name: str) -> Any:
    module, attribute = COMMANDS[name][0].split(":")
    return getattr(importlib.import_module(module), attribute)


def docstring(function: Any) -> str:
    return inspect.getdoc(function) or ""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_overall_help_says_what_each_commands_docstring_says(name: str) -> None:
    assert docstring(function_of(name)).splitlines()[0] == COMMANDS[name][1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_and_every_parameter_explained(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    function = function_of(name)
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"iotrace {name}" in out.split("Usage:")[1].split("\n", 1)[1]
    explained = docstring(function)
    for parameter in inspect.signature(function).parameters:
        assert f"\n{parameter}\n" in explained or f"\n{parameter} :" in explained or f"\n{parameter}:" in explained


def test_the_overall_help_imports_nothing_heavy_and_no_command() -> None:
    code = (
        "import sys; from iotrace.cli import main; main(['--help']);"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr);"
        "print(sorted(m for m in sys.modules if m.startswith('iotrace.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert all(name in done.stdout for name in COMMANDS)
    assert done.stderr.strip() == "[]\n['iotrace.cli', 'iotrace.errors', 'iotrace.lean', 'iotrace.terminal']"


def test_a_summary_of_a_small_trace_brings_neither_numba_nor_what_draws(tmp_path: Path) -> None:
    trace = made_trace(tmp_path / "t.iotrace", [event(0, "read", file=0, result=1, size=1)], ["/data/a"])
    code = (
        f"import sys; from iotrace.cli import main; main(['summary', {str(trace)!r}]);"
        "print([m for m in ('numba', 'matplotlib', 'seaborn', 'scipy') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"


def test_version_is_the_packages() -> None:
    from iotrace import __version__

    assert run("--version").stdout.strip() == __version__


def test_the_facade_lists_what_it_gives_and_no_room() -> None:
    import iotrace

    assert iotrace.__all__ == [
        "IotraceError", "__version__", "cache_curve", "compare", "compare_results", "findings", "latencies",
        "open_result", "open_trace", "run_replay", "runs", "size", "summarise", "table", "timeline",
    ]  # fmt: skip
    documented = (Path(__file__).parent.parent.parent / "docs" / "python.md").read_text()
    for name in iotrace.__all__[2:]:
        assert callable(getattr(iotrace, name))
        assert f"`{name}" in documented
    assert inspect.ismodule(importlib.import_module("iotrace.analysis"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sumary"], "did you mean 'summary'?"),
        (["frobnicate"], "The commands are record, top, import"),
        (["--frob"], "there is no option '--frob' before a command"),
        (["summary"], "TRACE"),
        (["summary", "t", "--by", "colour"], "Choose from"),
        (["summary", "t", "--frob"], "--frob"),
        (["summary", "t", "--top", "many"], "many"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.startswith("iotrace: ")
    assert out.err.count("\n") == 1
    assert says in out.err


@pytest.mark.parametrize(
    ("error", "status"),
    [(TraceError("x"), 1), (StorageError("x"), 1), (UsageError("x"), 2), (RecordError("x", 127), 127)],
)
def test_errors_on_purpose_are_one_line_with_their_own_status(
    error: Exception, status: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_run", raising(error))
    assert main([]) == status
    assert capsys.readouterr().err == "iotrace: x\n"


def raising(error: BaseException) -> Any:
    def run(words: list[str]) -> None:
        raise error

    return run


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_run", raising(KeyboardInterrupt()))
    assert main([]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_control_characters_of_an_error_are_escaped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_run", raising(IotraceError("/a/\x1b[2J\n\u202egone")))
    main([])
    assert capsys.readouterr().err == "iotrace: /a/\\x1b[2J \\u202egone\n"


def test_a_fault_of_ours_is_one_line_that_says_how_to_see_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IOTRACE_TRACEBACK", raising=False)
    monkeypatch.setattr(cli, "_run", raising(ZeroDivisionError("division by zero")))
    assert main([]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "ZeroDivisionError" in err
    assert "IOTRACE_TRACEBACK=1" in err
    monkeypatch.setenv("IOTRACE_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main([])


def test_a_missing_module_is_named_with_the_line_that_installs_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_run", raising(ModuleNotFoundError("No module named 'mpi4py'", name="mpi4py")))
    assert main([]) == 1
    assert "pip install mpi4py" in capsys.readouterr().err


def test_a_module_that_a_commands_module_lacks_is_named_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "lacking_command.py").write_text("import no_such_library.part\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.COMMANDS, "lacking", ("lacking_command:run", "x"))
    assert main(["lacking"]) == 1
    assert "pip install no_such_library\n" in capsys.readouterr().err


def test_an_error_of_the_system_names_the_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_run", raising(PermissionError(13, "Permission denied", "/x")))
    assert main([]) == 1
    assert capsys.readouterr().err == "iotrace: /x: Permission denied.\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "iotrace", "--help"], stdout=write, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 141


@pytest.mark.parametrize(("where", "status", "says"), [(">&-", 0, ""), (">/dev/full", 1, "iotrace: no space is left")])
def test_an_output_that_is_closed_or_full_is_no_fault_of_iotrace(where: str, status: int, says: str) -> None:
    command = f"{sys.executable} -m iotrace doctor --json {where} || test $? = {status}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stderr.startswith(says)
    assert len(done.stderr.splitlines()) == (1 if says else 0)


def test_words_behind_two_dashes_are_not_iotraces(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Any:
    import iotrace.cli

    seen = []
    fake = Path(__file__).with_name("fake_command_for_cli.py")
    monkeypatch.setitem(iotrace.cli.COMMANDS, "fake", (f"{fake.stem}:fake", "Take words."))
    monkeypatch.setitem(sys.modules, fake.stem, type(sys)(fake.stem))

    def command(*command: str, json: bool = False) -> int:
        """Take words."""
        seen.append((command, json))
        return 7

    monkeypatch.setattr(sys.modules[fake.stem], "fake", command, raising=False)
    assert main(["fake", "--", "prog", "--help", "--version", "--json"]) == 7
    assert seen == [(("prog", "--help", "--version", "--json"), False)]


def test_output_in_a_narrow_encoding_does_not_fail(tmp_path: Path) -> None:
    done = run("--help", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "record" in done.stdout


def test_json_is_one_object_on_standard_output() -> None:
    done = run("doctor", "--json")
    assert set(json.loads(done.stdout)) == {"record", "replay", "checks"}
