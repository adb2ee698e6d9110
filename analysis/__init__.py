"""Reads traces and results; gives tables, verdicts and pages."""
