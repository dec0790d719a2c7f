//! Argument unpacking for `crate::objective`.

use std::borrow::Cow;

use pyo3::prelude::*;

use super::call::run;
use super::error::Failure;
use super::tensor::{DType, TensorView, per_token, with_element, with_real};
use crate::objective::Temperature;
use crate::objective::advantage::{AdvantageConfig, Baseline, Std};
use crate::objective::bonus::BonusSchedule;
use crate::objective::config::{Aggregation, Kl, Named, OffRatio};
use crate::objective::rollouts::Rollouts;
use crate::objective::{self, FusedInput, FusedLoss, LossConfig, PolicyBatch, Real, RowOffsets};

type View<'py> = PyRef<'py, TensorView>;

/// The loss and its sums, as Python gets them.
type Summary = (f64, Vec<f64>);

/// The fields of `icpo.LossConfig`, by name.
#[derive(FromPyObject)]
pub(crate) struct PyLossConfig {
    off_ratio: String,
    lam: f64,
    off_clip: bool,
    clip_low: f64,
    clip_high: f64,
    dual_clip: Option<f64>,
    log_ratio_clamp: Option<f64>,
    kl: String,
    kl_coef: f64,
    entropy_coef: f64,
    sft_coef: f64,
    aggregation: String,
    norm_constant: Option<f64>,
}

impl PyLossConfig {
    pub(crate) fn get(&self) -> Result<LossConfig, Failure> {
        let config = LossConfig {
            off_ratio: OffRatio::from_name(&self.off_ratio)?,
            lam: self.lam,
            off_clip: self.off_clip,
            clip_low: self.clip_low,
            clip_high: self.clip_high,
            dual_clip: self.dual_clip,
            log_ratio_clamp: self.log_ratio_clamp,
            kl: Kl::from_name(&self.kl)?,
            kl_coef: self.kl_coef,
            entropy_coef: self.entropy_coef,
            sft_coef: self.sft_coef,
            aggregation: Aggregation::from_name(&self.aggregation)?,
            norm_constant: self.norm_constant,
        };
        config.validate()?;
        Ok(config)
    }
}

/// Raises if a setting is outside its range.
#[pyfunction]
pub(crate) fn validate_config(py: Python<'_>, config: PyLossConfig) -> PyResult<()> {
    run(py, || config.get().map(|_| ()))
}

/// A temperature: a number, or a float64 view with one for each token.
#[derive(FromPyObject)]
pub(crate) enum PyTemperature<'py> {
    #[pyo3(transparent)]
    PerToken(View<'py>),
    #[pyo3(transparent)]
    Scalar(f64),
}

/// The same without a hold on the interpreter.
enum TemperatureArg<'a> {
    PerToken(&'a TensorView),
    Scalar(f64),
}

impl PyTemperature<'_> {
    fn arg(&self) -> TemperatureArg<'_> {
        match self {
            Self::PerToken(view) => TemperatureArg::PerToken(view),
            Self::Scalar(value) => TemperatureArg::Scalar(*value),
        }
    }
}

impl<'a> TemperatureArg<'a> {
    fn get(&self) -> Result<Temperature<'a>, Failure> {
        Ok(match self {
            Self::PerToken(view) => Temperature::PerToken(view.slice("temperature")?),
            Self::Scalar(value) => Temperature::Scalar(*value),
        })
    }
}

/// Which tokens of a batch count, and how much; with the rows and the expert flags.
#[pyclass(frozen, module = "icpo._core")]
pub(crate) struct TokenWeights {
    rows: RowOffsets,
    expert_mask: Vec<bool>,
    weights: objective::TokenWeights,
}

#[pymethods]
impl TokenWeights {
    /// Rows are a padded batch of `shape` (B, T), or lie between the offsets `cu_seqlens`.
    #[new]
    #[pyo3(signature = (loss_mask, expert_mask, config, *, shape=None, cu_seqlens=None, denominator=None))]
    fn new(
        py: Python<'_>,
        loss_mask: View<'_>,
        expert_mask: Option<View<'_>>,
        config: PyLossConfig,
        shape: Option<(usize, usize)>,
        cu_seqlens: Option<View<'_>>,
        denominator: Option<f64>,
    ) -> PyResult<Self> {
        let (loss_mask, cu_seqlens) = (&*loss_mask, cu_seqlens.as_deref());
        let expert_mask = expert_mask.as_deref();
        run(py, || {
            let config = config.get()?;
            let loss_mask = loss_mask.mask("loss_mask")?;
            let tokens = loss_mask.len();
            let rows = match (cu_seqlens, shape) {
                (Some(offsets), _) => RowOffsets::packed(offsets.slice("cu_seqlens")?, tokens)?,
                (None, Some((rows, length))) => RowOffsets::padded(rows, length),
                (None, None) => RowOffsets::padded(1, tokens),
            };
            let expert_mask = match expert_mask {
                Some(view) => per_token("expert_mask", &view.mask("expert_mask")?, &rows)?.into(),
                None => vec![false; tokens],
            };
            let weights =
                objective::token_weights(&rows, &loss_mask, &expert_mask, &config, denominator)?;
            Ok(Self { rows, expert_mask, weights })
        })
    }

    /// The sums of a batch with nothing but its numbers of rows.
    fn row_sums(&self) -> Vec<f64> {
        let mut sums = objective::LossSums::default();
        self.weights.count_rows(&mut sums);
        sums.to_array().to_vec()
    }
}

/// What all losses take: the weights, and values a token.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct PyBatch<'py> {
    weights: PyRef<'py, TokenWeights>,
    old_logp: View<'py>,
    advantage: View<'py>,
    behavior_logp: Option<View<'py>>,
    ref_logp: Option<View<'py>>,
}

/// The same without a hold on the interpreter.
struct BatchViews<'a> {
    weights: &'a TokenWeights,
    old_logp: &'a TensorView,
    advantage: &'a TensorView,
    behavior_logp: Option<&'a TensorView>,
    ref_logp: Option<&'a TensorView>,
}

impl PyBatch<'_> {
    fn views(&self) -> BatchViews<'_> {
        BatchViews {
            weights: &self.weights,
            old_logp: &self.old_logp,
            advantage: &self.advantage,
            behavior_logp: self.behavior_logp.as_deref(),
            ref_logp: self.ref_logp.as_deref(),
        }
    }
}

impl<'a> BatchViews<'a> {
    /// Checks that writing over the logits leaves the batch alone.
    fn check_apart_from(&self, logits: &TensorView) -> Result<(), Failure> {
        let given = [Some(self.old_logp), Some(self.advantage), self.behavior_logp, self.ref_logp];
        given.into_iter().flatten().try_for_each(|view| logits.check_apart(view, "logits"))
    }

    /// Hands the batch to `then`, with the advantage spread over the tokens of each row.
    fn with<T: Real + DType, R>(
        &self,
        then: impl FnOnce(PolicyBatch<'_, T>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let advantage = self.advantage.slice::<T>("advantage")?;
        let advantage: Cow<'_, [T]> = per_token("advantage", advantage, &self.weights.rows)?;
        let view = |name, view: Option<&'a TensorView>| -> Result<_, Failure> {
            view.map(|view| view.slice::<T>(name)).transpose()
        };
        then(PolicyBatch {
            weights: &self.weights.weights,
            old_logp: self.old_logp.slice::<T>("old_logp")?,
            advantage: &advantage,
            expert_mask: &self.weights.expert_mask,
            behavior_logp: view("behavior_logp", self.behavior_logp)?,
            ref_logp: view("ref_logp", self.ref_logp)?,
        })
    }
}

/// Log-probability, entropy and rank of the selected tokens, written into the outputs given.
#[pyfunction]
#[pyo3(signature = (logits, ids, temperature, check, *, logp, entropy, rank, saved))]
#[expect(clippy::too_many_arguments, reason = "inputs and outputs of one operator")]
pub(crate) fn logp_entropy(
    py: Python<'_>,
    logits: View<'_>,
    ids: View<'_>,
    temperature: PyTemperature<'_>,
    check: bool,
    logp: View<'_>,
    entropy: View<'_>,
    rank: View<'_>,
    saved: View<'_>,
) -> PyResult<()> {
    let (logits, ids, temperature) = (&*logits, &*ids, temperature.arg());
    let (logp, entropy, rank, saved) = (&*logp, &*entropy, &*rank, &*saved);
    run(py, || {
        let ids = ids.slice("ids")?;
        let stats = with_element!(logits, E => {
            let logits = logits.logits::<E>()?;
            Ok(objective::logp_entropy(&logits, ids, temperature.get()?, check)?)
        })?;
        logp.fill("logp", stats.logp.into_iter())?;
        entropy.fill("entropy", stats.entropy.into_iter())?;
        rank.fill("rank", stats.rank.into_iter())?;
        saved.fill_rows("saved", &stats.saved)
    })
}

/// Writes the gradient of log-probabilities and entropies into `dlogits`.
#[pyfunction]
#[pyo3(signature = (logits, ids, temperature, *, saved, d_logp, d_entropy, dlogits))]
#[expect(clippy::too_many_arguments, reason = "inputs and outputs of one operator")]
pub(crate) fn logp_entropy_backward(
    py: Python<'_>,
    logits: View<'_>,
    ids: View<'_>,
    temperature: PyTemperature<'_>,
    saved: View<'_>,
    d_logp: View<'_>,
    d_entropy: View<'_>,
    dlogits: View<'_>,
) -> PyResult<()> {
    let (logits, ids, temperature) = (&*logits, &*ids, temperature.arg());
    let (saved, d_logp, d_entropy) = (&*saved, &*d_logp, &*d_entropy);
    let dlogits = &*dlogits;
    run(py, || {
        dlogits.check_apart(logits, "dlogits")?;
        let saved = saved.slice::<f64>("saved")?.as_chunks().0;
        let (ids, d_logp) = (ids.slice("ids")?, d_logp.slice("d_logp")?);
        let d_entropy = d_entropy.slice("d_entropy")?;
        with_element!(logits, E => {
            let (logits, mut dlogits) = (logits.logits::<E>()?, dlogits.logits_mut::<E>()?);
            let temperature = temperature.get()?;
            Ok(objective::logp_entropy_backward(
                &logits, ids, temperature, saved, d_logp, d_entropy, &mut dlogits,
            )?)
        })
    })
}

/// The loss of log-probabilities; its gradient goes into the outputs given.
#[pyfunction]
#[pyo3(signature = (batch, logp, config, check, *, entropy=None, d_logp, d_entropy))]
#[expect(clippy::too_many_arguments, reason = "inputs and outputs of one operator")]
pub(crate) fn policy_loss(
    py: Python<'_>,
    batch: PyBatch<'_>,
    logp: View<'_>,
    config: PyLossConfig,
    check: bool,
    entropy: Option<View<'_>>,
    d_logp: View<'_>,
    d_entropy: View<'_>,
) -> PyResult<Summary> {
    let batch = batch.views();
    let (logp, entropy, d_logp, d_entropy) = (&*logp, entropy.as_deref(), &*d_logp, &*d_entropy);
    run(py, || {
        let config = config.get()?;
        d_logp.check_apart(d_entropy, "d_logp")?;
        let sums = with_real!(batch.old_logp, T => batch.with::<T, _>(|batch| {
            let logp = logp.slice::<T>("logp")?;
            let entropy = entropy.map(|view| view.slice::<T>("entropy")).transpose()?;
            let (d_logp, d_entropy) =
                (d_logp.slice_mut::<T>("d_logp")?, d_entropy.slice_mut::<T>("d_entropy")?);
            Ok(objective::policy_loss_into(
                logp, entropy, &batch, &config, check, d_logp, d_entropy,
            )?)
        }))?;
        Ok((sums.loss(), sums.to_array().to_vec()))
    })
}

/// Outputs of a fused loss, one value for each token.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct FusedOutputs<'py> {
    logp: View<'py>,
    entropy: View<'py>,
    saved: View<'py>,
    d_logp: View<'py>,
    d_entropy: View<'py>,
}

/// The same without a hold on the interpreter.
struct FusedOutputViews<'a> {
    logp: &'a TensorView,
    entropy: &'a TensorView,
    saved: &'a TensorView,
    d_logp: &'a TensorView,
    d_entropy: &'a TensorView,
}

impl FusedOutputs<'_> {
    fn views(&self) -> FusedOutputViews<'_> {
        FusedOutputViews {
            logp: &self.logp,
            entropy: &self.entropy,
            saved: &self.saved,
            d_logp: &self.d_logp,
            d_entropy: &self.d_entropy,
        }
    }
}

impl FusedOutputViews<'_> {
    fn fill(&self, loss: FusedLoss) -> Result<Summary, Failure> {
        self.logp.fill("logp", loss.logp.into_iter())?;
        self.entropy.fill("entropy", loss.entropy.into_iter())?;
        self.saved.fill_rows("saved", &loss.saved)?;
        self.d_logp.fill("d_logp", loss.d_logp.into_iter())?;
        self.d_entropy.fill("d_entropy", loss.d_entropy.into_iter())?;
        Ok((loss.loss, loss.sums.to_array().to_vec()))
    }
}

/// Where the gradient of a fused loss goes.
#[derive(Clone, Copy)]
enum Gradient<'a> {
    Nowhere,
    InPlace,
    Into(&'a TensorView),
}

/// The loss of logits. The gradient goes over the logits (`in_place`), into `dlogits`, or nowhere.
#[pyfunction]
#[pyo3(signature = (batch, logits, ids, temperature, config, check, *, in_place=false, dlogits=None, outputs))]
#[expect(clippy::too_many_arguments, reason = "inputs and outputs of one operator")]
pub(crate) fn fused_policy_loss(
    py: Python<'_>,
    batch: PyBatch<'_>,
    logits: View<'_>,
    ids: View<'_>,
    temperature: PyTemperature<'_>,
    config: PyLossConfig,
    check: bool,
    in_place: bool,
    dlogits: Option<View<'_>>,
    outputs: FusedOutputs<'_>,
) -> PyResult<Summary> {
    let batch = batch.views();
    let gradient = match (in_place, dlogits.as_deref()) {
        (true, _) => Gradient::InPlace,
        (false, Some(dlogits)) => Gradient::Into(dlogits),
        (false, None) => Gradient::Nowhere,
    };
    let (logits, ids, temperature) = (&*logits, &*ids, temperature.arg());
    let outputs = outputs.views();
    run(py, || {
        let (config, ids) = (config.get()?, ids.slice("ids")?);
        let temperature = temperature.get()?;
        match gradient {
            Gradient::Nowhere => {}
            Gradient::InPlace => batch.check_apart_from(logits)?,
            Gradient::Into(dlogits) => dlogits.check_apart(logits, "dlogits")?,
        }
        let loss = with_real!(batch.old_logp, T => batch.with::<T, _>(|batch| {
            let input = FusedInput { ids, temperature, batch, config: &config, check };
            with_element!(logits, E => Ok(match gradient {
                Gradient::Nowhere => objective::fused_policy_loss(&logits.logits::<E>()?, &input)?,
                Gradient::InPlace => {
                    objective::fused_policy_loss_in_place(&mut logits.logits_mut::<E>()?, &input)?
                }
                Gradient::Into(dlogits) => objective::fused_policy_loss_into(
                    &logits.logits::<E>()?,
                    &mut dlogits.logits_mut::<E>()?,
                    &input,
                )?,
            }))
        }))?;
        outputs.fill(loss)
    })
}

/// The loss of a chunk of logits, which become their gradient: those of the tokens from `first`
/// on. All other arguments describe the whole batch. The sums lack the numbers of rows.
#[pyfunction]
#[pyo3(signature = (batch, logits, first, ids, temperature, config, check))]
#[expect(clippy::too_many_arguments, reason = "inputs and outputs of one operator")]
pub(crate) fn fused_chunk(
    py: Python<'_>,
    batch: PyBatch<'_>,
    logits: View<'_>,
    first: usize,
    ids: View<'_>,
    temperature: PyTemperature<'_>,
    config: PyLossConfig,
    check: bool,
) -> PyResult<Summary> {
    let batch = batch.views();
    let (logits, ids, temperature) = (&*logits, &*ids, temperature.arg());
    run(py, || {
        let (config, ids) = (config.get()?, ids.slice("ids")?);
        let temperature = temperature.get()?;
        batch.check_apart_from(logits)?;
        let loss = with_real!(batch.old_logp, T => batch.with::<T, _>(|batch| {
            let input = FusedInput { ids, temperature, batch, config: &config, check };
            with_element!(logits, E => {
                let mut logits = logits.logits_mut::<E>()?;
                Ok(objective::fused_chunk_in_place(&mut logits, &input, first)?)
            })
        }))?;
        Ok((loss.loss, loss.sums.to_array().to_vec()))
    })
}

/// The loss of hidden states and the weight of a linear head, chunk by chunk, in float32.
#[pyfunction]
#[pyo3(signature = (batch, hidden, weight, ids, temperature, config, check, chunk, *, d_hidden, d_weight))]
#[expect(clippy::too_many_arguments, reason = "inputs and outputs of one operator")]
pub(crate) fn linear_policy_loss(
    py: Python<'_>,
    batch: PyBatch<'_>,
    hidden: View<'_>,
    weight: View<'_>,
    ids: View<'_>,
    temperature: PyTemperature<'_>,
    config: PyLossConfig,
    check: bool,
    chunk: usize,
    d_hidden: View<'_>,
    d_weight: View<'_>,
) -> PyResult<Summary> {
    let batch = batch.views();
    let (hidden, weight, ids, temperature) = (&*hidden, &*weight, &*ids, temperature.arg());
    let (d_hidden, d_weight) = (&*d_hidden, &*d_weight);
    run(py, || {
        let (config, ids) = (config.get()?, ids.slice("ids")?);
        let temperature = temperature.get()?;
        let (hidden, weight) = (hidden.matrix("hidden")?, weight.matrix("weight")?);
        let loss = with_real!(batch.old_logp, T => batch.with::<T, _>(|batch| {
            let input = FusedInput { ids, temperature, batch, config: &config, check };
            Ok(objective::linear_policy_loss(hidden, weight, &input, chunk)?)
        }))?;
        d_hidden.fill("d_hidden", loss.d_hidden.into_iter())?;
        d_weight.fill("d_weight", loss.d_weight.into_iter())?;
        Ok((loss.loss, loss.sums.to_array().to_vec()))
    })
}

/// Advantages of float64 rewards, written into `out`.
#[pyfunction]
#[pyo3(signature = (rewards, group_ids, expert_mask, keep_mask, *, std, baseline, eps, out))]
#[expect(clippy::too_many_arguments, reason = "inputs and outputs of one operator")]
pub(crate) fn group_advantages(
    py: Python<'_>,
    rewards: View<'_>,
    group_ids: View<'_>,
    expert_mask: View<'_>,
    keep_mask: View<'_>,
    std: &str,
    baseline: &str,
    eps: f64,
    out: View<'_>,
) -> PyResult<()> {
    let (rewards, group_ids) = (&*rewards, &*group_ids);
    let (expert_mask, keep_mask, out) = (&*expert_mask, &*keep_mask, &*out);
    run(py, || {
        let (std, baseline) = (Std::from_name(std)?, Baseline::from_name(baseline)?);
        let advantages = objective::advantage::group_advantages(
            rewards.slice("rewards")?,
            group_ids.slice("group_ids")?,
            &expert_mask.mask("expert_mask")?,
            &keep_mask.mask("keep_mask")?,
            AdvantageConfig { std, baseline, eps },
        )?;
        out.fill("out", advantages.into_iter())
    })
}

/// γ(t) of a schedule: `linear` or `cosine` over `horizon` steps, `exp` with time constant
/// `horizon`.
#[pyfunction]
pub(crate) fn bonus_gamma(
    py: Python<'_>,
    step: f64,
    schedule: &str,
    horizon: f64,
) -> PyResult<f64> {
    run(py, || {
        let schedule = match schedule {
            "linear" => BonusSchedule::Linear { total_steps: horizon },
            "cosine" => BonusSchedule::Cosine { total_steps: horizon },
            "exp" => BonusSchedule::Exp { tau: horizon },
            other => {
                let (field, expected) = ("schedule", "'linear' or 'cosine' or 'exp'");
                let got = format!("'{other}'");
                return Err(crate::Error::config(field, expected, got).into());
            }
        };
        Ok(schedule.gamma(step)?)
    })
}

/// The sums that describe a batch of rollouts.
#[pyfunction]
#[pyo3(signature = (rewards, group_ids, expert_mask, accepted, *, lengths=None, demos=None, threshold))]
#[expect(clippy::too_many_arguments, reason = "inputs of one operator")]
pub(crate) fn rollout_sums(
    py: Python<'_>,
    rewards: View<'_>,
    group_ids: View<'_>,
    expert_mask: View<'_>,
    accepted: View<'_>,
    lengths: Option<View<'_>>,
    demos: Option<View<'_>>,
    threshold: f64,
) -> PyResult<Vec<f64>> {
    let (rewards, group_ids) = (&*rewards, &*group_ids);
    let (expert_mask, accepted) = (&*expert_mask, &*accepted);
    let (lengths, demos) = (lengths.as_deref(), demos.as_deref());
    run(py, || {
        let (expert_mask, accepted) =
            (expert_mask.mask("expert_mask")?, accepted.mask("accepted")?);
        let rollouts = Rollouts {
            rewards: rewards.slice("rewards")?,
            group_ids: group_ids.slice("group_ids")?,
            expert_mask: &expert_mask,
            accepted: &accepted,
            lengths: lengths.map(|view| view.slice("lengths")).transpose()?,
            demos: demos.map(|view| view.slice("demos")).transpose()?,
        };
        let sums = objective::rollouts::rollout_sums(&rollouts, threshold)?;
        Ok(sums.to_array().to_vec())
    })
}
