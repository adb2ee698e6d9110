"""Kernels over a trace's events."""
