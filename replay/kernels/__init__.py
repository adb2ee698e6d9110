"""Kernels of a run: a change in one of these files has all of them compiled anew (iotrace.compiling)."""
