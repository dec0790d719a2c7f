//! Log-probability of the selected token, entropy, and rank of it, in one pass over the logits.

use rayon::prelude::*;

use super::logits::{Logits, LogitsMut, check_ids, impossible_token, unsound_row};
use super::row::{RowGradient, gradient_into, scan_and_rank};
use super::temperature::Temperature;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::parallel;

/// What one pass finds, one value for each of the N tokens.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TokenStats {
    /// ln p of the selected token.
    pub logp: Vec<f32>,
    /// −Σ p ln p, in nats.
    pub entropy: Vec<f32>,
    /// 1 + the number of tokens with a greater logit (eq. 13).
    pub rank: Vec<i64>,
    /// For the backward pass.
    pub saved: Vec<SavedRow>,
}

/// What the backward pass needs of a row: the greatest logit, ln Σ exp((x − max)/τ), ln p of the
/// selected token, and the entropy. In `f64`, for the gradient of an entropy near its maximum ln V
/// is a small difference of these.
pub type SavedRow = [f64; 4];

/// Log-probability, entropy and rank of token `ids[i]` under the logits of token i.
///
/// With `check`, NaN, +inf, rows without any finite logit and selected tokens with a logit of
/// −inf are errors; without, they give NaN (and −inf for the last).
///
/// # Errors
/// Lengths, temperatures, ids outside the vocabulary, and with `check` the values above.
pub fn logp_entropy<E: Element>(
    logits: &Logits<'_, E>,
    ids: &[i64],
    temperature: Temperature<'_>,
    check: bool,
) -> Result<TokenStats> {
    let tokens = logits.tokens();
    Error::check_len("ids", tokens, "tokens", ids.len())?;
    temperature.check(tokens, |_| true)?;
    check_ids(ids, logits.vocabulary(), |_| true, |token| logits.place(token))?;
    let rows: Vec<_> = parallel::install(|| {
        (0..tokens)
            .into_par_iter()
            .map(|token| {
                let (row, scale) = (logits.row(token), temperature.scale(token));
                let label = row[ids[token] as usize].to_f32();
                let state = scan_and_rank(row, label, scale);
                (state, state.logp(label, scale), state.entropy(scale))
            })
            .collect()
    });
    if check {
        for (token, (state, logp, _)) in rows.iter().enumerate() {
            if !state.is_sound() {
                return Err(unsound_row(logits.row(token), logits.place(token)));
            }
            if *logp == f64::NEG_INFINITY {
                return Err(impossible_token(ids[token], logits.place(token)));
            }
        }
    }
    Ok(TokenStats {
        logp: rows.iter().map(|(_, logp, _)| *logp as f32).collect(),
        entropy: rows.iter().map(|(_, _, entropy)| *entropy as f32).collect(),
        rank: rows.iter().map(|(state, _, _)| state.above as i64 + 1).collect(),
        saved: rows
            .iter()
            .map(|(state, logp, entropy)| [state.max.into(), state.log_sum(), *logp, *entropy])
            .collect(),
    })
}

/// Writes Σ d_logp·∂logp/∂logits + Σ d_entropy·∂entropy/∂logits into `dlogits`. Rows where both
/// are zero are filled with zeros and not read.
///
/// # Errors
/// Lengths, temperatures, and ids outside the vocabulary.
pub fn logp_entropy_backward<E: Element>(
    logits: &Logits<'_, E>,
    ids: &[i64],
    temperature: Temperature<'_>,
    saved: &[SavedRow],
    d_logp: &[f64],
    d_entropy: &[f64],
    dlogits: &mut LogitsMut<'_, E>,
) -> Result<()> {
    let tokens = logits.tokens();
    dlogits.check_fits(logits)?;
    for (argument, len) in [
        ("ids", ids.len()),
        ("saved", saved.len()),
        ("d_logp", d_logp.len()),
        ("d_entropy", d_entropy.len()),
    ] {
        Error::check_len(argument, tokens, "tokens", len)?;
    }
    let moves = |token: usize| d_logp[token] != 0.0 || d_entropy[token] != 0.0;
    temperature.check(tokens, moves)?;
    check_ids(ids, logits.vocabulary(), moves, |token| logits.place(token))?;
    let targets = dlogits.rows();
    parallel::install(|| {
        targets.into_par_iter().enumerate().for_each(|(token, target)| {
            if !moves(token) {
                return target.fill(E::from_f32(0.0));
            }
            let [max, log_sum, logp, entropy] = saved[token];
            let gradient = RowGradient {
                max: max as f32,
                log_sum,
                logp,
                entropy,
                d_logp: d_logp[token],
                d_entropy: d_entropy[token],
            };
            let scale = temperature.scale(token);
            gradient_into(logits.row(token), target, ids[token] as usize, &gradient, scale);
        });
    });
    Ok(())
}
