"""Kernels are compiled once, and anew when any file that they call has changed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

from iotrace.compiling import compiled, compiling_text, stamps

FOLDER = Path(__file__).resolve().parents[2]
KERNELS = {"compiled", "entry", "inner", "_kernel"}
HELPER = "from iotrace.compiling import compiled\n@compiled\ndef helped(x):\n    return x + {}\n"
KERNEL = """from iotrace.compiling import compiled
from room.kernels.helper import helped
@compiled
def kernel(x):
    return helped(x) * 10
"""
RUN = "from room.kernels.kernel import kernel; print(kernel(1), sum(kernel.stats.cache_hits.values()))"


def run(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {RUN}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_a_kernel_is_compiled_once_and_again_when_a_file_that_it_calls_has_changed(tmp_path: Path) -> None:
    kernels = tmp_path / "room" / "kernels"
    kernels.mkdir(parents=True)
    (tmp_path / "room" / "__init__.py").touch()
    (kernels / "__init__.py").touch()
    (kernels / "helper.py").write_text(HELPER.format(1))
    (kernels / "kernel.py").write_text(KERNEL)
    assert run(tmp_path) == "20 0"
    assert run(tmp_path) == "20 1"
    (kernels / "helper.py").write_text(HELPER.format(22))
    assert run(tmp_path) == "230 0"


def test_where_machine_code_cannot_be_kept_a_line_says_so_until_the_kernel_is_there() -> None:
    names: dict[str, Any] = {}
    exec("def of_no_file(x):\n    return x + 1\n", names)  # Numba keeps nothing of what has no file
    kernel = compiled(names["of_no_file"])
    assert "NUMBA_CACHE_DIR" in compiling_text(kernel)
    assert kernel(1) == 2
    assert compiling_text(kernel) == ""


def file_of(module: str) -> Path | None:
    place = FOLDER.joinpath(*module.split("."))
    found = (place.with_suffix(".py"), place / "__init__.py")
    return next((file.resolve() for file in found if file.is_file()), None)


def taken(tree: ast.Module) -> set[Path]:
    """Files from which the kernels of a module, or the constants that they use, take something."""
    files: dict[str, set[Path]] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("iotrace"):
            for name in node.names:
                file = file_of(f"{node.module}.{name.name}") or file_of(str(node.module))
                assert file is not None, ast.unparse(node)
                files[name.asname or name.name] = {file}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            used = names(node.value)
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                files |= dict.fromkeys(names(target), set().union(*(files.get(name, set()) for name in used)))
    kernels = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and KERNELS & {ast.unparse(one) for one in node.decorator_list}
    ]
    return set().union(*(files.get(name, set()) for kernel in kernels for name in names(kernel)))


def names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def test_the_cache_of_kernels_looks_at_every_file_that_they_take_something_from() -> None:
    folders = (FOLDER / top for top in ("iotrace", "replay", "profiles", "analysis"))
    sources = {source.resolve() for folder in folders for source in folder.rglob("*.py")}
    sources = {source for source in sources if "iotrace.compiling import" in source.read_text()}
    assert len(sources) > 50
    missed = []
    for source in sorted(sources):
        looked_at = {source} | {Path(name).resolve() for name, _, _ in stamps(source)}
        missed += [f"{source}: {file}" for file in taken(ast.parse(source.read_text())) - looked_at]
    assert not missed
