// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* Follows threads through their system calls and page faults and writes a record for each operation on a file into one ring.
 *
 * Which calls count, and which argument of each is what, stands in `specs`, filled from iotrace/trace/operations.py before
 * load. A record carries addresses of open files, inode identities and the names as given; the user-space side (kernels/)
 * turns them into numbers. Arguments are read at the exit of a call, when what they point to is resident. A call's exit is
 * split over several programs by tail calls: the verifier looks at each by itself, and loading takes a tenth of the time. */
#include "tally.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Bytes of all vectors of a vectored call. */
struct vectors { u64 address; s64 total; };

static long add_vector(u32 i, struct vectors *v)
{
	struct { u64 base, length; } vector;
	if (bpf_probe_read_user(&vector, sizeof(vector), (void *)(v->address + i * sizeof(vector))))
		return 1;
	v->total += vector.length;
	return 0;
}

#define VECTORS 1024 /* UIO_MAXIOV */
__attribute__((noinline)) s64 vector_bytes(u64 address, u64 count)
{
	struct vectors v = { .address = address };
	if (count > VECTORS)
		return 0;
	if (settings.loops)
		bpf_loop(count, add_vector, &v, 0);
	else
		for (u32 i = 0; i < VECTORS; i++)
			if (i >= count || add_vector(i, &v))
				break;
	return v.total;
}

#include "later.bpf.h"
#include "faults.bpf.h"

/* a table for each tracepoint: the kernel lets only programs of one kind into one table */
enum { ENTER_HOLD, ENTER_SUBMIT, ENTER_TAILS };
enum { LEAVE_REST, LEAVE_COPY, LEAVE_OPEN, LEAVE_STAT, LEAVE_TWO_NAMES, LEAVE_PATH, LEAVE_BARE, LEAVE_REAP, LEAVE_CLONE, LEAVE_TAILS };
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, ENTER_TAILS); __type(key, u32); __type(value, u32); } enter_tails SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, LEAVE_TAILS); __type(key, u32); __type(value, u32); } leave_tails SEC(".maps");

SEC("tp_btf/sys_enter")
int enter(u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *t = thread_of(task);
	if (!t)
		return 0;
	u32 number = (u32)ctx[1];
	const volatile struct spec *spec = &specs[number & 511];
	u32 shape = spec->shape;
	if (number > 511 || !shape)
		return 0;
	struct pt_regs *regs = (void *)ctx[0];
#if defined(IOTRACE_X86_64)
	if (regs->cs == 0x23) /* a 32-bit program numbers its calls otherwise */
		return 0;
#endif
	if (t->call <= NOT_BEGUN && shape != ON_EXEC)
		return 0;
	if (shape == ON_IOCTL && (u32)SECOND_ARGUMENT(regs) != FICLONE && (u32)SECOND_ARGUMENT(regs) != FICLONERANGE)
		return 0; /* the other commands are no operations, and cost no clock and no exit */
	if (settings.devices[0] && shape == ON_FD) {
		/* what is elsewhere costs no clock and no exit */
		u64 a[8];
		struct identity id;
		load_arguments(regs, a);
		if (!identify(file_of(task, (s32)ARG(fd)), &id)) {
			t->call = IDLE;
			return 0;
		}
	}
	u64 now = bpf_ktime_get_ns();
	t->start_ns = now;
	t->off_cpu_ns = off_cpu_since(t, task, now);
	t->call = number;
	if (shape == ON_CLOSE || spec->quirk == DUP_CLOSES) {
		/* close's own descriptor; the one that dup2 and dup3 close */
		u64 a[8];
		load_arguments(regs, a);
		t->held_valid = identify(file_of(task, (s32)(shape == ON_CLOSE ? ARG(fd) : ARG(fd2))), &t->held);
	} else if (shape == ON_MEMORY || spec->quirk == LEAVES_FOLDER) {
		bpf_tail_call(ctx, &enter_tails, ENTER_HOLD);
	} else if (shape == ON_SUBMIT) {
		bpf_tail_call(ctx, &enter_tails, ENTER_SUBMIT);
	} else if (shape == ON_ENTER_RING) {
		t->batch++;
		t->call = IDLE;
	}
	return 0;
}

/* Holds what is gone when the call ends: the mapping that munmap removes, the folder that chdir leaves. */
SEC("tp_btf/sys_enter")
int enter_hold(u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *t = thread_of(task);
	if (!t || t->call < 0)
		return 0;
	const volatile struct spec *spec = &specs[t->call & 511];
	if (spec->quirk == LEAVES_FOLDER) {
		find_base(task, t, AT_FDCWD, &t->held);
		return 0;
	}
	u64 a[8];
	load_arguments((void *)ctx[0], a);
	struct mapped mapped = { .address = ARG(address) };
	if (!find_mapping(task, &mapped))
		count_lost(spec->lost);
	t->held_valid = mapped.id.inode != 0;
	t->held = mapped.id;
	return 0;
}

SEC("tp_btf/sys_enter")
int enter_submit(u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *t = thread_of(task);
	if (!t)
		return 0;
	u64 a[8];
	load_arguments((void *)ctx[0], a);
	struct batch b = { .context = a[1], .pointers = a[3], .now = t->start_ns };
	t->batch++;
	if ((s64)a[2] > 0)
		EACH(submit_each, &b, a[2]);
	remember(t, task, t->start_ns);
	return 0;
}

/* The second form of the positioned calls takes -1 for the file's own position. */
#define OWN_POSITION(spec, a) (spec->iovec && spec->flags && (s64)a[spec->offset & 7] == -1)
#define ASKED_FOR_OWN (1 << 30) /* OWN_POSITION of iotrace.trace.operations */

/* Reads, writes and the other calls on one descriptor; close, of what its entry held. The way that most calls take. */
INLINE int on_fd(struct task_struct *task, struct thread *t, const volatile struct spec *spec, u64 a[8], u64 now, s64 result)
{
	struct identity id;
	s64 position = 0;
	if (spec->shape == ON_CLOSE) {
		if (!t->held_valid)
			return 0;
		id = t->held;
	} else {
		struct file *file = file_of(task, (s32)ARG(fd));
		if (!identify(file, &id))
			return 0;
		if (settings.all_files) /* nobody opens a pipe by its name */
			report_path((void *)file + OFFSET_OF(struct file, f_path), &id, 0);
		if (spec->positional || (spec->offset && OWN_POSITION(spec, a)))
			position = GET(file, struct file, f_pos) - (result > 0 ? result : 0);
		else if (spec->offset)
			position = ARG(offset);
	}
	s64 size = spec->iovec ? vector_bytes(ARG(iovec), ARG(count)) : ARG(size);
	if (settings.tallies) {
		tally(t->process, id.device, spec->op | spec->moves << 8, now - t->start_ns, size, result);
		return 1;
	}
	u64 duration = now - t->start_ns;
	u32 which = result == 0 ? RESULT_ZERO : result == size ? RESULT_SIZE : RESULT_OFFSET;
	if (spec->brief && !((duration | t->off_cpu_ns | size) >> 32) && (which != RESULT_OFFSET || result == position) &&
	    (spec->brief == 1 || ARG(flags) == 0)) {
		struct brief *b = bpf_ringbuf_reserve(&ring, sizeof(*b), 0);
		if (!b) {
			count_lost(spec->lost);
			return 1;
		}
		b->start_ns = t->start_ns;
		b->duration_ns = duration, b->off_cpu_ns = t->off_cpu_ns;
		b->file = id.file;
		b->what = spec->op << 2 | which;
		b->inode = id.inode;
		b->device = id.device, b->generation = id.generation;
		b->offset = position;
		b->tid = task->pid, b->size = size;
		bpf_ringbuf_submit(b, BPF_RB_NO_WAKEUP);
		return 1;
	}
	struct header *h = bpf_ringbuf_reserve(&ring, sizeof(*h), 0);
	if (!h) {
		count_lost(spec->lost);
		return 1;
	}
	begin_header(h, t, spec->op, task, now, result);
	h->at = id;
	h->offset = position;
	h->size = size;
	h->flags = ARG(flags) | (OWN_POSITION(spec, a) ? ASKED_FOR_OWN : 0);
	h->mode = ARG(mode);
	h->count = ARG(count);
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	return 1;
}

/* What stat and statx found: identity, type, size. Generations cannot be seen from user space. */
struct status { u64 inode, size, blocks; u32 device, mode; };

INLINE int read_stat(struct status *found, struct scratch *s, u64 address)
{
#if defined(IOTRACE_X86_64)
	struct { u64 dev, ino, nlink; u32 mode, uid, gid, pad; u64 rdev, size, blksize, blocks; } *st = (void *)s->status;
#elif defined(IOTRACE_AARCH64)
	struct { u64 dev, ino; u32 mode, nlink, uid, gid; u64 rdev, pad; u64 size; u32 blksize, pad2; u64 blocks; } *st = (void *)s->status;
#endif
	if (bpf_probe_read_user(st, sizeof(*st), (void *)address))
		return 1;
	found->mode = st->mode, found->size = st->size, found->blocks = st->blocks;
	found->inode = st->ino;
	found->device = ((st->dev & 0xfff00) << 12) | (st->dev & 0xff) | ((st->dev >> 12) & 0xfff00);
	return is_wanted_mode(st->mode) && is_wanted_device(found->device);
}

INLINE int read_statx(struct status *found, struct scratch *s, u64 address)
{
	struct {
		u32 mask, blksize; u64 attributes; u32 nlink, uid, gid; u16 mode, pad; u64 ino, size, blocks, attributes_mask;
		u64 times[8]; u32 rdev_major, rdev_minor, dev_major, dev_minor;
	} *st = (void *)s->status;
	if (bpf_probe_read_user(st, sizeof(*st), (void *)address))
		return 1;
	found->mode = st->mode, found->size = st->size, found->blocks = st->blocks;
	found->inode = st->ino;
	found->device = (st->dev_major << 20) | st->dev_minor;
	return is_wanted_mode(st->mode) && is_wanted_device(found->device);
}

/* What a call of stat's kind found, 0 when the recording is not about it. */
INLINE int read_status(const volatile struct spec *spec, struct scratch *s, u64 a[8], s64 result, struct status *found)
{
	if (result)
		return 1;
	if (spec->stat)
		return read_stat(found, s, ARG(stat));
	return !spec->statx || read_statx(found, s, ARG(statx));
}

#define AT_EMPTY_PATH 0x1000

/* A stat by name as most are; 0 when it does not fit into a struct brief_stat. */
INLINE int on_stat(struct task_struct *task, struct thread *t, const volatile struct spec *spec, u64 a[8], u64 now, s64 result)
{
	struct scratch *s = scratch_of(0);
	struct status found = {};
	struct identity base = {};
	u64 duration = now - t->start_ns, flags = ARG(flags), mask = ARG(mode);
	if (!s || (duration | t->off_cpu_ns) >> 32 | (flags | mask) >> 16 | (flags & AT_EMPTY_PATH))
		return 0;
	long n = bpf_probe_read_user_str(s->stat_text, PATH_MAX, (void *)ARG(path));
	if (n <= 1 || n > PATH_MAX)
		return 0;
	if (!read_status(spec, s, a, result, &found)) {
		t->call = IDLE;
		return 1;
	}
	if (found.blocks >> 32)
		return 0;
	if (s->stat_text[0] != '/')
		find_base(task, t, spec->dirfd ? (s32)ARG(dirfd) : AT_FDCWD, &base);
	struct brief_stat *b = &s->stat;
	b->start_ns = t->start_ns;
	b->duration_ns = duration, b->off_cpu_ns = t->off_cpu_ns;
	b->base_file = base.file, b->base_inode = base.inode;
	b->kind = BRIEF_STAT, b->op = spec->op, b->flags = flags, b->mode = found.mode;
	b->base_device = base.device, b->base_generation = base.generation;
	b->inode = found.inode, b->device = found.device;
	b->tid = task->pid;
	b->size = found.mode ? found.size : (u64)result;
	b->blocks = found.blocks, b->length = n, b->mask = mask;
	if (bpf_ringbuf_output(&ring, s, sizeof(*b) + (u32)n, BPF_RB_NO_WAKEUP))
		count_lost(spec->lost);
	t->call = IDLE;
	remember(t, task, now);
	return 1;
}

/* What has a program of its own below begins with this: the thread, its call, the arguments; or ends. */
#define BEGIN_TAIL                                                                                                             \
	u64 a[8];                                                                                                              \
	struct task_struct *task = bpf_get_current_task_btf();                                                                 \
	struct thread *t = thread_of(task);                                                                                    \
	if (!t || t->call < 0)                                                                                                 \
		return 0;                                                                                                      \
	const volatile struct spec *spec = &specs[t->call & 511];                                                              \
	s64 result = ctx[1];                                                                                                   \
	u64 now = bpf_ktime_get_ns();                                                                                          \
	t->call = IDLE;                                                                                                        \
	load_arguments((void *)ctx[0], a)

SEC("tp_btf/sys_exit")
int leave(u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *t = thread_of(task);
	if (!t || t->call < 0)
		return 0;
	const volatile struct spec *spec = &specs[t->call & 511];
	s64 result = ctx[1];
	if (result <= -512 && result >= -516) {
		/* a call that a signal interrupts and the kernel restarts has not happened yet */
		t->call = IDLE;
		return 0;
	}
	switch (spec->shape) {
	case ON_FD: case ON_CLOSE:
		if (!spec->quirk) {
			u64 a[8];
			u64 now = bpf_ktime_get_ns();
			t->call = IDLE;
			load_arguments((void *)ctx[0], a);
			if (on_fd(task, t, spec, a, now, result))
				remember(t, task, now);
			return 0;
		}
		bpf_tail_call(ctx, &leave_tails, LEAVE_REST);
		break;
	case ON_MEMORY: case ON_MAP: case ON_FCNTL:
		bpf_tail_call(ctx, &leave_tails, LEAVE_REST);
		break;
	case ON_COPY:
		bpf_tail_call(ctx, &leave_tails, LEAVE_COPY);
		break;
	case ON_IOCTL:
		bpf_tail_call(ctx, &leave_tails, LEAVE_CLONE);
		break;
	case ON_OPEN:
		bpf_tail_call(ctx, &leave_tails, LEAVE_OPEN);
		break;
	case ON_STAT:
		if (!settings.tallies) {
			u64 a[8];
			u64 now = bpf_ktime_get_ns();
			load_arguments((void *)ctx[0], a);
			if (on_stat(task, t, spec, a, now, result))
				return 0;
		}
		bpf_tail_call(ctx, &leave_tails, LEAVE_STAT);
		break;
	case ON_TWO_NAMES:
		bpf_tail_call(ctx, &leave_tails, LEAVE_TWO_NAMES);
		break;
	case ON_PATH:
		bpf_tail_call(ctx, &leave_tails, LEAVE_PATH);
		break;
	case ON_EXEC:
		if (result)
			bpf_tail_call(ctx, &leave_tails, LEAVE_PATH);
		else
			bpf_tail_call(ctx, &leave_tails, LEAVE_BARE);
		break;
	case ON_SUBMIT: case ON_REAP:
		bpf_tail_call(ctx, &leave_tails, LEAVE_REAP);
		break;
	default:
		bpf_tail_call(ctx, &leave_tails, LEAVE_BARE);
	}
	/* the kernel had no room for one more tail call */
	t->call = IDLE;
	count_lost(spec->lost);
	return 0;
}

/* Mappings, fcntl with its locks, and dup2, which closes another file. */
SEC("tp_btf/sys_exit")
int leave_rest(u64 *ctx)
{
	struct identity id = {};
	BEGIN_TAIL;
	u32 shape = spec->shape, op = spec->op;
	struct file *file = 0;
	if (shape == ON_MEMORY) {
		if (!t->held_valid)
			return 0;
		id = t->held;
	} else {
		if (shape == ON_MAP && ((s32)ARG(fd) < 0 || ARG(flags) & MAP_ANONYMOUS))
			return 0;
		file = file_of(task, (s32)ARG(fd));
		if (spec->quirk != DUP_CLOSES || result < 0)
			t->held_valid = 0; /* nothing was closed */
		if (!identify(file, &id)) {
			/* a pipe put in a file's place is of interest for the file that it closes */
			if (!t->held_valid)
				return 0;
			__builtin_memset(&id, 0, sizeof(id));
		}
	}
	if (shape == ON_FCNTL) {
		u32 command = ARG(flags);
		if (command == 0 || command == 1030)
			op = spec->op_dup;
		else if ((command >= 5 && command <= 7) || (command >= 36 && command <= 38))
			op = spec->op_lock;
	}
	if (settings.tallies) {
		tally(t->process, id.device, op, now - t->start_ns, 0, shape == ON_MAP && (result >= 0 || result < -4096) ? 0 : result);
		goto done;
	}
	struct header *h;
	if (shape == ON_FD && t->held_valid) {
		struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
		if (!e)
			goto no_room;
		begin_header(&e->h, t, op, task, now, result);
		begin_extension(e);
		e->other = t->held;
		e->h.at = id, e->h.flags = ARG(flags), e->h.mode = 0, e->h.size = 0, e->h.count = 0;
		bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
		goto done;
	}
	h = bpf_ringbuf_reserve(&ring, sizeof(*h), 0);
	if (!h)
		goto no_room;
	begin_header(h, t, op, task, now, result);
	h->at = id;
	h->offset = spec->offset ? ARG(offset) : 0;
	h->size = ARG(size);
	h->flags = ARG(flags);
	h->mode = ARG(mode);
	h->count = ARG(count);
	h->address = shape == ON_MAP ? (u64)result : ARG(address);
	if (shape == ON_FCNTL && op == spec->op_lock) {
		/* struct flock: type, whence, start, length */
		struct { u16 type, whence; u32 pad; s64 start, length; } lock = {};
		bpf_probe_read_user(&lock, sizeof(lock), (void *)ARG(lock));
		if (lock.whence == 1)
			lock.start += GET(file, struct file, f_pos);
		else if (lock.whence == 2) {
			struct inode *inode = GET(file, struct file, f_inode);
			lock.start += GET(inode, struct inode, i_size);
		}
		h->mode = lock.type, h->offset = lock.start, h->size = lock.length;
	} else if (shape == ON_FCNTL) /* no other command's argument is kept, and most have none */
		h->mode = h->flags == F_SETFD || h->flags == F_SETFL ? h->mode & 0x7fffffff : 0;
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	goto done;
no_room:
	count_lost(spec->lost);
done:
	remember(t, task, now);
	return 0;
}

INLINE s64 copy_offset(u64 address, struct file *file, s64 result)
{
	s64 position = 0;
	if (address)
		bpf_probe_read_user(&position, sizeof(position), (void *)address);
	else if (file)
		position = GET(file, struct file, f_pos);
	return position - (result > 0 ? result : 0);
}

/* The record of a copy from one file to another; what of the two is not known has an inode of 0. */
INLINE struct event *begin_copy(struct thread *t, u32 op, struct task_struct *task, u64 now, s64 result, struct identity *from, struct identity *to)
{
	struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e)
		return 0;
	begin_header(&e->h, t, op, task, now, result);
	begin_extension(e);
	e->h.at = *from;
	e->other = *to;
	e->h.mode = 0, e->h.count = 0;
	return e;
}

#define NO_IDENTITY(id) __builtin_memset((id), 0, sizeof(*(id)))

SEC("tp_btf/sys_exit")
int leave_copy(u64 *ctx)
{
	struct identity from, to;
	BEGIN_TAIL;
	struct file *source = file_of(task, (s32)ARG(fd)), *target = file_of(task, (s32)ARG(fd2));
	int from_known = identify(source, &from), to_known = identify(target, &to);
	if (!from_known && !to_known)
		return 0;
	if (settings.tallies) {
		tally(t->process, from_known ? from.device : to.device, spec->op | (from_known ? 1 : 2) << 8, now - t->start_ns, ARG(size), result);
		if (to_known)
			count_written(t->process, to.device, spec->op, result);
		goto done;
	}
	if (!from_known)
		NO_IDENTITY(&from);
	if (!to_known)
		NO_IDENTITY(&to);
	struct event *e = begin_copy(t, spec->op, task, now, result, &from, &to);
	if (!e) {
		count_lost(spec->lost);
		goto done;
	}
	e->h.offset = from_known ? copy_offset(ARG(offset_at), source, result) : 0;
	e->other_offset = to_known ? copy_offset(ARG(offset2_at), target, result) : 0;
	e->h.size = ARG(size);
	e->h.flags = ARG(flags);
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
done:
	remember(t, task, now);
	return 0;
}

/* FICLONE and FICLONERANGE: blocks of one file that another gets too. Nothing is moved, and no position moves. */
SEC("tp_btf/sys_exit")
int leave_clone(u64 *ctx)
{
	struct identity from, to;
	BEGIN_TAIL;
	struct { s64 fd, offset, length, to; } range = { .fd = (s32)ARG(fd) };
	u32 op = spec->op;
	if ((u32)ARG(flags) == FICLONERANGE) {
		op = spec->op_range;
		bpf_probe_read_user(&range, sizeof(range), (void *)ARG(range));
	}
	struct file *source = file_of(task, (s32)range.fd);
	int from_known = identify(source, &from), to_known = identify(file_of(task, (s32)ARG(fd2)), &to);
	if (!from_known && !to_known)
		return 0;
	if (settings.tallies) {
		tally(t->process, to_known ? to.device : from.device, op, now - t->start_ns, 0, result);
		goto done;
	}
	if (from_known && !range.length) {
		/* up to the source's end */
		struct inode *inode = GET(source, struct file, f_inode);
		range.length = GET(inode, struct inode, i_size) - range.offset;
	}
	if (!from_known)
		NO_IDENTITY(&from);
	if (!to_known)
		NO_IDENTITY(&to);
	struct event *e = begin_copy(t, op, task, now, result, &from, &to);
	if (!e) {
		count_lost(spec->lost);
		goto done;
	}
	e->h.offset = range.offset;
	e->other_offset = range.to;
	e->h.size = range.length < 0 ? 0 : range.length;
	e->h.flags = 0;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
done:
	remember(t, task, now);
	return 0;
}

/* Calls on names, the record with texts behind it: a program for each of four kinds, that the verifier has few ways to look
 * at in each. All begin and end alike. */

/* The first name and the folder that it starts from; its length with the NUL, -1 when the call is not one to record. */
INLINE s32 first_name(struct task_struct *task, struct thread *t, const volatile struct spec *spec, u64 a[8], struct scratch *s, u64 now, s64 result)
{
	struct event *e = &s->e;
	u32 length = 0;
	begin_header(&e->h, t, spec->op, task, now, result);
	begin_extension(e);
	__builtin_memset(&e->h.at, 0, sizeof(e->h.at));
	e->h.size = ARG(size);
	e->h.flags = ARG(flags);
	e->h.mode = ARG(mode);
	e->h.count = 0;
	s32 dirfd = spec->dirfd ? (s32)ARG(dirfd) : AT_FDCWD;
	long n = ARG(path) ? bpf_probe_read_user_str(s->text, PATH_MAX, (void *)ARG(path)) : 0;
	if (n > 0)
		length = (u32)n & (2 * PATH_MAX - 1);
	if (length > PATH_MAX)
		length = PATH_MAX;
	char first = length ? s->text[0] : 0;
	if (spec->fd || (length <= 1 && spec->dirfd && spec->shape != ON_OPEN)) {
		/* no name, or an empty one: the call is about a descriptor itself */
		struct file *file = file_of(task, spec->fd ? (s32)ARG(fd) : dirfd);
		if (!identify(file, &e->h.at))
			return -1;
	} else if (first != '/' && spec->quirk == LEAVES_FOLDER)
		e->base = t->held;
	else if (first != '/')
		find_base(task, t, dirfd, &e->base);
	return length;
}

INLINE int end_names(struct task_struct *task, struct thread *t, const volatile struct spec *spec, struct scratch *s, u64 now, u32 length1, u32 length2)
{
	struct event *e = &s->e;
	if (settings.tallies) {
		u32 device = e->h.at.device ? e->h.at.device : e->base.device;
		if (!settings.devices[0] || (device && is_wanted_device(device)))
			tally(t->process, device, spec->op, now - t->start_ns, 0, e->h.result);
	} else {
		e->h.length1 = length1;
		e->h.length2 = length2;
		u32 total = sizeof(*e) + length1 + length2;
		if (total > sizeof(*s))
			return 0;
		if (bpf_ringbuf_output(&ring, s, total, BPF_RB_NO_WAKEUP))
			count_lost(spec->lost);
	}
	remember(t, task, now);
	return 0;
}

#define BEGIN_NAMES                                                                                                            \
	BEGIN_TAIL;                                                                                                            \
	struct scratch *s = scratch_of(0);                                                                                     \
	if (!s)                                                                                                                \
		return 0;                                                                                                      \
	s32 length1 = first_name(task, t, spec, a, s, now, result);                                                            \
	if (length1 < 0)                                                                                                       \
		return 0

SEC("tp_btf/sys_exit")
int leave_open(u64 *ctx)
{
	BEGIN_NAMES;
	struct event *e = &s->e;
	if (spec->how) {
		struct { u64 flags, mode, resolve; } how = {};
		bpf_probe_read_user(&how, sizeof(how), (void *)ARG(how));
		e->h.flags = how.flags, e->h.mode = how.mode;
		if (how.resolve & RESOLVE_IN_ROOT && length1 > 1 && s->text[0] == '/') {
			/* the folder is the name's root: from there the name is a relative one */
			find_base(task, t, (s32)ARG(dirfd), &e->base);
			long n = length1 > 2 ? bpf_probe_read_user_str(s->text, PATH_MAX, (void *)ARG(path) + 1) : 0;
			if (n > 1)
				length1 = (u32)n & (2 * PATH_MAX - 1);
			else
				s->text[0] = '.', s->text[1] = 0, length1 = 2;
			if (length1 > PATH_MAX)
				length1 = PATH_MAX;
		}
	}
	if (result >= 0) {
		struct file *file = file_of(task, (s32)result);
		if (!identify(file, &e->h.at))
			return 0;
		report_open_file(file, &e->h.at, (u32)e->h.flags | 0x80000000);
		e->h.result = 0;
	}
	return end_names(task, t, spec, s, now, length1, 0);
}

SEC("tp_btf/sys_exit")
int leave_stat(u64 *ctx)
{
	BEGIN_NAMES;
	struct status found = {};
	struct event *e = &s->e;
	if (!e->h.at.file) {
		if (!read_status(spec, s, a, result, &found))
			return 0;
		e->st_mode = found.mode, e->st_size = found.size, e->st_blocks = found.blocks;
		e->h.at.inode = found.inode, e->h.at.device = found.device;
	}
	return end_names(task, t, spec, s, now, length1, 0);
}

/* Whether the first name is /proc/self/fd/N, and which file that is. */
INLINE int is_own_descriptor(struct task_struct *task, struct scratch *s, struct identity *id)
{
	static const char prefix[] = "/proc/self/fd/";
	for (u32 i = 0; i < sizeof(prefix) - 1; i++)
		if (s->text[i] != prefix[i])
			return 0;
	u32 fd = 0, digits = 0;
	for (u32 i = 0; i < 7; i++) {
		u8 letter = s->text[sizeof(prefix) - 1 + i];
		if (letter < '0' || letter > '9') {
			if (letter || !digits)
				return 0;
			break;
		}
		fd = fd * 10 + letter - '0';
		digits++;
	}
	if (identify(file_of(task, fd), id))
		return 1;
	__builtin_memset(id, 0, sizeof(*id));
	return 0;
}

/* rename, link and symlink; the calls on extended attributes, whose name stands in the place of a second path. */
SEC("tp_btf/sys_exit")
int leave_two_names(u64 *ctx)
{
	BEGIN_NAMES;
	u32 length2 = 0;
	if (spec->quirk == NAMES_A_FILE && is_own_descriptor(task, s, &s->e.h.at)) {
		/* how a file of O_TMPFILE gets its name; the same call by its descriptor says which file it is */
		s->e.h.flags |= AT_EMPTY_PATH;
		s->text[0] = 0;
		length1 = 1;
	}
	if (spec->renames && !result)
		__sync_fetch_and_add(&renames, 1);
	long n = bpf_probe_read_user_str(s->text + length1, PATH_MAX, (void *)ARG(path2));
	if (n > 0)
		length2 = (u32)n & (2 * PATH_MAX - 1);
	if (length2 > PATH_MAX)
		length2 = PATH_MAX;
	if (spec->dirfd2 || spec->quirk == SECOND_HAS_BASE)
		find_base(task, t, spec->dirfd2 ? (s32)ARG(dirfd2) : AT_FDCWD, &s->e.base2);
	return end_names(task, t, spec, s, now, length1, length2);
}

/* The others: one name, and for readlink the text that it found. */
SEC("tp_btf/sys_exit")
int leave_path(u64 *ctx)
{
	BEGIN_NAMES;
	u32 length2 = 0;
	if (spec->text) {
		u32 wanted = result > 0 ? (u32)result & (2 * PATH_MAX - 1) : 0;
		if (wanted > PATH_MAX)
			wanted = PATH_MAX;
		if (wanted && !bpf_probe_read_user(s->text + length1, wanted, (void *)ARG(text)))
			length2 = wanted;
	}
	return end_names(task, t, spec, s, now, length1, length2);
}

/* fork, exec, wait and the like: no file, no name. */
SEC("tp_btf/sys_exit")
int leave_bare(u64 *ctx)
{
	BEGIN_TAIL;
	struct header *h = bpf_ringbuf_reserve(&ring, sizeof(*h), 0);
	if (h) {
		begin_header(h, t, spec->op, task, now, result);
		__builtin_memset(&h->at, 0, sizeof(h->at));
		h->size = 0, h->count = 0;
		h->flags = ARG(flags);
		h->mode = ARG(mode);
		bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	} else
		count_lost(spec->lost);
	remember(t, task, now);
	return 0;
}

/* The end of io_submit, which may have taken fewer than it was given, and of io_getevents. */
SEC("tp_btf/sys_exit")
int leave_reap(u64 *ctx)
{
	BEGIN_TAIL;
	struct batch b = { .now = now };
	if (spec->shape == ON_SUBMIT) {
		b.pointers = a[3];
		b.first = result > 0 ? result : 0;
		if ((s64)a[2] > (s64)b.first)
			EACH(withdraw_each, &b, a[2] - b.first);
	} else if (result > 0) {
		b.pointers = a[4];
		EACH(reap_each, &b, result);
	}
	remember(t, task, now);
	return 0;
}
