/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Counts in the place of records (`--detail histogram`): for each process, operation and file system the log-linear
 * histograms of iotrace/histogram.py, of latency and of the sizes asked for. Only the user-space side removes entries, of
 * processes that have ended; so no count is lost between a look and a removal. */
#pragma once
#include "tasks.bpf.h"

enum { LATENCY, SIZE_ASKED, FAILED, UNTIMED, WRITTEN };
struct tally_key { u32 process, device; u8 op, what; u16 bucket; };
struct tally { u64 count, sum; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1); __type(key, struct tally_key); __type(value, struct tally); } tallies SEC(".maps");

#define SUB_BITS 6

/* Below 64 each value has a bucket, above each power of two has 64. */
INLINE u32 bucket_of(u64 value)
{
	u32 shift = 0;
	if (value >> (SUB_BITS + 1) >> 32)
		shift += 32;
	if (value >> (SUB_BITS + 1) >> shift >> 16)
		shift += 16;
	if (value >> (SUB_BITS + 1) >> shift >> 8)
		shift += 8;
	if (value >> (SUB_BITS + 1) >> shift >> 4)
		shift += 4;
	if (value >> (SUB_BITS + 1) >> shift >> 2)
		shift += 2;
	if (value >> (SUB_BITS + 1) >> shift >> 1)
		shift += 1;
	if (value >> SUB_BITS >> shift >> 1)
		shift += 1;
	return shift * (1 << SUB_BITS) + (u32)(value >> shift);
}

INLINE void tally_one(struct tally_key *key, u64 sum)
{
	struct tally *there = bpf_map_lookup_elem(&tallies, key);
	if (!there) {
		struct tally none = {};
		/* another processor may have been faster: then its entry stays */
		bpf_map_update_elem(&tallies, key, &none, 1);
		there = bpf_map_lookup_elem(&tallies, key);
	}
	if (!there) {
		count_lost(LOST_TALLIES);
		return;
	}
	__sync_fetch_and_add(&there->count, 1);
	__sync_fetch_and_add(&there->sum, sum);
}

/* Counts one operation; a global function, verified once, of no more than five numbers. `moves`: whether size and
 * result are bytes; 2: the size alone, of a copy that read no file. */
__attribute__((noinline)) int count_one(u64 where, u32 op_and_moves, u64 duration, u64 size, s64 result)
{
	struct tally_key key = { .process = (u32)where, .device = where >> 32, .op = op_and_moves & 255, .what = LATENCY };
	key.bucket = bucket_of(duration);
	if (duration == ~0ULL) {
		key.bucket = 0, key.what = UNTIMED, duration = 0;
	}
	tally_one(&key, duration);
	if (op_and_moves >> 8) {
		key.what = SIZE_ASKED;
		key.bucket = bucket_of((s64)size < 0 ? 0 : size);
		tally_one(&key, result > 0 && op_and_moves >> 8 == 1 ? result : 0);
	}
	if (result < 0) {
		key.what = FAILED;
		key.bucket = 0;
		tally_one(&key, 0);
	}
	return 0;
}

/* What a copy brought into a file, which may lie on another file system than its source. */
__attribute__((noinline)) int count_written(u32 process, u32 device, u32 op, s64 result)
{
	struct tally_key key = { .process = process, .device = device, .op = op, .what = WRITTEN };
	tally_one(&key, result > 0 ? result : 0);
	return 0;
}

INLINE void tally(u32 process, u32 device, u32 op_and_moves, u64 duration, u64 size, s64 result)
{
	count_one(process | (u64)device << 32, op_and_moves, duration, size, result);
}
