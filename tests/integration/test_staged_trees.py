"""Staged trees: made as the plan says, kept, found again, refused where they do not fit, restored after any change."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import TraceBuilder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import in_tree

from iotrace.errors import StorageError
from iotrace.replay.ground import MARKER, clean, leftovers
from iotrace.replay.manifest import changes_of, read_manifest
from iotrace.replay.payload import Contents, Payload
from iotrace.replay.plan import build_plan
from iotrace.replay.rows import Plan
from iotrace.replay.sight import load_sights
from iotrace.replay.stage import check_room, needs_of
from iotrace.replay.trees import PreparedTree, prepare_tree, restore_tree
from iotrace.trace.info import Mount
from iotrace.trace.reader import Trace, open_trace

PLAIN = Contents(Payload())
SIZES = (0, 1, 4095, 4096, 70_000, 1 << 20)


def trace_of(folder: Path) -> Trace:
    """Reads some files, writes, truncates and renames others."""
    trace = TraceBuilder()
    for number, size in enumerate(SIZES):
        name = f"in/deep/er/{number}.mrc"
        trace.close(trace.open(name, size=size), name)
    trace.named("stat", "in/empty", seen=False)
    trace.named("stat", "in/l1.mrc", file=trace.file("in/deep/er/4.mrc"))
    trace.file("link", type="link", target="in/deep/er/4.mrc", existed=True)
    trace.named("lstat", "link")
    trace.named("getxattr", "in/deep/er/4.mrc", "user.box", size=100, result=20)
    star = trace.open("out/run.star", os.O_RDWR, size=9000)
    trace.write(star, "out/run.star", 100, 5000, op="pwrite64")
    trace.close(star, "out/run.star")
    trace.named("truncate", "out/old.log", size=10)
    trace.file("out/old.log", size=50_000)
    trace.named("rename", "out/a", "out/b")
    trace.named("unlink", "out/gone")
    trace.named("mkdir", "out/new", mode=0o755, seen=False)
    return open_trace(trace.save(folder / "T.iotrace"))


def picture(tree: Path) -> dict[str, tuple[object, ...]]:
    """All that a tree holds."""
    seen: dict[str, tuple[object, ...]] = {}
    inodes: dict[int, str] = {}
    for folder, folders, files in os.walk(tree):
        for name in sorted([*folders, *files]):
            path = Path(folder) / name
            if path.parent == tree and "iotrace-" in name:
                continue
            status = path.lstat()
            key = str(path.relative_to(tree))
            if stat.S_ISLNK(status.st_mode):
                text = os.readlink(path)
                seen[key] = ("link", text.removeprefix(str(tree)))
                continue
            names = [(one, os.getxattr(path, one)) for one in sorted(os.listxattr(path)) if one.startswith("user.")]
            if stat.S_ISDIR(status.st_mode):
                seen[key] = ("folder", status.st_mode, names)
            else:
                first = inodes.setdefault(status.st_ino, key)
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                seen[key] = ("file", status.st_mode, first, status.st_size, digest, names)
    return seen


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Plan, Path]]:
    folder = tmp_path_factory.mktemp("world")
    (folder / "mount").mkdir()
    yield build_plan(trace_of(folder)), folder / "mount"
    shutil.rmtree(folder)


def files_of(tree: Path) -> list[Path]:
    return sorted(path for path in in_tree(tree) if path.is_file() and not path.is_symlink())


def test_files_hold_what_the_payload_says(world: tuple[Plan, Path]) -> None:
    plan, mount = world
    with prepare_tree(plan, mount, PLAIN) as prepared:
        for file in plan.snapshot.files:
            if file.file >= 0:
                data = (prepared.tree / os.fsdecode(file.path)).read_bytes()
                assert data == PLAIN.bytes_of(file.file, 0, file.size)
        assert not (prepared.ground.folder / "iotrace-tree.msgpack").exists()
    assert list(mount.iterdir()) == []


def test_a_large_file_is_made_in_slices_and_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iotrace.replay.stage.SLICE_BYTES", 100_000)
    trace = TraceBuilder()
    trace.close(trace.open("x", size=2_345_678), "x")
    plan = build_plan(open_trace(trace.save(tmp_path / "T.iotrace")))
    told: list[int] = []
    with prepare_tree(plan, tmp_path, PLAIN, step=told.append) as prepared:
        (file,) = files_of(prepared.tree)
        assert file.read_bytes() == PLAIN.bytes_of(plan.snapshot.files[0].file, 0, 2_345_678)
    assert sum(told) == 2_345_678


def test_a_sparse_file_gets_its_hole_and_takes_no_more_room(tmp_path: Path) -> None:
    trace = TraceBuilder(cwd="/scratch/job")
    seen: dict[str, dict[str, object]] = {
        "sparse": {"blocks": 16},
        "empty": {"blocks": 0},
        "full": {"blocks": 2000},
        "unknown": {},
        "new": {"existed": False},
    }
    for name, columns in seen.items():
        trace.file(name, **({"size": 1 << 20, "mount": 0, "existed": True, **columns}))
        trace.close(trace.open(name), name)
    saved = open_trace(trace.save(tmp_path / "T.iotrace", mounts=[Mount(1, "/scratch", "xfs", "/dev/x")]))
    plan, sights = build_plan(saved), load_sights(saved)
    sizes = {}
    with prepare_tree(plan, tmp_path, PLAIN, sights) as prepared:
        for path in files_of(prepared.tree):
            status = path.stat()
            sizes[len(path.name)] = (status.st_size, status.st_blocks * 512 // 4096 * 4096)
    assert sizes[len("sparse")] == (1 << 20, 8192)
    assert sizes[len("empty")] == (1 << 20, 0)
    assert sizes[len("unknown")][1] >= 1 << 20
    assert sizes[len("full")][1] >= 1 << 20
    assert needs_of(plan).staged_bytes - needs_of(plan, sights).staged_bytes == (2 << 20) - 8192
    # a file system that compresses says little by its blocks
    zfs = open_trace(trace.save(tmp_path / "Z.iotrace", mounts=[Mount(1, "/scratch", "zfs", "pool")]))
    assert needs_of(plan, load_sights(zfs)) == needs_of(plan)


@pytest.mark.bpf
def test_what_was_written_just_before_and_has_no_blocks_yet_is_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that allocates late says 0 blocks of what lies in the page cache alone."""
    from iotrace.record.session import record

    monkeypatch.chdir(tmp_path)
    (tmp_path / "late").write_bytes(os.urandom(8 << 20))
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 8 << 20)
    record(["/bin/sh", "-c", "cat late >/dev/null; head -c 1 sparse"], tmp_path / "T.iotrace", backend="ebpf")
    trace = open_trace(tmp_path / "T.iotrace")
    sights, tables = load_sights(trace), trace.files().reset_index()
    data = {
        Path(path).name: sights.data_bytes(number, 8 << 20)
        for number, path in enumerate(tables.path_text.fillna(""))
        if Path(path).name in ("late", "sparse")
    }
    assert data["late"] == 8 << 20
    assert data["sparse"] < 1 << 20


class Vandal:
    """Changes a tree at random, as programs do."""

    def __init__(self, tree: Path, seed: int) -> None:
        self.tree, self.random = tree, random.Random(seed)

    def any(self, folders: bool) -> Path:
        paths = [path for path in in_tree(self.tree) if not folders or (path.is_dir() and not path.is_symlink())]
        return self.random.choice(sorted(paths)) if paths else self.tree

    def write(self) -> None:
        path = self.any(False)
        if path.is_file():
            with path.open("r+b") as file:
                file.seek(self.random.randrange(100_000))
                file.write(b"changed")

    def truncate(self) -> None:
        path = self.any(False)
        if path.is_file():
            os.truncate(path, self.random.randrange(10_000))

    def remove(self) -> None:
        path = self.any(False)
        if path.is_dir() and not path.is_symlink() and path != self.tree:
            shutil.rmtree(path)
        elif path != self.tree:
            path.unlink()

    def create(self) -> None:
        name = self.any(True) / f"new{self.random.randrange(5)}"
        if not os.path.lexists(name):
            self.random.choice((Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")))(name)

    def rename(self) -> None:
        one, other = self.any(False), self.any(False)
        try:
            os.rename(one, other)
        except OSError:
            return

    def link(self) -> None:
        one = self.any(False)
        try:
            os.link(one, self.any(True) / "hard")
        except OSError:
            return

    def close(self) -> None:
        path = self.any(False)
        if not path.is_symlink():
            path.chmod(self.random.choice((0, 0o500, 0o777)))

    def replace(self) -> None:
        """A name comes to stand for another kind of thing."""
        path = self.any(False)
        if path == self.tree:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
            path.symlink_to("..")
        else:
            path.unlink()
            path.mkdir()
            (path / "inside").touch()


WAYS = ("write", "truncate", "remove", "create", "rename", "link", "close", "replace")


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(WAYS), max_size=8), st.integers(0, 2**32))
def test_restoring_after_arbitrary_changes_gives_the_staged_tree_again(
    world: tuple[Plan, Path], ways: list[str], seed: int
) -> None:
    plan, mount = world
    with prepare_tree(plan, mount, PLAIN) as prepared:
        before = picture(prepared.tree)
        vandal = Vandal(prepared.tree, seed)
        for way in ways:
            getattr(vandal, way)()
        restore_tree(prepared)
        assert picture(prepared.tree) == before
        # and what was restored is known: nothing but what the plan may change is made again
        again = restore_tree(prepared)
        assert (again.files, again.removed) == (len(changes_of(plan).files), 0)


def test_what_the_plan_may_write_is_made_again_even_where_size_and_time_are_the_same(world: tuple[Plan, Path]) -> None:
    plan, mount = world
    with prepare_tree(plan, mount, PLAIN) as prepared:
        before = picture(prepared.tree)
        changed = [prepared.tree / os.fsdecode(plan.snapshot.files[i].path) for i in changes_of(plan).files]
        assert sorted(path.stat().st_size for path in changed) == [9000, 50_000]
        for path in changed:
            status = path.stat()
            path.write_bytes(bytes(status.st_size))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        restored = restore_tree(prepared)
        assert (restored.files, restored.bytes) == (2, 59_000)
        assert picture(prepared.tree) == before


def test_names_that_changed_places_are_told_apart_by_their_inodes(tmp_path: Path) -> None:
    trace = TraceBuilder()
    for name in ("a", "b"):
        trace.close(trace.open(name, size=4096), name)
    for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
        trace.named("rename", old, new)
    plan = build_plan(open_trace(trace.save(tmp_path / "T.iotrace")))
    with prepare_tree(plan, tmp_path, PLAIN) as prepared:
        before = picture(prepared.tree)
        one, other = files_of(prepared.tree)
        for path in (one, other):
            os.utime(path, ns=(5, 5))  # as on a file system that counts in seconds
        prepared.manifest.seen = _seen_again(prepared)
        one.rename(one.parent / "third")
        other.rename(one)
        (one.parent / "third").rename(other)
        assert restore_tree(prepared).files == 2
        assert picture(prepared.tree) == before


def _seen_again(prepared: PreparedTree) -> bytes:
    seen = prepared.manifest.files
    for i, file in enumerate(prepared.plan.snapshot.files):
        status = (prepared.tree / os.fsdecode(file.path)).lstat()
        seen[i] = status.st_size, status.st_mtime_ns, status.st_ino
    return seen.tobytes()


def test_nothing_is_removed_through_a_link_or_on_another_mount(world: tuple[Plan, Path], tmp_path: Path) -> None:
    plan, mount = world
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").touch()
    with prepare_tree(plan, mount, PLAIN) as prepared:
        aside = prepared.tree.rename(mount / "aside")
        prepared.tree.symlink_to(tmp_path / "other")
        with pytest.raises(StorageError, match="is no folder"):
            restore_tree(prepared)
        prepared.tree.unlink()
        aside.rename(prepared.tree)
        inner = prepared.tree / "inner"
        inner.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "none", str(inner)], capture_output=True).returncode == 0:
            try:
                (inner / "precious").touch()
                with pytest.raises(StorageError, match="another mount"):
                    restore_tree(prepared)
                assert (inner / "precious").exists()
            finally:
                subprocess.run(["umount", str(inner)], check=True)
    assert (tmp_path / "other" / "precious").exists()


def test_extended_attributes_come_back(tmp_path: Path) -> None:
    trace = TraceBuilder()
    trace.named("getxattr", "x", "user.box", size=100, result=20)
    trace.named("setxattr", "x", "user.box", size=5)
    trace.named("setxattr", "y", "user.more", size=5)
    plan = build_plan(open_trace(trace.save(tmp_path / "T.iotrace")))
    try:
        os.setxattr(tmp_path, "user.try", b"x")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    with prepare_tree(plan, tmp_path, PLAIN) as prepared:
        before = picture(prepared.tree)
        for path in files_of(prepared.tree):
            for name in ("user.new", *os.listxattr(path)):
                os.setxattr(path, name, b"other")
        os.setxattr(next(prepared.tree.iterdir()), "user.new", b"x")
        restore_tree(prepared)
        assert picture(prepared.tree) == before


def dead(folder: Path) -> None:
    """As if the process that made it had ended."""
    marker = folder / MARKER
    marker.write_text(marker.read_text().replace(f'"pid":{os.getpid()}', '"pid":4194303'))


def test_a_kept_tree_is_taken_again_restored_and_kept(world: tuple[Plan, Path]) -> None:
    plan, mount = world
    with prepare_tree(plan, mount, PLAIN, keep=True) as prepared:
        before, folder = picture(prepared.tree), prepared.ground.folder
    manifest = read_manifest(folder)
    assert manifest is not None
    assert (manifest.payload, manifest.changes.renames) == (Payload(), True)
    dead(folder)
    assert (leftovers(mount), clean(mount)) == ([], [])
    (files_of(folder)[0]).unlink()
    for staged in (mount, folder):
        with prepare_tree(plan, mount, PLAIN, staged=staged) as prepared:
            assert prepared.ground.folder == folder
            assert picture(prepared.tree) == before
            assert prepared.restored is not None
            assert prepared.restored.untouched > len(plan.snapshot.files) // 2
            with pytest.raises(StorageError, match="in use by process"):
                prepare_tree(plan, mount, PLAIN, staged=staged)
        dead(folder)
    assert clean(folder) == [folder]
    assert list(mount.iterdir()) == []


def test_a_tree_that_does_not_fit_is_refused_with_one_line(world: tuple[Plan, Path], tmp_path: Path) -> None:
    plan, mount = world
    with prepare_tree(plan, mount, PLAIN, keep=True) as prepared:
        folder = prepared.ground.folder
    dead(folder)
    trace = TraceBuilder()
    trace.named("stat", "something/else")
    other = build_plan(open_trace(trace.save(tmp_path / "T.iotrace")))
    half = Contents(Payload(compress=0.5))
    shm = Path("/dev/shm")
    cases = [
        (other, mount, PLAIN, mount, "another trace"),
        (plan, mount, half, folder, "--compress 0 .* not with --compress 0.5"),
        (plan, mount, PLAIN, tmp_path / "nowhere", "no such folder"),
        (plan, mount, PLAIN, tmp_path, "no tree that was kept"),
    ]
    if shm.is_dir() and shm.stat().st_dev != mount.stat().st_dev:
        cases.append((plan, shm, PLAIN, folder, "another mount"))
    for one, parent, contents, staged, why in cases:
        with pytest.raises(StorageError, match=why) as caught:
            prepare_tree(one, parent, contents, staged=staged)
        assert "\n" not in str(caught.value)
    manifest = folder / "iotrace-tree.msgpack"
    for damage in (b"", b"\xc1", manifest.read_bytes()[:50]):
        manifest.write_bytes(damage)
        with pytest.raises(StorageError, match="no tree that was kept"):
            prepare_tree(plan, mount, PLAIN, staged=folder)
    clean(folder)


def test_half_a_tree_is_not_kept(world: tuple[Plan, Path]) -> None:
    plan, mount = world
    broken = build_plan_with_attribute(plan)
    with pytest.raises(StorageError):
        prepare_tree(broken, mount, PLAIN, keep=True)
    assert list(mount.iterdir()) == []


def build_plan_with_attribute(plan: Plan) -> Plan:
    import copy

    other = copy.copy(plan)
    other.snapshot = copy.copy(plan.snapshot)
    other.snapshot.attributes = [(b"not-there", b"user.x", 5)]
    return other


def test_what_lies_there_already_needs_no_room(world: tuple[Plan, Path]) -> None:
    plan, mount = world
    needs = needs_of(plan)
    check_room(needs, mount, there=needs.staged_bytes)
    with pytest.raises(StorageError, match="--max-bytes"):
        check_room(needs, mount, max_bytes=10, there=needs.staged_bytes)


def test_half_a_tree_is_not_kept_when_its_making_was_stopped(tmp_path: Path) -> None:
    plan = build_plan(trace_of(tmp_path))
    mount = tmp_path / "mount"
    mount.mkdir()
    stopped = threading.Event()
    stopped.set()
    with prepare_tree(plan, mount, PLAIN, keep=True, stop=stopped):
        assert list(mount.iterdir())
    assert not list(mount.iterdir())
