// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* Two empty programs on the tracepoints of system calls: what no recorder of this kind can go below. */
#define SEC(name) __attribute__((section(name), used))
char LICENSE[] SEC("license") = "Dual BSD/GPL";
SEC("tp_btf/sys_enter")
int enter(void *ctx) { return 0; }
SEC("tp_btf/sys_exit")
int leave(void *ctx) { return 0; }
