//! From this crate's errors to the exceptions of `icpo.errors`.
//!
//! The classes are Python's own, so that they pickle, derive from two bases each, and carry
//! documentation; they are looked up when the first error is raised.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::Error;

/// An error of the core, or of this layer.
pub(crate) enum Failure {
    Core(Error),
    /// A tensor of the wrong dtype.
    DType(String),
    /// The operating system refused something.
    Io(std::io::Error),
    /// A bug: a panic that was caught.
    Internal(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

#[cfg(feature = "cuda")]
impl From<crate::cuda::CudaError> for Failure {
    fn from(error: crate::cuda::CudaError) -> Self {
        Self::Core(error.into())
    }
}

macro_rules! exceptions {
    ($($function:ident => $name:literal),* $(,)?) => {
        $(fn $function(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
            static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
            CLASS.import(py, "icpo.errors", $name)
        })*
    };
}

exceptions! {
    shape_error => "ShapeError",
    dtype_error => "DTypeError",
    non_finite_error => "NonFiniteError",
    token_id_error => "TokenIdError",
    config_error => "ConfigError",
    missing_error => "MissingArgumentError",
    internal_error => "InternalError",
}

#[cfg(feature = "cuda")]
exceptions! {
    cuda_error => "CudaError",
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        Python::attach(|py| {
            let (class, message) = match failure {
                Failure::Core(error) => {
                    let class = match &error {
                        Error::Shape { .. } | Error::Strides { .. } => shape_error(py),
                        Error::NotFinite { .. } => non_finite_error(py),
                        Error::TokenId { .. } => token_id_error(py),
                        Error::Config { .. } => config_error(py),
                        Error::Missing { .. } => missing_error(py),
                        Error::DType { .. } => dtype_error(py),
                        #[cfg(feature = "cuda")]
                        Error::Cuda(_) => cuda_error(py),
                    };
                    (class, error.to_string())
                }
                Failure::DType(message) => (dtype_error(py), message),
                Failure::Io(error) => return PyErr::from(error),
                Failure::Internal(message) => (internal_error(py), message),
            };
            match class {
                Ok(class) => PyErr::from_type(class.clone(), message),
                Err(missing) => {
                    let error = PyException::new_err(message);
                    error.set_cause(py, Some(missing));
                    error
                }
            }
        })
    }
}
