"""Kernels over a trace's events and names; those of other rooms may call them (iotrace.compiling)."""
