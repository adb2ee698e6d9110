"""What recording adds to a call, beside strace, bpftrace and perf on the same program, in turns.

    make bench-record

Prints two Markdown tables: nanoseconds added to one call (medians over rounds of the difference to the bare program
just before and after, with the spread), and wall time of whole commands ÷ bare. Tools that are not installed are left
out by name; dftracer (PyPI) takes part where DFTRACER_PRELOAD names its libdftracer_preload.so.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from workloads import commands

HERE = Path(__file__).parent
CALLS = {"pread": 2_000_000, "stat": 2_000_000, "open": 1_000_000, "unrelated pread": 2_000_000}
AGAIN = "bare again"
JOBS = 16
TABLES = ("calls", "commands", "recorder")
SLOW = {"strace": 100, "strace --seccomp-bpf": 100, "bpftrace": 100}
"""How many times fewer calls the slow tools are given, and whole commands fewer rounds: at most 2."""
BPFTRACE = (
    "tracepoint:raw_syscalls:sys_enter /pid == cpid/ { @s[tid] = nsecs; } "
    "tracepoint:raw_syscalls:sys_exit /pid == cpid/ "
    '{ printf("%d %d %d %d %d\\n", nsecs, tid, args->id, nsecs - @s[tid], args->ret); }'
)


def tools(folder: Path) -> dict[str, list[str]]:
    """Command prefix of each tool; empty for the bare program."""
    iotrace = [
        sys.executable,
        "-m",
        "iotrace",
        "record",
        "--backend",
        "ebpf",
        "--force",
        "-o",
        str(folder / "b.iotrace"),
        "--",
    ]
    floor = folder / "floor.bpf.o"
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding", "-g", "-O2", "-c"]
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(folder / "zig")}
    subprocess.run([*compiler, str(HERE / "floor.bpf.c"), "-o", str(floor)], check=True, env=environment)
    found = {
        "bare": [],
        "two empty BPF programs": [sys.executable, str(HERE / "floor.py"), str(floor)],
        "iotrace": iotrace,
    }
    if library := os.environ.get("DFTRACER_PRELOAD"):
        settings = {"ENABLE": "1", "INIT": "PRELOAD", "DATA_DIR": "all", "LOG_FILE": str(folder / "d")}
        words = [f"DFTRACER_{name}={value}" for name, value in settings.items()]
        found["dftracer"] = ["env", *words, f"LD_PRELOAD={library}"]
    if shutil.which("perf"):
        found["perf record"] = [
            "perf",
            "record",
            "-q",
            "-e",
            "raw_syscalls:sys_enter,raw_syscalls:sys_exit",
            "-o",
            str(folder / "p"),
            "--",
        ]
    if shutil.which("strace"):
        log = ["-f", "-o", str(folder / "s"), "--"]
        found["strace --seccomp-bpf"] = ["strace", "--seccomp-bpf", "-e", "trace=file,desc,memory,process", *log]
        found["strace"] = ["strace", *log]
    if shutil.which("bpftrace"):
        found["bpftrace"] = ["bpftrace", "-o", str(folder / "t"), "-e", BPFTRACE, "-c"]
    return found


def per_call(prefix: list[str], tool: str, call: str, program: str, file: Path) -> float:
    """Nanoseconds of one call as the program itself measures it."""
    count = CALLS[call] // SLOW.get(tool, 1)
    words = [program, call.split()[-1], str(count), str(file)]
    if call.startswith("unrelated"):
        if not prefix:
            return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        # longer than the tool's start and the calls take: what ran after its end would be the lowest decile
        sleeper = [*prefix, "sleep 6"] if tool == "bpftrace" else [*prefix, "sleep", "6"]
        with subprocess.Popen(sleeper, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            time.sleep(3)
            return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    command = [*prefix, " ".join(words)] if tool == "bpftrace" else [*prefix, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def wall(prefix: list[str], tool: str, command: list[str]) -> float:
    """Wall time of a whole command without the tool's start: the command's own, measured around its exec by a shell."""
    script = 'a=$(date +%s%N); "$@" >/dev/null 2>&1; b=$(date +%s%N); echo $((b-a))'
    words = ["bash", "-c", script, "bash", *command]
    if tool == "bpftrace":
        return float("nan")
    done = subprocess.run([*prefix, *words], check=False, capture_output=True, text=True)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else float("nan")


def whole_commands(found: dict[str, list[str]], folder: Path, rounds: int) -> None:
    """Wall time of each command under each tool ÷ bare, in turns."""
    # bare once more: what its column is off 1.00 by is no effect of a tool
    tools = [AGAIN, *(tool for tool in found if tool not in ("bare", "bpftrace", "two empty BPF programs"))]
    print("\nwall time of a whole command ÷ bare: median (least … most); strace twice at most\n")
    print("| command | bare, s | " + " | ".join(tools) + " |\n|" + "---|" * (len(tools) + 2))
    for label, command in commands(folder).items():
        bare: list[float] = []
        ratios: dict[str, list[float]] = {tool: [] for tool in tools}
        wall([], "bare", command)
        for turn in range(rounds):
            bare.append(wall([], "bare", command))
            for tool in tools:
                if turn < 2 or tool not in SLOW:
                    ratios[tool].append(wall(found.get(tool, []), tool, command) / bare[-1])
        cells = [
            "fails" if np.isnan(r).any() else f"{statistics.median(r):.2f} ({min(r):.2f} … {max(r):.2f})"
            for r in ratios.values()
        ]
        print(f"| {label} | {statistics.median(bare) / 1e9:.2f} | " + " | ".join(cells) + " |", flush=True)


def recorder_itself(prefix: list[str], folder: Path, rounds: int, program: str, file: Path, seconds: int) -> None:
    """Start, memory, and what is lost while every processor does nothing but lseek."""
    starts = []
    for _ in range(rounds):
        began = time.monotonic()
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
        starts.append(time.monotonic() - began)
    print(f"\nstart and end of `iotrace record -- true`: {statistics.median(starts):.2f} s "
          f"({min(starts):.2f} … {max(starts):.2f})")  # fmt: skip
    loops = (
        f"for i in $(seq {os.cpu_count()}); do timeout {seconds} {program} lseek 4000000000 {file} & done; wait; true"
    )
    subprocess.run([*prefix, "bash", "-c", loops], check=True, capture_output=True)
    info = json.loads((folder / "b.iotrace" / "trace.json").read_text())
    size = sum(part.stat().st_size for part in (folder / "b.iotrace").rglob("*.parquet"))
    rate = info["events"] / info["duration_ns"] * 1e3
    recorder, lost = info["recorder"], sum(info["lost"].values())
    print(
        f"every processor saturated with lseek for {seconds} s: {info['events']:,} events ({rate:.1f} M/s), "
        f"lost {lost}, {size / info['events']:.1f} bytes an event, recorder {recorder['cpu_s']} CPU s, "
        f"{recorder['memory_bytes'] / 1e6:.0f} MB"
    )


def many_jobs(folder: Path, program: str, file: Path, seconds: int) -> None:
    """What is lost, and what it costs, while many jobs of a node do nothing but lseek."""
    traces, worker = folder / "jobs", folder / "cryosparcw"
    worker.write_text(f"timeout {seconds} {program} lseek 4000000000 {file}\n")
    words = [
        sys.executable,
        "-m",
        "iotrace",
        "record",
        "--cryosparc",
        "-o",
        str(traces),
        "--duration",
        str(seconds + 3),
    ]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as recorder:
        while not (traces / "_recorder.json").exists():
            if recorder.poll() is not None:
                raise SystemExit("the recorder ended before the jobs began")
            time.sleep(0.05)
        jobs = [
            subprocess.Popen(
                ["bash", str(worker), "run", "--project", "P1", "--job", f"J{job}"], stdout=subprocess.DEVNULL
            )
            for job in range(JOBS)
        ]
        for job in jobs:
            job.wait()
    infos = [json.loads(info.read_text()) for info in traces.glob("*.iotrace/trace.json")]
    events, lost = sum(info["events"] for info in infos), max(sum(info["lost"].values()) for info in infos)
    cost = infos[0]["recorder"]
    print(
        f"{len(infos)} jobs at once that do nothing but lseek for {seconds} s: {events:,} events, lost {lost:,}, "
        f"recorder {cost['cpu_s']} CPU s, {cost['memory_bytes'] / 1e6:.0f} MB of "
        f"{cost['memory_limit_bytes'] / 1e6:.0f} MB at most"
    )


def calls(found: dict[str, list[str]], rounds: int, program: str, file: Path, kinds: list[str]) -> None:
    """Nanoseconds that each tool adds to a call, in turns."""
    print("ns added to one call: median (least … most)\n")
    print("| call | bare | " + " | ".join(tool for tool in found if tool != "bare") + " |")
    print("|" + "---|" * (len(found) + 1))
    for call in kinds:
        bare: list[float] = []
        added: dict[str, list[float]] = {tool: [] for tool in found if tool != "bare"}
        for _ in range(rounds):
            bare.append(per_call([], "bare", call, program, file))
            for tool in added:
                with_tool = per_call(found[tool], tool, call, program, file)
                # the machine is faster or slower from second to second: bare before and bare after
                bare.append(per_call([], "bare", call, program, file))
                added[tool].append(with_tool - (bare[-2] + bare[-1]) / 2)
        print(
            f"| {call} | {spread(bare)} | " + " | ".join(spread(values) for values in added.values()) + " |",
            flush=True,
        )


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} … {max(values):,.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=60, help="of saturation")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--calls", nargs="+", choices=list(CALLS), default=list(CALLS), help="rows of the first table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = str(folder / "calls")
        environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(folder / "zig")}
        compiler = [sys.executable, "-m", "ziglang", "cc", "-O2", "-o", program, str(HERE / "calls.c")]
        subprocess.run(compiler, check=True, env=environment)
        file = folder / "file"
        file.write_bytes(os.urandom(1 << 20))
        found = tools(folder)
        versions = [
            f"Linux {platform.release()}",
            f"Python {platform.python_version()}",
            f"{os.cpu_count()} processors",
        ]
        for tool in ("strace", "perf", "bpftrace"):
            if shutil.which(tool):
                line = subprocess.run(
                    [tool, "--version"], capture_output=True, text=True, check=False
                ).stdout.splitlines()[0]
                versions.append(line)
            else:
                versions.append(f"{tool} not installed")
        print(f"{'; '.join(versions)}; {arguments.rounds} rounds\n")
        if "calls" in arguments.tables:
            calls(found, arguments.rounds, program, file, arguments.calls)
        if "commands" in arguments.tables:
            whole_commands(found, folder, arguments.rounds)
        if "recorder" in arguments.tables:
            recorder_itself(found["iotrace"], folder, arguments.rounds, program, file, arguments.seconds)
            many_jobs(folder, program, file, arguments.seconds)


if __name__ == "__main__":
    main()
