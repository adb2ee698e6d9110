"""Names into tokens: length, depth and extension stay, different names stay different, and nothing else is kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.errors import TraceError
from iotrace.replay.naming import Names
from iotrace.trace.texts import path_bytes
from iotrace.trace.tokens import EXTENSIONS, NAMESPACES, SYSTEM_WORDS, Tokens

KEY = b"a key for tests"
_SPECIAL = [
    b".", b"..", b"...", b".bashrc", b".config.json", b"a", b"A", b"[", b"\xff", b"x.mrc", b"x.MRC", b"x.secret",
    b"x.secret-project", b"libtiff.so.6.0.0", b"user.foo", b"user.foo.bar", b"user.a-b", b"user.DOSATTRIB", b"user.log",
    b"user", b"user.", b"tmp", b"tmp.mrc", b"m.tar.gz", b"x" * 255, b"\xe9" * 255, "Jürgen Maier".encode(), b"a b",
    b"x.", b"trusted.x", b"(unknown)", b"-rf", b"\\x41", b"a\nb", b"system.x.gz",
]  # fmt: skip
COMPONENTS = st.one_of(
    st.binary(min_size=1, max_size=4),
    st.binary(min_size=1, max_size=255),
    st.from_regex(r"\.?(user\.|system\.)?[A-Za-z0-9_.~-]{1,12}(\.[A-Za-z0-9]{1,10})?", fullmatch=True).map(str.encode),
    st.sampled_from(_SPECIAL),
).map(lambda name: name.replace(b"/", b"|").replace(b"\0", b"0"))


@settings(max_examples=300)
@given(st.lists(COMPONENTS, max_size=60, unique=True))
def test_tokens_are_as_long_as_their_names_and_differ_where_those_differ(names: list[bytes]) -> None:
    tokens = Tokens(KEY)
    made = [tokens.component(name) for name in names]
    assert [len(token) for token in made] == [len(name) for name in names]
    assert len(set(made)) == len(made)
    assert not any(b"/" in token or b"\0" in token for token in made)
    assert made == [tokens.component(name) for name in names]
    for name, token in zip(names, made, strict=True):
        assert (token in (b".", b"..")) == (name in (b".", b".."))
        assert token.startswith(b".") == name.startswith(b".")
        assert token.startswith(b"user.") == name.startswith(b"user.")


@given(st.lists(COMPONENTS, max_size=40, unique=True))
def test_a_replay_gives_a_token_a_name_of_the_length_that_it_gives_the_original(names: list[bytes]) -> None:
    tokens, before, after = Tokens(KEY), Names(), Names()
    for name in names:
        one, other = before.name(name), after.name(tokens.component(name))
        assert len(one) == len(other)
        assert len(one.rpartition(b".")[0]) == len(other.rpartition(b".")[0])


@given(st.lists(st.one_of(COMPONENTS, st.sampled_from([b"", b".", b".."])), min_size=1, max_size=12))
def test_a_path_keeps_its_depth_its_slashes_and_its_steps_upwards(parts: list[bytes]) -> None:
    tokens = Tokens(KEY)
    made = tokens.name(b"/".join(parts)).split(b"/")
    assert made == [tokens.component(part) for part in parts]
    assert [part for part in made if part in (b"", b".", b"..")] == [p for p in parts if p in (b"", b".", b"..")]


@given(COMPONENTS)
def test_the_text_of_a_token_stands_for_its_bytes(name: bytes) -> None:
    from iotrace.trace.assembly.identity import printable

    tokens = Tokens(KEY)
    text = printable(name)
    assert path_bytes(tokens.text(text)) == tokens.component(path_bytes(text))
    assert tokens.text(text).isprintable()


@pytest.mark.parametrize("length", [1, 2])
def test_short_names_of_usual_characters_are_permuted_without_a_collision(length: int) -> None:
    symbols = [bytes([b]) for b in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"]
    names = symbols if length == 1 else [one + other for one in symbols for other in symbols]
    tokens = Tokens(KEY)
    made = {tokens.component(name) for name in names}
    assert made == set(names)
    assert sum(tokens.component(name) == name for name in names) < 8


def test_each_name_of_one_byte_has_a_token_of_its_own() -> None:
    tokens = Tokens(KEY)
    names = [bytes([b]) for b in range(1, 256) if b != ord("/")]
    assert len({tokens.component(name) for name in names}) == len(names) == 254


def test_where_there_are_too_few_tokens_one_line_says_so() -> None:
    tokens = Tokens(KEY)
    names = b"/".join(bytes([one, other]) for one in range(128, 256) for other in range(128, 256))
    with pytest.raises(TraceError, match="more names of 2 bytes with unusual characters than tokens"):
        tokens.name(names)


def test_the_order_of_names_does_not_matter_for_usual_ones() -> None:
    names = [f"J{i}".encode() for i in range(300)] + [f"mic_{i}.mrc".encode() for i in range(300)]
    one, other = Tokens(KEY), Tokens(KEY)
    made = [one.component(name) for name in names]
    assert made == [other.component(name) for name in reversed(names)][::-1]


def test_another_key_gives_other_tokens() -> None:
    one, other = Tokens(KEY), Tokens(b"another")
    names = [f"name{i}".encode() for i in range(50)]
    assert not {one.component(name) for name in names} & {other.component(name) for name in names}


def test_known_extensions_and_system_words_stay_and_others_go() -> None:
    tokens = Tokens(KEY)
    assert tokens.component(b"FoilHole_8759213_Data.tif").endswith(b".tif")
    assert tokens.component(b"FoilHole.EER").endswith(b".EER")
    secret = tokens.component(b"x.patient")
    assert re.fullmatch(rb"[\w-]\.[A-Za-z0-9]{7}", secret)
    assert b"patient" not in secret
    assert tokens.component(b"y.patient")[2:] == secret[2:]
    assert b"." not in tokens.component(b"x.secret-project")
    assert tokens.text("/dev/shm/x/tmp").startswith("/dev/shm/")
    assert tokens.component(b"run.out") != b"run.out"
    assert tokens.component(b"user.comment").startswith(b"user.")
    assert all(re.fullmatch(rb"[a-z0-9]{1,8}", extension) for extension in EXTENSIONS)


def test_the_page_lists_the_words_and_extensions_that_stay() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "anonymise.md").read_text()
    listed = page.split("## Extensions that stay")[1].replace("`", " ").split()
    assert sorted(listed) == sorted("." + extension.decode() for extension in EXTENSIONS)
    assert " ".join(sorted(word.decode() for word in SYSTEM_WORDS)) in page


def test_the_words_kept_are_enough_to_tell_the_systems_mounts() -> None:
    from iotrace.mounts import mountinfo

    points = (*mountinfo._SYSTEM_POINTS, *mountinfo._STORAGE_POINTS)
    assert {word.encode() for point in points for word in point.split("/")[1:]} <= SYSTEM_WORDS
    assert b"user" in NAMESPACES
