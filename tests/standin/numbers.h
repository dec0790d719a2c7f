// Arithmetic of kernels/device.cuh on the CPU: the same results as the instructions that it names,
// or, where these are approximate, results that are as far off as they may be.
#pragma once
#include <cstring>

DEVICE float bits_to_float(u32 bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
DEVICE u32 float_to_bits(float x) {
    u32 bits;
    memcpy(&bits, &x, 4);
    return bits;
}
DEVICE u32 double_low(double x) {
    u64 bits;
    memcpy(&bits, &x, 8);
    return (u32)bits;
}
DEVICE u32 double_high(double x) {
    u64 bits;
    memcpy(&bits, &x, 8);
    return (u32)(bits >> 32);
}

// A correct 2^x, moved by up to 2^-22 of itself in a direction that is fixed for each x: whoever
// relies on more than the instruction promises is found out. 2^0 is exactly 1 on the device too.
DEVICE float exp2_fast(float x) {
    if (fabsf(x) < 1.17549435e-38f) return 1.f;
    const float y = exp2f(x);
    if (y < 1.17549435e-38f) return 0.f;
    if (!(y < __builtin_inff())) return y;
    u32 hash = float_to_bits(x) * 0x9e3779b1u;
    hash ^= hash >> 15;
    const float direction = (float)(int)(hash * 0x85ebca77u) * 0x1p-31f;  // in -1..1
    // Half a unit in the last place is lost in 2^x already, another half in this sum: 2^-24 each.
    return y + y * (direction * 0x1.cp-24f);
}

DEVICE void count_greater(u32& count, float x, float than) { count += x > than ? 1u : 0u; }
DEVICE float max_or_nan(float a, float b) {
    if (a != a || b != b) return bits_to_float(0x7fffffffu);
    return a > b || (a == b && !(float_to_bits(a) >> 31)) ? a : b;
}

// ---- bf16: the upper half of a float

DEVICE u32 to_bf16(float x) {
    const u32 bits = float_to_bits(x);
    if (x != x) return 0x7fffu;
    return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
DEVICE u32 pack_bf16(float low, float high) { return to_bf16(low) | to_bf16(high) << 16; }

// ---- f16: 5 bits of exponent, 10 of fraction

DEVICE float from_f16(u32 half) {
    const u32 sign = (half & 0x8000u) << 16, rest = half & 0x7fffu;
    // The exponents of the two differ by 112; a multiplication sees to subnormal numbers as well.
    float magnitude = bits_to_float(rest << 13) * 0x1p112f;
    if (rest >= 0x7c00u) magnitude = bits_to_float(0x7f800000u | (rest & 0x3ffu) << 13);
    return bits_to_float(float_to_bits(magnitude) | sign);
}
DEVICE u32 to_f16(float x) {
    if (x != x) return 0x7fffu;
    const u32 bits = float_to_bits(x), sign = bits >> 16 & 0x8000u;
    const float magnitude = fabsf(x);
    if (magnitude >= 65520.f) return sign | 0x7c00u;
    // Below 2^-14 the last place is worth 2^-24, and the addition rounds to it.
    if (magnitude < 0x1p-14f) return sign | (float_to_bits(magnitude + 0.5f) - 0x3f000000u);
    const u32 rest = float_to_bits(magnitude) - (112u << 23);
    return sign | (rest + 0xfffu + (rest >> 13 & 1)) >> 13;
}
DEVICE u32 pack_f16(float low, float high) { return to_f16(low) | to_f16(high) << 16; }
DEVICE float f16_low(u32 bits) { return from_f16(bits & 0xffffu); }
DEVICE float f16_high(u32 bits) { return from_f16(bits >> 16); }

// ---- two at a time: a NaN gives way to a number, -0 to +0

// Of 16-bit numbers as bits: sign and magnitude become two's complement, which compares as they do.
DEVICE u32 greater_half(u32 a, u32 b, u32 infinite) {
    const bool a_is_nan = (a & 0x7fffu) > infinite, b_is_nan = (b & 0x7fffu) > infinite;
    if (a_is_nan) return b_is_nan ? 0x7fffu : b;
    if (b_is_nan) return a;
    const int x = a & 0x8000u ? -(int)(a & 0x7fffu) - 1 : (int)a;
    const int y = b & 0x8000u ? -(int)(b & 0x7fffu) - 1 : (int)b;
    return x > y ? a : b;
}
DEVICE u32 greater_halves(u32 a, u32 b, u32 infinite) {
    return greater_half(a & 0xffffu, b & 0xffffu, infinite) |
           greater_half(a >> 16, b >> 16, infinite) << 16;
}
DEVICE u32 max_bf16x2(u32 a, u32 b) { return greater_halves(a, b, 0x7f80u); }
DEVICE u32 max_f16x2(u32 a, u32 b) { return greater_halves(a, b, 0x7c00u); }
