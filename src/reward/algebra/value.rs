//! Values of variable-free expressions: exact, in order, rounded, enclosed.

use std::cmp::Ordering;

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use crate::reward::budget::Budget;
use crate::reward::expr::{Arena, Constant, Id, Node};
use crate::reward::verdict::Outcome;

use super::ball::Ball;
use super::decide::equal_terms;
use super::number;
use super::numeric::{Fault, Value};
use super::term::{Step, Terms, Tid};

/// Most places after the decimal point that are computed.
const MAX_PLACES: u32 = 300;

/// A complex number rounded to a number of places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal {
    /// Real part × 10^places.
    pub re: IBig,
    /// Imaginary part × 10^places.
    pub im: IBig,
    /// Places after the decimal point.
    pub places: u32,
}

fn read(terms: &mut Terms<'_>, arena: &Arena, id: Id) -> Option<Tid> {
    terms.read(arena, &[id]).ok()?.first().copied()
}

/// The rational number.
pub fn rational(arena: &Arena, id: Id, budget: &mut Budget) -> Option<RBig> {
    if let Node::Number(number) = arena.node(id) {
        return Some(arena.number(number).value.clone());
    }
    let mut terms = Terms::new(budget);
    let id = read(&mut terms, arena, id)?;
    terms.as_rational(id).cloned()
}

/// How two numbers compare.
pub fn order(arena: &Arena, a: Id, b: Id, budget: &mut Budget) -> Option<Ordering> {
    if let (Node::Number(a), Node::Number(b)) = (arena.node(a), arena.node(b)) {
        return Some(arena.number(a).value.cmp(&arena.number(b).value));
    }
    let mut terms = Terms::new(budget);
    let read = terms.read(arena, &[a, b]).ok()?;
    let &[a, b] = &read[..] else { return None };
    compare(&mut terms, a, b).ok()?
}

fn compare(terms: &mut Terms<'_>, a: Tid, b: Tid) -> Step<Option<Ordering>> {
    for id in [a, b] {
        let facts = terms.facts(id);
        let infinity = terms.is_constant(id, Constant::Infinity)
            || terms.is_constant(id, Constant::NegativeInfinity);
        if facts.broken || !facts.constant || (facts.infinite && !infinity) {
            return Ok(None);
        }
    }
    if let Some(order) = terms.compare(a, b)? {
        return Ok(Some(order));
    }
    let same = equal_terms(terms, a, b)? == Outcome::Equal;
    Ok(same.then_some(Ordering::Equal))
}

/// Calls `check` with balls of growing precision for both parts until it answers.
fn approach<T>(
    arena: &Arena,
    id: Id,
    budget: &mut Budget,
    start: usize,
    check: impl Fn(&Ball, &Ball) -> Option<T>,
) -> Option<T> {
    let mut terms = Terms::new(budget);
    let id = read(&mut terms, arena, id)?;
    if terms.facts(id).broken || terms.facts(id).infinite {
        return None;
    }
    for precision in [start, 2 * start + 64] {
        match terms.value_of(id, precision) {
            Ok(Value::Finite(value)) => {
                if let Some(answer) = check(&value.re, &value.im) {
                    return Some(answer);
                }
            }
            Ok(Value::Tiny { .. }) => {
                let dust = Ball::around_zero(-4 * precision as i64);
                return check(&dust, &Ball::zero());
            }
            Ok(Value::Huge { .. }) | Err(Fault::Undefined | Fault::Spent(_)) => return None,
            Err(Fault::Vague) => {}
        }
    }
    None
}

/// Rounds half to even.
fn round(value: &RBig, places: u32) -> IBig {
    let scaled = value * RBig::from(UBig::from(10u8).pow(places as usize));
    let floor = scaled.floor();
    let rest = (scaled - RBig::from(floor.clone())) * number::integer(2);
    match rest.cmp(&number::integer(1)) {
        Ordering::Less => floor,
        Ordering::Greater => floor + 1u8,
        Ordering::Equal if (&floor & 1u8) == 0u8 => floor,
        Ordering::Equal => floor + 1u8,
    }
}

/// The rounded value.
pub fn decimal(arena: &Arena, id: Id, places: u32, budget: &mut Budget) -> Option<Decimal> {
    if places > MAX_PLACES {
        return None;
    }
    if let Some(value) = rational(arena, id, budget) {
        return Some(Decimal { re: round(&value, places), im: IBig::ZERO, places });
    }
    let part = |ball: &Ball| {
        let (low, high) = ball.ends()?;
        let (low, high) = (round(&low, places), round(&high, places));
        (low == high).then_some(low)
    };
    let precision = 96 + 4 * places as usize;
    approach(arena, id, budget, precision, |re, im| {
        Some(Decimal { re: part(re)?, im: part(im)?, places })
    })
}

/// Whether the magnitude is below a power of ten.
pub fn is_small(arena: &Arena, id: Id, places: u32, budget: &mut Budget) -> Option<bool> {
    if places > MAX_PLACES {
        return None;
    }
    let limit = RBig::from_parts(IBig::ONE, UBig::from(10u8).pow(places as usize));
    if let Some(value) = rational(arena, id, budget) {
        return Some(number::abs(&value) < limit);
    }
    let square = &limit * &limit;
    approach(arena, id, budget, 96 + 4 * places as usize, |re, im| {
        let ends = |ball: &Ball| {
            let size = ball.abs();
            let (low, high) = size.ends()?;
            let low = if number::negative(&low) { number::integer(0) } else { low };
            Some((&low * &low, &high * &high))
        };
        if re.top().max(im.top()) > 1 << 16 {
            return Some(false);
        }
        let (re, im) = (ends(re)?, ends(im)?);
        if re.1 + im.1 < square {
            Some(true)
        } else if re.0 + im.0 >= square {
            Some(false)
        } else {
            None
        }
    })
}

/// Bounds.
pub fn enclosure(arena: &Arena, id: Id, budget: &mut Budget) -> Option<(RBig, RBig)> {
    if let Some(value) = rational(arena, id, budget) {
        return Some((value.clone(), value));
    }
    approach(arena, id, budget, 128, |re, im| if im.is_zero() { re.ends() } else { None })
}
