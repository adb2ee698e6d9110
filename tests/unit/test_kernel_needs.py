"""What the compiled BPF program needs of a kernel, read from the object itself, against what Linux 5.14 has.

The tables are those of mainline: helpers are numbered in enum bpf_func_id (include/uapi/linux/bpf.h) in the order of
their coming; the last of 5.14 is bpf_sys_close, 5.15 begins with bpf_timer_init.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from iotrace.errors import BackendUnavailable
from iotrace.record.ebpf import needs
from iotrace.record.ebpf import program as p

LAST_HELPER_OF_5_14 = 168
"""bpf_sys_close."""
OF_5_14 = {
    1: "bpf_map_lookup_elem", 2: "bpf_map_update_elem", 3: "bpf_map_delete_elem", 5: "bpf_ktime_get_ns",
    8: "bpf_get_smp_processor_id", 12: "bpf_tail_call", 87: "bpf_map_push_elem", 88: "bpf_map_pop_elem",
    112: "bpf_probe_read_user", 113: "bpf_probe_read_kernel", 114: "bpf_probe_read_user_str",
    115: "bpf_probe_read_kernel_str", 130: "bpf_ringbuf_output", 131: "bpf_ringbuf_reserve",
    132: "bpf_ringbuf_submit", 158: "bpf_get_current_task_btf",
}  # fmt: skip
"""Helpers that the program may use without asking; bpf_get_current_task_btf (5.11) is the newest."""
NEWER = {
    "bpf_task_pt_regs": (5, 15), "bpf_find_vma": (5, 17), "bpf_loop": (5, 17), "bpf_rdonly_cast": (6, 2),
    "io_uring_submit_req": (6, 3), "mm_filemap_fault": (6, 10), "mm_filemap_map_pages": (6, 10),
    "io_uring_complete": (6, 12),
}  # fmt: skip
TRACEPOINTS_OF_5_14 = {
    "sys_enter", "sys_exit", "sched_process_fork", "sched_process_exec", "sched_process_exit", "cgroup_attach_task",
}  # fmt: skip
ITERATORS_OF_5_14 = {"task", "task_file", "task_vma"}
"""task and task_file of 5.8, task_vma of 5.12."""
OTHER_SECTIONS_OF_5_14 = {"perf_event", ".text"}
_CALL = 0x85
_LOAD_64 = 0x18
_FUNCTION, _UNDEFINED, _WEAK = 2, 0, 2


@dataclass(frozen=True)
class Symbol:
    name: str
    section: int
    weak: bool
    value: int
    size: int
    function: bool


class BpfElf:
    """A BPF object: 64-bit little-endian ELF, as elf(5) describes it."""

    def __init__(self, path: Path) -> None:
        data = self._data = path.read_bytes()
        assert data[:6] == b"\x7fELF\x02\x01"
        assert struct.unpack_from("<H", data, 18)[0] == 247  # EM_BPF
        (at,) = struct.unpack_from("<Q", data, 40)
        size, count, names = struct.unpack_from("<HHH", data, 58)
        self._headers = [struct.unpack_from("<IIQQQQIIQQ", data, at + i * size) for i in range(count)]
        self.sections = [self._text(self._headers[names][4], header[0]) for header in self._headers]

    def _text(self, begin: int, offset: int) -> str:
        return self._data[begin + offset : self._data.index(b"\0", begin + offset)].decode()

    def of(self, section: int) -> bytes:
        header = self._headers[section]
        return self._data[header[4] : header[4] + header[5]]

    def begin(self, section: int) -> int:
        """Where a section begins in the file."""
        return int(self._headers[section][4])

    def programs(self) -> list[int]:
        """Sections that hold instructions."""
        return [i for i, header in enumerate(self._headers) if header[1] == 1 and header[2] & 4 and header[5]]

    def symbols(self) -> list[Symbol]:
        table = next(i for i, header in enumerate(self._headers) if header[1] == 2)
        names = self._headers[self._headers[table][6]][4]
        return [
            Symbol(self._text(names, name), section, info >> 4 == _WEAK, value, size, info & 15 == _FUNCTION)
            for name, info, _, section, value, size in struct.iter_unpack("<IBBHQQ", self.of(table))
        ]

    def externals(self) -> dict[str, bool]:
        """Names that the kernel must give, and whether the object can do without."""
        return {s.name: s.weak for s in self.symbols() if s.section == _UNDEFINED and s.name}

    def helpers(self, section: int) -> Iterator[tuple[int, int]]:
        """(offset, number) of each call of a helper."""
        relocated = set()
        for i, header in enumerate(self._headers):
            if header[1] == 9 and header[7] == section:
                relocated |= {offset for offset, _ in struct.iter_unpack("<QQ", self.of(i))}
        code, at = self.of(section), 0
        while at < len(code):
            operation, registers, _, number = struct.unpack_from("<BBhi", code, at)
            if operation == _CALL and registers >> 4 == 0 and at not in relocated:
                yield at, number
            at += 16 if operation == _LOAD_64 else 8


@pytest.fixture(scope="module")
def compiled() -> BpfElf:
    try:
        return BpfElf(p.object_path())
    except BackendUnavailable as reason:
        pytest.skip(str(reason))


def test_every_helper_is_of_5_14_or_known_as_newer(compiled: BpfElf) -> None:
    used = {number for section in compiled.programs() for _, number in compiled.helpers(section)}
    assert {1, 131, 158} <= used  # the reader reads
    newer = {feature.number: feature.name for feature in needs.FEATURES if feature.kind == "helper"}
    assert used <= set(OF_5_14) | set(newer)
    assert max(OF_5_14) <= LAST_HELPER_OF_5_14 < min(newer)
    assert used - set(OF_5_14) == set(newer)


def test_every_newer_feature_has_the_version_that_mainline_first_had_it_in() -> None:
    assert {feature.name: feature.since for feature in needs.FEATURES} == NEWER
    assert [feature.since for feature in needs.FEATURES] == sorted(NEWER.values())
    assert all(since > needs.OLDEST for since in NEWER.values())


def test_what_the_kernel_must_give_by_name_is_weak_and_known(compiled: BpfElf) -> None:
    assert compiled.externals() == {feature.name: True for feature in needs.FEATURES if feature.kind == "kfunc"}


def test_every_program_hangs_on_what_5_14_has_or_is_left_out_where_it_is_absent(compiled: BpfElf) -> None:
    sections = {compiled.sections[i] for i in compiled.programs()} - {"license"}
    tracepoints = {name.removeprefix("tp_btf/") for name in sections if name.startswith("tp_btf/")}
    iterators = {name.removeprefix("iter/") for name in sections if name.startswith("iter/")}
    rest = {name for name in sections if "/" not in name}
    assert iterators == ITERATORS_OF_5_14
    assert rest == OTHER_SECTIONS_OF_5_14
    assert all(name.startswith(("tp_btf/", "iter/")) or name in rest for name in sections)
    newer = {feature.name for feature in needs.FEATURES if feature.kind == "tracepoint"}
    assert tracepoints == TRACEPOINTS_OF_5_14 | newer
    assert set(p.TRACEPOINTS.values()) == tracepoints
    leaves_out = {p.TRACEPOINTS[program] for program in (*p.FAULT_PROGRAMS, *p.URING_PROGRAMS)}
    assert leaves_out == newer


def test_each_program_stands_in_the_section_of_its_tracepoint(compiled: BpfElf) -> None:
    functions = {s.name: compiled.sections[s.section] for s in compiled.symbols() if s.function}
    assert {name: functions[name] for name in p.TRACEPOINTS} == {
        name: f"tp_btf/{tracepoint}" for name, tracepoint in p.TRACEPOINTS.items()
    }


def test_what_is_missing_is_named_with_the_kernel_that_has_it() -> None:
    everything = frozenset(NEWER)
    assert needs.unseen(everything) == []
    for feature in needs.FEATURES:
        sentences = needs.unseen(everything - {feature.name})
        if feature.lacking:
            assert len(sentences) == 1
            assert feature.name in sentences[0]
            assert feature.version in sentences[0]
        else:
            assert sentences == []
    nothing = " ".join(needs.unseen([]))
    assert all(feature.name in nothing for feature in needs.FEATURES if feature.lacking)


WITHOUT = (
    needs.FIND_VMA, ("bpf_task_pt_regs",), needs.LOOPS, needs.URING, ("io_uring_complete",), needs.FAULTS, tuple(NEWER),
)  # fmt: skip
UNKNOWN_HELPER = 99_999


def on_a_kernel_without(numbers: set[int], folder: Path) -> Path:
    """The object as a kernel that lacks these helpers sees it: their calls bear a number that no kernel knows."""
    elf = BpfElf(p.object_path())
    data = bytearray(p.object_path().read_bytes())
    for section in elf.programs():
        for at, number in elf.helpers(section):
            if number in numbers:
                struct.pack_into("<i", data, elf.begin(section) + at + 4, UNKNOWN_HELPER)
    path = folder / "changed.bpf.o"
    path.write_bytes(data)
    return path


@pytest.mark.bpf
@pytest.mark.parametrize("without", WITHOUT, ids=lambda names: "+".join(names) if len(names) < len(NEWER) else "all")
def test_no_call_of_a_helper_is_left_where_the_kernel_lacks_it(
    without: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = {needs.BY_NAME[name].number for name in without} - {0}
    changed = on_a_kernel_without(absent, tmp_path)
    monkeypatch.setattr(p, "object_path", lambda: changed)
    program = p.Program(p.Wanted(ring_bytes=1 << 16, without=without))
    program.close()
    assert set(without).isdisjoint(program.found)
    assert program.unseen[:-1] == needs.unseen(program.found)
    if absent:
        # and the verifier would have refused a call that is not guarded
        with pytest.raises(BackendUnavailable, match="refuses the BPF program"):
            p.Program(p.Wanted(ring_bytes=1 << 16)).close()


def with_a_refused(function: str, folder: Path) -> Path:
    """The object with one program that no verifier accepts: it begins by reading a register that holds nothing."""
    elf = BpfElf(p.object_path())
    symbol = next(s for s in elf.symbols() if s.name == function)
    data = bytearray(p.object_path().read_bytes())
    struct.pack_into("<BBhi", data, elf.begin(symbol.section) + symbol.value, 0xBF, 0x96, 0, 0)
    path = folder / "changed.bpf.o"
    path.write_bytes(data)
    return path


@pytest.mark.bpf
def test_without_the_kfunc_fields_are_read_by_a_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the same object asks for a name that no kernel has
    data = p.object_path().read_bytes()
    changed = tmp_path / "changed.bpf.o"
    changed.write_bytes(data.replace(b"bpf_rdonly_cast\0", b"bpf_rdonly_cas_\0"))
    assert changed.read_bytes() != data
    monkeypatch.setattr(p, "object_path", lambda: changed)
    program = p.Program(p.Wanted(ring_bytes=1 << 16))
    program.close()
    assert program.unseen == ["calls of 32-bit programs"]


@pytest.mark.bpf
@pytest.mark.parametrize(("function", "left_out"), [("uring_complete", needs.URING), ("fault", needs.FAULTS)])
def test_a_program_that_the_verifier_refuses_is_left_out_by_name(
    function: str, left_out: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = with_a_refused(function, tmp_path)
    monkeypatch.setattr(p, "object_path", lambda: changed)
    program = p.Program(p.Wanted(ring_bytes=1 << 16))
    try:
        assert set(left_out).isdisjoint(program.found)
        assert program.bpf.is_loaded("enter")
        assert not program.bpf.is_loaded(function)
        text = " ".join(program.unseen)
        assert all(name in text for name in left_out)
        assert "its verifier refuses" in text
    finally:
        program.close()


@pytest.mark.bpf
def test_a_program_that_the_verifier_refuses_altogether_is_no_matter_of_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = with_a_refused("enter", tmp_path)
    monkeypatch.setattr(p, "object_path", lambda: changed)
    with pytest.raises(BackendUnavailable, match=r"verifier of Linux .* refuses") as caught:
        p.Program(p.Wanted(ring_bytes=1 << 16))
    assert "root" not in str(caught.value)
    assert "\n" not in str(caught.value)
