"""No page hides a command from the tests, and links lead somewhere.

Every command of README and of the pages in docs is run by a system test.
"""

import re

import pages


def test_contributing_shows_targets_that_are_there() -> None:
    shown = re.findall(r"`make ([a-z-]+)`", pages.CONTRIBUTING.read_text())
    assert "test-system" in shown
    assert set(shown) <= pages.targets()


def test_no_command_of_a_page_hides_from_the_tests() -> None:
    for page in pages.PAGES:
        for language, body in pages.FENCE.findall(page.read_text()):
            bare = [line for line in body.splitlines() if line.startswith("iotrace ")]
            assert language == "python" or not bare, f"{page.name}: write `$ ` before {bare}"


def test_pages_link_only_to_what_is_there() -> None:
    for page in pages.PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith(("http:", "https:")):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
