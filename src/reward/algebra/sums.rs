//! Sums, products, integrals, limits and derivatives.

use std::cmp::Ordering;

use dashu_ratio::RBig;

use crate::reward::budget::MAX_TERMS;
use crate::reward::expr::{Binder, Constant, Function};

use super::number::{self, fraction, integer};
use super::term::{Step, Term, Terms, Tid};

/// Highest degree of polynomials summed or integrated in closed form.
pub const MAX_DEGREE: usize = 32;
/// Most nodes created by writing out a sum.
const MAX_WRITTEN: i64 = 3_000;
/// Rounds of differentiating numerator and denominator of a limit.
const LIMIT_STEPS: u32 = 6;

/// Bernoulli's numbers, the second of them 1/2.
fn bernoulli(count: usize) -> Vec<RBig> {
    let mut numbers: Vec<RBig> = Vec::with_capacity(count);
    for n in 0..count as i64 {
        // Σ_{k<n+1} C(n+1, k) B_k = 0 with B_1 = −1/2
        let mut choose = integer(1);
        let mut total = integer(0);
        for (k, number) in numbers.iter().enumerate() {
            let number = if k == 1 { -number } else { number.clone() };
            total += &choose * number;
            choose = choose * integer(n + 1 - k as i64) * fraction(1, k as u64 + 1);
        }
        let next = if n == 0 { integer(1) } else { -total * fraction(1, n as u64 + 1) };
        numbers.push(if n == 1 { -next } else { next });
    }
    numbers
}

/// What becomes of a function of terms, if it is not kept.
pub type Rule<'r> = &'r mut dyn FnMut(&mut Terms<'_>, Function, &[Tid]) -> Step<Option<Tid>>;

impl Terms<'_> {
    /// A binder over a variable that is still free in the body.
    pub fn bind(&mut self, binder: Binder, parts: &[Tid]) -> Step<Tid> {
        let &[body, variable, ref rest @ ..] = parts else {
            return Ok(self.insert(Term::Foreign));
        };
        let scalar = !parts.iter().any(|&part| self.facts(part).broken);
        if !scalar || !matches!(self.term(variable), Term::Symbol(..)) {
            return Ok(self.insert(Term::Foreign));
        }
        let folded = match (binder, rest) {
            (Binder::Sum, &[low, high]) => self.closed_sum(body, variable, low, high)?,
            (Binder::Product, &[low, high]) => self.closed_product(body, variable, low, high)?,
            (Binder::Derivative, _) => self.derivative(body, variable)?,
            (Binder::Integral, &[]) => self.antiderivative(body, variable, None)?,
            (Binder::Integral, &[low, high]) => self.integral(body, variable, low, high)?,
            (Binder::Limit, &[to]) => self.limit(body, variable, to, LIMIT_STEPS)?,
            (Binder::LimitLeft | Binder::LimitRight, &[to]) if !self.facts(body).kinked => {
                self.limit(body, variable, to, LIMIT_STEPS)?
            }
            _ => None,
        };
        if let Some(folded) = folded {
            return Ok(folded);
        }
        let level = self.facts(body).height;
        let bound = self.insert(Term::Bound(level));
        let body = self.substitute(body, variable, bound)?;
        let mut list = vec![body, bound];
        list.extend_from_slice(rest);
        Ok(self.insert(Term::Bind(binder, list.into())))
    }

    /// Whether a variable occurs in a term.
    pub fn contains(&mut self, root: Tid, variable: Tid) -> Step<bool> {
        Ok(self.reachable(&[root])?.contains(&variable))
    }

    /// How many terms there are from one bound to the other, if those are small integers.
    fn count(&self, low: Tid, high: Tid) -> Option<(i64, i64)> {
        let (low, high) = (self.as_small(low)?, self.as_small(high)?);
        Some((low, high.checked_sub(low)?.checked_add(1)?.max(0)))
    }

    /// The terms written out, if they are few.
    fn written_out(
        &mut self,
        body: Tid,
        variable: Tid,
        low: Tid,
        high: Tid,
    ) -> Step<Option<Vec<Tid>>> {
        let Some((low, count)) = self.count(low, high) else { return Ok(None) };
        let nodes = self.reachable(&[body])?.len() as i64;
        if count.saturating_mul(nodes) > MAX_WRITTEN || count > MAX_TERMS as i64 {
            return Ok(None);
        }
        let mut list = Vec::new();
        for step in 0..count {
            let at = self.int(low + step);
            list.push(self.substitute(body, variable, at)?);
        }
        Ok(Some(list))
    }

    /// Addends with their factors.
    fn addends(&self, body: Tid) -> Vec<(Tid, RBig)> {
        match self.term(body) {
            Term::Sum(constant, list) => {
                let mut parts = list.to_vec();
                if !constant.is_zero() {
                    parts.push((Self::ONE, constant.clone()));
                }
                parts
            }
            _ => vec![(body, integer(1))],
        }
    }

    fn closed_sum(&mut self, body: Tid, variable: Tid, low: Tid, high: Tid) -> Step<Option<Tid>> {
        if let Some((_, 0)) = self.count(low, high) {
            return Ok(Some(Self::ZERO));
        }
        let mut total = Vec::new();
        let infinite = self.is_constant(high, Constant::Infinity);
        let mut closed = !self.facts(low).infinite && (infinite || !self.facts(high).infinite);
        for (part, factor) in self.addends(body) {
            if !closed {
                break;
            }
            let polynomial =
                if infinite { None } else { self.polynomial(part, variable, MAX_DEGREE)? };
            let value = match polynomial {
                Some(list) => Some(self.power_sums(&list, low, high)?),
                None => self.series(part, variable, low, high, infinite)?,
            };
            match value {
                Some(value) => total.push((value, factor)),
                None => closed = false,
            }
        }
        if closed {
            return Ok(Some(self.sum(&total)?));
        }
        match self.written_out(body, variable, low, high)? {
            Some(list) => {
                // By halves, so that long fractions are added late.
                let mut layer = list;
                while layer.len() > 1 {
                    let mut next = Vec::with_capacity(layer.len() / 2 + 1);
                    for chunk in layer.chunks(8) {
                        let chunk: Vec<_> = chunk.iter().map(|&part| (part, integer(1))).collect();
                        next.push(self.sum(&chunk)?);
                    }
                    layer = next;
                }
                Ok(Some(layer.pop().unwrap_or(Self::ZERO)))
            }
            None => Ok(None),
        }
    }

    /// Coefficients of a polynomial in a variable, from the constant one up.
    pub fn polynomial(
        &mut self,
        root: Tid,
        variable: Tid,
        degree: usize,
    ) -> Step<Option<Vec<Tid>>> {
        let order = self.reachable(&[root])?;
        let mut done: Vec<Option<Vec<Tid>>> = vec![None; root.index() + 1];
        for id in order {
            if id == variable {
                done[id.index()] = Some(vec![Self::ZERO, Self::ONE]);
                continue;
            }
            let mut free = true;
            self.for_each_part(id, |part| {
                free &= done[part.index()].as_ref().is_some_and(|list| list.len() == 1);
            });
            if free {
                done[id.index()] = Some(vec![id]);
                continue;
            }
            done[id.index()] = match self.term(id).clone() {
                Term::Sum(constant, list) => {
                    let mut columns: Vec<Vec<(Tid, RBig)>> = vec![vec![(Self::ONE, constant)]];
                    let mut whole = true;
                    for (part, factor) in list.iter() {
                        let Some(coefficients) = &done[part.index()] else {
                            whole = false;
                            break;
                        };
                        for (at, &coefficient) in coefficients.iter().enumerate() {
                            if columns.len() <= at {
                                columns.push(Vec::new());
                            }
                            columns[at].push((coefficient, factor.clone()));
                        }
                    }
                    if whole {
                        let mut coefficients = Vec::with_capacity(columns.len());
                        for column in columns {
                            coefficients.push(self.sum(&column)?);
                        }
                        Some(coefficients)
                    } else {
                        None
                    }
                }
                Term::Product(list) => {
                    let mut product = Some(vec![Self::ONE]);
                    for &(base, exponent) in list.iter() {
                        let free =
                            |id: Tid| done[id.index()].as_ref().is_some_and(|l| l.len() == 1);
                        let (factor, times) = if free(base) && free(exponent) {
                            (Some(vec![self.pow(base, exponent)?]), 1)
                        } else {
                            let times = self.as_small(exponent).unwrap_or(-1);
                            (done[base.index()].clone(), times)
                        };
                        let Some(factor) = factor.filter(|_| times >= 0) else {
                            product = None;
                            break;
                        };
                        let size = (factor.len() as i64 - 1).saturating_mul(times);
                        if size > degree as i64 {
                            product = None;
                            break;
                        }
                        for _ in 0..times {
                            let Some(before) = product.take() else { break };
                            product = Some(self.convolve(&before, &factor)?);
                        }
                    }
                    product.filter(|list| list.len() <= degree + 1)
                }
                _ => None,
            };
        }
        Ok(done[root.index()].take())
    }

    fn convolve(&mut self, a: &[Tid], b: &[Tid]) -> Step<Vec<Tid>> {
        let mut result = Vec::with_capacity(a.len() + b.len() - 1);
        for at in 0..a.len() + b.len() - 1 {
            let mut parts = Vec::new();
            for (i, &left) in a.iter().enumerate() {
                if let Some(&right) = at.checked_sub(i).and_then(|j| b.get(j)) {
                    parts.push((self.product(&[left, right])?, integer(1)));
                }
            }
            result.push(self.sum(&parts)?);
        }
        Ok(result)
    }

    /// Σ from low to high of a polynomial.
    fn power_sums(&mut self, coefficients: &[Tid], low: Tid, high: Tid) -> Step<Tid> {
        let before = self.minus(low, Self::ONE)?;
        let numbers = bernoulli(coefficients.len());
        let mut parts = Vec::new();
        for (degree, &coefficient) in coefficients.iter().enumerate() {
            if coefficient == Self::ZERO {
                continue;
            }
            for (end, sign) in [(high, 1), (before, -1)] {
                // Σ_{k=1}^{n} k^d = Σ_i C(d+1, i) B_i n^(d+1−i) / (d+1), with B_1 = 1/2
                let mut choose = integer(1);
                for (i, number) in numbers.iter().enumerate().take(degree + 1) {
                    let exponent = self.int((degree + 1 - i) as i64);
                    let power = self.pow(end, exponent)?;
                    let part = self.product(&[coefficient, power])?;
                    let factor = &choose * number * fraction(sign, degree as u64 + 1);
                    parts.push((part, factor));
                    choose = choose * integer((degree + 1 - i) as i64) * fraction(1, i as u64 + 1);
                }
            }
        }
        self.sum(&parts)
    }

    /// Geometric series, and Σ k^(−2m).
    fn series(
        &mut self,
        part: Tid,
        variable: Tid,
        low: Tid,
        high: Tid,
        infinite: bool,
    ) -> Step<Option<Tid>> {
        let factors = match self.term(part) {
            Term::Product(list) => list.to_vec(),
            _ => return Ok(None),
        };
        let (mut ratio, mut powers) = (Vec::new(), 0i64);
        for (base, exponent) in factors {
            if base == variable {
                match self.as_small(exponent) {
                    Some(times) => powers = times,
                    None => return Ok(None),
                }
                continue;
            }
            if self.contains(base, variable)? {
                return Ok(None);
            }
            match self.polynomial(exponent, variable, 1)? {
                Some(list) => {
                    if let Some(&slope) = list.get(1) {
                        ratio.push(self.pow(base, slope)?);
                    }
                }
                None => return Ok(None),
            }
        }
        if ratio.is_empty() {
            let zeta = infinite && low == Self::ONE && powers < 0 && powers % 2 == 0;
            if !zeta || powers < -(MAX_DEGREE as i64) {
                return Ok(None);
            }
            let exponent = self.int(powers);
            let power = self.pow(variable, exponent)?;
            let rest = self.over(part, power)?;
            let value = self.even_zeta(powers.unsigned_abs())?;
            return Ok(Some(self.product(&[rest, value])?));
        }
        if !(0..=2).contains(&powers) || (powers > 0 && !infinite) {
            return Ok(None);
        }
        let ratio = self.product(&ratio)?;
        let rest = self.minus(Self::ONE, ratio)?;
        if rest == Self::ZERO {
            return Ok(None);
        }
        if !infinite {
            let next = self.plus(high, Self::ONE)?;
            let first = self.substitute(part, variable, low)?;
            let last = self.substitute(part, variable, next)?;
            let above = self.minus(first, last)?;
            return Ok(Some(self.over(above, rest)?));
        }
        // Only where the ratio is known to be below one.
        let size = self.absolute(ratio)?;
        let room = self.minus(Self::ONE, size)?;
        if !self.facts(room).constant || self.sign_of(room)? != Some(Ordering::Greater) {
            return Ok(None);
        }
        let inverse = self.invert(rest)?;
        if powers == 0 {
            let first = self.substitute(part, variable, low)?;
            return Ok(Some(self.product(&[first, inverse])?));
        }
        if low != Self::ZERO && low != Self::ONE {
            return Ok(None);
        }
        // Σ k r^k = r/(1−r)², Σ k² r^k = r(1+r)/(1−r)³; at k = 0 the rest of the part is its factor.
        let exponent = self.int(powers);
        let power = self.pow(variable, exponent)?;
        let plain = self.over(part, power)?;
        let factor = self.substitute(plain, variable, Self::ZERO)?;
        let more = self.plus(Self::ONE, ratio)?;
        let list = if powers == 1 {
            vec![factor, ratio, inverse, inverse]
        } else {
            vec![factor, ratio, more, inverse, inverse, inverse]
        };
        Ok(Some(self.product(&list)?))
    }

    /// ζ(n) for an even n.
    fn even_zeta(&mut self, n: u64) -> Step<Tid> {
        let numbers = bernoulli(n as usize + 1);
        let mut factor = number::abs(&numbers[n as usize]) * fraction(1, 2);
        for k in 1..=n {
            factor *= fraction(2, k);
        }
        let pi = self.constant(Constant::Pi);
        let exponent = self.int(n as i64);
        let power = self.pow(pi, exponent)?;
        self.scale(power, factor)
    }

    fn closed_product(
        &mut self,
        body: Tid,
        variable: Tid,
        low: Tid,
        high: Tid,
    ) -> Step<Option<Tid>> {
        if let Some((_, 0)) = self.count(low, high) {
            return Ok(Some(Self::ONE));
        }
        if self.facts(low).infinite || self.facts(high).infinite {
            return Ok(None);
        }
        let (number, rest) = self.split_factor(body);
        let mut factors = vec![];
        if let Some(rest) = rest {
            match self.term(rest) {
                Term::Product(list) => factors.extend_from_slice(list),
                _ => factors.push((rest, Self::ONE)),
            }
        }
        let number = self.rational(number);
        factors.push((number, Self::ONE));
        let before = self.minus(low, Self::ONE)?;
        let count = self.minus(high, before)?;
        let natural = self.as_small(low).is_some_and(|low| low >= 1);
        let mut parts = Vec::new();
        let mut closed = true;
        for (base, exponent) in factors {
            if self.contains(exponent, variable)? {
                closed = false;
                break;
            }
            let free = !self.contains(base, variable)?;
            if free {
                let times = self.product(&[exponent, count])?;
                let long = self.as_small(count).is_some() && self.stays_long(base, times);
                parts.push(if long {
                    self.insert(Term::Product([(base, times)].into()))
                } else {
                    let power = self.pow(base, exponent)?;
                    self.pow(power, count)?
                });
            } else if base == variable && natural {
                let (above, below) = (self.factorial(high)?, self.factorial(before)?);
                let quotient = self.over(above, below)?;
                parts.push(self.pow(quotient, exponent)?);
            } else {
                closed = false;
                break;
            }
        }
        if closed {
            return Ok(Some(self.product(&parts)?));
        }
        match self.written_out(body, variable, low, high)? {
            Some(list) => Ok(Some(self.product(&list)?)),
            None => Ok(None),
        }
    }

    /// The term with another in place of a variable.
    pub fn substitute(&mut self, root: Tid, from: Tid, to: Tid) -> Step<Tid> {
        let order = self.reachable(&[root])?;
        self.rebuild(root, &order, Some((from, to)), &mut |_, _, _| Ok(None))
    }

    /// The term with some functions replaced by other terms.
    pub fn rewrite(&mut self, root: Tid, order: &[Tid], rule: Rule<'_>) -> Step<Tid> {
        self.rebuild(root, order, None, rule)
    }

    fn rebuild(
        &mut self,
        root: Tid,
        order: &[Tid],
        replaced: Option<(Tid, Tid)>,
        rule: Rule<'_>,
    ) -> Step<Tid> {
        let mut done: Vec<Tid> = self.ids_up_to(root).collect();
        for &id in order {
            if let Some((from, to)) = replaced
                && from == id
            {
                done[id.index()] = to;
                continue;
            }
            let mut changed = false;
            self.for_each_part(id, |part| changed |= done[part.index()] != part);
            let at = |part: &Tid| done[part.index()];
            if let Term::Apply(function, list) = self.term(id) {
                let function = *function;
                let parts: Vec<Tid> = list.iter().map(at).collect();
                if let Some(other) = rule(self, function, &parts)? {
                    done[id.index()] = other;
                } else if changed {
                    done[id.index()] = self.apply(function, &parts)?;
                }
                continue;
            }
            if !changed {
                continue;
            }
            done[id.index()] = match self.term(id).clone() {
                Term::Sum(constant, list) => {
                    let mut parts: Vec<_> =
                        list.iter().map(|(part, factor)| (at(part), factor.clone())).collect();
                    parts.push((Self::ONE, constant));
                    self.sum(&parts)?
                }
                Term::Product(list) => {
                    let mut parts = Vec::with_capacity(list.len());
                    for (base, exponent) in list.iter() {
                        let (base, exponent) = (at(base), at(exponent));
                        parts.push(self.pow(base, exponent)?);
                    }
                    self.product(&parts)?
                }
                Term::Call(name, number, list) => {
                    let parts = list.iter().map(at).collect();
                    self.insert(Term::Call(name, number, parts))
                }
                Term::Bind(binder, list) => {
                    let parts = list.iter().map(at).collect();
                    self.insert(Term::Bind(binder, parts))
                }
                Term::Matrix { rows, columns, entries } => {
                    let entries = entries.iter().map(at).collect();
                    self.insert(Term::Matrix { rows, columns, entries })
                }
                _ => id,
            };
        }
        Ok(done[root.index()])
    }
}
