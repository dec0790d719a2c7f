//! The loss from the last hidden states: the logits exist for one chunk of tokens at a time.
//!
//! Three products a chunk and no recomputation: logits = hidden·weightᵀ, which become their own
//! gradient in place, then d_hidden = dlogits·weight and d_weight += dlogitsᵀ·hidden.

use ndarray::{Array2, ArrayView2, s};

use super::batch::Real;
use super::fused::{FusedInput, fused_chunk_in_place};
use super::logits::LogitsMut;
use super::matmul::matmul;
use super::metrics::LossSums;
use crate::error::{Error, Result};

/// The loss of a linear head, with its gradients.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearLoss {
    /// The loss, to be minimised.
    pub loss: f64,
    /// Diagnostics, entropies included.
    pub sums: LossSums,
    /// ∂loss/∂hidden, (N, H).
    pub d_hidden: Array2<f32>,
    /// ∂loss/∂weight, (V, H).
    pub d_weight: Array2<f32>,
}

/// The loss of logits hidden·weightᵀ, for `hidden` (N, H) and `weight` (V, H), of which at most
/// `chunk` rows exist at any time. Everything in `input` is about all N tokens.
///
/// # Errors
/// As for [`super::fused_policy_loss()`].
pub fn linear_policy_loss<T: Real>(
    hidden: ArrayView2<'_, f32>,
    weight: ArrayView2<'_, f32>,
    input: &FusedInput<'_, T>,
    chunk: usize,
) -> Result<LinearLoss> {
    let (tokens, width) = hidden.dim();
    if weight.ncols() != width {
        return Err(Error::Shape {
            argument: "weight",
            expected: format!("(V, {width}), as hidden is ({tokens}, {width})"),
            got: format!("{:?}", weight.dim()),
        });
    }
    if chunk == 0 {
        return Err(Error::config("chunk", "a number of tokens > 0", chunk));
    }
    Error::check_len("hidden", input.batch.weights.tokens(), "tokens", tokens)?;
    let mut sums = LossSums::default();
    let mut d_hidden = Array2::zeros(hidden.dim());
    let mut d_weight = Array2::zeros(weight.dim());
    let mut buffer = Array2::<f32>::zeros((chunk.min(tokens), weight.nrows()));
    for first in (0..tokens).step_by(chunk) {
        let rows = first..tokens.min(first + chunk);
        let hidden = hidden.slice(s![rows.clone(), ..]);
        let mut logits = buffer.slice_mut(s![..rows.len(), ..]);
        matmul(&hidden, &weight.t(), 0.0, &mut logits);
        let mut in_place = LogitsMut::packed(logits.view_mut())?;
        sums.add(&fused_chunk_in_place(&mut in_place, input, first)?.sums);
        matmul(&logits.view(), &weight, 0.0, &mut d_hidden.slice_mut(s![rows, ..]));
        matmul(&logits.t(), &hidden, 1.0, &mut d_weight.view_mut());
    }
    input.batch.weights.count_rows(&mut sums);
    Ok(LinearLoss { loss: sums.loss(), sums, d_hidden, d_weight })
}
