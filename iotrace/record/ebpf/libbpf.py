"""The part of libbpf that the recorder needs, by ctypes: open an object, set it up, load, attach, look into maps.

libbpf.so.1 is a distribution's package; nothing is loaded when this module is imported.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import platform
import struct
from pathlib import Path
from typing import Any, Final

from iotrace.errors import BackendUnavailable, RecordError

_BTF_KIND_TYPEDEF: Final = 8
_BTF_KIND_FUNCTION: Final = 12
_PROG_TYPE_PERF_EVENT: Final = 7
_CAPABILITIES: Final = {"CAP_BPF": 39, "CAP_PERFMON": 38}
_SYS_ADMIN: Final = 21
_PERF_EVENT_OPEN: Final = {"x86_64": 298, "aarch64": 241}
_PERF_TYPE_SOFTWARE: Final = 1
_PERF_SAMPLE_ADDR: Final = 1 << 3


def load_library() -> ctypes.CDLL:
    """libbpf with its functions' types set.

    Raises
    ------
    BackendUnavailable: the library is not installed.
    """
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError:
        raise BackendUnavailable(
            "libbpf.so.1 is missing: install it (Debian, Ubuntu: apt-get install libbpf1; RHEL: dnf install libbpf)."
        ) from None
    pointers = (
        "bpf_object__open_file bpf_object__find_map_by_name bpf_object__find_program_by_name "
        "bpf_program__attach bpf_program__attach_perf_event bpf_program__attach_iter bpf_object__next_program "
        "bpf_object__next_map btf__load_vmlinux_btf libbpf_set_print"
    )
    for name in pointers.split():
        getattr(library, name).restype = ctypes.c_void_p
    for name in ("bpf_map__name", "bpf_program__name"):
        getattr(library, name).restype = ctypes.c_char_p
    library.libbpf_set_print(None)
    return library


def _pointer_or_error(value: int | None) -> tuple[int, int]:
    """libbpf 1.x returns NULL and sets errno."""
    return (value, 0) if value else (0, ctypes.get_errno())


class KernelTypes:
    """The running kernel's type information (BTF); a context manager that frees it.

    Attributes
    ----------
    known: whether the kernel has any.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.btf__find_by_name_kind.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32)
        library.btf__type_by_id.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
        library.btf__type_by_id.restype = ctypes.POINTER(ctypes.c_uint32 * 3)
        library.btf__free.argtypes = (ctypes.c_void_p,)
        self._btf, _ = _pointer_or_error(library.btf__load_vmlinux_btf())
        self.known = bool(self._btf)

    def __enter__(self) -> KernelTypes:
        return self

    def __exit__(self, *ignored: object) -> None:
        if self._btf:
            self._library.btf__free(self._btf)
            self._btf, self.known = 0, False

    def _find(self, name: str, kind: int) -> int:
        return int(self._library.btf__find_by_name_kind(self._btf, name.encode(), kind)) if self._btf else 0

    def has_function(self, name: str) -> bool:
        """Whether there is a function of this name."""
        return self._find(name, _BTF_KIND_FUNCTION) > 0

    def tracepoint_parameters(self, name: str) -> int | None:
        """Parameters of a tracepoint's probe, its own data included; None: no BPF program can attach to one."""
        number = self._find(f"btf_trace_{name}", _BTF_KIND_TYPEDEF)
        if number <= 0:
            return None
        # struct btf_type is name, info, type: a typedef of a pointer to a prototype, whose info counts its parameters
        for _ in range(2):
            number = self._library.btf__type_by_id(self._btf, number).contents[2]
        return int(self._library.btf__type_by_id(self._btf, number).contents[1]) & 0xFFFF


def has_helper(library: ctypes.CDLL, number: int) -> bool:
    """Whether the running kernel's verifier knows a helper; true too where this user may not ask it."""
    # libbpf cannot ask for tracing programs; what they may use of the newer helpers, perf events may too
    return int(library.libbpf_probe_bpf_helper(_PROG_TYPE_PERF_EVENT, number, None)) != 0


class Refused(BackendUnavailable):
    """The kernel did not load the program.

    Attributes
    ----------
    by_verifier: it looked at the program and did not accept it; a smaller one may be.
    """

    def __init__(self, code: int) -> None:
        super().__init__(explain_refusal(code))
        self.by_verifier = code not in (errno.EPERM, errno.ESRCH, errno.ENOMEM) and not lacking_capabilities()


class BpfObject:
    """A BPF object: opened, set up, loaded, attached, closed; in that order."""

    def __init__(self, path: Path) -> None:
        self.functions = load_library()
        self._links: list[int] = []
        pointer, code = _pointer_or_error(self.functions.bpf_object__open_file(os.fsencode(path), None))
        if not pointer:
            raise RecordError(f"libbpf cannot read {path}: {os.strerror(code)}.")
        self._object = ctypes.c_void_p(pointer)

    def _map(self, name: str) -> ctypes.c_void_p:
        pointer = self.functions.bpf_object__find_map_by_name(self._object, name.encode())
        if not pointer:
            raise RecordError(f"the BPF object has no map {name}: reinstall iotrace.")
        return ctypes.c_void_p(pointer)

    def _program(self, name: str) -> ctypes.c_void_p:
        pointer = self.functions.bpf_object__find_program_by_name(self._object, name.encode())
        if not pointer:
            raise RecordError(f"the BPF object has no program {name}: reinstall iotrace.")
        return ctypes.c_void_p(pointer)

    def set_constant(self, section: str, value: bytes) -> None:
        """Fill a read-only section before load."""
        error = self.functions.bpf_map__set_initial_value(self._map(section), value, ctypes.c_size_t(len(value)))
        if error:
            raise RecordError(f"the BPF object's {section} does not take {len(value)} bytes: reinstall iotrace.")

    def set_size(self, name: str, entries: int) -> None:
        """Set a map's size (entries; bytes for a ring) before load."""
        self.functions.bpf_map__set_max_entries(self._map(name), ctypes.c_uint32(entries))

    def leave_out(self, program: str) -> None:
        """Do not load a program."""
        self.functions.bpf_program__set_autoload(self._program(program), ctypes.c_bool(False))

    def load(self) -> None:
        """Verify and load.

        Raises
        ------
        Refused: by the kernel; says why.
        """
        error = self.functions.bpf_object__load(self._object)
        if error:
            raise Refused(-error)

    def attach(self, program: str) -> None:
        """Attach a program to the tracepoint that its section names."""
        pointer, code = _pointer_or_error(self.functions.bpf_program__attach(self._program(program)))
        if not pointer:
            raise BackendUnavailable(f"the kernel does not attach the BPF program {program}: {os.strerror(code)}.")
        self._links.append(pointer)

    def attach_software_event(self, program: str, config: int, cpus: int) -> None:
        """Attach a program to a software event of perf_event_open(2) on every processor."""
        attributes = (ctypes.c_uint64 * 16)()
        attributes[0] = _PERF_TYPE_SOFTWARE | (128 << 32)
        attributes[1] = config
        attributes[2] = 1  # every event
        attributes[3] = _PERF_SAMPLE_ADDR
        libc = ctypes.CDLL(None, use_errno=True)
        number = _PERF_EVENT_OPEN[platform.machine()]
        for cpu in range(cpus):
            fd = libc.syscall(number, attributes, -1, cpu, -1, 8)
            if fd < 0 and ctypes.get_errno() == errno.ENODEV:
                continue
            if fd < 0:
                raise BackendUnavailable(f"the kernel refuses perf_event_open: {os.strerror(ctypes.get_errno())}.")
            # the link owns the descriptor from here on
            pointer, code = _pointer_or_error(self.functions.bpf_program__attach_perf_event(self._program(program), fd))
            if not pointer:
                raise BackendUnavailable(f"the kernel does not attach the BPF program {program}: {os.strerror(code)}.")
            self._links.append(pointer)

    def run_iterator(self, program: str) -> None:
        """Let an iterator program visit all that it iterates over.

        Raises
        ------
        BackendUnavailable: the kernel refuses it.
        """
        functions = self.functions
        link, code = _pointer_or_error(functions.bpf_program__attach_iter(self._program(program), None))
        if not link:
            raise BackendUnavailable(f"the kernel does not attach the BPF program {program}: {os.strerror(code)}.")
        try:
            fd = functions.bpf_iter_create(functions.bpf_link__fd(ctypes.c_void_p(link)))
            if fd < 0:
                raise BackendUnavailable(f"the kernel does not run the BPF program {program}: {os.strerror(-fd)}.")
            try:
                while os.read(fd, 4096):
                    pass
            finally:
                os.close(fd)
        finally:
            functions.bpf_link__destroy(ctypes.c_void_p(link))

    def is_loaded(self, program: str) -> bool:
        """Whether a program was loaded, and not left out."""
        return int(self.functions.bpf_program__fd(self._program(program))) >= 0

    def set_tail(self, table: str, slot: int, program: str) -> None:
        """Put a loaded program into a table of programs."""
        fd = int(self.functions.bpf_program__fd(self._program(program)))
        self.update(table, struct.pack("<I", slot), struct.pack("<I", fd))

    def map_fd(self, name: str) -> int:
        return int(self.functions.bpf_map__fd(self._map(name)))

    def update(self, name: str, key: bytes, value: bytes) -> None:
        """Set one entry of a map."""
        if self.functions.bpf_map_update_elem(self.map_fd(name), key, value, ctypes.c_uint64(0)):
            raise RecordError(f"cannot write the BPF map {name}: {os.strerror(ctypes.get_errno())}.")

    def delete(self, name: str, key: bytes) -> None:
        """Remove one entry of a map, if it is there."""
        self.functions.bpf_map_delete_elem(self.map_fd(name), key)

    def lookup_all(self, name: str, key_bytes: int, value_bytes: int, at_once: int = 1 << 14) -> tuple[bytes, bytes]:
        """All entries of a hash map: their keys and their values, one behind the other."""
        keys, values = bytearray(), bytearray()
        key_buffer = ctypes.create_string_buffer(key_bytes * at_once)
        value_buffer = ctypes.create_string_buffer(value_bytes * at_once)
        position, before = ctypes.c_uint64(0), None
        while True:
            count = ctypes.c_uint32(at_once)
            error = self.functions.bpf_map_lookup_batch(
                self.map_fd(name), before, ctypes.byref(position), key_buffer, value_buffer, ctypes.byref(count), None
            )
            code = ctypes.get_errno() if error else 0
            if error and code != errno.ENOENT:
                raise RecordError(f"cannot read the BPF map {name}: {os.strerror(code)}.")
            keys += key_buffer.raw[: key_bytes * count.value]
            values += value_buffer.raw[: value_bytes * count.value]
            if error:
                return bytes(keys), bytes(values)
            before = ctypes.byref(position)

    def lookup(self, name: str, key: bytes, size: int) -> bytes | None:
        """One entry of a map, `size` bytes; None when it is not there."""
        value = ctypes.create_string_buffer(size)
        if self.functions.bpf_map_lookup_elem(self.map_fd(name), key, value):
            return None
        return value.raw

    def programs(self) -> list[tuple[str, int]]:
        """Name and descriptor of each loaded program."""
        found: list[tuple[str, int]] = []
        pointer: Any = None
        while pointer := self.functions.bpf_object__next_program(self._object, ctypes.c_void_p(pointer)):
            fd = self.functions.bpf_program__fd(ctypes.c_void_p(pointer))
            if fd >= 0:
                found.append((self.functions.bpf_program__name(ctypes.c_void_p(pointer)).decode(), fd))
        return found

    def missed(self) -> int:
        """How often a program was not run because it was running already (recursion_misses of bpf_prog_info)."""
        total = 0
        for _, fd in self.programs():
            information = (ctypes.c_uint8 * 256)()
            length = ctypes.c_uint32(256)
            if not self.functions.bpf_obj_get_info_by_fd(fd, information, ctypes.byref(length)) and length.value >= 216:
                total += int.from_bytes(bytes(information[208:216]), "little")
        return total

    def detach(self) -> None:
        """Detach all programs; the maps stay."""
        for link in self._links:
            self.functions.bpf_link__destroy(ctypes.c_void_p(link))
        self._links = []

    def close(self) -> None:
        """Detach and free everything."""
        self.detach()
        if self._object:
            self.functions.bpf_object__close(self._object)
            self._object = ctypes.c_void_p(None)


def possible_cpus() -> int:
    """How many values a per-processor map has for each key: processors that this kernel could ever have."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(text.rpartition(",")[2].rpartition("-")[2]) + 1


def lacking_capabilities() -> list[str]:
    """Names of the rights that loading takes and this process has not."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("\nCapEff:\t")[1].split("\n")[0], 16)
    if effective >> _SYS_ADMIN & 1:
        return []
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def explain_refusal(code: int) -> str:
    """One sentence for an errno of a refused load, with what mends it."""
    lacking = lacking_capabilities()
    if code in (errno.EPERM, errno.EACCES) and lacking:
        return (
            f"the kernel does not let this user load BPF programs without {' and '.join(lacking)}: run as root, or "
            "give the Python binary CAP_BPF and CAP_PERFMON (iotrace doctor prints the line)."
        )
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return "this kernel has no BTF (/sys/kernel/btf/vmlinux): it must be built with CONFIG_DEBUG_INFO_BTF."
    if code == errno.EPERM:
        return (
            "the kernel does not let even root load BPF programs: a container, a user namespace or lockdown forbids it "
            "(cat /sys/kernel/security/lockdown)."
        )
    # the verifier says EACCES, EINVAL, E2BIG or ENOSPC of a program that it does not accept
    return (
        f"the verifier of Linux {platform.release()} refuses the BPF program ({os.strerror(code)}): please report it."
    )
