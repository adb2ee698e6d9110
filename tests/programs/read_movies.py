"""Reads TIFF movies: python3 read_movies.py FOLDER. What is not compressed by memory map, the rest frame by frame."""

import pathlib
import sys

import tifffile

for movie in sorted(pathlib.Path(sys.argv[1]).glob("*.tif")):
    try:
        frames = tifffile.memmap(movie, mode="r")
    except ValueError:
        frames = tifffile.imread(movie)
    frames.sum()
