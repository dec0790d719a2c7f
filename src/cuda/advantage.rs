//! Checks and launch of kernels/advantage.cu.

use super::arguments::AdvantageArguments;
use super::kernel::Kernel;
use super::stream::Stream;
use super::view::{self, DType, DeviceView};
use crate::error::{Error, Result};
use crate::objective::advantage::{AdvantageConfig, Baseline, Std};

/// Rollouts of a block: a warp each.
const ROLLOUTS_A_BLOCK: usize = 4;

/// What the advantages are computed from, one a rollout.
#[derive(Debug, Clone, Copy)]
pub struct Rollouts<'a> {
    /// Rewards, float64.
    pub rewards: DeviceView<'a>,
    /// Numbers of groups, int64; any numbers will do.
    pub groups: DeviceView<'a>,
    /// Which rollouts are an expert's. None: none is.
    pub expert: Option<DeviceView<'a>>,
    /// Which rollouts count. None: all do.
    pub keep: Option<DeviceView<'a>>,
}

/// Advantages relative to the group (eq. 4 and 6), float64; 0 where a rollout does not count.
/// `status` is 1 where a reward that counts is not finite.
///
/// # Errors
/// If arrays do not fit each other, or the device refuses.
pub fn group_advantages(
    stream: &Stream,
    rollouts: &Rollouts<'_>,
    config: &AdvantageConfig,
    advantages: &DeviceView<'_>,
    status: Option<&DeviceView<'_>>,
) -> Result<()> {
    let count = rollouts.rewards.len();
    if !(config.eps >= 0.0 && config.eps.is_finite()) {
        return Err(Error::config("eps", "a finite number >= 0", config.eps));
    }
    advantages.check_apart("advantages", &rollouts.rewards)?;
    let arguments = AdvantageArguments {
        rewards: rollouts.rewards.input("rewards", DType::Float64, count)?,
        groups: rollouts.groups.input("group_ids", DType::Int64, count)?,
        expert: view::bytes("expert_mask", rollouts.expert.as_ref(), count)?,
        keep: view::bytes("keep_mask", rollouts.keep.as_ref(), count)?,
        advantages: advantages.output("advantages", DType::Float64, count)?,
        status: view::bytes_out("status", status, count)?,
        eps: config.eps,
        rollouts: view::count("rewards", count)?,
        unbiased: (config.std == Std::Unbiased).into(),
        on_policy: (config.baseline == Baseline::OnPolicy).into(),
        unused: 0,
    };
    let blocks = count.div_ceil(ROLLOUTS_A_BLOCK) as u64;
    // SAFETY: all arrays are as large as the rollouts ask for.
    unsafe { stream.launch(Kernel::GroupAdvantages, blocks, &arguments) }?;
    Ok(())
}
