"""Recipes for traces: CryoSPARC's steps, data sets and workloads, read, worked out, and made into events."""
