//! From token losses to one number: every mode is a weight a token, made beforehand.
//!
//! The kernels see the weights only, so a new mode is an arm here and nothing elsewhere.

use super::config::{Aggregation, LossConfig};
use super::metrics::LossSums;
use crate::error::{Error, Result};

/// Rows of tokens laid end to end: row i holds tokens `offsets[i]..offsets[i + 1]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowOffsets(Vec<usize>);

impl RowOffsets {
    /// `rows` rows of `length` tokens each, as in a padded batch.
    pub fn padded(rows: usize, length: usize) -> Self {
        Self((0..=rows).map(|row| row * length).collect())
    }

    /// Rows of any lengths, from their cumulative lengths (`cu_seqlens`).
    ///
    /// # Errors
    /// If they do not start at 0, decrease, or do not end at `tokens`.
    pub fn packed(cumulative: &[i64], tokens: usize) -> Result<Self> {
        let fail = |got: String| Error::Shape {
            argument: "cu_seqlens",
            expected: format!("non-decreasing offsets from 0 to the {tokens} tokens"),
            got,
        };
        let offsets: Option<Vec<usize>> =
            cumulative.iter().map(|&offset| usize::try_from(offset).ok()).collect();
        let offsets = offsets.ok_or_else(|| fail("a negative offset".into()))?;
        if offsets.first() != Some(&0) {
            return Err(fail(format!("first offset {:?}", offsets.first())));
        }
        if let Some(pair) = offsets.windows(2).find(|pair| pair[0] > pair[1]) {
            return Err(fail(format!("{} before {}", pair[0], pair[1])));
        }
        if offsets.last() != Some(&tokens) {
            return Err(fail(format!("last offset {:?}", offsets.last())));
        }
        Ok(Self(offsets))
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.0.len() - 1
    }

    /// How many tokens there are.
    pub fn tokens(&self) -> usize {
        self.0[self.rows()]
    }

    /// The token ranges of the rows.
    pub fn ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        self.0.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// The common length of the rows, if they have one.
    pub fn common_length(&self) -> Option<usize> {
        let mut lengths = self.ranges().map(|range| range.len());
        let first = lengths.next()?;
        lengths.all(|length| length == first).then_some(first)
    }

    /// Where a token stands, for messages.
    pub(crate) fn place(&self, token: usize) -> String {
        let row = self.0.partition_point(|&start| start <= token) - 1;
        format!("row {row}, token {}", token - self.0[row])
    }
}

/// What each token counts for in the loss, and how many rows have tokens of each kind.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenWeights {
    rows: RowOffsets,
    weight: Vec<f64>,
    on_rows: usize,
    off_rows: usize,
}

impl TokenWeights {
    /// How many tokens there are, valid or not.
    pub fn tokens(&self) -> usize {
        self.weight.len()
    }

    /// What a token counts for: zero exactly where the mask is false.
    pub fn weight(&self, token: usize) -> f64 {
        self.weight[token]
    }

    /// Whether the mask lets a token in.
    pub fn is_valid(&self, token: usize) -> bool {
        self.weight[token] != 0.0
    }

    /// Enters the numbers of rows, which no token knows, into the sums of a whole batch.
    pub fn count_rows(&self, sums: &mut LossSums) {
        sums.on_rows += self.on_rows as f64;
        sums.off_rows += self.off_rows as f64;
    }

    /// Where a token stands, for messages.
    pub(crate) fn place(&self, token: usize) -> String {
        self.rows.place(token)
    }
}

/// Folds mask, mode and denominators into one weight a token.
///
/// `denominator` stands for the number of valid tokens (`token-mean`) or of rows with any (the
/// other modes) of the whole batch, where this call sees one micro-batch of it; the losses of the
/// micro-batches then add up to the loss of the batch. `norm_constant` of `config` defaults to
/// the common row length.
///
/// # Errors
/// If a length differs, a setting is outside its range, the denominator is not positive, or `seq-mean-token-sum-norm` has neither
/// a constant nor rows of one length.
pub fn token_weights(
    rows: &RowOffsets,
    loss_mask: &[bool],
    expert_mask: &[bool],
    config: &LossConfig,
    denominator: Option<f64>,
) -> Result<TokenWeights> {
    Error::check_len("loss_mask", rows.tokens(), "tokens", loss_mask.len())?;
    Error::check_len("expert_mask", rows.tokens(), "tokens", expert_mask.len())?;
    config.validate()?;
    if let Some(value) = denominator
        && !(value > 0.0 && value.is_finite())
    {
        return Err(Error::config("denominator", "a finite number > 0", value));
    }
    // Sums of bytes rather than filters: these run over every token, and vectorise.
    let count = |mask: &[bool]| mask.iter().map(|&valid| usize::from(valid)).sum::<usize>();
    let counts: Vec<usize> = rows.ranges().map(|range| count(&loss_mask[range])).collect();
    let tokens: usize = counts.iter().sum();
    let filled = counts.iter().filter(|&&count| count > 0).count();
    let norm = match (config.aggregation, config.norm_constant, rows.common_length()) {
        (Aggregation::SeqMeanTokenSumNorm, Some(constant), _) => constant,
        (Aggregation::SeqMeanTokenSumNorm, None, Some(length)) => length.max(1) as f64,
        (Aggregation::SeqMeanTokenSumNorm, None, None) if tokens > 0 => {
            return Err(Error::Missing {
                argument: "norm_constant",
                reason: "'seq-mean-token-sum-norm' over rows of different lengths needs it: there \
                         is no padded length to divide by"
                    .into(),
            });
        }
        _ => 1.0,
    };
    // An empty batch has no weights to give, so its divisor is never used.
    let denominator = denominator.unwrap_or(match config.aggregation {
        Aggregation::TokenMean => tokens as f64,
        _ => filled as f64,
    });
    let mut weight = vec![0.0; rows.tokens()];
    for (range, count) in rows.ranges().zip(&counts) {
        let of_row = match config.aggregation {
            Aggregation::TokenMean | Aggregation::SeqMeanTokenSum => 1.0 / denominator,
            Aggregation::SeqMeanTokenMean => 1.0 / (denominator * *count as f64),
            Aggregation::SeqMeanTokenSumNorm => 1.0 / (denominator * norm),
        };
        for (weight, &valid) in weight[range.clone()].iter_mut().zip(&loss_mask[range]) {
            *weight = if valid { of_row } else { 0.0 };
        }
    }
    let rows_with = |expert: bool| {
        let any = |mut range: std::ops::Range<usize>| {
            range.any(|token| loss_mask[token] && expert_mask[token] == expert)
        };
        rows.ranges().filter(|range| any(range.clone())).count()
    };
    let (on_rows, off_rows) = (rows_with(false), rows_with(true));
    Ok(TokenWeights { rows: rows.clone(), weight, on_rows, off_rows })
}
