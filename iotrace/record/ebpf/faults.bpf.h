/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Page faults on mapped files. The kernel first maps what it finds in its cache around the address (map_pages), then, when
 * the page was not there, reads it (fault); the software event for major faults fires at the end. */
#pragma once
#include "tally.bpf.h"
#include "mappings.bpf.h"

/* The record of a fault, for its place to be filled in and submitted; none where the ring has no room. */
INLINE struct header *begin_fault(struct thread *t, struct task_struct *task, u32 kind)
{
	u64 now = bpf_ktime_get_ns();
	struct header *h = bpf_ringbuf_reserve(&ring, sizeof(*h), 0);
	if (!h) {
		count_lost(settings.fault_lost);
		return 0;
	}
	__builtin_memset(h, 0, sizeof(*h));
	h->kind = kind;
	h->start_ns = now;
	h->off_cpu_ns = off_cpu_since(t, task, now);
	h->tid = task->pid, h->tgid = task->tgid;
	remember(t, task, now);
	return h;
}

INLINE int on_fault(struct address_space *mapping, u64 first, u64 last, u32 kind)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *t = thread_of(task);
	struct identity id = {};
	if (!t || t->call <= NOT_BEGUN || !identify_inode(mapping->host, &id))
		return 0;
	if (settings.tallies) {
		/* counted once, by the look-up of its page, which may be in the cache; what fault-around maps beside is not */
		if (kind == FAULT)
			tally(t->process, id.device, settings.fault_op, ~0ULL, 0, 0);
		return 0;
	}
	struct header *h = begin_fault(t, task, kind);
	if (!h)
		return 0;
	h->at = id;
	h->offset = first, h->size = last;
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("tp_btf/mm_filemap_fault")
int fault(u64 *ctx) { return on_fault((void *)ctx[0], ctx[1], ctx[1], FAULT); }

SEC("tp_btf/mm_filemap_map_pages")
int fault_around(u64 *ctx) { return on_fault((void *)ctx[0], ctx[1], ctx[2], FAULT_AROUND); }

/* Where the kernel has no filemap tracepoints (before 6.10): the address says which mapping, and so which file and page. */
INLINE int on_fault_at(struct task_struct *task, struct thread *t, u64 address, u32 major)
{
	struct mapped mapped = { .address = address };
	if (t->call <= NOT_BEGUN)
		return 0;
	if (!find_mapping(task, &mapped))
		count_lost(settings.fault_lost);
	if (!mapped.id.inode)
		return 0;
	if (settings.tallies) {
		tally(t->process, mapped.id.device, settings.fault_op, ~0ULL, 0, 0);
		return 0;
	}
	struct header *h = begin_fault(t, task, FAULT_AT);
	if (!h)
		return 0;
	mapped.id.file = 0;
	h->at = mapped.id;
	h->offset = mapped.page;
	h->count = major;
	h->address = address;
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	return 0;
}

INLINE int on_fault_end(struct bpf_perf_event_data *ctx, u32 major)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *t = thread_of(task);
	if (!t)
		return 0;
	if (settings.faults_by_address)
		return on_fault_at(task, t, ctx->addr, major);
	if (settings.tallies)
		return 0;
	struct header *h = bpf_ringbuf_reserve(&ring, sizeof(*h), 0);
	if (!h)
		return 0;
	__builtin_memset(h, 0, sizeof(*h));
	h->kind = FAULT_END;
	h->start_ns = bpf_ktime_get_ns();
	h->tid = task->pid, h->tgid = task->tgid;
	h->count = major;
	h->address = ctx->addr;
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("perf_event")
int fault_major_end(struct bpf_perf_event_data *ctx) { return on_fault_end(ctx, 1); }

/* The other faults; attached only where the kernel has no filemap tracepoints. */
SEC("perf_event")
int fault_minor_end(struct bpf_perf_event_data *ctx) { return on_fault_end(ctx, 0); }
