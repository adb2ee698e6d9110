/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* io_uring and libaio: an operation is submitted at one moment and completes at another, often in another thread. Two
 * records tell, joined by the user-space side: by the request's address (io_uring), by the iocb's (libaio). */
#pragma once
#include "tally.bpf.h"

/* A user-space address alone does not name an iocb: each process has its own. */
#define IOCB_KEY(tgid, address) ((address) ^ ((u64)(tgid) * 0x9E3779B97F4A7C15ULL | 1))

/* Descriptors of a ring's own table are no descriptors of the process: a number of one kind means nothing in the other. */
#define REQ_F_FIXED_FILE 1
#define SPLICE_F_FD_IN_FIXED (1ULL << 31)

/* 1 + the place in the ring's own table that an open asks for; 0: it makes a descriptor. New in 5.15. */
INLINE u32 slot_asked_for(struct io_kiocb *request)
{
	return HAS(struct io_open, file_slot) ? GET(request, struct io_open, file_slot) : 0;
}

INLINE void begin_submission(struct event *e, struct thread *t, struct task_struct *task, u32 op, u64 key, u64 instance, u64 now)
{
	__builtin_memset(e, 0, sizeof(*e));
	e->h.kind = SUBMIT;
	e->h.op = op;
	e->h.start_ns = now;
	e->h.tid = t->tid, e->h.tgid = task->tgid;
	e->h.address = key;
	e->other_offset = instance;
	e->pages = t->batch;
}

/* What a request asks for, by kind of operation; returns the lengths of the names behind the record. */
INLINE void read_request(struct task_struct *task, struct thread *t, struct scratch *s, struct io_kiocb *request, u32 form)
{
	struct event *e = &s->e;
	const char *name = 0, *name2 = 0;
	s32 dirfd = AT_FDCWD, dirfd2 = AT_FDCWD;
	if (form == RW || form == VECTORED) {
		e->h.offset = GET(request, struct io_rw, kiocb.ki_pos);
		e->h.size = GET(request, struct io_rw, len);
		e->h.flags = GET(request, struct io_rw, flags);
		if (form == VECTORED) {
			e->h.count = e->h.size;
			e->h.size = vector_bytes(GET(request, struct io_rw, addr), e->h.count);
		}
	} else if (form == SYNC || form == RANGE) {
		e->h.size = GET(request, struct io_sync, len);
		e->h.offset = GET(request, struct io_sync, off);
		e->h.flags = GET(request, struct io_sync, flags);
		if (form == RANGE)
			e->h.mode = GET(request, struct io_sync, mode);
	} else if (form == CLOSES) {
		if (!HAS(struct io_close, file_slot) || !GET(request, struct io_close, file_slot))
			identify(file_of(task, GET(request, struct io_close, fd)), &e->h.at);
	} else if (form == ADVISES) {
		e->h.offset = GET(request, struct io_fadvise, offset);
		e->h.size = GET(request, struct io_fadvise, len);
		e->h.flags = GET(request, struct io_fadvise, advice);
	} else if (form == SPLICES) {
		e->h.offset = GET(request, struct io_splice, off_in);
		e->st_size = GET(request, struct io_splice, off_out);
		e->h.size = GET(request, struct io_splice, len);
		e->h.flags = GET(request, struct io_splice, flags);
		if (!(e->h.flags & SPLICE_F_FD_IN_FIXED))
			identify(file_of(task, GET(request, struct io_splice, splice_fd_in)), &e->h.at);
	} else if (form == CUTS) {
		e->h.size = GET(request, struct io_ftrunc, len);
	} else if (form == OPENS) {
		dirfd = GET(request, struct io_open, dfd);
		name = (void *)GET(request, struct io_open, filename);
		e->h.flags = GET(request, struct io_open, how.flags);
		e->h.mode = GET(request, struct io_open, how.mode);
		e->h.count = slot_asked_for(request);
	} else if (form == STATS) {
		dirfd = GET(request, struct io_statx, dfd);
		name = (void *)GET(request, struct io_statx, filename);
		e->h.flags = GET(request, struct io_statx, flags);
		e->h.mode = GET(request, struct io_statx, mask);
	} else if (form == REMOVES) {
		dirfd = GET(request, struct io_unlink, dfd);
		name = (void *)GET(request, struct io_unlink, filename);
		e->h.flags = GET(request, struct io_unlink, flags);
	} else if (form == MAKES) {
		dirfd = GET(request, struct io_mkdir, dfd);
		name = (void *)GET(request, struct io_mkdir, filename);
		e->h.mode = GET(request, struct io_mkdir, mode);
	} else if (form == RENAMES) {
		/* struct io_link is the same */
		dirfd = GET(request, struct io_rename, old_dfd);
		dirfd2 = GET(request, struct io_rename, new_dfd);
		name = (void *)GET(request, struct io_rename, oldpath);
		name2 = (void *)GET(request, struct io_rename, newpath);
		e->h.flags = GET(request, struct io_rename, flags);
	}
	if (!name)
		return;
	u32 length1 = 0, length2 = 0;
	long n = bpf_probe_read_kernel_str(s->text, PATH_MAX, GET(name, struct filename, name));
	if (n > 0)
		length1 = (u32)n & (2 * PATH_MAX - 1);
	if (length1 > PATH_MAX)
		length1 = PATH_MAX;
	if (s->text[0] != '/')
		find_base(task, t, dirfd, &e->base);
	if (name2) {
		n = bpf_probe_read_kernel_str(s->text + length1, PATH_MAX, GET(name2, struct filename, name));
		if (n > 0)
			length2 = (u32)n & (2 * PATH_MAX - 1);
		if (length2 > PATH_MAX)
			length2 = PATH_MAX;
		find_base(task, t, dirfd2, &e->base2);
	}
	e->h.length1 = length1, e->h.length2 = length2;
}

/* The followed thread that a request belongs to. The kernel thread that polls a ring for submissions, and the workers, are
 * threads of the process that are never forked: the first thread stands for them. */
INLINE struct thread *owner_of(struct task_struct *task)
{
	struct thread *t = thread_of(task);
	return t ? t : thread_of_tid(task->tgid);
}

SEC("tp_btf/io_uring_submit_req")
int uring_submit(u64 *ctx)
{
	struct io_kiocb *request = (void *)ctx[0];
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *t = owner_of(task);
	if (!t || t->call <= NOT_BEGUN)
		return 0;
	u32 opcode = GET(request, struct io_kiocb, opcode);
	const volatile struct later *later = &uring_ops[opcode & 63];
	if (opcode > 63 || !later->form)
		return 0;
	struct scratch *s = scratch_of(0);
	if (!s)
		return 0;
	u64 now = bpf_ktime_get_ns();
	struct event *e = &s->e;
	begin_submission(e, t, task, later->op, (u64)request, (u64)GET(request, struct io_kiocb, ctx), now);
	if (t->tid != task->pid)
		e->pages = 0; /* a polling thread takes what it finds: nobody submitted a batch */
	else {
		e->h.off_cpu_ns = off_cpu_since(t, task, now);
		remember(t, task, now);
	}
	read_request(task, t, s, request, later->form);
	u32 total = sizeof(*e) + e->h.length1 + e->h.length2;
	if (total > sizeof(*s))
		return 0;
	if (bpf_ringbuf_output(&ring, s, total, BPF_RB_NO_WAKEUP))
		count_lost(later->lost);
	return 0;
}

SEC("tp_btf/io_uring_complete")
int uring_complete(u64 *ctx)
{
	struct io_kiocb *request = (void *)ctx[1];
	struct io_uring_cqe { u64 user_data; s32 res; u32 flags; };
	if (!request)
		return 0; /* a second completion of one request, of a poll or a timeout */
	struct io_uring_task *tasks = GET(request, struct io_kiocb, tctx);
	struct task_struct *task = bpf_get_current_task_btf();
	u32 opcode = GET(request, struct io_kiocb, opcode);
	const volatile struct later *later = &uring_ops[opcode & 63];
	if (opcode > 63 || !later->form)
		return 0;
	/* whoever reports the completion, the request's own task says whose it is */
	struct task_struct *owner = tasks ? GET(tasks, struct io_uring_task, task) : task;
	struct thread *t = thread_of_tid(GET(owner, struct task_struct, pid));
	if (!t && !(t = thread_of_tid(GET(owner, struct task_struct, tgid))))
		return 0;
	s32 result = 0;
	bpf_probe_read_kernel(&result, sizeof(result), (void *)ctx[2] + 8);
	u32 tgid = GET(owner, struct task_struct, tgid), form = later->form;
	struct file *file = 0;
	struct identity id;
	if (form == OPENS) {
		if (result >= 0 && GET(task, struct task_struct, tgid) == tgid && !slot_asked_for(request))
			file = file_of(task, result);
	} else if (form == RW || form == VECTORED || form == SYNC || form == RANGE || form == ADVISES || form == CUTS || form == SPLICES)
		file = GET(request, struct io_kiocb, file);
	int wanted = identify(file, &id);
	/* what lies in the ring's own table was opened where nobody could see it */
	if (wanted && (form == OPENS || GET(request, struct io_kiocb, flags) & REQ_F_FIXED_FILE))
		report_open_file(file, &id, 0);
	if (form == RENAMES && !result)
		__sync_fetch_and_add(&renames, 1);
	struct header *h = bpf_ringbuf_reserve(&ring, sizeof(*h), 0);
	if (!h) {
		count_lost(later->lost);
		return 0;
	}
	__builtin_memset(h, 0, sizeof(*h));
	h->kind = COMPLETE;
	h->op = later->op;
	h->start_ns = bpf_ktime_get_ns();
	h->tid = t->tid, h->tgid = tgid;
	h->address = (u64)request;
	h->result = result;
	if (wanted) {
		h->at = id;
		h->offset = GET(file, struct file, f_pos) - (result > 0 ? result : 0);
		h->mode = 1;
	}
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	return 0;
}

/* libaio. The control blocks are read at the entry: at the exit another thread may have reaped them already. */
struct iocb { u64 data; u32 key, rw_flags; u16 opcode; u16 priority; s32 fd; u64 buffer, bytes; s64 offset; u64 reserved; u32 flags, resfd; };
struct io_event { u64 data, object; s64 result, result2; };
struct batch { struct task_struct *task; struct thread *thread; u64 context, pointers, now; u32 first, count; };

INLINE int submit_one(struct batch *b, u32 i)
{
	u64 address = 0;
	struct iocb iocb;
	if (bpf_probe_read_user(&address, sizeof(address), (void *)(b->pointers + 8 * (u64)i)) ||
	    bpf_probe_read_user(&iocb, sizeof(iocb), (void *)address))
		return 1;
	const volatile struct later *later = &aio_ops[iocb.opcode & 15];
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *t = thread_of(task);
	struct identity id;
	if (!t || iocb.opcode > 15 || !later->form || !identify(file_of(task, iocb.fd), &id))
		return 0;
	struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e) {
		count_lost(later->lost);
		return 0;
	}
	begin_submission(e, t, task, later->op, IOCB_KEY(task->tgid, address), b->context, b->now);
	if (i == 0)
		e->h.off_cpu_ns = t->off_cpu_ns;
	e->h.at = id;
	e->h.offset = iocb.offset;
	e->h.size = iocb.bytes;
	e->h.flags = iocb.rw_flags;
	if (later->form == VECTORED) {
		e->h.count = iocb.bytes;
		e->h.size = vector_bytes(iocb.buffer, iocb.bytes);
	}
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

INLINE void complete_one(struct thread *t, struct task_struct *task, u64 key, s64 result, u64 now, u32 never)
{
	struct header *h = bpf_ringbuf_reserve(&ring, sizeof(*h), 0);
	if (!h) {
		count_lost(0);
		return;
	}
	__builtin_memset(h, 0, sizeof(*h));
	h->kind = COMPLETE;
	h->start_ns = now;
	h->tid = t->tid, h->tgid = task->tgid;
	h->address = key;
	h->result = result;
	h->count = never;
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
}

static long submit_each(u32 i, struct batch *b) { return submit_one(b, i); }

/* What was not taken after all. */
static long withdraw_each(u32 i, struct batch *b)
{
	u64 address = 0;
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *t = thread_of(task);
	if (!t || bpf_probe_read_user(&address, sizeof(address), (void *)(b->pointers + 8 * (u64)(b->first + i))))
		return 1;
	complete_one(t, task, IOCB_KEY(task->tgid, address), 0, b->now, 1);
	return 0;
}

static long reap_each(u32 i, struct batch *b)
{
	struct io_event event;
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *t = thread_of(task);
	if (!t || bpf_probe_read_user(&event, sizeof(event), (void *)(b->pointers + sizeof(event) * (u64)i)))
		return 1;
	complete_one(t, task, IOCB_KEY(task->tgid, event.object), event.result, b->now, 0);
	return 0;
}

#define BATCH_WITHOUT_LOOP 32
#define EACH(function, batch_, count_)                                                                                         \
	do {                                                                                                                   \
		u32 turns_ = (count_) > 4096 ? 4096 : (count_);                                                                \
		if (settings.loops)                                                                                            \
			bpf_loop(turns_, function, (batch_), 0);                                                               \
		else                                                                                                           \
			for (u32 i_ = 0; i_ < BATCH_WITHOUT_LOOP && i_ < turns_; i_++)                                         \
				if (function(i_, (batch_)))                                                                    \
					break;                                                                                 \
	} while (0)
