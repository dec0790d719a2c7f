// A row of logits in one pass: what log-probability, entropy and rank need, in base 2.
//
// With c = log2(e)/τ and a reference r near the greatest x·c, t = x·c − r in one fused multiply-add:
// the product is not rounded, so neither is the distance between two logits. The selected token is
// kept out of the sums and put back in double at the end: log-probabilities near 0, which training
// has many of, then keep their digits, and so does 1 − p.
//
// Sums are in float within a thread (some hundred terms) and in double from the warp on, always in
// the same order.
#pragma once
#include "arguments.cuh"
#include "element.cuh"

static const double LN2 = 0.6931471805599453;
// Below the reference by more than this, 2^t is 0 as a float; beyond it −inf times 0 would be NaN.
static const float FLOOR = -200.f;
// The reference of nothing: any logit exceeds it.
static const float NOTHING = -3e38f;
static const u32 NO_VECTOR = 0xffffffffu;

struct Sums {
    float reference;  // r
    float rest;       // Σ 2^t
    float weighted;   // Σ 2^t·t
};

DEVICE Sums no_sums() { return Sums{NOTHING, 0.f, 0.f}; }

// Makes room for logits of which the greatest is `greatest`. Seldom does anything: a reference that
// is exceeded by 8 makes terms of 2^8, which are no danger to a float.
DEVICE void make_room(Sums& sums, float greatest, float c) {
    const float top = greatest * c;
    if (top > sums.reference + 8.f) {
        const float shift = fmaxf(sums.reference - top, -1000.f), factor = exp2_fast(shift);
        sums.weighted = factor * fmaf(sums.rest, shift, sums.weighted);
        sums.rest *= factor;
        sums.reference = top;
    }
}

// Adds logits that there is room for.
template <int COUNT> DEVICE void add(Sums& sums, const float* x, float c) {
    UNROLL for (int i = 0; i < COUNT; i++) {
        const float t = max_or_nan(fmaf(x[i], c, -sums.reference), FLOOR);
        const float e = exp2_fast(t);
        sums.rest += e;
        sums.weighted = fmaf(e, t, sums.weighted);
    }
}

// Takes the selected token out of the vector that holds it, and gives its logit.
template <class Element> DEVICE float take_out(float* x, u32 place) {
    float label = 0.f;
    UNROLL for (u32 i = 0; i < (u32)Element::COUNT; i++) {
        if (i == place) {
            label = x[i];
            x[i] = -infinity();
        }
    }
    return label;
}

struct State {
    double rest;
    double weighted;
    float reference;
};

DEVICE State state_of(const Sums& sums) {
    return State{(double)sums.rest, (double)sums.weighted, sums.reference};
}

// The same state, relative to a reference that is not smaller.
DEVICE State relative_to(const State& state, float reference) {
    const float shift = fmaxf(state.reference - reference, -1000.f);
    const double factor = (double)exp2_fast(shift);
    return State{factor * state.rest, factor * (state.weighted + state.rest * (double)shift),
                 reference};
}

DEVICE State merge(const State& a, const State& b) {
    const float reference = fmaxf(a.reference, b.reference);
    const State x = relative_to(a, reference), y = relative_to(b, reference);
    return State{x.rest + y.rest, x.weighted + y.weighted, reference};
}

// The states of 32 lanes together, in every lane.
DEVICE State across_lanes(const State& mine) {
    float reference = mine.reference;
    UNROLL for (int step = 16; step; step >>= 1) {
        reference = fmaxf(reference, shuffle_xor(reference, step));
    }
    State state = relative_to(mine, reference);
    UNROLL for (int step = 16; step; step >>= 1) {
        state.rest += shuffle_xor(state.rest, step);
        state.weighted += shuffle_xor(state.weighted, step);
    }
    return state;
}

// ---- one value a row, in double

struct RowResult {
    double log_sum;  // ln Σ e^((x − r)/τ), the selected token included
    double logp;     // ln p of the selected token
    double entropy;  // −Σ p ln p
    u32 status;
};

// From sums over the other tokens, Σ e^u and Σ e^u·u with u = (x − r)/τ, and the selected token's
// own u. The larger of the two parts goes before the logarithm, so that the smaller keeps its digits.
DEVICE RowResult finish_row(double rest, double weighted, double selected) {
    RowResult row;
    const double own = exp(selected);
    // A NaN or +inf anywhere makes `rest` or `own` so; a row of nothing but −inf leaves both 0.
    const bool sound = rest + own > 0.0 && rest + own < (double)infinity();
    if (own >= rest) {
        const double others = rest / own;
        row.log_sum = selected + log1p(others);
        row.logp = -log1p(others);
    } else {
        row.log_sum = log(rest) + log1p(own / rest);
        row.logp = selected - row.log_sum;
    }
    const double sum = rest + own;
    row.entropy = row.log_sum - (weighted + (own > 0.0 ? own * selected : 0.0)) / sum;
    row.entropy = row.entropy < 0.0 ? 0.0 : row.entropy;
    row.status = SOUND;
    if (!sound) {
        row.log_sum = row.logp = row.entropy = (double)not_a_number();
        row.status = UNSOUND_ROW;
    } else if (row.logp == -(double)infinity()) {
        row.status = IMPOSSIBLE_TOKEN;
    }
    return row;
}

// The gradient of a row: ∂L/∂x_j = (g·(δ_jy − p_j) − h·p_j·(ln p_j + H))/τ, with g = ∂L/∂logp and
// h = ∂L/∂H, is 2^t·(slope·t + constant) at t = x·c − offset for all tokens but the selected one.
struct RowGradient {
    float offset;
    float constant;
    float slope;
    float label;
};

// `log2_sum` is log2 Σ e^(x/τ). Its rounding to float, up to 2^-19 for logits around 50, would be a
// factor on all of p; it goes into the coefficients.
DEVICE RowGradient row_gradient(double log2_sum, double logp, double entropy, double g, double h,
                                double inverse_temperature) {
    RowGradient row;
    row.offset = (float)log2_sum;
    const double lost = ((double)row.offset - log2_sum) * LN2;
    const double mass = inverse_temperature * exp(lost);
    row.constant = (float)(-mass * (g + h * (entropy + lost)));
    row.slope = (float)(-mass * h * LN2);
    const double p = exp(logp);
    const double spread = p > 0.0 ? h * p * (logp + entropy) : 0.0;
    // 1 − p without cancellation
    row.label = (float)(inverse_temperature * (-g * expm1(logp) - spread));
    return row;
}

template <int COUNT, bool ENTROPY>
DEVICE void to_gradient(float* x, float c, const RowGradient& row) {
    UNROLL for (int i = 0; i < COUNT; i++) {
        float t = fmaf(x[i], c, -row.offset);
        if (ENTROPY) t = max_or_nan(t, FLOOR);
        const float e = exp2_fast(t);
        x[i] = e * (ENTROPY ? fmaf(row.slope, t, row.constant) : row.constant);
    }
}

// Puts the selected token's own gradient where it belongs.
template <class Element> DEVICE void put_in(float* x, u32 place, float label) {
    UNROLL for (u32 i = 0; i < (u32)Element::COUNT; i++) {
        if (i == place) x[i] = label;
    }
}
