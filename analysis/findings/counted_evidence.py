"""What a rule's query finds in a trace that holds counts in the place of events.

The views that the rules of counted.toml are written for; subject is the file where the trace counts by file:

- ops: a row for each op, process and subject: kind, opens, looks (as in iotrace.analysis.findings.evidence), data (it
  moves data), calls, errors, took (ns), bytes, first_ns, last_ns (of the intervals).
- sizes, latencies: the same by bucket: least (the smallest value of the bucket: bytes asked for, ns), calls, and the
  bytes moved or the ns it took.
- means: mean_ns of a call, by op and process. medians: median_ns and calls, by op.
"""

from __future__ import annotations

from typing import Final

import pandas as pd

from iotrace.analysis.findings.evidence import LOOKS, OPENS, Totals, Witness
from iotrace.analysis.findings.rules import Rule
from iotrace.histogram import lower_bounds
from iotrace.trace.operations import Kind
from iotrace.trace.tables import Tables

_BY_BUCKET: Final = """
create or replace temp view {name} as
select h.op, coalesce(k.kind, 'unknown') as kind, h.process, h.file as subject, b.least,
       sum(h.count)::bigint as calls, sum(h."sum")::bigint as {what}, min(h.time_ns) as first_ns,
       max(h.time_ns + h.interval_ns) as last_ns
from histograms h left join kinds k on h.op = k.op join buckets b on h.bucket = b.bucket
where h.measure = '{measure}' group by all
"""


class CountedWitness(Witness):
    """Asks a trace of counts.

    Parameters
    ----------
    tables: of the trace, open.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        bounds = lower_bounds()
        tables.connection.register(
            "buckets_frame", pd.DataFrame({"bucket": range(len(bounds)), "least": bounds}).astype("int64")
        )
        run = tables.query
        run("create or replace temp table buckets as select * from buckets_frame")
        run(
            f"""
            create or replace temp table ops as
            select h.op, coalesce(k.kind, 'unknown') as kind, h.op in ({OPENS}) as opens, h.op in ({LOOKS}) as looks,
                   coalesce(k.reads or k.writes, false) as data, h.process, h.file as subject,
                   coalesce(sum(h.count) filter (measure in ('latency', 'untimed')), 0)::bigint as calls,
                   coalesce(sum(h.count) filter (measure = 'error'), 0)::bigint as errors,
                   coalesce(sum(h."sum") filter (measure in ('latency', 'time')), 0)::bigint as took,
                   coalesce(sum(h."sum") filter (measure = 'size'), 0)::bigint as bytes,
                   min(h.time_ns) as first_ns, max(h.time_ns + h.interval_ns) as last_ns
            from histograms h left join kinds k on h.op = k.op group by all
            """
        )
        run(_BY_BUCKET.format(name="sizes", what="bytes", measure="size"))
        run(_BY_BUCKET.format(name="latencies", what="took", measure="latency"))
        run(
            "create or replace temp view means as select op, process, sum(took) / greatest(1, sum(calls)) as mean_ns "
            "from ops group by all"
        )
        run(
            """
            create or replace temp view medians as
            select op, min(least) filter (2 * until >= total) as median_ns, any_value(total) as calls
            from (select op, least, sum(n) over (partition by op order by least) as until,
                         sum(n) over (partition by op) as total
                  from (select op, least, sum(calls) as n from latencies group by all))
            group by op
            """
        )
        row = run(
            f"""
            select coalesce(sum(calls), 0), coalesce(sum(took) filter (kind <> '{Kind.PROCESS}'), 0)::bigint,
                   coalesce(max(last_ns) - min(first_ns), 0)::bigint, coalesce(min(first_ns), 0) from ops
            """
        ).fetchall()[0]
        self.totals = Totals(*map(int, row))

    def _concern(self, rule: Rule, calls: str, gain: str) -> None:
        self._tables.query(
            f"""
            create or replace temp table concerned as
            select op, subject, process, calls::bigint as calls, spared::bigint as spared, time_ns::bigint as time_ns,
                   gain_ns::bigint as gain_ns, bytes::bigint as bytes, first_ns, last_ns
            from ({calls}) where calls > 0
            """
        )
