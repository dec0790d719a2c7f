//! The policy loss from log-probabilities: value, gradient and diagnostics (eq. 5, 7, 10).

use rayon::prelude::*;

use super::batch::{PolicyBatch, Real};
use super::config::LossConfig;
use super::metrics::{LossSums, add_token};
use super::surrogate::{TokenLoss, token_loss};
use crate::error::{Error, Result};
use crate::parallel;

/// Tokens that are summed in a row by one thread. The sums of the groups are added in order, so
/// the result does not depend on which thread did which.
const GROUP: usize = 1024;

/// A loss with its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyLoss {
    /// The loss, to be minimised.
    pub loss: f64,
    /// ∂loss/∂logp, (N,).
    pub d_logp: Vec<f64>,
    /// ∂loss/∂entropy, (N,).
    pub d_entropy: Vec<f64>,
    /// Diagnostics.
    pub sums: LossSums,
}

/// The loss of log-probabilities `logp` (N,), with `entropy` (N,) for the bonus and diagnostics.
///
/// With `check`, every value at a valid token must
/// be finite; without, what is not finite passes through. A batch without valid tokens has loss 0
/// and gradient 0.
///
/// # Errors
/// See [`Error`]: lengths, settings, missing arrays, and with `check` values.
pub fn policy_loss<T: Real>(
    logp: &[T],
    entropy: Option<&[T]>,
    batch: &PolicyBatch<'_, T>,
    config: &LossConfig,
    check: bool,
) -> Result<PolicyLoss> {
    batch.check_shape(config)?;
    let tokens = batch.weights.tokens();
    Error::check_len("logp", tokens, "tokens", logp.len())?;
    match entropy {
        Some(entropy) => Error::check_len("entropy", tokens, "tokens", entropy.len())?,
        None if config.entropy_coef != 0.0 => {
            return Err(Error::Missing {
                argument: "entropy",
                reason: format!("entropy_coef is {}", config.entropy_coef),
            });
        }
        None => {}
    }
    if check {
        batch.check_values()?;
        batch.check_finite("logp", logp, |_| true)?;
        if let Some(entropy) = entropy {
            batch.check_finite("entropy", entropy, |_| true)?;
        }
    }
    let weights = batch.weights;
    let losses: Vec<TokenLoss> = parallel::install(|| {
        (0..tokens)
            .into_par_iter()
            .with_min_len(GROUP)
            .map(|i| {
                if !weights.is_valid(i) {
                    return TokenLoss::default();
                }
                TokenLoss {
                    entropy: entropy.map(|values| values[i].into()),
                    weight: weights.weight(i),
                    ..token_loss(&batch.token(i, logp[i].into()), config)
                }
            })
            .collect()
    });
    let mut sums = sum_tokens(&losses, config);
    weights.count_rows(&mut sums);
    Ok(PolicyLoss {
        loss: sums.loss(),
        d_logp: losses.iter().map(|token| token.weight * token.d_logp).collect(),
        d_entropy: (0..tokens).map(|i| -weights.weight(i) * config.entropy_coef).collect(),
        sums,
    })
}

/// Adds up tokens in an order that is always the same.
pub(crate) fn sum_tokens(losses: &[TokenLoss], config: &LossConfig) -> LossSums {
    let groups: Vec<LossSums> = parallel::install(|| {
        losses
            .par_chunks(GROUP)
            .map(|group| {
                let mut sums = LossSums::default();
                for token in group.iter().filter(|token| token.weight != 0.0) {
                    add_token(&mut sums, token, config);
                }
                sums
            })
            .collect()
    });
    let mut total = LossSums::default();
    for group in &groups {
        total.add(group);
    }
    total
}
