//! The diagnostics of a loss, as sums.
//!
//! Means over micro-batches or ranks are wrong unless weighted, so nothing here is a mean: every
//! entry is a numerator or a count, and adding two of these gives the figures of both batches
//! together. Whoever shows them divides last.

use super::config::LossConfig;
use super::surrogate::TokenLoss;

/// Declares the sums once: the struct, the names, and the conversions.
macro_rules! sums {
    ($(#[$about:meta])* $type:ident { $($(#[$doc:meta])* $name:ident),* $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Default)]
        pub struct $type { $($(#[$doc])* pub $name: f64),* }

        impl $type {
            /// The names of the entries, in order.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// The entries in order.
            pub fn to_array(&self) -> [f64; Self::NAMES.len()] {
                [$(self.$name),*]
            }

            /// Adds the sums of another batch.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}
pub(crate) use sums;

sums! {
    /// Sums over the valid tokens of a batch. `on` counts policy tokens, `off` expert tokens.
    LossSums {
        /// Valid policy tokens.
        on_tokens,
        /// Valid expert tokens.
        off_tokens,
        /// Rows with a valid policy token.
        on_rows,
        /// Rows with a valid expert token.
        off_rows,
        /// Policy tokens whose clip binds.
        on_clipped,
        /// Policy tokens whose dual clip binds.
        on_dual_clipped,
        /// Expert tokens whose clip binds.
        off_clipped,
        /// Σ ℓ_old − ℓ: the usual estimate of the divergence from the sampler.
        on_kl,
        /// The same for expert tokens, from the log-probs under the expert prompt, where given.
        off_kl,
        /// Expert tokens that `off_kl` counts.
        off_kl_tokens,
        /// Σ r.
        on_ratio,
        /// Σ r̂.
        off_ratio,
        /// Σ f(r̂).
        off_shaped,
        /// Σ df/dℓ: f(1 − f), the weight of an expert token's gradient.
        off_slope,
        /// Σ Â.
        on_advantage,
        /// Σ Â of expert tokens.
        off_advantage,
        /// Σ entropy, where given.
        on_entropy,
        /// Σ entropy of expert tokens, where given.
        off_entropy,
        /// Policy tokens that `on_entropy` counts.
        on_entropy_tokens,
        /// Expert tokens that `off_entropy` counts.
        off_entropy_tokens,
        /// Σ divergence from the reference, not weighted.
        ref_kl,
        /// Tokens that `ref_kl` counts.
        ref_kl_tokens,
        /// The policy term of the loss, aggregated.
        loss_policy,
        /// The divergence term, aggregated and times its coefficient.
        loss_kl,
        /// The entropy term, aggregated and times its coefficient (negative: a bonus).
        loss_entropy,
        /// The SFT term, aggregated and times its coefficient.
        loss_sft,
    }
}

impl LossSums {
    /// The loss: the sum of its terms.
    pub fn loss(&self) -> f64 {
        self.loss_policy + self.loss_kl + self.loss_entropy + self.loss_sft
    }
}

/// Adds what one token contributes.
#[inline(always)]
pub(crate) fn add_token(sums: &mut LossSums, token: &TokenLoss, config: &LossConfig) {
    let count = |yes: bool| f64::from(u8::from(yes));
    if token.expert {
        sums.off_tokens += 1.0;
        sums.off_clipped += count(token.clipped);
        sums.off_ratio += token.ratio;
        sums.off_shaped += token.shaped;
        sums.off_slope += token.slope;
        sums.off_advantage += token.advantage;
        if let Some(shift) = token.log_shift {
            sums.off_kl += shift;
            sums.off_kl_tokens += 1.0;
        }
        if let Some(entropy) = token.entropy {
            sums.off_entropy += entropy;
            sums.off_entropy_tokens += 1.0;
        }
    } else {
        sums.on_tokens += 1.0;
        sums.on_clipped += count(token.clipped);
        sums.on_dual_clipped += count(token.dual_clipped);
        sums.on_ratio += token.ratio;
        sums.on_kl += token.log_shift.unwrap_or(0.0);
        sums.on_advantage += token.advantage;
        if let Some(entropy) = token.entropy {
            sums.on_entropy += entropy;
            sums.on_entropy_tokens += 1.0;
        }
    }
    if let Some(kl) = token.kl {
        sums.ref_kl += kl;
        sums.ref_kl_tokens += 1.0;
        sums.loss_kl += token.weight * config.kl_coef * kl;
    }
    if config.entropy_coef != 0.0 {
        sums.loss_entropy -= token.weight * config.entropy_coef * token.entropy.unwrap_or(0.0);
    }
    sums.loss_policy += token.weight * token.policy;
    sums.loss_sft += token.weight * config.sft_coef * token.sft;
}
