//! Whether two expressions have the same value, exactly.

use std::cmp::Ordering;

use dashu_ratio::RBig;

use super::budget::Budget;
use super::expr::{Arena, Id};
use super::verdict::{Outcome, Reason};

/// Whether two scalar expressions are equal for all values of their variables.
pub fn equal(_arena: &Arena, _a: Id, _b: Id, _budget: &mut Budget) -> Outcome {
    Outcome::Unknown(Reason::Undecided)
}

/// The value of a variable-free expression, if it is a rational number.
pub fn rational(_arena: &Arena, _id: Id, _budget: &mut Budget) -> Option<RBig> {
    None
}

/// How two real variable-free expressions compare; infinities included.
pub fn order(_arena: &Arena, _a: Id, _b: Id, _budget: &mut Budget) -> Option<Ordering> {
    None
}
