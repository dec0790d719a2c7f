// The loss of one token: clipped on policy (eq. 5), shaped off policy (eq. 7 and 10). The twin of
// src/objective/surrogate.rs and shaping.rs, in the same precision. The fused kernel computes it
// beside threads that hold a row in their registers, so nothing here is an array.
#pragma once
#include "arguments.cuh"

// What an expert token's ratio r̂ is, and whether it is shaped.
enum OffRatio {
    OFF_BEHAVIOR = 0,  // πθ(τ_t | x) / πold(τ_t | x_exp), shaped
    OFF_POLICY = 1,    // πθ(τ_t | x), shaped
    OFF_UNSHAPED = 2,  // as OFF_BEHAVIOR, not shaped
};
// Estimator of the divergence from the reference policy.
enum Kl { KL_NONE = 0, KL_1 = 1, KL_2 = 2, KL_3 = 3 };

// One value a token.
struct TokenInputs {
    Reals old_logp;
    Reals advantage;
    Reals behavior_logp;  // used at expert tokens only; or absent
    Reals ref_logp;       // or absent
    const u8* expert;     // or null: none is an expert's
};
static_assert(sizeof(TokenInputs) == 72, "the twin in src/cuda/arguments.rs");

// LossConfig in numbers. Settings that may be none are infinite then.
struct LossSettings {
    double lam;
    double clip_low;
    double clip_high;
    double dual_clip;
    double log_ratio_clamp;
    double kl_coef;
    double entropy_coef;
    double sft_coef;
    u32 off_ratio;
    u32 kl;
    u32 off_clip;
    u32 unused;
};
static_assert(sizeof(LossSettings) == 80, "the twin in src/cuda/arguments.rs");

// What is known of one valid token.
struct Token {
    double logp;           // ℓ = log πθ(τ_t | x)
    double old_logp;       // log πold(τ_t | x)
    double behavior_logp;  // log πold(τ_t | x_exp) of an expert token; NaN if it is absent
    double ref_logp;       // log πref(τ_t | x), where the caller has it
    double advantage;
    bool expert;
    bool has_behavior;
    bool has_ref;
};

DEVICE Token load_token(const TokenInputs& inputs, u32 i, double logp) {
    Token token;
    token.logp = logp;
    token.old_logp = inputs.old_logp[i];
    token.advantage = inputs.advantage[i];
    token.expert = inputs.expert && inputs.expert[i];
    token.has_behavior = token.expert && inputs.behavior_logp.present();
    token.has_ref = inputs.ref_logp.present();
    token.behavior_logp = token.has_behavior ? inputs.behavior_logp[i] : (double)not_a_number();
    token.ref_logp = token.has_ref ? inputs.ref_logp[i] : 0.0;
    return token;
}

// ---- what is not finite, in the order in which the CPU looks

DEVICE bool is_finite(double x) { return fabs(x) <= 1.7976931348623157e308; }

// Of a valid token's inputs, its log-prob aside. An expert token whose ratio needs the behaviour
// policy's log-prob, where that is absent, counts as one whose log-prob is not finite.
DEVICE u32 input_status(const Token& token, const LossSettings& settings) {
    const bool needs_behavior = token.expert && settings.off_ratio != OFF_POLICY;
    if (!is_finite(token.old_logp)) return BAD_OLD_LOGP;
    if (!is_finite(token.advantage)) return BAD_ADVANTAGE;
    if ((token.has_behavior || needs_behavior) && !is_finite(token.behavior_logp)) {
        return BAD_BEHAVIOR_LOGP;
    }
    if (!is_finite(token.ref_logp)) return BAD_REF_LOGP;
    return SOUND;
}

// Of a valid token whose log-prob came from a row of logits: ids and temperatures are looked at
// before the batch, logits after.
DEVICE u32 row_and_input_status(u32 row, u32 input) {
    const bool row_first = row == BAD_ID || row == BAD_TEMPERATURE || input == SOUND;
    return row_first ? row : input;
}

// ---- the loss

// A function of a ratio x = e^u.
struct Ratio {
    double value;
    double slope;  // d value / du
};

// The ratio itself.
DEVICE Ratio plain_ratio(double u) {
    const double value = exp(u);
    return Ratio{value, value};
}

// f(x) = x/(x + λ) of eq. 10, with df/du = f(1 − f), as a logistic function of u − ln λ: neither
// end overflows, and 1 − f comes from the other tail, so that it does not cancel where f is near 1.
DEVICE Ratio shaped_ratio(double u, double lam) {
    const double v = u - log(lam);
    const double small = exp(-fabs(v));
    const double near = 1.0 / (1.0 + small), far = small * near;
    return Ratio{v >= 0.0 ? near : far, near * far};
}

// The loss of one token before aggregation, with its derivative, and what the diagnostics need.
struct TokenLoss {
    double policy;     // −CLIP(r, Â) or −CLIP(f(r̂), Â)
    double kl;         // the divergence from the reference, not yet times its coefficient
    double sft;        // −ℓ of an expert token
    double d_logp;     // d (policy + kl_coef·kl + sft_coef·sft) / dℓ
    double ratio;      // r or r̂
    double shaped;     // f(r̂), or r
    double slope;      // d shaped / dℓ
    double log_shift;  // ℓ_old − ℓ, or the behaviour policy's − ℓ where known
    bool clipped;
    bool dual_clipped;
};

// NaN stays NaN.
DEVICE double clamp(double u, double low, double high) {
    return u < low ? low : u > high ? high : u;
}

// −CLIP(x, Â) = −min(x Â, clip(x, 1 − ε_low, 1 + ε_high) Â) of eq. 5. Where the bounded one is the
// greater loss, x lies outside the bounds and moving it changes nothing.
DEVICE void put_clipped(TokenLoss& loss, Ratio x, double advantage, const LossSettings& settings) {
    const double bounded = clamp(x.value, 1.0 - settings.clip_low, 1.0 + settings.clip_high);
    const double plain = -advantage * x.value, other = -advantage * bounded;
    loss.clipped = other > plain;
    loss.policy = loss.clipped ? other : plain;
    loss.d_logp = loss.clipped ? 0.0 : -advantage * x.slope;
}

// Eq. 5, r = πθ(τ_t | x) / πold(τ_t | x).
DEVICE void put_on_policy(TokenLoss& loss, const Token& token, const LossSettings& settings) {
    const double limit = settings.log_ratio_clamp;
    const double log_ratio = token.logp - token.old_logp;
    const double u = clamp(log_ratio, -limit, limit);
    Ratio r = plain_ratio(u);
    if (fabs(log_ratio) > limit) r.slope = 0.0;
    put_clipped(loss, r, token.advantage, settings);
    const double most = -token.advantage * settings.dual_clip;
    loss.dual_clipped = token.advantage < 0.0 && loss.policy > most;
    if (loss.dual_clipped) {
        loss.policy = most;
        loss.d_logp = 0.0;
    }
    loss.sft = 0.0;
    loss.ratio = loss.shaped = r.value;
    loss.slope = r.slope;
    loss.log_shift = -u;
}

// Eq. 7 and 10.
DEVICE void put_off_policy(TokenLoss& loss, const Token& token, const LossSettings& settings) {
    const double limit = settings.log_ratio_clamp;
    const double behavior_ratio = token.logp - token.behavior_logp;
    const double log_ratio = settings.off_ratio == OFF_POLICY ? token.logp : behavior_ratio;
    const double u = clamp(log_ratio, -limit, limit);
    Ratio f = settings.off_ratio == OFF_UNSHAPED ? plain_ratio(u) : shaped_ratio(u, settings.lam);
    if (fabs(log_ratio) > limit) f.slope = 0.0;
    if (settings.off_clip) {
        put_clipped(loss, f, token.advantage, settings);
    } else {
        loss.clipped = false;
        loss.policy = -token.advantage * f.value;
        loss.d_logp = -token.advantage * f.slope;
    }
    loss.dual_clipped = false;
    loss.sft = -token.logp;
    loss.d_logp -= settings.sft_coef;
    loss.ratio = exp(u);
    loss.shaped = f.value;
    loss.slope = f.slope;
    loss.log_shift = -clamp(behavior_ratio, -limit, limit);
}

// k1 = d, k2 = d²/2, k3 = e^(−d) + d − 1 of d = ℓ − ℓ_ref.
DEVICE void add_divergence(TokenLoss& loss, const Token& token, const LossSettings& settings) {
    const double d = token.logp - token.ref_logp;
    double slope;
    if (settings.kl == KL_1) {
        loss.kl = d;
        slope = 1.0;
    } else if (settings.kl == KL_2) {
        loss.kl = 0.5 * d * d;
        slope = d;
    } else {
        const double limit = settings.log_ratio_clamp;
        const double u = clamp(d, -limit, limit);
        const double excess = expm1(-u);
        loss.kl = excess + u;
        slope = fabs(d) > limit ? 0.0 : -excess;
    }
    loss.d_logp += settings.kl_coef * slope;
}

// Everything that one token adds to the loss, except entropy.
DEVICE TokenLoss token_loss(const Token& token, const LossSettings& settings) {
    TokenLoss loss;
    if (token.expert) put_off_policy(loss, token, settings);
    else put_on_policy(loss, token, settings);
    loss.kl = 0.0;
    if (settings.kl != KL_NONE) add_divergence(loss, token, settings);
    return loss;
}
