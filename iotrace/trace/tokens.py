"""Names into tokens: what `iotrace anonymise` puts in the place of each component of a path.

Takes a secret key and names as bytes, gives names of the same length, depth and extension that say nothing else. A
short name of usual characters goes through a keyed permutation of all names of its length (a balanced Feistel network
with BLAKE2b as round function, cycle walking around reserved words: Black and Rogaway, "Ciphers with arbitrary finite
domains", CT-RSA 2002; ten rounds as in NIST SP 800-38G), so that different names get different tokens without a table,
and the same token in each trace that is given the same key. A long name is hashed; a short one of unusual characters
is hashed and looked up in a table of those seen before.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Final

from iotrace.errors import TraceError
from iotrace.trace.assembly.identity import printable
from iotrace.trace.texts import path_bytes

SYSTEM_WORDS: Final = frozenset(
    b"bin boot dev etc home lib lib32 lib64 libx32 media mnt opt proc root run sbin shm snap srv sys tmp usr "
    b"var".split()
)
"""Folders that each Linux machine has (hier(7)); by them a replay tells the system's own mounts from storage."""
NAMESPACES: Final = (b"security", b"system", b"trusted", b"user")
"""Namespaces of extended attributes (xattr(7)): a replay sets only those of `user.`."""
UNKNOWN_FOLDER: Final = b"(unknown)"
"""Stands in imported traces for a working folder that a log does not show."""
EXTENSIONS: Final = frozenset(
    # images, movies, volumes, metadata of electron microscopy
    b"mrc mrcs mrcz map rec st ali tif tiff eer dm3 dm4 ser emi emd cs csg star box coord coords defects gain mdoc xf "
    b"tlt rawtlt img hed spi stk par pdb cif mtz "
    # tables and arrays
    b"json bson csv tsv txt xml yaml yml toml npy npz h5 hdf hdf5 parquet arrow feather pkl pickle pt pth ckpt onnx db "
    b"sqlite sqlite3 wt dat bin raw "
    # pictures and pages
    b"png jpg jpeg gif svg pdf eps ps html htm md rst css js "
    # packed
    b"gz bz2 xz zst lz4 zip tar tgz "
    # programs and their state
    b"py pyc pyo pyi so a o h c cc cpp hpp cu f sh exe jar log out err tmp temp part lock pid sock bak old new orig "
    b"swp cache conf cfg ini job mod".split()
)
"""Extensions that stay as they are, in whatever case; any other becomes a token of its own."""
LONG: Final = 22
"""From this length on a hash of 6 bits a character (132 and more) cannot be expected to collide."""

_SYMBOLS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_VALUE: Final = {symbol: value for value, symbol in enumerate(_SYMBOLS)}
_KEPT: Final = SYSTEM_WORDS | frozenset(NAMESPACES) | {UNKNOWN_FOLDER}
"""Whole names that stay and are no other name's token."""
_KEPT_BEFORE_EXTENSION: Final = frozenset(NAMESPACES)
"""The same for what stands before an extension: run.out and home.mrc are no system folders."""
_MARKS: Final = b"~+=@,%^:#!$&;?()[]{}"
"""First character of a token for a short name of unusual characters; no other token has one."""
_ODD: Final = _MARKS + bytes(b for b in range(1, 256) if b not in _SYMBOLS + _MARKS + b"./\\")
_USUAL: Final = re.compile(rb"[A-Za-z0-9_-]+")
_EXTENSION: Final = re.compile(rb"(.+)\.([A-Za-z0-9]{1,8})", re.DOTALL)
_ROUNDS: Final = 10
_ATTEMPTS: Final = 4096
_MARK_ATTEMPTS: Final = 64
_CACHE_MAX: Final = 1 << 16


class Tokens:
    """Names → tokens under a secret key: as long, of the same extension, different for different names.

    Parameters
    ----------
    key: the secret, any bytes; two objects with one key give the same tokens (but see `component`).

    Attributes
    ----------
    extensions, words: the extensions and the words of SYSTEM_WORDS and NAMESPACES that were left as they are.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.blake2b(key, digest_size=32, person=b"iotrace names").digest()
        self.extensions: set[bytes] = set()
        self.words: set[bytes] = set()
        self._components: dict[bytes, bytes] = {}
        self._folders: dict[bytes, bytes] = {}
        self._odd: dict[bytes, bytes] = {}
        self._odd_used: set[bytes] = {UNKNOWN_FOLDER}

    def text(self, text: str) -> str:
        """Token of a path's text, absolute or not."""
        return printable(self.name(path_bytes(text)))

    def name(self, name: bytes) -> bytes:
        """Token of a name of any number of components; `/`, `.` and `..` stay where they are.

        Raises
        ------
        TraceError: as `component`.
        """
        folder, slash, last = name.rpartition(b"/")
        if not slash:
            return self.component(last)
        above = self._folders.get(folder)
        if above is None:
            above = b"/".join([self.component(part) for part in folder.split(b"/")])
            if len(self._folders) >= _CACHE_MAX:
                self._folders.clear()
            self._folders[folder] = above
        return above + b"/" + self.component(last)

    def component(self, name: bytes) -> bytes:
        """Token of one component, without `/`.

        It depends on the key and the name alone, but for names shorter than 22 bytes of other characters than letters,
        digits, `-` and `_`: where the tokens of two of those fall together, the later one gets another.

        Raises
        ------
        TraceError: there are more short names of unusual characters than tokens of their length.
        """
        known = self._components.get(name)
        if known is None:
            known = self._component(name)
            if len(self._components) >= _CACHE_MAX:
                self._components.clear()
            self._components[name] = known
        return known

    def _component(self, name: bytes) -> bytes:
        if name in (b"", b".", b".."):
            return name
        dot, body = (b".", name[1:]) if name.startswith(b".") else (b"", name)
        match = _EXTENSION.fullmatch(body)
        stem, extension = (match[1], match[2]) if match else (body, b"")
        ending = b"." + self._extension(extension) if match else b""
        space, separator, rest = stem.partition(b".")
        if space in NAMESPACES and separator:
            # without an extension the token must not seem to have one either
            self.words.add(space)
            return dot + space + b"." + (self._stem(rest, frozenset(), not match) if rest else b"") + ending
        return dot + self._stem(stem, _KEPT_BEFORE_EXTENSION if match else _KEPT) + ending

    def _extension(self, extension: bytes) -> bytes:
        """An extension's token: a permutation of those that are not known, which stay."""
        if extension.lower() in EXTENSIONS:
            self.extensions.add(extension)
            return extension
        return self._walk(extension, b"e", lambda token: token.isalnum() and token.lower() not in EXTENSIONS)

    def _stem(self, stem: bytes, kept: frozenset[bytes], no_extension: bool = False) -> bytes:
        """Token of what stands before an extension, or of a name without one; words of `kept` stay."""
        if stem in kept:
            self.words.add(stem)
            return stem
        if len(stem) >= LONG:
            return self._hash(stem, len(stem))
        if not _USUAL.fullmatch(stem):
            return self._odd_stem(stem)
        if no_extension and len(stem) <= 8:
            return self._walk(stem, b"s", lambda token: not token.isalnum())
        return self._walk(stem, b"s", lambda token: token not in kept)

    def _walk(self, name: bytes, use: bytes, allowed: Callable[[bytes], bool]) -> bytes:
        """A permutation of the allowed names of one length: the large one's, again until it is within."""
        token = self._permuted(name, use)
        while not allowed(token):
            token = self._permuted(token, use)
        return token

    def _permuted(self, name: bytes, use: bytes) -> bytes:
        """A permutation of all names of one length (below 22) over the 64 usual characters."""
        value = 0
        for symbol in name:
            value = value << 6 | _VALUE[symbol]
        half = 3 * len(name)
        mask = (1 << half) - 1
        left, right = value >> half, value & mask
        for number in range(_ROUNDS):
            salt = use + bytes([number, len(name)])
            digest = hashlib.blake2b(right.to_bytes(8, "little"), digest_size=8, key=self._key, salt=salt).digest()
            left, right = right, left ^ (int.from_bytes(digest, "little") & mask)
        value = left << half | right
        return bytes([_SYMBOLS[value >> shift & 63] for shift in range(6 * len(name) - 6, -1, -6)])

    def _hash(self, name: bytes, length: int, attempt: int = 0) -> bytes:
        """`length` usual characters from the key and a name."""
        digest, block = b"", 0
        while len(digest) < length:
            salt = b"h" + attempt.to_bytes(4, "little") + bytes([block])
            digest += hashlib.blake2b(name, key=self._key, salt=salt).digest()
            block += 1
        return bytes([_SYMBOLS[byte & 63] for byte in digest[:length]])

    def _odd_stem(self, stem: bytes) -> bytes:
        known = self._odd.get(stem)
        if known is not None:
            return known
        for attempt in range(_ATTEMPTS):
            # as long as there are any the printable marks are taken; a backslash would begin an escape in a text
            marks = _MARKS if attempt < _MARK_ATTEMPTS else _ODD + (b"\\" if len(stem) == 1 else b"")
            seed = self._hash(stem, len(stem) + 1, attempt)
            mark = (_VALUE[seed[0]] << 6 | _VALUE[seed[-1]]) % len(marks)
            token = marks[mark : mark + 1] + seed[1 : len(stem)]
            if token not in self._odd_used:
                self._odd_used.add(token)
                self._odd[stem] = token
                return token
        raise TraceError(
            f"cannot anonymise: there are more names of {len(stem)} bytes with unusual characters than tokens "
            f"of that length ({len(self._odd_used)} names with unusual characters so far)."
        )
