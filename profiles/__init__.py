"""Recipes for traces: CryoSPARC's steps, data sets and workloads. The first recipes come with a later version."""
