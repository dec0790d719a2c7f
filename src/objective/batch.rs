//! What the loss takes beside log-probabilities, one value a token, rows end to end.

use rayon::prelude::*;

use super::aggregate::TokenWeights;
use super::config::{Kl, LossConfig, OffRatio};
use super::surrogate::Token;
use crate::error::{Error, Result};
use crate::parallel;

/// A float type that values a token may come in.
pub trait Real: Copy + Into<f64> + Send + Sync + 'static {
    /// The nearest representable value.
    fn from_f64(value: f64) -> Self;
}

impl Real for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }
}

impl Real for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }
}

/// A batch of rollouts as the loss sees it, rows laid end to end. All arrays hold one value for
/// each of the N tokens; values at tokens of weight zero are never looked at.
#[derive(Debug, Clone, Copy)]
pub struct PolicyBatch<'a, T> {
    /// Which tokens count, and how much.
    pub weights: &'a TokenWeights,
    /// log πold(τ_t | x): the sampler's, under the plain prompt.
    pub old_logp: &'a [T],
    /// Â of the row, at each token.
    pub advantage: &'a [T],
    /// Which tokens an expert rollout supplied.
    pub expert_mask: &'a [bool],
    /// log πold(τ_t | x_exp): the sampler's under the expert prompt. Used at expert tokens only.
    pub behavior_logp: Option<&'a [T]>,
    /// log πref(τ_t | x).
    pub ref_logp: Option<&'a [T]>,
}

impl<T: Real> PolicyBatch<'_, T> {
    /// Checks that the arrays fit each other and the configuration.
    pub(crate) fn check_shape(&self, config: &LossConfig) -> Result<()> {
        config.validate()?;
        let tokens = self.weights.tokens();
        let same = |argument, len| Error::check_len(argument, tokens, "tokens", len);
        same("old_logp", self.old_logp.len())?;
        same("advantage", self.advantage.len())?;
        same("expert_mask", self.expert_mask.len())?;
        if let Some(behavior_logp) = self.behavior_logp {
            same("behavior_logp", behavior_logp.len())?;
        } else if config.off_ratio != OffRatio::Policy
            && let Some(token) =
                (0..tokens).find(|&i| self.weights.is_valid(i) && self.expert_mask[i])
        {
            return Err(Error::Missing {
                argument: "behavior_logp",
                reason: format!(
                    "the ratio of expert tokens (the first is {}) divides by the sampler's \
                     probability under the expert prompt; pass it, or choose off_ratio 'policy'",
                    self.weights.place(token)
                ),
            });
        }
        match self.ref_logp {
            Some(ref_logp) => same("ref_logp", ref_logp.len()),
            None if config.kl != Kl::None => Err(Error::Missing {
                argument: "ref_logp",
                reason: "a kl term needs the reference policy's log-probs".into(),
            }),
            None => Ok(()),
        }
    }

    /// Checks that every value at a valid token is a finite number.
    pub(crate) fn check_values(&self) -> Result<()> {
        self.check_finite("old_logp", self.old_logp, |_| true)?;
        self.check_finite("advantage", self.advantage, |_| true)?;
        if let Some(behavior_logp) = self.behavior_logp {
            self.check_finite("behavior_logp", behavior_logp, |i| self.expert_mask[i])?;
        }
        if let Some(ref_logp) = self.ref_logp {
            self.check_finite("ref_logp", ref_logp, |_| true)?;
        }
        Ok(())
    }

    pub(crate) fn check_finite(
        &self,
        argument: &'static str,
        values: &[T],
        used: impl Fn(usize) -> bool + Sync,
    ) -> Result<()> {
        const GROUP: usize = 4096;
        let first_bad = |(number, group): (usize, &[T])| {
            let first = number * GROUP;
            let bad = |(i, &x): (usize, &T)| {
                !Into::<f64>::into(x).is_finite() && self.weights.is_valid(i) && used(i)
            };
            (first..).zip(group).find(|&token| bad(token)).map(|(i, _)| i)
        };
        let bad =
            parallel::install(|| values.par_chunks(GROUP).enumerate().filter_map(first_bad).min());
        bad.map_or(Ok(()), |i| {
            Err(Error::NotFinite {
                argument,
                place: self.weights.place(i),
                expected: "a finite number at a token that the mask lets in",
                value: values[i].into(),
            })
        })
    }

    /// The token at this place, given its log-probability under the trained policy.
    pub(crate) fn token(&self, i: usize, logp: f64) -> Token {
        Token {
            logp,
            old_logp: self.old_logp[i].into(),
            behavior_logp: self.behavior_logp.map(|values| values[i].into()),
            ref_logp: self.ref_logp.map(|values| values[i].into()),
            advantage: self.advantage[i].into(),
            expert: self.expert_mask[i],
        }
    }
}
