"""Logs of other tools, read into traces."""
