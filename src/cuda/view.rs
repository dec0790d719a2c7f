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
    All(f64),
    /// One a row, float64.
    Each(DeviceView<'a>),
}

impl RowScales<'_> {
    pub(crate) fn get(&self, rows: usize) -> Result<Scales> {
        Ok(match self {
            Self::All(all) => Scales { each: 0, all: *all },
            Self::Each(view) => {
                let each = view.input("scales", DType::Float64, rows)?;
                Scales { each, all: 0.0 }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address that nobody follows.
    const AT: u64 = 0x7f00_0000_0000;

    fn view<'a>(shape: &'a [usize], strides: &'a [isize], dtype: DType) -> DeviceView<'a> {
        placed(AT, shape, strides, dtype)
    }

    fn placed<'a>(
        address: u64,
        shape: &'a [usize],
        strides: &'a [isize],
        dtype: DType,
    ) -> DeviceView<'a> {
        // SAFETY: no kernel gets the view.
        unsafe { DeviceView::new(address, shape, strides, dtype, true) }
    }

    fn message<T>(result: Result<T>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn dtypes_know_their_names_and_sizes() {
        for (dtype, name, size) in DType::ALL {
            assert_eq!(DType::from_name(name), Some(dtype));
            assert_eq!((dtype.name(), dtype.size()), (name, size));
        }
        assert_eq!(DType::from_name("int32"), None);
    }

    #[test]
    fn rows_lie_as_the_strides_say() -> Result<()> {
        let packed = view(&[6, 5], &[8, 1], DType::Float16).logits("logits")?;
        assert_eq!((packed.count, packed.columns, packed.element), (6, 5, Element::F16));
        assert_eq!((packed.rows.outer_stride, packed.rows.per_outer), (8, 1));
        let padded = view(&[2, 3, 5], &[100, 8, 1], DType::BFloat16).logits("logits")?;
        let Rows { base, outer_stride, inner_stride, per_outer, .. } = padded.rows;
        assert_eq!((base, outer_stride, inner_stride, per_outer), (AT, 100, 8, 3));
        assert_eq!(padded.count, 6);
        // A single column may have any stride; no rows have no address.
        assert_eq!(view(&[4, 1], &[7, 9], DType::Float32).logits("logits")?.columns, 1);
        assert_eq!(placed(0, &[0, 9], &[9, 1], DType::Float32).logits("logits")?.count, 0);
        Ok(())
    }

    #[test]
    fn rows_that_no_kernel_reads_are_refused() {
        let refused = |view: DeviceView<'_>| message(view.logits("logits"));
        assert!(refused(view(&[9], &[1], DType::Float32)).contains("2 or 3 axes"));
        assert!(refused(view(&[2, 9], &[1, 2], DType::Float32)).contains("contiguous last axis"));
        assert!(refused(view(&[2, 9], &[-9, 1], DType::Float32)).contains("run backwards"));
        assert!(refused(view(&[2, 9], &[9, 1], DType::Float64)).contains("float32 or bfloat16"));
        let odd = placed(AT + 1, &[2, 9], &[9, 1], DType::BFloat16);
        assert!(refused(odd).contains("aligned to 2 bytes"));
        assert!(refused(placed(0, &[2, 9], &[9, 1], DType::Float32)).contains("aligned"));
        let many = view(&[1 << 33, 9], &[9, 1], DType::Float32);
        assert!(refused(many).contains("at most 2^31"));
        let absurd = view(&[usize::MAX, usize::MAX, 2], &[isize::MAX, 3, 1], DType::Float32);
        assert!(refused(absurd).contains("at most 2^31"));
    }

    #[test]
    fn what_is_written_lies_apart() {
        let logits = view(&[4, 8], &[8, 1], DType::Float32);
        let out = |view: DeviceView<'_>| message(view.logits_out("dlogits", &logits));
        assert_eq!(out(logits), "");
        assert_eq!(out(view(&[4, 8], &[100, 1], DType::Float32)), "");
        assert!(out(view(&[4, 8], &[0, 1], DType::Float32)).contains("overlapping"));
        assert!(out(view(&[4, 8], &[7, 1], DType::Float32)).contains("overlapping"));
        assert!(out(view(&[8, 4], &[4, 1], DType::Float32)).contains("expected [4, 8]"));
        assert!(out(view(&[4, 8], &[8, 1], DType::Float16)).contains("expected dtype float32"));
        let read_only = DeviceView { writable: false, ..logits };
        assert!(out(read_only).contains("may be written"));
    }

    #[test]
    fn memory_of_two_arrays_is_compared_by_bytes() {
        let logits = view(&[4, 8], &[8, 1], DType::Float32);
        let after = |bytes: u64| placed(AT + bytes, &[4, 8], &[8, 1], DType::Float32);
        assert_eq!(message(logits.check_apart("dlogits", &after(128))), "");
        assert!(message(logits.check_apart("dlogits", &after(124))).contains("of its own"));
        assert!(message(after(124).check_apart("dlogits", &logits)).contains("of its own"));
        assert_eq!(message(logits.check_same_or_apart("dlogits", &logits)), "");
        assert!(message(logits.check_same_or_apart("dlogits", &after(4))).contains("of its own"));
        let none = placed(AT, &[0, 8], &[8, 1], DType::Float32);
        assert_eq!(message(logits.check_apart("dlogits", &none)), "");
    }

    #[test]
    fn shards_are_any_step_apart() -> Result<()> {
        let shards = |view: DeviceView<'_>| view.shards("states", DType::Float64, 15);
        assert_eq!(shards(view(&[3, 5], &[5, 1], DType::Float64))?, (AT, 1, 0));
        assert_eq!(shards(view(&[4, 3, 5], &[64, 5, 1], DType::Float64))?, (AT, 4, 64));
        assert_eq!(shards(view(&[1, 3, 5], &[0, 5, 1], DType::Float64))?, (AT, 1, 0));
        let refused = |view| message(shards(view));
        assert!(refused(view(&[0, 3, 5], &[15, 5, 1], DType::Float64)).contains("shards"));
        assert!(refused(view(&[2, 3, 5], &[-15, 5, 1], DType::Float64)).contains("shards"));
        assert!(refused(view(&[2, 3, 5], &[15, 6, 1], DType::Float64)).contains("contiguous"));
        assert!(refused(view(&[3, 4, 5], &[20, 5, 1], DType::Float64)).contains("15 elements"));
        Ok(())
    }

    #[test]
    fn values_come_in_two_precisions() -> Result<()> {
        let wide = |dtype| reals("logp", Some(&view(&[3], &[1], dtype)), 3);
        assert_eq!((wide(DType::Float32)?.wide, wide(DType::Float64)?.wide), (0, 1));
        assert_eq!(reals("entropy", None, 3)?.at, 0);
        assert!(message(wide(DType::Float16)).contains("float32 or float64"));
        assert!(
            message(reals("logp", Some(&view(&[3], &[1], DType::Float32)), 4)).contains("4 el")
        );
        Ok(())
    }
}
