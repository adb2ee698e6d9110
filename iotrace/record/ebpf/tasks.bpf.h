/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Whom the recorder follows: each followed thread has a slot, found by its number in two plain array look-ups, so that the
 * question costs an unrelated process a few nanoseconds. A fork hands the mark on in the kernel; running processes, members
 * of a control group and CryoSPARC's workers are adopted. */
#pragma once
#include "files.bpf.h"

#define THREADS 65536
#define PER_BLOCK 64
struct block { u16 slot[PER_BLOCK]; };
/* thread number → slot (0: not followed); sized for the machine's pid_max before load */
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 65536); __type(key, u32); __type(value, struct block); } slots SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, THREADS); __type(key, u32); __type(value, struct thread); } threads SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK); __uint(max_entries, THREADS); __uint(value_size, 4); } free_slots SEC(".maps");
/* processes to adopt with all that descend from them; 2: has not begun, waits to execute the command */
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4096); __type(key, u32); __type(value, u32); } wanted SEC(".maps");
/* threads that are being adopted: two processors may come upon the same one */
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1024); __type(key, u32); __type(value, u32); } adopting SEC(".maps");

u32 slots_used;
u32 processes_begun;

INLINE u16 *slot_of(u32 tid)
{
	u32 number = tid / PER_BLOCK;
	struct block *block = bpf_map_lookup_elem(&slots, &number);
	return block ? &block->slot[tid % PER_BLOCK] : 0;
}

/* The thread's entry, 0 when it is not followed. Each instruction counts here: this runs at every call of every process. */
INLINE struct thread *thread_of_tid(u32 tid)
{
	u16 *slot = slot_of(tid);
	if (!slot)
		return 0;
	u32 number = *slot;
	if (!number)
		return 0;
	return bpf_map_lookup_elem(&threads, &number);
}

INLINE struct thread *thread_of(struct task_struct *task) { return thread_of_tid(task->pid); }

/* Gives a thread a slot; 0 when all are taken, which is counted. */
INLINE struct thread *follow(struct task_struct *task, s32 call)
{
	u32 tid = task->pid, number = 0;
	u16 *slot = slot_of(tid);
	if (!slot)
		goto no_room;
	if (bpf_map_pop_elem(&free_slots, &number)) {
		number = __sync_fetch_and_add(&slots_used, 1) + 1;
		if (number >= THREADS) {
			__sync_fetch_and_add(&slots_used, -1);
			goto no_room;
		}
	}
	struct thread *t = bpf_map_lookup_elem(&threads, &number);
	if (!t)
		goto no_room;
	__builtin_memset(t, 0, sizeof(*t));
	t->call = call;
	t->tid = tid;
	t->last_ns = bpf_ktime_get_ns();
	t->last_sum = task->se.sum_exec_runtime;
	t->last_cpu = -1;
	*slot = number;
	return t;
no_room:
	count_lost(LOST_THREADS);
	return 0;
}

INLINE void unfollow(u32 tid)
{
	u16 *slot = slot_of(tid);
	if (!slot || !*slot)
		return;
	u32 number = *slot;
	*slot = 0;
	bpf_map_push_elem(&free_slots, &number, BPF_ANY);
}

/* Tells the user-space side of a thread that is followed from here on. `adopted`: it ran before. */
INLINE void report_task(struct task_struct *task, struct task_struct *parent, struct thread *t, u64 start_ns, u64 flags, u32 adopted)
{
	struct identity base = {};
	struct fs_struct *fs = task->fs;
	u64 state = fs ? identify_folder(GET(fs->pwd.dentry, struct dentry, d_inode), &base) : 0;
	if (state)
		report_path(&fs->pwd, &base, state);
	struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e) {
		count_lost(LOST_THREADS);
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->h.kind = TASK;
	e->h.start_ns = start_ns;
	e->h.tid = task->pid, e->h.tgid = task->tgid;
	e->h.offset = parent->pid, e->h.size = parent->tgid;
	e->h.flags = flags;
	e->h.mode = fs ? fs->umask : 0;
	e->h.result = adopted;
	e->h.count = t->process;
	e->base = base;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

#define ADOPTED 1
#define NEEDS_A_LOOK 2 /* its open files and other threads are to be looked for */

/* 0 when it is followed already, or another processor adopts it. */
INLINE struct thread *adopt_task(struct task_struct *task, s32 call, u32 how)
{
	u32 tid = task->pid;
	if (bpf_map_update_elem(&adopting, &tid, &how, BPF_NOEXIST))
		return 0;
	struct thread *t = thread_of_tid(tid) ? 0 : follow(task, call);
	bpf_map_delete_elem(&adopting, &tid);
	if (!t)
		return 0;
	struct thread *leader = thread_of_tid(task->tgid);
	t->process = task->pid != task->tgid && leader ? leader->process : __sync_fetch_and_add(&processes_begun, 1) + 1;
	/* the process of a command has waited since before the recorder was loaded: that is none of the command's time */
	u64 start_ns = task->start_time;
	if (call == NOT_BEGUN)
		start_ns = bpf_ktime_get_ns();
	report_task(task, task->real_parent, t, start_ns, task->pid != task->tgid ? 0x10f00 : 0, how);
	return t;
}

INLINE void report_open(struct file *file, struct identity *id, u32 tid, u32 tgid)
{
	report_path((void *)file + OFFSET_OF(struct file, f_path), id, 0); /* whoever made it did so before */
	if (settings.tallies)
		return;
	struct header *h = bpf_ringbuf_reserve(&ring, sizeof(*h), 0);
	if (!h) {
		count_lost(LOST_THREADS);
		return;
	}
	__builtin_memset(h, 0, sizeof(*h));
	h->kind = OPEN_FOUND;
	h->start_ns = bpf_ktime_get_ns();
	h->tid = tid, h->tgid = tgid;
	h->at = *id;
	h->offset = GET(file, struct file, f_pos);
	h->flags = GET(file, struct file, f_flags);
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
}

static long report_descriptor(u32 fd, u32 *adopted)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = file_of(task, fd);
	struct identity id;
	if (fd >= task->files->fdt->max_fds)
		return 1;
	if (identify(file, &id))
		report_open(file, &id, *adopted, *adopted);
	return 0;
}

/* Reports what the running process has open, at once: what it closes before user space looks would have no name. That of the
 * process adopted: it is this one, or has just been forked by it. */
#define DESCRIPTORS 1024
INLINE void report_descriptors(struct task_struct *adopted)
{
	u32 number = adopted->tgid;
	if (settings.loops)
		bpf_loop(DESCRIPTORS, report_descriptor, &number, 0);
}

/* Whether a control group is the one to follow, or lies in it. Numbers of groups are unique within a hierarchy only. */
INLINE int is_in_cgroup(struct cgroup *group)
{
	struct cgroup_root *root = GET(group, struct cgroup, root);
	if (!root || GET(root, struct cgroup_root, hierarchy_id) != settings.hierarchy)
		return 0;
	for (int i = 0; i < 32 && group; i++) {
		struct kernfs_node *node = GET(group, struct cgroup, kn);
		if (node && GET(node, struct kernfs_node, id) == settings.cgroup)
			return 1;
		struct cgroup_subsys_state *above = pointer_at((void *)group + OFFSET_OF(struct cgroup, self) + OFFSET_OF(struct cgroup_subsys_state, parent));
		if (!above)
			return 0;
		group = GET(above, struct cgroup_subsys_state, cgroup);
	}
	return 0;
}

/* Whether a process is the recorder or descends from it. */
INLINE int is_own(struct task_struct *task)
{
	for (int i = 0; i < 8; i++) {
		u32 tgid = task->tgid;
		if (tgid == settings.self)
			return 1;
		if (tgid <= 1)
			return 0;
		task = task->real_parent;
	}
	return 0;
}

/* Adopts a member of the control group that forks before it was come upon: its child has a parent in the trace. Its process's
 * first thread comes before it, since that one numbers the process. */
INLINE struct thread *adopt_forking(struct task_struct *parent)
{
	if (!is_in_cgroup(parent->cgroups->dfl_cgrp))
		return 0;
	struct task_struct *first = parent->group_leader;
	if (first->pid != parent->pid && !(first->flags & PF_EXITING) && !thread_of(first))
		adopt_task(first, IDLE, ADOPTED | NEEDS_A_LOOK);
	struct thread *t = adopt_task(parent, IDLE, ADOPTED | NEEDS_A_LOOK);
	if (!t)
		return thread_of(parent);
	report_descriptors(parent);
	return t;
}

/* A new thread or process inherits the mark before it runs. */
SEC("tp_btf/sched_process_fork")
int fork(u64 *ctx)
{
	struct task_struct *parent = (void *)ctx[0], *child = (void *)ctx[1];
	struct thread *above = thread_of(parent);
	if (!above) {
		if (settings.whom != CGROUP || !is_in_cgroup(child->cgroups->dfl_cgrp) || is_own(parent))
			return 0;
		above = adopt_forking(parent);
	}
	if (!above) {
		/* made right into the group from outside */
		if (adopt_task(child, IDLE, ADOPTED | NEEDS_A_LOOK))
			report_descriptors(child);
		return 0;
	}
	u32 process = above->process;
	struct thread *t = follow(child, IDLE);
	if (!t)
		return 0;
	t->process = child->tgid == parent->tgid ? process : __sync_fetch_and_add(&processes_begun, 1) + 1;
	u64 flags = (child->tgid == parent->tgid ? 0x10000 : 0) | (child->files == parent->files ? 0x400 : 0) |
		    (child->fs == parent->fs ? 0x200 : 0) | (child->mm == parent->mm ? 0x100 : 0);
	report_task(child, parent, t, t->last_ns, flags, 0);
	return 0;
}

SEC("tp_btf/cgroup_attach_task")
int attach_to_cgroup(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[2];
	if (settings.whom != CGROUP || thread_of(task) || !is_in_cgroup((void *)ctx[0]))
		return 0;
	adopt_task(task, IDLE, ADOPTED | NEEDS_A_LOOK);
	u32 tgid = task->tgid, yes = 1;
	if (tgid == bpf_get_current_task_btf()->tgid)
		report_descriptors(task);
	bpf_map_update_elem(&wanted, &tgid, &yes, BPF_ANY);
	return 0;
}

/* Visits every thread of the machine, and adopts the wanted processes and what descends from them. */
SEC("iter/task")
int adopt(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	/* what is ending, or has ended and waits for its parent, would never tell its end */
	if (!task || task->flags & (PF_KTHREAD | PF_EXITING) || task->tgid == settings.self || thread_of(task))
		return 0;
	struct task_struct *above = task;
	for (int i = 0; i < 64; i++) {
		u32 tgid = above->tgid;
		if (i && tgid == settings.self)
			return 0; /* it works for the recorder: reads labels, or counters beside the recording */
		u32 *how = bpf_map_lookup_elem(&wanted, &tgid);
		if (how) {
			adopt_task(task, *how == 2 && above == task ? NOT_BEGUN : MUTED, ADOPTED);
			return 0;
		}
		if (tgid <= 1)
			return 0;
		above = above->real_parent;
	}
	return 0;
}

/* Visits every thread of the machine, and lets those that were adopted count from here on. */
SEC("iter/task")
int begin(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct thread *t = task ? thread_of(task) : 0;
	if (!t || t->call != MUTED)
		return 0;
	t->last_ns = bpf_ktime_get_ns();
	t->last_sum = task->se.sum_exec_runtime;
	t->last_cpu = -1;
	t->call = IDLE;
	return 0;
}

/* Visits every open file of the machine, and reports those of followed processes. */
SEC("iter/task_file")
int find_open_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct identity id;
	if (!task || !file)
		return 0;
	struct thread *t = thread_of(task);
	if (!t || !identify(file, &id))
		return 0;
	u32 fd = ctx->fd;
	if (t->call == NOT_BEGUN) {
		/* what is closed when the command executes is the launcher's own */
		unsigned long word = 0;
		bpf_probe_read_kernel(&word, sizeof(word), task->files->fdt->close_on_exec + fd / 64);
		if (word >> (fd % 64) & 1)
			return 0;
	}
	report_open(file, &id, task->pid, task->tgid);
	return 0;
}

/* Visits every mapping of the machine, and reports the files that followed processes have mapped. */
SEC("iter/task_vma")
int find_mapped_files(struct bpf_iter__task_vma *ctx)
{
	struct task_struct *task = ctx->task;
	struct vm_area_struct *vma = ctx->vma;
	struct identity id;
	if (!task || !vma)
		return 0;
	struct thread *t = thread_of(task);
	if (!t || t->call == NOT_BEGUN || !identify(vma->vm_file, &id))
		return 0;
	report_path((void *)vma->vm_file + OFFSET_OF(struct file, f_path), &id, 0);
	return 0;
}

static long report_vma(struct task_struct *task, struct vm_area_struct *vma, void *unused)
{
	struct identity id;
	struct file *file = 0;
	bpf_probe_read_kernel(&file, sizeof(file), &vma->vm_file);
	if (identify(file, &id))
		report_open_file(file, &id, 0);
	return 0;
}

/* Whether a command line is that of a CryoSPARC worker, `cryosparcw run --project P1 --job J6 …`: eight letters of each of
 * two words are looked for. */
struct search { u64 window; u32 found, length; };

static long search_at(u32 i, struct search *search)
{
	struct scratch *s = scratch_of(0);
	if (!s || i >= search->length || i >= PATH_MAX)
		return 1;
	u64 window = search->window >> 8 | (u64)(u8)s->text[i] << 56;
	search->window = window;
	search->found |= window == 0x726170736f797263ULL /* "cryospar" */ ? 1 : window == 0x63656a6f72702d2dULL /* "--projec" */ ? 2 : 0;
	return search->found == 3;
}

#define SEARCHED 1024
#define SEARCHED_WITHOUT_LOOP 256

INLINE int is_cryosparc(u32 length)
{
	struct search search = { .length = length };
	if (settings.loops)
		bpf_loop(SEARCHED, search_at, &search, 0);
	else
		for (u32 i = 0; i < SEARCHED_WITHOUT_LOOP; i++)
			if (search_at(i, &search))
				break;
	return search.found == 3;
}

INLINE u32 read_command_line(struct task_struct *task, char *text)
{
	u64 begin = task->mm->arg_start, wanted = task->mm->arg_end - begin;
	if (wanted > PATH_MAX - 1)
		wanted = PATH_MAX - 1;
	if (wanted && !bpf_probe_read_user(text, (u32)wanted & (PATH_MAX - 1), (void *)begin))
		return wanted & (PATH_MAX - 1);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int exec(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	u32 old_tid = (u32)ctx[1], tid = task->pid;
	struct linux_binprm *program = (void *)ctx[2];
	struct thread *t = thread_of_tid(old_tid);
	struct scratch *s = scratch_of(0);
	if (!s)
		return 0;
	if (!t) {
		if (settings.whom != CRYOSPARC || !is_cryosparc(read_command_line(task, s->text)))
			return 0;
		t = adopt_task(task, IDLE, ADOPTED | NEEDS_A_LOOK);
		if (!t)
			return 0;
		report_descriptors(task);
	}
	if (old_tid != tid) {
		/* a thread that is not the first takes the first one's number when it executes a program */
		u16 *from = slot_of(old_tid), *to = slot_of(tid);
		if (from && to) {
			*to = *from;
			*from = 0;
			t->tid = tid;
		}
	}
	struct event *e = &s->e;
	__builtin_memset(e, 0, sizeof(*e));
	e->h.kind = EXEC;
	e->h.start_ns = bpf_ktime_get_ns();
	e->h.tid = tid, e->h.tgid = task->tgid;
	e->h.offset = old_tid;
	e->h.mode = task->fs->umask;
	u64 state = identify_folder(GET(task->fs->pwd.dentry, struct dentry, d_inode), &e->base);
	if (state)
		report_path(&task->fs->pwd, &e->base, state);
	/* the program and its interpreter are mapped without an open */
	struct file *executable = 0;
	struct identity id;
	bpf_probe_read_kernel(&executable, sizeof(executable), &task->mm->exe_file);
	if (identify(executable, &id))
		report_open_file(executable, &id, 0);
	if (settings.find_vma) {
		struct pt_regs *regs = bpf_task_pt_regs(task);
		u64 unused = 0;
		bpf_find_vma(task, regs->INSTRUCTION, report_vma, &unused, 0);
	}
	u32 length1 = 0, length2;
	long n = bpf_probe_read_kernel_str(s->text, PATH_MAX, program->filename);
	if (n > 0)
		length1 = (u32)n & (2 * PATH_MAX - 1);
	if (length1 > PATH_MAX)
		length1 = PATH_MAX;
	length2 = read_command_line(task, s->text + length1);
	e->h.length1 = length1, e->h.length2 = length2;
	u32 total = sizeof(*e) + length1 + length2;
	if (total > sizeof(*s))
		return 0;
	if (bpf_ringbuf_output(&ring, s, total, BPF_RB_NO_WAKEUP))
		count_lost(LOST_THREADS);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int quit(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	struct thread *t = thread_of(task);
	if (!t)
		return 0;
	u64 now = bpf_ktime_get_ns();
	struct header *h = bpf_ringbuf_reserve(&ring, sizeof(*h), 0);
	if (h) {
		__builtin_memset(h, 0, sizeof(*h));
		h->kind = EVENT;
		h->op = settings.exit_op;
		h->start_ns = now;
		h->off_cpu_ns = off_cpu_since(t, task, now);
		h->tid = task->pid, h->tgid = task->tgid;
		h->result = (task->exit_code & 0x7f) ? -(task->exit_code & 0x7f) : (task->exit_code >> 8) & 0xff;
		bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	} else
		count_lost(settings.exit_lost);
	unfollow(task->pid);
	return 0;
}
