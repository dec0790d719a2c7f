//! Logit element types: `f32`, `bf16` and `f16`, read and written a block at a time.
//!
//! The row kernels compute in `f32` on blocks that fit the first-level cache. A half-precision
//! block is widened once on the way in and rounded once (to nearest, ties to even) on the way
//! out, so that no intermediate value ever lives in 16 bits.

use half::slice::HalfFloatSliceExt;
pub use half::{bf16, f16};

/// Values that a kernel takes at a time: four 512-bit registers, or eight 256-bit ones.
pub(crate) const LANES: usize = 64;

/// Values that are kept in the first-level cache between two passes (8 kB of `f32`).
pub(crate) const BLOCK: usize = 2048;

/// Working space for one block.
pub(crate) type Buffer = [f32; BLOCK];

/// A floating-point type that logits may be stored in.
pub trait Element: sealed::Block + Copy + Send + Sync + 'static {
    /// The name that users see: `float32`, `bfloat16` or `float16`.
    const NAME: &'static str;

    /// Exact conversion of one value.
    fn to_f32(self) -> f32;

    /// The nearest representable value, ties to even.
    fn from_f32(value: f32) -> Self;
}

pub(crate) mod sealed {
    use super::Buffer;

    /// Access to at most [`super::BLOCK`] values as `f32`, padded to whole lanes with −inf, which
    /// adds nothing to any sum over a vocabulary.
    pub trait Block: Sized {
        /// The values, widened into `buffer` where they can not be used as they are.
        fn read<'a>(values: &'a [Self], buffer: &'a mut Buffer) -> &'a [f32];

        /// Lets `change` work on the values, and stores what it leaves.
        fn update(values: &mut [Self], buffer: &mut Buffer, change: impl FnOnce(&mut [f32]));
    }
}

/// Fills up the last lanes and returns the used part of the buffer.
#[inline(always)]
fn padded(buffer: &mut Buffer, len: usize) -> &mut [f32] {
    let whole = len.next_multiple_of(LANES);
    buffer[len..whole].fill(f32::NEG_INFINITY);
    &mut buffer[..whole]
}

impl Element for f32 {
    const NAME: &'static str = "float32";

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl sealed::Block for f32 {
    #[inline(always)]
    fn read<'a>(values: &'a [Self], buffer: &'a mut Buffer) -> &'a [f32] {
        if values.len().is_multiple_of(LANES) {
            return values;
        }
        buffer[..values.len()].copy_from_slice(values);
        padded(buffer, values.len())
    }

    #[inline(always)]
    fn update(values: &mut [Self], buffer: &mut Buffer, change: impl FnOnce(&mut [f32])) {
        if values.len().is_multiple_of(LANES) {
            return change(values);
        }
        buffer[..values.len()].copy_from_slice(values);
        change(padded(buffer, values.len()));
        values.copy_from_slice(&buffer[..values.len()]);
    }
}

impl Element for bf16 {
    const NAME: &'static str = "bfloat16";

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    // Branch-free so that it vectorises; `bf16::from_f32` tests for NaN first.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        const QUIET_NAN: u16 = 0x7fc0;
        let bits = value.to_bits();
        let ties_to_even = 0x7fff + ((bits >> 16) & 1);
        let rounded = (bits.wrapping_add(ties_to_even) >> 16) as u16;
        bf16::from_bits(if value.is_nan() { QUIET_NAN } else { rounded })
    }
}

impl sealed::Block for bf16 {
    #[inline(always)]
    fn read<'a>(values: &'a [Self], buffer: &'a mut Buffer) -> &'a [f32] {
        for (wide, value) in buffer.iter_mut().zip(values) {
            *wide = Element::to_f32(*value);
        }
        padded(buffer, values.len())
    }

    #[inline(always)]
    fn update(values: &mut [Self], buffer: &mut Buffer, change: impl FnOnce(&mut [f32])) {
        for (wide, value) in buffer.iter_mut().zip(values.iter()) {
            *wide = Element::to_f32(*value);
        }
        change(padded(buffer, values.len()));
        for (value, wide) in values.iter_mut().zip(buffer.iter()) {
            *value = Element::from_f32(*wide);
        }
    }
}

impl Element for f16 {
    const NAME: &'static str = "float16";

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        f16::from_f32(value)
    }
}

// The slice conversions of `half` use the processor's instructions where it has them.
impl sealed::Block for f16 {
    #[inline(always)]
    fn read<'a>(values: &'a [Self], buffer: &'a mut Buffer) -> &'a [f32] {
        values.convert_to_f32_slice(&mut buffer[..values.len()]);
        padded(buffer, values.len())
    }

    #[inline(always)]
    fn update(values: &mut [Self], buffer: &mut Buffer, change: impl FnOnce(&mut [f32])) {
        values.convert_to_f32_slice(&mut buffer[..values.len()]);
        change(padded(buffer, values.len()));
        values.convert_from_f32_slice(&buffer[..values.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_like_the_half_crate() {
        (0..200_000u32)
            .map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9)))
            .chain([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE])
            .for_each(|value| {
                let (ours, peer) = (<bf16 as Element>::from_f32(value), bf16::from_f32(value));
                assert!(ours.to_bits() == peer.to_bits() || ours.is_nan() && peer.is_nan());
                let back = Element::to_f32(ours);
                assert!(back == peer.to_f32() || back.is_nan() && peer.is_nan(), "{value}");
            });
    }
}
