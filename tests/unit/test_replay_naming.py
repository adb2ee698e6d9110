"""Generated names: what is kept of a trace's text, and that nothing else is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from iotrace.replay.columns import components_of
from iotrace.replay.naming import COMPONENT_BYTES_MAX, PATH_BYTES_MAX, ROOT, Names, Tree
from iotrace.trace.texts import path_bytes

COMPONENTS = st.binary(min_size=1, max_size=300).filter(lambda text: b"/" not in text)


@given(st.lists(COMPONENTS, max_size=60, unique=True))
def test_different_components_get_different_names_of_the_same_length(components: list[bytes]) -> None:
    names = Names()
    made = [names.name(component) for component in components]
    assert len(set(made)) == len(made)
    for component, name in zip(components, made, strict=True):
        assert len(name) == len(component) or len(component) < 3
        assert name.replace(b".", b"a").isalnum()
        assert name not in (b".", b"..")


def test_an_extension_stays_and_nothing_else_does() -> None:
    names = Names()
    assert names.name(b"FoilHole_8759213_Data.tif").endswith(b".tif")
    assert b"Foil" not in names.name(b"FoilHole_8759213_Data.tif")
    assert b"." not in names.name(b".bashrc")
    assert b"secret" not in names.name(b"x.secret-project")


def test_names_get_longer_when_all_of_a_length_are_taken() -> None:
    names = Names()
    made = [names.name(bytes([number])) for number in range(1, 256) if number != ord("/")]
    assert len(set(made)) == len(made)
    assert max(map(len, made)) == 2


def test_a_component_has_one_name_wherever_it_stands_so_that_folders_can_be_renamed() -> None:
    tree = Tree()
    root = tree.add_prefix(0)
    one, other = tree.descend(root, [b"tmp", b"x.mrc"]), tree.descend(root, [b"final", b"x.mrc"])
    assert tree.path(one).rpartition(b"/")[2] == tree.path(other).rpartition(b"/")[2]


@given(
    st.lists(st.lists(st.one_of(COMPONENTS, st.sampled_from([b"..", b"."])), max_size=40), max_size=20), st.booleans()
)
def test_no_path_of_a_tree_leads_up_or_is_too_long(paths: list[list[bytes]], flat: bool) -> None:
    tree = Tree(flat)
    root = tree.add_prefix(0)
    for path in paths:
        node = tree.descend(root, path)
        if node < 0:
            continue
        made = tree.path(node).split(b"/") if tree.path(node) else []
        if not flat:
            assert made.pop(0) == b"m0"
        assert b".." not in made
        assert b"" not in made
        assert len(tree.path(node)) <= PATH_BYTES_MAX
        assert all(len(part) <= COMPONENT_BYTES_MAX for part in made)
        assert tree.beneath(node, root) == (b"/".join(made) or b".")
        assert tree.beneath(root, node) in (None, b".")
        assert tree.parent[node] < node or node == ROOT


@given(st.text(max_size=80))
def test_components_never_hold_dots_or_empty_parts(text: str) -> None:
    parts = components_of(text)
    assert not {b"", b".", b".."} & set(parts)


def test_escaped_bytes_of_a_path_come_back() -> None:
    assert path_bytes("/a/\\xff\\x0a") == b"/a/\xff\n"
    assert components_of("/a/../../b//./c") == [b"b", b"c"]
