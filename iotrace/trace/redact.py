"""Taking secrets out of command lines before they are stored: passwords, tokens, licence ids, credentials in URLs.

A recording is mailed to colleagues; what looks like a secret is replaced by `***`, and rather too much than too little.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

HIDDEN: Final = "***"

_WORDS: Final = (
    r"pass(?:word|wd|phrase|code)?|pwd|secret|token|license(?:[_-]?id)?|licence(?:[_-]?id)?|api[_-]?key|access[_-]?key"
    r"|private[_-]?key|credentials?|auth(?:orization)?|bearer|cookie|session[_-]?key"
)
_ASSIGNED: Final = re.compile(
    rf"(?i)((?:^|[^a-z0-9])(?:[a-z0-9]+[_-])*(?:{_WORDS})(?:[_-][a-z0-9]+)*\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&]+)"
)
_OPTION: Final = re.compile(rf"(?i)--?(?:[a-z0-9]+[_-])*(?:{_WORDS})(?:[_-][a-z0-9]+)*")
_INLINE_OPTION: Final = re.compile(rf"(?i)((?:^|\s){_OPTION.pattern[4:]}\s+)(\"[^\"]*\"|'[^']*'|[^\s-]\S*)")
_URL: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@]+@")
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{6,}")
_HEADER: Final = re.compile(r"(?i)\b((?:proxy-)?authorization\s*:\s*|(?:set-)?cookie\s*:\s*)[^'\"\n]+")
_USER: Final = re.compile(r"((?:^|\s)(?:-u|--user|--proxy-user|-U)[\s=]+[^\s:'\"]+:)[^\s'\"]+")
_USER_OPTIONS: Final = ("-u", "--user", "-U", "--proxy-user")
_KNOWN_SHAPES: Final = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}\b|\bxox[abpr]-[A-Za-z0-9-]{10,}\b"
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
)


def redact(arguments: Sequence[str]) -> list[str]:
    """Replace what looks like a secret in a command line by `***`; the number of arguments stays.

    Covers `password=…`, `--token X`, `--token=X`, licence ids (UUIDs, as CryoSPARC's are), cloud keys,
    `Authorization: …`, `-u name:password` and URLs with credentials, also inside one long argument such as `sh -c "…"`.
    """
    redacted: list[str] = []
    hide_next, before = False, ""
    for argument in arguments:
        if hide_next and not argument.startswith("-"):
            redacted.append(HIDDEN)
            hide_next = False
            continue
        hide_next = _OPTION.fullmatch(argument) is not None
        if before in _USER_OPTIONS and ":" in argument:
            argument = f"{argument.partition(':')[0]}:{HIDDEN}"
        before = argument
        redacted.append(_redact_text(argument))
    return redacted


def _redact_text(text: str) -> str:
    text = _URL.sub(rf"\1{HIDDEN}@", text)
    text = _HEADER.sub(rf"\1{HIDDEN}", text)
    text = _USER.sub(rf"\1{HIDDEN}", text)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    text = _ASSIGNED.sub(rf"\1{HIDDEN}", text)
    text = _INLINE_OPTION.sub(rf"\1{HIDDEN}", text)
    return _KNOWN_SHAPES.sub(HIDDEN, text)
