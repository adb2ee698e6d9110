"""The page that `iotrace report` writes, and what other commands write as pages: frame, chapters, tables."""
