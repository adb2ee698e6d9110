"""Small real traces with checksums, and the programs and synthetic movies that they are made from."""
