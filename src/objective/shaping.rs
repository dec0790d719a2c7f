//! Shaping of expert ratios: f(x) = x/(x + λ), after eq. 10.

/// A function of a ratio x = e^u with its derivative with respect to u.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The value.
    pub value: f64,
    /// d value / du.
    pub slope: f64,
}

/// The ratio itself: d e^u / du = e^u.
pub fn plain(u: f64) -> Ratio {
    let value = u.exp();
    Ratio { value, slope: value }
}

/// f(e^u) = e^u/(e^u + λ), with df/du = f(1 − f).
///
/// Written as a logistic function of u − ln λ, so that neither end overflows, and with 1 − f from
/// the other tail, so that it does not cancel where f is near 1 (at r = 1 and λ = 0.01, f is 0.990).
pub fn shaped(u: f64, lam: f64) -> Ratio {
    let v = u - lam.ln();
    let small = (-v.abs()).exp();
    let (near, far) = (1.0 / (1.0 + small), small / (1.0 + small));
    let (value, complement) = if v >= 0.0 { (near, far) } else { (far, near) };
    Ratio { value, slope: value * complement }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shaped_meets_its_definition_and_its_difference_quotient() {
        for lam in [0.01, 0.1, 1.0] {
            for i in -400..=400 {
                let u = f64::from(i) * 0.05;
                let x = u.exp();
                let f = shaped(u, lam);
                assert!((f.value - x / (x + lam)).abs() < 1e-15 * 4.0, "{u} {lam}");
                let h = 1e-5;
                let quotient = (shaped(u + h, lam).value - shaped(u - h, lam).value) / (2.0 * h);
                assert!((f.slope - quotient).abs() < 1e-9, "{u} {lam}");
            }
            assert_eq!(shaped(f64::NEG_INFINITY, lam), Ratio { value: 0.0, slope: 0.0 });
            assert_eq!(shaped(800.0, lam).value, 1.0);
        }
    }
}
