//! What kernels take: twins of the structs in kernels/*.cuh and *.cu, of the same layout.
//!
//! Addresses are the device's, and 0 stands for absent. The meaning of each field stands beside the
//! kernel that reads it.

use crate::objective::LossConfig;
use crate::objective::config::{Kl, OffRatio};

/// Declares a twin, and checks its size when the crate is compiled. The kernel's source checks the
/// same number.
macro_rules! arguments {
    ($($(#[$doc:meta])* $name:ident of $size:literal { $($field:ident: $type:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Debug, Clone, Copy, Default)]
            pub(crate) struct $name { $(pub $field: $type),* }
            const _: () = assert!(size_of::<$name>() == $size && align_of::<$name>() == 8);
        )*
    };
}

arguments! {
    /// Rows of a matrix, or of a (B, T, V) tensor.
    Rows of 32 {
        base: u64, outer_stride: i64, inner_stride: i64, per_outer: u32, unused: u32,
    }
    /// log2(e)/τ, one for all rows or one a row.
    Scales of 16 { each: u64, all: f32, unused: u32 }
    /// Values a token in float or double. Kernels read some of these and write others.
    Reals of 16 { at: u64, wide: u32, unused: u32 }
    /// One value a token of each.
    TokenInputs of 72 {
        old_logp: Reals, advantage: Reals, behavior_logp: Reals, ref_logp: Reals, expert: u64,
    }
    /// `LossConfig` in numbers.
    LossSettings of 80 {
        lam: f64, clip_low: f64, clip_high: f64, dual_clip: f64, log_ratio_clamp: f64,
        kl_coef: f64, entropy_coef: f64, sft_coef: f64,
        off_ratio: u32, kl: u32, off_clip: u32, unused: u32,
    }
    RowStatesArguments of 80 {
        logits: Rows, ids: u64, scales: Scales, states: u64,
        first_id: i64, rows: u32, vocabulary: u32,
    }
    FinishRowsArguments of 96 {
        states: u64, shard_stride: i64, ids: u64, scales: Scales,
        logp: u64, entropy: u64, rank: u64, saved: u64, status: u64,
        vocabulary: i64, shards: u32, rows: u32,
    }
    RowGradientsArguments of 56 {
        saved: u64, d_logp: u64, d_entropy: u64, scales: Scales,
        coefficients: u64, rows: u32, unused: u32,
    }
    GradientArguments of 128 {
        logits: Rows, dlogits: Rows, ids: u64, coefficients: u64, scales: Scales, status: u64,
        first_id: i64, rows: u32, vocabulary: u32, splits: u32, unused: u32,
    }
    PolicyLossArguments of 256 {
        logp: Reals, entropy: Reals, inputs: TokenInputs, weights: u64, settings: LossSettings,
        d_logp: Reals, d_entropy: Reals, row_status: u64, status: u64, partials: u64,
        tokens: u32, unused: u32,
    }
    AddSumsArguments of 48 {
        partials: u64, row_counts: u64, sums: u64, loss: Reals, blocks: u32, accumulate: u32,
    }
    FusedArguments of 288 {
        logits: Rows, dlogits: Rows, ids: u64, scales: Scales, weights: u64,
        inputs: TokenInputs, settings: LossSettings, logp: u64, entropy: u64, status: u64,
        rows: u32, vocabulary: u32, leave_unsound: u32, unused: u32,
    }
    AdvantageArguments of 72 {
        rewards: u64, groups: u64, expert: u64, keep: u64, advantages: u64, status: u64,
        eps: f64, rollouts: u32, unbiased: u32, on_policy: u32, unused: u32,
    }
    ScaleArguments of 48 { values: Rows, factor: u64, rows: u32, columns: u32 }
}

impl From<&LossConfig> for LossSettings {
    fn from(config: &LossConfig) -> Self {
        Self {
            lam: config.lam,
            clip_low: config.clip_low,
            clip_high: config.clip_high,
            dual_clip: config.dual_clip.unwrap_or(f64::INFINITY),
            log_ratio_clamp: config.log_ratio_clamp.unwrap_or(f64::INFINITY),
            kl_coef: config.kl_coef,
            entropy_coef: config.entropy_coef,
            sft_coef: config.sft_coef,
            off_ratio: match config.off_ratio {
                OffRatio::Behavior => 0,
                OffRatio::Policy => 1,
                OffRatio::None => 2,
            },
            kl: match config.kl {
                Kl::None => 0,
                Kl::K1 => 1,
                Kl::K2 => 2,
                Kl::K3 => 3,
            },
            off_clip: config.off_clip.into(),
            unused: 0,
        }
    }
}
