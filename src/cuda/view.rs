//! Arrays on a device: addresses that are passed on and never followed.

use super::arguments::{Reals, Rows, Scales};
use crate::error::{Error, Result};

/// What an array holds, under torch's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// Half of the digits of `Float32`, with its range.
    BFloat16,
    /// IEEE half precision.
    Float16,
    /// IEEE single precision.
    Float32,
    /// IEEE double precision.
    Float64,
    /// Signed integers of 64 bits.
    Int64,
    /// A byte, 0 or 1.
    Bool,
    /// A byte.
    UInt8,
}

impl DType {
    const ALL: [(Self, &'static str, usize); 7] = [
        (Self::BFloat16, "bfloat16", 2),
        (Self::Float16, "float16", 2),
        (Self::Float32, "float32", 4),
        (Self::Float64, "float64", 8),
        (Self::Int64, "int64", 8),
        (Self::Bool, "bool", 1),
        (Self::UInt8, "uint8", 1),
    ];
    const BYTES: &'static [Self] = &[Self::Bool, Self::UInt8];
    const REALS: &'static [Self] = &[Self::Float32, Self::Float64];
    const LOGITS: &'static [Self] = &[Self::Float32, Self::BFloat16, Self::Float16];

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map(|(dtype, _, _)| *dtype)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Bytes of an element.
    pub fn size(self) -> usize {
        self.row().2
    }

    fn row(self) -> &'static (Self, &'static str, usize) {
        match self {
            Self::BFloat16 => &Self::ALL[0],
            Self::Float16 => &Self::ALL[1],
            Self::Float32 => &Self::ALL[2],
            Self::Float64 => &Self::ALL[3],
            Self::Int64 => &Self::ALL[4],
            Self::Bool => &Self::ALL[5],
            Self::UInt8 => &Self::ALL[6],
        }
    }
}

/// Element types of logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// Brain float.
    Bf16,
    /// Half precision.
    F16,
    /// Single precision.
    F32,
}

impl Element {
    /// All of them, in the order of kernels that come in three.
    pub const ALL: [Self; 3] = [Self::Bf16, Self::F16, Self::F32];

    /// The element type of this dtype.
    pub fn of(dtype: DType) -> Option<Self> {
        Self::ALL.into_iter().find(|element| element.dtype() == dtype)
    }

    /// How kernels and files call it.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }

    /// Its dtype.
    pub fn dtype(self) -> DType {
        match self {
            Self::Bf16 => DType::BFloat16,
            Self::F16 => DType::Float16,
            Self::F32 => DType::Float32,
        }
    }

    /// Its name, as torch has it.
    pub fn name(self) -> &'static str {
        self.dtype().name()
    }

    /// Bytes of an element.
    pub fn size(self) -> u64 {
        self.dtype().size() as u64
    }
}

/// Where an array lies on a device, and how: strides are in elements.
///
/// Nothing here reads the memory: all checks are of the view itself.
#[derive(Debug, Clone, Copy)]
pub struct DeviceView<'a> {
    address: u64,
    shape: &'a [usize],
    strides: &'a [isize],
    dtype: DType,
    writable: bool,
}

/// Rows of logits as a kernel takes them, with what the launch needs to know of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logits {
    pub rows: Rows,
    pub count: u32,
    pub columns: u32,
    pub element: Element,
}

/// A number of rows, or of columns, as kernels count them.
pub(crate) fn count(argument: &'static str, number: usize) -> Result<u32> {
    // One less than the type holds, since kernels round counts of rows up.
    u32::try_from(number).ok().filter(|&number| number <= 1 << 31).ok_or_else(|| {
        let (expected, got) = ("at most 2^31 rows, and columns".to_string(), number.to_string());
        Error::Shape { argument, expected, got }
    })
}

impl<'a> DeviceView<'a> {
    /// A view of memory on a device. `strides`, in elements, are as many as `shape` has lengths.
    ///
    /// # Safety
    /// The memory is the device's that the view is used with, as large as shape and strides say; it
    /// may be written if `writable`; and it stays until the stream has come past all kernels that
    /// were given the view.
    pub unsafe fn new(
        address: u64,
        shape: &'a [usize],
        strides: &'a [isize],
        dtype: DType,
        writable: bool,
    ) -> Self {
        Self { address, shape, strides, dtype, writable }
    }

    /// The shape.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().copied().fold(1, usize::saturating_mul)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn check_dtype(&self, argument: &'static str, wanted: &[DType]) -> Result<()> {
        if wanted.contains(&self.dtype) {
            return Ok(());
        }
        let names: Vec<_> = wanted.iter().map(|dtype| dtype.name()).collect();
        let (expected, got) = (names.join(" or "), self.dtype.name());
        Err(Error::DType { argument, expected, got: got.to_string() })
    }

    fn check_aligned(&self, argument: &'static str) -> Result<()> {
        let size = self.dtype.size() as u64;
        if self.is_empty() || (self.address != 0 && self.address.is_multiple_of(size)) {
            return Ok(());
        }
        let expected = format!("memory aligned to {size} bytes");
        Err(Error::Shape { argument, expected, got: format!("address {:#x}", self.address) })
    }

    fn check_writable(&self, argument: &'static str) -> Result<()> {
        let mut axes: Vec<_> =
            self.strides.iter().zip(self.shape).filter(|&(_, &length)| length > 1).collect();
        axes.sort_unstable();
        let mut reach = 0; // of the axes so far, in elements
        let apart = axes.into_iter().all(|(&stride, &length)| {
            let fits = stride > reach;
            let length = isize::try_from(length).unwrap_or(isize::MAX);
            reach = stride.saturating_mul(length - 1).saturating_add(reach);
            fits
        });
        if self.writable && (apart || self.is_empty()) {
            return Ok(());
        }
        let expected = "memory that may be written, without overlapping elements";
        Err(Error::Strides { argument, expected, strides: self.strides.to_vec() })
    }

    fn check_contiguous(&self, argument: &'static str) -> Result<()> {
        let mut step = 1;
        for (&length, &stride) in self.shape.iter().zip(self.strides).rev() {
            if length > 1 && stride != step && !self.is_empty() {
                let (expected, strides) = ("a contiguous array", self.strides.to_vec());
                return Err(Error::Strides { argument, expected, strides });
            }
            step = step.saturating_mul(isize::try_from(length).unwrap_or(isize::MAX));
        }
        Ok(())
    }

    /// The bytes from the first element to behind the last.
    fn span(&self) -> std::ops::Range<u64> {
        if self.is_empty() {
            return 0..0;
        }
        let reach = (self.strides.iter().zip(self.shape))
            .map(|(stride, &length)| {
                (stride.unsigned_abs() as u64).saturating_mul(length as u64 - 1)
            })
            .fold(1, u64::saturating_add);
        let bytes = reach.saturating_mul(self.dtype.size() as u64);
        self.address..self.address.saturating_add(bytes)
    }

    /// Checks that writing this leaves the other alone.
    pub(crate) fn check_apart(&self, argument: &'static str, other: &DeviceView<'_>) -> Result<()> {
        let (ours, theirs) = (self.span(), other.span());
        if ours.start >= theirs.end || theirs.start >= ours.end {
            return Ok(());
        }
        let expected = "memory of its own".to_string();
        let got = "memory shared with another argument".to_string();
        Err(Error::Shape { argument, expected, got })
    }

    /// Checks that writing this leaves the other alone, unless both are the same.
    pub(crate) fn check_same_or_apart(
        &self,
        argument: &'static str,
        other: &DeviceView<'_>,
    ) -> Result<()> {
        let same = self.address == other.address && self.strides == other.strides;
        if same { Ok(()) } else { self.check_apart(argument, other) }
    }

    /// The address of a contiguous array of as many elements.
    fn contiguous(&self, argument: &'static str, wanted: &[DType], elements: usize) -> Result<u64> {
        self.check_dtype(argument, wanted)?;
        if self.len() != elements {
            let (expected, got) = (format!("{elements} elements"), format!("{:?}", self.shape));
            return Err(Error::Shape { argument, expected, got });
        }
        self.check_contiguous(argument)?;
        self.check_aligned(argument)?;
        Ok(self.address)
    }

    /// The address of an array that a kernel reads.
    pub(crate) fn input(
        &self,
        argument: &'static str,
        dtype: DType,
        elements: usize,
    ) -> Result<u64> {
        self.contiguous(argument, &[dtype], elements)
    }

    /// The address of an array that a kernel writes.
    pub(crate) fn output(
        &self,
        argument: &'static str,
        dtype: DType,
        elements: usize,
    ) -> Result<u64> {
        self.check_writable(argument)?;
        self.contiguous(argument, &[dtype], elements)
    }

    /// The address of parts of equal size, (parts, ...) or a single part without that axis, each of
    /// them contiguous; how many there are, and the step between two.
    pub(crate) fn shards(
        &self,
        argument: &'static str,
        dtype: DType,
        elements: usize,
    ) -> Result<(u64, u32, i64)> {
        let (Some((&shards, shape)), Some((&stride, strides))) =
            (self.shape.split_first(), self.strides.split_first())
        else {
            return Ok((self.input(argument, dtype, elements)?, 1, 0));
        };
        if self.shape.len() < 3 {
            return Ok((self.input(argument, dtype, elements)?, 1, 0));
        }
        if shards == 0 || stride < 0 {
            let (expected, strides) = ("shards, one after another", self.strides.to_vec());
            return Err(Error::Strides { argument, expected, strides });
        }
        let part = Self { shape, strides, ..*self };
        Ok((part.input(argument, dtype, elements)?, count(argument, shards)?, stride as i64))
    }

    /// Rows of logits that a kernel reads.
    pub(crate) fn logits(&self, argument: &'static str) -> Result<Logits> {
        self.check_dtype(argument, DType::LOGITS)?;
        let Some(element) = Element::of(self.dtype) else {
            let expected = "a type of logits".to_string();
            return Err(Error::DType { argument, expected, got: self.dtype.name().to_string() });
        };
        self.check_aligned(argument)?;
        if self.strides.iter().any(|&stride| stride < 0) {
            let (expected, strides) = ("an array that does not run backwards", self.strides);
            return Err(Error::Strides { argument, expected, strides: strides.to_vec() });
        }
        let ((outer, per_outer, columns), (outer_stride, inner_stride, step)) =
            match (self.shape, self.strides) {
                (&[rows, columns], &[stride, step]) => ((rows, 1, columns), (stride, 0, step)),
                (&[outer, inner, columns], &[outer_stride, inner_stride, step]) => {
                    ((outer, inner, columns), (outer_stride, inner_stride, step))
                }
                (shape, _) => {
                    let (expected, got) = ("2 or 3 axes".to_string(), format!("{shape:?}"));
                    return Err(Error::Shape { argument, expected, got });
                }
            };
        if columns > 1 && step != 1 {
            let expected = "the values of a row next to each other (a contiguous last axis)";
            return Err(Error::Strides { argument, expected, strides: self.strides.to_vec() });
        }
        let rows = Rows {
            base: self.address,
            outer_stride: outer_stride as i64,
            inner_stride: inner_stride as i64,
            per_outer: count(argument, per_outer.max(1))?,
            unused: 0,
        };
        let columns = count(argument, columns)?;
        Ok(Logits {
            rows,
            count: count(argument, outer.saturating_mul(per_outer))?,
            columns,
            element,
        })
    }

    /// Rows of logits, or of their gradient, that a kernel writes: as many, of the same shape.
    pub(crate) fn logits_out(&self, argument: &'static str, like: &DeviceView<'_>) -> Result<Rows> {
        if self.shape != like.shape {
            let (expected, got) = (format!("{:?}", like.shape), format!("{:?}", self.shape));
            return Err(Error::Shape { argument, expected, got });
        }
        self.check_dtype(argument, &[like.dtype])?;
        self.check_writable(argument)?;
        Ok(self.logits(argument)?.rows)
    }
}

/// The address of bytes that a kernel reads, or 0.
pub(crate) fn bytes(
    argument: &'static str,
    view: Option<&DeviceView<'_>>,
    elements: usize,
) -> Result<u64> {
    view.map_or(Ok(0), |view| view.contiguous(argument, DType::BYTES, elements))
}

/// The address of bytes that a kernel writes, or 0.
pub(crate) fn bytes_out(
    argument: &'static str,
    view: Option<&DeviceView<'_>>,
    elements: usize,
) -> Result<u64> {
    let Some(view) = view else { return Ok(0) };
    view.check_writable(argument)?;
    bytes(argument, Some(view), elements)
}

/// The address of an array that a kernel writes, or 0.
pub(crate) fn output(
    argument: &'static str,
    view: Option<&DeviceView<'_>>,
    dtype: DType,
    elements: usize,
) -> Result<u64> {
    view.map_or(Ok(0), |view| view.output(argument, dtype, elements))
}

/// Values of either precision that a kernel reads, or none.
pub(crate) fn reals(
    argument: &'static str,
    view: Option<&DeviceView<'_>>,
    elements: usize,
) -> Result<Reals> {
    let Some(view) = view else { return Ok(Reals::default()) };
    let at = view.contiguous(argument, DType::REALS, elements)?;
    Ok(Reals { at, wide: u32::from(view.dtype == DType::Float64), unused: 0 })
}

/// Values of either precision that a kernel writes, or none.
pub(crate) fn reals_out(
    argument: &'static str,
    view: Option<&DeviceView<'_>>,
    elements: usize,
) -> Result<Reals> {
    if let Some(view) = view {
        view.check_writable(argument)?;
    }
    reals(argument, view, elements)
}

/// log2(e)/τ: one for all rows, or one a row.
#[derive(Debug, Clone, Copy)]
pub enum RowScales<'a> {
    /// For all rows.
    All(f32),
    /// One a row, float32.
    Each(DeviceView<'a>),
}

impl RowScales<'_> {
    pub(crate) fn get(&self, rows: usize) -> Result<Scales> {
        Ok(match self {
            Self::All(all) => Scales { each: 0, all: *all, unused: 0 },
            Self::Each(view) => {
                let each = view.input("scales", DType::Float32, rows)?;
                Scales { each, all: 0.0, unused: 0 }
            }
        })
    }
}
