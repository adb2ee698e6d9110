"""Findings: what in a trace hurts a shared storage, with evidence, reasons and advice.

`rules.toml` is the data: what to look for and what to say. `rules` reads it, `evidence` runs its queries, `findings`
says what they give, `search` looks for everything in one visit, `reuse` works out what client caches of all sizes would
serve, `prices` gives the calls found the latencies of a replay's mount, `across` looks at what one trace of a set wrote
and another read (`across.toml`).
"""
