//! The verdict on two expressions, from the cheapest argument that settles it.

use dashu_ratio::RBig;

use crate::reward::budget::Budget;
use crate::reward::expr::{Arena, Constant, Function, Id, Node};
use crate::reward::verdict::{Outcome, Reason};

use super::modular::{FIELDS, Modular, Residue};
use super::number::{self, fraction, integer};
use super::numeric::{Fault, Point, Span, Value, evaluate};
use super::term::{Step, Term, Terms, Tid};

/// Points tried in each field before the poles are too many.
const MODULAR_TRIES: u64 = 6;
/// Points at which an identity must hold.
const MODULAR_POINTS: usize = 2;

/// Whether two expressions are equal.
pub fn equal(arena: &Arena, a: Id, b: Id, budget: &mut Budget) -> Outcome {
    if a == b && matches!(arena.node(a), Node::Number(_) | Node::Symbol(_)) {
        return Outcome::Equal;
    }
    if let (Node::Number(a), Node::Number(b)) = (arena.node(a), arena.node(b)) {
        return Outcome::from_bool(arena.number(a).value == arena.number(b).value);
    }
    let mut terms = Terms::new(budget);
    decide(&mut terms, arena, a, b).unwrap_or_else(Outcome::Unknown)
}

fn decide(terms: &mut Terms<'_>, arena: &Arena, a: Id, b: Id) -> Step<Outcome> {
    let read = terms.read(arena, &[a, b])?;
    let &[a, b] = &read[..] else { return Ok(Outcome::Unknown(Reason::Undefined)) };
    equal_terms(terms, a, b)
}

/// Whether two terms are equal.
pub fn equal_terms(terms: &mut Terms<'_>, a: Tid, b: Tid) -> Step<Outcome> {
    let broken = |id| terms.facts(id).broken;
    if broken(a) || broken(b) {
        return Ok(Outcome::Unknown(Reason::Undefined));
    }
    if a == b {
        return Ok(Outcome::Equal);
    }
    let whole = |id| {
        terms.is_constant(id, Constant::Infinity)
            || terms.is_constant(id, Constant::NegativeInfinity)
    };
    if whole(a) || whole(b) {
        return Ok(if whole(a) && whole(b) {
            Outcome::NotEqual
        } else if terms.facts(if whole(a) { b } else { a }).infinite {
            Outcome::Unknown(Reason::Undecided)
        } else {
            // A function of variables is not infinite, nor is a number.
            Outcome::NotEqual
        });
    }
    let difference = terms.minus(a, b)?;
    is_zero(terms, difference)
}

/// Whether a term vanishes.
fn is_zero(terms: &mut Terms<'_>, difference: Tid) -> Step<Outcome> {
    if let Some(value) = terms.as_rational(difference) {
        return Ok(Outcome::from_bool(value.is_zero()));
    }
    if terms.facts(difference).broken {
        return Ok(Outcome::Unknown(Reason::Undefined));
    }
    if terms.as_gaussian(difference).is_some() {
        return Ok(Outcome::NotEqual);
    }
    if let Some(outcome) = in_fields(terms, difference)? {
        return Ok(outcome);
    }
    on_balls(terms, difference)
}

/// Trigonometric functions as exponentials, so that the laws of powers show their identities.
fn exponentialised(terms: &mut Terms<'_>, root: Tid) -> Step<Tid> {
    let order = terms.reachable(&[root])?;
    let trigonometric = |terms: &Terms<'_>, id: Tid| {
        matches!(terms.term(id), Term::Apply(Function::Sin | Function::Cos, _))
    };
    if !order.iter().any(|&id| trigonometric(terms, id)) {
        return Ok(root);
    }
    let i = terms.constant(Constant::I);
    terms.rewrite(root, &order, &mut |terms, function, parts| {
        let &[x] = parts else { return Ok(None) };
        let sine = match function {
            Function::Sin => true,
            Function::Cos => false,
            _ => return Ok(None),
        };
        let turn = terms.product(&[i, x])?;
        let back = terms.scale(turn, integer(-1))?;
        let (up, down) = (terms.exp(turn)?, terms.exp(back)?);
        let sign = if sine { -1 } else { 1 };
        let sum = terms.sum(&[(up, fraction(1, 2)), (down, fraction(sign, 2))])?;
        if !sine {
            return Ok(Some(sum));
        }
        // Over i
        let turned = terms.product(&[i, sum])?;
        terms.scale(turned, integer(-1)).map(Some)
    })
}

/// A verdict from finite fields, if they give one.
fn in_fields(terms: &mut Terms<'_>, difference: Tid) -> Step<Option<Outcome>> {
    let plain = exponentialised(terms, difference)?;
    if terms.facts(plain).broken {
        return Ok(None);
    }
    if let Some(value) = terms.as_rational(plain) {
        return Ok(Some(Outcome::from_bool(value.is_zero())));
    }
    let prepared = Modular::prepare(terms, plain)?;
    for field in &FIELDS {
        let mut zeros = 0;
        for try_ in 0..MODULAR_TRIES {
            match prepared.evaluate(terms, field, try_)? {
                Residue::Other if prepared.has_atoms => return Ok(None),
                Residue::Other => return Ok(Some(Outcome::NotEqual)),
                Residue::Zero => zeros += 1,
                Residue::Pole => {}
            }
            if zeros == MODULAR_POINTS {
                break;
            }
        }
        if zeros == 0 {
            return Ok(None);
        }
    }
    if prepared.long_exponents
        && let Outcome::NotEqual = on_balls(terms, difference)?
    {
        return Ok(Some(Outcome::NotEqual));
    }
    Ok(Some(Outcome::Equal))
}

/// Precisions, in bits.
const PRECISIONS: [usize; 3] = [128, 256, 512];
/// Points for differences with variables.
const POINTS: u64 = 10;
/// Points of these at which an identity must be seen to hold.
const LEAST_POINTS: usize = 4;

fn scramble(number: u64, point: u64) -> u64 {
    let mut z = number ^ point.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The value of a variable at a point: above one, below one, negative, large, and mixtures.
fn coordinate(number: u64, point: u64) -> RBig {
    let random = scramble(number, point + 1);
    let part = fraction((random % 1009 + 1) as i64, 1013);
    let flip = |value: RBig| if random >> 32 & 1 == 1 { -value } else { value };
    match point {
        0 => part + integer(1),
        1 => part,
        2 => -(part * integer(3)),
        3 => flip(part * integer(2)),
        4 => flip(part),
        5 => part * integer(7) + integer(2),
        6 => -part,
        7 => flip(part * integer(500) + integer(20)),
        8 => flip(part * integer(4)),
        _ => -(part * integer(1000) + integer(30)),
    }
}

/// The value of a variable among exponents, where larger ones would make some powers so small that
/// no digit of them shows beside the others.
fn modest_coordinate(number: u64, point: u64) -> RBig {
    let value = coordinate(number, point);
    match point {
        5 => value / integer(3),
        7 => value / integer(160),
        9 => value / integer(256),
        _ => value,
    }
}

/// Largest magnitude of a far point, in bits.
const FAR_BITS: usize = 64;
/// Most magnitudes at which far points are taken.
const MOST_FAR: usize = 6;

/// Magnitudes beyond which nothing changes its sign any more, and others about which a sum in the
/// expression does: `|x − 10⁶|` is `10⁶ − x` at every small point. Only where a function has
/// branches or corners.
fn far_magnitudes(terms: &Terms<'_>, order: &[Tid]) -> Vec<RBig> {
    let has_corners = order.iter().any(|&id| match terms.term(id) {
        Term::Apply(function, _) => {
            !matches!(function, Function::Sin | Function::Cos | Function::Factorial)
        }
        Term::Product(list) => list.iter().any(|(base, exponent)| {
            !terms.facts(*base).constant
                && terms.as_rational(*exponent).is_some_and(|value| !value.is_int())
        }),
        _ => false,
    });
    if !has_corners {
        return Vec::new();
    }
    let mut found: Vec<RBig> = Vec::new();
    let mut all = integer(1);
    for &id in order {
        let Term::Sum(constant, list) = terms.term(id) else { continue };
        for (_, factor) in list.iter() {
            let root = if factor.is_zero() { continue } else { number::abs(&(constant / factor)) };
            let scale = if root.is_zero() { number::abs(factor) } else { root.clone() };
            if number::bits(&scale) > FAR_BITS {
                continue;
            }
            let larger = if scale < integer(1) { integer(1) / &scale } else { scale };
            if number::bits(&all) + number::bits(&larger) <= FAR_BITS {
                all *= larger;
            }
            if root > integer(20) && !found.contains(&root) && found.len() < MOST_FAR {
                found.push(root);
            }
        }
    }
    found.push(all * integer(2));
    found
}

/// Whether the expression differs from zero at a far point: just above, just below, and at their
/// negatives.
fn differs_far_away(terms: &mut Terms<'_>, order: &[Tid], difference: Tid) -> Step<bool> {
    for (place, magnitude) in far_magnitudes(terms, order).into_iter().enumerate() {
        for side in 0..4u64 {
            let variable = |number: u64| {
                let random = scramble(number, 64 + 4 * place as u64 + side);
                let part = fraction((random % 1009 + 1) as i64, 4052);
                let value = &magnitude * (integer(1) + if side & 1 == 0 { part } else { -part });
                // All on one side, so that none of two variables hides the other's corner.
                if side & 2 == 0 { value } else { -value }
            };
            for precision in PRECISIONS {
                let mut at = Point { variable: &variable, bound: Vec::new() };
                match look(terms, order, difference, precision, &mut at)? {
                    Seen::Apart => return Ok(true),
                    Seen::Together | Seen::Nothing => break,
                    Seen::Vague => {}
                }
            }
        }
    }
    Ok(false)
}

/// Natural numbers for variables, for factorials.
fn natural(number: u64, point: u64) -> RBig {
    integer((scramble(number, point + 1) % (4 + 3 * point)) as i64 + point as i64 / 2)
}

enum Seen {
    Apart,
    Together,
    /// Not defined here.
    Nothing,
    /// More digits are needed.
    Vague,
}

/// A verdict from evaluation.
fn on_balls(terms: &mut Terms<'_>, difference: Tid) -> Step<Outcome> {
    let order = terms.reachable(&[difference])?;
    let facts = terms.facts(difference);
    let naturals = order.iter().any(|&id| {
        matches!(terms.term(id), Term::Apply(Function::Factorial, list)
            if !terms.facts(list[0]).constant)
    });
    let mut calls: Vec<u64> = Vec::new();
    for &id in &order {
        if let Term::Call(_, number, _) = terms.term(id) {
            calls.push(*number);
        }
    }
    calls.sort_unstable();
    // Values of one unknown function at several places may be equal without looking so.
    let guessed = calls.windows(2).any(|pair| pair[0] == pair[1]);
    let powers = order.iter().any(|&id| match terms.term(id) {
        Term::Product(list) => list.iter().any(|(_, exponent)| !terms.facts(*exponent).constant),
        _ => false,
    });
    let points = if facts.constant { 1 } else { POINTS };
    let needed = if facts.constant { 1 } else { LEAST_POINTS };
    let mut together = 0;
    let mut usable = 0;
    for point in 0..points {
        let variable = |number: u64| {
            if naturals {
                natural(number, point)
            } else if powers {
                modest_coordinate(number, point)
            } else {
                coordinate(number, point)
            }
        };
        let mut agreed = 0;
        let mut last = Seen::Vague;
        for precision in PRECISIONS {
            let mut at = Point { variable: &variable, bound: Vec::new() };
            last = look(terms, &order, difference, precision, &mut at)?;
            match last {
                Seen::Together => agreed += 1,
                Seen::Apart | Seen::Nothing => break,
                Seen::Vague => {}
            }
            if agreed == 2 {
                break;
            }
        }
        match last {
            Seen::Apart => {
                return Ok(if guessed {
                    Outcome::Unknown(Reason::Undecided)
                } else {
                    Outcome::NotEqual
                });
            }
            Seen::Nothing => continue,
            _ => usable += 1,
        }
        together += usize::from(agreed == 2);
    }
    Ok(if usable == 0 {
        Outcome::Unknown(if facts.constant { Reason::Undefined } else { Reason::Undecided })
    } else if together == usable && usable >= needed {
        let refuted = !facts.constant
            && !naturals
            && !powers
            && !guessed
            && differs_far_away(terms, &order, difference)?;
        Outcome::from_bool(!refuted)
    } else {
        Outcome::Unknown(Reason::Undecided)
    })
}

fn look(
    terms: &mut Terms<'_>,
    order: &[Tid],
    root: Tid,
    precision: usize,
    point: &mut Point<'_>,
) -> Step<Seen> {
    let mut span = Span { low: 0, high: 0 };
    Ok(match evaluate(terms, order, root, precision, point, &mut span) {
        Ok(Value::Huge { .. } | Value::Tiny { .. }) => Seen::Apart,
        Ok(Value::Finite(value)) => {
            if !value.contains_zero() {
                Seen::Apart
            } else if value.is_zero() {
                Seen::Together
            } else {
                // Small against everything that went into it, and nothing that went into it so
                // small that it would not show.
                let digits = precision as i64;
                let small = value.top() < span.high - digits / 2;
                let shows = span.high - span.low + 64 <= digits;
                if small && shows { Seen::Together } else { Seen::Vague }
            }
        }
        Err(Fault::Undefined) => Seen::Nothing,
        Err(Fault::Vague) => Seen::Vague,
        Err(Fault::Spent(reason)) => return Err(reason),
    })
}
