"""Kernels of the recorder: a change in one of these files has all of them compiled anew (iotrace.compiling)."""
