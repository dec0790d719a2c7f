//! Checks and launches of kernels/policy_loss.cu.

use super::arguments::{AddSumsArguments, PolicyLossArguments, TokenInputs};
use super::kernel::{Kernel, TOKENS_A_BLOCK};
use super::stream::Stream;
use super::view::{self, DType, DeviceView};
use crate::error::{Error, Result};
use crate::objective::config::Kl;
use crate::objective::{LossConfig, LossSums};

/// Sums of a row of partial sums.
const SUMS: usize = LossSums::NAMES.len();

/// What a loss takes of each token. Weights are float64; the others float32 or float64.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Mask, aggregation and denominators in one number; 0 leaves the token out.
    pub weights: DeviceView<'a>,
    /// Log-probs of the policy that the ratio is against.
    pub old_logp: DeviceView<'a>,
    /// Advantages, one a token.
    pub advantage: DeviceView<'a>,
    /// Which tokens are an expert's. None: no token is.
    pub expert: Option<DeviceView<'a>>,
    /// Log-probs of expert tokens under the prompt that they were sampled with.
    pub behavior_logp: Option<DeviceView<'a>>,
    /// Log-probs under the reference policy.
    pub ref_logp: Option<DeviceView<'a>>,
}

impl Batch<'_> {
    pub(crate) fn weights(&self, tokens: usize) -> Result<u64> {
        self.weights.input("weights", DType::Float64, tokens)
    }

    pub(crate) fn inputs(&self, tokens: usize, config: &LossConfig) -> Result<TokenInputs> {
        if config.kl != Kl::None && self.ref_logp.is_none() {
            let reason = "needed for the divergence from the reference policy".to_string();
            return Err(Error::Missing { argument: "ref_logp", reason });
        }
        Ok(TokenInputs {
            old_logp: view::reals("old_logp", Some(&self.old_logp), tokens)?,
            advantage: view::reals("advantage", Some(&self.advantage), tokens)?,
            behavior_logp: view::reals("behavior_logp", self.behavior_logp.as_ref(), tokens)?,
            ref_logp: view::reals("ref_logp", self.ref_logp.as_ref(), tokens)?,
            expert: view::bytes("expert", self.expert.as_ref(), tokens)?,
        })
    }

    /// Checks that writing an array leaves the batch alone.
    pub(crate) fn check_apart(&self, argument: &'static str, out: &DeviceView<'_>) -> Result<()> {
        let given = [self.expert, self.behavior_logp, self.ref_logp].into_iter().flatten();
        [self.weights, self.old_logp, self.advantage]
            .into_iter()
            .chain(given)
            .try_for_each(|view| out.check_apart(argument, &view))
    }
}

/// What a loss reads and writes besides its batch, each with a value a token.
#[derive(Debug, Clone, Copy, Default)]
pub struct LossArrays<'a> {
    /// Entropies, which the loss reads.
    pub entropy: Option<DeviceView<'a>>,
    /// What is wrong with the rows of logits that the log-probs came from, which it reads.
    pub row_status: Option<DeviceView<'a>>,
    /// Gradient of the log-probs.
    pub d_logp: Option<DeviceView<'a>>,
    /// Gradient of the entropies.
    pub d_entropy: Option<DeviceView<'a>>,
    /// What is wrong with each token, uint8.
    pub status: Option<DeviceView<'a>>,
}

/// Blocks of a loss, each of which writes a row of partial sums.
fn blocks(tokens: usize) -> usize {
    tokens.div_ceil(TOKENS_A_BLOCK as usize).max(1)
}

/// The loss of log-probs, as partial sums, (blocks, 26) float64, and its gradient.
///
/// # Errors
/// If arrays do not fit each other, or the device refuses.
pub fn policy_loss(
    stream: &Stream,
    batch: &Batch<'_>,
    logp: &DeviceView<'_>,
    config: &LossConfig,
    arrays: &LossArrays<'_>,
    partials: &DeviceView<'_>,
) -> Result<()> {
    let tokens = logp.len();
    if config.entropy_coef != 0.0 && arrays.entropy.is_none() {
        let reason = "needed for the entropy bonus".to_string();
        return Err(Error::Missing { argument: "entropy", reason });
    }
    let arguments = PolicyLossArguments {
        logp: view::reals("logp", Some(logp), tokens)?,
        entropy: view::reals("entropy", arrays.entropy.as_ref(), tokens)?,
        inputs: batch.inputs(tokens, config)?,
        weights: batch.weights(tokens)?,
        settings: config.into(),
        d_logp: view::reals_out("d_logp", arrays.d_logp.as_ref(), tokens)?,
        d_entropy: view::reals_out("d_entropy", arrays.d_entropy.as_ref(), tokens)?,
        row_status: view::bytes("row_status", arrays.row_status.as_ref(), tokens)?,
        status: view::bytes_out("status", arrays.status.as_ref(), tokens)?,
        partials: partials.output("partials", DType::Float64, blocks(tokens) * SUMS)?,
        tokens: view::count("logp", tokens)?,
        unused: 0,
    };
    // SAFETY: all arrays are as large as the tokens ask for.
    unsafe { stream.launch(Kernel::PolicyLoss, blocks(tokens) as u64, &arguments) }?;
    Ok(())
}

/// Adds partial sums up: `sums` has 26 numbers, `loss` one, which is that of all sums so far if
/// they accumulate. `row_counts` are the numbers of policy rows and expert rows, which no token
/// knows.
///
/// # Errors
/// If arrays do not fit each other, or the device refuses.
pub fn add_sums(
    stream: &Stream,
    partials: &DeviceView<'_>,
    sums: &DeviceView<'_>,
    row_counts: Option<&DeviceView<'_>>,
    loss: Option<&DeviceView<'_>>,
    accumulate: bool,
) -> Result<()> {
    let blocks = partials.len() / SUMS;
    sums.check_apart("sums", partials)?;
    let arguments = AddSumsArguments {
        partials: partials.input("partials", DType::Float64, blocks * SUMS)?,
        row_counts: match row_counts {
            Some(view) => view.input("row_counts", DType::Float64, 2)?,
            None => 0,
        },
        sums: sums.output("sums", DType::Float64, SUMS)?,
        loss: view::reals_out("loss", loss, 1)?,
        blocks: view::count("partials", blocks)?,
        accumulate: accumulate.into(),
    };
    // SAFETY: all arrays are as large as the blocks ask for.
    unsafe { stream.launch(Kernel::AddSums, 1, &arguments) }?;
    Ok(())
}
