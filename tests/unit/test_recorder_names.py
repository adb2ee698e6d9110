"""The recorder's table of names: what one loop puts together is what the rules say of each name by itself."""

import posixpath

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from iotrace.record.ebpf.kernels import layout as d
from iotrace.record.ebpf.names import Names, path_text

NAME = st.one_of(
    st.sampled_from([b".", b"..", b"a", b"b.mrc", b"", b"..x", b".hidden"]),
    st.binary(min_size=1, max_size=12).map(lambda name: name.replace(b"\0", b"x")),
    st.text("abcdefgh_0123456789", min_size=1, max_size=12).map(str.encode),
)
RAW = st.builds(
    lambda parts, absolute: (b"/" if absolute else b"") + b"/".join(parts), st.lists(NAME, max_size=5), st.booleans()
)


def expected(raws: list[bytes], bases: list[int]) -> list[str]:
    """Texts by the rules, one by one."""
    texts: list[str] = []
    for raw, base in zip(raws, bases, strict=True):
        text = path_text(raw)
        if not raw.startswith(b"/"):
            folder = texts[base] if base >= 0 else ""
            text = f"{folder.rstrip('/')}/{text}" if folder else text
        if text.startswith("/") and ("//" in text or "/." in text or text.endswith("/")):
            text = posixpath.normpath(text)
            text = text[1:] if text.startswith("//") else text
        texts.append(text)
    return texts


@settings(deadline=None)
@given(data=st.data(), raws=st.lists(RAW, min_size=1, max_size=40), first=st.integers(0, 10**6))
def test_names_are_put_together_as_the_rules_say(data: st.DataObject, raws: list[bytes], first: int) -> None:
    bases = [data.draw(st.integers(-2, number - 1) if number else st.just(-1)) for number in range(len(raws))]
    split = data.draw(st.integers(0, len(raws)))
    blob = b"".join(b"gap" + raw for raw in raws)
    begins = np.cumsum([0] + [len(raw) + 3 for raw in raws])[:-1] + 3
    rows = [
        [base + first if base >= 0 else base, begin, len(raw)]
        for base, begin, raw in zip(bases, begins.tolist(), raws, strict=True)
    ]
    table = np.array(rows, np.int64).reshape(-1, 3)
    names = Names()
    names.begin(first)
    batches = [names.add(table[:split], blob, 0), names.add(table[split:], blob, 0)]
    texts = [text for batch in batches for text in batch.column("text").to_pylist()]
    assert texts == expected(raws, bases)
    assert [raw for batch in batches for raw in batch.column("raw").to_pylist()] == raws
    numbers = [number for batch in batches for number in batch.column("path").to_pylist()]
    assert numbers == list(range(first, first + len(raws)))
    assert [names.text(number) for number in numbers] == texts
    nobody_knew = sum(base == d.NO_BASE and not raw.startswith(b"/") for base, raw in zip(bases, raws, strict=True))
    assert names.unresolved == nobody_knew


def test_many_long_names_find_room() -> None:
    raw = b"/" + b"x" * 3000
    names = Names()
    table = np.array([[-1, 0, len(raw)]] * 500, np.int64)
    batch = names.add(table, raw, 0)
    assert set(batch.column("text").to_pylist()) == {raw.decode()}


def test_a_name_in_a_folder_without_a_name_stays_relative() -> None:
    names = Names()
    names.begin(0)
    batch = names.add(np.array([[-1, 0, 0], [0, 0, 1]], np.int64), b"a", 0)
    assert batch.column("text").to_pylist() == ["", "a"]
