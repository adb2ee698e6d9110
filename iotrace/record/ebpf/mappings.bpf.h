/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Which file a process has mapped at an address. bpf_find_vma asks the kernel, which refuses while another thread changes
 * the process's mappings, and older kernels lack it: then its tree of mappings is read without a lock, as the kernel itself
 * does at a page fault. */
#pragma once
#include "tasks.bpf.h"

/* id.inode 0: no file that is of interest; page: of the file. */
struct mapped { struct identity id; u64 address, page; };

static long note_mapping(struct task_struct *task, struct vm_area_struct *vma, void *found)
{
	struct mapped *mapped = found;
	if (identify(GET(vma, struct vm_area_struct, vm_file), &mapped->id))
		mapped->page = ((mapped->address - GET(vma, struct vm_area_struct, vm_start)) >> 12) + GET(vma, struct vm_area_struct, vm_pgoff);
	else
		mapped->id.inode = 0;
	return 0;
}

/* include/linux/maple_tree.h: a pointer to a node has its kind in its lowest bits; the slot of an address is that of the
 * first pivot, the last address of a slot, that is not below it, or the one behind them all. */
#define NODE_BITS 255ULL
#define KIND_OF_NODE(entry) ((entry) >> 3 & 15)
enum { LEAF_64 = 1, RANGE_64, ARANGE_64 };
#define PIVOTS 15

/* A pointer as a number: typed loads give pointers, whose bits the verifier lets nobody look at. */
INLINE u64 word_at(const void *address)
{
	u64 word = 0;
	bpf_probe_read_kernel(&word, sizeof(word), address);
	return word;
}

/* How many of a node's pivots are below the address. Without a branch, of which the verifier would follow each. In the
 * shorter kind of node the pivots end with its first slot: a kernel's address, above all of a process. */
INLINE u32 slot_of_address(const u64 *pivots, u64 address)
{
	u64 below = 1, wanted = address - 1;
	u32 slot = 0;
	for (int i = 0; i < PIVOTS; i++) {
		u64 pivot = pivots[i] - 1; /* none is set behind the last: 0 becomes the highest */
		/* the borrow of a subtraction */
		below &= ((~pivot & wanted) | ((~pivot | wanted) & (pivot - wanted))) >> 63;
		slot += below;
	}
	return slot;
}

struct descent { u64 entry, address; };

/* From a node down to the entry of an address: 1 when that is no node, but a mapping, or nothing. */
static long descend(u32 depth, struct descent *d)
{
	u64 kind = KIND_OF_NODE(d->entry), node = d->entry & ~NODE_BITS, pivots[PIVOTS] = {};
	u64 begin = OFFSET_OF(struct maple_range_64, pivot), slots = OFFSET_OF(struct maple_range_64, slot);
	if (kind == ARANGE_64)
		begin = OFFSET_OF(struct maple_arange_64, pivot), slots = OFFSET_OF(struct maple_arange_64, slot);
	bpf_probe_read_kernel(pivots, sizeof(pivots), (void *)(node + begin));
	d->entry = kind < LEAF_64 || kind > ARANGE_64 ? 0 : word_at((void *)(node + slots + 8 * slot_of_address(pivots, d->address)));
	return kind == LEAF_64 || !d->entry;
}

#define DEPTH 8
#define DEPTH_WITHOUT_LOOP 6 /* 100,000 mappings and more */

INLINE u64 entry_at(void *tree, u64 address)
{
	struct descent d = { .entry = word_at(tree + OFFSET_OF(struct maple_tree, ma_root)), .address = address };
	if (settings.loops)
		bpf_loop(DEPTH, descend, &d, 0);
	else
		for (int depth = 0; depth < DEPTH_WITHOUT_LOOP; depth++)
			if (descend(depth, &d))
				break;
	return d.entry;
}

#define LEVELS 64

/* Before 6.1. */
INLINE u64 entry_of_old_tree(void *tree, u64 address)
{
	u64 node = word_at(tree + OFFSET_OF(struct rb_root, rb_node));
	for (int level = 0; level < LEVELS && node; level++) {
		u64 vma = node - OFFSET_OF(struct vm_area_struct, vm_rb);
		if (address >= word_at((void *)vma + OFFSET_OF(struct vm_area_struct, vm_end)))
			node = word_at((void *)node + OFFSET_OF(struct rb_node, rb_right));
		else if (address < word_at((void *)vma + OFFSET_OF(struct vm_area_struct, vm_start)))
			node = word_at((void *)node + OFFSET_OF(struct rb_node, rb_left));
		else
			return vma;
	}
	return 0;
}

struct attempt { u64 address, found; u32 ours; };

/* `found`: the mapping that the tree has for the address, 0 for none; `ours`: it is one of this process. Others follow until it
 * says itself that it holds the address; one that is just growing or shrinking may not say so for long. */
static long attempt(u32 number, struct attempt *a)
{
	struct task_struct *task = bpf_get_current_task_btf();
	void *mm = task->mm;
	u64 found, address = a->address;
	if (HAS(struct mm_struct, mm_mt))
		found = entry_at(mm + OFFSET_OF(struct mm_struct, mm_mt), address);
	else {
		/* the compiler is not to look up before what this kernel may lack */
		asm volatile("" : "+r"(mm));
		found = entry_of_old_tree(mm + OFFSET_OF(struct mm_struct, mm_rb), address);
	}
	a->found = found, a->ours = 1;
	if (!found)
		return 1;
	struct vm_area_struct *vma = (void *)found;
	u64 begin = GET(vma, struct vm_area_struct, vm_start), end = GET(vma, struct vm_area_struct, vm_end);
	a->ours = word_at((void *)found + OFFSET_OF(struct vm_area_struct, vm_mm)) == (u64)mm;
	return a->ours && begin <= address && address < end;
}

#define ATTEMPTS 16
#define ATTEMPTS_WITHOUT_LOOP 2

/* Fills in `mapped`, whose address is given, for the running process; 0 when its tree changed while it was read, each time. */
INLINE int find_mapping(struct task_struct *task, struct mapped *mapped)
{
	if (settings.find_vma && bpf_find_vma(task, mapped->address, note_mapping, mapped, 0) != -EBUSY)
		return 1;
	struct attempt a = { .address = mapped->address };
	if (settings.loops)
		bpf_loop(ATTEMPTS, attempt, &a, 0);
	else
		for (int i = 0; i < ATTEMPTS_WITHOUT_LOOP; i++)
			if (attempt(i, &a))
				break;
	if (a.ours && a.found)
		note_mapping(task, (void *)a.found, mapped);
	return a.ours;
}
