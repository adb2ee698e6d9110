"""How much storage N users need: a model of jobs, nodes and storages (docs/model.md)."""
