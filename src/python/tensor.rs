//! Memory that Python owns, as views: numpy arrays and torch tensors alike, without a copy.

use std::borrow::Cow;

use half::{bf16, f16};
use ndarray::{ArrayView, ArrayViewMut, Dimension, ShapeBuilder};
use pyo3::prelude::*;

use super::error::Failure;
use crate::Error;
use crate::element::Element;
use crate::objective::{Logits, LogitsMut, SavedRow};

/// A type that memory may be read as.
pub(crate) trait DType: Copy + Send + Sync + 'static {
    const NAME: &'static str;
}

macro_rules! dtypes {
    ($($type:ty => $name:literal),* $(,)?) => {
        $(impl DType for $type { const NAME: &'static str = $name; })*
    };
}

dtypes! {
    f32 => "float32",
    f64 => "float64",
    bf16 => "bfloat16",
    f16 => "float16",
    i64 => "int64",
    u8 => "bool",
}

/// Where an array lies, and how. It keeps the owner of the memory alive.
///
/// Whoever makes one promises that `address`, `shape`, `strides` (in elements) and `dtype`
/// describe memory of `owner`, that `writable` holds only for memory that may be written, and that
/// nobody else writes to it during a call. Python code of this package takes all of these from
/// numpy or torch, which know them.
#[pyclass(frozen, module = "icpo._core")]
pub(crate) struct TensorView {
    address: usize,
    shape: Vec<usize>,
    strides: Vec<isize>,
    dtype: String,
    writable: bool,
    #[expect(dead_code, reason = "held so that the memory outlives the view")]
    owner: Py<PyAny>,
}

#[pymethods]
impl TensorView {
    #[new]
    fn new(
        address: usize,
        shape: Vec<usize>,
        strides: Vec<isize>,
        dtype: String,
        writable: bool,
        owner: Py<PyAny>,
    ) -> PyResult<Self> {
        if shape.len() != strides.len() {
            let (expected, got) = (format!("{} strides", shape.len()), strides.len().to_string());
            return Err(Failure::from(Error::Shape { argument: "strides", expected, got }).into());
        }
        Ok(Self { address, shape, strides, dtype, writable, owner })
    }
}

impl TensorView {
    /// The number of elements.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub(crate) fn dtype(&self) -> &str {
        &self.dtype
    }

    fn check_dtype<T: DType>(&self, argument: &'static str) -> Result<(), Failure> {
        if self.dtype == T::NAME {
            return Ok(());
        }
        Err(Failure::DType(format!("{argument}: expected dtype {}, got {}", T::NAME, self.dtype)))
    }

    /// The address of the first element, fit to be dereferenced if there is any.
    fn pointer<T>(&self, argument: &'static str) -> Result<*mut T, Failure> {
        if self.len() == 0 {
            return Ok(std::ptr::NonNull::dangling().as_ptr());
        }
        let pointer = self.address as *mut T;
        if pointer.is_null() || !pointer.is_aligned() {
            let expected = format!("memory aligned to {} bytes", align_of::<T>());
            let got = format!("address {:#x}", self.address);
            return Err(Error::Shape { argument, expected, got }.into());
        }
        Ok(pointer)
    }

    fn dimensions<D: Dimension>(&self, argument: &'static str) -> Result<(D, D), Failure> {
        if D::NDIM != Some(self.shape.len()) {
            let expected = format!("{} axes", D::NDIM.unwrap_or(0));
            let got = format!("shape {:?}", self.shape);
            return Err(Error::Shape { argument, expected, got }.into());
        }
        if self.strides.iter().any(|&stride| stride < 0) {
            let expected = "an array that does not run backwards";
            let strides = self.strides.clone();
            return Err(Error::Strides { argument, expected, strides }.into());
        }
        let (mut shape, mut strides) = (D::default(), D::default());
        for axis in 0..self.shape.len() {
            shape[axis] = self.shape[axis];
            strides[axis] = self.strides[axis].unsigned_abs();
        }
        Ok((shape, strides))
    }

    fn array<T: DType, D: Dimension>(
        &self,
        argument: &'static str,
    ) -> Result<ArrayView<'_, T, D>, Failure> {
        self.check_dtype::<T>(argument)?;
        let (shape, strides) = self.dimensions::<D>(argument)?;
        let pointer = self.pointer::<T>(argument)?;
        // SAFETY: the maker of the view vouches for the memory, which `owner` keeps alive as long
        // as `self` is borrowed; the pointer is aligned; strides are not negative.
        Ok(unsafe { ArrayView::from_shape_ptr(shape.strides(strides), pointer) })
    }

    fn array_mut<T: DType, D: Dimension>(
        &self,
        argument: &'static str,
    ) -> Result<ArrayViewMut<'_, T, D>, Failure> {
        self.check_dtype::<T>(argument)?;
        let (shape, strides) = self.dimensions::<D>(argument)?;
        let pointer = self.pointer::<T>(argument)?;
        self.check_writable(argument)?;
        // SAFETY: as above; besides, the memory may be written, and no two elements share a place.
        Ok(unsafe { ArrayViewMut::from_shape_ptr(shape.strides(strides), pointer) })
    }

    /// Checks that elements may be written, each without touching another.
    fn check_writable(&self, argument: &'static str) -> Result<(), Failure> {
        let mut axes: Vec<(usize, usize)> = self
            .strides
            .iter()
            .zip(&self.shape)
            .filter(|&(_, &length)| length > 1)
            .map(|(stride, &length)| (stride.unsigned_abs(), length))
            .collect();
        axes.sort_unstable();
        let mut reach = 1; // elements covered by the axes seen so far
        let apart = axes.iter().all(|&(stride, length)| {
            let fits = stride >= reach;
            reach += stride * (length - 1);
            fits
        });
        if self.writable && (apart || self.len() == 0) {
            return Ok(());
        }
        let expected = "memory that may be written, without overlapping elements";
        Err(Error::Strides { argument, expected, strides: self.strides.clone() }.into())
    }

    /// The byte range that the elements span.
    fn span(&self) -> std::ops::Range<usize> {
        let size = match self.dtype.as_str() {
            "float16" | "bfloat16" => 2,
            "float32" => 4,
            "bool" => 1,
            _ => 8,
        };
        if self.len() == 0 {
            return 0..0;
        }
        let reach: usize = self
            .strides
            .iter()
            .zip(&self.shape)
            .map(|(stride, length)| stride.unsigned_abs() * (length - 1))
            .sum();
        self.address..self.address + (reach + 1) * size
    }

    /// Checks that writing this leaves the other alone.
    pub(crate) fn check_apart(&self, other: &Self, argument: &'static str) -> Result<(), Failure> {
        let (ours, theirs) = (self.span(), other.span());
        if ours.start >= theirs.end || theirs.start >= ours.end {
            return Ok(());
        }
        let expected = "memory of its own".to_string();
        let got = "memory shared with another argument".to_string();
        Err(Error::Shape { argument, expected, got }.into())
    }

    /// The elements of a contiguous array of any shape.
    pub(crate) fn slice<T: DType>(&self, argument: &'static str) -> Result<&[T], Failure> {
        self.check_dtype::<T>(argument)?;
        self.check_contiguous(argument)?;
        let pointer = self.pointer::<T>(argument)?;
        // SAFETY: the maker of the view vouches for the memory; it is contiguous and aligned.
        Ok(unsafe { std::slice::from_raw_parts(pointer, self.len()) })
    }

    fn check_contiguous(&self, argument: &'static str) -> Result<(), Failure> {
        if self.len() == 0 {
            return Ok(());
        }
        let mut step = 1;
        for (&length, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if length > 1 && stride != step {
                let expected = "a contiguous array";
                let strides = self.strides.clone();
                return Err(Error::Strides { argument, expected, strides }.into());
            }
            step *= length as isize;
        }
        Ok(())
    }

    /// The elements of a contiguous array of any shape that Python has allocated for results.
    #[expect(clippy::mut_from_ref, reason = "the view stands for memory, which it does not own")]
    pub(crate) fn slice_mut<T: DType>(&self, argument: &'static str) -> Result<&mut [T], Failure> {
        self.check_dtype::<T>(argument)?;
        self.check_contiguous(argument)?;
        self.check_writable(argument)?;
        let pointer = self.pointer::<T>(argument)?;
        // SAFETY: as for `slice`; besides, the memory may be written, and its maker has allocated
        // it for this result, so that no other view of it is in use.
        Ok(unsafe { std::slice::from_raw_parts_mut(pointer, self.len()) })
    }

    /// Copies results into such an array.
    pub(crate) fn fill<T: DType>(
        &self,
        argument: &'static str,
        values: impl ExactSizeIterator<Item = T>,
    ) -> Result<(), Failure> {
        let target = self.slice_mut::<T>(argument)?;
        Error::check_len(argument, values.len(), "values", target.len())?;
        for (place, value) in target.iter_mut().zip(values) {
            *place = value;
        }
        Ok(())
    }

    /// Copies what a backward pass will need.
    pub(crate) fn fill_rows(
        &self,
        argument: &'static str,
        rows: &[SavedRow],
    ) -> Result<(), Failure> {
        self.fill::<f64>(argument, rows.as_flattened().iter().copied())
    }

    /// A mask.
    pub(crate) fn mask(&self, argument: &'static str) -> Result<Vec<bool>, Failure> {
        Ok(self.slice::<u8>(argument)?.iter().map(|&byte| byte != 0).collect())
    }

    pub(crate) fn logits<E: DType + Element>(&self) -> Result<Logits<'_, E>, Failure> {
        Ok(match self.shape.len() {
            3 => Logits::padded(self.array("logits")?)?,
            _ => Logits::packed(self.array("logits")?)?,
        })
    }

    pub(crate) fn logits_mut<E: DType + Element>(&self) -> Result<LogitsMut<'_, E>, Failure> {
        Ok(match self.shape.len() {
            3 => LogitsMut::padded(self.array_mut("dlogits")?)?,
            _ => LogitsMut::packed(self.array_mut("dlogits")?)?,
        })
    }

    /// The same as memory on a device, where nobody follows the address.
    #[cfg(feature = "cuda")]
    pub(crate) fn device(
        &self,
        argument: &'static str,
    ) -> Result<crate::cuda::DeviceView<'_>, Failure> {
        use crate::cuda::{DType, DeviceView};
        let Some(dtype) = DType::from_name(&self.dtype) else {
            let (expected, got) = ("a type that kernels know".to_string(), self.dtype.clone());
            return Err(Error::DType { argument, expected, got }.into());
        };
        let address = self.address as u64;
        // SAFETY: the maker of the view vouches for the memory. Torch, where it is from, reuses
        // memory of a device in the order of the stream, so that it stays as long as kernels need.
        Ok(unsafe { DeviceView::new(address, &self.shape, &self.strides, dtype, self.writable) })
    }

    pub(crate) fn matrix(
        &self,
        argument: &'static str,
    ) -> Result<ArrayView<'_, f32, ndarray::Ix2>, Failure> {
        self.array(argument)
    }
}

/// One value a token, from one value a token or one a row.
pub(crate) fn per_token<'a, T: Copy>(
    argument: &'static str,
    values: &'a [T],
    rows: &crate::objective::RowOffsets,
) -> Result<Cow<'a, [T]>, Failure> {
    let (of_rows, of_tokens) = (rows.rows(), rows.tokens());
    if values.len() == of_tokens {
        // As many rows as tokens, yet not one each: empty rows make up for longer ones.
        if of_rows == of_tokens && of_rows > 0 && rows.common_length() != Some(1) {
            let expected = "values that are clearly one a row or one a token".to_string();
            let got = format!("{of_tokens} values for {of_rows} rows of {of_tokens} tokens");
            return Err(Error::Shape { argument, expected, got }.into());
        }
        return Ok(Cow::Borrowed(values));
    }
    if values.len() == of_rows {
        let spread = rows.ranges().zip(values);
        return Ok(spread.flat_map(|(range, &value)| range.map(move |_| value)).collect());
    }
    let expected = format!("one value for each of {of_rows} rows or {of_tokens} tokens");
    Err(Error::Shape { argument, expected, got: values.len().to_string() }.into())
}

/// Calls a generic function with the element type of some logits.
macro_rules! with_element {
    ($view:expr, $E:ident => $body:expr) => {
        match $view.dtype() {
            "float32" => {
                type $E = f32;
                $body
            }
            "bfloat16" => {
                type $E = half::bf16;
                $body
            }
            "float16" => {
                type $E = half::f16;
                $body
            }
            other => Err(Failure::DType(format!(
                "logits: expected dtype float32, bfloat16 or float16, got {other}"
            ))),
        }
    };
}

/// Calls a generic function with the float type of values a token.
macro_rules! with_real {
    ($view:expr, $T:ident => $body:expr) => {
        match $view.dtype() {
            "float32" => {
                type $T = f32;
                $body
            }
            "float64" => {
                type $T = f64;
                $body
            }
            other => Err(Failure::DType(format!(
                "old_logp: expected dtype float32 or float64, got {other}"
            ))),
        }
    };
}

pub(crate) use {with_element, with_real};
