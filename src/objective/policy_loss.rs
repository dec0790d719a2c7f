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
pub struct PolicyLoss<T> {
    /// The loss, to be minimised.
    pub loss: f64,
    /// ∂loss/∂logp, (N,).
    pub d_logp: Vec<T>,
    /// ∂loss/∂entropy, (N,).
    pub d_entropy: Vec<T>,
    /// Diagnostics.
    pub sums: LossSums,
}

/// The loss of log-probabilities `logp` (N,), with `entropy` (N,) for the bonus and diagnostics.
///
/// With `check`, every value at a valid token must be finite; without, what is not finite passes
/// through. A batch without valid tokens has loss 0 and gradient 0.
///
/// # Errors
/// See [`Error`]: lengths, settings, missing arrays, and with `check` values.
pub fn policy_loss<T: Real>(
    logp: &[T],
    entropy: Option<&[T]>,
    batch: &PolicyBatch<'_, T>,
    config: &LossConfig,
    check: bool,
) -> Result<PolicyLoss<T>> {
    let mut d_logp = vec![T::from_f64(0.0); logp.len()];
    let mut d_entropy = d_logp.clone();
    let sums = policy_loss_into(logp, entropy, batch, config, check, &mut d_logp, &mut d_entropy)?;
    Ok(PolicyLoss { loss: sums.loss(), d_logp, d_entropy, sums })
}

/// The same with the gradients written where the caller wants them.
///
/// # Errors
/// As for [`policy_loss`]; what is written then has no meaning.
pub fn policy_loss_into<T: Real>(
    logp: &[T],
    entropy: Option<&[T]>,
    batch: &PolicyBatch<'_, T>,
    config: &LossConfig,
    check: bool,
    d_logp: &mut [T],
    d_entropy: &mut [T],
) -> Result<LossSums> {
    batch.check_shape(config)?;
    let weights = batch.weights;
    let same = |argument, len| Error::check_len(argument, weights.tokens(), "tokens", len);
    same("logp", logp.len())?;
    same("d_logp", d_logp.len())?;
    same("d_entropy", d_entropy.len())?;
    match entropy {
        Some(entropy) => same("entropy", entropy.len())?,
        None if config.entropy_coef != 0.0 => {
            return Err(Error::Missing {
                argument: "entropy",
                reason: format!("entropy_coef is {}", config.entropy_coef),
            });
        }
        None => {}
    }
    let group = |(number, (d_logp, d_entropy)): (usize, (&mut [T], &mut [T]))| {
        let (mut sums, mut inputs) = (LossSums::default(), 0.0);
        let first = number * GROUP;
        for (offset, (d_logp, d_entropy)) in d_logp.iter_mut().zip(d_entropy).enumerate() {
            let i = first + offset;
            let weight = weights.weight(i);
            if weight == 0.0 {
                (*d_logp, *d_entropy) = (T::from_f64(0.0), T::from_f64(0.0));
                continue;
            }
            let token = batch.token(i, logp[i].into());
            let entropy = entropy.map(|values| values[i].into());
            inputs += token.sum_of_inputs() + entropy.unwrap_or(0.0);
            let loss = TokenLoss { entropy, weight, ..token_loss(&token, config) };
            add_token(&mut sums, &loss, config);
            *d_logp = T::from_f64(weight * loss.d_logp);
            *d_entropy = T::from_f64(-weight * config.entropy_coef);
        }
        (sums, inputs)
    };
    let groups: Vec<(LossSums, f64)> = parallel::install(|| {
        let outputs = d_logp.par_chunks_mut(GROUP).zip(d_entropy.par_chunks_mut(GROUP));
        outputs.enumerate().map(group).collect()
    });
    // A value that is not finite makes the sum of all so; only then is it worth looking for.
    if check && !groups.iter().map(|(_, inputs)| inputs).sum::<f64>().is_finite() {
        batch.check_finite("logp", logp, |_| true)?;
        batch.check_values()?;
        if let Some(entropy) = entropy {
            batch.check_finite("entropy", entropy, |_| true)?;
        }
    }
    let mut sums = in_order(groups.iter().map(|(sums, _)| sums));
    weights.count_rows(&mut sums);
    Ok(sums)
}

/// Adds up tokens in an order that is always the same.
pub(crate) fn sum_tokens(losses: &[TokenLoss], config: &LossConfig) -> LossSums {
    let group = |tokens: &[TokenLoss]| {
        let mut sums = LossSums::default();
        for token in tokens.iter().filter(|token| token.weight != 0.0) {
            add_token(&mut sums, token, config);
        }
        sums
    };
    let groups: Vec<LossSums> = parallel::install(|| losses.par_chunks(GROUP).map(group).collect());
    in_order(groups.iter())
}

fn in_order<'a>(groups: impl Iterator<Item = &'a LossSums>) -> LossSums {
    let mut total = LossSums::default();
    for group in groups {
        total.add(group);
    }
    total
}
