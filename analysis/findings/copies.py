"""Which calls of a trace copy files: those that copy inside the kernel, and reads that are each written on at once.

A program that copies by read and write (cp from one file system to another, Python's shutil.copyfileobj, most caches)
reads a piece and writes it at the same place of another file. Such a copy is told from work on a file by three signs:
in one thread the next call that moves bytes is the write of as many bytes at the same offset; the pieces follow each
other from the file's beginning; and they reach as far as the process reads the one file and writes the other. What one
thread reads and another one writes is not found.

The table `copies` that rules ask has the columns op, kind, process, thread, path, file (the one copied), offset,
result, time_ns, duration_ns, copy (a number within the thread, one more where a file begins), and data. Its rows:

- the calls that copy inside the kernel, and the reads of the other copies, with the bytes copied as their result;
- the writes of the other copies, with a result of 0, so that a byte counts once;
- opens, closes, stats, syncs and the like that the same thread made on either file, with a result of 0; data is false.

The view `copy_spans` has a row a copy: since and until, the first start and the last end of its data (ns), and alone,
how much of that no copy before it covers.
"""

from __future__ import annotations

from typing import Final

from iotrace.trace.operations import Kind
from iotrace.trace.tables import Tables

_SOURCE: Final = "process, thread, path, file"


def find_copies(tables: Tables) -> None:
    """Make the table `copies` of the views io and moves of iotrace.analysis.findings.evidence."""
    _find_ends(tables)
    _find_pairs(tables)
    tables.query(
        f"""
        create or replace temp table copies as
        with inside as (
            select op, kind, {_SOURCE}, other_file as target, "offset", result, time_ns, duration_ns,
                   -- below 0, where no pair has its number
                   -sum(case when "offset" = 0 then 1 else 0 end) over (partition by thread order by time_ns) as copy
            from io where copies_files and result > 0),
        touched as (
            select thread, file, file as source, any_value(path) as path from copied_pairs group by all
            union select thread, target, file, any_value(path) from copied_pairs group by all
            union select thread, file, file, any_value(path) from inside group by all
            union select thread, target, file, any_value(path) from inside group by all)
        select op, kind, {_SOURCE}, "offset", result, time_ns, duration_ns, copy, true as data from inside
        union all
        select op, kind, {_SOURCE}, "offset", result, time_ns, duration_ns, copy, true from copied_pairs
        union all
        select written.op, written.kind, {_SOURCE}, "offset", 0, written.time_ns, written.duration_ns, copy, true
        from copied_pairs
        union all
        select i.op, i.kind, i.process, i.thread, t.path, t.source, i."offset", 0, i.time_ns, i.duration_ns, null, false
        from io i join touched t on i.thread = t.thread and i.file = t.file
        where i.kind in ('{Kind.METADATA}', '{Kind.SYNC}')
        """
    )
    tables.query(
        """
        create or replace temp view copy_spans as
        select since, until, greatest(0, until - greatest(since, coalesce(max(until) over (
                   order by since, until rows between unbounded preceding and 1 preceding), since))) as alone
        from (
            select min(time_ns) as since, max(time_ns + coalesce(duration_ns, 0)) as until
            from copies where data group by thread, copy, file)
        """
    )


def _find_ends(tables: Tables) -> None:
    """How far a process read files from their beginning, and wrote others as far; most traces hold no such files, and
    are not put in order by thread in vain."""
    tables.query(
        """
        create or replace temp table copied_ends as
        with ends as (
            select process, file, kind, max("offset" + result) as reach from moves
            where file is not null and result > 0 group by process, file, kind having min("offset") = 0),
        both_ways as (select process, reach from ends group by process, reach having count(distinct kind) = 2)
        select e.* from ends e semi join both_ways b on e.process = b.process and e.reach = b.reach
        """
    )


def _find_pairs(tables: Tables) -> None:
    """The reads that are each written on at once, with their writes."""
    written = ", ".join(f"'{name}': \"{name}\"" for name in
                        ("op", "kind", "file", "offset", "result", "time_ns", "duration_ns"))  # fmt: skip
    tables.query(
        f"""
        create or replace temp table copied_pairs as
        with turns as (
            select *, lead({{{written}}}) over (partition by thread order by time_ns) as written
            from moves where result > 0 and process in (select process from copied_ends)),
        pairs as (
            select t.*, t.written.file as target, r.reach,
                   sum(case when t."offset" = 0 then 1 else 0 end) over (
                       partition by t.thread order by t.time_ns) as copy
            from turns t
            join copied_ends r on r.process = t.process and r.file = t.file and r.kind = t.kind
            join copied_ends w on w.process = t.process and w.file = t.written.file and w.kind = t.written.kind
                and w.reach = r.reach
            where t.kind = '{Kind.READ}' and t.written.kind = '{Kind.WRITE}' and t.written.file <> t.file
                and t.written."offset" = t."offset" and t.written.result = t.result),
        whole as (
            select thread, copy, file, target from pairs group by thread, copy, file, target, reach
            having min("offset") = 0 and sum(result) = reach)
        select p.* from pairs p semi join whole w
            on p.thread = w.thread and p.copy = w.copy and p.file = w.file and p.target = w.target
        """
    )
