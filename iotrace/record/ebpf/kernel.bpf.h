/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The few BPF helpers and kernel structures that the recorder uses, declared by us so that a build needs neither kernel
 * headers nor a vmlinux.h. Fields are relocated to the running kernel's layout at load (CO-RE): only their names count.
 * Helper numbers: include/uapi/linux/bpf.h. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name

enum {
	BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_PROG_ARRAY = 3, BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9, BPF_MAP_TYPE_STACK = 23, BPF_MAP_TYPE_RINGBUF = 27,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_RB_NO_WAKEUP = 1 };

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static u32 (*bpf_get_smp_processor_id)(void) = (void *)8;
static long (*bpf_tail_call)(void *ctx, void *programs, u32 index) = (void *)12;
static long (*bpf_map_push_elem)(void *map, const void *value, u64 flags) = (void *)87;
static long (*bpf_map_pop_elem)(void *map, void *value) = (void *)88;
static long (*bpf_probe_read_user)(void *dst, u32 size, const void *src) = (void *)112;
static long (*bpf_probe_read_kernel)(void *dst, u32 size, const void *src) = (void *)113;
static long (*bpf_probe_read_user_str)(void *dst, u32 size, const void *src) = (void *)114;
static long (*bpf_probe_read_kernel_str)(void *dst, u32 size, const void *src) = (void *)115;
static long (*bpf_ringbuf_output)(void *ring, void *data, u64 size, u64 flags) = (void *)130;
static void *(*bpf_ringbuf_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*bpf_ringbuf_submit)(void *data, u64 flags) = (void *)132;
static struct task_struct *(*bpf_get_current_task_btf)(void) = (void *)158;
static struct pt_regs *(*bpf_task_pt_regs)(struct task_struct *task) = (void *)175;
static long (*bpf_loop)(u32 turns, void *callback, void *ctx, u64 flags) = (void *)181;
static long (*bpf_find_vma)(struct task_struct *task, u64 addr, void *callback, void *ctx, u64 flags) = (void *)180;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct llist_node { struct llist_node *next; };
struct qstr { u32 len; const u8 *name; };
struct address_space { struct inode *host; unsigned long nrpages; };
struct super_block { u32 s_dev; unsigned long s_flags; unsigned long s_magic; };
struct inode {
	u16 i_mode;
	struct super_block *i_sb;
	struct address_space *i_mapping;
	unsigned long i_ino;
	s64 i_size;
	u64 i_blocks;
	u32 i_generation;
};
struct dentry { struct dentry *d_parent; struct qstr d_name; struct inode *d_inode; };
struct vfsmount { struct dentry *mnt_root; };
struct mount { struct mount *mnt_parent; struct dentry *mnt_mountpoint; struct vfsmount mnt; };
struct path { struct vfsmount *mnt; struct dentry *dentry; };
struct file { u32 f_mode; s64 f_pos; u32 f_flags; struct path f_path; struct inode *f_inode; };
struct fdtable { u32 max_fds; struct file **fd; unsigned long *close_on_exec; };
struct files_struct { struct fdtable *fdt; };
struct fs_struct { int umask; struct path pwd; };
/* a process's mappings: a maple tree since 6.1, whose nodes are of two forms, before a red-black tree */
struct maple_tree { void *ma_root; };
struct maple_range_64 { unsigned long pivot[15]; void *slot[16]; };
struct maple_arange_64 { unsigned long pivot[9]; void *slot[10]; };
struct rb_node { struct rb_node *rb_left, *rb_right; };
struct rb_root { struct rb_node *rb_node; };
struct mm_struct { unsigned long arg_start, arg_end; struct file *exe_file; struct maple_tree mm_mt; struct rb_root mm_rb; };
struct sched_entity { u64 exec_start; u64 sum_exec_runtime; };
struct kernfs_node { u64 id; };
struct cgroup_subsys_state { struct cgroup *cgroup; struct cgroup_subsys_state *parent; };
struct cgroup_root { int hierarchy_id; };
struct cgroup { struct cgroup_subsys_state self; struct kernfs_node *kn; struct cgroup_root *root; };
struct css_set { struct cgroup *dfl_cgrp; };
struct task_struct {
	struct mm_struct *mm;
	int pid, tgid, exit_code;
	u32 flags;
	u64 start_time;
	struct task_struct *group_leader, *real_parent;
	struct css_set *cgroups;
	struct fs_struct *fs;
	struct files_struct *files;
	struct sched_entity se;
	char comm[16];
};
struct vm_area_struct { unsigned long vm_start, vm_end, vm_pgoff; struct file *vm_file; struct mm_struct *vm_mm; struct rb_node vm_rb; };
struct linux_binprm { const char *filename; };
struct bpf_iter__task { struct task_struct *task; };
struct bpf_iter__task_file { struct task_struct *task; u32 fd; struct file *file; };
struct bpf_iter__task_vma { struct task_struct *task; struct vm_area_struct *vma; };
/* io_uring: a request, and what its first 64 bytes hold for each kind of operation */
struct filename { const char *name; };
struct io_uring_task { struct task_struct *task; };
struct io_cqe { s32 res; u32 flags; int fd; };
struct io_kiocb { struct file *file; u8 opcode; u32 flags; struct io_cqe cqe; void *ctx; struct io_uring_task *tctx; };
struct open_how { u64 flags, mode; };
struct kiocb { s64 ki_pos; };
struct io_rw { struct kiocb kiocb; u64 addr; u32 len; u32 flags; };
struct io_open { int dfd; u32 file_slot; struct filename *filename; struct open_how how; };
struct io_close { int fd; u32 file_slot; };
struct io_sync { s64 len, off; int flags, mode; };
struct io_statx { int dfd; u32 mask, flags; struct filename *filename; };
struct io_rename { int old_dfd, new_dfd; struct filename *oldpath, *newpath; int flags; };
struct io_unlink { int dfd, flags; struct filename *filename; };
struct io_mkdir { int dfd; u16 mode; struct filename *filename; };
struct io_fadvise { u64 offset, len; u32 advice; };
struct io_splice { s64 off_out, off_in; u64 len; int splice_fd_in; u32 flags; };
struct io_ftrunc { s64 len; };
#if defined(IOTRACE_X86_64)
struct pt_regs { unsigned long r10, r9, r8, dx, si, di, ip, cs; };
#define INSTRUCTION ip
#define SECOND_ARGUMENT(registers) ((registers)->si)
#elif defined(IOTRACE_AARCH64)
struct pt_regs { u64 orig_x0; u64 regs[31]; u64 pc; };
#define INSTRUCTION pc
#define SECOND_ARGUMENT(registers) ((registers)->regs[1])
#endif

#pragma clang attribute pop

/* Context of a perf_event program (include/uapi/linux/bpf_perf_event.h): registers, then these. */
#if defined(IOTRACE_X86_64)
struct bpf_perf_event_data { unsigned long regs[21]; u64 sample_period; u64 addr; };
#elif defined(IOTRACE_AARCH64)
struct bpf_perf_event_data { u64 regs[34]; u64 sample_period; u64 addr; };
#endif

/* Reads a field behind an address that the verifier knows nothing of: as a plain load where the kernel has
 * bpf_rdonly_cast (6.2), else by a helper call. */
extern void *bpf_rdonly_cast(const void *address, u32 btf_id) __attribute__((section(".ksyms"), weak));
#define GET(pointer, type, field)                                                                                              \
	({                                                                                                                     \
		typeof(((type *)0)->field) value_;                                                                             \
		if (&bpf_rdonly_cast)                                                                                          \
			value_ = ((type *)bpf_rdonly_cast((pointer), __builtin_btf_type_id(*(type *)0, 1)))->field;            \
		else                                                                                                           \
			bpf_probe_read_kernel(&value_, sizeof(value_), &((type *)(pointer))->field);                           \
		value_;                                                                                                        \
	})
#define KNOWN(type) __builtin_preserve_type_info(*(type *)0, 0)
#define HAS(type, field) __builtin_preserve_field_info(((type *)0)->field, 2)
#define OFFSET_OF(type, field) __builtin_preserve_field_info(((type *)0)->field, 0)
