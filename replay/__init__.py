"""Replaying a trace on any mount: plan (pure) → stage (make the tree) → run (Numba kernels) → result and fidelity."""
