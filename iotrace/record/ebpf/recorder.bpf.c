// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* Follows threads through their system calls and page faults and writes a record for each operation on a file into one ring.
 *
 * Which calls count, and which argument of each is what, stands in `specs`, filled from iotrace/trace/operations.py before
 * load. A record carries addresses of open files, inode identities and the names as given; the user-space side (drain.py)
 * turns them into numbers. Arguments are read at the exit of a call, when what they point to is resident. */
#include "kernel.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define PATH_MAX 4096
#define NAME_MAX 256
#define S_IFMT 0170000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFREG 0100000
#define S_IFLNK 0120000
#define AT_FDCWD -100
#define MAP_ANONYMOUS 0x20
#define FMODE_CREATED 0x100000
#define SB_KERNMOUNT (1 << 22)

enum shape { NONE, ON_FD, ON_CLOSE, ON_COPY, ON_PATH, ON_OPEN, ON_MEMORY, ON_MAP, ON_FORK, ON_EXEC, ON_WAIT, ON_FCNTL, ON_BARE };
/* What a call needs beyond its roles: dup2 closes another file; the second name of rename and link starts from the working
 * folder too; chdir's name starts from the working folder that it leaves. */
enum quirk { DUP_CLOSES = 1, SECOND_HAS_BASE, LEAVES_FOLDER };
enum record_kind { EVENT = 1, LONG_EVENT, FILE_SEEN, TASK, EXEC, FAULT, FAULT_AROUND, FAULT_END, FAULT_AT };

/* One system call: its operation number, and 1 + the position of the argument with each role (0: none). */
struct spec {
	u8 op, shape, fd, fd2, dirfd, dirfd2, path, path2;
	u8 size, offset, offset_at, offset2_at, flags, mode, address, iovec;
	u8 count, stat, statx, how, lock, text, positional, op_dup;
	u8 op_lock, lost, quirk, renames, unused[4];
};
const volatile struct spec specs[512] SEC(".rodata.specs");
const volatile struct { u32 all_files, find_vma, exit_op, exit_lost, fault_lost, faults_by_address, munmap_op; } settings SEC(".rodata.settings");

struct identity { u64 file, inode; u32 device, generation; };

/* What every record begins with, and all that there is for a call on one descriptor. Lengths are those of the texts
 * behind a long record. */
struct header {
	u64 start_ns, duration_ns, cpu_ns;
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
struct scratch { struct event e; char text[2 * PATH_MAX + NAME_MAX]; };

struct thread {
	u64 start_ns, cpu_ns;
	/* at the end of the previous event: time, and the scheduler's account of the thread */
	u64 last_ns, last_sum, last_exec;
	struct identity held; /* what close and munmap act on is gone when they end */
	u32 last_cpu;
	s32 call; /* number of the call under way, or one of: */
#define IDLE -1
#define NOT_BEGUN -2 /* waits to execute the command: nothing counts yet */
	u32 base_seen; /* stands for the working folder that was last reported, and for `renames` then */
	u32 held_valid;
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 26); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1 << 16); __type(key, u32); __type(value, struct thread); } threads SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 1 << 16); __type(key, struct identity); __type(value, u32); } seen SEC(".maps");
/* where files are mapped, for the moments when the kernel does not let us look (another thread changes its mappings) */
struct place { u64 space, address, process; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 1 << 14); __type(key, struct place); __type(value, struct identity); } mappings SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 2); __type(key, u32); __type(value, struct scratch); } scratches SEC(".maps");
/* operations that found no room, by kind of operation; the last slot counts threads that found no room */
#define LOST_SLOTS 16
#define LOST_THREADS 15
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, LOST_SLOTS); __type(key, u32); __type(value, u64); } lost SEC(".maps");

/* renames so far: after each, a folder may lie elsewhere than when it was reported */
u32 renames;

INLINE void count_lost(u32 slot)
{
	u64 *count = bpf_map_lookup_elem(&lost, &slot);
	if (count)
		*count += 1;
}

/* The thread's entry, 0 when it is not followed. Each helper call counts here: this runs at every call of every process. */
INLINE struct thread *thread_of(struct task_struct *task)
{
	u32 tid = task->pid;
	return bpf_map_lookup_elem(&threads, &tid);
}

INLINE struct scratch *scratch_of(u32 slot) { return bpf_map_lookup_elem(&scratches, &slot); }

INLINE struct file *file_of(struct task_struct *task, s32 fd)
{
	struct fdtable *table = task->files->fdt;
	struct file *file = 0;
	if (!table || (u32)fd >= table->max_fds)
		return 0;
	if (&bpf_rdonly_cast)
		/* any kernel structure that begins with a pointer turns the table's slot into a plain load */
		return (struct file *)((struct llist_node *)bpf_rdonly_cast(table->fd + (u32)fd, __builtin_btf_type_id(*(struct llist_node *)0, 1)))->next;
	bpf_probe_read_kernel(&file, sizeof(file), table->fd + (u32)fd);
	return file;
}

/* File systems that are windows into the kernel, not storage. */
INLINE int is_pseudo(unsigned long magic)
{
	switch (magic) {
	case 0x9fa0: case 0x62656572: case 0x27e0eb: case 0x63677270: case 0x64626720: case 0x74726163: case 0xcafe4a11:
	case 0x73636673: case 0x6165676c: case 0x6e736673: case 0x1cd1: case 0x19800202: case 0xde5e81e4: case 0x62656570:
		return 1;
	}
	return 0;
}

INLINE int is_wanted_mode(u32 mode)
{
	u32 type = mode & S_IFMT;
	return settings.all_files || type == S_IFREG || type == S_IFDIR || type == S_IFLNK;
}

/* Identity of an inode; 0 when it is not one that the recording is about. */
INLINE int identify_inode(struct inode *inode, struct identity *id)
{
	struct super_block *sb = GET(inode, struct inode, i_sb);
	if (!is_wanted_mode(GET(inode, struct inode, i_mode)))
		return 0;
	if (!settings.all_files && ((GET(sb, struct super_block, s_flags) & SB_KERNMOUNT) || is_pseudo(GET(sb, struct super_block, s_magic))))
		return 0;
	id->inode = GET(inode, struct inode, i_ino);
	id->device = GET(sb, struct super_block, s_dev);
	id->generation = GET(inode, struct inode, i_generation);
	return 1;
}

INLINE int identify(struct file *file, struct identity *id)
{
	struct inode *inode;
	id->file = 0, id->inode = 0, id->device = 0, id->generation = 0;
	if (!file || !(inode = GET(file, struct file, f_inode)))
		return 0;
	id->file = (u64)file;
	return identify_inode(inode, id);
}

/* Reports an inode at first sight: its size and state, and its path as the names of its parents, leaf first. A global
 * function of plain numbers, so that the verifier looks at it once and not at each call. `state` holds the open flags, and
 * above them whether this very call created the file, and whether a name starts from it: such a folder is reported again
 * when something was renamed meanwhile. */
#define CREATED (1ULL << 32)
#define IS_BASE (1ULL << 33)
__attribute__((noinline)) int report_file(u64 path_address, u64 inode_number, u32 device, u32 generation, u64 state)
{
	struct identity key = { .inode = inode_number, .device = device, .generation = generation };
	struct path *path = (void *)path_address;
	u32 now_at = renames;
	u32 *seen_at = bpf_map_lookup_elem(&seen, &key);
	if (seen_at && (!(state & IS_BASE) || *seen_at == now_at))
		return 0;
	struct scratch *s = scratch_of(1);
	if (!s)
		return 0;
	struct event *e = &s->e;
	struct dentry *dentry = GET(path, struct path, dentry);
	struct vfsmount *vfsmount = GET(path, struct path, mnt);
	struct inode *inode = GET(dentry, struct dentry, d_inode);
	struct mount *mount = (void *)vfsmount - OFFSET_OF(struct mount, mnt);
	struct dentry *root = GET(vfsmount, struct vfsmount, mnt_root);
	struct address_space *mapping = GET(inode, struct inode, i_mapping);
	/* kept in memory: a bound that the verifier forgets at each turn of the loop lets it see that the turns are alike */
	volatile u32 *length_at = &s->e.st_mode;
	u32 length;
	*length_at = 0;
	e->h.count = 0;
	for (int i = 0; i < 100; i++) {
		if (dentry == root) {
			struct mount *above = GET(mount, struct mount, mnt_parent);
			if (above == mount) {
				e->h.count = 1; /* the path is whole */
				break;
			}
			dentry = GET(mount, struct mount, mnt_mountpoint);
			mount = above;
			root = GET(((void *)mount + OFFSET_OF(struct mount, mnt)), struct vfsmount, mnt_root);
			continue;
		}
		struct dentry *parent = GET(dentry, struct dentry, d_parent);
		length = *length_at;
		if (parent == dentry || length > 2 * PATH_MAX - NAME_MAX)
			break;
		/* d_name is read by a helper: it may change under us */
		const u8 *name = 0;
		bpf_probe_read_kernel(&name, sizeof(name), &dentry->d_name.name);
		long n = bpf_probe_read_kernel_str(s->text + length, NAME_MAX, name);
		if (n <= 0)
			break;
		*length_at = length + (u32)n;
		dentry = parent;
	}
	length = *length_at;
	if (length > 2 * PATH_MAX)
		return 0;
	e->h.start_ns = bpf_ktime_get_ns();
	e->h.kind = FILE_SEEN;
	e->h.op = 0;
	e->h.tid = 0, e->h.tgid = 0;
	e->h.length1 = length;
	e->h.length2 = 0;
	e->h.at = key;
	e->h.mode = GET(inode, struct inode, i_mode);
	e->h.flags = state & 0xffffffff;
	e->h.result = !!(state & CREATED);
	e->st_size = GET(inode, struct inode, i_size);
	e->st_blocks = GET(inode, struct inode, i_blocks);
	e->pages = mapping ? GET(mapping, struct address_space, nrpages) : 0;
	if (bpf_ringbuf_output(&ring, s, sizeof(*e) + length, BPF_RB_NO_WAKEUP))
		return 0;
	bpf_map_update_elem(&seen, &key, &now_at, BPF_ANY);
	return 1;
}

INLINE void report_path(struct path *path, struct identity *id, u64 state)
{
	/* a global function takes no kernel pointers: read back, this one is a plain number */
	u64 address = 0;
	bpf_probe_read_kernel(&address, sizeof(address), &path);
	report_file(address, id->inode, id->device, id->generation, state);
}

INLINE void report_open_file(struct file *file, struct identity *id, u32 flags)
{
	u64 created = GET(file, struct file, f_mode) & FMODE_CREATED ? CREATED : 0;
	report_path((void *)file + OFFSET_OF(struct file, f_path), id, created | flags);
}

/* The folder that a relative name starts from. */
INLINE void find_base(struct task_struct *task, struct thread *t, s32 dirfd, struct identity *base)
{
	base->file = 0, base->inode = 0, base->device = 0, base->generation = 0;
	if (dirfd == AT_FDCWD) {
		struct fs_struct *fs = task->fs;
		struct dentry *dentry = fs->pwd.dentry;
		struct inode *inode = GET(dentry, struct dentry, d_inode);
		if (!identify_inode(inode, base))
			return;
		u32 mark = ((u32)base->inode * 31 + base->device) * 0x9E3779B1 + base->generation + renames * 40503;
		if (t->base_seen != mark) {
			report_path(&fs->pwd, base, IS_BASE);
			t->base_seen = mark;
		}
		return;
	}
	struct file *file = file_of(task, dirfd);
	if (identify(file, base))
		report_path((void *)file + OFFSET_OF(struct file, f_path), base, IS_BASE);
	else
		base->file = 0, base->inode = 0;
}

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

/* CPU time since the previous event: what the scheduler has booked, corrected by the time since it last booked. The
 * scheduler's clock has another origin on another processor, hence the plain difference after a migration. */
INLINE u64 cpu_since(struct thread *t, struct task_struct *task, u64 now)
{
	if (!t->last_ns)
		return 0;
	u64 wall = now - t->last_ns;
	s64 cpu = task->se.sum_exec_runtime - t->last_sum;
	if (bpf_get_smp_processor_id() == t->last_cpu)
		cpu += (s64)wall - (s64)(task->se.exec_start - t->last_exec);
	if (cpu < 0)
		return 0;
	return (u64)cpu > wall ? wall : (u64)cpu;
}

INLINE void remember(struct thread *t, struct task_struct *task, u64 now)
{
	t->last_ns = now;
	t->last_sum = task->se.sum_exec_runtime;
	t->last_exec = task->se.exec_start;
	t->last_cpu = bpf_get_smp_processor_id();
}

INLINE void begin_header(struct header *h, struct thread *t, const volatile struct spec *spec, struct task_struct *task, u64 now, s64 result)
{
	h->start_ns = t->start_ns;
	h->duration_ns = now - t->start_ns;
	h->cpu_ns = t->cpu_ns;
	h->tid = task->pid;
	h->tgid = task->tgid;
	h->kind = EVENT;
	h->op = spec->op;
	h->length1 = 0, h->length2 = 0;
	h->result = result;
	h->offset = 0, h->address = 0;
}

INLINE void begin_extension(struct event *e)
{
	e->h.kind = LONG_EVENT;
	__builtin_memset(&e->other, 0, sizeof(*e) - __builtin_offsetof(struct event, other));
}

INLINE s64 vector_bytes(u64 address, u64 count)
{
	struct { u64 base, length; } vector;
	s64 total = 0;
	for (u32 i = 0; i < 64; i++) {
		if (i >= count || bpf_probe_read_user(&vector, sizeof(vector), (void *)(address + i * sizeof(vector))))
			break;
		total += vector.length;
	}
	return total;
}

static long hold_vma(struct task_struct *task, struct vm_area_struct *vma, void *held)
{
	if (!identify(vma->vm_file, held))
		((struct identity *)held)->inode = 0;
	return 0;
}

SEC("tp_btf/sys_enter")
int enter(u64 *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *t = thread_of(task);
	if (!t)
		return 0;
	u32 number = (u32)ctx[1];
	const volatile struct spec *spec = &specs[number & 511];
	if (number > 511 || !spec->shape)
		return 0;
	struct pt_regs *regs = (void *)ctx[0];
#if defined(IOTRACE_X86_64)
	if (regs->cs == 0x23) /* a 32-bit program numbers its calls otherwise */
		return 0;
#endif
	if (t->call == NOT_BEGUN && spec->shape != ON_EXEC)
		return 0;
	u64 now = bpf_ktime_get_ns();
	t->start_ns = now;
	t->cpu_ns = cpu_since(t, task, now);
	u32 shape = spec->shape;
	t->call = number;
	if (spec->quirk == LEAVES_FOLDER) {
		find_base(task, t, AT_FDCWD, &t->held);
	} else if (shape == ON_CLOSE || spec->quirk == DUP_CLOSES) {
		/* close's own descriptor; the one that dup2 and dup3 close */
		u64 a[8];
		load_arguments(regs, a);
		t->held_valid = identify(file_of(task, (s32)(shape == ON_CLOSE ? ARG(fd) : ARG(fd2))), &t->held);
	} else if (shape == ON_MEMORY) {
		u64 a[8];
		struct identity held = {};
		load_arguments(regs, a);
		if (!settings.find_vma || bpf_find_vma(task, ARG(address), hold_vma, &held, 0) == -16) {
			struct place place = { .space = (u64)task->mm, .address = ARG(address), .process = task->tgid };
			struct identity *mapped = bpf_map_lookup_elem(&mappings, &place);
			if (mapped)
				held = *mapped;
		}
		t->held_valid = held.inode != 0;
		t->held = held;
	}
	return 0;
}

/* Calls on descriptors only: the short record. */
INLINE int on_fd(struct task_struct *task, struct thread *t, const volatile struct spec *spec, u64 a[8], u64 now, s64 result)
{
	struct identity id;
	u32 shape = spec->shape, op = spec->op;
	s64 position = 0;
	if (shape == ON_CLOSE || shape == ON_MEMORY) {
		if (!t->held_valid)
			return 0;
		id = t->held;
		if (spec->op == settings.munmap_op && result == 0) {
			struct place place = { .space = (u64)task->mm, .address = ARG(address), .process = task->tgid };
			bpf_map_delete_elem(&mappings, &place);
		}
	} else {
		if (shape == ON_MAP && ((s32)ARG(fd) < 0 || ARG(flags) & MAP_ANONYMOUS))
			return 0;
		struct file *file = file_of(task, (s32)ARG(fd));
		if (spec->quirk == DUP_CLOSES && result < 0)
			t->held_valid = 0; /* nothing was closed */
		if (!identify(file, &id)) {
			/* a pipe put in a file's place is of interest for the file that it closes */
			if (spec->quirk != DUP_CLOSES || !t->held_valid)
				return 0;
			__builtin_memset(&id, 0, sizeof(id));
		}
		/* the second form of the positioned calls takes -1 for the file's own position */
		if (spec->positional || (spec->offset && spec->iovec && spec->flags && (s64)ARG(offset) == -1))
			position = GET(file, struct file, f_pos) - (result > 0 ? result : 0);
		if (shape == ON_FCNTL) {
			u32 command = ARG(flags);
			if (command == 0 || command == 1030)
				op = spec->op_dup;
			else if ((command >= 5 && command <= 7) || (command >= 36 && command <= 38))
				op = spec->op_lock;
		}
	}
	struct header *h;
	if (spec->quirk == DUP_CLOSES && t->held_valid) {
		/* dup2 closed another file */
		struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
		h = &e->h;
		if (!e)
			goto no_room;
		begin_header(h, t, spec, task, now, result);
		begin_extension(e);
		e->other = t->held;
		h->at = id, h->flags = ARG(flags), h->mode = 0, h->size = 0, h->count = 0;
		bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
		return 1;
	}
	h = bpf_ringbuf_reserve(&ring, sizeof(*h), 0);
	if (!h)
		goto no_room;
	begin_header(h, t, spec, task, now, result);
	h->op = op;
	h->at = id;
	h->offset = spec->offset && !(spec->iovec && spec->flags && (s64)ARG(offset) == -1) ? ARG(offset) : position;
	h->size = spec->iovec ? vector_bytes(ARG(iovec), ARG(count)) : ARG(size);
	if (spec->iovec && ARG(count) > 64 && h->size < result)
		h->size = result; /* more vectors than are counted: what was moved was at least asked for */
	h->flags = ARG(flags);
	h->mode = ARG(mode);
	h->count = ARG(count);
	h->address = shape == ON_MAP ? (u64)result : ARG(address);
	if (shape == ON_MAP && (result >= 0 || result < -4096)) {
		struct place place = { .space = (u64)task->mm, .address = (u64)result, .process = task->tgid };
		bpf_map_update_elem(&mappings, &place, &id, BPF_ANY);
	}
	if (shape == ON_FCNTL && op == spec->op_lock) {
		/* struct flock: type, whence, start, length */
		struct { u16 type, whence; u32 pad; s64 start, length; } lock = {};
		bpf_probe_read_user(&lock, sizeof(lock), (void *)ARG(lock));
		struct file *file = (void *)id.file;
		if (lock.whence == 1)
			lock.start += GET(file, struct file, f_pos);
		else if (lock.whence == 2) {
			struct inode *inode = GET(file, struct file, f_inode);
			lock.start += GET(inode, struct inode, i_size);
		}
		h->mode = lock.type, h->offset = lock.start, h->size = lock.length;
	}
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	return 1;
no_room:
	count_lost(spec->lost);
	return 1;
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

INLINE int on_copy(struct task_struct *task, struct thread *t, const volatile struct spec *spec, u64 a[8], u64 now, s64 result)
{
	struct identity from, to;
	struct file *source = file_of(task, (s32)ARG(fd)), *target = file_of(task, (s32)ARG(fd2));
	int from_known = identify(source, &from), to_known = identify(target, &to);
	if (!from_known && !to_known)
		return 0;
	struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e) {
		count_lost(spec->lost);
		return 1;
	}
	begin_header(&e->h, t, spec, task, now, result);
	begin_extension(e);
	if (!from_known)
		__builtin_memset(&from, 0, sizeof(from));
	if (!to_known)
		__builtin_memset(&to, 0, sizeof(to));
	e->h.at = from;
	e->other = to;
	e->h.offset = from_known ? copy_offset(ARG(offset_at), source, result) : 0;
	e->other_offset = to_known ? copy_offset(ARG(offset2_at), target, result) : 0;
	e->h.size = ARG(size);
	e->h.flags = ARG(flags);
	e->h.mode = 0, e->h.count = 0;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 1;
}

/* What stat and statx found: identity, type, size. Generations cannot be seen from user space. */
INLINE int read_stat(struct event *e, u64 address)
{
#if defined(IOTRACE_X86_64)
	struct { u64 dev, ino, nlink; u32 mode, uid, gid, pad; u64 rdev, size, blksize, blocks; } st;
#elif defined(IOTRACE_AARCH64)
	struct { u64 dev, ino; u32 mode, nlink, uid, gid; u64 rdev, pad; u64 size; u32 blksize, pad2; u64 blocks; } st;
#endif
	if (bpf_probe_read_user(&st, sizeof(st), (void *)address))
		return 1;
	e->st_mode = st.mode, e->st_size = st.size, e->st_blocks = st.blocks;
	e->h.at.inode = st.ino;
	e->h.at.device = ((st.dev & 0xfff00) << 12) | (st.dev & 0xff) | ((st.dev >> 12) & 0xfff00);
	return is_wanted_mode(st.mode);
}

INLINE int read_statx(struct event *e, u64 address)
{
	struct {
		u32 mask, blksize; u64 attributes; u32 nlink, uid, gid; u16 mode, pad; u64 ino, size, blocks, attributes_mask;
		u64 times[8]; u32 rdev_major, rdev_minor, dev_major, dev_minor;
	} st;
	if (bpf_probe_read_user(&st, sizeof(st), (void *)address))
		return 1;
	e->st_mode = st.mode, e->st_size = st.size, e->st_blocks = st.blocks;
	e->h.at.inode = st.ino;
	e->h.at.device = (st.dev_major << 20) | st.dev_minor;
	return is_wanted_mode(st.mode);
}

/* Calls on names: the record with texts behind it. */
INLINE int on_path(struct task_struct *task, struct thread *t, const volatile struct spec *spec, u64 a[8], u64 now, s64 result)
{
	struct scratch *s = scratch_of(0);
	if (!s)
		return 0;
	struct event *e = &s->e;
	u32 length1 = 0, length2 = 0;
	begin_header(&e->h, t, spec, task, now, result);
	begin_extension(e);
	__builtin_memset(&e->h.at, 0, sizeof(e->h.at));
	e->h.offset = 0;
	e->h.size = ARG(size);
	e->h.flags = ARG(flags);
	e->h.mode = ARG(mode);
	e->h.count = 0;
	s32 dirfd = spec->dirfd ? (s32)ARG(dirfd) : AT_FDCWD;
	long n = ARG(path) ? bpf_probe_read_user_str(s->text, PATH_MAX, (void *)ARG(path)) : 0;
	if (n > 0)
		length1 = (u32)n & (2 * PATH_MAX - 1);
	if (length1 > PATH_MAX)
		length1 = PATH_MAX;
	char first = length1 ? s->text[0] : 0;
	if (length1 <= 1 && spec->dirfd && spec->shape != ON_OPEN) {
		/* an empty name: the call is about dirfd itself */
		struct file *file = file_of(task, dirfd);
		if (!identify(file, &e->h.at))
			return 0;
	} else if (first != '/' && spec->quirk == LEAVES_FOLDER)
		e->base = t->held;
	else if (first != '/')
		find_base(task, t, dirfd, &e->base);
	if (spec->path2 || spec->text) {
		char *second = s->text + length1;
		if (spec->text) {
			u32 wanted = result > 0 ? (u32)result & (2 * PATH_MAX - 1) : 0;
			if (wanted > PATH_MAX)
				wanted = PATH_MAX;
			if (wanted && !bpf_probe_read_user(second, wanted, (void *)ARG(text)))
				length2 = wanted;
		} else {
			n = bpf_probe_read_user_str(second, PATH_MAX, (void *)ARG(path2));
			if (n > 0)
				length2 = (u32)n & (2 * PATH_MAX - 1);
			if (length2 > PATH_MAX)
				length2 = PATH_MAX;
			if (spec->dirfd2 || spec->quirk == SECOND_HAS_BASE)
				find_base(task, t, spec->dirfd2 ? (s32)ARG(dirfd2) : AT_FDCWD, &e->base2);
		}
	}
	if (spec->how) {
		struct { u64 flags, mode, resolve; } how = {};
		bpf_probe_read_user(&how, sizeof(how), (void *)ARG(how));
		e->h.flags = how.flags, e->h.mode = how.mode;
	}
	if (spec->shape == ON_OPEN && result >= 0) {
		struct file *file = file_of(task, (s32)result);
		if (!identify(file, &e->h.at))
			return 0;
		report_open_file(file, &e->h.at, (u32)e->h.flags | 0x80000000);
		e->h.result = 0;
	}
	if (spec->stat && result == 0 && !e->h.at.file && !read_stat(e, ARG(stat)))
		return 0;
	if (spec->statx && result == 0 && !e->h.at.file && !read_statx(e, ARG(statx)))
		return 0;
	e->h.length1 = length1;
	e->h.length2 = length2;
	u32 total = sizeof(*e) + length1 + length2;
	if (total > sizeof(*s))
		return 0;
	if (bpf_ringbuf_output(&ring, s, total, BPF_RB_NO_WAKEUP))
		count_lost(spec->lost);
	return 1;
}

/* fork, exec, wait and the like: no file, no name. */
INLINE int on_bare(struct task_struct *task, struct thread *t, const volatile struct spec *spec, u64 a[8], u64 now, s64 result)
{
	struct header *h = bpf_ringbuf_reserve(&ring, sizeof(*h), 0);
	if (!h) {
		count_lost(spec->lost);
		return 1;
	}
	begin_header(h, t, spec, task, now, result);
	__builtin_memset(&h->at, 0, sizeof(h->at));
	h->size = 0, h->count = 0;
	h->flags = ARG(flags);
	h->mode = ARG(mode);
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	return 1;
}

SEC("tp_btf/sys_exit")
int leave(u64 *ctx)
{
	u64 a[8];
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *t = thread_of(task);
	if (!t || t->call < 0)
		return 0;
	const volatile struct spec *spec = &specs[t->call & 511];
	s64 result = ctx[1];
	u64 now = bpf_ktime_get_ns();
	int recorded = 0;
	t->call = IDLE;
	if (spec->renames && !result)
		__sync_fetch_and_add(&renames, 1);
	/* a call that a signal interrupts and the kernel restarts has not happened yet */
	if (result <= -512 && result >= -516)
		return 0;
	load_arguments((void *)ctx[0], a);
	switch (spec->shape) {
	case ON_FD: case ON_CLOSE: case ON_MEMORY: case ON_MAP: case ON_FCNTL:
		recorded = on_fd(task, t, spec, a, now, result);
		break;
	case ON_COPY:
		recorded = on_copy(task, t, spec, a, now, result);
		break;
	case ON_EXEC:
		if (result == 0)
			recorded = on_bare(task, t, spec, a, now, result);
		else
			recorded = on_path(task, t, spec, a, now, result);
		break;
	case ON_PATH: case ON_OPEN:
		recorded = on_path(task, t, spec, a, now, result);
		break;
	case ON_FORK: case ON_WAIT: case ON_BARE:
		recorded = on_bare(task, t, spec, a, now, result);
		break;
	}
	if (recorded)
		remember(t, task, now);
	return 0;
}

/* A new thread or process inherits the mark before it runs. */
SEC("tp_btf/sched_process_fork")
int fork(u64 *ctx)
{
	struct task_struct *parent = (void *)ctx[0], *child = (void *)ctx[1];
	u32 tid = parent->pid, child_tid = child->pid;
	struct thread *t = bpf_map_lookup_elem(&threads, &tid);
	if (!t)
		return 0;
	struct thread fresh = { .call = IDLE, .last_ns = bpf_ktime_get_ns(), .last_sum = child->se.sum_exec_runtime, .last_cpu = -1 };
	if (bpf_map_update_elem(&threads, &child_tid, &fresh, BPF_ANY)) {
		count_lost(LOST_THREADS);
		return 0;
	}
	struct identity base = {};
	if (identify_inode(GET(child->fs->pwd.dentry, struct dentry, d_inode), &base))
		report_path(&child->fs->pwd, &base, IS_BASE);
	struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e) {
		count_lost(LOST_THREADS);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->h.kind = TASK;
	e->h.start_ns = fresh.last_ns;
	e->h.tid = child_tid, e->h.tgid = child->tgid;
	e->h.offset = tid, e->h.size = parent->tgid;
	e->h.flags = (child->tgid == parent->tgid ? 0x10000 : 0) | (child->files == parent->files ? 0x400 : 0) |
		     (child->fs == parent->fs ? 0x200 : 0) | (child->mm == parent->mm ? 0x100 : 0);
	e->h.mode = child->fs->umask;
	e->base = base;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
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

SEC("tp_btf/sched_process_exec")
int exec(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	u32 old_tid = (u32)ctx[1], tid = task->pid;
	struct linux_binprm *program = (void *)ctx[2];
	struct thread *t = bpf_map_lookup_elem(&threads, &old_tid);
	if (!t)
		return 0;
	if (old_tid != tid) {
		/* a thread that is not the first takes the first one's number when it executes a program */
		struct thread moved = *t;
		bpf_map_update_elem(&threads, &tid, &moved, BPF_ANY);
		bpf_map_delete_elem(&threads, &old_tid);
	}
	struct scratch *s = scratch_of(0);
	if (!s)
		return 0;
	struct event *e = &s->e;
	__builtin_memset(e, 0, sizeof(*e));
	e->h.kind = EXEC;
	e->h.start_ns = bpf_ktime_get_ns();
	e->h.tid = tid, e->h.tgid = task->tgid;
	e->h.offset = old_tid;
	e->h.mode = task->fs->umask;
	if (identify_inode(GET(task->fs->pwd.dentry, struct dentry, d_inode), &e->base))
		report_path(&task->fs->pwd, &e->base, IS_BASE);
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
	u32 length1 = 0, length2 = 0;
	long n = bpf_probe_read_kernel_str(s->text, PATH_MAX, program->filename);
	if (n > 0)
		length1 = (u32)n & (2 * PATH_MAX - 1);
	if (length1 > PATH_MAX)
		length1 = PATH_MAX;
	u64 begin = task->mm->arg_start, wanted = task->mm->arg_end - begin;
	if (wanted > PATH_MAX - 1)
		wanted = PATH_MAX - 1;
	if (wanted && !bpf_probe_read_user(s->text + length1, (u32)wanted & (PATH_MAX - 1), (void *)begin))
		length2 = wanted & (PATH_MAX - 1);
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
	u32 tid = task->pid;
	struct thread *t = bpf_map_lookup_elem(&threads, &tid);
	if (!t)
		return 0;
	u64 now = bpf_ktime_get_ns();
	struct header *h = bpf_ringbuf_reserve(&ring, sizeof(*h), 0);
	if (h) {
		__builtin_memset(h, 0, sizeof(*h));
		h->kind = EVENT;
		h->op = settings.exit_op;
		h->start_ns = now;
		h->cpu_ns = cpu_since(t, task, now);
		h->tid = tid, h->tgid = task->tgid;
		h->result = (task->exit_code & 0x7f) ? -(task->exit_code & 0x7f) : (task->exit_code >> 8) & 0xff;
		bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	} else
		count_lost(settings.exit_lost);
	bpf_map_delete_elem(&threads, &tid);
	return 0;
}

/* Page faults on mapped files. The kernel first maps what it finds in its cache around the address (map_pages), then, when
 * the page was not there, reads it (fault); the software event for major faults fires at the end. */
INLINE int on_fault(struct address_space *mapping, u64 first, u64 last, u32 kind)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *t = thread_of(task);
	struct identity id = {};
	if (!t || t->call == NOT_BEGUN || !identify_inode(mapping->host, &id))
		return 0;
	u64 now = bpf_ktime_get_ns();
	struct header *h = bpf_ringbuf_reserve(&ring, sizeof(*h), 0);
	if (!h) {
		count_lost(settings.fault_lost);
		return 0;
	}
	__builtin_memset(h, 0, sizeof(*h));
	h->kind = kind;
	h->start_ns = now;
	h->cpu_ns = cpu_since(t, task, now);
	h->tid = task->pid, h->tgid = task->tgid;
	h->at = id;
	h->offset = first, h->size = last;
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	remember(t, task, now);
	return 0;
}

SEC("tp_btf/mm_filemap_fault")
int fault(u64 *ctx) { return on_fault((void *)ctx[0], ctx[1], ctx[1], FAULT); }

SEC("tp_btf/mm_filemap_map_pages")
int fault_around(u64 *ctx) { return on_fault((void *)ctx[0], ctx[1], ctx[2], FAULT_AROUND); }

struct mapped { struct identity id; u64 address, page; };

static long find_mapped(struct task_struct *task, struct vm_area_struct *vma, void *found)
{
	struct mapped *mapped = found;
	if (identify(vma->vm_file, &mapped->id))
		mapped->page = ((mapped->address - vma->vm_start) >> 12) + vma->vm_pgoff;
	else
		mapped->id.inode = 0;
	return 0;
}

/* Where the kernel has no filemap tracepoints (before 6.10): the address says which mapping, and so which file and page. */
INLINE int on_fault_at(struct task_struct *task, struct thread *t, u64 address, u32 major)
{
	struct mapped mapped = { .address = address };
	if (t->call == NOT_BEGUN || bpf_find_vma(task, address, find_mapped, &mapped, 0) || !mapped.id.inode)
		return 0;
	u64 now = bpf_ktime_get_ns();
	struct header *h = bpf_ringbuf_reserve(&ring, sizeof(*h), 0);
	if (!h) {
		count_lost(settings.fault_lost);
		return 0;
	}
	__builtin_memset(h, 0, sizeof(*h));
	h->kind = FAULT_AT;
	h->start_ns = now;
	h->cpu_ns = cpu_since(t, task, now);
	h->tid = task->pid, h->tgid = task->tgid;
	mapped.id.file = 0;
	h->at = mapped.id;
	h->offset = mapped.page;
	h->count = major;
	h->address = address;
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
	remember(t, task, now);
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
