//! The extension module `icpo._core`: a table of contents. All of PyO3 lives in this folder.
//!
//! The module is private to the Python package, which shapes arguments, allocates results, and
//! passes both as [`tensor::TensorView`]s. Whatever a person calls has checked names and shapes
//! before; what is checked here again is all that memory safety rests on.

mod analysis;
mod call;
#[cfg(feature = "cuda")]
mod cuda;
mod error;
mod objective;
mod reward;
mod tensor;

use pyo3::prelude::*;

use crate::objective::config::Named;
use crate::objective::{self as core_objective, advantage};
use crate::reward::checker::Profile;

fn names<T: Named>() -> Vec<&'static str> {
    T::ALL.iter().map(|(name, _)| *name).collect()
}

/// Compiled core of icpo. Private: use `icpo.objective` and `icpo.ops`.
#[pymodule]
#[pyo3(name = "_core")]
fn core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("LOSS_SUMS", core_objective::LossSums::NAMES.to_vec())?;
    module.add("ROLLOUT_SUMS", core_objective::rollouts::RolloutSums::NAMES.to_vec())?;
    module.add("OFF_RATIOS", names::<core_objective::config::OffRatio>())?;
    module.add("KLS", names::<core_objective::config::Kl>())?;
    module.add("AGGREGATIONS", names::<core_objective::config::Aggregation>())?;
    module.add("STDS", names::<advantage::Std>())?;
    module.add("BASELINES", names::<advantage::Baseline>())?;
    module.add("PROFILES", Profile::ALL.map(|(name, _)| name).to_vec())?;
    module.add_class::<tensor::TensorView>()?;
    module.add_class::<objective::TokenWeights>()?;
    module.add_function(wrap_pyfunction!(call::set_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(call::num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(objective::validate_config, module)?)?;
    module.add_function(wrap_pyfunction!(objective::logp_entropy, module)?)?;
    module.add_function(wrap_pyfunction!(objective::logp_entropy_backward, module)?)?;
    module.add_function(wrap_pyfunction!(objective::policy_loss, module)?)?;
    module.add_function(wrap_pyfunction!(objective::fused_policy_loss, module)?)?;
    module.add_function(wrap_pyfunction!(objective::fused_chunk, module)?)?;
    module.add_function(wrap_pyfunction!(objective::linear_policy_loss, module)?)?;
    module.add_function(wrap_pyfunction!(objective::group_advantages, module)?)?;
    module.add_function(wrap_pyfunction!(objective::bonus_gamma, module)?)?;
    module.add_function(wrap_pyfunction!(objective::rollout_sums, module)?)?;
    module.add_function(wrap_pyfunction!(analysis::edit_distances, module)?)?;
    module.add_class::<reward::PyChecker>()?;
    module.add_class::<reward::ParsedAnswer>()?;
    module.add_function(wrap_pyfunction!(reward::checker_defaults, module)?)?;
    #[cfg(feature = "cuda")]
    add_cuda(module)?;
    Ok(())
}

#[cfg(feature = "cuda")]
fn add_cuda(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("CUDA_BLOCK_TOKENS", crate::cuda::TOKENS_A_BLOCK)?;
    module.add("CUDA_STATUSES", crate::cuda::STATUSES.to_vec())?;
    module.add_class::<cuda::CudaStream>()?;
    module.add_function(wrap_pyfunction!(cuda::cuda_info, module)?)?;
    module.add_function(wrap_pyfunction!(cuda::cuda_configure, module)?)?;
    module.add_function(wrap_pyfunction!(cuda::cuda_plan, module)?)?;
    module.add_function(wrap_pyfunction!(cuda::cuda_prepare, module)?)?;
    module.add_function(wrap_pyfunction!(cuda::cuda_units, module)?)?;
    module.add_function(wrap_pyfunction!(cuda::cuda_compile, module)?)?;
    module.add_function(wrap_pyfunction!(cuda::cuda_seal, module)?)?;
    Ok(())
}
