"""The families of file systems: a file each, which holds a `FAMILY`."""
