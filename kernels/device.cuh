// What the kernels need of a machine, in one place: integers, 16-byte memory accesses, exponentials,
// shuffles, barriers, the bulk-copy engine, clusters. No header of CUDA is needed, so that NVRTC
// compiles the kernels wherever there is a driver. Tests define ICPO_EMULATED and put the same names
// on the CPU, one fiber a thread; the kernels can not tell the difference.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#ifdef ICPO_EMULATED
#include "emulated.h"
#else

#define DEVICE __device__ __forceinline__
// A kernel takes one struct, so that Rust passes one pointer, and both sides check its size.
#define KERNEL(name, Arguments, threads, blocks_per_sm) \
    extern "C" __global__ void __launch_bounds__(threads, blocks_per_sm) \
        name(const __grid_constant__ Arguments arguments)
#define UNROLL _Pragma("unroll")

// The fused kernel needs what sm_90 brought: clusters, mbarriers that count bytes, bulk copies.
#if __CUDA_ARCH__ >= 900
#define HAS_CLUSTERS 1
#endif

DEVICE u8* shared_memory() {
    extern __shared__ __align__(128) u8 icpo_shared[];
    return icpo_shared;
}
DEVICE u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// ---- memory

// Plain loads, not .nc: in place, the same kernel writes what it has read.
DEVICE uint4 load_16(const void* p) {
    uint4 v;
    asm volatile("ld.global.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}
DEVICE void store_16(void* p, uint4 v) {
    asm volatile("st.global.cs.v4.u32 [%0], {%1,%2,%3,%4};" ::"l"(p), "r"(v.x), "r"(v.y), "r"(v.z),
                 "r"(v.w)
                 : "memory");
}

// ---- numbers

DEVICE float bits_to_float(u32 bits) { return __uint_as_float(bits); }
DEVICE u32 float_to_bits(float x) { return __float_as_uint(x); }
// 2^x to 2^-22 relative; results below 2^-126 are 0.
DEVICE float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
// fmaxf would drop a NaN, and a row with a NaN would look sound.
DEVICE float max_or_nan(float a, float b) {
    float y;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
    return y;
}
DEVICE u32 pack_bf16(float low, float high) {
    u32 bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}
DEVICE u32 pack_f16(float low, float high) {
    u32 bits;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}
DEVICE float f16_low(u32 bits) {
    float x;
    asm("{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l;}" : "=f"(x) : "r"(bits));
    return x;
}
DEVICE float f16_high(u32 bits) {
    float x;
    asm("{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, h;}" : "=f"(x) : "r"(bits));
    return x;
}
DEVICE u32 max_bf16x2(u32 a, u32 b) {
    u32 bits;
    asm("max.bf16x2 %0, %1, %2;" : "=r"(bits) : "r"(a), "r"(b));
    return bits;
}
DEVICE u32 max_f16x2(u32 a, u32 b) {
    u32 bits;
    asm("max.f16x2 %0, %1, %2;" : "=r"(bits) : "r"(a), "r"(b));
    return bits;
}
// Counts if x is greater, in two instructions. (Of `count += x > than` the compiler makes three.)
DEVICE void count_greater(u32& count, float x, float than) {
    asm("{ .reg .pred p; setp.gt.f32 p, %1, %2; @p add.u32 %0, %0, 1; }"
        : "+r"(count)
        : "f"(x), "f"(than));
}
DEVICE u32 double_low(double x) { return (u32)__double2loint(x); }
DEVICE u32 double_high(double x) { return (u32)__double2hiint(x); }

// ---- threads

DEVICE float shuffle_xor(float v, int lanes) { return __shfl_xor_sync(0xffffffffu, v, lanes); }
DEVICE double shuffle_xor(double v, int lanes) { return __shfl_xor_sync(0xffffffffu, v, lanes); }
DEVICE u32 shuffle_xor(u32 v, int lanes) { return __shfl_xor_sync(0xffffffffu, v, lanes); }
DEVICE u32 shuffle_first(u32 v) { return __shfl_sync(0xffffffffu, v, 0); }
DEVICE void sync_warp() { __syncwarp(); }
DEVICE void sync_block() { __syncthreads(); }

#ifdef HAS_CLUSTERS

// ---- mbarriers: a phase ends when all arrivals and all expected bytes are in

DEVICE void barrier_init(u64* b, u32 arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals)
                 : "memory");
}
// Makes initialised barriers known to the copy engine and to the other CTAs.
DEVICE void barrier_init_done() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
DEVICE void barrier_arrive(u64* b) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
DEVICE void barrier_arrive_expecting(u64* b, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)),
                 "r"(bytes)
                 : "memory");
}
// Whether the phase of this parity has ended, of a barrier on which only this CTA arrives.
DEVICE bool barrier_ended(u64* b, u32 parity) {
    u32 ended;
    asm volatile(
        "{ .reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;"
        " selp.u32 %0, 1, 0, p; }"
        : "=r"(ended)
        : "r"(shared_address(b)), "r"(parity)
        : "memory");
    return ended != 0;
}
// The same, and what other CTAs of the cluster sent is then visible. Compilers may empty the
// first-level cache at each call for that, so it is asked of no barrier that can do without.
DEVICE bool barrier_ended_for_cluster(u64* b, u32 parity) {
    u32 ended;
    asm volatile(
        "{ .reg .pred p; mbarrier.test_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;"
        " selp.u32 %0, 1, 0, p; }"
        : "=r"(ended)
        : "r"(shared_address(b)), "r"(parity)
        : "memory");
    return ended != 0;
}
DEVICE void barrier_wait(u64* b, u32 parity) {
    asm volatile(
        "{ .reg .pred p; WAIT_%=: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;"
        " @p bra DONE_%=; bra WAIT_%=; DONE_%=: }" ::"r"(shared_address(b)),
        "r"(parity)
        : "memory");
}

// ---- bulk copies and clusters

// Copies from global to this CTA's shared memory; both aligned to 16 bytes. Arrives as bytes on b.
DEVICE void bulk_load(void* to, const void* from, u32 bytes, u64* b) {
    asm volatile(
        "{ .reg .b64 policy; createpolicy.fractional.L2::evict_first.b64 policy, 1.0;"
        " cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
        " [%0], [%1], %2, [%3], policy; }" ::"r"(shared_address(to)),
        "l"(from), "r"(bytes), "r"(shared_address(b))
        : "memory");
}
DEVICE u32 cluster_rank() {
    u32 r;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    return r;
}
DEVICE u32 cluster_index() {
    u32 r;
    asm volatile("mov.u32 %0, %%clusterid.x;" : "=r"(r));
    return r;
}
DEVICE u32 cluster_count() {
    u32 r;
    asm volatile("mov.u32 %0, %%nclusterid.x;" : "=r"(r));
    return r;
}
// Stores 16 (8) bytes at the place of `to` in the shared memory of CTA `rank` of the cluster, and
// counts them as bytes on that CTA's barrier at the place of `b`.
DEVICE void send_16(void* to, u64* b, u32 rank, u32 x, u32 y, u32 z, u32 w) {
    asm volatile(
        "{ .reg .b32 a, m; mapa.shared::cluster.u32 a, %0, %2; mapa.shared::cluster.u32 m, %1, %2;"
        " st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [a], {%3,%4,%5,%6}, [m]; }" ::
            "r"(shared_address(to)),
        "r"(shared_address(b)), "r"(rank), "r"(x), "r"(y), "r"(z), "r"(w)
        : "memory");
}
DEVICE void send_8(void* to, u64* b, u32 rank, u32 x, u32 y) {
    asm volatile(
        "{ .reg .b32 a, m; mapa.shared::cluster.u32 a, %0, %2; mapa.shared::cluster.u32 m, %1, %2;"
        " st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [a], {%3,%4}, [m]; }" ::
            "r"(shared_address(to)),
        "r"(shared_address(b)), "r"(rank), "r"(x), "r"(y)
        : "memory");
}
DEVICE void sync_cluster() {
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
#endif
#endif

DEVICE float infinity() { return bits_to_float(0x7f800000u); }
DEVICE float not_a_number() { return bits_to_float(0x7fc00000u); }
