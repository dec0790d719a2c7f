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

// Adds logits that there is room for: these few by themselves first, for what is added to a large
// sum one by one is rounded as often.
template <int COUNT> DEVICE void add(Sums& sums, const float* x, float c) {
    float rest = 0.f, weighted = 0.f;
    UNROLL for (int i = 0; i < COUNT; i++) {
        const float t = max_or_nan(fmaf(x[i], c, -sums.reference), FLOOR);
        const float e = exp2_fast(t);
        rest = i == 0 ? e : rest + e;
        weighted = i == 0 ? e * t : fmaf(e, t, weighted);
    }
    sums.rest += rest;
    sums.weighted += weighted;
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

// How much too great a scale is that was rounded to float, as a fraction of it.
DEVICE double excess_of(double scale) { return (double)(float)scale / scale - 1.0; }

struct RowResult {
    double log_sum;  // ln Σ e^((x − r)/τ), the selected token included
    double logp;     // ln p of the selected token
    double entropy;  // −Σ p ln p, below 0 by a rounding at most
    u32 status;
};

// From sums over the other tokens, Σ e^u and Σ e^u·u with u = (x − r)/τ, and the selected token's
// own u. The larger of the two parts goes before the logarithm, so that the smaller keeps its digits.
//
// All u are those of a 1/τ that was rounded to float, and is too great by the factor 1 + `excess`:
// unlikely tokens would notice. d ln p / d ln (1/τ) is u of the token less the mean of all u.
DEVICE RowResult finish_row(double rest, double weighted, double selected, double excess) {
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
    if (own > 0.0) row.logp -= excess * (rest * selected - weighted) / sum;
    row.entropy = row.log_sum - (weighted + (own > 0.0 ? own * selected : 0.0)) / sum;
    row.status = SOUND;
    if (!sound) {
        row.log_sum = row.logp = row.entropy = (double)not_a_number();
        row.status = UNSOUND_ROW;
    } else if (row.logp == -(double)infinity()) {
        row.status = IMPOSSIBLE_TOKEN;
    }
    return row;
}

// As results are reported. What gradients are made from stays as it is: there, the errors of H and of
// ln p cancel.
DEVICE double reported_entropy(double entropy) { return entropy < 0.0 ? 0.0 : entropy; }

// The gradient of a row: ∂L/∂x_j = (g·(δ_jy − p_j) − h·p_j·(ln p_j + H))/τ, with g = ∂L/∂logp and
// h = ∂L/∂H, is 2^t·(slope·t + constant) at t = x·c − offset for all tokens but the selected one.
// The offset is log2 Σ e^(x/τ) − H/ln 2, so that t·ln 2 is ln p + H: near the greatest entropy, where
// the two cancel, nothing is lost.
struct RowGradient {
    float offset;
    float constant;
    float slope;
    float label;
};

// `log2_sum` is log2 Σ e^(x/τ). The rounding of the offset to float, up to 2^-19 for logits around
// 50, would be a factor on all of p; it goes into the coefficients.
DEVICE RowGradient row_gradient(double log2_sum, double logp, double entropy, double g, double h,
                                double inverse_temperature) {
    RowGradient row;
    const double offset = log2_sum - entropy / LN2;
    row.offset = (float)offset;
    const double lost = ((double)row.offset - offset) * LN2;
    const double mass = inverse_temperature * exp(lost - entropy);
    row.constant = (float)(-mass * (g + h * lost));
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
