//! Known functions in canonical form: exact values, and rewrites into fewer functions.

use std::cmp::Ordering;

use dashu_base::{BitTest, Gcd};
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use crate::reward::expr::{Constant, Function};

use super::number::{self, fraction, integer, negative};
use super::term::{Step, Term, Terms, Tid};

/// n! is written out up to here: just below the longest integer that is.
const MAX_FACTORIAL: i64 = 5_000;
/// (x + n)! becomes a product times x! up to this n.
const MAX_SHIFT: i64 = 40;

impl Terms<'_> {
    fn keep(&mut self, function: Function, arguments: &[Tid]) -> Tid {
        self.insert(Term::Apply(function, arguments.into()))
    }

    /// A known function of terms.
    pub fn apply(&mut self, function: Function, arguments: &[Tid]) -> Step<Tid> {
        self.deeper(|terms| terms.applied(function, arguments))
    }

    fn applied(&mut self, function: Function, arguments: &[Tid]) -> Step<Tid> {
        self.budget.charge(20)?;
        if matches!(
            function,
            Function::Det | Function::Trace | Function::Rank | Function::Transpose | Function::Norm
        ) {
            return self.matrix_function(function, arguments);
        }
        if arguments.iter().any(|&argument| matches!(self.term(argument), Term::Foreign)) {
            return Ok(self.insert(Term::Foreign));
        }
        let several = matches!(function, Function::Max | Function::Min);
        if !several
            && arguments.iter().any(|&part| self.facts(part).broken || self.facts(part).infinite)
        {
            return self.at_infinity(function, arguments);
        }
        let Some(&x) = arguments.first() else { return Ok(self.undefined()) };
        let second = arguments.get(1).copied();
        match (function, second) {
            (Function::Sin, None) => self.sine(x),
            (Function::Cos, None) => self.cosine(x),
            (Function::Tan, None) => {
                let (sin, cos) = (self.sine(x)?, self.cosine(x)?);
                self.over(sin, cos)
            }
            (Function::Cot, None) => {
                let (sin, cos) = (self.sine(x)?, self.cosine(x)?);
                self.over(cos, sin)
            }
            (Function::Sec, None) => {
                let cos = self.cosine(x)?;
                self.invert(cos)
            }
            (Function::Csc, None) => {
                let sin = self.sine(x)?;
                self.invert(sin)
            }
            (Function::Asin, None) => self.arcsine(x),
            (Function::Acos, None) => self.arccosine(x),
            (Function::Atan, None) => self.arctangent(x),
            (Function::Acsc, None) => {
                let inverse = self.invert(x)?;
                self.apply(Function::Asin, &[inverse])
            }
            (Function::Asec, None) => {
                let inverse = self.invert(x)?;
                self.apply(Function::Acos, &[inverse])
            }
            (Function::Acot, None) => {
                if x == Self::ZERO {
                    return self.pi_times(fraction(1, 2));
                }
                let inverse = self.invert(x)?;
                self.apply(Function::Atan, &[inverse])
            }
            (Function::Sinh, None) => self.hyperbolic(x, -1),
            (Function::Cosh, None) => self.hyperbolic(x, 1),
            (Function::Tanh, None) => {
                let twice = self.scale(x, integer(2))?;
                let power = self.exp(twice)?;
                let above = self.minus(power, Self::ONE)?;
                let below = self.plus(power, Self::ONE)?;
                self.over(above, below)
            }
            (Function::Asinh, None) => {
                let square = self.product(&[x, x])?;
                let inside = self.plus(square, Self::ONE)?;
                let root = self.root(inside)?;
                let sum = self.plus(x, root)?;
                self.log(sum)
            }
            (Function::Acosh, None) => {
                let (less, more) = (self.minus(x, Self::ONE)?, self.plus(x, Self::ONE)?);
                let (less, more) = (self.root(less)?, self.root(more)?);
                let product = self.product(&[less, more])?;
                let sum = self.plus(x, product)?;
                self.log(sum)
            }
            (Function::Atanh, None) => {
                let (less, more) = (self.minus(Self::ONE, x)?, self.plus(x, Self::ONE)?);
                let (less, more) = (self.log(less)?, self.log(more)?);
                self.sum(&[(more, fraction(1, 2)), (less, fraction(-1, 2))])
            }
            (Function::Exp, None) => self.exp(x),
            (Function::Log, None) => self.log(x),
            (Function::Log, Some(base)) => {
                let (argument, base) = (self.log(x)?, self.log(base)?);
                self.over(argument, base)
            }
            (Function::Abs, None) => self.absolute(x),
            (Function::Floor, None) => self.floor(x),
            (Function::Ceil, None) => {
                let minus = self.scale(x, integer(-1))?;
                let floor = self.floor(minus)?;
                self.scale(floor, integer(-1))
            }
            (Function::Factorial, None) => self.factorial(x),
            (Function::Gamma, None) => {
                let less = self.minus(x, Self::ONE)?;
                self.factorial(less)
            }
            (Function::Binomial, Some(k)) => self.binomial(x, k),
            (Function::Mod, Some(m)) => self.modulo(x, m),
            (Function::Gcd | Function::Lcm, _) => self.gcd_lcm(function, arguments),
            (Function::Max | Function::Min, _) => self.extreme(function, arguments),
            (Function::Re, None) => {
                if self.facts(x).real {
                    return Ok(x);
                }
                Ok(match self.split_complex(x)? {
                    Some((re, _)) => re,
                    None => self.keep(function, arguments),
                })
            }
            (Function::Im, None) => {
                if self.facts(x).real {
                    return Ok(Self::ZERO);
                }
                Ok(match self.split_complex(x)? {
                    Some((_, im)) => im,
                    None => self.keep(function, arguments),
                })
            }
            (Function::Conjugate, None) => {
                if self.facts(x).real {
                    return Ok(x);
                }
                match self.split_complex(x)? {
                    Some((re, im)) => {
                        let i = self.constant(Constant::I);
                        let im = self.product(&[i, im])?;
                        self.minus(re, im)
                    }
                    None => Ok(self.keep(function, arguments)),
                }
            }
            (Function::Arg, None) => {
                if self.facts(x).positive {
                    return Ok(Self::ZERO);
                }
                Ok(self.keep(function, arguments))
            }
            _ => Ok(self.insert(Term::Foreign)),
        }
    }

    fn at_infinity(&mut self, function: Function, arguments: &[Tid]) -> Step<Tid> {
        let [argument] = arguments else { return Ok(self.undefined()) };
        let up = self.is_constant(*argument, Constant::Infinity);
        let down = self.is_constant(*argument, Constant::NegativeInfinity);
        match function {
            Function::Atan if up => self.pi_times(fraction(1, 2)),
            Function::Atan if down => self.pi_times(fraction(-1, 2)),
            Function::Exp if down => Ok(Self::ZERO),
            Function::Tanh if up => Ok(Self::ONE),
            Function::Tanh if down => Ok(Self::MINUS_ONE),
            Function::Exp | Function::Log | Function::Abs | Function::Cosh | Function::Sinh
                if up =>
            {
                Ok(*argument)
            }
            Function::Factorial | Function::Gamma | Function::Floor | Function::Ceil if up => {
                Ok(*argument)
            }
            Function::Abs | Function::Cosh if down => Ok(self.constant(Constant::Infinity)),
            _ => Ok(self.undefined()),
        }
    }

    /// e^x
    pub fn exp(&mut self, x: Tid) -> Step<Tid> {
        let e = self.constant(Constant::E);
        self.pow(e, x)
    }

    /// A rational multiple of π.
    pub fn pi_times(&mut self, factor: RBig) -> Step<Tid> {
        let pi = self.constant(Constant::Pi);
        self.scale(pi, factor)
    }

    fn hyperbolic(&mut self, x: Tid, sign: i64) -> Step<Tid> {
        let minus = self.scale(x, integer(-1))?;
        let (up, down) = (self.exp(x)?, self.exp(minus)?);
        self.sum(&[(up, fraction(1, 2)), (down, fraction(sign, 2))])
    }

    /// The factor q, if a term is qπ.
    fn as_pi_multiple(&self, x: Tid) -> Option<RBig> {
        let (factor, rest) = self.split_factor(x);
        match rest {
            None => factor.is_zero().then_some(factor),
            Some(rest) => self.is_constant(rest, Constant::Pi).then_some(factor),
        }
    }

    /// Whether the term, read from its first part, starts with a minus sign.
    fn leads_negative(&self, x: Tid) -> bool {
        match self.term(x) {
            Term::Rational(value) => negative(value),
            Term::Sum(_, list) => negative(&list[0].1),
            _ => false,
        }
    }

    /// sin(π q) for the q whose sine is short.
    fn exact_sine(&mut self, q: &RBig) -> Step<Option<Tid>> {
        let two = integer(2);
        let turns = RBig::from((q / &two).floor());
        let mut q = q - turns * two;
        let mut sign = 1;
        if q >= integer(1) {
            (q, sign) = (q - integer(1), -1);
        }
        if q > fraction(1, 2) {
            q = integer(1) - q;
        }
        let value = if q.is_zero() {
            Self::ZERO
        } else if q == fraction(1, 6) {
            self.rational(fraction(1, 2))
        } else if q == fraction(1, 2) {
            Self::ONE
        } else if q == fraction(1, 4) || q == fraction(1, 3) {
            let square = if q == fraction(1, 4) { 2 } else { 3 };
            let root = self.rational_power(&integer(square), &fraction(1, 2))?;
            self.scale(root, fraction(1, 2))?
        } else {
            return Ok(None);
        };
        Ok(Some(self.scale(value, integer(sign))?))
    }

    fn sine(&mut self, x: Tid) -> Step<Tid> {
        if let Some(q) = self.as_pi_multiple(x)
            && let Some(value) = self.exact_sine(&q)?
        {
            return Ok(value);
        }
        if self.leads_negative(x) {
            let minus = self.scale(x, integer(-1))?;
            let value = self.keep(Function::Sin, &[minus]);
            return self.scale(value, integer(-1));
        }
        Ok(self.keep(Function::Sin, &[x]))
    }

    fn cosine(&mut self, x: Tid) -> Step<Tid> {
        if let Some(q) = self.as_pi_multiple(x)
            && let Some(value) = self.exact_sine(&(q + fraction(1, 2)))?
        {
            return Ok(value);
        }
        let x = if self.leads_negative(x) { self.scale(x, integer(-1))? } else { x };
        Ok(self.keep(Function::Cos, &[x]))
    }

    /// The square, if a term is a rational multiple of the root of a number.
    fn signed_square(&mut self, x: Tid) -> Step<Option<(bool, RBig)>> {
        let (factor, rest) = self.split_factor(x);
        let square = number::mul(&factor, &factor, self.budget)?;
        let radicand = match rest {
            None => integer(1),
            Some(rest) => match self.term(rest) {
                Term::Product(list) if list.len() == 1 => {
                    let (base, exponent) = list[0];
                    match (self.as_rational(base), self.as_rational(exponent)) {
                        (Some(base), Some(e)) if *e == fraction(1, 2) => base.clone(),
                        _ => return Ok(None),
                    }
                }
                _ => return Ok(None),
            },
        };
        let square = number::mul(&square, &radicand, self.budget)?;
        Ok(Some((negative(&factor), square)))
    }

    fn arcsine(&mut self, x: Tid) -> Step<Tid> {
        if let Some((minus, square)) = self.signed_square(x)? {
            for (value, angle) in [
                (integer(0), integer(0)),
                (fraction(1, 4), fraction(1, 6)),
                (fraction(1, 2), fraction(1, 4)),
                (fraction(3, 4), fraction(1, 3)),
                (integer(1), fraction(1, 2)),
            ] {
                if square == value {
                    return self.pi_times(if minus { -angle } else { angle });
                }
            }
        }
        self.odd(Function::Asin, x)
    }

    fn arccosine(&mut self, x: Tid) -> Step<Tid> {
        let arcsine = self.arcsine(x)?;
        let right = self.pi_times(fraction(1, 2))?;
        self.minus(right, arcsine)
    }

    fn arctangent(&mut self, x: Tid) -> Step<Tid> {
        if let Some((minus, square)) = self.signed_square(x)? {
            for (value, angle) in [
                (integer(0), integer(0)),
                (fraction(1, 3), fraction(1, 6)),
                (integer(1), fraction(1, 4)),
                (integer(3), fraction(1, 3)),
            ] {
                if square == value {
                    return self.pi_times(if minus { -angle } else { angle });
                }
            }
        }
        self.odd(Function::Atan, x)
    }

    fn odd(&mut self, function: Function, x: Tid) -> Step<Tid> {
        if self.leads_negative(x) {
            let minus = self.scale(x, integer(-1))?;
            let value = self.keep(function, &[minus]);
            return self.scale(value, integer(-1));
        }
        Ok(self.keep(function, &[x]))
    }

    /// The natural logarithm: positive factors and powers come out.
    pub fn log(&mut self, x: Tid) -> Step<Tid> {
        self.deeper(|terms| terms.logarithm(x))
    }

    fn logarithm(&mut self, x: Tid) -> Step<Tid> {
        if self.facts(x).broken || self.facts(x).infinite {
            return self.at_infinity(Function::Log, &[x]);
        }
        let term = self.term(x).clone();
        match term {
            Term::Rational(value) => self.log_of_number(&value),
            Term::Constant(Constant::E) => Ok(Self::ONE),
            Term::Sum(..) => {
                let (factor, rest) = self.split_factor(x);
                let rest = match rest {
                    Some(rest) if rest != x => rest,
                    _ => return Ok(self.keep(Function::Log, &[x])),
                };
                if !negative(&factor) {
                    let (a, b) = (self.log_of_number(&factor)?, self.log(rest)?);
                    return self.plus(a, b);
                }
                if self.facts(rest).positive {
                    let (a, b) = (self.log_of_number(&factor)?, self.log(rest)?);
                    return self.plus(a, b);
                }
                let magnitude = number::abs(&factor);
                let rest = self.scale(rest, integer(-1))?;
                let rest = self.keep(Function::Log, &[rest]);
                let number = self.log_of_number(&magnitude)?;
                self.plus(number, rest)
            }
            Term::Product(list) => {
                let mut sum = Vec::new();
                let mut rest = Vec::new();
                for &(base, exponent) in list.iter() {
                    if self.facts(base).positive && self.facts(exponent).real {
                        let log = self.log(base)?;
                        sum.push((self.product(&[exponent, log])?, integer(1)));
                    } else {
                        rest.push(self.pow(base, exponent)?);
                    }
                }
                if !rest.is_empty() {
                    let rest = self.product(&rest)?;
                    sum.push((self.keep(Function::Log, &[rest]), integer(1)));
                }
                self.sum(&sum)
            }
            _ => Ok(self.keep(Function::Log, &[x])),
        }
    }

    fn log_of_number(&mut self, value: &RBig) -> Step<Tid> {
        if value.is_zero() {
            return Ok(self.undefined());
        }
        let mut sum = Vec::new();
        if negative(value) {
            let i = self.constant(Constant::I);
            let pi = self.constant(Constant::Pi);
            sum.push((self.product(&[i, pi])?, integer(1)));
        }
        let (numerator, denominator) = number::magnitude(value);
        for (value, sign) in [(numerator, 1i64), (denominator, -1)] {
            for (prime, times) in number::factor(&value, self.budget)? {
                let prime = self.rational(RBig::from(IBig::from(prime)));
                let log = self.keep(Function::Log, &[prime]);
                sum.push((log, integer(sign * times as i64)));
            }
        }
        self.sum(&sum)
    }

    /// |x|
    pub fn absolute(&mut self, x: Tid) -> Step<Tid> {
        self.deeper(|terms| terms.magnitude(x))
    }

    fn magnitude(&mut self, x: Tid) -> Step<Tid> {
        let facts = self.facts(x);
        if facts.nonnegative {
            return Ok(x);
        }
        if let Some((re, im)) = self.as_gaussian(x) {
            let square = number::add(
                &number::mul(&re, &re, self.budget)?,
                &number::mul(&im, &im, self.budget)?,
                self.budget,
            )?;
            return self.rational_power(&square, &fraction(1, 2));
        }
        let term = self.term(x).clone();
        match term {
            Term::Product(list) => {
                let mut parts = Vec::with_capacity(list.len());
                for &(base, exponent) in list.iter() {
                    let (b, e) = (self.facts(base), self.facts(exponent));
                    if e.integer || (b.nonnegative && e.real) {
                        let size = self.absolute(base)?;
                        parts.push(self.pow(size, exponent)?);
                    } else {
                        let power = self.pow(base, exponent)?;
                        parts.push(self.keep(Function::Abs, &[power]));
                    }
                }
                self.product(&parts)
            }
            Term::Sum(..) => {
                let (factor, rest) = self.split_factor(x);
                if let Some(rest) = rest
                    && rest != x
                {
                    let size = self.absolute(rest)?;
                    return self.scale(size, number::abs(&factor));
                }
                if facts.real && facts.constant {
                    match self.sign_of(x)? {
                        Some(Ordering::Less) => return self.scale(x, integer(-1)),
                        Some(_) => return Ok(x),
                        None => {}
                    }
                }
                if !facts.real
                    && let Some((re, im)) = self.split_complex(x)?
                {
                    let (re, im) = (self.product(&[re, re])?, self.product(&[im, im])?);
                    let square = self.plus(re, im)?;
                    return self.root(square);
                }
                let x = if self.leads_negative(x) { self.scale(x, integer(-1))? } else { x };
                Ok(self.keep(Function::Abs, &[x]))
            }
            _ => Ok(self.keep(Function::Abs, &[x])),
        }
    }

    /// Real and imaginary part, if they can be read off.
    pub fn split_complex(&mut self, x: Tid) -> Step<Option<(Tid, Tid)>> {
        if self.facts(x).real {
            return Ok(Some((x, Self::ZERO)));
        }
        let list = match self.term(x) {
            Term::Sum(constant, list) => {
                let mut parts = list.to_vec();
                parts.push((Self::ONE, constant.clone()));
                parts
            }
            _ => vec![(x, integer(1))],
        };
        let i = self.constant(Constant::I);
        let (mut re, mut im) = (Vec::new(), Vec::new());
        for (part, factor) in list {
            if self.facts(part).real {
                re.push((part, factor));
                continue;
            }
            // A part that turns real when divided by i is imaginary.
            let over = self.over(part, i)?;
            if !self.facts(over).real {
                return Ok(None);
            }
            im.push((over, factor));
        }
        Ok(Some((self.sum(&re)?, self.sum(&im)?)))
    }

    fn floor(&mut self, x: Tid) -> Step<Tid> {
        if let Some(value) = self.as_rational(x) {
            let floor = RBig::from(value.floor());
            return Ok(self.rational(floor));
        }
        let facts = self.facts(x);
        if facts.integer {
            return Ok(x);
        }
        if facts.constant
            && facts.real
            && let Some(floor) = self.floor_of(x)?
        {
            return Ok(self.rational(RBig::from(floor)));
        }
        if let Term::Sum(constant, list) = self.term(x) {
            let mut whole = Vec::new();
            let mut rest = Vec::new();
            let floor = RBig::from(constant.floor());
            for (part, factor) in list.iter() {
                let outside = self.facts(*part).integer && factor.is_int();
                if outside { &mut whole } else { &mut rest }.push((*part, factor.clone()));
            }
            rest.push((Self::ONE, constant - &floor));
            whole.push((Self::ONE, floor));
            let rest = self.sum(&rest)?;
            let rest = self.keep(Function::Floor, &[rest]);
            whole.push((rest, integer(1)));
            return self.sum(&whole);
        }
        Ok(self.keep(Function::Floor, &[x]))
    }

    /// x!, which is Γ(x + 1) off the integers.
    pub fn factorial(&mut self, x: Tid) -> Step<Tid> {
        if let Some(value) = self.as_rational(x).cloned() {
            if value.is_int() {
                if negative(&value) {
                    return Ok(self.undefined());
                }
                return Ok(match number::small(&value) {
                    Some(n) if n <= MAX_FACTORIAL => {
                        let factorial = self.falling_product(1, n)?;
                        self.rational(RBig::from(IBig::from(factorial)))
                    }
                    _ => self.keep(Function::Factorial, &[x]),
                });
            }
            if *value.denominator() == UBig::from(2u8)
                && let Some(steps) = number::small(&(&value + fraction(1, 2)))
                && steps.abs() <= 200
            {
                // (−1/2)! = √π
                let pi = self.constant(Constant::Pi);
                let root = self.root(pi)?;
                let mut factor = integer(1);
                for step in 0..steps.abs() {
                    let at = fraction(-1, 2) + integer(if steps > 0 { step + 1 } else { -step });
                    let at = if steps > 0 { at } else { number::inverse(&at) };
                    factor = number::mul(&factor, &at, self.budget)?;
                }
                return self.scale(root, factor);
            }
        }
        let shift = match self.term(x) {
            Term::Sum(constant, _) => number::small(&RBig::from(constant.floor())),
            _ => None,
        };
        match shift {
            Some(shift) if shift != 0 && shift.abs() <= MAX_SHIFT => {
                let base = self.sum(&[(x, integer(1)), (Self::ONE, integer(-shift))])?;
                let mut parts = vec![self.keep(Function::Factorial, &[base])];
                for step in 1..=shift.abs() {
                    let offset = if shift > 0 { step } else { 1 - step };
                    let at = self.sum(&[(base, integer(1)), (Self::ONE, integer(offset))])?;
                    parts.push(if shift > 0 { at } else { self.invert(at)? });
                }
                self.product(&parts)
            }
            _ => Ok(self.keep(Function::Factorial, &[x])),
        }
    }

    /// from × (from + 1) × … × to, by halves.
    fn falling_product(&mut self, from: i64, to: i64) -> Step<UBig> {
        if to < from {
            return Ok(UBig::ONE);
        }
        let mut layer: Vec<UBig> = (from..=to).map(|n| UBig::from(n.unsigned_abs())).collect();
        while layer.len() > 1 {
            let mut next = Vec::with_capacity(layer.len() / 2 + 1);
            for pair in layer.chunks(2) {
                next.push(match pair {
                    [a, b] => {
                        let words = |n: &UBig| (n.bit_len() / 64 + 1) as u64;
                        self.budget.charge(words(a) * words(b) + 4)?;
                        a * b
                    }
                    rest => rest.iter().fold(UBig::ONE, |product, n| product * n),
                });
            }
            layer = next;
        }
        Ok(layer.pop().unwrap_or(UBig::ONE))
    }

    fn binomial(&mut self, n: Tid, k: Tid) -> Step<Tid> {
        let rest = self.minus(n, k)?;
        let natural = self.as_small(n).is_some_and(|n| n >= 0);
        for short in [k, rest] {
            let Some(count) = self.as_small(short) else { continue };
            if short == rest && !natural && self.as_rational(n).is_some() {
                continue;
            }
            if count < 0 {
                // Of a variable this is the convention for natural numbers.
                return Ok(Self::ZERO);
            }
            if count > if natural { MAX_FACTORIAL } else { 64 } {
                continue;
            }
            if let Some(top) = self.as_small(n).filter(|top| (0..1 << 40).contains(top)) {
                if count > top {
                    return Ok(Self::ZERO);
                }
                let above = self.falling_product(top - count + 1, top)?;
                let below = self.falling_product(1, count)?;
                let words = (above.bit_len() / 64 + 1) as u64;
                self.budget.charge(words * words)?;
                return Ok(self.rational(RBig::from(IBig::from(above / below))));
            }
            let mut parts = Vec::new();
            for step in 0..count {
                let at = self.sum(&[(n, integer(1)), (Self::ONE, integer(-step))])?;
                parts.push(at);
            }
            let below = self.falling_product(1, count)?;
            parts.push(self.rational(RBig::from_parts(IBig::ONE, below)));
            return self.product(&parts);
        }
        let (above, k, rest) = (self.factorial(n)?, self.factorial(k)?, self.factorial(rest)?);
        let below = self.product(&[k, rest])?;
        self.over(above, below)
    }

    fn modulo(&mut self, x: Tid, m: Tid) -> Step<Tid> {
        let Some(modulus) = self.as_rational(m).cloned() else {
            return Ok(self.keep(Function::Mod, &[x, m]));
        };
        if modulus.is_zero() {
            return Ok(self.undefined());
        }
        if let Some(value) = self.as_rational(x).cloned() {
            let times = RBig::from((&value / &modulus).floor());
            return Ok(self.rational(value - times * modulus));
        }
        if modulus.is_int()
            && !negative(&modulus)
            && let Ok(word) = u64::try_from(modulus.numerator())
            && let Some(residue) = self.integer_residue(x, word)?
        {
            return Ok(self.rational(integer(residue)));
        }
        Ok(self.keep(Function::Mod, &[x, m]))
    }

    /// An integer's residue, though it be too long to write out.
    fn integer_residue(&mut self, root: Tid, modulus: u64) -> Step<Option<u64>> {
        let order = self.reachable(&[root])?;
        let mut values: Vec<Option<u64>> = vec![None; root.index() + 1];
        let mul = |a: u64, b: u64| ((a as u128 * b as u128) % modulus as u128) as u64;
        let reduce = |value: &IBig| {
            let wide = value % IBig::from(modulus);
            let wide = if wide < IBig::ZERO { wide + modulus } else { wide };
            u64::try_from(wide).ok()
        };
        for id in order {
            values[id.index()] = match &self.term(id).clone() {
                Term::Rational(value) if value.is_int() => reduce(value.numerator()),
                Term::Sum(constant, list) if constant.is_int() => {
                    let mut total = reduce(constant.numerator());
                    for (part, factor) in list.iter() {
                        total = match (total, values[part.index()], factor.is_int()) {
                            (Some(total), Some(part), true) => {
                                reduce(factor.numerator()).map(|f| {
                                    ((total as u128 + mul(f, part) as u128) % modulus as u128)
                                        as u64
                                })
                            }
                            _ => None,
                        };
                    }
                    total
                }
                Term::Product(list) => {
                    let mut total = Some(1 % modulus);
                    for &(base, exponent) in list.iter() {
                        let times = match self.term(exponent) {
                            Term::Rational(e) if e.is_int() && !negative(e) => {
                                e.numerator().clone()
                            }
                            _ => {
                                total = None;
                                break;
                            }
                        };
                        let (Some(before), Some(base)) = (total, values[base.index()]) else {
                            total = None;
                            break;
                        };
                        self.budget.charge(20 * times.bit_len() as u64 + 4)?;
                        let mut power = 1 % modulus;
                        for bit in (0..times.bit_len()).rev() {
                            power = mul(power, power);
                            if times.bit(bit) {
                                power = mul(power, base);
                            }
                        }
                        total = Some(mul(before, power));
                    }
                    total
                }
                _ => None,
            };
        }
        Ok(values[root.index()])
    }

    fn gcd_lcm(&mut self, function: Function, arguments: &[Tid]) -> Step<Tid> {
        let mut total: Option<UBig> = None;
        for &argument in arguments {
            let value = match self.as_rational(argument) {
                Some(value) if value.is_int() => number::magnitude(value).0,
                _ => {
                    let mut sorted = arguments.to_vec();
                    sorted.sort();
                    sorted.dedup();
                    return Ok(self.keep(function, &sorted));
                }
            };
            total = Some(match total {
                None => value,
                Some(before) => {
                    let words = ((before.bit_len() + value.bit_len()) / 64 + 1) as u64;
                    self.budget.charge(words * words * 4)?;
                    if value.is_zero() || before.is_zero() {
                        if function == Function::Gcd { value + before } else { UBig::ZERO }
                    } else {
                        let gcd = (&before).gcd(&value);
                        if function == Function::Gcd {
                            gcd
                        } else if before.bit_len() + value.bit_len() > 1 << 18 {
                            return Err(crate::reward::verdict::Reason::TooLarge);
                        } else {
                            before / gcd * value
                        }
                    }
                }
            });
        }
        Ok(self.rational(RBig::from(IBig::from(total.unwrap_or(UBig::ZERO)))))
    }

    fn extreme(&mut self, function: Function, arguments: &[Tid]) -> Step<Tid> {
        let wanted = if function == Function::Max { Ordering::Greater } else { Ordering::Less };
        let mut sorted = arguments.to_vec();
        sorted.sort();
        sorted.dedup();
        let mut open = Vec::new();
        let mut best: Option<Tid> = None;
        for argument in sorted {
            let facts = self.facts(argument);
            if facts.broken {
                return Ok(argument);
            }
            let comparable = facts.constant && (facts.real || facts.infinite);
            match best {
                _ if !comparable => open.push(argument),
                None => best = Some(argument),
                Some(held) => match self.compare(argument, held)? {
                    Some(order) if order == wanted => best = Some(argument),
                    Some(_) => {}
                    None => open.push(argument),
                },
            }
        }
        open.extend(best);
        open.sort();
        Ok(if let [only] = open[..] { only } else { self.keep(function, &open) })
    }
}
