//! Complex numbers known up to radii, on principal branches.

use std::cmp::Ordering;

use dashu_int::IBig;
use dashu_ratio::RBig;

use super::ball::Ball;
use super::elementary::{atan, exp, ln, pi, sin_cos};

/// A rectangle of two balls. An imaginary part of exactly zero marks a real number.
#[derive(Debug, Clone, PartialEq)]
pub struct Complex {
    /// Real part.
    pub re: Ball,
    /// Imaginary part.
    pub im: Ball,
}

impl Complex {
    /// A real number.
    pub fn real(re: Ball) -> Self {
        Self { re, im: Ball::zero() }
    }

    /// Whether it is certainly real.
    pub fn is_real(&self) -> bool {
        self.im.is_zero()
    }

    /// Whether it is exactly zero.
    pub fn is_zero(&self) -> bool {
        self.re.is_zero() && self.im.is_zero()
    }

    /// Whether zero is inside.
    pub fn contains_zero(&self) -> bool {
        self.re.contains_zero() && self.im.contains_zero()
    }

    /// Both parts are below two to this.
    pub fn top(&self) -> i64 {
        match (self.re.is_zero(), self.im.is_zero()) {
            (true, true) => i64::MIN / 4,
            (false, true) => self.re.top(),
            (true, false) => self.im.top(),
            (false, false) => self.re.top().max(self.im.top()),
        }
    }

    /// The magnitude is at least two to this.
    pub fn bottom(&self) -> i64 {
        self.re.bottom().max(self.im.bottom())
    }

    /// x + y
    pub fn add(&self, other: &Self, p: usize) -> Self {
        Self { re: self.re.add(&other.re, p), im: self.im.add(&other.im, p) }
    }

    /// −x
    pub fn neg(&self) -> Self {
        Self { re: self.re.neg(), im: self.im.neg() }
    }

    /// i x
    pub fn times_i(&self) -> Self {
        Self { re: self.im.neg(), im: self.re.clone() }
    }

    /// x y
    pub fn mul(&self, other: &Self, p: usize) -> Self {
        if self.is_real() && other.is_real() {
            return Self::real(self.re.mul(&other.re, p));
        }
        let rr = self.re.mul(&other.re, p);
        let ii = self.im.mul(&other.im, p);
        let ri = self.re.mul(&other.im, p);
        let ir = self.im.mul(&other.re, p);
        Self { re: rr.sub(&ii, p), im: ri.add(&ir, p) }
    }

    /// A rational multiple.
    pub fn times(&self, factor: &RBig, p: usize) -> Self {
        if factor.is_one() {
            return self.clone();
        }
        let factor = Ball::rational(factor, p);
        let im = if self.is_real() { Ball::zero() } else { self.im.mul(&factor, p) };
        Self { re: self.re.mul(&factor, p), im }
    }

    /// 1 / x
    pub fn inverse(&self, p: usize) -> Option<Self> {
        let one = Ball::integer(1);
        if self.is_real() {
            return Some(Self::real(one.div(&self.re, p)?));
        }
        let norm = self.norm(p);
        Some(Self { re: self.re.div(&norm, p)?, im: self.im.neg().div(&norm, p)? })
    }

    fn norm(&self, p: usize) -> Ball {
        self.re.mul(&self.re, p).add(&self.im.mul(&self.im, p), p)
    }

    /// |x|
    pub fn abs(&self, p: usize) -> Option<Ball> {
        if self.is_real() {
            return Some(self.re.abs());
        }
        if self.re.is_zero() {
            return Some(self.im.abs());
        }
        let norm = self.norm(p);
        match norm.sign() {
            Some(Ordering::Less) => None,
            _ => norm.sqrt(p),
        }
    }

    /// The angle, in (−π, π]. None if zero or the cut may be inside.
    pub fn arg(&self, p: usize) -> Option<Ball> {
        if self.is_real() {
            return match self.re.sign()? {
                Ordering::Greater => Some(Ball::zero()),
                Ordering::Less => pi(p),
                Ordering::Equal => None,
            };
        }
        let upper = self.im.sign();
        if self.re.sign() == Some(Ordering::Greater) {
            return atan(&self.im.div(&self.re, p)?, p);
        }
        // Measured from the imaginary axis.
        let right = pi(p)?.scaled(-1);
        let right = match upper? {
            Ordering::Greater => right,
            Ordering::Less => right.neg(),
            Ordering::Equal => return None,
        };
        let turn = atan(&self.re.div(&self.im, p)?, p)?;
        Some(right.sub(&turn, p))
    }

    /// The principal logarithm.
    pub fn ln(&self, p: usize) -> Option<Self> {
        if self.is_real() && self.re.sign() == Some(Ordering::Greater) {
            return Some(Self::real(ln(&self.re, p)?));
        }
        let im = self.arg(p)?;
        let re =
            if self.is_real() { ln(&self.re.abs(), p)? } else { ln(&self.norm(p), p)?.scaled(-1) };
        Some(Self { re, im })
    }

    /// e^x
    pub fn exp(&self, p: usize) -> Option<Self> {
        let size = exp(&self.re, p)?;
        if self.is_real() {
            return Some(Self::real(size));
        }
        let (sin, cos) = sin_cos(&self.im, p)?;
        Some(Self { re: size.mul(&cos, p), im: size.mul(&sin, p) })
    }

    /// The principal square root.
    pub fn sqrt(&self, p: usize) -> Option<Self> {
        if self.is_real() {
            return match self.re.sign() {
                Some(Ordering::Less) => Some(Self { re: Ball::zero(), im: self.re.neg().sqrt(p)? }),
                Some(_) => Some(Self::real(self.re.sqrt(p)?)),
                None => {
                    // Either side of zero: the root is real or imaginary, and small.
                    let root = self.re.sqrt(p)?;
                    Some(Self { re: root.clone(), im: root })
                }
            };
        }
        self.ln(p)?.times_power_of_two(-1).exp(p)
    }

    fn times_power_of_two(&self, shift: i64) -> Self {
        Self { re: self.re.scaled(shift), im: self.im.scaled(shift) }
    }

    /// x^n by squaring.
    pub fn power(&self, times: u64, p: usize) -> Self {
        if self.is_real() {
            return Self::real(self.re.power(times, p));
        }
        let mut result = Self::real(Ball::integer(1));
        for bit in (0..64 - times.leading_zeros()).rev() {
            result = result.mul(&result, p);
            if times >> bit & 1 == 1 {
                result = result.mul(self, p);
            }
        }
        result
    }

    /// sin x and cos x
    pub fn sin_cos(&self, p: usize) -> Option<(Self, Self)> {
        if self.is_real() {
            let (sin, cos) = sin_cos(&self.re, p)?;
            return Some((Self::real(sin), Self::real(cos)));
        }
        let up = self.times_i().exp(p)?;
        let down = self.times_i().neg().exp(p)?;
        let cos = up.add(&down, p).times_power_of_two(-1);
        // (u − d) / 2i
        let sin = up.add(&down.neg(), p).times_power_of_two(-1).times_i().neg();
        Some((sin, cos))
    }

    /// The arc tangent.
    pub fn atan(&self, p: usize) -> Option<Self> {
        if self.is_real() {
            return Some(Self::real(atan(&self.re, p)?));
        }
        let one = Self::real(Ball::integer(1));
        let ix = self.times_i();
        let less = one.add(&ix.neg(), p).ln(p)?;
        let more = one.add(&ix, p).ln(p)?;
        Some(less.add(&more.neg(), p).times_power_of_two(-1).times_i())
    }

    /// The arc sine.
    pub fn asin(&self, p: usize) -> Option<Self> {
        let one = Self::real(Ball::integer(1));
        let rest = one.add(&self.mul(self, p).neg(), p);
        if self.is_real() && rest.re.sign() == Some(Ordering::Greater) {
            let root = rest.re.sqrt(p)?;
            return Some(Self::real(atan(&self.re.div(&root, p)?, p)?));
        }
        if self.is_real() && rest.re.sign() == Some(Ordering::Equal) {
            let right = pi(p)?.scaled(-1);
            let down = self.re.sign() == Some(Ordering::Less);
            return Some(Self::real(if down { right.neg() } else { right }));
        }
        let inside = self.times_i().add(&rest.sqrt(p)?, p);
        Some(inside.ln(p)?.times_i().neg())
    }

    /// The integer, if it is exactly one.
    pub fn integer(&self) -> Option<IBig> {
        if !self.is_real() || self.re.radius != 0 {
            return None;
        }
        if self.re.exponent < 0 {
            let shift = usize::try_from(self.re.exponent.unsigned_abs()).ok()?;
            let zeros = self.re.middle.trailing_zeros().unwrap_or(usize::MAX);
            return (zeros >= shift).then(|| &self.re.middle >> shift);
        }
        (self.re.exponent < 1 << 12)
            .then(|| &self.re.middle << self.re.exponent.unsigned_abs() as usize)
    }
}
