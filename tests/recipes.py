"""A recipe as small as one can be."""

GOOD = """
name = "x"
title = "X"
about = "A step."
job_types = ["x"]
[numbers]
n = { value = 3, source = "somewhere" }
[files]
f = { path = "J1/{n}.mrc", count = "n", size = "n", exists = true }
[[phases]]
name = "p"
items = "n"
actions = [{ do = "read", file = "f", chunk = "n" }]
"""
