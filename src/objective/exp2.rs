//! Powers of two, fast and vectorisable, with the range reduction in extended precision.

/// Smallest exponent that is computed; below it the result counts as zero. 2^−125 of the greatest
/// probability is beyond anything that an `f32` sum could show.
pub(crate) const FLOOR: f32 = -125.0;

/// a·b + c, in one rounding where the instruction exists. (`f32::mul_add` without the instruction
/// is a call into the C library, thirty times slower.)
#[inline(always)]
pub(crate) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// 2^(x·(high + low)) for products in [`FLOOR`, 0].
///
/// The product is split into an integer and a fraction in [−½, ½] by adding and subtracting a
/// number so great that the fraction falls off. The fraction is recovered by fused multiply-adds
/// and hence exact to its own last bit, however great the product. 2^fraction is a polynomial of
/// degree 6, the minimax of the relative error (1.9e-9, by Remez's exchange; degree 5 has 7.5e-8,
/// which shows as a bias of every log-probability); the integer goes into the exponent bits.
#[inline(always)]
pub(crate) fn exp2_scaled<const FMA: bool>(x: f32, high: f32, low: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5·2^23: the last bit of the sum is worth one
    let shifted = mul_add::<FMA>(x, high, SHIFT);
    let integer = shifted - SHIFT;
    let fraction = mul_add::<FMA>(x, high, -integer);
    let fraction = mul_add::<FMA>(x, low, fraction);
    let p = mul_add::<FMA>(fraction, 1.534_581_1e-4, 1.339_993_1e-3);
    let p = mul_add::<FMA>(fraction, p, 9.618_489e-3);
    let p = mul_add::<FMA>(fraction, p, 5.550_328_6e-2);
    let p = mul_add::<FMA>(fraction, p, 2.402_264_6e-1);
    let p = mul_add::<FMA>(fraction, p, 6.931_472e-1);
    let p = mul_add::<FMA>(fraction, p, 1.0);
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worst relative error over distances to the maximum, for one temperature.
    fn worst<const FMA: bool>(temperature: f64) -> f64 {
        let per_unit = std::f64::consts::LOG2_E / temperature;
        let high = per_unit as f32;
        let low = (per_unit - f64::from(high)) as f32;
        let reach = f64::from(FLOOR) / per_unit;
        (0..400_000)
            .map(|i| {
                let x = (reach * f64::from(i) / 400_000.0) as f32;
                let exact = (f64::from(x) / temperature).exp();
                (f64::from(exp2_scaled::<FMA>(x, high, low)) / exact - 1.0).abs()
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn exponential_is_accurate_at_every_distance_and_temperature() {
        for temperature in [0.1, 0.6, 0.7, 1.0, 1.3, 5.0] {
            let error = worst::<true>(temperature);
            assert!(error < 1.2e-7, "temperature {temperature}: {error:e}");
            // Without the fused instruction the product's rounding shows: 100 ulp of 2^-24.
            let error = worst::<false>(temperature);
            assert!(error < 8e-6, "temperature {temperature}: {error:e}");
        }
    }
}
