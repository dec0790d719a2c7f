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

        #[cfg(test)]
        const SIZES: &[(&str, usize)] = &[$((stringify!($name), $size)),*];
    };
}

arguments! {
    /// Rows of a matrix, or of a (B, T, V) tensor.
    Rows of 32 {
        base: u64, outer_stride: i64, inner_stride: i64, per_outer: u32, unused: u32,
    }
    /// log2(e)/τ, one for all rows or one a row.
    Scales of 16 { each: u64, all: f64 }
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
    RowStatesArguments of 88 {
        logits: Rows, ids: u64, scales: Scales, states: u64,
        first_id: i64, weights: u64, rows: u32, vocabulary: u32,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::Unit;
    use crate::cuda::plan::FusedPlan;
    use crate::cuda::view::Element;

    fn sources() -> Vec<&'static str> {
        let plan =
            FusedPlan { cluster: 1, threads: 224, held: 1, slots: 4, blocks_a_multiprocessor: 2 };
        let units = Unit::COMMON.into_iter().chain([Unit::Fused(plan, Element::Bf16)]);
        let headers = Unit::Scale.headers().iter().map(|(_, text)| *text);
        units.map(|unit| unit.source().1).chain(headers).collect()
    }

    #[test]
    fn kernels_check_the_same_sizes() {
        let mut stated = Vec::new();
        for text in sources() {
            for check in text.split("static_assert(sizeof(").skip(1) {
                // Name) == 80, "...");
                let check = check.split(';').next().unwrap_or_default();
                let Some((name, rest)) = check.split_once(") == ") else { continue };
                stated.push((name, rest.split(',').next().and_then(|size| size.parse().ok())));
            }
        }
        let arguments = SIZES.iter().filter(|(name, _)| name.ends_with("Arguments"));
        for &(name, size) in arguments {
            assert!(stated.contains(&(name, Some(size))), "{name}: {stated:?}");
        }
        for (name, size) in stated {
            assert!(SIZES.iter().any(|&(twin, of)| twin == name && Some(of) == size), "{name}");
        }
    }

    #[test]
    fn fields_stand_in_the_order_of_the_kernels() {
        // Of each struct, the names that the source declares, in order.
        for text in sources() {
            for (name, twin) in [
                ("RowStatesArguments", format!("{:?}", RowStatesArguments::default())),
                ("FinishRowsArguments", format!("{:?}", FinishRowsArguments::default())),
                ("RowGradientsArguments", format!("{:?}", RowGradientsArguments::default())),
                ("GradientArguments", format!("{:?}", GradientArguments::default())),
                ("PolicyLossArguments", format!("{:?}", PolicyLossArguments::default())),
                ("AddSumsArguments", format!("{:?}", AddSumsArguments::default())),
                ("FusedArguments", format!("{:?}", FusedArguments::default())),
                ("AdvantageArguments", format!("{:?}", AdvantageArguments::default())),
                ("ScaleArguments", format!("{:?}", ScaleArguments::default())),
                ("TokenInputs", format!("{:?}", TokenInputs::default())),
                ("LossSettings", format!("{:?}", LossSettings::default())),
            ] {
                let Some(body) = text.split(&format!("struct {name} {{")).nth(1) else { continue };
                let body = body.split("};").next().unwrap_or_default();
                let declared: Vec<&str> = body
                    .lines()
                    .filter_map(|line| line.split_once(';')?.0.split_whitespace().last())
                    .map(|field| field.trim_start_matches('*'))
                    .collect();
                let mut rest = twin.as_str();
                for field in &declared {
                    let Some((_, after)) = rest.split_once(&format!(" {field}: ")) else {
                        unreachable!("{name}: {field} is not there, or not in order: {twin}");
                    };
                    rest = after;
                }
                assert!(declared.len() > 2, "{name}: {body}");
            }
        }
    }

    #[test]
    fn choices_have_the_numbers_of_the_kernels() {
        let numbered = |name: &str| {
            let text = sources().concat();
            let after = text.split(&format!("{name} = ")).nth(1)?.to_string();
            after.split([',', ' ', '}']).next()?.parse::<u32>().ok()
        };
        let settings = |off_ratio, kl| {
            LossSettings::from(&LossConfig { off_ratio, kl, ..LossConfig::default() })
        };
        for (name, choice) in [
            ("OFF_BEHAVIOR", OffRatio::Behavior),
            ("OFF_POLICY", OffRatio::Policy),
            ("OFF_UNSHAPED", OffRatio::None),
        ] {
            assert_eq!(Some(settings(choice, Kl::None).off_ratio), numbered(name), "{name}");
        }
        for (name, choice) in
            [("KL_NONE", Kl::None), ("KL_1", Kl::K1), ("KL_2", Kl::K2), ("KL_3", Kl::K3)]
        {
            let off_ratio = OffRatio::Behavior;
            assert_eq!(Some(settings(off_ratio, choice).kl), numbered(name), "{name}");
        }
    }
}
