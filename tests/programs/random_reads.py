"""Reads 4 KiB pieces at random places of a file, the same each time: python3 random_reads.py FILE COUNT."""

import os
import random
import sys

file = os.open(sys.argv[1], os.O_RDONLY)
blocks = os.fstat(file).st_size // 4096
places = random.Random(1)
for _ in range(int(sys.argv[2])):
    os.pread(file, 4096, 4096 * places.randrange(blocks))
os.close(file)
