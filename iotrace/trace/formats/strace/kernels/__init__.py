"""Kernels of an import of strace's logs: a change in one of these files has all compiled anew (iotrace.compiling)."""
