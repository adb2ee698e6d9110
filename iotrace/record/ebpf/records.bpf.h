/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the recorder writes into its ring, what it is told before load, and its maps. The user-space side
 * (kernels/records.py, specs.py) has the same layouts; tests compare them. */
#pragma once
#include "kernel.bpf.h"

#define PATH_MAX 4096
#define NAME_MAX 256
#define S_IFMT 0170000
#define S_IFDIR 0040000
#define S_IFREG 0100000
#define S_IFLNK 0120000
#define AT_FDCWD -100
#define MAP_ANONYMOUS 0x20
#define F_SETFD 2
#define F_SETFL 4
#define RESOLVE_IN_ROOT 0x10
#define FICLONE 0x40049409
#define FICLONERANGE 0x4020940d
#define PF_EXITING 0x4
#define PF_KTHREAD 0x00200000
#define EBUSY 16

enum shape { NONE, ON_FD, ON_CLOSE, ON_COPY, ON_PATH, ON_OPEN, ON_STAT, ON_TWO_NAMES, ON_MEMORY, ON_MAP, ON_FORK, ON_EXEC, ON_WAIT, ON_FCNTL, ON_BARE, ON_SUBMIT, ON_REAP, ON_ENTER_RING, ON_IOCTL };
/* What a call needs beyond its roles: dup2 closes another file; the second name of rename and link starts from the working
 * folder too; chdir's name starts from the working folder that it leaves; linkat may name what a descriptor is. */
enum quirk { DUP_CLOSES = 1, SECOND_HAS_BASE, LEAVES_FOLDER, NAMES_A_FILE };
enum record_kind { EVENT = 1, LONG_EVENT, FILE_SEEN, TASK, EXEC, FAULT, FAULT_AROUND, FAULT_END, FAULT_AT, OPEN_FOUND, SUBMIT, COMPLETE, BRIEF_STAT };

/* One system call: its operation number, and 1 + the position of the argument with each role (0: none). */
struct spec {
	u8 op, shape, fd, fd2, dirfd, dirfd2, path, path2;
	u8 size, offset, offset_at, offset2_at, flags, mode, address, iovec;
	u8 count, stat, statx, how, lock, text, positional, op_dup;
	u8 op_lock, lost, quirk, renames, moves, brief, range, op_range;
};
const volatile struct spec specs[512] SEC(".rodata.specs");

/* An operation that io_uring or libaio carries out later: its number, what its request holds, where a loss is counted. */
enum form { NO_FORM, RW, VECTORED, SYNC, RANGE, OPENS, CLOSES, STATS, ADVISES, SPLICES, RENAMES, REMOVES, MAKES, CUTS };
struct later { u8 op, form, lost, moves; };
const volatile struct later uring_ops[64] SEC(".rodata.uring_ops");
const volatile struct later aio_ops[16] SEC(".rodata.aio_ops");

#define DEVICES 16
enum whom { TREE, CGROUP, CRYOSPARC };
const volatile struct settings {
	u64 cgroup;
	u32 devices[DEVICES]; /* only files on these; none: all */
	u32 all_files, find_vma, loops, whom, tallies, hierarchy, self;
	u32 exit_op, exit_lost, fault_lost, faults_by_address, fault_op;
} settings SEC(".rodata.settings");

struct identity { u64 file, inode; u32 device, generation; };

/* What every record begins with, and all that there is for a call on one descriptor. Lengths are those of the texts
 * behind a long record. */
struct header {
	u64 start_ns, duration_ns, off_cpu_ns;
	u32 tid, tgid;
	u16 kind, op, length1, length2;
	struct identity at;
	s64 offset, size, result;
	u64 flags;
	u64 address;
	u32 mode, count;
};
struct event {
	struct header h;
	struct identity other, base, base2;
	s64 other_offset;
	u64 st_size, st_blocks;
	u32 st_mode, pages;
};
/* What most calls fit into, half as long: one line of the processor's cache with the ring's own header. It is known by its
 * length. The result is 0, or the size, or the offset; `what` holds the operation and above it which. */
struct brief {
	u64 start_ns;
	u32 duration_ns, off_cpu_ns;
	union {
		u64 file;
		struct { u16 below[3], what; }; /* in the place of bits that every kernel address has set */
	};
	u64 inode;
	u32 device, generation;
	s64 offset;
	u32 tid, size;
};
enum { RESULT_ZERO, RESULT_SIZE, RESULT_OFFSET };
/* What most calls of stat's kind fit into, a third as long as an event: the name follows, and ends the record. `op` and
 * `kind` lie where they do in a header. A mode of 0: nothing was found, and the size is the result. `mask`: what statx was asked
 * for. */
struct brief_stat {
	u64 start_ns;
	u32 duration_ns, off_cpu_ns;
	u64 base_file, base_inode;
	u16 kind, op, flags, mode;
	u32 base_device, base_generation;
	u64 inode;
	u32 device, tid;
	u64 size;
	u32 blocks;
	u16 length, mask;
};
struct scratch {
	union {
		struct { struct event e; char text[2 * PATH_MAX + NAME_MAX]; };
		struct { struct brief_stat stat; char stat_text[PATH_MAX]; };
	};
	u64 status[32]; /* struct stat or statx, half of what the stack holds */
};

struct thread {
	u64 start_ns, off_cpu_ns;
	/* at the end of the previous event: time, and the scheduler's account of the thread */
	u64 last_ns, last_sum, last_exec;
	struct identity held; /* what close and munmap act on is gone when they end */
	u32 last_cpu;
	s32 call; /* number of the call under way, or one of: */
#define IDLE -1
#define NOT_BEGUN -2 /* waits to execute the command: nothing counts yet */
#define MUTED -3     /* adopted; nothing counts until its open files have been looked at */
	u32 base_seen; /* stands for the working folder that was last reported, and for `renames` then */
	u32 held_valid;
	u32 process; /* number of the process, for tallies: never used again, unlike a pid */
	u32 batch;   /* submissions to io_uring and libaio so far */
	u32 tid, unused;
	/* the folder that the last relative name started from by its descriptor, and when it was reported */
	struct identity folder;
	u32 folder_renames, folder_chapter;
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 26); } ring SEC(".maps");
/* files reported so far: how many renames there had been, and in which chapter of the trace */
struct sighting { u32 renames, chapter; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 1 << 16); __type(key, struct identity); __type(value, struct sighting); } seen SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 2); __type(key, u32); __type(value, struct scratch); } scratches SEC(".maps");
/* operations that found no room, by kind of operation; then threads that found none, and tallies */
#define LOST_SLOTS 16
#define LOST_TALLIES 14
#define LOST_THREADS 15
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, LOST_SLOTS); __type(key, u32); __type(value, u64); } lost SEC(".maps");

/* renames so far: after each, a folder may lie elsewhere than when it was reported */
u32 renames;
/* counted up by the user-space side when it forgets all files: each is then reported anew */
u32 chapter SEC(".data.chapter");

INLINE void count_lost(u32 slot)
{
	u64 *count = bpf_map_lookup_elem(&lost, &slot);
	if (count)
		*count += 1;
}

INLINE struct scratch *scratch_of(u32 slot) { return bpf_map_lookup_elem(&scratches, &slot); }

INLINE void load_arguments(struct pt_regs *regs, u64 a[8])
{
	a[0] = 0;
#if defined(IOTRACE_X86_64)
	a[1] = regs->di, a[2] = regs->si, a[3] = regs->dx, a[4] = regs->r10, a[5] = regs->r8, a[6] = regs->r9;
#elif defined(IOTRACE_AARCH64)
	a[1] = regs->orig_x0, a[2] = regs->regs[1], a[3] = regs->regs[2], a[4] = regs->regs[3], a[5] = regs->regs[4], a[6] = regs->regs[5];
#endif
	a[7] = 0;
}
#define ARG(role) a[spec->role & 7]

/* Time since the previous event in which the thread did not run: nearly always none, so that it costs a trace next to
 * nothing. CPU time is what the scheduler has booked, corrected by the time since it last booked; its clock has another
 * origin on another processor, hence the plain difference after a migration. */
INLINE u64 off_cpu_since(struct thread *t, struct task_struct *task, u64 now)
{
	if (!t->last_ns)
		return 0;
	s64 wall = now - t->last_ns;
	s64 cpu = task->se.sum_exec_runtime - t->last_sum;
	if (bpf_get_smp_processor_id() == t->last_cpu)
		cpu += wall - (s64)(task->se.exec_start - t->last_exec);
	return cpu > wall ? 0 : cpu < 0 ? wall : wall - cpu;
}

INLINE void remember(struct thread *t, struct task_struct *task, u64 now)
{
	t->last_ns = now;
	t->last_sum = task->se.sum_exec_runtime;
	t->last_exec = task->se.exec_start;
	t->last_cpu = bpf_get_smp_processor_id();
}

INLINE void begin_header(struct header *h, struct thread *t, u32 op, struct task_struct *task, u64 now, s64 result)
{
	h->start_ns = t->start_ns;
	h->duration_ns = now - t->start_ns;
	h->off_cpu_ns = t->off_cpu_ns;
	h->tid = task->pid;
	h->tgid = task->tgid;
	h->kind = EVENT;
	h->op = op;
	h->length1 = 0, h->length2 = 0;
	h->result = result;
	h->offset = 0, h->address = 0;
}

INLINE void begin_extension(struct event *e)
{
	e->h.kind = LONG_EVENT;
	__builtin_memset(&e->other, 0, sizeof(*e) - __builtin_offsetof(struct event, other));
}
