//! Exact rational numbers: what their arithmetic costs, roots, and small prime factors.

use dashu_base::{BitTest, Sign, UnsignedAbs};
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use crate::reward::budget::{Budget, MAX_BITS};
use crate::reward::verdict::Reason;

/// Largest number that arithmetic may produce, in bits. Beyond it the work is refused.
const LARGEST: usize = 4 * MAX_BITS;

/// An integer as a rational.
pub fn integer(value: impl Into<IBig>) -> RBig {
    RBig::from(value.into())
}

/// A small fraction; the denominator is positive.
pub fn fraction(numerator: i64, denominator: u64) -> RBig {
    RBig::from_parts(numerator.into(), denominator.max(1).into())
}

/// The integer, if it is one and fits.
pub fn small(value: &RBig) -> Option<i64> {
    if value.is_int() { i64::try_from(value.numerator()).ok() } else { None }
}

/// Whether the number is below zero.
pub fn negative(value: &RBig) -> bool {
    value.sign() == Sign::Negative && !value.is_zero()
}

/// Bits of numerator and denominator together.
pub fn bits(value: &RBig) -> usize {
    value.numerator().bit_len() + value.denominator().bit_len()
}

fn limbs(value: &RBig) -> u64 {
    (bits(value) / 64 + 1) as u64
}

/// Pays for an operation on two numbers, greatest common divisors included.
fn pay(a: &RBig, b: &RBig, budget: &mut Budget) -> Result<(), Reason> {
    if bits(a) + bits(b) > 2 * LARGEST {
        return Err(Reason::TooLarge);
    }
    let limbs = limbs(a) + limbs(b);
    budget.charge(if limbs <= 4 { 12 } else { 24 * limbs + limbs * limbs / 10 })
}

/// a + b
pub fn add(a: &RBig, b: &RBig, budget: &mut Budget) -> Result<RBig, Reason> {
    pay(a, b, budget)?;
    Ok(a + b)
}

/// a b
pub fn mul(a: &RBig, b: &RBig, budget: &mut Budget) -> Result<RBig, Reason> {
    if a.is_one() {
        return Ok(b.clone());
    }
    if b.is_one() {
        return Ok(a.clone());
    }
    pay(a, b, budget)?;
    if bits(a) + bits(b) > LARGEST {
        return Err(Reason::TooLarge);
    }
    Ok(a * b)
}

/// 1 / a, for a that is not zero.
pub fn inverse(a: &RBig) -> RBig {
    let (numerator, denominator) = a.clone().into_parts();
    let (sign, magnitude) = numerator.into_parts();
    RBig::from_parts(IBig::from_parts(sign, denominator), magnitude)
}

/// An integer power, unless it is too long to be written out. The base is not zero.
pub fn power(base: &RBig, exponent: i64, budget: &mut Budget) -> Result<Option<RBig>, Reason> {
    let times = exponent.unsigned_abs();
    let length = base.numerator().bit_len().max(base.denominator().bit_len()).saturating_sub(1);
    let Some(total) = (length as u64).checked_mul(times) else { return Ok(None) };
    if total > MAX_BITS as u64 || times > u32::MAX as u64 {
        // ±1 has no length at all, and its powers are short.
        return Ok(None);
    }
    let words = total / 32 + 1;
    budget.charge(16 + words * words / 16)?;
    let times = times as usize;
    let numerator = base.numerator().pow(times);
    let denominator = base.denominator().pow(times);
    let power = RBig::from_parts(numerator, denominator);
    Ok(Some(if exponent < 0 { inverse(&power) } else { power }))
}

/// The exact root of an integer, if it has one.
pub fn exact_root(value: &UBig, degree: u32) -> Option<UBig> {
    if degree == 0 || value.bit_len() > MAX_BITS {
        return None;
    }
    let root = if degree == 2 {
        dashu_base::SquareRoot::sqrt(value)
    } else {
        value.nth_root(degree as usize)
    };
    (root.pow(degree as usize) == *value).then_some(root)
}

/// Trial divisors: two, three and what is prime to six.
const TRIAL_LIMIT: u64 = 1000;

/// Prime factors below a limit with their multiplicities, then what is left, as a perfect power if
/// it is one. Equal numbers give equal lists; the parts multiply to the number.
pub fn factor(value: &UBig, budget: &mut Budget) -> Result<Vec<(UBig, u32)>, Reason> {
    let mut parts = Vec::new();
    let mut rest = value.clone();
    if rest.bit_len() <= 1 {
        return Ok(parts);
    }
    let twos = rest.trailing_zeros().unwrap_or(0);
    if twos > 0 {
        parts.push((UBig::from(2u8), twos as u32));
        rest >>= twos;
    }
    let mut divisor = 3u64;
    while divisor < TRIAL_LIMIT {
        if let Ok(word) = u64::try_from(&rest) {
            budget.charge(400)?;
            return Ok(factor_word(word, divisor, parts));
        }
        budget.charge((rest.bit_len() / 64 + 1) as u64 * 4)?;
        let mut times = 0;
        while (&rest % divisor) == 0 {
            budget.charge((rest.bit_len() / 64 + 1) as u64 * 4)?;
            rest /= divisor;
            times += 1;
        }
        if times > 0 {
            parts.push((UBig::from(divisor), times));
        }
        divisor += 2;
    }
    push_rest(rest, &mut parts, budget)?;
    Ok(parts)
}

fn factor_word(mut rest: u64, start: u64, mut parts: Vec<(UBig, u32)>) -> Vec<(UBig, u32)> {
    let mut divisor = start;
    while divisor < TRIAL_LIMIT && divisor * divisor <= rest {
        let mut times = 0;
        while rest.is_multiple_of(divisor) {
            rest /= divisor;
            times += 1;
        }
        if times > 0 {
            parts.push((UBig::from(divisor), times));
        }
        divisor += 2;
    }
    if rest > 1 {
        let rest = UBig::from(rest);
        let (base, times) = perfect_power(rest, 6);
        parts.push((base, times));
    }
    parts
}

fn push_rest(rest: UBig, parts: &mut Vec<(UBig, u32)>, budget: &mut Budget) -> Result<(), Reason> {
    if rest.bit_len() > 1 {
        // No prime below the limit divides it, so the exponent is at most a tenth of its length.
        let most = (rest.bit_len() / 9).clamp(1, 13) as u32;
        let words = (rest.bit_len() / 64 + 1) as u64;
        budget.charge(words * words * 40)?;
        let (base, times) = perfect_power(rest, most);
        parts.push((base, times));
    }
    Ok(())
}

fn perfect_power(mut value: UBig, most: u32) -> (UBig, u32) {
    let mut times = 1;
    for degree in [2, 3, 5, 7, 11, 13] {
        while let Some(root) = exact_root(&value, degree).filter(|_| degree <= most) {
            value = root;
            times *= degree;
        }
    }
    (value, times)
}

/// The magnitude's numerator and denominator.
pub fn magnitude(value: &RBig) -> (UBig, UBig) {
    (value.numerator().unsigned_abs(), value.denominator().clone())
}

/// |value|
pub fn abs(value: &RBig) -> RBig {
    let (numerator, denominator) = magnitude(value);
    RBig::from_parts(IBig::from(numerator), denominator)
}
