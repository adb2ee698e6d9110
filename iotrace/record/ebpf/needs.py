"""What the BPF program uses beyond Linux 5.14, and which of it the running kernel has.

Each feature is looked for itself, by the kernel's type information or by asking the verifier, and not by the kernel's
version: distributions take newer features into older kernels. What is not there is left out by name. Versions are
those of the mainline kernel that first had it, for people to read.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from iotrace.record.ebpf import libbpf

OLDEST: Final = (5, 14)
"""The oldest kernel meant (RHEL 9): what it has needs no row below."""
_COMPLETE_PARAMETERS: Final = 4
"""Of btf_trace_io_uring_complete where it hands over the cqe: the tracepoint's own data, ring, request, cqe. Before,
the result stood in its place among five to seven plain numbers."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that a newer kernel has.

    Attributes
    ----------
    name: as the kernel names it; kind: what it is; since: first version of the mainline kernel.
    number: a helper's, in enum bpf_func_id of include/uapi/linux/bpf.h.
    lacking: what a recording cannot see without it; empty: nothing, it costs time.
    """

    name: str
    kind: Literal["helper", "kfunc", "tracepoint"]
    since: tuple[int, int]
    number: int = 0
    lacking: str = ""

    @property
    def version(self) -> str:
        """As in "Linux 5.17"."""
        return f"Linux {self.since[0]}.{self.since[1]}"


_LINKER: Final = "the path of the dynamic linker where its pages are faulted in"
_LOOPS: Final = "operations of io_submit beyond 32 at once, and paths beyond 100 folders"
_URING: Final = "io_uring operations"
_FAULTS: Final = "duration of page faults, and pages mapped around them"
FEATURES: Final = (
    Feature("bpf_task_pt_regs", "helper", (5, 15), 175, _LINKER),
    Feature("bpf_find_vma", "helper", (5, 17), 180, _LINKER),
    Feature("bpf_loop", "helper", (5, 17), 181, _LOOPS),
    Feature("bpf_rdonly_cast", "kfunc", (6, 2)),
    Feature("io_uring_submit_req", "tracepoint", (6, 3), 0, _URING),
    Feature("mm_filemap_fault", "tracepoint", (6, 10), 0, _FAULTS),
    Feature("mm_filemap_map_pages", "tracepoint", (6, 10), 0, _FAULTS),
    Feature("io_uring_complete", "tracepoint", (6, 12), 0, _URING),
)  # fmt: skip
"""In the order of their versions. io_uring_complete is older, and meant here as it hands over the cqe."""
BY_NAME: Final = {feature.name: feature for feature in FEATURES}
FIND_VMA: Final = ("bpf_task_pt_regs", "bpf_find_vma")
LOOPS: Final = ("bpf_loop",)
URING: Final = ("io_uring_submit_req", "io_uring_complete")
FAULTS: Final = ("mm_filemap_fault", "mm_filemap_map_pages")


def present(library: ctypes.CDLL) -> frozenset[str]:
    """Names of the features that the running kernel has; empty where it tells nothing of its types."""
    with libbpf.KernelTypes(library) as types:
        return frozenset(feature.name for feature in FEATURES if _has(feature, library, types))


def _has(feature: Feature, library: ctypes.CDLL, types: libbpf.KernelTypes) -> bool:
    if feature.kind == "helper":
        return types.known and libbpf.has_helper(library, feature.number)
    if feature.kind == "kfunc":
        return types.has_function(feature.name)
    parameters = types.tracepoint_parameters(feature.name)
    return parameters == _COMPLETE_PARAMETERS if feature.name == "io_uring_complete" else parameters is not None


def unseen(found: Collection[str]) -> list[str]:
    """Sentences on what a recording lacks where only these features are found, each with what it needs."""
    needed: dict[str, list[Feature]] = {}
    for feature in FEATURES:
        if feature.name not in found and feature.lacking:
            needed.setdefault(feature.lacking, []).append(feature)
    return [
        f"{what}: needs " + ", ".join(f"{feature.name} ({feature.version})" for feature in features)
        for what, features in needed.items()
    ]
