//! Numbers and other scalars: exact values, decimals, percentages.

use std::cmp::Ordering;

use dashu_int::ops::BitTest;
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::{Comparison, tree};
use crate::reward::conventions::Decimals;
use crate::reward::expr::{Arena, Function, Id, Node};
use crate::reward::verdict::{Outcome, Rule};

/// Fewest significant digits of a decimal that may approximate.
const FEWEST_DIGITS: usize = 3;
/// Longest decimal whose digits are counted, in bits.
const LONGEST_DECIMAL: usize = 4096;

impl Comparison<'_> {
    /// Compares two scalars.
    pub(super) fn numbers(&mut self, gold: Id, pred: Id) -> (Outcome, Rule) {
        if let Some(outcome) = self.ratios(gold, pred) {
            return (outcome, Rule::Exact);
        }
        let (gold, pred) = self.without_lone_base(gold, pred);
        if self.same_percent(gold, pred) {
            return (Outcome::Equal, Rule::Percent);
        }
        match self.conventions.decimals {
            Decimals::Places => match self.numbers_by_places(gold, pred) {
                // Math-Verify drops bars only where every part shows its sign.
                (Outcome::Equal, Rule::Exact) if self.has_bars(gold) != self.has_bars(pred) => {
                    (Outcome::NotEqual, Rule::Exact)
                }
                verdict => verdict,
            },
            Decimals::Digits => self.numbers_by_digits(gold, pred),
        }
    }

    /// Whether the absolute value of a sum of variables occurs.
    fn has_bars(&self, id: Id) -> bool {
        tree::parts(&self.arena, id).into_iter().any(|part| match self.arena.node(part) {
            Node::Apply(Function::Abs, kids) => self.arena.kids(kids).iter().any(|&kid| {
                let sum = |id| {
                    matches!(self.arena.node(id), Node::Add(_))
                        && self.arena.children(id).any(|part| !self.is_square(part))
                };
                let sums = sum(kid)
                    || matches!(self.arena.node(kid), Node::Mul(_))
                        && self.arena.children(kid).any(sum);
                sums && !tree::variables(&self.arena, kid).is_empty()
            }),
            _ => false,
        })
    }

    /// A number, an even power, or a multiple of one.
    fn is_square(&self, id: Id) -> bool {
        match self.arena.node(id) {
            // As deep as the parser goes, at most.
            Node::Mul(_) => self.arena.children(id).all(|kid| self.is_square(kid)),
            Node::Pow(_, exponent) => number(&self.arena, exponent)
                .is_some_and(|(value, _)| (value / RBig::from(2)).is_int()),
            _ => tree::variables(&self.arena, id).is_empty(),
        }
    }

    /// Ratios of three and more, as the parser keeps them: 1:2:3 is 2:4:6.
    fn ratios(&mut self, gold: Id, pred: Id) -> Option<Outcome> {
        let (Node::Call(a, left), Node::Call(b, right)) =
            (self.arena.node(gold), self.arena.node(pred))
        else {
            return None;
        };
        if a != b || self.arena.name(a) != "ratio" || left.len() != right.len() {
            return None;
        }
        let (left, right) = (self.arena.kids(left).to_vec(), self.arena.kids(right).to_vec());
        let (&first, &other) = left.first().zip(right.first())?;
        let mut all = Outcome::from_bool(self.is_nonzero(first) && self.is_nonzero(other));
        for (a, b) in left.into_iter().zip(right).skip(1) {
            let (a, b) = (self.arena.mul(&[a, other]), self.arena.mul(&[b, first]));
            all = all.and(|| self.exactly(a, b));
        }
        Some(all)
    }

    /// A number's digits without the base that it is written in, where the other answer has none:
    /// the problem names it.
    fn without_lone_base(&self, gold: Id, pred: Id) -> (Id, Id) {
        let digits = |id| match self.arena.node(id) {
            Node::Call(name, kids) if self.arena.name(name) == "base" => {
                self.arena.kids(kids).first().copied()
            }
            _ => None,
        };
        let plain = |id| matches!(self.arena.node(id), Node::Number(_));
        match (digits(gold), digits(pred)) {
            (Some(gold), None) if plain(pred) => (gold, pred),
            (None, Some(pred)) if plain(gold) => (gold, pred),
            _ => (gold, pred),
        }
    }

    /// `9\%` beside `9`.
    fn same_percent(&self, gold: Id, pred: Id) -> bool {
        let bare = |id| match self.arena.node(id) {
            Node::Percent(id) => (literal(&self.arena, id), true),
            _ => (literal(&self.arena, id), false),
        };
        let ((a, one), (b, other)) = (bare(gold), bare(pred));
        let whole = |literal: &Option<(RBig, bool)>| {
            literal.as_ref().is_some_and(|(value, decimal)| !decimal && value.is_int())
        };
        let value = |literal: &Option<(RBig, bool)>| literal.as_ref().map(|found| found.0.clone());
        let accepted = self.conventions.percent_as_number && whole(&a) && whole(&b)
            || self.conventions.extra_percent_sign && other;
        one != other && accepted && a.is_some() && value(&a) == value(&b)
    }

    /// Exact values, with decimals good to all digits written.
    fn numbers_by_digits(&mut self, gold: Id, pred: Id) -> (Outcome, Rule) {
        let (a, b) = (self.rational(gold), self.rational(pred));
        let (one, other) = (self.decimal(gold, &a), self.decimal(pred, &b));
        if let (Some(a), Some(b)) = (&a, &b) {
            if a == b {
                return (Outcome::Equal, Rule::Exact);
            }
            // A whole number is meant exactly.
            let whole = |value: &RBig, decimal: bool| value.is_int() && !decimal;
            if whole(a, one.is_some()) || whole(b, other.is_some()) {
                return (Outcome::NotEqual, Rule::Exact);
            }
        }
        let finer = match (&one, &other) {
            (None, None) => return (self.exactly(gold, pred), Rule::Exact),
            (Some(_), None) => (one, pred),
            (None, Some(_)) => (other, gold),
            (Some(a), Some(b)) if a.places <= b.places => (one, pred),
            _ => (other, gold),
        };
        let (Some(decimal), exact) = finer else { return (Outcome::NotEqual, Rule::Decimal) };
        let enough = decimal.places >= self.conventions.float_rounding as usize
            && decimal.digits >= FEWEST_DIGITS;
        if !enough {
            return match (a, b) {
                (Some(_), Some(_)) => (Outcome::NotEqual, Rule::Exact),
                _ => (self.exactly(gold, pred), Rule::Exact),
            };
        }
        // Rounded or cut off: less than one unit of the last place written.
        let step = RBig::from(1) / RBig::from(IBig::from(10).pow(decimal.places));
        (self.within(exact, &decimal.value, &step), Rule::Decimal)
    }

    /// Math-Verify: decimals rounded to so many places, and small differences ignored.
    fn numbers_by_places(&mut self, gold: Id, pred: Id) -> (Outcome, Rule) {
        let (a, b) = (self.rational(gold), self.rational(pred));
        if a.is_some() && a == b {
            return (Outcome::Equal, Rule::Exact);
        }
        let form = |id| match self.arena.node(id) {
            Node::Percent(id) => literal(&self.arena, id),
            _ => literal(&self.arena, id),
        };
        let (one, other) = (form(gold), form(pred));
        let is_float = |form: &Option<(RBig, bool)>| form.as_ref().is_some_and(|form| form.1);
        if is_float(&one) || is_float(&other) {
            let whole = |id, value: &Option<RBig>| {
                value.as_ref().is_some_and(RBig::is_int) && !tree::has_decimal(&self.arena, id)
            };
            if whole(gold, &a) || whole(pred, &b) {
                let exact = a.is_none() || b.is_none();
                let outcome = if exact { self.exactly(gold, pred) } else { Outcome::NotEqual };
                return (outcome, Rule::Exact);
            }
            let outcome = match (&a, &b) {
                (Some(a), Some(b)) => Outcome::from_bool(self.rounded(a) == self.rounded(b)),
                (Some(a), None) => self.rounds_to(pred, &self.rounded(a)),
                (None, Some(b)) => self.rounds_to(gold, &self.rounded(b)),
                (None, None) => Outcome::NotEqual,
            };
            return (outcome.or(|| self.exactly(gold, pred)), Rule::Decimal);
        }
        if one.is_none() && other.is_none() && self.conventions.numeric_shortcut {
            let nothing = RBig::ZERO;
            let difference = self.arena.sub(gold, pred);
            let bound = RBig::from(1) / RBig::from(IBig::from(2).pow(self.shortcut_bits()));
            let small = match (&a, &b) {
                (Some(a), Some(b)) => {
                    let difference = a - b;
                    Outcome::from_bool(difference < bound && -difference < bound)
                }
                _ => self.within(difference, &nothing, &bound),
            };
            if small.is_equal() {
                return (small, Rule::Small);
            }
        }
        match (a, b) {
            (Some(_), Some(_)) => (Outcome::NotEqual, Rule::Exact),
            _ => (self.exactly(gold, pred), Rule::Exact),
        }
    }

    /// Bits after the point of the difference that Math-Verify's `numeric_precision` ignores.
    fn shortcut_bits(&self) -> usize {
        // Decimal digits to bits, less the three bits that sympy allows for noise.
        let digits = self.conventions.numeric_precision.min(1000) as usize + 1;
        (digits * 33_219 + 5_000) / 10_000 - 3
    }

    /// In units of the last place; a tie goes to the even one, as in sympy.
    fn rounded(&self, value: &RBig) -> IBig {
        let scaled = value * RBig::from(IBig::from(10).pow(self.places()));
        let floor = scaled.floor();
        let rest = scaled - RBig::from(floor.clone());
        let half = RBig::from(1) / RBig::from(2);
        let odd = !(&floor % IBig::from(2)).is_zero();
        match rest.cmp(&half) {
            Ordering::Less => floor,
            Ordering::Equal if !odd => floor,
            _ => floor + IBig::ONE,
        }
    }

    fn places(&self) -> usize {
        self.conventions.float_rounding.min(1000) as usize
    }

    /// Whether a real number rounds to this many units of the last place.
    fn rounds_to(&mut self, id: Id, units: &IBig) -> Outcome {
        let step = RBig::from(1) / RBig::from(IBig::from(10).pow(self.places()));
        let middle = RBig::from(units.clone()) * &step;
        self.within(id, &middle, &(step / RBig::from(2)))
    }

    /// Whether a real number lies less than a distance from a value.
    fn within(&mut self, id: Id, middle: &RBig, distance: &RBig) -> Outcome {
        if let Some(value) = self.rational(id) {
            let difference = value - middle;
            return Outcome::from_bool(difference < *distance && -difference < *distance);
        }
        let low = self.arena.exact(middle - distance);
        if self.order(low, id).is_none_or(Ordering::is_ge) {
            return Outcome::NotEqual;
        }
        let high = self.arena.exact(middle + distance);
        Outcome::from_bool(self.order(id, high).is_some_and(Ordering::is_lt))
    }

    /// The decimal that an expression is, written with a point somewhere.
    fn decimal(&self, id: Id, value: &Option<RBig>) -> Option<Decimal> {
        let value = value.as_ref()?;
        if !tree::has_decimal(&self.arena, id) {
            return None;
        }
        let places = places(value)?;
        let digits = value.numerator() * IBig::from(10).pow(places) / value.denominator();
        let mut digits = digits.to_string().trim_start_matches('-').len();
        if value.is_zero() {
            digits = 0;
        }
        Some(Decimal { value: value.clone(), places, digits })
    }
}

/// A decimal fraction.
struct Decimal {
    value: RBig,
    /// Digits after the point, without zeros at the end.
    places: usize,
    /// Digits without zeros at the start.
    digits: usize,
}

/// Places after the point that a number needs, if it ends.
fn places(value: &RBig) -> Option<usize> {
    let (mut rest, mut twos, mut fives) = (value.denominator().clone(), 0usize, 0usize);
    if rest.bit_len() > LONGEST_DECIMAL || value.numerator().bit_len() > LONGEST_DECIMAL {
        return None;
    }
    let (two, five) = (UBig::from(2u8), UBig::from(5u8));
    while (&rest % &two).is_zero() {
        rest /= &two;
        twos += 1;
    }
    while (&rest % &five).is_zero() {
        rest /= &five;
        fives += 1;
    }
    rest.is_one().then(|| twos.max(fives))
}

/// The value of a number written as one, a sign or a fraction bar included, and whether it has a
/// decimal point.
pub(super) fn literal(arena: &Arena, id: Id) -> Option<(RBig, bool)> {
    match arena.node(id) {
        Node::Number(number) => {
            let number = arena.number(number);
            Some((number.value.clone(), number.decimal))
        }
        Node::Mul(kids) => match *arena.kids(kids) {
            [a, b] => {
                let (a, point) = number(arena, a)?;
                match arena.node(b) {
                    // Only whole numbers make a fraction; 1.5/2 is a quotient.
                    Node::Pow(base, exponent) if !point && a.is_int() => {
                        let (base, point) = number(arena, base)?;
                        let (exponent, _) = number(arena, exponent)?;
                        let fraction = !point && base.is_int() && !base.is_zero();
                        (fraction && exponent == RBig::from(-1)).then(|| (a / base, false))
                    }
                    // Minus something.
                    _ if a == RBig::from(-1) => {
                        let (b, point) = literal_of_quotient(arena, b)?;
                        Some((-b, point))
                    }
                    _ => None,
                }
            }
            _ => None,
        },
        _ => None,
    }
}

fn number(arena: &Arena, id: Id) -> Option<(RBig, bool)> {
    match arena.node(id) {
        Node::Number(number) => {
            let number = arena.number(number);
            Some((number.value.clone(), number.decimal))
        }
        _ => None,
    }
}

/// A number, or a fraction of whole numbers, without a further sign.
fn literal_of_quotient(arena: &Arena, id: Id) -> Option<(RBig, bool)> {
    if let Some(number) = number(arena, id) {
        return Some(number);
    }
    let Node::Mul(kids) = arena.node(id) else { return None };
    let &[a, b] = arena.kids(kids) else { return None };
    let Node::Pow(base, exponent) = arena.node(b) else { return None };
    let ((a, one), (base, other)) = (number(arena, a)?, number(arena, base)?);
    let (exponent, _) = number(arena, exponent)?;
    let whole = !one && !other && a.is_int() && base.is_int() && !base.is_zero();
    (whole && exponent == RBig::from(-1)).then(|| (a / base, false))
}

#[cfg(test)]
mod tests {
    use crate::reward::answer::tests::{agree, differ, only_math_verify, only_strict};

    #[test]
    fn exact_values() {
        agree(&[
            (r"\frac{3}{6}", r"0.5"),
            (r"2^{70}", r"1180591620717411303424"),
            (r"(x+1)^2", r"x^2+2x+1"),
            (r"8.0", r"8"),
        ]);
        differ(&[(r"7", r"7.0000001"), (r"\frac{2}{3}", r"\frac{3}{2}"), (r"x+1", r"x-1")]);
    }

    #[test]
    fn decimals_and_what_they_round() {
        agree(&[
            (r"\frac{1}{3}", r"0.3333333"),
            (r"0.3333333", r"\frac{1}{3}"),
            (r"\sqrt{7}", r"2.645751"),
            (r"\frac{5}{6}", r"83.33333333\%"),
        ]);
        differ(&[
            (r"\frac{1}{3}", r"0.3333"),
            (r"\sqrt{7}", r"2.646"),
            (r"\pi", r"3.141692"),
            (r"1.475773162", r"1.475775162"),
        ]);
        only_math_verify(&[
            (r"0.0000001", r"0.0000004"),
            (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
            (r"\sqrt{2}\cdot 10^{-20}", r"\sqrt{3}\cdot 10^{-20}"),
            (r"42.0", r"42.0000001"),
        ]);
    }

    #[test]
    fn percentages() {
        agree(&[
            (r"9\%", r"9"),
            (r"0.28", r"28\%"),
            (r"28\%", r"\frac{7}{25}"),
            (r"\frac{7}{4}", r"175\%"),
        ]);
        only_strict(&[(r"12.5", r"12.5\%")]);
        differ(&[(r"0.28", r"28"), (r"12.5\%", r"12.5"), (r"5\%", r"0.5"), (r"5\%", r"500\%")]);
    }

    #[test]
    fn bases() {
        agree(&[(r"352_7", r"352"), (r"352", r"352_{7}"), (r"1011_2", r"1011_{2}")]);
        only_math_verify(&[(r"352_7", r"352_8")]);
        differ(&[(r"352_7", r"353_7"), (r"352_7", r"350")]);
    }

    #[test]
    fn ratios_of_three() {
        only_strict(&[(r"1:2:3", r"2:4:6")]);
        differ(&[(r"1:2:3", r"3:2:1")]);
    }
}
