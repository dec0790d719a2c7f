//! Checks and launches of kernels/logp_entropy.cu.

use super::arguments::{
    FinishRowsArguments, GradientArguments, RowGradientsArguments, RowStatesArguments,
};
use super::kernel::Kernel;
use super::stream::Stream;
use super::view::{self, DType, DeviceView, RowScales};
use crate::error::{Error, Result};

/// Numbers of a row's state: reference, rest, weighted, label, above.
pub const STATE: usize = 5;
/// Numbers of a row that the backward pass needs: reference, log sum, log-prob, entropy.
pub const SAVED: usize = 4;
/// Numbers of a row that make its gradient.
pub const COEFFICIENTS: usize = 4;

/// Rows of a block of the kernels that take a row a thread.
const ROWS_A_BLOCK: usize = 128;

/// The states of rows of logits, or of a shard of them: ids from `first_id` on are in the shard. Rows
/// of weight 0 are not read, where weights are given.
///
/// # Errors
/// If arrays do not fit each other, or the device refuses.
pub fn row_states(
    stream: &Stream,
    logits: &DeviceView<'_>,
    ids: &DeviceView<'_>,
    scales: &RowScales<'_>,
    states: &DeviceView<'_>,
    first_id: i64,
    weights: Option<&DeviceView<'_>>,
) -> Result<()> {
    let given = logits.logits("logits")?;
    let rows = given.count as usize;
    let arguments = RowStatesArguments {
        logits: given.rows,
        ids: ids.input("ids", DType::Int64, rows)?,
        scales: scales.get(rows)?,
        states: states.output("states", DType::Float64, rows * STATE)?,
        first_id,
        weights: weights.map_or(Ok(0), |view| view.input("weights", DType::Float64, rows))?,
        rows: given.count,
        vocabulary: given.columns,
    };
    // SAFETY: all arrays are as large as the rows ask for.
    unsafe { stream.launch(Kernel::RowStates(given.element), given.count.into(), &arguments) }?;
    Ok(())
}

/// What [`finish_rows`] is asked for, each with a value a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowResults<'a> {
    /// Log-probabilities, float32.
    pub logp: Option<DeviceView<'a>>,
    /// Entropies, float32.
    pub entropy: Option<DeviceView<'a>>,
    /// Ranks, int64.
    pub rank: Option<DeviceView<'a>>,
    /// What the backward pass needs, (rows, 4) float64.
    pub saved: Option<DeviceView<'a>>,
    /// What is wrong with the row, uint8.
    pub status: Option<DeviceView<'a>>,
}

/// The results of rows from their states: (rows, 5), or (shards, rows, 5) of a vocabulary in parts.
///
/// # Errors
/// If arrays do not fit each other, or the device refuses.
pub fn finish_rows(
    stream: &Stream,
    states: &DeviceView<'_>,
    ids: &DeviceView<'_>,
    scales: &RowScales<'_>,
    vocabulary: usize,
    results: &RowResults<'_>,
) -> Result<()> {
    let rows = ids.len();
    let (states, shards, shard_stride) = states.shards("states", DType::Float64, rows * STATE)?;
    let arguments = FinishRowsArguments {
        states,
        shard_stride,
        ids: ids.input("ids", DType::Int64, rows)?,
        scales: scales.get(rows)?,
        logp: view::output("logp", results.logp.as_ref(), DType::Float32, rows)?,
        entropy: view::output("entropy", results.entropy.as_ref(), DType::Float32, rows)?,
        rank: view::output("rank", results.rank.as_ref(), DType::Int64, rows)?,
        saved: view::output("saved", results.saved.as_ref(), DType::Float64, rows * SAVED)?,
        status: view::bytes_out("status", results.status.as_ref(), rows)?,
        vocabulary: i64::try_from(vocabulary)
            .map_err(|_| Error::config("vocabulary", "at most 2^63 - 1", vocabulary))?,
        shards,
        rows: view::count("ids", rows)?,
    };
    let blocks = rows.div_ceil(ROWS_A_BLOCK) as u64;
    // SAFETY: all arrays are as large as the rows ask for.
    unsafe { stream.launch(Kernel::FinishRows, blocks, &arguments) }?;
    Ok(())
}

/// The numbers that make the gradient of each row, from the gradients of its results.
///
/// # Errors
/// If arrays do not fit each other, or the device refuses.
pub fn row_gradients(
    stream: &Stream,
    saved: &DeviceView<'_>,
    d_logp: &DeviceView<'_>,
    d_entropy: &DeviceView<'_>,
    scales: &RowScales<'_>,
    coefficients: &DeviceView<'_>,
) -> Result<()> {
    let rows = d_logp.len();
    let arguments = RowGradientsArguments {
        saved: saved.input("saved", DType::Float64, rows * SAVED)?,
        d_logp: d_logp.input("d_logp", DType::Float64, rows)?,
        d_entropy: d_entropy.input("d_entropy", DType::Float64, rows)?,
        scales: scales.get(rows)?,
        coefficients: coefficients.output("coefficients", DType::Float32, rows * COEFFICIENTS)?,
        rows: view::count("d_logp", rows)?,
        unused: 0,
    };
    let blocks = rows.div_ceil(ROWS_A_BLOCK) as u64;
    // SAFETY: all arrays are as large as the rows ask for.
    unsafe { stream.launch(Kernel::RowGradients, blocks, &arguments) }?;
    Ok(())
}

/// What a gradient is made from.
#[derive(Debug, Clone, Copy)]
pub struct GradientInput<'a> {
    /// Token ids, int64, of the whole vocabulary.
    pub ids: DeviceView<'a>,
    /// The numbers that [`row_gradients`] made.
    pub coefficients: DeviceView<'a>,
    /// log2(e)/τ.
    pub scales: RowScales<'a>,
    /// What is wrong with rows; those with a fault are left alone.
    pub status: Option<DeviceView<'a>>,
    /// The id of the first column of the logits.
    pub first_id: i64,
}

/// The gradient of rows of logits, over the logits or beside them.
///
/// # Errors
/// If arrays do not fit each other, or the device refuses.
pub fn gradient(
    stream: &Stream,
    logits: &DeviceView<'_>,
    dlogits: &DeviceView<'_>,
    input: &GradientInput<'_>,
) -> Result<()> {
    let given = logits.logits("logits")?;
    let rows = given.count as usize;
    dlogits.check_same_or_apart("dlogits", logits)?;
    let splits = splits(given.count, stream.device.properties.multiprocessors);
    let coefficients =
        input.coefficients.input("coefficients", DType::Float32, rows * COEFFICIENTS)?;
    let arguments = GradientArguments {
        logits: given.rows,
        dlogits: dlogits.logits_out("dlogits", logits)?,
        ids: input.ids.input("ids", DType::Int64, rows)?,
        coefficients,
        scales: input.scales.get(rows)?,
        status: view::bytes("status", input.status.as_ref(), rows)?,
        first_id: input.first_id,
        rows: given.count,
        vocabulary: given.columns,
        splits,
        unused: 0,
    };
    let work = u64::from(given.count) * u64::from(splits);
    // SAFETY: all arrays are as large as the rows ask for.
    unsafe { stream.launch(Kernel::Gradient(given.element), work, &arguments) }?;
    Ok(())
}

/// Parts of a row, so that few rows fill the device too.
fn splits(rows: u32, multiprocessors: u32) -> u32 {
    /// Blocks that a multiprocessor holds, and turns that even out when the last ones end.
    const ENOUGH: u32 = 4 * 4;
    /// Shorter parts are not worth their start.
    const MOST: u32 = 16;
    (ENOUGH * multiprocessors).div_ceil(rows.max(1)).clamp(1, MOST)
}
