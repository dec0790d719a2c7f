// The names of kernels/device.cuh on the CPU. That file includes this one, after its integer types,
// when ICPO_EMULATED is defined. Each CUDA thread is a fiber of the stand-in driver.
#pragma once
#include <cmath>
#include <cstring>

#include "interface.h"

#define DEVICE inline
#define UNROLL
#if __CUDA_ARCH__ >= 900
#define HAS_CLUSTERS 1
#endif

// ---- what the driver finds in an image

namespace standin {

static const Machine* machine;
static thread_local const Thread* self;

}  // namespace standin

extern "C" __attribute__((visibility("default"))) const standin::Image standin_image;
const standin::Image standin_image = {
    STANDIN_SOURCES, __CUDA_ARCH__, [](const standin::Machine* m) { standin::machine = m; },
    []() { return &standin::self; }};

#define KERNEL(name, Arguments, threads, blocks_per_sm) \
    STANDIN_KERNEL(name, Arguments, threads, blocks_per_sm)
#define STANDIN_KERNEL(name, Arguments, threads, blocks_per_sm)                                 \
    static void name(const Arguments& arguments);                                               \
    extern "C" __attribute__((visibility("default"))) const standin::Kernel standin_kernel_##name; \
    const standin::Kernel standin_kernel_##name = {                                             \
        [](const void* arguments) { name(*(const Arguments*)arguments); }, sizeof(Arguments),   \
        threads, blocks_per_sm};                                                                \
    static void name(const Arguments& arguments)

// ---- what CUDA has built in

struct alignas(16) uint4 {
    u32 x, y, z, w;
};

#define threadIdx (standin::self->index)
#define blockIdx (standin::self->block)
#define blockDim (standin::self->block_size)
#define gridDim (standin::self->grid)

DEVICE int min(int a, int b) { return a < b ? a : b; }
DEVICE int max(int a, int b) { return a > b ? a : b; }
DEVICE u32 min(u32 a, u32 b) { return a < b ? a : b; }
DEVICE u32 max(u32 a, u32 b) { return a > b ? a : b; }
DEVICE i64 min(i64 a, i64 b) { return a < b ? a : b; }
DEVICE i64 max(i64 a, i64 b) { return a > b ? a : b; }
DEVICE u64 min(u64 a, u64 b) { return a < b ? a : b; }
DEVICE u64 max(u64 a, u64 b) { return a > b ? a : b; }

#include "numbers.h"

// ---- memory

DEVICE u8* shared_memory() { return (u8*)standin::self->shared; }

DEVICE void need_alignment(const void* p, const char* what) {
    if ((u64)p % 16) standin::machine->fault(standin::MISALIGNED_ADDRESS, what);
}
DEVICE uint4 load_16(const void* p) {
    need_alignment(p, "load_16 of an address that is no multiple of 16");
    uint4 v;
    memcpy(&v, p, 16);
    return v;
}
DEVICE void store_16(void* p, uint4 v) {
    need_alignment(p, "store_16 to an address that is no multiple of 16");
    memcpy(p, &v, 16);
}

// ---- threads

template <class T> DEVICE T standin_shuffle(T v, u32 from) {
    u64 bits = 0;
    memcpy(&bits, &v, sizeof v);
    bits = standin::machine->shuffle(bits, sizeof v, from);
    memcpy(&v, &bits, sizeof v);
    return v;
}
DEVICE u32 standin_lane() { return standin::self->index.x % 32; }
DEVICE float shuffle_xor(float v, int lanes) { return standin_shuffle(v, standin_lane() ^ lanes); }
DEVICE double shuffle_xor(double v, int lanes) { return standin_shuffle(v, standin_lane() ^ lanes); }
DEVICE u32 shuffle_xor(u32 v, int lanes) { return standin_shuffle(v, standin_lane() ^ lanes); }
DEVICE u32 shuffle_first(u32 v) { return standin_shuffle(v, 0); }
DEVICE void sync_warp() { standin::machine->sync_warp(); }
DEVICE void sync_block() { standin::machine->sync_block(); }

#ifdef HAS_CLUSTERS

// ---- mbarriers, bulk copies, clusters

DEVICE void barrier_init(u64* b, u32 arrivals) { standin::machine->barrier_init(b, arrivals); }
DEVICE void barrier_init_done() { standin::machine->barrier_init_done(); }
DEVICE void barrier_arrive(u64* b) { standin::machine->barrier_arrive(b, 0); }
DEVICE void barrier_arrive_expecting(u64* b, u32 bytes) {
    standin::machine->barrier_arrive(b, bytes);
}
DEVICE bool barrier_ended(u64* b, u32 parity) { return standin::machine->barrier_ended(b, parity); }
DEVICE bool barrier_ended_for_cluster(u64* b, u32 parity) { return barrier_ended(b, parity); }
DEVICE void barrier_wait(u64* b, u32 parity) { standin::machine->barrier_wait(b, parity); }
DEVICE void bulk_load(void* to, const void* from, u32 bytes, u64* b) {
    standin::machine->bulk_load(to, from, bytes, b);
}
DEVICE u32 cluster_rank() { return standin::self->cluster_rank; }
DEVICE u32 cluster_index() { return standin::self->cluster_index; }
DEVICE u32 cluster_count() { return standin::self->cluster_count; }
DEVICE void send_16(void* to, u64* b, u32 rank, u32 x, u32 y, u32 z, u32 w) {
    const u32 words[4] = {x, y, z, w};
    standin::machine->send(to, b, rank, words, 16);
}
DEVICE void send_8(void* to, u64* b, u32 rank, u32 x, u32 y) {
    const u32 words[2] = {x, y};
    standin::machine->send(to, b, rank, words, 8);
}
DEVICE void sync_cluster() { standin::machine->sync_cluster(); }

#endif
