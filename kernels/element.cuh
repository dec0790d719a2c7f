// Element types of logits. 16 bytes hold COUNT of them, a word of MINUS_INF one or two; arithmetic is
// in float.
#pragma once
#include "device.cuh"

struct BF16 {
    static const int COUNT = 8;
    static const int SIZE = 2;
    static const u32 MINUS_INF = 0xff80ff80u;
    DEVICE static void unpack(uint4 v, float* x) {
        const u32 words[4] = {v.x, v.y, v.z, v.w};
        UNROLL for (int i = 0; i < 4; i++) {
            x[2 * i] = bits_to_float(words[i] << 16);
            x[2 * i + 1] = bits_to_float(words[i] & 0xffff0000u);
        }
    }
    DEVICE static uint4 pack(const float* x) {
        uint4 v;
        v.x = pack_bf16(x[0], x[1]);
        v.y = pack_bf16(x[2], x[3]);
        v.z = pack_bf16(x[4], x[5]);
        v.w = pack_bf16(x[6], x[7]);
        return v;
    }
    // Greatest of the numbers among them: two at a time, as they are stored.
    DEVICE static float greatest(uint4 v) {
        const u32 two = max_bf16x2(max_bf16x2(v.x, v.y), max_bf16x2(v.z, v.w));
        return fmaxf(bits_to_float(two << 16), bits_to_float(two & 0xffff0000u));
    }
    DEVICE static uint4 nothing() { return uint4{MINUS_INF, MINUS_INF, MINUS_INF, MINUS_INF}; }
    DEVICE static float load(const void* p) { return bits_to_float((u32)*(const u16*)p << 16); }
    DEVICE static void store(void* p, float x) { *(u16*)p = (u16)pack_bf16(x, 0.f); }
};

struct F16 {
    static const int COUNT = 8;
    static const int SIZE = 2;
    static const u32 MINUS_INF = 0xfc00fc00u;
    DEVICE static void unpack(uint4 v, float* x) {
        const u32 words[4] = {v.x, v.y, v.z, v.w};
        UNROLL for (int i = 0; i < 4; i++) {
            x[2 * i] = f16_low(words[i]);
            x[2 * i + 1] = f16_high(words[i]);
        }
    }
    DEVICE static uint4 pack(const float* x) {
        uint4 v;
        v.x = pack_f16(x[0], x[1]);
        v.y = pack_f16(x[2], x[3]);
        v.z = pack_f16(x[4], x[5]);
        v.w = pack_f16(x[6], x[7]);
        return v;
    }
    DEVICE static float greatest(uint4 v) {
        const u32 two = max_f16x2(max_f16x2(v.x, v.y), max_f16x2(v.z, v.w));
        return fmaxf(f16_low(two), f16_high(two));
    }
    DEVICE static uint4 nothing() { return uint4{MINUS_INF, MINUS_INF, MINUS_INF, MINUS_INF}; }
    DEVICE static float load(const void* p) { return f16_low(*(const u16*)p); }
    DEVICE static void store(void* p, float x) { *(u16*)p = (u16)pack_f16(x, 0.f); }
};

struct F32 {
    static const int COUNT = 4;
    static const int SIZE = 4;
    static const u32 MINUS_INF = 0xff800000u;
    DEVICE static void unpack(uint4 v, float* x) {
        x[0] = bits_to_float(v.x);
        x[1] = bits_to_float(v.y);
        x[2] = bits_to_float(v.z);
        x[3] = bits_to_float(v.w);
    }
    DEVICE static uint4 pack(const float* x) {
        uint4 v;
        v.x = float_to_bits(x[0]);
        v.y = float_to_bits(x[1]);
        v.z = float_to_bits(x[2]);
        v.w = float_to_bits(x[3]);
        return v;
    }
    DEVICE static float greatest(uint4 v) {
        return fmaxf(fmaxf(bits_to_float(v.x), bits_to_float(v.y)),
                     fmaxf(bits_to_float(v.z), bits_to_float(v.w)));
    }
    DEVICE static uint4 nothing() { return uint4{MINUS_INF, MINUS_INF, MINUS_INF, MINUS_INF}; }
    DEVICE static float load(const void* p) { return *(const float*)p; }
    DEVICE static void store(void* p, float x) { *(float*)p = x; }
};
