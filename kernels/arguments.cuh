// What several kernels take. Each struct has a twin of the same layout in src/cuda/arguments.rs.
#pragma once
#include "device.cuh"

// Rows of a matrix, or of a (B, T, V) tensor whose rows lie anywhere. Strides are in elements, and
// 64 bits wide: 65,536 rows of 151,936 logits are beyond what 32 bits count.
struct Rows {
    u8* base;
    i64 outer_stride;
    i64 inner_stride;
    u32 per_outer;  // rows between two steps of the outer stride
    u32 unused;

    template <class Element> DEVICE u8* row(u32 i) const {
        const u32 outer = i / per_outer, inner = i - outer * per_outer;
        return base + (outer * outer_stride + inner * inner_stride) * Element::SIZE;
    }
};

// log2(e)/τ, one for all rows or one a row. Passes over logits take it in float.
struct Scales {
    const double* each;  // or null
    double all;

    DEVICE double at(u32 i) const { return each ? each[i] : all; }
    DEVICE float rounded(u32 i) const { return (float)at(i); }
};

// Values a token in float or double, or absent.
struct Reals {
    const void* at;  // or null
    u32 wide;        // double, not float
    u32 unused;

    DEVICE bool present() const { return at != 0; }
    DEVICE double operator[](u32 i) const {
        return wide ? ((const double*)at)[i] : (double)((const float*)at)[i];
    }
};
struct RealsOut {
    void* at;  // or null
    u32 wide;
    u32 unused;

    DEVICE void put(u32 i, double x) const {
        if (wide) ((double*)at)[i] = x;
        else ((float*)at)[i] = (float)x;
    }
};

// What may be wrong with a token; 0 if nothing is. src/cuda/status.rs gives the words.
enum Status {
    SOUND = 0,
    BAD_ID = 1,            // not in the vocabulary
    UNSOUND_ROW = 2,       // a logit is NaN or +inf, or all are -inf
    IMPOSSIBLE_TOKEN = 3,  // the selected token's logit is -inf
    BAD_LOGP = 4,
    BAD_OLD_LOGP = 5,
    BAD_ADVANTAGE = 6,
    BAD_BEHAVIOR_LOGP = 7,
    BAD_REF_LOGP = 8,
    BAD_ENTROPY = 9,
    BAD_TEMPERATURE = 10,
};
