"""Kernels of the findings."""
