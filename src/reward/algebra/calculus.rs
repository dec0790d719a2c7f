//! Derivatives, integrals and limits, as far as a few rules reach.

use std::cmp::Ordering;

use crate::reward::expr::{Constant, Function};

use super::number::{fraction, integer};
use super::sums::MAX_DEGREE;
use super::term::{Step, Term, Terms, Tid};

impl Terms<'_> {
    /// The derivative by a variable.
    pub fn derivative(&mut self, root: Tid, variable: Tid) -> Step<Option<Tid>> {
        let order = self.reachable(&[root])?;
        let mut done: Vec<Tid> = vec![Self::ZERO; root.index() + 1];
        for id in order {
            if id == variable {
                done[id.index()] = Self::ONE;
                continue;
            }
            let mut free = true;
            self.for_each_part(id, |part| free &= done[part.index()] == Self::ZERO);
            if free {
                continue;
            }
            done[id.index()] = match self.term(id).clone() {
                Term::Sum(_, list) => {
                    let parts: Vec<_> = list
                        .iter()
                        .map(|(part, factor)| (done[part.index()], factor.clone()))
                        .collect();
                    self.sum(&parts)?
                }
                Term::Product(list) => {
                    let mut parts = Vec::new();
                    for (at, &(base, exponent)) in list.iter().enumerate() {
                        let (db, de) = (done[base.index()], done[exponent.index()]);
                        let mut factor = Vec::new();
                        if db != Self::ZERO {
                            // e b^(e−1) b'
                            let less = self.minus(exponent, Self::ONE)?;
                            let power = self.pow(base, less)?;
                            factor.push((self.product(&[exponent, power, db])?, integer(1)));
                        }
                        if de != Self::ZERO {
                            let log = self.log(base)?;
                            let power = self.pow(base, exponent)?;
                            factor.push((self.product(&[power, log, de])?, integer(1)));
                        }
                        if factor.is_empty() {
                            continue;
                        }
                        let mut product = vec![self.sum(&factor)?];
                        for (other, &(base, exponent)) in list.iter().enumerate() {
                            if other != at {
                                product.push(self.pow(base, exponent)?);
                            }
                        }
                        parts.push((self.product(&product)?, integer(1)));
                    }
                    self.sum(&parts)?
                }
                Term::Apply(function, list) if list.len() == 1 => {
                    let x = list[0];
                    let two = self.int(2);
                    let outer = match function {
                        Function::Sin => self.apply(Function::Cos, &[x])?,
                        Function::Cos => {
                            let sin = self.apply(Function::Sin, &[x])?;
                            self.scale(sin, integer(-1))?
                        }
                        Function::Log => self.invert(x)?,
                        Function::Atan => {
                            let square = self.pow(x, two)?;
                            let below = self.plus(square, Self::ONE)?;
                            self.invert(below)?
                        }
                        Function::Asin => {
                            let square = self.pow(x, two)?;
                            let below = self.minus(Self::ONE, square)?;
                            let power = self.rational(fraction(-1, 2));
                            self.pow(below, power)?
                        }
                        Function::Abs if self.facts(x).real => {
                            let size = self.absolute(x)?;
                            self.over(x, size)?
                        }
                        _ => return Ok(None),
                    };
                    self.product(&[outer, done[x.index()]])?
                }
                _ => return Ok(None),
            };
        }
        Ok(Some(done[root.index()]))
    }

    /// An antiderivative; with bounds, only one that is continuous between them.
    pub fn antiderivative(
        &mut self,
        body: Tid,
        variable: Tid,
        bounds: Option<(Tid, Tid)>,
    ) -> Step<Option<Tid>> {
        if let Some(list) = self.polynomial(body, variable, MAX_DEGREE)? {
            let mut parts = Vec::with_capacity(list.len());
            for (degree, &coefficient) in list.iter().enumerate() {
                let exponent = self.int(degree as i64 + 1);
                let power = self.pow(variable, exponent)?;
                let part = self.product(&[coefficient, power])?;
                parts.push((part, fraction(1, degree as u64 + 1)));
            }
            return Ok(Some(self.sum(&parts)?));
        }
        let addends = match self.term(body) {
            Term::Sum(constant, list) => {
                let mut parts = list.to_vec();
                parts.push((Self::ONE, constant.clone()));
                parts
            }
            _ => vec![(body, integer(1))],
        };
        let mut parts = Vec::with_capacity(addends.len());
        for (part, factor) in addends {
            match self.simple_antiderivative(part, variable, bounds)? {
                Some(value) => parts.push((value, factor)),
                None => return Ok(None),
            }
        }
        Ok(Some(self.sum(&parts)?))
    }

    /// Of a factor free of the variable times a function of a x + b.
    fn simple_antiderivative(
        &mut self,
        part: Tid,
        variable: Tid,
        bounds: Option<(Tid, Tid)>,
    ) -> Step<Option<Tid>> {
        if !self.contains(part, variable)? {
            return Ok(Some(self.product(&[part, variable])?));
        }
        let factors = match self.term(part) {
            Term::Product(list) => list.to_vec(),
            _ => vec![(part, Self::ONE)],
        };
        let (mut free, mut moving) = (Vec::new(), Vec::new());
        for (base, exponent) in factors {
            if self.contains(base, variable)? || self.contains(exponent, variable)? {
                moving.push((base, exponent));
            } else {
                free.push(self.pow(base, exponent)?);
            }
        }
        let &[(base, exponent)] = &moving[..] else { return Ok(None) };
        let wave = match self.term(base) {
            Term::Apply(Function::Sin | Function::Cos, list) if exponent == Self::ONE => {
                Some(list[0])
            }
            _ => None,
        };
        let inner = match wave {
            Some(inner) => inner,
            None if self.contains(exponent, variable)? => {
                if self.contains(base, variable)? {
                    return Ok(None);
                }
                exponent
            }
            None => base,
        };
        let slope = match self.polynomial(inner, variable, 1)?.as_deref() {
            Some(&[_, slope]) => slope,
            _ => return Ok(None),
        };
        let value = match self.term(base).clone() {
            Term::Apply(Function::Sin, _) if wave.is_some() => {
                let cos = self.apply(Function::Cos, &[inner])?;
                self.scale(cos, integer(-1))?
            }
            Term::Apply(Function::Cos, _) if wave.is_some() => {
                self.apply(Function::Sin, &[inner])?
            }
            _ if inner == exponent => {
                // b^(ax+b') / ln b
                let log = self.log(base)?;
                if log == Self::ZERO {
                    return Ok(None);
                }
                {
                    let power = self.pow(base, exponent)?;
                    self.over(power, log)?
                }
            }
            _ => {
                if let Some((low, high)) = bounds
                    && !self.same_side(base, variable, low, high)?
                {
                    return Ok(None);
                }
                let next = self.plus(exponent, Self::ONE)?;
                if next == Self::ZERO {
                    let size = self.absolute(base)?;
                    self.log(size)?
                } else {
                    let power = self.pow(base, next)?;
                    self.over(power, next)?
                }
            }
        };
        free.push(value);
        free.push(self.invert(slope)?);
        Ok(Some(self.product(&free)?))
    }

    /// Whether a x + b keeps one sign between two constants.
    fn same_side(&mut self, inner: Tid, variable: Tid, low: Tid, high: Tid) -> Step<bool> {
        let mut signs = Vec::new();
        for end in [low, high] {
            let at = self.substitute(inner, variable, end)?;
            let facts = self.facts(at);
            signs.push(if self.is_constant(at, Constant::Infinity) {
                Some(Ordering::Greater)
            } else if self.is_constant(at, Constant::NegativeInfinity) {
                Some(Ordering::Less)
            } else if facts.constant && facts.real {
                self.sign_of(at)?.filter(|&sign| sign != Ordering::Equal)
            } else {
                None
            });
        }
        Ok(signs[0].is_some() && signs[0] == signs[1])
    }

    /// A definite integral.
    pub fn integral(&mut self, body: Tid, variable: Tid, low: Tid, high: Tid) -> Step<Option<Tid>> {
        let Some(value) = self.antiderivative(body, variable, Some((low, high)))? else {
            return Ok(None);
        };
        let (low, high) =
            (self.substitute(value, variable, low)?, self.substitute(value, variable, high)?);
        let result = self.minus(high, low)?;
        let facts = self.facts(result);
        Ok((!facts.broken && !facts.infinite).then_some(result))
    }

    /// A limit, by continuity, degrees, or de l'Hospital's rule.
    pub fn limit(&mut self, body: Tid, variable: Tid, to: Tid, steps: u32) -> Step<Option<Tid>> {
        if steps == 0 || self.facts(body).kinked || self.facts(body).broken {
            return Ok(None);
        }
        if !self.contains(body, variable)? {
            return Ok(Some(body));
        }
        let plain = self.plain_powers(body, variable)?;
        if plain {
            let at = self.substitute(body, variable, to)?;
            let facts = self.facts(at);
            let whole = matches!(
                self.term(at),
                Term::Constant(Constant::Infinity | Constant::NegativeInfinity)
            );
            if !facts.broken && (!facts.infinite || whole) && !self.jumps(body, variable, to)? {
                return Ok(Some(at));
            }
        }
        let factors = match self.term(body) {
            Term::Product(list) => list.to_vec(),
            Term::Sum(..) => {
                let (factor, rest) = self.split_factor(body);
                if let Some(rest) = rest
                    && rest != body
                {
                    let value = self.limit(rest, variable, to, steps)?;
                    return value.map(|value| self.scale(value, factor)).transpose();
                }
                return Ok(None);
            }
            _ => return Ok(None),
        };
        if let [(base, exponent)] = factors[..]
            && !plain
            && self.contains(exponent, variable)?
        {
            // 1^∞ is e to the limit of (b − 1) e.
            let Some(at) = self.limit(base, variable, to, steps - 1)? else { return Ok(None) };
            if at != Self::ONE {
                return Ok(None);
            }
            let less = self.minus(base, Self::ONE)?;
            let product = self.product(&[less, exponent])?;
            let power = self.limit(product, variable, to, steps - 1)?;
            return power.map(|power| self.exp(power)).transpose();
        }
        let (mut above, mut below) = (Vec::new(), Vec::new());
        for (base, exponent) in factors {
            let down = self.as_rational(exponent).is_some_and(super::number::negative);
            if down {
                let exponent = self.scale(exponent, integer(-1))?;
                below.push(self.pow(base, exponent)?);
            } else {
                above.push(self.pow(base, exponent)?);
            }
        }
        let (above, below) = (self.product(&above)?, self.product(&below)?);
        self.quotient_limit(above, below, variable, to, steps)
    }

    fn quotient_limit(
        &mut self,
        above: Tid,
        below: Tid,
        variable: Tid,
        to: Tid,
        steps: u32,
    ) -> Step<Option<Tid>> {
        if self.is_constant(to, Constant::Infinity)
            && let Some(a) = self.polynomial(above, variable, MAX_DEGREE)?
            && let Some(b) = self.polynomial(below, variable, MAX_DEGREE)?
        {
            let lead = |list: &[Tid]| list.iter().rposition(|&id| id != Self::ZERO);
            return match (lead(&a), lead(&b)) {
                (Some(m), Some(n)) if m == n => Ok(Some(self.over(a[m], b[n])?)),
                (Some(m), Some(n)) if m < n => Ok(Some(Self::ZERO)),
                _ => Ok(None),
            };
        }
        if self.facts(to).infinite {
            return Ok(None);
        }
        let (mut above, mut below) = (above, below);
        for _ in 0..steps {
            let a = self.substitute(above, variable, to)?;
            let b = self.substitute(below, variable, to)?;
            let bad = |facts: super::term::Facts| facts.broken || facts.infinite;
            if bad(self.facts(a)) || bad(self.facts(b)) {
                return Ok(None);
            }
            if b != Self::ZERO {
                // It may still be zero without looking so.
                let known = self.facts(b).constant
                    && matches!(self.sign_of(b)?, Some(sign) if sign != Ordering::Equal);
                return if known { Ok(Some(self.over(a, b)?)) } else { Ok(None) };
            }
            if a != Self::ZERO {
                return Ok(None);
            }
            let (Some(a), Some(b)) =
                (self.derivative(above, variable)?, self.derivative(below, variable)?)
            else {
                return Ok(None);
            };
            (above, below) = (a, b);
        }
        Ok(None)
    }

    /// Whether no power has the variable in its exponent and its base.
    fn plain_powers(&mut self, body: Tid, variable: Tid) -> Step<bool> {
        for id in self.reachable(&[body])? {
            if let Term::Product(list) = self.term(id) {
                for (base, exponent) in list.clone() {
                    if self.as_rational(exponent).is_none()
                        && self.contains(base, variable)?
                        && self.contains(exponent, variable)?
                    {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Whether roots or logarithms come to the edge of their domain.
    fn jumps(&mut self, body: Tid, variable: Tid, to: Tid) -> Step<bool> {
        for id in self.reachable(&[body])? {
            let inside = match self.term(id) {
                Term::Apply(Function::Log | Function::Asin | Function::Factorial, list) => {
                    list.to_vec()
                }
                Term::Product(list) => list
                    .iter()
                    .filter(|&&(_, exponent)| {
                        self.as_rational(exponent).is_some_and(|value| !value.is_int())
                    })
                    .map(|&(base, _)| base)
                    .collect(),
                _ => continue,
            };
            for part in inside {
                if !self.contains(part, variable)? {
                    continue;
                }
                let at = self.substitute(part, variable, to)?;
                let fine = self.facts(at).positive
                    || self.is_constant(at, Constant::Infinity)
                    || (self.facts(at).constant
                        && self.facts(at).real
                        && self.sign_of(at)? == Some(Ordering::Greater));
                if !fine {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
