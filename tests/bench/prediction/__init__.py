"""Does a replay predict the program? The parts of tests/bench/bench_fidelity.py, each importable on its own."""
