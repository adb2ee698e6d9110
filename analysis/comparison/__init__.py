"""Parts of a comparison: sides, what is measured of them, which differences count, runs needed, curves, odd runs."""
