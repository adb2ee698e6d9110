"""Verification: what was written is never called wrong, and whatever is wrong is found and called by its name."""

from __future__ import annotations

import os
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.compiling import compiled
from iotrace.machine import add, pause, peek
from iotrace.replay.kernels import verify as kernel
from iotrace.replay.payload import BLOCK, Contents, Payload
from iotrace.replay.verify import Checks, Findings, empty_findings, findings_of

SPACE = 8 * BLOCK
FILES = 3
SHIFT = 3  # memory of reads and writes is not aligned to words


class Store:
    """Files in memory, changed through the kernels as a replay does, and read back."""

    def __init__(self, staged: list[int], changes: bool = True, **payload: Any) -> None:
        self.contents = Contents(Payload(verify=True, **payload))
        ends = np.full(len(staged), SPACE if changes else 0, np.int64)
        self.checks = Checks(self.contents, np.array(staged, np.int64), ends)
        self.data = [bytearray(self.contents.bytes_of(file, 0, size)) for file, size in enumerate(staged)]
        self.memory = np.zeros(SPACE + BLOCK, np.uint8)
        self.at = int(self.memory.ctypes.data) + SHIFT

    def write(self, file: int, offset: int, size: int, lost: bool = False) -> None:
        kernel.fill_blocks(self.at, size, self.checks.address, file, offset)
        kernel.settle_write(self.checks.address, file, offset, size, size)
        if not lost:
            self.put(file, offset, self.memory[SHIFT : SHIFT + size].tobytes())

    def put(self, file: int, offset: int, piece: bytes) -> None:
        data = self.data[file]
        if piece:
            data.extend(bytes(max(0, offset + len(piece) - len(data))))
            data[offset : offset + len(piece)] = piece

    def cut(self, file: int, size: int) -> None:
        kernel.cut_file(self.checks.address, file, size)
        data = self.data[file]
        del data[size:]
        data.extend(bytes(size - len(data)))

    def punch(self, file: int, offset: int, size: int) -> None:
        kernel.zero_range(self.checks.address, file, offset, size)
        end = min(offset + size, len(self.data[file]))
        if offset < end:
            self.data[file][offset:end] = bytes(end - offset)

    def read(self, file: int, offset: int, size: int) -> Findings:
        found = empty_findings()
        piece = bytes(self.data[file][offset : offset + size])
        self.memory[SHIFT : SHIFT + len(piece)] = np.frombuffer(piece, np.uint8)
        bad = kernel.check_blocks(self.at, len(piece), self.checks.address, file, offset, found.ctypes.data)
        result = findings_of([found])
        assert bad == sum(result.wrong.values())
        assert result.checked_bytes + result.unchecked_bytes == len(piece)
        return result

    def kinds(self, file: int, offset: int = 0, size: int = SPACE) -> dict[str, int]:
        return self.read(file, offset, size).wrong


places = st.one_of(st.integers(0, SPACE), st.integers(0, 8).map(lambda block: block * BLOCK))
steps = st.lists(
    st.tuples(st.sampled_from(["write", "cut", "punch"]), st.integers(0, FILES - 1), places, places), max_size=12
)


def changed(sizes: list[int], work: list[tuple[str, int, int, int]], **payload: Any) -> Store:
    store = Store(sizes, **payload)
    for what, file, one, other in work:
        low, high = min(one, other), max(one, other)
        if what == "cut":
            store.cut(file, one)
        else:
            getattr(store, what)(file, low, high - low)
    return store


sizes = st.lists(places, min_size=FILES, max_size=FILES)


@settings(deadline=None, max_examples=150)
@given(sizes, steps, st.sampled_from([0.0, 0.5]), st.lists(st.tuples(places, places), max_size=4))
def test_what_was_written_is_never_called_wrong(
    sizes: list[int], work: list[tuple[str, int, int, int]], compress: float, reads: list[tuple[int, int]]
) -> None:
    store = changed(sizes, work, compress=compress)
    for file in range(FILES):
        for offset, size in [(0, SPACE), *reads]:
            findings = store.read(file, offset, size)
            assert (findings.wrong, findings.unchecked_bytes) == ({}, 0)


@settings(deadline=None, max_examples=150)
@given(sizes, steps, st.data())
def test_any_wrong_byte_is_found(sizes: list[int], work: list[tuple[str, int, int, int]], data: st.DataObject) -> None:
    store = changed(sizes, work)
    file = data.draw(st.sampled_from([file for file in range(FILES) if store.data[file]] or [0]))
    if not store.data[file]:
        store.write(file, 0, 5000)
    offset = data.draw(st.integers(0, len(store.data[file]) - 1))
    size = data.draw(st.integers(1, len(store.data[file]) - offset))
    place = offset + data.draw(st.integers(0, size - 1))
    store.data[file][place] ^= data.draw(st.integers(1, 255))
    if store.data[file][place] == 0:
        store.data[file][place] ^= 255  # between written pieces of a block a byte may be zero
    findings = store.read(file, offset, size)
    assert [one.block for one in findings.named] == [place // BLOCK]
    assert (findings.named[0].file, findings.named[0].offset) == (file, place)


@settings(deadline=None)
@given(st.lists(st.integers(0, 7), min_size=2, max_size=2, unique=True), st.booleans())
def test_blocks_in_each_others_place_are_called_so(pair: list[int], written: bool) -> None:
    store = Store([SPACE])
    if written:
        store.write(0, 0, SPACE)
    one, other = (slice(block * BLOCK, (block + 1) * BLOCK) for block in pair)
    store.data[0][one], store.data[0][other] = store.data[0][other], store.data[0][one]
    findings = store.read(0, 0, SPACE)
    assert findings.wrong == {"other_block": 2}
    assert {(wrong.block, wrong.seen_block) for wrong in findings.named} == {tuple(pair), tuple(pair[::-1])}


def test_a_write_that_was_lost_leaves_the_older_version_or_zeros() -> None:
    store = Store([SPACE, 0])
    store.write(0, BLOCK, 2 * BLOCK)
    store.write(0, BLOCK, BLOCK, lost=True)
    findings = store.read(0, 0, SPACE)
    assert findings.wrong == {"stale": 1}
    assert (findings.named[0].version, findings.named[0].seen_version) == (2, 1)
    assert "older contents, of version 1; the last that was written is 2" in findings.named[0].text()
    # without the header, older versions are recognised too
    assert store.kinds(0, BLOCK + 100, 500) == {"stale": 1}
    store.write(1, 0, 100)
    store.write(1, 100, 3000, lost=True)
    store.cut(1, 5000)
    kernel.fill_blocks(store.at, 0, store.checks.address, 1, 0)
    store.data[1] = store.data[1][:100] + bytearray(4900)
    assert store.kinds(1, 200, 1000) == {"zeros": 1}


def test_half_a_write_is_found() -> None:
    store = Store([SPACE])
    before = bytes(store.data[0])
    store.write(0, 0, BLOCK)
    store.put(0, 512, before[512:BLOCK])
    assert store.kinds(0) == {"damaged": 1}


def test_a_block_of_another_file_and_one_of_another_tree_are_called_so() -> None:
    store = Store([SPACE, SPACE])
    store.put(0, BLOCK, bytes(store.data[1][BLOCK : 2 * BLOCK]))
    findings = store.read(0, 0, SPACE)
    assert findings.wrong == {"other_file": 1}
    assert findings.named[0].text("F{}".format) == (
        "F0, block 1 (wrong from byte 4104): a block of another file: block 1 of F1."
    )
    assert store.kinds(0, BLOCK + 40, 1000) == {"stray": 1}
    other = Contents(Payload(verify=True, seed=5))
    store.put(1, 0, other.bytes_of(1, 0, BLOCK))
    assert store.kinds(1) == {"other_tree": 1}


def test_what_a_truncation_should_have_removed_is_called_stale_or_unexpected() -> None:
    store = Store([SPACE])
    before = bytes(store.data[0])
    store.cut(0, 0)
    store.cut(0, SPACE)
    assert store.kinds(0) == {}
    store.put(0, 2 * BLOCK, before[2 * BLOCK : 3 * BLOCK])
    assert store.kinds(0) == {"stale": 1}
    assert store.kinds(0, 2 * BLOCK + 100, 50) == {"stale": 1}
    store.put(0, 2 * BLOCK, bytes(range(256)))
    assert store.kinds(0, 2 * BLOCK + 100, 50) == {"unexpected": 1}


def test_what_came_by_a_copy_or_a_failed_write_is_not_verified_until_it_is_written() -> None:
    store = Store([SPACE])
    store.put(0, BLOCK, bytes(BLOCK))
    kernel.forget_range(store.checks.address, 0, BLOCK, BLOCK)
    findings = store.read(0, 0, SPACE)
    assert (findings.wrong, findings.unchecked_bytes) == ({}, BLOCK)
    store.write(0, BLOCK, BLOCK)
    kernel.fill_blocks(store.at, BLOCK, store.checks.address, 0, 3 * BLOCK)
    kernel.settle_write(store.checks.address, 0, 3 * BLOCK, BLOCK, -28)
    findings = store.read(0, 0, SPACE)
    assert (findings.wrong, findings.unchecked_bytes) == ({}, BLOCK)


def test_files_that_the_run_only_reads_are_verified_without_a_word_for_each_block() -> None:
    store = Store([SPACE, 3 * BLOCK + 77, -1], changes=False)
    assert store.checks.bytes == 3 * kernel.FILE_WORDS * 8
    store.data[1].extend(bytes(BLOCK))  # the rest of a sparse file
    assert (store.kinds(0), store.kinds(1)) == ({}, {})
    store.data[1][3 * BLOCK] ^= 1
    assert store.kinds(1) == {"damaged": 1}
    store.data[2] = bytearray(b"anything")
    assert store.read(2, 0, 8).unchecked_bytes == 8


def test_the_summary_names_what_was_wrong() -> None:
    store = Store([SPACE])
    assert store.read(0, 0, SPACE).text() == "verified: 32.8 kB read; wrong blocks: none"
    store.data[0][5] ^= 1
    store.put(0, 4 * BLOCK, bytes(BLOCK))
    assert store.read(0, 0, SPACE).text() == "verified: 32.8 kB read; wrong blocks: 1 damaged, 1 zeros"


def test_no_more_wrong_blocks_are_named_than_there_is_room_for() -> None:
    store = Store([SPACE])
    found = empty_findings()
    for _ in range(5):
        store.memory[:] = 0
        kernel.check_blocks(store.at, SPACE, store.checks.address, 0, 0, found.ctypes.data)
    findings = findings_of([found, found])
    assert (findings.wrong, len(findings.named)) == ({"zeros": 80}, 2 * kernel.NAMED_MAX)


@pytest.mark.parametrize("file", [-1, FILES, 10**6])
def test_files_out_of_range_are_not_verified_but_written(file: int) -> None:
    store = Store([0] * FILES)
    kernel.fill_blocks(store.at, 100, store.checks.address, file, 0)
    found = empty_findings()
    kernel.check_blocks(store.at, 100, store.checks.address, file, 0, found.ctypes.data)
    kernel.cut_file(store.checks.address, file, 0)
    assert findings_of([found]).unchecked_bytes == 100


def test_threads_that_write_parts_of_the_same_blocks_lose_none_of_them() -> None:
    count = 4000
    contents = Contents(Payload(verify=True))
    checks = Checks(contents, np.zeros(1, np.int64), np.array([count * BLOCK]))
    data = np.zeros(count * BLOCK, np.uint8)
    at = int(data.ctypes.data)
    half = BLOCK // 2
    ready = np.zeros(1, np.int64)
    meet = int(ready.ctypes.data)
    threads = [Thread(target=fill_parts, args=(at, count, checks.address, begin, half, meet)) for begin in (0, half)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = empty_findings()
    kernel.check_blocks(at, len(data), checks.address, 0, 0, found.ctypes.data)
    assert findings_of([found]).wrong == {}
    assert findings_of([found]).checked_bytes == len(data)
    # each block has one version, so its header names it
    assert set(data.reshape(count, BLOCK)[:, 24:28].copy().view(np.uint32).reshape(-1).tolist()) == {1}


@compiled
def fill_parts(address: int, count: int, context: int, begin: int, size: int, meet: int) -> Any:
    for block in range(count):
        add(meet, 1)
        while peek(meet) < 2 * (block + 1):  # so that both change the same word at the same time
            pause()
        kernel.fill_blocks(address + block * BLOCK + begin, size, context, 0, block * BLOCK + begin)


def test_what_another_process_wrote_is_known_here() -> None:
    store = Store([SPACE])
    child = os.fork()
    if child == 0:
        kernel.fill_blocks(store.at, SPACE, store.checks.address, 0, 0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert store.kinds(0) == {"stale": 8}
