"""Works on files of the working folder as programs do: movies by read and mmap, appends under locks, threads, children.

Run with plain `python -S`; the folder must hold movies/*.tif. Prints nothing.
"""

import contextlib
import fcntl
import mmap
import os
import subprocess
import threading

here = os.getcwd()
for name in sorted(os.listdir("movies")):
    os.stat(f"movies/{name}")
    movie = os.open(f"movies/{name}", os.O_RDONLY)
    os.read(movie, 8)
    os.lseek(movie, 0, os.SEEK_SET)
    os.pread(movie, 4096, 8192)
    os.preadv(movie, [bytearray(1000), bytearray(3000)], 100)
    mapped = mmap.mmap(movie, 0, prot=mmap.PROT_READ)
    sum(mapped[i] for i in range(0, len(mapped), 4096))
    mapped.close()
    os.close(movie)

os.mkdir("job")
os.makedirs("job/a/b", exist_ok=True)
with open("job/run.star.tmp", "w") as star:
    star.write("x" * 10_000)
    star.flush()
    os.fsync(star.fileno())
os.rename("job/run.star.tmp", "job/run.star")
os.symlink("run.star", "job/link")
os.symlink(f"{here}/job/run.star", "job/far")
os.readlink("job/link")
os.readlink("job/far")
with open("job/link") as star:
    star.read()
os.link("job/run.star", "job/hard")
for call in (lambda: os.open("none/x", os.O_RDONLY), lambda: os.mkdir("job"), lambda: os.rmdir("job")):
    with contextlib.suppress(OSError):
        call()

stack = os.open("job/stack.mrcs", os.O_RDWR | os.O_CREAT)


def append(first: int) -> None:
    for turn in range(40):
        fcntl.lockf(stack, fcntl.LOCK_EX, 1024)
        os.pwrite(stack, b"z" * 5000, first + turn * 5000)
        fcntl.lockf(stack, fcntl.LOCK_UN, 1024)


threads = [threading.Thread(target=append, args=(number * 500_000,)) for number in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
os.ftruncate(stack, 10_000)
os.posix_fallocate(stack, 0, 20_000)
os.posix_fadvise(stack, 0, 0, os.POSIX_FADV_DONTNEED)
copy = os.open("job/copy", os.O_WRONLY | os.O_CREAT)
os.copy_file_range(stack, copy, 8000)
os.lseek(stack, 0, os.SEEK_SET)
os.sendfile(copy, stack, None, 5000)
os.sendfile(copy, stack, 100, 5000)

script = """cd job; cat run.star > copy.txt; echo hello >> copy.txt; ls -l . > /dev/null; rm copy.txt; mkdir q; mv a q/
ls -R q > /dev/null; touch q/a/b/z; cp copy copy2; ls -la > /dev/null; find . > list; tar cf all.tar q run.star"""
subprocess.run(["sh", "-c", script], check=True)

folder = os.open("job", os.O_RDONLY | os.O_DIRECTORY)
os.stat("copy", dir_fd=folder)
os.mkdir("via", dir_fd=folder)
os.rmdir("via", dir_fd=folder)
one = os.open("copy", os.O_RDONLY, dir_fd=folder)
other = os.dup(one)
os.close(one)
os.read(other, 10)
os.close(other)
os.chmod("job/copy", 0o640)
os.utime("job/copy")
os.truncate("job/copy", 100)
os.chdir(f"{here}/job")
os.stat("copy")
os.statvfs(".")
os.access("copy", os.R_OK)
os.umask(0o077)
