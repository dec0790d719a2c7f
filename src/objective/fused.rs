//! From logits to the loss and its gradient in one trip through memory.
//!
//! A row is read once; while it is still in the cache its loss is known, and its gradient is
//! written, over the logits themselves if asked. Rows that the mask leaves out are not read.

use rayon::prelude::*;

use super::batch::{PolicyBatch, Real};
use super::config::LossConfig;
use super::logits::{Logits, LogitsMut, check_ids, impossible_token, unsound_row};
use super::logp_entropy::SavedRow;
use super::metrics::LossSums;
use super::policy_loss::sum_tokens;
use super::row::{RowGradient, RowState, Scale, gradient_in_place, gradient_into, scan_row};
use super::surrogate::{TokenLoss, token_loss};
use super::temperature::Temperature;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::parallel;

/// A loss, with all that its backward pass needs. Arrays hold one value for each of the N tokens,
/// zero where the mask leaves a token out.
#[derive(Debug, Clone, PartialEq)]
pub struct FusedLoss {
    /// The loss, to be minimised.
    pub loss: f64,
    /// Diagnostics, entropies included.
    pub sums: LossSums,
    /// ln p of the selected token.
    pub logp: Vec<f32>,
    /// −Σ p ln p, in nats.
    pub entropy: Vec<f32>,
    /// For the backward pass.
    pub saved: Vec<SavedRow>,
    /// ∂loss/∂logp.
    pub d_logp: Vec<f64>,
    /// ∂loss/∂entropy.
    pub d_entropy: Vec<f64>,
}

/// Everything about a fused loss but the logits.
#[derive(Debug, Clone, Copy)]
pub struct FusedInput<'a, T> {
    /// The selected tokens, (N,). Not looked at where a token has weight zero.
    pub ids: &'a [i64],
    /// Temperature.
    pub temperature: Temperature<'a>,
    /// The rest of the batch.
    pub batch: PolicyBatch<'a, T>,
    /// The loss.
    pub config: &'a LossConfig,
    /// Whether values that are not finite are errors.
    pub check: bool,
}

/// One row's part of the result.
#[derive(Debug, Clone, Copy)]
struct RowLoss {
    state: RowState,
    loss: TokenLoss,
    logp: f64,
    entropy: f64,
}

impl RowLoss {
    fn saved(&self) -> SavedRow {
        [self.state.max.into(), self.state.log_sum(), self.logp, self.entropy]
    }
}

impl<T: Real> FusedInput<'_, T> {
    /// Everything that can be checked before a logit is read.
    fn check(&self, vocabulary: usize) -> Result<()> {
        let (batch, weights) = (&self.batch, self.batch.weights);
        batch.check_shape(self.config)?;
        Error::check_len("ids", weights.tokens(), "tokens", self.ids.len())?;
        let used = |token: usize| weights.is_valid(token);
        self.temperature.check(weights.tokens(), used)?;
        check_ids(self.ids, vocabulary, used, |token| weights.place(token))?;
        if self.check { batch.check_values() } else { Ok(()) }
    }

    fn check_tokens<E: Element>(&self, logits: &Logits<'_, E>) -> Result<()> {
        Error::check_len("logits", self.batch.weights.tokens(), "tokens", logits.tokens())
    }

    /// Reads the row of a token and computes its loss; nothing for a token of weight zero.
    fn row<E: Element>(&self, token: usize, row: &[E]) -> Option<RowLoss> {
        let weight = self.batch.weights.weight(token);
        if weight == 0.0 {
            return None;
        }
        let (label, scale) = (row[self.label(token)].to_f32(), self.scale(token));
        let state = scan_row(row, scale);
        let (logp, entropy) = (state.logp(label, scale), state.entropy(scale));
        let loss = token_loss(&self.batch.token(token, logp), self.config);
        let loss = TokenLoss { entropy: Some(entropy), weight, ..loss };
        Some(RowLoss { state, loss, logp, entropy })
    }

    /// The selected token, known to lie in the vocabulary.
    fn label(&self, token: usize) -> usize {
        self.ids[token] as usize
    }

    fn scale(&self, token: usize) -> Scale {
        self.temperature.scale(token)
    }

    /// What the gradient pass needs; nothing for a row that is in error and should stay to be
    /// looked at.
    fn gradient(&self, row: &RowLoss) -> Option<RowGradient> {
        let sound = row.state.is_sound() && row.logp > f64::NEG_INFINITY;
        (sound || !self.check).then(|| RowGradient {
            max: row.state.max,
            log_sum: row.state.log_sum(),
            logp: row.logp,
            entropy: row.entropy,
            d_logp: row.loss.weight * row.loss.d_logp,
            d_entropy: -row.loss.weight * self.config.entropy_coef,
        })
    }

    /// Puts rows together; the first one is that of token `first`.
    fn finish<E: Element>(
        &self,
        rows: &[Option<RowLoss>],
        logits: &Logits<'_, E>,
        first: usize,
    ) -> Result<FusedLoss> {
        let found = rows.iter().enumerate().filter_map(|(i, row)| row.as_ref().map(|row| (i, row)));
        for (i, row) in found.filter(|_| self.check) {
            let place = || self.batch.weights.place(first + i);
            if !row.state.is_sound() {
                return Err(unsound_row(logits.row(i), place()));
            }
            if row.logp == f64::NEG_INFINITY {
                return Err(impossible_token(self.ids[first + i], place()));
            }
        }
        let losses: Vec<TokenLoss> =
            rows.iter().map(|row| row.map_or_else(TokenLoss::default, |row| row.loss)).collect();
        let sums = sum_tokens(&losses, self.config);
        let single = |value: fn(&RowLoss) -> f64| -> Vec<f32> {
            rows.iter().map(|row| row.as_ref().map_or(0.0, value) as f32).collect()
        };
        let coefficient = self.config.entropy_coef;
        Ok(FusedLoss {
            loss: sums.loss(),
            sums,
            logp: single(|row| row.logp),
            entropy: single(|row| row.entropy),
            saved: rows.iter().map(|row| row.as_ref().map_or([0.0; 4], RowLoss::saved)).collect(),
            d_logp: losses.iter().map(|token| token.weight * token.d_logp).collect(),
            d_entropy: losses.iter().map(|token| -token.weight * coefficient).collect(),
        })
    }

    fn with_rows(&self, loss: Result<FusedLoss>) -> Result<FusedLoss> {
        loss.map(|mut loss| {
            self.batch.weights.count_rows(&mut loss.sums);
            loss
        })
    }
}

/// The loss of logits, without their gradient.
///
/// # Errors
/// As for [`super::policy_loss()`] and [`super::logp_entropy()`].
pub fn fused_policy_loss<E: Element, T: Real>(
    logits: &Logits<'_, E>,
    input: &FusedInput<'_, T>,
) -> Result<FusedLoss> {
    input.check_tokens(logits)?;
    input.check(logits.vocabulary())?;
    let rows: Vec<Option<RowLoss>> = parallel::install(|| {
        (0..logits.tokens())
            .into_par_iter()
            .map(|token| input.row(token, logits.row(token)))
            .collect()
    });
    input.with_rows(input.finish(&rows, logits, 0))
}

/// The loss of logits, with its gradient written into `dlogits`.
///
/// # Errors
/// As for [`fused_policy_loss`]; `dlogits` then holds the gradients of sound rows.
pub fn fused_policy_loss_into<E: Element, T: Real>(
    logits: &Logits<'_, E>,
    dlogits: &mut LogitsMut<'_, E>,
    input: &FusedInput<'_, T>,
) -> Result<FusedLoss> {
    dlogits.check_fits(logits)?;
    input.check_tokens(logits)?;
    input.check(logits.vocabulary())?;
    let targets = dlogits.rows();
    let rows: Vec<Option<RowLoss>> = parallel::install(|| {
        let job = |(token, target): (usize, &mut [E])| {
            let source = logits.row(token);
            let Some(row) = input.row(token, source) else {
                target.fill(E::from_f32(0.0));
                return None;
            };
            if let Some(gradient) = input.gradient(&row) {
                gradient_into(source, target, input.label(token), &gradient, input.scale(token));
            }
            Some(row)
        };
        targets.into_par_iter().enumerate().map(job).collect()
    });
    input.with_rows(input.finish(&rows, logits, 0))
}

/// The loss of logits, which become their own gradient.
///
/// # Errors
/// As for [`fused_policy_loss`]. What can be checked beforehand is, and the logits are then
/// untouched; if a logit itself is at fault, its row is left as it was, and sound rows already
/// hold their gradient.
pub fn fused_policy_loss_in_place<E: Element, T: Real>(
    logits: &mut LogitsMut<'_, E>,
    input: &FusedInput<'_, T>,
) -> Result<FusedLoss> {
    input.check_tokens(&logits.as_logits())?;
    input.with_rows(fused_chunk_in_place(logits, input, 0))
}

/// The same for the tokens from `first` on, as many as there are logits: one chunk of a batch that
/// `input` describes whole. The numbers of rows are left out of the sums; they belong to the batch.
///
/// # Errors
/// As for [`fused_policy_loss_in_place`], and if the batch ends before the chunk does.
pub fn fused_chunk_in_place<E: Element, T: Real>(
    logits: &mut LogitsMut<'_, E>,
    input: &FusedInput<'_, T>,
    first: usize,
) -> Result<FusedLoss> {
    let (chunk, tokens) = (logits.as_logits().tokens(), input.batch.weights.tokens());
    if first.checked_add(chunk).is_none_or(|end| end > tokens) {
        let (argument, expected) = ("logits", format!("at most the {tokens} tokens of the batch"));
        let got = format!("{chunk} from token {first} on");
        return Err(Error::Shape { argument, expected, got });
    }
    input.check(logits.as_logits().vocabulary())?;
    let targets = logits.rows();
    let rows: Vec<Option<RowLoss>> = parallel::install(|| {
        let job = |(i, target): (usize, &mut [E])| {
            let token = first + i;
            let Some(row) = input.row(token, target) else {
                target.fill(E::from_f32(0.0));
                return None;
            };
            if let Some(gradient) = input.gradient(&row) {
                gradient_in_place(target, input.label(token), &gradient, input.scale(token));
            }
            Some(row)
        };
        targets.into_par_iter().enumerate().map(job).collect()
    });
    input.finish(&rows, &logits.as_logits(), first)
}
