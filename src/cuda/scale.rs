//! Checks and launch of kernels/scale.cu.

use super::arguments::ScaleArguments;
use super::kernel::Kernel;
use super::stream::Stream;
use super::view::{DType, DeviceView};
use crate::error::Result;

/// Multiplies rows in place by a number that lies on the device, float32. If it is 1, nothing is
/// read or written.
///
/// # Errors
/// If arrays do not fit each other, or the device refuses.
pub fn scale(stream: &Stream, values: &DeviceView<'_>, factor: &DeviceView<'_>) -> Result<()> {
    let rows = values.logits("values")?;
    let arguments = ScaleArguments {
        values: values.logits_out("values", values)?,
        factor: factor.input("factor", DType::Float32, 1)?,
        rows: rows.count,
        columns: rows.columns,
    };
    // The pieces that rows are cut into; the kernel cuts them itself, and needs no exact number.
    const VECTORS_A_PIECE: u64 = 1024;
    let pieces = match (u64::from(rows.columns) * rows.element.size()).div_ceil(16) {
        0 => 0,
        vectors => (vectors + 1).div_ceil(VECTORS_A_PIECE),
    };
    let work = u64::from(rows.count) * pieces;
    // SAFETY: the kernel stays within the rows.
    unsafe { stream.launch(Kernel::Scale(rows.element), work, &arguments) }?;
    Ok(())
}
