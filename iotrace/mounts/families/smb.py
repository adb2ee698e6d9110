"""SMB, by the kernel's client."""

from typing import Final

from iotrace.mounts.family import CACHED, Family

FAMILY: Final = Family(
    name="SMB",
    kind="network",
    types=("cifs", "smb3"),
    options={
        "rsize": "largest read in one request to the server",
        "wsize": "largest write in one request to the server",
        "cache=none": "no page cache but for mapped files: every read and write goes to the server",
        "cache=strict": "the page cache is used while the server grants it",
        "cache=loose": "the page cache is used without the server's leave",
        "actimeo": "how long attributes are trusted, in seconds",
        **dict.fromkeys(("acregmax", "acdirmax"), "how long attributes of files and folders are trusted, in seconds"),
        "seal": "all traffic is encrypted, which costs CPU time of both sides",
        "multichannel": "several connections to the server",
        "vers": "version of the protocol",
        "soft": "a server that does not answer gives an error in place of a wait",
    },
    important=("cache=none", "cache=loose", "seal", "soft"),
    advice=(CACHED,),
)
