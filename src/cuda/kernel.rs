//! Every kernel: where it is compiled, and the shape of its blocks.

use std::ffi::CStr;

use super::plan::FusedPlan;
use super::sources::Unit;
use super::view::Element;

/// Tokens that a block of the policy loss takes; each block writes a row of partial sums.
pub const TOKENS_A_BLOCK: u32 = 1024;

/// A kernel of kernels/*.cu.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    RowStates(Element),
    FinishRows,
    RowGradients,
    Gradient(Element),
    PolicyLoss,
    AddSums,
    GroupAdvantages,
    Scale(Element),
    Fused { plan: FusedPlan, element: Element, entropy: bool },
}

/// The shape of a kernel's blocks, as its source has it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub threads: u32,
    /// Bytes of shared memory.
    pub shared: u32,
    /// Blocks of a cluster.
    pub cluster: u32,
}

impl Kernel {
    /// Where it is compiled.
    pub fn unit(self) -> Unit {
        match self {
            Self::RowStates(_) | Self::FinishRows | Self::RowGradients | Self::Gradient(_) => {
                Unit::LogpEntropy
            }
            Self::PolicyLoss | Self::AddSums => Unit::PolicyLoss,
            Self::GroupAdvantages => Unit::Advantage,
            Self::Scale(_) => Unit::Scale,
            Self::Fused { plan, element, .. } => Unit::Fused(plan, element),
        }
    }

    /// Its name in the source.
    pub fn symbol(self) -> &'static CStr {
        use Element::{Bf16, F16, F32};
        match self {
            Self::RowStates(Bf16) => c"icpo_row_states_bf16",
            Self::RowStates(F16) => c"icpo_row_states_f16",
            Self::RowStates(F32) => c"icpo_row_states_f32",
            Self::FinishRows => c"icpo_finish_rows",
            Self::RowGradients => c"icpo_row_gradients",
            Self::Gradient(Bf16) => c"icpo_gradient_bf16",
            Self::Gradient(F16) => c"icpo_gradient_f16",
            Self::Gradient(F32) => c"icpo_gradient_f32",
            Self::PolicyLoss => c"icpo_policy_loss",
            Self::AddSums => c"icpo_add_sums",
            Self::GroupAdvantages => c"icpo_group_advantages",
            Self::Scale(Bf16) => c"icpo_scale_bf16",
            Self::Scale(F16) => c"icpo_scale_f16",
            Self::Scale(F32) => c"icpo_scale_f32",
            Self::Fused { entropy: false, .. } => c"icpo_fused",
            Self::Fused { entropy: true, .. } => c"icpo_fused_entropy",
        }
    }

    /// The same as text.
    pub fn name(self) -> &'static str {
        self.symbol().to_str().unwrap_or_default()
    }

    /// The shape of its blocks.
    pub fn block(self) -> Block {
        let (threads, shared) = match self {
            // A warp's state and count, twice.
            Self::RowStates(_) => (256, 1024),
            Self::FinishRows | Self::RowGradients | Self::GroupAdvantages => (128, 0),
            Self::Gradient(_) | Self::Scale(_) => (256, 0),
            // 26 sums of each of 8 warps.
            Self::PolicyLoss => (256, 8 * 26 * 8),
            // A warp for each of 26 sums.
            Self::AddSums => (26 * 32, 26 * 8),
            Self::Fused { plan, .. } => (plan.block(), plan.shared()),
        };
        let cluster = match self {
            Self::Fused { plan, .. } => plan.cluster,
            _ => 1,
        };
        Block { threads, shared, cluster }
    }

    /// Whether its blocks take one piece of work after another, so that no more of them are
    /// launched than the device holds at a time.
    pub fn persistent(self) -> bool {
        matches!(self, Self::RowStates(_) | Self::Gradient(_) | Self::Scale(_) | Self::Fused { .. })
    }
}
