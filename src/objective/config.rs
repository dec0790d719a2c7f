//! Every choice that the loss offers. The names are those of the papers and of verl.

use crate::error::{Error, Result};

/// What an expert token's ratio r̂ is, and whether it is shaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OffRatio {
    /// r̂ = πθ(τ_t | x) / πold(τ_t | x_exp), shaped: the paper (eq. 7 and 10).
    #[default]
    Behavior,
    /// r̂ = πθ(τ_t | x), shaped: the authors' code, and LUFFY.
    Policy,
    /// r̂ as in `Behavior`, not shaped: mixed-policy GRPO (eq. 7).
    None,
}

/// Estimator of the divergence from a reference policy, with d = ℓ − ℓ_ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kl {
    /// No such term.
    #[default]
    None,
    /// d
    K1,
    /// d²/2
    K2,
    /// e^(−d) + d − 1, also called `low_var_kl`.
    K3,
}

/// How token losses become one number. Names and meanings are verl's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aggregation {
    /// Σ tokens / number of valid tokens: Z of eq. 10.
    #[default]
    TokenMean,
    /// Mean over rows of the sum over their tokens.
    SeqMeanTokenSum,
    /// Mean over rows of the mean over their tokens.
    SeqMeanTokenMean,
    /// `SeqMeanTokenSum` divided by a constant.
    SeqMeanTokenSumNorm,
}

/// A family of choices known by their names.
pub trait Named: Copy + Sized + 'static {
    /// The setting that selects among them.
    const FIELD: &'static str;
    /// All of them.
    const ALL: &'static [(&'static str, Self)];

    /// The choice of this name.
    ///
    /// # Errors
    /// [`Error::Config`] with the names that exist.
    fn from_name(name: &str) -> Result<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, choice)| *choice).ok_or_else(
            || {
                let known: Vec<_> = Self::ALL.iter().map(|(name, _)| format!("'{name}'")).collect();
                Error::config(Self::FIELD, known.join(" or "), format!("'{name}'"))
            },
        )
    }
}

impl Named for OffRatio {
    const FIELD: &'static str = "off_ratio";
    const ALL: &'static [(&'static str, Self)] =
        &[("behavior", Self::Behavior), ("policy", Self::Policy), ("none", Self::None)];
}

impl Named for Kl {
    const FIELD: &'static str = "kl";
    const ALL: &'static [(&'static str, Self)] =
        &[("none", Self::None), ("k1", Self::K1), ("k2", Self::K2), ("k3", Self::K3)];
}

impl Named for Aggregation {
    const FIELD: &'static str = "aggregation";
    const ALL: &'static [(&'static str, Self)] = &[
        ("token-mean", Self::TokenMean),
        ("seq-mean-token-sum", Self::SeqMeanTokenSum),
        ("seq-mean-token-mean", Self::SeqMeanTokenMean),
        ("seq-mean-token-sum-norm", Self::SeqMeanTokenSumNorm),
    ];
}

/// The loss, in numbers. The default is the main paper's (Table 8).
#[derive(Debug, Clone, PartialEq)]
pub struct LossConfig {
    /// Ratio of expert tokens.
    pub off_ratio: OffRatio,
    /// λ of the shaping f(x) = x/(x + λ); unused with [`OffRatio::None`].
    pub lam: f64,
    /// Whether the clip applies to (shaped) expert ratios too, as in eq. 10.
    pub off_clip: bool,
    /// ε below: ratios are clipped at 1 − `clip_low`. Infinite: never.
    pub clip_low: f64,
    /// ε above: ratios are clipped at 1 + `clip_high`. Infinite: never.
    pub clip_high: f64,
    /// c of the dual clip: where Â < 0, the loss of a policy token is at most −c·Â.
    pub dual_clip: Option<f64>,
    /// Logarithms of ratios are clamped to ± this before the exponential.
    pub log_ratio_clamp: Option<f64>,
    /// Estimator of the divergence from the reference policy.
    pub kl: Kl,
    /// Its coefficient; unused with [`Kl::None`].
    pub kl_coef: f64,
    /// Coefficient of the entropy bonus.
    pub entropy_coef: f64,
    /// Coefficient of −ℓ on expert tokens.
    pub sft_coef: f64,
    /// How token losses become one number.
    pub aggregation: Aggregation,
    /// The constant of [`Aggregation::SeqMeanTokenSumNorm`]; default: the padded row length.
    pub norm_constant: Option<f64>,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            off_ratio: OffRatio::Behavior,
            lam: 0.01,
            off_clip: true,
            clip_low: 0.2,
            clip_high: 0.2,
            dual_clip: None,
            log_ratio_clamp: Some(20.0),
            kl: Kl::None,
            kl_coef: 0.0,
            entropy_coef: 0.0,
            sft_coef: 0.0,
            aggregation: Aggregation::TokenMean,
            norm_constant: None,
        }
    }
}

impl LossConfig {
    /// Checks every number against its range.
    ///
    /// # Errors
    /// [`Error::Config`] for the first setting that is outside.
    pub fn validate(&self) -> Result<()> {
        let check = |field, ok: bool, expected: &str, got: f64| {
            if ok { Ok(()) } else { Err(Error::config(field, expected, got)) }
        };
        let positive = |x: f64| x > 0.0 && x.is_finite();
        check("lam", positive(self.lam), "a finite number > 0", self.lam)?;
        check("clip_low", self.clip_low >= 0.0, "a number >= 0", self.clip_low)?;
        check("clip_high", self.clip_high >= 0.0, "a number >= 0", self.clip_high)?;
        if let Some(c) = self.dual_clip {
            check("dual_clip", c > 1.0 && c.is_finite(), "a finite number > 1, or none", c)?;
        }
        if let Some(limit) = self.log_ratio_clamp {
            // exp(88) is near the greatest f32, exp(709) near the greatest f64.
            let ok = limit > 0.0 && limit <= 80.0;
            check("log_ratio_clamp", ok, "a number in (0, 80], or none", limit)?;
        }
        if let Some(constant) = self.norm_constant {
            check("norm_constant", positive(constant), "a finite number > 0, or none", constant)?;
        }
        for (field, value) in [
            ("kl_coef", self.kl_coef),
            ("entropy_coef", self.entropy_coef),
            ("sft_coef", self.sft_coef),
        ] {
            check(field, value.is_finite(), "a finite number", value)?;
        }
        Ok(())
    }
}
