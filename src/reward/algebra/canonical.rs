//! Sums, products and powers in canonical form: numbers folded, like terms and like bases gathered.
//! Every rule holds for principal branches and real variables, but for isolated points (x/x is 1).

use dashu_base::{Sign, UnsignedAbs};
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use crate::reward::expr::{Constant, Function};

use super::number::{self, fraction, integer, negative};
use super::term::{Step, Term, Terms, Tid};

/// Rounds of regathering after bases met; each makes the product simpler.
const MAX_ROUNDS: usize = 8;
/// Powers that meet in a product are written out up to this length, in bits.
const LONG_POWER: i64 = 1024;

impl Terms<'_> {
    /// A number.
    pub fn rational(&mut self, value: RBig) -> Tid {
        self.insert(Term::Rational(value))
    }

    /// A small integer.
    pub fn int(&mut self, value: i64) -> Tid {
        self.rational(integer(value))
    }

    /// π, e, i, γ, ±∞.
    pub fn constant(&mut self, constant: Constant) -> Tid {
        self.insert(Term::Constant(constant))
    }

    /// Something without a value.
    pub fn undefined(&mut self) -> Tid {
        self.insert(Term::Undefined)
    }

    /// a + b
    pub fn plus(&mut self, a: Tid, b: Tid) -> Step<Tid> {
        self.sum(&[(a, integer(1)), (b, integer(1))])
    }

    /// a − b
    pub fn minus(&mut self, a: Tid, b: Tid) -> Step<Tid> {
        self.sum(&[(a, integer(1)), (b, integer(-1))])
    }

    /// A multiple.
    pub fn scale(&mut self, id: Tid, factor: RBig) -> Step<Tid> {
        self.sum(&[(id, factor)])
    }

    /// 1 / a
    pub fn invert(&mut self, id: Tid) -> Step<Tid> {
        self.pow(id, Self::MINUS_ONE)
    }

    /// a / b
    pub fn over(&mut self, a: Tid, b: Tid) -> Step<Tid> {
        let inverse = self.invert(b)?;
        self.product(&[a, inverse])
    }

    /// √a
    pub fn root(&mut self, id: Tid) -> Step<Tid> {
        let half = self.rational(fraction(1, 2));
        self.pow(id, half)
    }

    /// A sum of multiples.
    pub fn sum(&mut self, parts: &[(Tid, RBig)]) -> Step<Tid> {
        let mut constant = integer(0);
        let mut list: Vec<(Tid, RBig)> = Vec::with_capacity(parts.len());
        let mut infinite = Vec::new();
        self.budget.charge(20 + 8 * parts.len() as u64)?;
        for (part, factor) in parts {
            if self.facts(*part).infinite || self.facts(*part).broken {
                infinite.push((*part, factor));
                continue;
            }
            match &self.terms_at(*part) {
                Term::Rational(value) => {
                    let value = number::mul(value, factor, self.budget)?;
                    constant = number::add(&constant, &value, self.budget)?;
                }
                Term::Sum(value, inner) => {
                    self.budget.charge(8 * inner.len() as u64)?;
                    let value = number::mul(value, factor, self.budget)?;
                    constant = number::add(&constant, &value, self.budget)?;
                    for (term, times) in inner.iter() {
                        list.push((*term, number::mul(times, factor, self.budget)?));
                    }
                }
                _ => list.push((*part, factor.clone())),
            }
        }
        if !infinite.is_empty() {
            return self.infinite_sum(&infinite, &list);
        }
        if list.len() > 1 {
            list.sort_by_key(|(term, _)| *term);
            let mut merged: Vec<(Tid, RBig)> = Vec::with_capacity(list.len());
            for (term, factor) in list {
                match merged.last_mut() {
                    Some((last, total)) if *last == term => {
                        *total = number::add(total, &factor, self.budget)?;
                    }
                    _ => merged.push((term, factor)),
                }
            }
            list = merged;
        }
        list.retain(|(_, factor)| !factor.is_zero());
        Ok(self.sum_of(constant, list))
    }

    /// A borrowed term that does not keep the collection borrowed.
    fn terms_at(&self, id: Tid) -> Term {
        self.term(id).clone()
    }

    fn sum_of(&mut self, constant: RBig, list: Vec<(Tid, RBig)>) -> Tid {
        match &list[..] {
            [] => self.rational(constant),
            [(term, factor)] if factor.is_one() && constant.is_zero() => *term,
            _ => self.insert(Term::Sum(constant, list.into())),
        }
    }

    fn infinite_sum(&mut self, infinite: &[(Tid, &RBig)], finite: &[(Tid, RBig)]) -> Step<Tid> {
        if infinite.iter().any(|(part, _)| matches!(self.term(*part), Term::Foreign)) {
            return Ok(self.insert(Term::Foreign));
        }
        let mut direction = 0;
        for (part, factor) in infinite {
            let sign = if negative(factor) { -1 } else { 1 };
            let towards = match self.term(*part) {
                Term::Constant(Constant::Infinity) => sign,
                Term::Constant(Constant::NegativeInfinity) => -sign,
                _ => return Ok(self.undefined()),
            };
            if factor.is_zero() || direction == -towards {
                return Ok(self.undefined());
            }
            direction = towards;
        }
        if finite.iter().any(|(part, _)| !self.facts(*part).real) {
            return Ok(self.undefined());
        }
        Ok(self.signed_infinity(direction))
    }

    fn signed_infinity(&mut self, direction: i32) -> Tid {
        self.constant(if direction < 0 { Constant::NegativeInfinity } else { Constant::Infinity })
    }

    /// Splits a number off as a factor: the term is number × rest.
    pub fn split_factor(&self, id: Tid) -> (RBig, Option<Tid>) {
        match self.term(id) {
            Term::Rational(value) => (value.clone(), None),
            Term::Sum(constant, list) if constant.is_zero() && list.len() == 1 => {
                (list[0].1.clone(), Some(list[0].0))
            }
            _ => (integer(1), Some(id)),
        }
    }

    /// A sum divided by its first coefficient, and that coefficient.
    fn monic(&mut self, id: Tid) -> Step<(RBig, Tid)> {
        let Term::Sum(_, list) = self.term(id) else { return Ok((integer(1), id)) };
        let lead = list[0].1.clone();
        if lead.is_one() {
            return Ok((lead, id));
        }
        let rest = self.scale(id, number::inverse(&lead))?;
        Ok((lead, rest))
    }

    /// A complex number with rational parts, if the term is one.
    pub fn as_gaussian(&self, id: Tid) -> Option<(RBig, RBig)> {
        match self.term(id) {
            Term::Rational(value) => Some((value.clone(), integer(0))),
            Term::Constant(Constant::I) => Some((integer(0), integer(1))),
            Term::Sum(constant, list)
                if list.len() == 1 && self.is_constant(list[0].0, Constant::I) =>
            {
                Some((constant.clone(), list[0].1.clone()))
            }
            _ => None,
        }
    }

    fn gaussian(&mut self, re: RBig, im: RBig) -> Step<Tid> {
        let i = self.constant(Constant::I);
        self.sum(&[(Self::ONE, re), (i, im)])
    }

    fn gaussian_mul(&mut self, a: &(RBig, RBig), b: &(RBig, RBig)) -> Step<(RBig, RBig)> {
        let mut product = |x: &RBig, y: &RBig| number::mul(x, y, self.budget);
        let (rr, ii) = (product(&a.0, &b.0)?, product(&a.1, &b.1)?);
        let (ri, ir) = (product(&a.0, &b.1)?, product(&a.1, &b.0)?);
        let re = number::add(&rr, &-ii, self.budget)?;
        let im = number::add(&ri, &ir, self.budget)?;
        Ok((re, im))
    }

    /// A product.
    pub fn product(&mut self, parts: &[Tid]) -> Step<Tid> {
        let mut factor = (integer(1), integer(0));
        let mut list: Vec<(Tid, Tid)> = Vec::with_capacity(parts.len());
        let mut incoming: Vec<Tid> = parts.to_vec();
        let mut infinite = Vec::new();
        for _ in 0..MAX_ROUNDS {
            self.budget.charge(20 + 10 * incoming.len() as u64)?;
            for part in incoming.drain(..) {
                let facts = self.facts(part);
                if facts.infinite || facts.broken {
                    infinite.push(part);
                } else {
                    self.absorb(part, &mut factor, &mut list)?;
                }
            }
            if !infinite.is_empty() {
                return self.infinite_product(&infinite, &factor, &list);
            }
            if factor.0.is_zero() && factor.1.is_zero() {
                return Ok(Self::ZERO);
            }
            list.sort_by_key(|(base, _)| *base);
            let mut kept: Vec<(Tid, Tid)> = Vec::with_capacity(list.len());
            let mut at = 0;
            while at < list.len() {
                let base = list[at].0;
                let end = at + list[at..].iter().take_while(|(other, _)| *other == base).count();
                if end == at + 1 {
                    kept.push(list[at]);
                } else {
                    let exponents: Vec<_> =
                        list[at..end].iter().map(|&(_, exponent)| (exponent, integer(1))).collect();
                    let exponent = self.sum(&exponents)?;
                    if self.stays_long(base, exponent) {
                        kept.push((base, exponent));
                    } else {
                        let power = self.pow(base, exponent)?;
                        incoming.push(power);
                    }
                }
                at = end;
            }
            list = kept;
            if incoming.is_empty() {
                return self.product_of(factor, list);
            }
        }
        // Whatever still waits is multiplied as it is.
        for part in incoming {
            self.absorb(part, &mut factor, &mut list)?;
        }
        list.sort();
        list.dedup_by_key(|(base, _)| *base);
        self.product_of(factor, list)
    }

    /// Whether a power of a number met here is kept as it is: many such powers, each short enough
    /// to be written out, may be too long together.
    pub fn stays_long(&self, base: Tid, exponent: Tid) -> bool {
        match (self.as_rational(base), self.as_rational(exponent)) {
            (Some(base), Some(exponent)) if base.is_int() && exponent.is_int() => {
                let times = number::small(exponent).map_or(i64::MAX, |n| n.saturating_abs());
                times.saturating_mul(number::bits(base) as i64) > LONG_POWER
            }
            _ => false,
        }
    }

    fn absorb(
        &mut self,
        part: Tid,
        factor: &mut (RBig, RBig),
        list: &mut Vec<(Tid, Tid)>,
    ) -> Step<()> {
        if let Term::Rational(value) = self.term(part) {
            if !value.is_one() {
                let value = value.clone();
                factor.0 = number::mul(&factor.0, &value, self.budget)?;
                if !factor.1.is_zero() {
                    factor.1 = number::mul(&factor.1, &value, self.budget)?;
                }
            }
            return Ok(());
        }
        if let Some(value) = self.as_gaussian(part) {
            *factor = self.gaussian_mul(factor, &value)?;
            return Ok(());
        }
        let (value, rest) = self.split_factor(part);
        if !value.is_one() {
            factor.0 = number::mul(&factor.0, &value, self.budget)?;
            if !factor.1.is_zero() {
                factor.1 = number::mul(&factor.1, &value, self.budget)?;
            }
        }
        let Some(rest) = rest else { return Ok(()) };
        match self.term(rest) {
            Term::Product(inner) => {
                let inner = inner.clone();
                self.budget.charge(8 * inner.len() as u64)?;
                list.extend_from_slice(&inner);
            }
            Term::Sum(..) => {
                let (lead, rest) = self.monic(rest)?;
                if !lead.is_one() {
                    factor.0 = number::mul(&factor.0, &lead, self.budget)?;
                    factor.1 = number::mul(&factor.1, &lead, self.budget)?;
                }
                list.push((rest, Self::ONE));
            }
            _ => list.push((rest, Self::ONE)),
        }
        Ok(())
    }

    fn product_of(&mut self, factor: (RBig, RBig), mut list: Vec<(Tid, Tid)>) -> Step<Tid> {
        let mut number = factor.0;
        if !factor.1.is_zero() {
            if list.is_empty() {
                return self.gaussian(number, factor.1);
            }
            let unit = if number.is_zero() {
                number = factor.1;
                self.constant(Constant::I)
            } else {
                let value = self.gaussian(number, factor.1)?;
                let (lead, rest) = self.monic(value)?;
                number = lead;
                rest
            };
            let at = list.partition_point(|(base, _)| *base < unit);
            list.insert(at, (unit, Self::ONE));
        }
        let rest = match list[..] {
            [] => return Ok(self.rational(number)),
            [(base, exponent)] if exponent == Self::ONE => base,
            _ => self.insert(Term::Product(list.into())),
        };
        if number.is_one() { Ok(rest) } else { self.scale(rest, number) }
    }

    fn infinite_product(
        &mut self,
        infinite: &[Tid],
        factor: &(RBig, RBig),
        list: &[(Tid, Tid)],
    ) -> Step<Tid> {
        if infinite.iter().any(|part| matches!(self.term(*part), Term::Foreign)) {
            return Ok(self.insert(Term::Foreign));
        }
        let mut direction = if negative(&factor.0) { -1 } else { 1 };
        for part in infinite {
            direction *= match self.term(*part) {
                Term::Constant(Constant::Infinity) => 1,
                Term::Constant(Constant::NegativeInfinity) => -1,
                _ => return Ok(self.undefined()),
            };
        }
        let positive = list.iter().all(|&(b, e)| self.facts(b).positive && self.facts(e).real);
        if factor.0.is_zero() || !factor.1.is_zero() || !positive {
            return Ok(self.undefined());
        }
        Ok(self.signed_infinity(direction))
    }

    /// A power.
    pub fn pow(&mut self, base: Tid, exponent: Tid) -> Step<Tid> {
        self.deeper(|terms| terms.power(base, exponent))
    }

    fn power(&mut self, base: Tid, exponent: Tid) -> Step<Tid> {
        self.budget.charge(20)?;
        let (b, e) = (self.facts(base), self.facts(exponent));
        if b.broken || e.broken || b.infinite || e.infinite {
            return self.infinite_power(base, exponent);
        }
        if exponent == Self::ONE || base == Self::ONE {
            return Ok(base);
        }
        if let Term::Rational(exponent_value) = self.term(exponent) {
            let value = exponent_value.clone();
            if value.is_zero() {
                return Ok(Self::ONE);
            }
            if let Term::Rational(base) = self.term(base) {
                let base = base.clone();
                return self.rational_power(&base, &value);
            }
            if value.is_int() {
                return self.integer_power(base, exponent, &value);
            }
        }
        self.general_power(base, exponent)
    }

    fn infinite_power(&mut self, base: Tid, exponent: Tid) -> Step<Tid> {
        let foreign = |id| matches!(self.term(id), Term::Foreign);
        if foreign(base) || foreign(exponent) {
            return Ok(self.insert(Term::Foreign));
        }
        if self.is_constant(base, Constant::Infinity)
            && let Term::Rational(value) = self.term(exponent)
            && !value.is_zero()
        {
            return Ok(if negative(value) { Self::ZERO } else { base });
        }
        if self.is_constant(base, Constant::NegativeInfinity)
            && let Some(value) = self.as_small(exponent)
            && value != 0
        {
            let even = value % 2 == 0;
            return Ok(match (value < 0, even) {
                (true, _) => Self::ZERO,
                (false, true) => self.constant(Constant::Infinity),
                (false, false) => base,
            });
        }
        let towards = if self.is_constant(exponent, Constant::Infinity) {
            1
        } else if self.is_constant(exponent, Constant::NegativeInfinity) {
            -1
        } else {
            return Ok(self.undefined());
        };
        let size = if self.is_constant(base, Constant::E) || self.is_constant(base, Constant::Pi) {
            1
        } else {
            match self.term(base) {
                Term::Rational(value) if *value > integer(1) => 1,
                Term::Rational(value) if *value > integer(-1) && *value < integer(1) => -1,
                _ => 0,
            }
        };
        Ok(match size * towards {
            1 => self.constant(Constant::Infinity),
            -1 => Self::ZERO,
            _ => self.undefined(),
        })
    }

    fn integer_power(&mut self, base: Tid, exponent: Tid, value: &RBig) -> Step<Tid> {
        match self.term(base) {
            Term::Constant(Constant::I) => {
                return Ok(match value.numerator() & 3u8 {
                    0 => Self::ONE,
                    1 => base,
                    2 => Self::MINUS_ONE,
                    _ => self.scale(base, integer(-1))?,
                });
            }
            Term::Product(list) => {
                let list = list.clone();
                let mut parts = Vec::with_capacity(list.len());
                for &(inner, power) in list.iter() {
                    let power = self.scale(power, value.clone())?;
                    parts.push(if self.stays_long(inner, power) {
                        self.insert(Term::Product([(inner, power)].into()))
                    } else {
                        self.pow(inner, power)?
                    });
                }
                return self.product(&parts);
            }
            Term::Apply(Function::Abs, list) => {
                let inner = list[0];
                let even = (value.numerator() & 1u8) == 0u8;
                if even && self.facts(inner).real {
                    return self.pow(inner, exponent);
                }
            }
            Term::Sum(..) => {
                if let Some(gaussian) = self.as_gaussian(base)
                    && !gaussian.0.is_zero()
                    && let Some(times) = number::small(value)
                    && times.unsigned_abs() <= 256
                {
                    return self.gaussian_power(&gaussian, times);
                }
                let (factor, rest) = match self.split_factor(base) {
                    (factor, Some(rest)) if rest != base => (factor, rest),
                    _ => self.monic(base)?,
                };
                if !factor.is_one() {
                    let factor = self.rational_power(&factor, value)?;
                    let rest = self.pow(rest, exponent)?;
                    return self.product(&[factor, rest]);
                }
            }
            _ => {}
        }
        Ok(self.insert(Term::Product([(base, exponent)].into())))
    }

    fn gaussian_power(&mut self, base: &(RBig, RBig), times: i64) -> Step<Tid> {
        let mut base = base.clone();
        if times < 0 {
            let norm = self.gaussian_mul(&base, &(base.0.clone(), -base.1.clone()))?.0;
            let inverse = number::inverse(&norm);
            base = (
                number::mul(&base.0, &inverse, self.budget)?,
                number::mul(&-base.1, &inverse, self.budget)?,
            );
        }
        let mut result = (integer(1), integer(0));
        let mut left = times.unsigned_abs();
        while left > 0 {
            if left & 1 == 1 {
                result = self.gaussian_mul(&result, &base)?;
            }
            left >>= 1;
            if left > 0 {
                base = self.gaussian_mul(&base.clone(), &base)?;
            }
        }
        self.gaussian(result.0, result.1)
    }

    /// A number to a rational power: what is rational comes out, the rest stays as powers of primes
    /// with exponents between zero and one.
    pub fn rational_power(&mut self, base: &RBig, exponent: &RBig) -> Step<Tid> {
        if base.is_one() || exponent.is_zero() {
            return Ok(Self::ONE);
        }
        if base.is_zero() {
            return Ok(if negative(exponent) { self.undefined() } else { Self::ZERO });
        }
        if let Some(times) = number::small(exponent)
            && let Some(value) = number::power(base, times, self.budget)?
        {
            return Ok(self.rational(value));
        }
        let mut parts = Vec::new();
        if negative(base) {
            parts.push(self.minus_one_power(exponent)?);
        }
        let long = exponent.is_int();
        let (numerator, denominator) = number::magnitude(base);
        for (value, sign) in [(numerator, 1i64), (denominator, -1)] {
            for (prime, times) in number::factor(&value, self.budget)? {
                let share = number::mul(exponent, &integer(sign * times as i64), self.budget)?;
                self.prime_power(&prime, &share, long, &mut parts)?;
            }
        }
        self.product(&parts)
    }

    /// A prime's share of a power. Of a number too `long` to be written out the factors may each be
    /// short, but would come to the same length again.
    fn prime_power(
        &mut self,
        prime: &UBig,
        exponent: &RBig,
        long: bool,
        parts: &mut Vec<Tid>,
    ) -> Step<()> {
        let base = RBig::from(IBig::from(prime.clone()));
        let whole = exponent.floor();
        let rest = exponent - RBig::from(whole.clone());
        let written = match i64::try_from(&whole) {
            Ok(times) if !long => number::power(&base, times, self.budget)?,
            _ => None,
        };
        let base = self.rational(base);
        let exponent = match written {
            Some(value) => {
                parts.push(self.rational(value));
                self.rational(rest)
            }
            None => self.rational(exponent.clone()),
        };
        if exponent != Self::ZERO {
            parts.push(self.insert(Term::Product([(base, exponent)].into())));
        }
        Ok(())
    }

    /// (−1)^q on the principal branch, by its exponent modulo two.
    fn minus_one_power(&mut self, exponent: &RBig) -> Step<Tid> {
        let two = integer(2);
        let turns = RBig::from((exponent / &two).floor());
        let rest = exponent - turns * two;
        // 0 ≤ rest < 2, and adding one flips the sign.
        let (rest, flip) =
            if rest >= integer(1) { (rest - integer(1), true) } else { (rest, false) };
        let unit = if rest.is_zero() {
            Self::ONE
        } else if rest == fraction(1, 2) {
            self.constant(Constant::I)
        } else {
            let rest = self.rational(rest);
            self.insert(Term::Product([(Self::MINUS_ONE, rest)].into()))
        };
        if flip { self.scale(unit, integer(-1)) } else { Ok(unit) }
    }

    /// A power whose exponent is no integer.
    fn general_power(&mut self, base: Tid, exponent: Tid) -> Step<Tid> {
        let real_exponent = self.facts(exponent).real;
        match self.terms_at(base) {
            Term::Rational(value) => {
                if value.is_zero() {
                    return Ok(self.insert(Term::Product([(base, exponent)].into())));
                }
                return self.number_to_term(&value, exponent);
            }
            Term::Constant(Constant::E) => return self.exponential(exponent),
            Term::Constant(Constant::I) => {
                // i^t = (−1)^(t/2), both on the principal branch.
                let half = self.scale(exponent, fraction(1, 2))?;
                return self.pow(Self::MINUS_ONE, half);
            }
            Term::Sum(..) => {
                let (factor, rest) = match self.split_factor(base) {
                    (factor, Some(rest)) if rest != base => (factor, rest),
                    _ => {
                        let (factor, _) = self.monic(base)?;
                        let factor = number::abs(&factor);
                        let rest = self.scale(base, number::inverse(&factor))?;
                        (factor, rest)
                    }
                };
                let positive_rest = self.facts(rest).positive;
                let (pulled, rest) = if negative(&factor) && !positive_rest {
                    (number::abs(&factor), self.scale(rest, integer(-1))?)
                } else {
                    (factor, rest)
                };
                if !pulled.is_one() {
                    let pulled = self.rational(pulled);
                    let pulled = self.pow(pulled, exponent)?;
                    let rest = self.pow(rest, exponent)?;
                    return self.product(&[pulled, rest]);
                }
            }
            Term::Product(list) => {
                let mut pulled = Vec::new();
                let mut rest = Vec::new();
                for &(inner, power) in list.iter() {
                    let (b, e) = (self.facts(inner), self.facts(power));
                    let even = self
                        .as_rational(power)
                        .is_some_and(|v| v.is_int() && (v.numerator() & 1u8) == 0u8);
                    if b.positive && e.real {
                        let power = self.product(&[power, exponent])?;
                        pulled.push(self.pow(inner, power)?);
                    } else if b.real && even && real_exponent {
                        let size = self.absolute(inner)?;
                        let power = self.product(&[power, exponent])?;
                        pulled.push(self.pow(size, power)?);
                    } else {
                        rest.push((inner, power));
                    }
                }
                if !pulled.is_empty() {
                    let rest = self.product_of((integer(1), integer(0)), rest)?;
                    pulled.push(self.pow(rest, exponent)?);
                    return self.product(&pulled);
                }
            }
            _ => {}
        }
        Ok(self.insert(Term::Product([(base, exponent)].into())))
    }

    /// A number that is not zero to the power of a term that is no number.
    fn number_to_term(&mut self, base: &RBig, exponent: Tid) -> Step<Tid> {
        let mut parts = Vec::new();
        if base.sign() == Sign::Negative {
            parts.push(self.split_exponent(Self::MINUS_ONE, exponent)?);
        }
        for (value, sign) in
            [(base.numerator().unsigned_abs(), 1i64), (base.denominator().clone(), -1)]
        {
            for (prime, times) in number::factor(&value, self.budget)? {
                let prime = self.rational(RBig::from(IBig::from(prime)));
                let exponent = self.scale(exponent, integer(sign * times as i64))?;
                parts.push(self.split_exponent(prime, exponent)?);
            }
        }
        if let [one] = parts[..] { Ok(one) } else { self.product(&parts) }
    }

    /// p^(t + n) = p^n p^t, where p is −1 or a prime.
    fn split_exponent(&mut self, base: Tid, exponent: Tid) -> Step<Tid> {
        if let Term::Sum(constant, _) = self.term(exponent)
            && !constant.is_zero()
        {
            let whole = RBig::from(constant.floor());
            if !whole.is_zero() {
                let rest = self.sum(&[(exponent, integer(1)), (Self::ONE, -whole.clone())])?;
                let whole = self.rational(whole);
                let number = self.pow(base, whole)?;
                let power = self.insert(Term::Product([(base, rest)].into()));
                // A number too long to be written out stays in the exponent.
                if self.as_rational(number).is_some() {
                    return self.product(&[number, power]);
                }
            }
        }
        Ok(self.insert(Term::Product([(base, exponent)].into())))
    }

    /// e to a power: logarithms and turns of the unit circle come out.
    fn exponential(&mut self, exponent: Tid) -> Step<Tid> {
        let e = self.constant(Constant::E);
        let (constant, list) = match self.terms_at(exponent) {
            Term::Sum(constant, list) => (constant, list.into_vec()),
            Term::Rational(_) => (integer(0), Vec::new()),
            _ => (integer(0), vec![(exponent, integer(1))]),
        };
        let mut pulled = Vec::new();
        let mut left = vec![(Self::ONE, constant)];
        for (term, factor) in list {
            if let Term::Apply(Function::Log, arguments) = self.term(term) {
                let argument = arguments[0];
                let factor = self.rational(factor);
                pulled.push(self.pow(argument, factor)?);
            } else if self.is_turn(term) {
                let factor = self.rational(factor);
                pulled.push(self.pow(Self::MINUS_ONE, factor)?);
            } else {
                left.push((term, factor));
            }
        }
        if pulled.is_empty() {
            return Ok(self.insert(Term::Product([(e, exponent)].into())));
        }
        let rest = self.sum(&left)?;
        pulled.push(self.pow(e, rest)?);
        self.product(&pulled)
    }

    /// Whether a term is iπ.
    fn is_turn(&self, id: Tid) -> bool {
        match self.term(id) {
            Term::Product(list) => {
                list.len() == 2
                    && list.iter().all(|&(_, exponent)| exponent == Self::ONE)
                    && list.iter().any(|&(base, _)| self.is_constant(base, Constant::I))
                    && list.iter().any(|&(base, _)| self.is_constant(base, Constant::Pi))
            }
            _ => false,
        }
    }
}
