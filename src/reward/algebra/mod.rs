//! Whether two expressions have the same value.
//!
//! Four stages, cheapest first. Canonical terms ([`term`], [`canonical`], [`functions`]) are equal
//! exactly if their ids are. A difference that is a rational function is decided in finite fields
//! ([`modular`]), and so is every identity that follows from the laws of powers. What is left
//! (radicals, trigonometry, logarithms) is evaluated on complex balls ([`numeric`]): balls that
//! exclude zero prove a difference, and equality is taken from agreement to many digits at all
//! points tried.

use std::cmp::Ordering;

use dashu_int::IBig;
use dashu_ratio::RBig;

use super::budget::Budget;
use super::expr::{Arena, Id, NameId};
use super::verdict::Outcome;

mod ball;
mod calculus;
mod canonical;
mod complex;
mod constants;
mod decide;
mod elementary;
mod functions;
mod matrix;
mod modular;
mod number;
mod numeric;
mod read;
mod sums;
mod term;
#[cfg(test)]
mod tests;
mod value;

pub use value::Decimal;

/// Whether two scalar expressions are equal for all real values of their variables, on principal
/// branches and up to isolated points.
pub fn equal(arena: &Arena, a: Id, b: Id, budget: &mut Budget) -> Outcome {
    decide::equal(arena, a, b, budget)
}

/// The value of a variable-free expression, if folding shows that it is a rational number.
pub fn rational(arena: &Arena, id: Id, budget: &mut Budget) -> Option<RBig> {
    value::rational(arena, id, budget)
}

/// How two real variable-free expressions compare; infinities included.
pub fn order(arena: &Arena, a: Id, b: Id, budget: &mut Budget) -> Option<Ordering> {
    value::order(arena, a, b, budget)
}

/// The value of a variable-free expression, rounded to so many places after the decimal point, half
/// to even. None if it is not finite, or not certain.
pub fn decimal(arena: &Arena, id: Id, places: u32, budget: &mut Budget) -> Option<Decimal> {
    value::decimal(arena, id, places, budget)
}

/// Whether a variable-free expression is below 10^−`places` in magnitude.
pub fn is_small(arena: &Arena, id: Id, places: u32, budget: &mut Budget) -> Option<bool> {
    value::is_small(arena, id, places, budget)
}

/// Bounds for the value of a real variable-free expression, about 128 bits apart from it.
pub fn enclosure(arena: &Arena, id: Id, budget: &mut Budget) -> Option<(RBig, RBig)> {
    value::enclosure(arena, id, budget)
}

/// The integer, if a variable-free expression is one.
pub fn integer(arena: &Arena, id: Id, budget: &mut Budget) -> Option<IBig> {
    let value = rational(arena, id, budget)?;
    value.is_int().then(|| value.into_parts().0)
}

/// The variables that occur free, by name.
pub fn variables(arena: &Arena, id: Id) -> Vec<NameId> {
    read::variables(arena, id)
}
