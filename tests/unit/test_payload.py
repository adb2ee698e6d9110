"""Contents: as compressible and as repetitive as asked for, the same wherever they are made, each block its own."""

from __future__ import annotations

import zlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.errors import UsageError
from iotrace.replay.kernels import blocks
from iotrace.replay.payload import BLOCK, Contents, Payload

PLAIN = Contents(Payload())
VERIFIED = Contents(Payload(verify=True))


def saved_by(name: str, data: bytes) -> float:
    if name == "zlib":
        return 1 - len(zlib.compress(data, 1)) / len(data)
    return 1 - len(pa.Codec("zstd", compression_level=1).compress(data, asbytes=True)) / len(data)


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("compressor", ["zlib", "zstd"])
@pytest.mark.parametrize("unit", [BLOCK, 128 << 10, 4 << 20])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.33, 0.5, 0.8, 1.0])
def test_a_compressor_saves_the_share_that_was_asked_for(
    share: float, unit: int, compressor: str, verify: bool
) -> None:
    data = Contents(Payload(compress=share, verify=verify)).bytes_of(7, 3 * BLOCK, 4 << 20)
    pieces = [data[at : at + unit] for at in range(0, min(len(data), 64 * unit), unit)]
    saved = float(np.mean([saved_by(compressor, piece) for piece in pieces]))
    assert abs(saved - share) < 0.03


@pytest.mark.parametrize("unit", [BLOCK, 16 << 10, 128 << 10])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.6, 1.0])
def test_the_share_of_repeated_blocks_is_the_one_that_was_asked_for(share: float, unit: int) -> None:
    contents = Contents(Payload(duplicate=share))
    size = 4 << 20
    data = [contents.bytes_of(file, 0, size) for file in range(20)]
    pieces = [one[at : at + unit] for one in data for at in range(0, size, unit)]
    repeated = 1 - len(set(pieces)) / len(pieces)
    assert abs(repeated - share) < 0.03


@settings(deadline=None)
@given(
    file=st.integers(-(2**40), 2**40), offset=st.integers(0, 2**50), size=st.integers(0, 9000),
    cut=st.integers(0, 9000), verify=st.booleans(),
)  # fmt: skip
def test_contents_are_the_same_in_whatever_pieces_they_are_made(
    file: int, offset: int, size: int, cut: int, verify: bool
) -> None:
    contents = VERIFIED if verify else PLAIN
    cut = min(cut, size)
    whole = contents.bytes_of(file, offset, size)
    assert whole == contents.bytes_of(file, offset, cut) + contents.bytes_of(file, offset + cut, size - cut)


@settings(deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 2**38), st.integers(0, 2**40), st.integers(0, 2**38))
def test_two_blocks_have_no_word_in_common(file: int, block: int, other_file: int, other_block: int) -> None:
    if (file, block) == (other_file, other_block):
        other_block += 1
    one, two = (
        np.frombuffer(PLAIN.bytes_of(f, b * BLOCK, BLOCK), np.uint64)
        for f, b in ((file, block), (other_file, other_block))
    )
    assert not (one == two).any()
    elsewhere = np.frombuffer(Contents(Payload(seed=2)).bytes_of(file, block * BLOCK, BLOCK), np.uint64)
    assert not (one == elsewhere).any()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_the_checksum_is_the_one_of_rfc_3720() -> None:
    data = np.frombuffer(b"123456789", np.uint8)
    assert crc32c(b"123456789") == blocks.crc32c(data.ctypes.data, 9) == 0xE3069283


@settings(deadline=None)
@given(st.integers(0, 2**50), st.integers(0, 2**40), st.sampled_from([0.0, 0.4, 1.0]))
def test_a_header_names_tree_file_block_and_version_and_has_the_checksum_of_the_rest(
    file: int, block: int, share: float
) -> None:
    contents = Contents(Payload(compress=share, verify=True))
    data = contents.bytes_of(file, block * BLOCK, BLOCK)
    tag, named_file, named_block = np.frombuffer(data[:24], np.int64).tolist()
    version, crc = np.frombuffer(data[24:32], np.uint32).tolist()
    assert (tag, named_file, named_block, version) == (int(contents.words[blocks.TAG]), file, block, 0)
    assert crc == crc32c(data[32:])


@pytest.mark.parametrize(
    ("payload", "option"),
    [
        (Payload(compress=1.5), "--compress 1.5"),
        (Payload(compress=float("nan")), "--compress nan"),
        (Payload(duplicate=-0.1), "--duplicate -0.1"),
        (Payload(duplicate=0.5, verify=True), "--duplicate with --verify"),
    ],
)
def test_options_that_make_no_sense_are_one_line(payload: Payload, option: str) -> None:
    with pytest.raises(UsageError, match=option) as caught:
        payload.check()
    assert "\n" not in str(caught.value)
