//! Real numbers known up to a radius, in integer arithmetic with every rounding accounted for.

use std::cmp::Ordering;

use dashu_base::{BitTest, Sign, UnsignedAbs};
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

/// Exponents beyond this are left to the classes of huge and tiny numbers.
pub const MAX_EXPONENT: i64 = 1 << 40;
/// A radius needs no more digits than this.
const RADIUS_BITS: usize = 30;

/// All numbers from (middle − radius) 2^exponent to (middle + radius) 2^exponent.
#[derive(Debug, Clone, PartialEq)]
pub struct Ball {
    pub(super) middle: IBig,
    pub(super) radius: u64,
    pub(super) exponent: i64,
}

fn length(value: &IBig) -> i64 {
    value.bit_len() as i64
}

impl Ball {
    /// Exactly zero.
    pub fn zero() -> Self {
        Self { middle: IBig::ZERO, radius: 0, exponent: 0 }
    }

    /// An exact integer.
    pub fn integer(value: impl Into<IBig>) -> Self {
        Self { middle: value.into(), radius: 0, exponent: 0 }
    }

    /// From −2^exponent to 2^exponent.
    pub fn around_zero(exponent: i64) -> Self {
        Self { middle: IBig::ZERO, radius: 1, exponent }
    }

    /// A rational number.
    pub fn rational(value: &RBig, precision: usize) -> Self {
        let numerator = value.numerator();
        if value.is_int() {
            return Self::integer(numerator.clone()).rounded(precision);
        }
        let denominator = value.denominator();
        let shift = precision as i64 + 2 - length(numerator) + denominator.bit_len() as i64;
        let quotient = shifted(numerator, shift.max(0)) / IBig::from(denominator.clone());
        Self { middle: quotient, radius: 1, exponent: -shift.max(0) }.rounded(precision)
    }

    /// From its parts; the radius is in units of 2^exponent.
    pub fn new(middle: IBig, radius: UBig, exponent: i64, precision: usize) -> Self {
        let excess = middle.bit_len().saturating_sub(precision);
        let excess = excess.max(radius.bit_len().saturating_sub(RADIUS_BITS));
        if excess == 0 {
            return Self { middle, radius: u64::try_from(&radius).unwrap_or(u64::MAX), exponent };
        }
        let exact = radius.is_zero() && middle.trailing_zeros().is_some_and(|z| z >= excess);
        let radius = u64::try_from(radius >> excess).unwrap_or(u64::MAX >> 2);
        let radius = if exact { 0 } else { radius + 2 };
        Self { middle: middle >> excess, radius, exponent: exponent + excess as i64 }
    }

    /// The same or a larger ball with a shorter middle.
    pub fn rounded(self, precision: usize) -> Self {
        if self.middle.bit_len() <= precision && self.radius >> RADIUS_BITS == 0 {
            return self;
        }
        Self::new(self.middle, UBig::from(self.radius), self.exponent, precision)
    }

    /// Whether it is exactly zero.
    pub fn is_zero(&self) -> bool {
        self.radius == 0 && self.middle.is_zero()
    }

    /// Whether zero is inside.
    pub fn contains_zero(&self) -> bool {
        self.middle.bit_len() <= 64 && self.middle.clone().unsigned_abs() <= UBig::from(self.radius)
    }

    /// How all of it compares to zero.
    pub fn sign(&self) -> Option<Ordering> {
        if self.is_zero() {
            Some(Ordering::Equal)
        } else if self.contains_zero() {
            None
        } else if self.middle.sign() == Sign::Negative {
            Some(Ordering::Less)
        } else {
            Some(Ordering::Greater)
        }
    }

    /// The largest magnitude is below two to this.
    pub fn top(&self) -> i64 {
        let largest = (&self.middle).unsigned_abs() + self.radius;
        largest.bit_len() as i64 + self.exponent
    }

    /// The least magnitude is at least two to this, for a ball without zero.
    pub fn bottom(&self) -> i64 {
        let size = (&self.middle).unsigned_abs();
        let radius = UBig::from(self.radius);
        if size <= radius {
            return i64::MIN / 4;
        }
        (size - radius).bit_len() as i64 - 1 + self.exponent
    }

    /// The radius is at most two to this.
    pub fn radius_top(&self) -> i64 {
        if self.radius == 0 {
            return i64::MIN / 4;
        }
        64 - self.radius.leading_zeros() as i64 + self.exponent
    }

    /// Both ends, exactly. Only for exponents of moderate size.
    pub fn ends(&self) -> Option<(RBig, RBig)> {
        if self.exponent.abs() > 1 << 17 {
            return None;
        }
        let (low, high) = (&self.middle - self.radius, &self.middle + self.radius);
        let scale = |value: IBig| {
            if self.exponent >= 0 {
                RBig::from(shifted(&value, self.exponent))
            } else {
                RBig::from_parts(value, UBig::ONE << self.exponent.unsigned_abs() as usize)
            }
        };
        Some((scale(low), scale(high)))
    }

    /// −x
    pub fn neg(&self) -> Self {
        Self { middle: -&self.middle, ..*self }
    }

    /// 2^n x
    pub fn scaled(&self, shift: i64) -> Self {
        Self { exponent: self.exponent + shift, ..self.clone() }
    }

    /// |x|
    pub fn abs(&self) -> Self {
        match self.sign() {
            Some(Ordering::Less) => self.neg(),
            Some(_) => self.clone(),
            None => {
                // From zero to the farther end.
                let far = (&self.middle).unsigned_abs() + self.radius;
                Self { middle: far.into(), radius: 0, exponent: self.exponent }.half_ball()
            }
        }
    }

    /// From zero to an exact number above it.
    fn half_ball(&self) -> Self {
        let radius = (&self.middle).unsigned_abs();
        Self::new(self.middle.clone(), radius, self.exponent - 1, 64)
    }

    /// The ball with more radius.
    pub fn widened(&self, radius: u64, exponent: i64, precision: usize) -> Self {
        if radius == 0 {
            return self.clone();
        }
        self.add(&Self { middle: IBig::ZERO, radius, exponent }, precision)
    }

    /// x + y
    pub fn add(&self, other: &Self, precision: usize) -> Self {
        if self.is_zero() {
            return other.clone();
        }
        if other.is_zero() {
            return self.clone();
        }
        let (high, low) =
            if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        let target = if high.radius > 0 {
            high.exponent
        } else {
            let top = high.top().max(low.top());
            high.exponent.min(low.exponent.max(top - 2 * precision as i64 - 64))
        };
        let up = high.exponent - target;
        let down = target - low.exponent;
        let mut middle = shifted(&high.middle, up);
        let mut radius = UBig::from(high.radius);
        if down == 0 {
            middle += &low.middle;
            radius += low.radius;
        } else if down > length(&low.middle) + 64 {
            // Far below the last digit kept.
            radius += 1u8;
        } else {
            middle += &low.middle >> down as usize;
            radius += if down >= 64 { 0 } else { low.radius >> down };
            radius += 2u8;
        }
        Self::new(middle, radius, target, precision)
    }

    /// x − y
    pub fn sub(&self, other: &Self, precision: usize) -> Self {
        self.add(&other.neg(), precision)
    }

    /// x y
    pub fn mul(&self, other: &Self, precision: usize) -> Self {
        let middle = &self.middle * &other.middle;
        let mut radius = UBig::ZERO;
        if other.radius > 0 {
            radius += (&self.middle).unsigned_abs() * other.radius;
            radius += UBig::from(self.radius) * other.radius;
        }
        if self.radius > 0 {
            radius += (&other.middle).unsigned_abs() * self.radius;
        }
        Self::new(middle, radius, self.exponent + other.exponent, precision)
    }

    /// x / y, unless zero is in y.
    pub fn div(&self, other: &Self, precision: usize) -> Option<Self> {
        if other.contains_zero() {
            return None;
        }
        let shift = (precision as i64 + 4 + length(&other.middle) - length(&self.middle)).max(0);
        let above = shifted(&self.middle, shift);
        let middle = above / &other.middle;
        let below = (&other.middle).unsigned_abs();
        let mut radius = UBig::ONE;
        if self.radius > 0 || other.radius > 0 {
            let mut above = UBig::from(self.radius) << shift as usize;
            above += ((&middle).unsigned_abs() + 1u8) * other.radius;
            radius += above / (below - other.radius) + 1u8;
        } else if (&middle * &other.middle) == shifted(&self.middle, shift) {
            radius = UBig::ZERO;
        }
        Some(Self::new(middle, radius, self.exponent - other.exponent - shift, precision))
    }

    /// √x for x that is not negative; a ball around zero gives one that starts at zero.
    pub fn sqrt(&self, precision: usize) -> Option<Self> {
        match self.sign() {
            Some(Ordering::Equal) => return Some(Self::zero()),
            Some(Ordering::Less) => return None,
            Some(Ordering::Greater) => {}
            None => {
                let far = (&self.middle).unsigned_abs() + self.radius;
                let far = Self { middle: far.into(), radius: 0, exponent: self.exponent };
                let root = far.sqrt(64)?;
                let root = Self { middle: root.middle + root.radius + 1u8, radius: 0, ..root };
                return Some(root.half_ball());
            }
        }
        let mut shift = (2 * precision as i64 + 4 - length(&self.middle)).max(0);
        if (self.exponent - shift) % 2 != 0 {
            shift += 1;
        }
        let inside = shifted(&self.middle, shift).unsigned_abs();
        let root = dashu_base::SquareRoot::sqrt(&inside);
        let exact = self.radius == 0 && &root * &root == inside;
        let mut radius = if exact { UBig::ZERO } else { UBig::ONE };
        if self.radius > 0 {
            // |√x − √m| ≤ |x − m| / √m
            radius += (UBig::from(self.radius) << shift as usize) / &root + 1u8;
        }
        Some(Self::new(root.into(), radius, (self.exponent - shift) / 2, precision))
    }

    /// x^n by squaring.
    pub fn power(&self, times: u64, precision: usize) -> Self {
        let mut result = Self::integer(1);
        let bits = 64 - times.leading_zeros();
        for bit in (0..bits).rev() {
            result = result.mul(&result, precision);
            if times >> bit & 1 == 1 {
                result = result.mul(self, precision);
            }
        }
        result
    }

    /// A ball that holds both.
    pub fn hull(&self, other: &Self, precision: usize) -> Self {
        let middle = self.add(other, precision).scaled(-1);
        let spread = self.sub(other, precision).abs();
        // Half the distance and the larger radius; the whole of both is simpler and safe.
        let reach = spread.top().max(self.radius_top()).max(other.radius_top());
        if reach <= i64::MIN / 8 { middle } else { middle.widened(2, reach, precision) }
    }

    /// The integer below all of it, if it is one.
    pub fn floor(&self) -> Option<IBig> {
        let (low, high) = self.ends()?;
        let (low, high) = (low.floor(), high.floor());
        (low == high).then_some(low)
    }
}

/// value × 2^shift, for a shift that is not negative.
pub fn shifted(value: &IBig, shift: i64) -> IBig {
    if shift == 0 { value.clone() } else { value << shift.unsigned_abs() as usize }
}
