"""Overlay, as containers have it."""

from typing import Final

from iotrace.mounts.family import Family

FAMILY: Final = Family(
    name="overlay",
    kind="layered",
    types=("overlay",),
    options={
        # newer kernels (6.18 does) show the mount option `volatile` so
        "fsync=volatile": "fsync does nothing: its time is not a storage's",
        "volatile": "fsync does nothing: its time is not a storage's",
        "metacopy=on": "a change of mode or owner copies no data",
    },
    important=("fsync=volatile", "volatile"),
    advice=(
        "What is measured is the file system below the upper folder, "
        "and the first write to a file of a lower one copies it whole; "
        "give a mount of that file system in its place.",
    ),
)
