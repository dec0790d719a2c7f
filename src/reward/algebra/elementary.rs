//! Exponential, logarithm, sine, cosine and arc tangent of balls, by Taylor series in fixed point.

use std::cmp::Ordering;
use std::sync::OnceLock;

use dashu_base::BitTest;
use dashu_int::{IBig, UBig};

use super::ball::{Ball, shifted};
use super::constants;

fn parsed(digits: &str) -> IBig {
    UBig::from_str_radix(digits, 16).unwrap_or(UBig::ZERO).into()
}

fn stored(which: &OnceLock<IBig>, digits: &str, bits: usize) -> Option<IBig> {
    let value = which.get_or_init(|| parsed(digits));
    Some(value >> constants::BITS.checked_sub(bits)?)
}

static PI: OnceLock<IBig> = OnceLock::new();
static LN_2: OnceLock<IBig> = OnceLock::new();
static GAMMA: OnceLock<IBig> = OnceLock::new();

/// π
pub fn pi(precision: usize) -> Option<Ball> {
    constant(&PI, constants::PI, precision)
}

/// Euler's γ
pub fn euler_gamma(precision: usize) -> Option<Ball> {
    constant(&GAMMA, constants::EULER_GAMMA, precision)
}

fn constant(which: &OnceLock<IBig>, digits: &str, precision: usize) -> Option<Ball> {
    let bits = precision + 4;
    let middle = stored(which, digits, bits)?;
    Some(Ball { middle, radius: 1, exponent: -(bits as i64) })
}

/// floor(middle × 2^(exponent + bits))
fn fixed(ball: &Ball, bits: usize) -> IBig {
    let shift = ball.exponent + bits as i64;
    if shift >= 0 {
        shifted(&ball.middle, shift)
    } else if shift < -(ball.middle.bit_len() as i64) - 1 {
        // Floor of a tiny number; minus one or zero, and an error of one is allowed anyway.
        IBig::ZERO
    } else {
        &ball.middle >> shift.unsigned_abs() as usize
    }
}

/// The middle's magnitude is below two to this.
fn top_of_middle(ball: &Ball) -> i64 {
    ball.middle.bit_len() as i64 + ball.exponent
}

/// e^x. None where x is too wide, or e^x too large for a ball.
pub fn exp(ball: &Ball, precision: usize) -> Option<Ball> {
    if ball.is_zero() {
        return Some(Ball::integer(1));
    }
    let top = top_of_middle(ball);
    if top > 36 || ball.radius_top() > -2 {
        return None;
    }
    let reach = top.max(0) as usize;
    let bits = precision + 40 + reach;
    let ln_2 = stored(&LN_2, constants::LN_2, bits)?;
    let x = fixed(ball, bits);
    let times = floor_div(&x, &ln_2);
    let rest = x - &times * ln_2;
    // e^r = (e^(r / 2^h))^(2^h): the same integer with h more bits after the point is r / 2^h.
    let halvings = 6 + precision / 50;
    let bits = bits + halvings;
    let one = IBig::ONE << bits;
    let (mut sum, mut term) = (one.clone(), one);
    for n in 1u64.. {
        term = ((term * &rest) >> bits) / n;
        if term.is_zero() {
            break;
        }
        sum += &term;
    }
    for _ in 0..halvings {
        sum = (&sum * &sum) >> bits;
    }
    let error = ((UBig::ONE << (reach + 3)) + 512u32) << (halvings + 2);
    let times = i64::try_from(&times).ok()?;
    let value = Ball::new(sum, error, times - bits as i64, precision);
    if ball.radius == 0 {
        return Some(value);
    }
    // e^(m + r) lies within e^m (1 ± 2r) for r < 1/2.
    let near_one = Ball::integer(1).widened(2 * ball.radius, ball.exponent, precision);
    Some(value.mul(&near_one, precision))
}

fn floor_div(a: &IBig, b: &IBig) -> IBig {
    // The divisor is positive.
    let quotient = a / b;
    if &quotient * b > *a { quotient - 1u8 } else { quotient }
}

/// ln x, for x above zero.
pub fn ln(ball: &Ball, precision: usize) -> Option<Ball> {
    if ball.sign() != Some(Ordering::Greater) {
        return None;
    }
    let length = ball.middle.bit_len() as i64;
    let mut shift = ball.exponent + length;
    let mut bits = precision + 40 + (64 - shift.unsigned_abs().leading_zeros()) as usize;
    let at = |bits: usize| fixed(&Ball { exponent: -length, ..ball.clone() }, bits);
    let mut y = at(bits);
    // Between 0.7 and 1.4
    let low = y < (IBig::from(7u8) << bits) / 10u8;
    let mut distance = if low { &y * 2u8 } else { y.clone() } - (IBig::ONE << bits);
    if (shift == i64::from(low)) && distance.bit_len() + 16 < bits {
        // Close to one: digits lost to cancellation are added first.
        bits += (bits - distance.bit_len()).min(2 * precision);
        y = at(bits);
        distance = if low { &y * 2u8 } else { y.clone() } - (IBig::ONE << bits);
    }
    if low {
        y *= 2u8;
        shift -= 1;
    }
    let mut value = IBig::ZERO;
    let roots = if distance.is_zero() { 0 } else { 5 + precision / 100 };
    if !distance.is_zero() {
        for _ in 0..roots {
            let inside = (y << bits).into_parts().1;
            y = dashu_base::SquareRoot::sqrt(&inside).into();
        }
        let one = IBig::ONE << bits;
        let z = ((&y - &one) << bits) / (y + one);
        let square = (&z * &z) >> bits;
        let mut power = z;
        for n in (1u64..).step_by(2) {
            let term = &power / n;
            if term.is_zero() {
                break;
            }
            value += term;
            power = (power * &square) >> bits;
        }
        value <<= roots + 1;
    }
    let mut error = UBig::from(1024u32) << roots;
    if shift != 0 {
        value += stored(&LN_2, constants::LN_2, bits)? * shift;
        error += shift.unsigned_abs();
    }
    let value = Ball::new(value, error, -(bits as i64), precision);
    if ball.radius == 0 {
        return Some(value);
    }
    let scale = precision + 16;
    let least = &ball.middle - ball.radius;
    let spread = (IBig::from(ball.radius) << scale) / least + 1u8;
    let spread = Ball::new(IBig::ZERO, spread.into_parts().1, -(scale as i64), precision);
    Some(value.add(&spread, precision))
}

/// sin x and cos x.
pub fn sin_cos(ball: &Ball, precision: usize) -> Option<(Ball, Ball)> {
    if ball.is_zero() {
        return Some((Ball::zero(), Ball::integer(1)));
    }
    let top = top_of_middle(ball);
    if top > 900 || ball.radius_top() > 1 {
        let all = Ball::around_zero(0);
        return Some((all.clone(), all));
    }
    let reach = top.max(0) as usize;
    let halvings = 5 + precision / 60;
    let tiny = (-top).clamp(0, 2 * precision as i64) as usize;
    let bits = precision + 40 + 2 * halvings + reach + tiny;
    let right = if reach == 0 {
        // Below one radian nothing is subtracted, and the constant may be shorter than asked for.
        IBig::ONE << (bits + 2)
    } else {
        stored(&PI, constants::PI, bits - 1)?
    };
    let x = fixed(ball, bits);
    let quarter = if reach == 0 { IBig::ZERO } else { floor_div(&(&x + (&right >> 1)), &right) };
    let rest = x - &quarter * right;
    let bits = bits + halvings;
    let one = IBig::ONE << bits;
    let square = (&rest * &rest) >> bits;
    let (mut sin, mut cos) = (rest.clone(), one.clone());
    let (mut odd, mut even) = (rest, one.clone());
    for n in 1u64.. {
        even = -((even * &square) >> bits) / ((2 * n - 1) * (2 * n));
        odd = -((odd * &square) >> bits) / ((2 * n) * (2 * n + 1));
        if even.bit_len() <= 1 && odd.bit_len() <= 1 {
            break;
        }
        cos += &even;
        sin += &odd;
    }
    for _ in 0..halvings {
        let twice = (&sin * 2u8 * cos) >> bits;
        cos = &one - ((&sin * &sin * 2u8) >> bits);
        sin = twice;
    }
    let error = ((UBig::ONE << (reach + 3)) + 512u32) << (2 * halvings);
    let make = |value: IBig| {
        Ball::new(value, error.clone(), -(bits as i64), precision).widened(
            ball.radius,
            ball.exponent,
            precision,
        )
    };
    let (sin, cos) = (make(sin), make(cos));
    Some(match quarter & 3u8 {
        0 => (sin, cos),
        1 => (cos, sin.neg()),
        2 => (sin.neg(), cos.neg()),
        _ => (cos.neg(), sin),
    })
}

/// The arc tangent.
pub fn atan(ball: &Ball, precision: usize) -> Option<Ball> {
    if ball.is_zero() {
        return Some(Ball::zero());
    }
    let top = top_of_middle(ball);
    if top > 0 && !ball.contains_zero() && ball.bottom() >= -2 {
        let inverse = Ball::integer(1).div(ball, precision + 8)?;
        let right = pi(precision + 8)?.scaled(-1);
        let right = if ball.sign() == Some(Ordering::Less) { right.neg() } else { right };
        let near_zero = if inverse.top() > 0 && top_of_middle(&inverse) > 0 {
            atan_small(&inverse, precision)?
        } else {
            atan(&inverse, precision)?
        };
        return Some(right.sub(&near_zero, precision));
    }
    atan_small(ball, precision)
}

fn atan_small(ball: &Ball, precision: usize) -> Option<Ball> {
    let top = top_of_middle(ball);
    if top > 64 {
        return None;
    }
    let halvings = 4 + precision / 100;
    let tiny = (-top).clamp(0, 2 * precision as i64) as usize;
    let bits = precision + 48 + halvings + tiny + top.max(0) as usize;
    let mut x = fixed(ball, bits);
    for _ in 0..halvings {
        let inside = ((IBig::ONE << (2 * bits)) + &x * &x).into_parts().1;
        let root: IBig = dashu_base::SquareRoot::sqrt(&inside).into();
        x = (x << bits) / (root + (IBig::ONE << bits));
    }
    let square = (&x * &x) >> bits;
    let mut value = IBig::ZERO;
    let mut power = x;
    for n in 0u64.. {
        let term = &power / (2 * n + 1);
        if term.is_zero() {
            break;
        }
        if n % 2 == 0 {
            value += term
        } else {
            value -= term
        }
        power = (power * &square) >> bits;
        if power.bit_len() <= 1 {
            break;
        }
    }
    let value =
        Ball::new(value << halvings, UBig::from(1024u32) << halvings, -(bits as i64), precision);
    Some(value.widened(ball.radius, ball.exponent, precision))
}
