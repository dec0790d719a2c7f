//! The loss of one token: clipped on policy (eq. 5), shaped off policy (eq. 7 and 10).

use super::config::{Kl, LossConfig, OffRatio};
use super::shaping::{Ratio, plain, shaped};

/// What is known of one valid token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    /// ℓ = log πθ(τ_t | x).
    pub logp: f64,
    /// log πold(τ_t | x).
    pub old_logp: f64,
    /// log πold(τ_t | x_exp), where the caller has it.
    pub behavior_logp: Option<f64>,
    /// log πref(τ_t | x), where the caller has it.
    pub ref_logp: Option<f64>,
    pub advantage: f64,
    pub expert: bool,
}

impl Token {
    /// Finite if all values that the loss looks at are (and do not add up beyond an `f64`).
    pub(crate) fn sum_of_inputs(&self) -> f64 {
        let behavior = if self.expert { self.behavior_logp.unwrap_or(0.0) } else { 0.0 };
        self.logp + self.old_logp + self.advantage + self.ref_logp.unwrap_or(0.0) + behavior
    }
}

/// The loss of one token before aggregation, with derivatives in ℓ, and what the diagnostics need.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TokenLoss {
    /// −CLIP(r, Â) or −CLIP(f(r̂), Â).
    pub policy: f64,
    /// The divergence from the reference, not yet times its coefficient, where there is one.
    pub kl: Option<f64>,
    /// −ℓ of an expert token.
    pub sft: f64,
    /// d (policy + kl_coef·kl + sft_coef·sft) / dℓ.
    pub d_logp: f64,
    /// r or r̂.
    pub ratio: f64,
    /// f(r̂), or r.
    pub shaped: f64,
    /// d shaped / dℓ: f(1 − f), or r.
    pub slope: f64,
    /// ℓ_old − ℓ, or the behaviour policy's − ℓ where known.
    pub log_shift: Option<f64>,
    /// Whether the clip binds.
    pub clipped: bool,
    /// Whether the dual clip binds.
    pub dual_clipped: bool,
    pub expert: bool,
    pub advantage: f64,
    /// The entropy at this token, where the caller has it.
    pub entropy: Option<f64>,
    /// What the token counts for; zero for tokens that the mask leaves out.
    pub weight: f64,
}

/// u within ±limit, and whether a change of u still changes it. NaN stays, and so does its slope.
fn clamp(u: f64, limit: Option<f64>) -> (f64, bool) {
    match limit {
        Some(limit) => (u.clamp(-limit, limit), u.abs() <= limit || u.is_nan()),
        None => (u, true),
    }
}

/// −CLIP(x, Â) of eq. 5 with its derivative, and whether the clip binds.
#[inline(always)]
fn clipped(x: Ratio, advantage: f64, config: &LossConfig) -> (f64, f64, bool) {
    let plain = -advantage * x.value;
    let bounded = x.value.clamp(1.0 - config.clip_low, 1.0 + config.clip_high);
    let other = -advantage * bounded;
    // The greater loss counts. Where the clipped one is greater, x lies outside the bounds and
    // moving it changes nothing.
    if other > plain { (other, 0.0, true) } else { (plain, -advantage * x.slope, false) }
}

#[inline(always)]
fn on_policy(token: &Token, config: &LossConfig) -> TokenLoss {
    let shift = token.old_logp - token.logp;
    let (u, moves) = clamp(-shift, config.log_ratio_clamp);
    let mut ratio = plain(u);
    ratio.slope *= f64::from(u8::from(moves));
    let (mut policy, mut d_logp, is_clipped) = clipped(ratio, token.advantage, config);
    let mut dual_clipped = false;
    if let Some(c) = config.dual_clip
        && token.advantage < 0.0
        && policy > -token.advantage * c
    {
        (policy, d_logp, dual_clipped) = (-token.advantage * c, 0.0, true);
    }
    TokenLoss {
        policy,
        d_logp,
        ratio: ratio.value,
        shaped: ratio.value,
        slope: ratio.slope,
        log_shift: Some(-u),
        clipped: is_clipped,
        dual_clipped,
        ..TokenLoss::default()
    }
}

fn off_policy(token: &Token, config: &LossConfig) -> TokenLoss {
    // `check` in the caller has made sure of the behaviour policy where the ratio needs it.
    let behavior = token.behavior_logp.unwrap_or(token.old_logp);
    let log_ratio = match config.off_ratio {
        OffRatio::Behavior | OffRatio::None => token.logp - behavior,
        OffRatio::Policy => token.logp,
    };
    let (u, moves) = clamp(log_ratio, config.log_ratio_clamp);
    let mut ratio = match config.off_ratio {
        OffRatio::Behavior | OffRatio::Policy => shaped(u, config.lam),
        OffRatio::None => plain(u),
    };
    ratio.slope *= f64::from(u8::from(moves));
    let (policy, d_logp, is_clipped) = if config.off_clip {
        clipped(ratio, token.advantage, config)
    } else {
        (-token.advantage * ratio.value, -token.advantage * ratio.slope, false)
    };
    TokenLoss {
        policy,
        sft: -token.logp,
        d_logp: d_logp - config.sft_coef,
        ratio: u.exp(),
        shaped: ratio.value,
        slope: ratio.slope,
        log_shift: token.behavior_logp.map(|b| -clamp(token.logp - b, config.log_ratio_clamp).0),
        clipped: is_clipped,
        ..TokenLoss::default()
    }
}

/// The estimator of the divergence from the reference, and its derivative in ℓ.
fn divergence(d: f64, config: &LossConfig) -> (f64, f64) {
    match config.kl {
        Kl::None => (0.0, 0.0),
        Kl::K1 => (d, 1.0),
        Kl::K2 => (0.5 * d * d, d),
        Kl::K3 => {
            let (d, moves) = clamp(d, config.log_ratio_clamp);
            let excess = (-d).exp_m1(); // e^(−d) − 1
            (excess + d, if moves { -excess } else { 0.0 })
        }
    }
}

/// Everything that one token adds to the loss, except entropy.
#[inline(always)]
pub(crate) fn token_loss(token: &Token, config: &LossConfig) -> TokenLoss {
    let mut loss = if token.expert { off_policy(token, config) } else { on_policy(token, config) };
    loss.expert = token.expert;
    loss.advantage = token.advantage;
    if let Some(ref_logp) = token.ref_logp
        && config.kl != Kl::None
    {
        let (kl, d_kl) = divergence(token.logp - ref_logp, config);
        loss.kl = Some(kl);
        loss.d_logp += config.kl_coef * d_kl;
    }
    loss
}
