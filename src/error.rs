//! Errors as values. Each names the argument, what was expected of it, and what came.

use thiserror::Error;

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operator refused its input.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// An array does not have the shape that the others imply.
    #[error("{argument}: expected {expected}, got {got}")]
    Shape {
        /// Name of the argument.
        argument: &'static str,
        /// The shape or length that fits.
        expected: String,
        /// The shape or length that came.
        got: String,
    },

    /// An array does not hold what it should.
    #[error("{argument}: expected dtype {expected}, got {got}")]
    DType {
        /// Name of the argument.
        argument: &'static str,
        /// The types that fit.
        expected: String,
        /// The type that came.
        got: String,
    },

    /// An array's memory layout can not be read in place.
    #[error("{argument}: expected {expected}, got strides {strides:?}")]
    Strides {
        /// Name of the argument.
        argument: &'static str,
        /// The layout that fits.
        expected: &'static str,
        /// Strides in elements.
        strides: Vec<isize>,
    },

    /// A value that is not a number, or is infinite, where only numbers make sense.
    #[error("{argument}[{place}]: expected {expected}, got {value}")]
    NotFinite {
        /// Name of the argument.
        argument: &'static str,
        /// Index of the first such value.
        place: String,
        /// What would have been accepted.
        expected: &'static str,
        /// The value.
        value: f64,
    },

    /// A token id outside the vocabulary.
    #[error("ids[{place}]: expected a token id in 0..{vocabulary}, got {value}")]
    TokenId {
        /// Index of the first such id.
        place: String,
        /// Size of the vocabulary.
        vocabulary: usize,
        /// The id.
        value: i64,
    },

    /// A setting outside its range, or a name that does not exist.
    #[error("{field}: expected {expected}, got {got}")]
    Config {
        /// Name of the setting.
        field: &'static str,
        /// What would have been accepted.
        expected: String,
        /// What came.
        got: String,
    },

    /// An argument that the configuration makes necessary.
    #[error("{argument}: {reason}")]
    Missing {
        /// Name of the argument.
        argument: &'static str,
        /// Why it is needed.
        reason: String,
    },

    /// A CUDA device could not be used.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] crate::cuda::CudaError),
}

impl Error {
    pub(crate) fn config(
        field: &'static str,
        expected: impl Into<String>,
        got: impl ToString,
    ) -> Self {
        Self::Config { field, expected: expected.into(), got: got.to_string() }
    }

    /// Checks that an array has one value a token (or a row).
    pub(crate) fn check_len(
        argument: &'static str,
        expected: usize,
        unit: &str,
        got: usize,
    ) -> Result<()> {
        if expected == got {
            return Ok(());
        }
        let expected = format!("one value for each of {expected} {unit}");
        Err(Self::Shape { argument, expected, got: got.to_string() })
    }
}
