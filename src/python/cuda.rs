//! Argument unpacking for `crate::cuda`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::call::run;
use super::error::Failure;
use super::objective::PyLossConfig;
use super::tensor::TensorView;
use crate::Error;
use crate::cuda::advantage::{Rollouts, group_advantages};
use crate::cuda::fused::{FusedOutputs, fused, obstacle};
use crate::cuda::logp_entropy::{
    GradientInput, RowResults, finish_rows, gradient, row_gradients, row_states,
};
use crate::cuda::plan::{FusedPlan, plan};
use crate::cuda::policy_loss::{Batch, LossArrays, add_sums, policy_loss};
use crate::cuda::scale::scale;
use crate::cuda::{
    self, Architecture, CudaError, DType, DeviceInfo, DeviceView, Element, Image, Input, Nvrtc,
    Places, RowScales, Stream, Unit, UnitInfo,
};
use crate::objective::advantage::{AdvantageConfig, Baseline, Std};

type View<'py> = PyRef<'py, TensorView>;

fn optional<'a>(
    argument: &'static str,
    view: Option<&'a TensorView>,
) -> Result<Option<DeviceView<'a>>, Failure> {
    view.map(|view| view.device(argument)).transpose()
}

/// log2(e)/τ: a number, or a float64 view with one a row.
#[derive(FromPyObject)]
pub(crate) enum PyScales<'py> {
    #[pyo3(transparent)]
    Each(View<'py>),
    #[pyo3(transparent)]
    All(f64),
}

/// The same without a hold on the interpreter.
#[derive(Clone, Copy)]
enum ScalesArg<'a> {
    Each(&'a TensorView),
    All(f64),
}

impl PyScales<'_> {
    fn arg(&self) -> ScalesArg<'_> {
        match self {
            Self::Each(view) => ScalesArg::Each(view),
            Self::All(number) => ScalesArg::All(*number),
        }
    }
}

impl<'a> ScalesArg<'a> {
    fn get(self) -> Result<RowScales<'a>, Failure> {
        Ok(match self {
            Self::Each(view) => RowScales::Each(view.device("scales")?),
            Self::All(number) => RowScales::All(number),
        })
    }
}

/// What losses take of each token.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct PyDeviceBatch<'py> {
    weights: View<'py>,
    old_logp: View<'py>,
    advantage: View<'py>,
    expert: Option<View<'py>>,
    behavior_logp: Option<View<'py>>,
    ref_logp: Option<View<'py>>,
}

/// The same without a hold on the interpreter.
struct BatchViews<'a> {
    weights: &'a TensorView,
    old_logp: &'a TensorView,
    advantage: &'a TensorView,
    expert: Option<&'a TensorView>,
    behavior_logp: Option<&'a TensorView>,
    ref_logp: Option<&'a TensorView>,
}

impl PyDeviceBatch<'_> {
    fn views(&self) -> BatchViews<'_> {
        BatchViews {
            weights: &self.weights,
            old_logp: &self.old_logp,
            advantage: &self.advantage,
            expert: self.expert.as_deref(),
            behavior_logp: self.behavior_logp.as_deref(),
            ref_logp: self.ref_logp.as_deref(),
        }
    }
}

impl<'a> BatchViews<'a> {
    fn get(&self) -> Result<Batch<'a>, Failure> {
        Ok(Batch {
            weights: self.weights.device("weights")?,
            old_logp: self.old_logp.device("old_logp")?,
            advantage: self.advantage.device("advantage")?,
            expert: optional("expert", self.expert)?,
            behavior_logp: optional("behavior_logp", self.behavior_logp)?,
            ref_logp: optional("ref_logp", self.ref_logp)?,
        })
    }
}

/// A stream of a device. Whoever makes one passes a stream that torch has for that device, while
/// torch has it.
#[pyclass(frozen, module = "icpo._core")]
pub(crate) struct CudaStream(Stream);

#[pymethods]
impl CudaStream {
    #[new]
    fn new(py: Python<'_>, device: usize, stream: u64) -> PyResult<Self> {
        // SAFETY: the promise of whoever makes one.
        run(py, || Ok(Self(unsafe { Stream::new(device, stream) }?)))
    }

    /// The states of rows of logits, or of a shard of a vocabulary.
    #[pyo3(signature = (logits, ids, scales, states, first_id=0, weights=None))]
    #[expect(clippy::too_many_arguments, reason = "inputs and outputs of one kernel")]
    fn row_states(
        &self,
        py: Python<'_>,
        logits: View<'_>,
        ids: View<'_>,
        scales: PyScales<'_>,
        states: View<'_>,
        first_id: i64,
        weights: Option<View<'_>>,
    ) -> PyResult<()> {
        let (logits, ids, scales, states) = (&*logits, &*ids, scales.arg(), &*states);
        let weights = weights.as_deref();
        run(py, || {
            let (logits, ids) = (logits.device("logits")?, ids.device("ids")?);
            let (states, weights) = (states.device("states")?, optional("weights", weights)?);
            let (scales, weights) = (scales.get()?, weights.as_ref());
            Ok(row_states(&self.0, &logits, &ids, &scales, &states, first_id, weights)?)
        })
    }

    /// Results of rows from their states, into the arrays that are given.
    #[pyo3(signature = (states, ids, scales, vocabulary, *, logp=None, entropy=None, rank=None, saved=None, status=None))]
    #[expect(clippy::too_many_arguments, reason = "inputs and outputs of one kernel")]
    fn finish_rows(
        &self,
        py: Python<'_>,
        states: View<'_>,
        ids: View<'_>,
        scales: PyScales<'_>,
        vocabulary: usize,
        logp: Option<View<'_>>,
        entropy: Option<View<'_>>,
        rank: Option<View<'_>>,
        saved: Option<View<'_>>,
        status: Option<View<'_>>,
    ) -> PyResult<()> {
        let (states, ids, scales) = (&*states, &*ids, scales.arg());
        let (logp, entropy, rank) = (logp.as_deref(), entropy.as_deref(), rank.as_deref());
        let (saved, status) = (saved.as_deref(), status.as_deref());
        run(py, || {
            let results = RowResults {
                logp: optional("logp", logp)?,
                entropy: optional("entropy", entropy)?,
                rank: optional("rank", rank)?,
                saved: optional("saved", saved)?,
                status: optional("status", status)?,
            };
            let (states, ids) = (states.device("states")?, ids.device("ids")?);
            Ok(finish_rows(&self.0, &states, &ids, &scales.get()?, vocabulary, &results)?)
        })
    }

    /// The numbers that make the gradient of each row.
    #[pyo3(signature = (saved, d_logp, d_entropy, scales, coefficients))]
    fn row_gradients(
        &self,
        py: Python<'_>,
        saved: View<'_>,
        d_logp: View<'_>,
        d_entropy: View<'_>,
        scales: PyScales<'_>,
        coefficients: View<'_>,
    ) -> PyResult<()> {
        let (saved, d_logp, d_entropy) = (&*saved, &*d_logp, &*d_entropy);
        let (scales, coefficients) = (scales.arg(), &*coefficients);
        run(py, || {
            let (saved, d_logp) = (saved.device("saved")?, d_logp.device("d_logp")?);
            let d_entropy = d_entropy.device("d_entropy")?;
            let coefficients = coefficients.device("coefficients")?;
            let scales = scales.get()?;
            Ok(row_gradients(&self.0, &saved, &d_logp, &d_entropy, &scales, &coefficients)?)
        })
    }

    /// The gradient of rows of logits, over the logits or beside them.
    #[pyo3(signature = (logits, dlogits, ids, coefficients, scales, *, status=None, first_id=0))]
    #[expect(clippy::too_many_arguments, reason = "inputs and outputs of one kernel")]
    fn gradient(
        &self,
        py: Python<'_>,
        logits: View<'_>,
        dlogits: View<'_>,
        ids: View<'_>,
        coefficients: View<'_>,
        scales: PyScales<'_>,
        status: Option<View<'_>>,
        first_id: i64,
    ) -> PyResult<()> {
        let (logits, dlogits, ids) = (&*logits, &*dlogits, &*ids);
        let (coefficients, scales, status) = (&*coefficients, scales.arg(), status.as_deref());
        run(py, || {
            let input = GradientInput {
                ids: ids.device("ids")?,
                coefficients: coefficients.device("coefficients")?,
                scales: scales.get()?,
                status: optional("status", status)?,
                first_id,
            };
            let (logits, dlogits) = (logits.device("logits")?, dlogits.device("dlogits")?);
            Ok(gradient(&self.0, &logits, &dlogits, &input)?)
        })
    }

    /// The loss of log-probs as partial sums, with its gradient.
    #[pyo3(signature = (batch, logp, config, *, entropy=None, d_logp=None, d_entropy=None, row_status=None, status=None, partials))]
    #[expect(clippy::too_many_arguments, reason = "inputs and outputs of one kernel")]
    fn policy_loss(
        &self,
        py: Python<'_>,
        batch: PyDeviceBatch<'_>,
        logp: View<'_>,
        config: PyLossConfig,
        entropy: Option<View<'_>>,
        d_logp: Option<View<'_>>,
        d_entropy: Option<View<'_>>,
        row_status: Option<View<'_>>,
        status: Option<View<'_>>,
        partials: View<'_>,
    ) -> PyResult<()> {
        let (batch, logp, entropy) = (batch.views(), &*logp, entropy.as_deref());
        let (d_logp, d_entropy) = (d_logp.as_deref(), d_entropy.as_deref());
        let (row_status, status, partials) = (row_status.as_deref(), status.as_deref(), &*partials);
        run(py, || {
            let arrays = LossArrays {
                entropy: optional("entropy", entropy)?,
                row_status: optional("row_status", row_status)?,
                d_logp: optional("d_logp", d_logp)?,
                d_entropy: optional("d_entropy", d_entropy)?,
                status: optional("status", status)?,
            };
            let (config, batch) = (config.get()?, batch.get()?);
            let (logp, partials) = (logp.device("logp")?, partials.device("partials")?);
            Ok(policy_loss(&self.0, &batch, &logp, &config, &arrays, &partials)?)
        })
    }

    /// Adds partial sums up.
    #[pyo3(signature = (partials, sums, *, row_counts=None, loss=None, accumulate=false))]
    fn add_sums(
        &self,
        py: Python<'_>,
        partials: View<'_>,
        sums: View<'_>,
        row_counts: Option<View<'_>>,
        loss: Option<View<'_>>,
        accumulate: bool,
    ) -> PyResult<()> {
        let (partials, sums) = (&*partials, &*sums);
        let (row_counts, loss) = (row_counts.as_deref(), loss.as_deref());
        run(py, || {
            let (partials, sums) = (partials.device("partials")?, sums.device("sums")?);
            let (counts, loss) = (optional("row_counts", row_counts)?, optional("loss", loss)?);
            let (counts, loss) = (counts.as_ref(), loss.as_ref());
            Ok(add_sums(&self.0, &partials, &sums, counts, loss, accumulate)?)
        })
    }

    /// The loss of rows of logits, whose gradient goes over the logits or beside them.
    #[pyo3(signature = (batch, logits, dlogits, ids, scales, config, *, logp, entropy, status, leave_unsound, plan=None))]
    #[expect(clippy::too_many_arguments, reason = "inputs and outputs of one kernel")]
    fn fused(
        &self,
        py: Python<'_>,
        batch: PyDeviceBatch<'_>,
        logits: View<'_>,
        dlogits: View<'_>,
        ids: View<'_>,
        scales: PyScales<'_>,
        config: PyLossConfig,
        logp: View<'_>,
        entropy: View<'_>,
        status: View<'_>,
        leave_unsound: bool,
        plan: Option<PyFusedPlan>,
    ) -> PyResult<()> {
        let chosen = plan.map(FusedPlan::from);
        let (batch, logits, dlogits) = (batch.views(), &*logits, &*dlogits);
        let (ids, scales) = (&*ids, scales.arg());
        let (logp, entropy, status) = (&*logp, &*entropy, &*status);
        run(py, || {
            let outputs = FusedOutputs {
                logp: logp.device("logp")?,
                entropy: entropy.device("entropy")?,
                status: status.device("status")?,
            };
            Ok(fused(
                &self.0,
                &batch.get()?,
                &logits.device("logits")?,
                &dlogits.device("dlogits")?,
                &ids.device("ids")?,
                &scales.get()?,
                &config.get()?,
                &outputs,
                leave_unsound,
                chosen,
            )?)
        })
    }

    /// Why `fused` does not take these logits; None if it does.
    fn fused_obstacle(
        &self,
        py: Python<'_>,
        logits: View<'_>,
        dlogits: View<'_>,
    ) -> PyResult<Option<String>> {
        let (logits, dlogits) = (&*logits, &*dlogits);
        run(py, || {
            let (logits, dlogits) = (logits.device("logits")?, dlogits.device("dlogits")?);
            Ok(obstacle(&self.0, &logits, &dlogits)?)
        })
    }

    /// Advantages relative to the group.
    #[pyo3(signature = (rewards, groups, advantages, *, expert=None, keep=None, status=None, unbiased, on_policy, eps))]
    #[expect(clippy::too_many_arguments, reason = "inputs and outputs of one kernel")]
    fn group_advantages(
        &self,
        py: Python<'_>,
        rewards: View<'_>,
        groups: View<'_>,
        advantages: View<'_>,
        expert: Option<View<'_>>,
        keep: Option<View<'_>>,
        status: Option<View<'_>>,
        unbiased: bool,
        on_policy: bool,
        eps: f64,
    ) -> PyResult<()> {
        let (rewards, groups, advantages) = (&*rewards, &*groups, &*advantages);
        let (expert, keep, status) = (expert.as_deref(), keep.as_deref(), status.as_deref());
        run(py, || {
            let rollouts = Rollouts {
                rewards: rewards.device("rewards")?,
                groups: groups.device("group_ids")?,
                expert: optional("expert_mask", expert)?,
                keep: optional("keep_mask", keep)?,
            };
            let config = AdvantageConfig {
                std: if unbiased { Std::Unbiased } else { Std::None },
                baseline: if on_policy { Baseline::OnPolicy } else { Baseline::Mixed },
                eps,
            };
            let (advantages, status) =
                (advantages.device("advantages")?, optional("status", status)?);
            Ok(group_advantages(&self.0, &rollouts, &config, &advantages, status.as_ref())?)
        })
    }

    /// Multiplies rows in place by a number on the device.
    fn scale(&self, py: Python<'_>, values: View<'_>, factor: View<'_>) -> PyResult<()> {
        let (values, factor) = (&*values, &*factor);
        run(py, || Ok(scale(&self.0, &values.device("values")?, &factor.device("factor")?)?))
    }
}

fn element(dtype: &str) -> Result<Element, Failure> {
    DType::from_name(dtype).and_then(Element::of).ok_or_else(|| {
        Failure::DType(format!("dtype: expected bfloat16, float16 or float32, got {dtype}"))
    })
}

/// A plan as Python gives it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct PyFusedPlan {
    cluster: u32,
    threads: u32,
    held: u32,
    slots: u32,
    blocks_a_multiprocessor: u32,
}

impl From<PyFusedPlan> for FusedPlan {
    fn from(plan: PyFusedPlan) -> Self {
        let PyFusedPlan { cluster, threads, held, slots, blocks_a_multiprocessor } = plan;
        Self { cluster, threads, held, slots, blocks_a_multiprocessor }
    }
}

/// A plan as Python gets it.
#[derive(IntoPyObject)]
pub(crate) enum PyPlan {
    Plan(BTreeMap<&'static str, u32>),
    Reason(String),
}

impl PyPlan {
    fn new(plan: Result<FusedPlan, String>) -> Self {
        match plan {
            Ok(plan) => Self::Plan(BTreeMap::from([
                ("cluster", plan.cluster),
                ("threads", plan.threads),
                ("held", plan.held),
                ("slots", plan.slots),
                ("blocks_a_multiprocessor", plan.blocks_a_multiprocessor),
                ("shared", plan.shared()),
            ])),
            Err(reason) => Self::Reason(reason),
        }
    }
}

/// The number of a device, or the name of an architecture for the devices that it is named after.
#[derive(FromPyObject)]
pub(crate) enum PyDevice {
    #[pyo3(transparent)]
    Number(usize),
    #[pyo3(transparent)]
    Architecture(String),
}

fn architecture(name: &str) -> Result<Architecture, Failure> {
    Architecture::from_name(name).ok_or_else(|| {
        let known = Architecture::ALL.map(Architecture::name).join(" or ");
        Error::Config { field: "arch", expected: known, got: name.to_string() }.into()
    })
}

/// How the row-resident kernel is cut for a vocabulary, or why it does not take it.
#[pyfunction]
pub(crate) fn cuda_plan(
    py: Python<'_>,
    device: PyDevice,
    vocabulary: u64,
    dtype: &str,
) -> PyResult<PyPlan> {
    let element = element(dtype)?;
    run(py, || {
        Ok(PyPlan::new(match &device {
            PyDevice::Number(number) => cuda::device_plan(*number, vocabulary, element)?,
            PyDevice::Architecture(name) => plan(vocabulary, element, architecture(name)?.limits()),
        }))
    })
}

fn unit_dict<'py>(py: Python<'py>, unit: &UnitInfo) -> PyResult<Bound<'py, PyDict>> {
    let (dict, kernels) = (PyDict::new(py), PyDict::new(py));
    for kernel in &unit.kernels {
        let numbers = BTreeMap::from([
            ("registers", kernel.registers),
            ("spilled", kernel.spilled),
            ("resident", kernel.resident),
        ]);
        kernels.set_item(kernel.name, numbers)?;
    }
    dict.set_item("origin", unit.origin.to_string())?;
    dict.set_item("passed_over", &unit.passed_over)?;
    dict.set_item("kernels", kernels)?;
    Ok(dict)
}

fn units_dict<'py>(py: Python<'py>, units: &[UnitInfo]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    units.iter().try_for_each(|unit| dict.set_item(&unit.name, unit_dict(py, unit)?))?;
    Ok(dict)
}

/// Loads all kernels that a vocabulary needs, so that none is loaded later. Says which, from where,
/// and how the row-resident kernel is cut or why it is not among them.
#[pyfunction]
pub(crate) fn cuda_prepare<'py>(
    py: Python<'py>,
    device: usize,
    vocabulary: u64,
    dtype: &str,
) -> PyResult<Bound<'py, PyDict>> {
    let element = element(dtype)?;
    let prepared = run(py, || Ok(cuda::prepare(device, vocabulary, element)?))?;
    let dict = PyDict::new(py);
    dict.set_item("units", units_dict(py, &prepared.units)?)?;
    dict.set_item("plan", PyPlan::new(prepared.plan))?;
    Ok(dict)
}

fn device_dict<'py>(py: Python<'py>, info: &DeviceInfo) -> PyResult<Bound<'py, PyDict>> {
    let (dict, properties) = (PyDict::new(py), &info.properties);
    dict.set_item("name", &properties.name)?;
    dict.set_item("capability", properties.capability)?;
    dict.set_item("architecture", info.architecture.map(Architecture::name))?;
    dict.set_item("multiprocessors", properties.multiprocessors)?;
    dict.set_item("memory", properties.memory)?;
    dict.set_item("clusters", properties.limits.clusters)?;
    dict.set_item("shared_a_block", properties.limits.shared_a_block)?;
    dict.set_item("shared_a_multiprocessor", properties.limits.shared_a_multiprocessor)?;
    dict.set_item("units", units_dict(py, &info.units)?)?;
    Ok(dict)
}

/// What there is. What is missing is None, with the reason under "reason" (of "nvrtc", or of all).
#[pyfunction]
pub(crate) fn cuda_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let (versions, devices, compiler) = run(py, || {
        let versions = cuda::versions();
        let count = versions.as_ref().map_or(0, |(_, devices)| *devices);
        let devices: Vec<_> = (0..count).map(cuda::device_info).collect();
        Ok((versions, devices, cuda::compiler()))
    })?;
    let (dict, nvrtc) = (PyDict::new(py), PyDict::new(py));
    match &versions {
        Ok((version, _)) => dict.set_item("driver", version)?,
        Err(error) => {
            dict.set_item("driver", py.None())?;
            dict.set_item("reason", error.to_string())?;
        }
    }
    let mut list = Vec::new();
    for device in &devices {
        list.push(match device {
            Ok(info) => device_dict(py, info)?,
            Err(error) => {
                let dict = PyDict::new(py);
                dict.set_item("reason", error.to_string())?;
                dict
            }
        });
    }
    dict.set_item("devices", list)?;
    match compiler {
        Ok((version, file)) => {
            nvrtc.set_item("version", version)?;
            nvrtc.set_item("file", file)?;
        }
        Err(error) => nvrtc.set_item("reason", error.to_string())?,
    }
    dict.set_item("nvrtc", nvrtc)?;
    let places = cuda::searched();
    dict.set_item("image_dirs", places.prebuilt)?;
    dict.set_item("cache_dir", places.cache)?;
    Ok(dict)
}

/// Sets where images and the compiler are looked for, from now on. Without a folder for the cache
/// the environment decides; a compiler that `ICPO_NVRTC` names stands above the others.
#[pyfunction]
#[pyo3(signature = (image_dirs, cache_dir=None, nvrtc=None))]
pub(crate) fn cuda_configure(
    image_dirs: Vec<PathBuf>,
    cache_dir: Option<PathBuf>,
    nvrtc: Option<Vec<PathBuf>>,
) {
    let nvrtc = nvrtc.unwrap_or_default();
    cuda::set_places(Places { prebuilt: image_dirs, cache: cache_dir, nvrtc });
}

/// What is compiled: the name of its main source, the file that holds its image, the compiler's
/// options, and all sources by name.
type PyUnit = (&'static str, String, Vec<String>, BTreeMap<&'static str, &'static str>);

/// The units for an architecture: those that depend on nothing else, or, for a vocabulary, all that
/// it needs on the devices that the architecture is named after.
#[pyfunction]
#[pyo3(signature = (arch, vocabulary=None, dtype=None))]
pub(crate) fn cuda_units(
    py: Python<'_>,
    arch: &str,
    vocabulary: Option<u64>,
    dtype: Option<&str>,
) -> PyResult<Vec<PyUnit>> {
    run(py, || {
        let architecture = architecture(arch)?;
        let units = match (vocabulary, dtype) {
            (None, None) => Unit::COMMON.to_vec(),
            (Some(vocabulary), Some(dtype)) => {
                Unit::needed(vocabulary, element(dtype)?, architecture.limits())
            }
            _ => {
                let reason = "needed for a vocabulary, as is its size".to_string();
                let argument = if dtype.is_none() { "dtype" } else { "vocabulary" };
                return Err(Error::Missing { argument, reason }.into());
            }
        };
        let unit = |unit: Unit| {
            let (main, sources) = (unit.source(), unit.headers().iter().copied());
            let sources = sources.chain([main]).collect();
            let image = unit.image_name(architecture);
            (main.0, image, unit.options(architecture), sources)
        };
        Ok(units.into_iter().map(unit).collect())
    })
}

/// Compiles a source with NVRTC, the first of some files or of those that are searched, whatever
/// the driver is. Gives the image and what the compiler said.
#[pyfunction]
#[pyo3(signature = (main, sources, options, nvrtc=None))]
pub(crate) fn cuda_compile<'py>(
    py: Python<'py>,
    main: &str,
    sources: BTreeMap<String, String>,
    options: Vec<String>,
    nvrtc: Option<Vec<PathBuf>>,
) -> PyResult<(Bound<'py, PyBytes>, String)> {
    let (image, log) = run(py, || {
        let Some(text) = sources.get(main) else {
            let reason = format!("{main} is to be compiled, and not among them");
            return Err(Error::Missing { argument: "sources", reason }.into());
        };
        let headers: Vec<(&str, &str)> =
            sources.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let files = nvrtc.unwrap_or_else(|| cuda::searched().nvrtc);
        let nvrtc = Nvrtc::open(&files, None)?;
        let input = Input { main: (main, text), headers: &headers, options: &options };
        let output = nvrtc.compile(&input)?;
        match output.image {
            Some(image) => Ok((image, output.log)),
            None => Err(CudaError::Compile {
                unit: main.to_string(),
                options: options.join(" "),
                compiler: nvrtc.name(),
                log: output.log,
            }
            .into()),
        }
    })?;
    Ok((PyBytes::new(py, &image.code), log))
}

/// The bytes of an image's file: what a compiler of this CUDA version made, with a seal.
#[pyfunction]
pub(crate) fn cuda_seal<'py>(
    py: Python<'py>,
    image: Vec<u8>,
    toolkit: (u32, u32),
) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &Image { code: image, toolkit }.sealed())
}
