"""Which key of a recipe is wrong: msgspec names fields and places in lists, but not the names in a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


def told(error: msgspec.ValidationError, text: str, tables: Mapping[str, type[Any]]) -> tuple[str, str]:
    """Key and reason of what is wrong in a TOML text.

    Parameters
    ----------
    tables: of named things, by their key: what each of them is.
    """
    key, reason = _parted(error)
    if "[" not in key:
        return key, reason
    whole: dict[str, Any] = msgspec.toml.decode(text)
    for field, kind in tables.items():
        named = whole.get(field)
        for name, value in named.items() if isinstance(named, dict) else ():
            try:
                msgspec.convert(value, kind)
            except msgspec.ValidationError as found:
                inner, reason = _parted(found)
                return f"{field}.{name}{f'.{inner}' if inner else ''}", reason
    return key, reason


def _parted(error: msgspec.ValidationError) -> tuple[str, str]:
    reason, _, at = str(error).partition(" - at `$")
    return at.rstrip("`").lstrip(".").replace("[...]", "[*]"), reason
