// Group-relative advantages (eq. 4 and 6), with the conventions of src/objective/advantage.rs.
//
// A warp a rollout looks through all of them for its group. That is quadratic, but a step has
// hundreds of rollouts or thousands, all in the cache; and it needs no sort, no table of groups and
// no atomics, so sums are always in the same order.
#include "arguments.cuh"

static const u32 ADVANTAGE_WARPS = 4;

struct AdvantageArguments {
    const double* rewards;  // (rollouts,), as all that follow
    const i64* groups;
    const u8* expert;  // or null: none is an expert's
    const u8* keep;    // or null: all are kept
    double* advantages;
    u8* status;  // 1 where a kept reward is not finite, else 0; or null
    double eps;
    u32 rollouts;
    u32 unbiased;   // whether to divide by the standard deviation
    u32 on_policy;  // whether the statistics are those of G_on alone
    u32 unused;
};
static_assert(sizeof(AdvantageArguments) == 72, "the twin in src/cuda/arguments.rs");

// Whether rollout i is one of those that the statistics of a group come from.
DEVICE bool counts(const AdvantageArguments& a, i64 group, u32 i) {
    if (a.groups[i] != group || (a.keep && !a.keep[i])) return false;
    return !(a.on_policy && a.expert && a.expert[i]);
}

struct Statistics {
    double mean;
    double deviation;
};

// Of the rollouts of a group, by a whole warp.
DEVICE Statistics statistics(const AdvantageArguments& a, i64 group, u32 lane) {
    double sum = 0.0;
    u32 size = 0, some = 0;  // any one of them
    for (u64 i = lane; i < a.rollouts; i += 32) {
        if (!counts(a, group, (u32)i)) continue;
        sum += a.rewards[i];
        size++;
        some = (u32)i;
    }
    UNROLL for (int step = 16; step; step >>= 1) {
        sum += shuffle_xor(sum, step);
        size += shuffle_xor(size, step);
        const u32 other = shuffle_xor(some, step);
        some = other > some ? other : some;
    }
    // verl's convention for a group of one: the reward itself is the advantage.
    if (size < 2) return Statistics{0.0, 1.0 + a.eps};
    const double mean = sum / size, one = a.rewards[some];
    double squares = 0.0;
    u32 different = 0;
    for (u64 i = lane; i < a.rollouts; i += 32) {
        if (!counts(a, group, (u32)i)) continue;
        const double distance = a.rewards[i] - mean;
        squares += distance * distance;
        different += a.rewards[i] != one;
    }
    UNROLL for (int step = 16; step; step >>= 1) {
        squares += shuffle_xor(squares, step);
        different += shuffle_xor(different, step);
    }
    // Without spread there is nothing to divide by. (The mean of equal numbers may differ from them
    // in the last bit.)
    if (different == 0) return Statistics{one, 1.0};
    return Statistics{mean, sqrt(squares / (size - 1)) + a.eps};
}

// No shared memory.
KERNEL(icpo_group_advantages, AdvantageArguments, 128, 1) {
    const AdvantageArguments& a = arguments;
    const u64 rollout = (u64)blockIdx.x * ADVANTAGE_WARPS + threadIdx.x / 32;
    const u32 lane = threadIdx.x % 32;
    if (rollout >= a.rollouts) return;  // all lanes of the warp or none
    double advantage = 0.0;
    bool sound = true;
    if (!a.keep || a.keep[rollout]) {
        const Statistics group = statistics(a, a.groups[rollout], lane);
        advantage = a.rewards[rollout] - group.mean;
        sound = fabs(a.rewards[rollout]) < (double)infinity();
        if (a.unbiased) advantage /= group.deviation;
    }
    if (lane == 0) {
        a.advantages[rollout] = advantage;
        if (a.status) a.status[rollout] = sound ? 0 : 1;
    }
}
