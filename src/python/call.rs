//! The one door between Python and the core: the interpreter is released, panics are caught.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

use super::error::Failure;
use crate::parallel;

/// Runs a job without holding the interpreter. A panic is a bug of ours, and becomes an exception
/// that says so rather than the end of the process.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    job: impl FnOnce() -> Result<T, Failure> + Send,
) -> PyResult<T> {
    let outcome = py.detach(|| catch_unwind(AssertUnwindSafe(job)));
    match outcome {
        Ok(result) => Ok(result?),
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            Err(Failure::Internal(format!("a bug in icpo, please report it: {text}")).into())
        }
    }
}

/// Sets how many threads the operators use; 0 stands for one a core.
#[pyfunction]
#[pyo3(signature = (threads))]
pub(crate) fn set_num_threads(py: Python<'_>, threads: usize) -> PyResult<()> {
    run(py, || parallel::set_num_threads(threads).map_err(Failure::Io))
}

/// How many threads the operators use.
#[pyfunction]
pub(crate) fn num_threads(py: Python<'_>) -> PyResult<usize> {
    run(py, || Ok(parallel::num_threads()))
}
