//! Terms evaluated on complex balls. Numbers too large or too small for a ball keep a sign and a
//! bound, so that a tower of powers still differs from one.

use std::cmp::Ordering;

use dashu_base::BitTest;
use dashu_int::IBig;
use dashu_ratio::RBig;

use crate::reward::budget::MAX_TERMS;
use crate::reward::expr::{Binder, Constant, Function};
use crate::reward::verdict::Reason;

use super::ball::{Ball, MAX_EXPONENT};
use super::complex::Complex;
use super::elementary;
use super::number::{self, fraction, integer, negative};
use super::term::{Step, Term, Terms, Tid};

/// A value, or a bound for one.
#[derive(Debug, Clone)]
pub enum Value {
    /// A ball.
    Finite(Complex),
    /// Real, of magnitude at least two to so many.
    Huge { negative: bool, bits: i64 },
    /// Real and not zero, of magnitude at most one over two to so many.
    Tiny { negative: bool, bits: i64 },
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Not known well enough; more digits may help.
    Vague,
    /// Division by zero and the like.
    Undefined,
    /// The budget is spent.
    Spent(Reason),
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Fault::Spent(reason)
    }
}

type Known = Result<Value, Fault>;

/// The least bound worth keeping.
const LEAST_BITS: i64 = 1 << 30;
/// The largest bound told apart.
const MOST_BITS: i64 = 1 << 60;
/// Whole powers up to this are multiplied out.
const MULTIPLIED_OUT: i64 = 64;
/// Factorials from here on are taken from Stirling's series.
const STIRLING: i64 = 4_000;

fn vague<T>(value: Option<T>) -> Result<T, Fault> {
    value.ok_or(Fault::Vague)
}

fn huge(negative: bool, bits: i64) -> Known {
    if bits < LEAST_BITS {
        return Err(Fault::Vague);
    }
    Ok(Value::Huge { negative, bits: bits.min(MOST_BITS) })
}

fn tiny(negative: bool, bits: i64) -> Known {
    if bits < LEAST_BITS {
        return Err(Fault::Vague);
    }
    Ok(Value::Tiny { negative, bits: bits.min(MOST_BITS) })
}

fn finite(value: Complex) -> Known {
    if value.is_zero() {
        return Ok(Value::Finite(value));
    }
    let (top, bottom) = (value.top(), value.bottom());
    if top.abs() < MAX_EXPONENT && (bottom.abs() < MAX_EXPONENT || value.contains_zero()) {
        return Ok(Value::Finite(value));
    }
    let down = value.re.sign() == Some(Ordering::Less);
    if !value.is_real() || value.re.contains_zero() {
        return Err(Fault::Vague);
    }
    if bottom >= MAX_EXPONENT / 2 { huge(down, bottom) } else { tiny(down, -top) }
}

fn real(value: Ball) -> Known {
    finite(Complex::real(value))
}

/// How sizes of the parts of an expression differ: equality of numbers much smaller than others
/// needs more digits to be believed.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// No part that is not zero is smaller than two to this.
    pub low: i64,
    /// No part is larger than two to this.
    pub high: i64,
}

/// Values for variables.
pub struct Point<'p> {
    /// A variable's value, by the number of its name.
    pub variable: &'p dyn Fn(u64) -> RBig,
    /// Values of binders' variables.
    pub bound: Vec<Option<Ball>>,
}

/// Evaluates a term, given everything it consists of in order.
pub fn evaluate(
    terms: &mut Terms<'_>,
    order: &[Tid],
    root: Tid,
    precision: usize,
    point: &mut Point<'_>,
    span: &mut Span,
) -> Known {
    let mut values: Vec<Option<Known>> = vec![None; root.index() + 1];
    terms.budget.charge(root.index() as u64 / 4 + 8)?;
    let words = (precision / 64 + 2) as u64;
    for &id in order {
        if terms.facts(id).open > 0 && !is_ready(terms, id, point) {
            // Under a binder that evaluates it by itself.
            continue;
        }
        let parts = match terms.term(id) {
            Term::Sum(_, list) => list.len(),
            Term::Product(list) => list.len() * 4,
            Term::Apply(..) => 40,
            _ => 1,
        } as u64;
        let products = match terms.term(id) {
            Term::Apply(Function::Factorial, list) => multiplied_out(&values, list),
            _ => 0,
        };
        terms.budget.charge(30 + parts * words * words * 2 + products * words * 8)?;
        let value = match terms.term(id) {
            Term::Bind(binder, list) => {
                let (binder, list) = (*binder, list.to_vec());
                total(terms, binder, &list, &values, precision, point, span)
            }
            _ => node(terms, id, &values, precision, point),
        };
        if let Err(Fault::Spent(reason)) = value {
            return Err(Fault::Spent(reason));
        }
        if let Ok(Value::Finite(value)) = &value
            && !value.contains_zero()
        {
            span.low = span.low.min(value.bottom());
            span.high = span.high.max(value.top());
        }
        values[id.index()] = Some(value);
    }
    values[root.index()].take().unwrap_or(Err(Fault::Vague))
}

/// How many numbers are multiplied for a factorial.
fn multiplied_out(values: &[Option<Known>], list: &[Tid]) -> u64 {
    let argument = list.first().map(|&part| at(values, part));
    let Some(Ok(Value::Finite(value))) = argument else { return 0 };
    let number = value.integer().and_then(|number| u64::try_from(&number).ok());
    number.filter(|&number| number < STIRLING.unsigned_abs()).unwrap_or(0)
}

fn is_ready(terms: &Terms<'_>, id: Tid, point: &Point<'_>) -> bool {
    let open = terms.facts(id).open as usize;
    point.bound.get(open - 1).is_some_and(|value| value.is_some())
}

fn at(values: &[Option<Known>], id: Tid) -> Known {
    values.get(id.index()).cloned().flatten().unwrap_or(Err(Fault::Vague))
}

fn node(
    terms: &Terms<'_>,
    id: Tid,
    values: &[Option<Known>],
    p: usize,
    point: &Point<'_>,
) -> Known {
    match terms.term(id) {
        Term::Rational(value) => real(Ball::rational(value, p)),
        Term::Constant(constant) => match constant {
            Constant::Pi => real(vague(elementary::pi(p))?),
            Constant::E => real(vague(elementary::exp(&Ball::integer(1), p))?),
            Constant::EulerGamma => real(vague(elementary::euler_gamma(p))?),
            Constant::I => finite(Complex { re: Ball::zero(), im: Ball::integer(1) }),
            Constant::Infinity | Constant::NegativeInfinity => Err(Fault::Undefined),
        },
        Term::Symbol(_, number) => real(Ball::rational(&(point.variable)(*number), p)),
        Term::Bound(level) => {
            let value = point.bound.get(*level as usize).cloned().flatten();
            real(vague(value)?)
        }
        Term::Sum(constant, list) => {
            let mut parts = Vec::with_capacity(list.len());
            for (part, factor) in list.iter() {
                parts.push((at(values, *part)?, factor));
            }
            sum(constant, &parts, p)
        }
        Term::Product(list) => {
            let mut product = Value::Finite(Complex::real(Ball::integer(1)));
            let mut fault = None;
            for &(base, exponent) in list.iter() {
                match factor(terms, base, exponent, values, p) {
                    Ok(value) => product = multiply(&product, &value, p)?,
                    Err(other) => fault = Some(fault.unwrap_or(other)),
                }
            }
            fault.map_or(Ok(product), Err)
        }
        Term::Apply(function, list) => apply(terms, *function, list, values, p),
        Term::Call(_, number, list) => {
            // An unknown function is a variable of its own for each list of arguments.
            let number = list.iter().fold(*number, |hash, part| {
                hash.rotate_left(17) ^ (part.index() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            });
            real(Ball::rational(&(point.variable)(number), p))
        }
        Term::Undefined => Err(Fault::Undefined),
        Term::Bind(..) | Term::Matrix { .. } | Term::Foreign => Err(Fault::Vague),
    }
}

fn sum(constant: &RBig, parts: &[(Value, &RBig)], p: usize) -> Known {
    let mut total = Complex::real(Ball::rational(constant, p));
    let mut giants: Option<(bool, i64)> = None;
    for (value, factor) in parts {
        let flip = negative(factor);
        match value {
            Value::Finite(value) => total = total.add(&value.times(factor, p), p),
            Value::Tiny { negative, bits } => {
                let bits = bits - number::bits(factor) as i64;
                if parts.len() == 1 && constant.is_zero() {
                    return tiny(*negative != flip, bits);
                }
                let dust = Ball::around_zero(-bits.min(MAX_EXPONENT / 4));
                total = total.add(&Complex::real(dust), p);
            }
            Value::Huge { negative, bits } => {
                let (down, bits) = (*negative != flip, bits - number::bits(factor) as i64);
                giants = match giants {
                    None => Some((down, bits)),
                    Some((before, least)) if before == down => Some((down, least.max(bits))),
                    Some(_) => return Err(Fault::Vague),
                };
            }
        }
    }
    match giants {
        None => finite(total),
        Some((down, bits)) if total.is_real() && (total.is_zero() || total.top() < bits - 1) => {
            huge(down, bits - 1)
        }
        Some(_) => Err(Fault::Vague),
    }
}

fn multiply(a: &Value, b: &Value, p: usize) -> Known {
    use Value::{Finite, Huge, Tiny};
    match (a, b) {
        (Finite(a), Finite(b)) => finite(a.mul(b, p)),
        (Finite(a), Huge { negative, bits }) | (Huge { negative, bits }, Finite(a)) => {
            if !a.is_real() {
                return Err(Fault::Vague);
            }
            match a.re.sign() {
                Some(Ordering::Equal) => Ok(Finite(a.clone())),
                Some(sign) => huge(*negative != (sign == Ordering::Less), bits + a.bottom()),
                None => Err(Fault::Vague),
            }
        }
        (Finite(a), Tiny { negative, bits }) | (Tiny { negative, bits }, Finite(a)) => {
            if !a.is_real() {
                return Err(Fault::Vague);
            }
            match a.re.sign() {
                Some(Ordering::Equal) => Ok(Finite(a.clone())),
                Some(sign) => tiny(*negative != (sign == Ordering::Less), bits - a.top()),
                None => Err(Fault::Vague),
            }
        }
        (Huge { negative: a, bits: m }, Huge { negative: b, bits: n }) => huge(a != b, m + n),
        (Tiny { negative: a, bits: m }, Tiny { negative: b, bits: n }) => tiny(a != b, m + n),
        _ => Err(Fault::Vague),
    }
}

/// One factor of a product.
fn factor(
    terms: &Terms<'_>,
    base: Tid,
    exponent: Tid,
    values: &[Option<Known>],
    p: usize,
) -> Known {
    if let Term::Rational(exponent) = terms.term(exponent) {
        let value = at(values, base)?;
        return match value {
            Value::Finite(value) => rational_power(&value, exponent, p),
            Value::Huge { negative: down, bits } | Value::Tiny { negative: down, bits } => {
                if down && !exponent.is_int() {
                    return Err(Fault::Vague);
                }
                let odd = (exponent.numerator() & 1u8) == 1u8;
                let bits = IBig::from(bits) * number::abs(exponent).numerator()
                    / IBig::from(exponent.denominator().clone());
                let bits = i64::try_from(&bits).unwrap_or(MOST_BITS);
                let grows = matches!(value, Value::Huge { .. }) != negative(exponent);
                if grows { huge(down && odd, bits) } else { tiny(down && odd, bits) }
            }
        };
    }
    let exponent = at(values, exponent)?;
    if terms.is_constant(base, Constant::E) {
        return exponential(&exponent, p);
    }
    let base = at(values, base)?;
    let log = match &base {
        Value::Finite(base) if base.is_zero() => {
            return match &exponent {
                Value::Finite(e) if e.re.sign() == Some(Ordering::Greater) => real(Ball::zero()),
                Value::Finite(e) if e.re.sign().is_some() => Err(Fault::Undefined),
                Value::Huge { negative: false, .. } => real(Ball::zero()),
                _ => Err(Fault::Vague),
            };
        }
        Value::Finite(base) => vague(base.ln(p + 16))?,
        Value::Huge { negative: false, .. } => {
            return match exponent {
                Value::Huge { negative: false, .. } => huge(false, MOST_BITS),
                Value::Huge { negative: true, .. } => tiny(false, MOST_BITS),
                _ => Err(Fault::Vague),
            };
        }
        _ => return Err(Fault::Vague),
    };
    let power = match exponent {
        Value::Finite(exponent) => Value::Finite(exponent.mul(&log, p + 16)),
        other => multiply(&other, &Value::Finite(log), p)?,
    };
    exponential(&power, p)
}

fn exponential(x: &Value, p: usize) -> Known {
    match x {
        Value::Finite(x) => {
            if x.is_real() && x.re.bottom() > 34 {
                let bits = 1i64 << x.re.bottom().min(60);
                return match x.re.sign() {
                    Some(Ordering::Less) => tiny(false, bits),
                    _ => huge(false, bits),
                };
            }
            finite(vague(x.exp(p))?)
        }
        Value::Huge { negative: false, .. } => huge(false, MOST_BITS),
        Value::Huge { negative: true, .. } => tiny(false, MOST_BITS),
        Value::Tiny { bits, .. } => {
            let dust = (MAX_EXPONENT / 4).min(bits - 1);
            real(Ball::integer(1).widened(1, -dust, p))
        }
    }
}

fn rational_power(base: &Complex, exponent: &RBig, p: usize) -> Known {
    if base.is_zero() {
        return if negative(exponent) { Err(Fault::Undefined) } else { real(Ball::zero()) };
    }
    if let Some(times) = number::small(exponent)
        && times.abs() <= MULTIPLIED_OUT
    {
        let power = base.power(times.unsigned_abs(), p);
        return finite(if times < 0 { vague(power.inverse(p))? } else { power });
    }
    if *exponent.denominator() == dashu_int::UBig::from(2u8)
        && let Ok(times) = i64::try_from(exponent.numerator())
        && times.abs() <= MULTIPLIED_OUT
    {
        let root = vague(base.sqrt(p))?;
        let power = root.power(times.unsigned_abs(), p);
        return finite(if times < 0 { vague(power.inverse(p))? } else { power });
    }
    let guard = p + 8 + exponent.numerator().bit_len().min(4 * p);
    if base.is_real() && exponent.is_int() {
        let odd = (exponent.numerator() & 1u8) == 1u8;
        let sign = base.re.sign().ok_or(Fault::Vague)?;
        let log = vague(elementary::ln(&base.re.abs(), guard))?;
        let log = Complex::real(log).times(exponent, guard);
        let size = exponential(&Value::Finite(log), p)?;
        return if odd && sign == Ordering::Less {
            multiply(&size, &Value::Finite(Complex::real(Ball::integer(-1))), p)
        } else {
            Ok(size)
        };
    }
    let log = vague(base.ln(guard))?;
    exponential(&Value::Finite(log.times(exponent, guard)), p)
}

fn apply(
    terms: &Terms<'_>,
    function: Function,
    list: &[Tid],
    values: &[Option<Known>],
    p: usize,
) -> Known {
    if function == Function::Det {
        return match list.first().map(|&matrix| terms.term(matrix)) {
            Some(Term::Matrix { rows, entries, .. }) => {
                determinant(entries, *rows as usize, values, p)
            }
            _ => Err(Fault::Vague),
        };
    }
    let mut arguments = Vec::with_capacity(list.len());
    for &part in list {
        arguments.push(at(values, part)?);
    }
    if let [value @ (Value::Huge { .. } | Value::Tiny { .. })] = &arguments[..] {
        return of_extreme(function, value, p);
    }
    let mut plain = Vec::with_capacity(arguments.len());
    for argument in &arguments {
        match argument {
            Value::Finite(value) => plain.push(value),
            _ => return Err(Fault::Vague),
        }
    }
    let Some(&x) = plain.first() else { return Err(Fault::Undefined) };
    match function {
        Function::Sin => finite(vague(x.sin_cos(p))?.0),
        Function::Cos => finite(vague(x.sin_cos(p))?.1),
        Function::Asin => finite(vague(x.asin(p))?),
        Function::Atan => finite(vague(x.atan(p))?),
        Function::Log => {
            if x.is_zero() {
                return Err(Fault::Undefined);
            }
            finite(vague(x.ln(p))?)
        }
        Function::Abs => real(vague(x.abs(p))?),
        Function::Re => real(x.re.clone()),
        Function::Im => real(x.im.clone()),
        Function::Conjugate => finite(Complex { re: x.re.clone(), im: x.im.neg() }),
        Function::Arg => {
            if x.is_zero() {
                return Err(Fault::Undefined);
            }
            real(vague(x.arg(p))?)
        }
        Function::Floor if x.is_real() => real(Ball::integer(vague(x.re.floor())?)),
        Function::Factorial => {
            if x.is_real() && x.re.sign() == Some(Ordering::Greater) && x.re.bottom() > 34 {
                // x! ≥ 2^x
                return huge(false, 1 << x.re.bottom().min(60));
            }
            let value = vague(x.integer())?;
            if value < IBig::ZERO {
                return Err(Fault::Undefined);
            }
            factorial(i64::try_from(&value).unwrap_or(i64::MAX), p)
        }
        Function::Mod => {
            let Some(&m) = plain.get(1) else { return Err(Fault::Undefined) };
            if !x.is_real() || !m.is_real() {
                return Err(Fault::Vague);
            }
            if m.is_zero() {
                return Err(Fault::Undefined);
            }
            let times = vague(vague(x.re.div(&m.re, p))?.floor())?;
            real(x.re.sub(&m.re.mul(&Ball::integer(times), p), p))
        }
        Function::Max | Function::Min => {
            let mut best = x.re.clone();
            for other in &plain {
                if !other.is_real() {
                    return Err(Fault::Vague);
                }
                best = match other.re.sub(&best, p).sign() {
                    Some(Ordering::Equal) => best,
                    Some(order) if (order == Ordering::Greater) == (function == Function::Max) => {
                        other.re.clone()
                    }
                    Some(_) => best,
                    None => best.hull(&other.re, p),
                };
            }
            real(best)
        }
        _ => Err(Fault::Vague),
    }
}

fn of_extreme(function: Function, value: &Value, p: usize) -> Known {
    match (function, value) {
        (Function::Sin | Function::Cos, Value::Huge { .. }) => real(Ball::around_zero(0)),
        (Function::Abs, Value::Huge { bits, .. }) => huge(false, *bits),
        (Function::Abs, Value::Tiny { bits, .. }) => tiny(false, *bits),
        (Function::Floor | Function::Re, Value::Huge { .. }) => Ok(value.clone()),
        (Function::Factorial, Value::Huge { negative: false, bits }) => huge(false, *bits),
        (Function::Atan, Value::Huge { negative, bits }) => {
            let right = vague(elementary::pi(p))?.scaled(-1);
            let right = if *negative { right.neg() } else { right };
            real(right.widened(1, -bits.min(&(MAX_EXPONENT / 4)), p))
        }
        _ => Err(Fault::Vague),
    }
}

/// n! for n that is not negative.
fn factorial(n: i64, p: usize) -> Known {
    if n < STIRLING {
        let mut product = Ball::integer(1);
        for k in 2..=n {
            product = product.mul(&Ball::integer(k), p);
        }
        return real(product);
    }
    if n > 1 << 34 {
        // n! ≥ 2^n
        return huge(false, n.min(MOST_BITS));
    }
    // ln n! = n ln n − n + ln(2πn)/2 + Σ B / (2k (2k−1) n^(2k−1)), off by less than the first term
    // left out.
    let p = p + 48;
    let value = Ball::integer(n);
    let log = vague(elementary::ln(&value, p))?;
    let mut total = log.mul(&value, p).sub(&value, p);
    let around = vague(elementary::pi(p))?.mul(&value, p).scaled(1);
    total = total.add(&vague(elementary::ln(&around, p))?.scaled(-1), p);
    let inverse = vague(Ball::integer(1).div(&value, p))?;
    let square = inverse.mul(&inverse, p);
    let mut power = inverse;
    for (above, below) in
        [(1, 12), (-1, 360), (1, 1260), (-1, 1680), (1, 1188), (-691, 360_360), (1, 156)]
    {
        let factor = Ball::rational(&fraction(above, below), p);
        total = total.add(&power.mul(&factor, p), p);
        power = power.mul(&square, p);
    }
    let total = total.widened(1, power.top() + 5, p);
    exponential(&Value::Finite(Complex::real(total)), p)
}

fn determinant(entries: &[Tid], size: usize, values: &[Option<Known>], p: usize) -> Known {
    let mut m = Vec::with_capacity(entries.len());
    for &entry in entries {
        match at(values, entry)? {
            Value::Finite(value) => m.push(value),
            _ => return Err(Fault::Vague),
        }
    }
    let mut product = Complex::real(Ball::integer(1));
    for column in 0..size {
        let pivot = (column..size).max_by_key(|&row| m[row * size + column].bottom());
        let Some(pivot) = pivot else { break };
        if m[pivot * size + column].contains_zero() {
            let all_zero = (column..size).all(|row| m[row * size + column].is_zero());
            return if all_zero { real(Ball::zero()) } else { Err(Fault::Vague) };
        }
        if pivot != column {
            for at in 0..size {
                m.swap(pivot * size + at, column * size + at);
            }
            product = product.neg();
        }
        let lead = m[column * size + column].clone();
        let inverse = vague(lead.inverse(p))?;
        product = product.mul(&lead, p);
        for row in column + 1..size {
            let factor = m[row * size + column].mul(&inverse, p).neg();
            if factor.is_zero() {
                continue;
            }
            for at in column..size {
                let change = factor.mul(&m[column * size + at], p);
                m[row * size + at] = m[row * size + at].add(&change, p);
            }
        }
    }
    finite(product)
}

/// A finite sum or product, term by term.
fn total(
    terms: &mut Terms<'_>,
    binder: Binder,
    list: &[Tid],
    values: &[Option<Known>],
    p: usize,
    point: &mut Point<'_>,
    span: &mut Span,
) -> Known {
    let (Binder::Sum | Binder::Product, &[body, variable, low, high]) = (binder, list) else {
        return Err(Fault::Vague);
    };
    let Term::Bound(level) = terms.term(variable) else { return Err(Fault::Vague) };
    let level = *level as usize;
    let bound = |id| match at(values, id)? {
        Value::Finite(value) => vague(value.integer()),
        _ => Err(Fault::Vague),
    };
    let (low, high): (IBig, IBig) = (bound(low)?, bound(high)?);
    let count = &high - &low + 1u8;
    if count > IBig::from(MAX_TERMS) {
        return Err(Fault::Vague);
    }
    let count = u64::try_from(&count).unwrap_or(0);
    let order = terms.reachable(&[body])?;
    if point.bound.len() <= level {
        point.bound.resize(level + 1, None);
    }
    let before = point.bound[level].take();
    let start = if binder == Binder::Sum { 0 } else { 1 };
    let mut result = Value::Finite(Complex::real(Ball::integer(start)));
    let one = integer(1);
    for step in 0..count {
        point.bound[level] = Some(Ball::integer(&low + step));
        let value = evaluate(terms, &order, body, p, point, span);
        let next = value.and_then(|value| match binder {
            Binder::Sum => sum(&integer(0), &[(result.clone(), &one), (value, &one)], p),
            _ => multiply(&result, &value, p),
        });
        match next {
            Ok(value) => result = value,
            Err(fault) => {
                point.bound[level] = before;
                return Err(fault);
            }
        }
    }
    point.bound[level] = before;
    Ok(result)
}

/// Precisions tried for the value of a constant.
const PRECISIONS: [usize; 2] = [128, 512];

impl Terms<'_> {
    /// A constant's value on complex balls.
    pub fn value_of(&mut self, id: Tid, precision: usize) -> Known {
        if !self.facts(id).constant {
            return Err(Fault::Vague);
        }
        let order = self.reachable(&[id])?;
        let mut point = Point { variable: &|_| integer(0), bound: Vec::new() };
        let mut span = Span { low: 0, high: 0 };
        evaluate(self, &order, id, precision, &mut point, &mut span)
    }

    /// The sign of a real constant, as far as balls tell.
    pub fn sign_of(&mut self, id: Tid) -> Step<Option<Ordering>> {
        if let Some(value) = self.as_rational(id) {
            return Ok(Some(value.cmp(&integer(0))));
        }
        for precision in PRECISIONS {
            match self.value_of(id, precision) {
                Ok(Value::Finite(value)) if value.is_real() => {
                    if let Some(sign) = value.re.sign() {
                        return Ok(Some(sign));
                    }
                }
                Ok(Value::Huge { negative, .. } | Value::Tiny { negative, .. }) => {
                    return Ok(Some(if negative { Ordering::Less } else { Ordering::Greater }));
                }
                Err(Fault::Spent(reason)) => return Err(reason),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The floor of a real constant.
    pub fn floor_of(&mut self, id: Tid) -> Step<Option<IBig>> {
        for precision in PRECISIONS {
            match self.value_of(id, precision) {
                Ok(Value::Finite(value)) if value.is_real() => {
                    if let Some(floor) = value.re.floor() {
                        return Ok(Some(floor));
                    }
                }
                Err(Fault::Spent(reason)) => return Err(reason),
                _ => {}
            }
        }
        Ok(None)
    }

    /// How two real constants compare, infinities included.
    pub fn compare(&mut self, a: Tid, b: Tid) -> Step<Option<Ordering>> {
        if a == b {
            return Ok(Some(Ordering::Equal));
        }
        for (id, order) in [(a, Ordering::Greater), (b, Ordering::Less)] {
            if self.is_constant(id, Constant::Infinity) {
                return Ok(Some(order));
            }
            if self.is_constant(id, Constant::NegativeInfinity) {
                return Ok(Some(order.reverse()));
            }
        }
        let difference = self.minus(a, b)?;
        self.sign_of(difference)
    }
}
