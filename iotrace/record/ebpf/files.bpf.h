/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Which file a descriptor is, whether the recording is about it, and where it lies: at first sight it is reported with the
 * names of its parents. */
#pragma once
#include "records.bpf.h"

#define FMODE_CREATED 0x100000
#define SB_KERNMOUNT (1 << 22)

/* One pointer behind a kernel address, as a plain load where the kernel lets us: any kernel structure that begins with a
 * pointer does for its type. */
INLINE void *pointer_at(void *address)
{
	void *pointer = 0;
	if (&bpf_rdonly_cast)
		return ((struct llist_node *)bpf_rdonly_cast(address, __builtin_btf_type_id(*(struct llist_node *)0, 1)))->next;
	bpf_probe_read_kernel(&pointer, sizeof(pointer), address);
	return pointer;
}

INLINE struct file *file_of(struct task_struct *task, s32 fd)
{
	struct fdtable *table = task->files->fdt;
	if (!table || (u32)fd >= table->max_fds)
		return 0;
	return pointer_at(table->fd + (u32)fd);
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

INLINE int is_wanted_device(u32 device)
{
	if (!settings.devices[0])
		return 1;
	for (int i = 0; i < DEVICES; i++)
		if (settings.devices[i] && settings.devices[i] == device)
			return 1;
	return 0;
}

/* Identity of an inode; 0 when it is not one that the recording is about. */
INLINE int identify_inode(struct inode *inode, struct identity *id)
{
	struct super_block *sb = GET(inode, struct inode, i_sb);
	if (!is_wanted_mode(GET(inode, struct inode, i_mode)))
		return 0;
	if (!settings.all_files && ((GET(sb, struct super_block, s_flags) & SB_KERNMOUNT) || is_pseudo(GET(sb, struct super_block, s_magic))))
		return 0;
	id->device = GET(sb, struct super_block, s_dev);
	if (!is_wanted_device(id->device))
		return 0;
	id->inode = GET(inode, struct inode, i_ino);
	id->generation = GET(inode, struct inode, i_generation);
	return 1;
}

/* What report_file is told above the open flags. */
#define CREATED (1ULL << 32)
#define IS_BASE (1ULL << 33)
#define ELSEWHERE (1ULL << 34) /* a folder that is not itself what the recording is about */

/* Identity of the folder that a name starts from, wherever it lies: the name may lead to where the recording looks. Returns
 * the bits that report_file is to be told, 0 when it is no folder. */
INLINE u64 identify_folder(struct inode *inode, struct identity *id)
{
	if (identify_inode(inode, id))
		return IS_BASE;
	if (!inode || (GET(inode, struct inode, i_mode) & S_IFMT) != S_IFDIR)
		return 0;
	struct super_block *sb = GET(inode, struct inode, i_sb);
	id->device = GET(sb, struct super_block, s_dev);
	id->inode = GET(inode, struct inode, i_ino);
	id->generation = GET(inode, struct inode, i_generation);
	return IS_BASE | ELSEWHERE;
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

/* A walk from a file up to the root, its names copied leaf first, each with its NUL. */
struct walk { struct dentry *dentry, *root; struct mount *mount; struct scratch *scratch; u32 length, whole; };

/* One step up; 1 at the end. */
INLINE int step_up(struct walk *w)
{
	struct dentry *dentry = w->dentry;
	if (dentry == w->root) {
		struct mount *mount = w->mount, *above = GET(mount, struct mount, mnt_parent);
		if (above == mount) {
			w->whole = 1;
			return 1;
		}
		w->dentry = GET(mount, struct mount, mnt_mountpoint);
		w->mount = above;
		w->root = GET(((void *)above + OFFSET_OF(struct mount, mnt)), struct vfsmount, mnt_root);
		return 0;
	}
	struct dentry *parent = GET(dentry, struct dentry, d_parent);
	u32 length = w->length;
	if (parent == dentry || length > 2 * PATH_MAX - NAME_MAX)
		return 1;
	/* d_name is read by a helper: it may change under us */
	const u8 *name = 0;
	bpf_probe_read_kernel(&name, sizeof(name), &dentry->d_name.name);
	long n = bpf_probe_read_kernel_str(w->scratch->text + length, NAME_MAX, name);
	if (n <= 0)
		return 1;
	w->length = length + (u32)n;
	w->dentry = parent;
	return 0;
}

static long step_up_again(u32 turn, struct walk *w)
{
	/* what a callback gets back of its context is unknown to the verifier, the scratch is looked up again */
	struct scratch *s = scratch_of(1);
	if (!s)
		return 1;
	w->scratch = s;
	return step_up(w);
}

#define STEPS 256
#define STEPS_WITHOUT_LOOP 100

/* Reports an inode at first sight: its size and state, and its path. A global function of plain numbers, so that the
 * verifier looks at it once and not at each call. `state` holds the open flags, and above them whether this very call created
 * the file, and whether a name starts from it: such a folder is reported again when something was renamed meanwhile. Returns
 * whether user space knows it. */
__attribute__((noinline)) int report_file(u64 path_address, u64 inode_number, u32 device, u32 generation, u64 state)
{
	struct identity key = { .inode = inode_number, .device = device, .generation = generation };
	struct path *path = (void *)path_address;
	struct sighting now_at = { .renames = renames, .chapter = chapter };
	if (settings.tallies)
		return 1;
	struct sighting *seen_at = bpf_map_lookup_elem(&seen, &key);
	if (seen_at && seen_at->chapter == now_at.chapter && (!(state & IS_BASE) || seen_at->renames == now_at.renames))
		return 1;
	struct scratch *s = scratch_of(1);
	if (!s)
		return 0;
	struct event *e = &s->e;
	struct vfsmount *vfsmount = GET(path, struct path, mnt);
	struct walk w = { .dentry = GET(path, struct path, dentry), .scratch = s };
	struct inode *inode = GET(w.dentry, struct dentry, d_inode);
	struct address_space *mapping = GET(inode, struct inode, i_mapping);
	w.mount = (void *)vfsmount - OFFSET_OF(struct mount, mnt);
	w.root = GET(vfsmount, struct vfsmount, mnt_root);
	if (settings.loops)
		bpf_loop(STEPS, step_up_again, &w, 0);
	else {
		/* lengths kept in memory: a bound that the verifier forgets at each turn lets it see that the turns are alike */
		for (int i = 0; i < STEPS_WITHOUT_LOOP; i++) {
			volatile u32 *length_at = &s->e.st_mode;
			*length_at = w.length;
			w.length = *length_at;
			if (step_up(&w))
				break;
		}
	}
	u32 length = w.length;
	if (length > 2 * PATH_MAX)
		return 0;
	e->h.start_ns = bpf_ktime_get_ns();
	e->h.kind = FILE_SEEN;
	e->h.op = 0;
	e->h.tid = 0, e->h.tgid = 0;
	e->h.length1 = length;
	e->h.length2 = 0;
	e->h.at = key;
	e->h.count = w.whole;
	e->h.mode = GET(inode, struct inode, i_mode);
	e->h.flags = state & 0xffffffff;
	e->h.result = !!(state & CREATED) | !!(state & ELSEWHERE) << 1;
	e->st_size = GET(inode, struct inode, i_size);
	e->st_blocks = GET(inode, struct inode, i_blocks);
	e->pages = mapping ? GET(mapping, struct address_space, nrpages) : 0;
	if (bpf_ringbuf_output(&ring, s, sizeof(*e) + length, BPF_RB_NO_WAKEUP))
		return 0;
	bpf_map_update_elem(&seen, &key, &now_at, BPF_ANY);
	return 1;
}

INLINE int report_path(struct path *path, struct identity *id, u64 state)
{
	/* a global function takes no kernel pointers: read back, this one is a plain number */
	u64 address = 0;
	bpf_probe_read_kernel(&address, sizeof(address), &path);
	return report_file(address, id->inode, id->device, id->generation, state);
}

INLINE void report_open_file(struct file *file, struct identity *id, u32 flags)
{
	u64 created = GET(file, struct file, f_mode) & FMODE_CREATED ? CREATED : 0;
	report_path((void *)file + OFFSET_OF(struct file, f_path), id, created | flags);
}

/* The folder that a relative name starts from. One that could not be reported is tried again at the next name. */
INLINE void find_base(struct task_struct *task, struct thread *t, s32 dirfd, struct identity *base)
{
	base->file = 0, base->inode = 0, base->device = 0, base->generation = 0;
	if (dirfd == AT_FDCWD) {
		struct fs_struct *fs = task->fs;
		struct dentry *dentry = fs->pwd.dentry;
		u64 state = identify_folder(GET(dentry, struct dentry, d_inode), base);
		u32 mark = ((u32)base->inode * 31 + base->device) * 0x9E3779B1 + base->generation + renames * 40503 + chapter * 7;
		if (state && t->base_seen != mark) {
			t->base_seen = mark;
			if (!report_path(&fs->pwd, base, state))
				t->base_seen = 0;
		}
		return;
	}
	struct file *file = file_of(task, dirfd);
	u64 state = file ? identify_folder(GET(file, struct file, f_inode), base) : 0;
	if (!state) {
		base->inode = 0;
		return;
	}
	/* of the others nobody saw the open, a number would be another's */
	base->file = state & ELSEWHERE ? 0 : (u64)file;
	struct identity *last = &t->folder;
	if (last->inode == base->inode && last->device == base->device && last->generation == base->generation &&
	    t->folder_renames == renames && t->folder_chapter == chapter)
		return;
	*last = *base;
	t->folder_renames = renames, t->folder_chapter = chapter;
	if (!report_path((void *)file + OFFSET_OF(struct file, f_path), base, state))
		last->inode = 0;
}
