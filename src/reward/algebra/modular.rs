//! Identities decided in finite fields (Schwartz–Zippel): variables get pseudo-random values, and
//! whatever is no rational function of them becomes a variable of its own.
//!
//! A difference that vanishes is zero but for odds of about degree / 2^61, once for each of two
//! primes. One that does not vanish proves a difference only where no such extra variables occur,
//! for there may be relations among them.

use dashu_base::BitTest;
use dashu_int::IBig;
use dashu_ratio::RBig;
use rustc_hash::FxHashMap;

use crate::reward::budget::MAX_TERMS;
use crate::reward::expr::{Binder, Constant, Function};

use super::number;
use super::term::{Step, Term, Terms, Tid};

/// A prime with a primitive root; one less than the prime is a multiple of 720,720, so that the
/// imaginary unit and other roots of unity exist.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    prime: u64,
    generator: u64,
    /// −1 / prime modulo 2^64
    inverse: u64,
    /// 2^128 modulo prime
    square: u64,
}

const fn field(prime: u64, generator: u64) -> Field {
    let mut inverse = 1u64;
    let mut step = 0;
    while step < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(prime.wrapping_mul(inverse)));
        step += 1;
    }
    let one = ((1u128 << 64) % prime as u128) as u64;
    let square = ((one as u128 * one as u128) % prime as u128) as u64;
    Field { prime, generator, inverse: inverse.wrapping_neg(), square }
}

/// The two fields used.
pub const FIELDS: [Field; 2] =
    [field(2_305_843_009_213_423_681, 19), field(2_305_834_111_433_492_641, 17)];

/// Factorials are multiplied out up to here.
const MAX_FACTORIAL: u64 = 2_000_000;

impl Field {
    fn product(&self, a: u64, b: u64) -> u64 {
        let wide = a as u128 * b as u128;
        let low = (wide as u64).wrapping_mul(self.inverse);
        let sum = (wide + low as u128 * self.prime as u128) >> 64;
        self.fold(sum as u64)
    }

    fn fold(&self, value: u64) -> u64 {
        if value >= self.prime { value - self.prime } else { value }
    }

    /// Into Montgomery's form.
    fn enter(&self, value: u64) -> u64 {
        self.product(value % self.prime, self.square)
    }

    fn one(&self) -> u64 {
        self.enter(1)
    }

    fn plus(&self, a: u64, b: u64) -> u64 {
        self.fold(a + b)
    }

    fn minus(&self, a: u64, b: u64) -> u64 {
        self.fold(a + self.prime - b)
    }

    fn power(&self, base: u64, mut times: u64) -> u64 {
        let (mut result, mut base) = (self.one(), base);
        while times > 0 {
            if times & 1 == 1 {
                result = self.product(result, base);
            }
            base = self.product(base, base);
            times >>= 1;
        }
        result
    }

    fn invert(&self, value: u64) -> Option<u64> {
        (value != 0).then(|| self.power(value, self.prime - 2))
    }

    fn integer(&self, value: &IBig) -> u64 {
        let magnitude = match i64::try_from(value) {
            Ok(word) => word.unsigned_abs() % self.prime,
            Err(_) => big_residue(value, self.prime),
        };
        let residue = self.enter(magnitude);
        if *value < IBig::ZERO { self.minus(0, residue) } else { residue }
    }

    fn rational(&self, value: &RBig) -> Option<u64> {
        let above = self.integer(value.numerator());
        if value.is_int() {
            return Some(above);
        }
        let below = self.integer(value.denominator().as_ibig());
        Some(self.product(above, self.invert(below)?))
    }

    /// base^exponent for an exponent of any length. None for 0 to a negative power.
    fn long_power(&self, base: u64, exponent: &IBig) -> Option<u64> {
        if let Ok(word) = i64::try_from(exponent) {
            let power = self.power(base, word.unsigned_abs());
            return if word < 0 { self.invert(power) } else { Some(power) };
        }
        let down = *exponent < IBig::ZERO;
        if base == 0 {
            return if down { None } else { Some(0) };
        }
        let times = big_residue(exponent, self.prime - 1);
        let power = self.power(base, times);
        if down { self.invert(power) } else { Some(power) }
    }
}

/// |value| modulo a word.
fn big_residue(value: &IBig, modulus: u64) -> u64 {
    use dashu_base::UnsignedAbs;
    value.unsigned_abs() % modulus
}

/// A scrambled number (splitmix64).
fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn mix(a: u64, b: u64) -> u64 {
    scramble(a.rotate_left(23) ^ scramble(b))
}

/// What became of a difference at one point of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residue {
    /// Zero.
    Zero,
    /// Not zero.
    Other,
    /// A denominator vanished.
    Pole,
}

/// Prepared evaluation of one term.
pub struct Modular {
    order: Vec<Tid>,
    root: Tid,
    /// Least common denominators of exponents, for each base and each part of an exponent.
    denominators: FxHashMap<(Tid, Tid), u64>,
    /// Whether extra variables stand for what is no rational function.
    pub has_atoms: bool,
    /// π occurs, e occurs.
    transcendental: [bool; 2],
    /// Whether an exponent is so long that it may fool both fields.
    pub long_exponents: bool,
    /// Factors multiplied for factorials.
    factorial_work: u64,
}

/// Largest common denominator followed.
const MAX_DENOMINATOR: u64 = 5_040;

fn lcm(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x).saturating_mul(b)
}

impl Modular {
    /// Looks at all parts of a term once.
    pub fn prepare(terms: &mut Terms<'_>, root: Tid) -> Step<Self> {
        let order = terms.reachable(&[root])?;
        let mut this = Self {
            order,
            root,
            denominators: FxHashMap::default(),
            has_atoms: false,
            transcendental: [false; 2],
            long_exponents: false,
            factorial_work: 0,
        };
        for &id in &this.order {
            match terms.term(id) {
                Term::Product(list) => {
                    for &(base, exponent) in list.iter() {
                        if let Some(value) = terms.as_rational(exponent)
                            && value.is_int()
                        {
                            this.long_exponents |= value.numerator().bit_len() > 40;
                            continue;
                        }
                        if !matches!(terms.term(base), Term::Symbol(..))
                            || terms.as_rational(exponent).is_none()
                        {
                            this.has_atoms = true;
                        }
                        for (part, factor) in exponent_parts(terms, exponent) {
                            let denominator =
                                u64::try_from(factor.denominator()).unwrap_or(u64::MAX);
                            let held = this.denominators.entry((base, part)).or_insert(1);
                            *held = lcm(*held, denominator);
                        }
                    }
                }
                Term::Constant(constant) => match constant {
                    Constant::Pi => this.transcendental[0] = true,
                    Constant::E => this.transcendental[1] = true,
                    Constant::I => {}
                    _ => this.has_atoms = true,
                },
                Term::Apply(Function::Factorial, list) => {
                    match terms.as_small(list[0]).and_then(|n| u64::try_from(n).ok()) {
                        Some(n) if n <= MAX_FACTORIAL => this.factorial_work += 2 * n,
                        _ => this.has_atoms = true,
                    }
                }
                Term::Apply(Function::Det, _) => {}
                Term::Apply(..) | Term::Bind(..) => this.has_atoms = true,
                _ => {}
            }
        }
        if this.transcendental == [true; 2] {
            this.has_atoms = true;
        }
        Ok(this)
    }

    /// Evaluates at a pseudo-random point.
    pub fn evaluate(&self, terms: &mut Terms<'_>, field: &Field, point: u64) -> Step<Residue> {
        let mut run = Run { this: self, field, seed: mix(field.prime, point), bound: Vec::new() };
        Ok(match run.residue(terms, &self.order, self.root)? {
            None => Residue::Pole,
            Some(0) => Residue::Zero,
            Some(_) => Residue::Other,
        })
    }
}

fn exponent_parts(terms: &Terms<'_>, exponent: Tid) -> Vec<(Tid, RBig)> {
    match terms.term(exponent) {
        Term::Rational(value) => vec![(Terms::ONE, value.clone())],
        Term::Sum(constant, list) => {
            let mut parts = list.to_vec();
            if !constant.is_zero() {
                parts.push((Terms::ONE, constant.clone()));
            }
            parts
        }
        _ => vec![(exponent, number::integer(1))],
    }
}

struct Run<'m> {
    this: &'m Modular,
    field: &'m Field,
    seed: u64,
    bound: Vec<Option<u64>>,
}

impl Run<'_> {
    fn random(&self, key: u64) -> u64 {
        self.field.enter(mix(self.seed, key) >> 3)
    }

    fn residue(&mut self, terms: &mut Terms<'_>, order: &[Tid], root: Tid) -> Step<Option<u64>> {
        terms.budget.charge(root.index() as u64 / 4 + 4 * order.len() as u64)?;
        let mut values: Vec<Option<u64>> = vec![None; root.index() + 1];
        for &id in order {
            let open = terms.facts(id).open as usize;
            if open > 0 && self.bound.get(open - 1).is_none_or(|value| value.is_none()) {
                continue;
            }
            values[id.index()] = self.node(terms, id, &values)?;
        }
        Ok(values[root.index()])
    }

    fn node(
        &mut self,
        terms: &mut Terms<'_>,
        id: Tid,
        values: &[Option<u64>],
    ) -> Step<Option<u64>> {
        let field = self.field;
        if let Term::Product(list) = terms.term(id) {
            let count = list.len() as u64;
            terms.budget.charge(200 * count)?;
        }
        let at = |id: Tid| values.get(id.index()).copied().flatten();
        Ok(match terms.term(id) {
            Term::Rational(value) => {
                let bits = number::bits(value) as u64;
                let residue = field.rational(value);
                terms.budget.charge(if bits < 128 { 2 } else { bits / 4 })?;
                residue
            }
            Term::Constant(Constant::I) => {
                Some(field.power(field.enter(field.generator), (field.prime - 1) / 4))
            }
            Term::Constant(constant) => Some(self.random(0x1000 + *constant as u64)),
            Term::Symbol(_, number) => {
                let root = self.random(*number);
                // A power of what its roots are taken to be.
                match self.this.denominators.get(&(id, Terms::ONE)) {
                    Some(&times) if times <= MAX_DENOMINATOR => Some(field.power(root, times)),
                    _ => Some(root),
                }
            }
            Term::Bound(level) => self.bound.get(*level as usize).copied().flatten(),
            Term::Sum(constant, list) => {
                let count = list.len() as u64;
                let mut total = field.rational(constant);
                for (part, factor) in list.iter() {
                    let product = match (at(*part), factor.is_one()) {
                        (Some(part), true) => Some(part),
                        (Some(part), false) => {
                            field.rational(factor).map(|factor| field.product(part, factor))
                        }
                        (None, _) => None,
                    };
                    total = match (total, product) {
                        (Some(a), Some(b)) => Some(field.plus(a, b)),
                        _ => None,
                    };
                }
                terms.budget.charge(20 * count)?;
                total
            }
            Term::Product(list) => {
                let mut total = Some(field.one());
                for &(base, exponent) in list.iter() {
                    let value = self.power(terms, base, exponent, &at);
                    total = match (total, value) {
                        (Some(a), Some(b)) => Some(field.product(a, b)),
                        _ => None,
                    };
                }
                total
            }
            Term::Apply(Function::Factorial, list)
                if terms
                    .as_small(list[0])
                    .is_some_and(|n| u64::try_from(n).is_ok_and(|n| n <= MAX_FACTORIAL)) =>
            {
                let n = terms.as_small(list[0]).unwrap_or(0).unsigned_abs();
                terms.budget.charge(2 * n)?;
                let (mut product, mut factor) = (field.one(), 0);
                for _ in 0..n {
                    factor = field.plus(factor, field.one());
                    product = field.product(product, factor);
                }
                Some(product)
            }
            Term::Apply(Function::Det, list) => {
                let (size, entries) = match terms.term(list[0]) {
                    Term::Matrix { rows, entries, .. } => (*rows as usize, entries.clone()),
                    _ => return Ok(None),
                };
                let mut residues = Vec::with_capacity(entries.len());
                for &entry in entries.iter() {
                    match at(entry) {
                        Some(value) => residues.push(value),
                        None => return Ok(None),
                    }
                }
                terms.budget.charge((size * size * size) as u64 * 2)?;
                self.determinant(residues, size)
            }
            Term::Apply(function, list) => {
                Some(self.opaque(0x2000 + *function as u64, list, id, &at))
            }
            Term::Call(_, number, list) => Some(self.opaque(*number, list, id, &at)),
            Term::Bind(binder @ (Binder::Sum | Binder::Product), list) if list.len() == 4 => {
                let (binder, list) = (*binder, list.to_vec());
                match self.total(terms, binder, &list)? {
                    Some(value) => value,
                    None => Some(self.random(mix(0x3000, id.index() as u64))),
                }
            }
            Term::Bind(..) => Some(self.random(mix(0x3000, id.index() as u64))),
            Term::Matrix { .. } => Some(0),
            Term::Undefined | Term::Foreign => None,
        })
    }

    /// A value for what is not evaluated: the same for arguments with the same residues, since
    /// those are equal.
    fn opaque(&self, kind: u64, list: &[Tid], id: Tid, at: &impl Fn(Tid) -> Option<u64>) -> u64 {
        let mut key = kind;
        for &part in list {
            match at(part) {
                Some(value) => key = mix(key, value),
                None => return self.random(mix(0x4000, id.index() as u64)),
            }
        }
        self.random(key)
    }

    fn power(
        &self,
        terms: &Terms<'_>,
        base: Tid,
        exponent: Tid,
        at: &impl Fn(Tid) -> Option<u64>,
    ) -> Option<u64> {
        let field = self.field;
        if let Some(value) = terms.as_rational(exponent)
            && value.is_int()
        {
            return field.long_power(at(base)?, value.numerator());
        }
        let mut total = field.one();
        for (part, factor) in exponent_parts(terms, exponent) {
            let denominator = self.this.denominators.get(&(base, part)).copied().unwrap_or(1);
            let known = denominator <= MAX_DENOMINATOR;
            let (unit, times) = if known {
                let times = factor * number::integer(denominator);
                (self.unit(terms, base, part, denominator, at)?, times.numerator().clone())
            } else {
                // A denominator too large to follow: the power is a variable by itself.
                let key = mix(base.index() as u64, exponent.index() as u64);
                (self.random(mix(0x5000, key)), IBig::ONE)
            };
            total = field.product(total, field.long_power(unit, &times)?);
        }
        Some(total)
    }

    /// What stands for base^(part / denominator).
    fn unit(
        &self,
        terms: &Terms<'_>,
        base: Tid,
        part: Tid,
        denominator: u64,
        at: &impl Fn(Tid) -> Option<u64>,
    ) -> Option<u64> {
        let field = self.field;
        if part == Terms::ONE {
            if let Term::Symbol(_, number) = terms.term(base) {
                return Some(self.random(*number));
            }
            let turns = (field.prime - 1).is_multiple_of(2 * denominator);
            if base == Terms::MINUS_ONE && turns {
                let times = (field.prime - 1) / (2 * denominator);
                return Some(field.power(field.enter(field.generator), times));
            }
        }
        let key = mix(mix(at(base)?, at(part)?), denominator);
        Some(self.random(mix(0x6000, key)))
    }

    fn determinant(&self, mut m: Vec<u64>, size: usize) -> Option<u64> {
        let field = self.field;
        let mut product = field.one();
        for column in 0..size {
            let Some(pivot) = (column..size).find(|&row| m[row * size + column] != 0) else {
                return Some(0);
            };
            if pivot != column {
                for at in 0..size {
                    m.swap(pivot * size + at, column * size + at);
                }
                product = field.minus(0, product);
            }
            let lead = m[column * size + column];
            product = field.product(product, lead);
            let inverse = field.invert(lead)?;
            for row in column + 1..size {
                let factor = field.product(m[row * size + column], inverse);
                if factor == 0 {
                    continue;
                }
                for at in column..size {
                    let change = field.product(factor, m[column * size + at]);
                    m[row * size + at] = field.minus(m[row * size + at], change);
                }
            }
        }
        Some(product)
    }

    /// A finite sum or product, term by term. The outer option says whether it could be done.
    fn total(
        &mut self,
        terms: &mut Terms<'_>,
        binder: Binder,
        list: &[Tid],
    ) -> Step<Option<Option<u64>>> {
        let &[body, variable, low, high] = list else { return Ok(None) };
        let Term::Bound(level) = terms.term(variable) else { return Ok(None) };
        let level = *level as usize;
        let (Some(low), Some(high)) = (terms.as_small(low), terms.as_small(high)) else {
            return Ok(None);
        };
        let count = high.saturating_sub(low).saturating_add(1).max(0).unsigned_abs();
        if count > MAX_TERMS {
            return Ok(None);
        }
        let order = terms.reachable(&[body])?;
        if self.bound.len() <= level {
            self.bound.resize(level + 1, None);
        }
        let before = self.bound[level];
        let field = self.field;
        let sum = binder == Binder::Sum;
        let mut total = if sum { 0 } else { field.one() };
        for step in 0..count {
            let at = IBig::from(low) + step;
            self.bound[level] = Some(field.integer(&at));
            let Some(value) = self.residue(terms, &order, body)? else {
                self.bound[level] = before;
                return Ok(Some(None));
            };
            total = if sum { field.plus(total, value) } else { field.product(total, value) };
        }
        self.bound[level] = before;
        Ok(Some(Some(total)))
    }
}
