//! Checks and launches of kernels/fused.cu, and whether it takes some logits at all.

use super::arguments::FusedArguments;
use super::error::CudaError;
use super::kernel::Kernel;
use super::plan::{FusedPlan, plan};
use super::policy_loss::Batch;
use super::sources::Unit;
use super::stream::Stream;
use super::view::{self, DType, DeviceView, Element, Logits, RowScales};
use crate::error::{Error, Result};
use crate::objective::LossConfig;

/// What vectors are aligned to, in bytes.
const VECTOR: u64 = 16;

/// What the loss writes, each with a value a row.
#[derive(Debug, Clone, Copy)]
pub struct FusedOutputs<'a> {
    /// Log-probabilities, float64: rounded to float32 they would move a ratio by 1e-6.
    pub logp: DeviceView<'a>,
    /// Entropies, float64.
    pub entropy: DeviceView<'a>,
    /// What is wrong with the row, uint8.
    pub status: DeviceView<'a>,
}

/// Why the row-resident kernel does not take these logits, as half a sentence; None if it does.
///
/// The kernel is loaded, so that a device without room for its clusters (one that was divided, for
/// instance) or a machine without its image counts as a reason, too.
///
/// # Errors
/// If an array is no logits at all, or the device refuses.
pub fn obstacle(
    stream: &Stream,
    logits: &DeviceView<'_>,
    dlogits: &DeviceView<'_>,
) -> Result<Option<String>> {
    let given = logits.logits("logits")?;
    let target = Logits { rows: dlogits.logits_out("dlogits", logits)?, ..given };
    let plan = match planned(stream, &given, &target, None) {
        Ok(plan) => plan,
        Err(reason) => return Ok(Some(reason)),
    };
    obstacle_of_plan(stream, plan, given.element)
}

/// Why a device can not run a plan that fits it on paper. Loads the kernel.
pub(crate) fn obstacle_of_plan(
    stream: &Stream,
    plan: FusedPlan,
    element: Element,
) -> Result<Option<String>> {
    Ok(match stream.load(Unit::Fused(plan, element)) {
        Ok(unit) if unit.kernels.iter().any(|kernel| kernel.resident == 0) => {
            Some(format!("the device has no room for a cluster of {} blocks", plan.cluster))
        }
        Ok(_) => None,
        Err(missing @ CudaError::NoImage { .. }) => Some(missing.to_string()),
        Err(error) => return Err(error.into()),
    })
}

/// The loss of rows of logits, whose gradient goes over the logits or beside them. The sums of the
/// loss follow from the log-probs, by [`policy_loss`](super::policy_loss::policy_loss). `chosen`
/// stands for the plan that the vocabulary and the device ask for.
///
/// # Errors
/// If the kernel does not take the logits, arrays do not fit each other, or the device refuses.
#[expect(clippy::too_many_arguments, reason = "inputs and outputs of one operator")]
pub fn fused(
    stream: &Stream,
    batch: &Batch<'_>,
    logits: &DeviceView<'_>,
    dlogits: &DeviceView<'_>,
    ids: &DeviceView<'_>,
    scales: &RowScales<'_>,
    config: &LossConfig,
    outputs: &FusedOutputs<'_>,
    leave_unsound: bool,
    chosen: Option<FusedPlan>,
) -> Result<()> {
    let given = logits.logits("logits")?;
    let rows = given.count as usize;
    dlogits.check_same_or_apart("dlogits", logits)?;
    batch.check_apart("dlogits", dlogits)?;
    let target = Logits { rows: dlogits.logits_out("dlogits", logits)?, ..given };
    let plan = planned(stream, &given, &target, chosen).map_err(|reason| Error::Shape {
        argument: "logits",
        expected: "logits that the row-resident kernel takes".into(),
        got: format!("shape {:?}: {reason}", logits.shape()),
    })?;
    let arguments = FusedArguments {
        logits: given.rows,
        dlogits: target.rows,
        ids: ids.input("ids", DType::Int64, rows)?,
        scales: scales.get(rows)?,
        weights: batch.weights(rows)?,
        inputs: batch.inputs(rows, config)?,
        settings: config.into(),
        logp: outputs.logp.output("logp", DType::Float64, rows)?,
        entropy: outputs.entropy.output("entropy", DType::Float64, rows)?,
        status: view::bytes_out("status", Some(&outputs.status), rows)?,
        rows: given.count,
        vocabulary: given.columns,
        leave_unsound: leave_unsound.into(),
        unused: 0,
    };
    let (element, entropy) = (given.element, config.entropy_coef != 0.0);
    let kernel = Kernel::Fused { plan, element, entropy };
    let work = u64::from(given.count) * u64::from(plan.cluster);
    // SAFETY: all arrays are as large as the rows ask for, and rows lie as the plan expects.
    unsafe { stream.launch(kernel, work, &arguments) }?;
    Ok(())
}

/// The plan for some logits and where their gradient goes, or why there is none.
fn planned(
    stream: &Stream,
    logits: &Logits,
    dlogits: &Logits,
    chosen: Option<FusedPlan>,
) -> std::result::Result<FusedPlan, String> {
    let limits = stream.device.properties.limits;
    let (vocabulary, element) = (logits.columns.into(), logits.element);
    let plan = match chosen {
        Some(chosen) => chosen.check(vocabulary, element, limits)?,
        None => plan(vocabulary, element, limits)?,
    };
    for (name, rows) in [("logits", logits.rows), ("dlogits", dlogits.rows)] {
        let bytes = |stride: i64| stride.unsigned_abs() * logits.element.size();
        let places = [rows.base, bytes(rows.outer_stride), bytes(rows.inner_stride)];
        if places.iter().any(|place| !place.is_multiple_of(VECTOR)) {
            return Err(format!("the rows of {name} do not begin at multiples of {VECTOR} bytes"));
        }
    }
    Ok(plan)
}
