//! What comparison asks of algebra, with errors told apart from answers.

use std::cmp::Ordering;

use dashu_ratio::RBig;

use super::{Comparison, tree};
use crate::reward::algebra;
use crate::reward::budget::Budget;
use crate::reward::expr::{Arena, Id, Node};
use crate::reward::verdict::Outcome;

/// Algebra looks at whole arenas, so that small expressions in large arenas are taken out first.
const LARGE_ARENA: usize = 512;

impl Comparison<'_> {
    /// Whether two scalars are equal, exactly.
    pub(super) fn exactly(&mut self, a: Id, b: Id) -> Outcome {
        self.apart(a, b, algebra::equal)
    }

    /// The rational value of a scalar without variables.
    pub(super) fn rational(&mut self, id: Id) -> Option<RBig> {
        // Most are written out.
        if let Node::Number(number) = self.arena.node(id) {
            return Some(self.arena.number(number).value.clone());
        }
        self.apart(id, id, |arena, id, _, budget| algebra::rational(arena, id, budget))
    }

    /// How two real numbers compare.
    pub(super) fn order(&mut self, a: Id, b: Id) -> Option<Ordering> {
        self.apart(a, b, algebra::order)
    }

    fn apart<T>(&mut self, a: Id, b: Id, ask: impl FnOnce(&Arena, Id, Id, &mut Budget) -> T) -> T {
        if self.arena.len() <= LARGE_ARENA {
            return ask(&self.arena, a, b, self.budget);
        }
        let (arena, [a, b]) = tree::extract(&self.arena, [a, b]);
        ask(&arena, a, b, self.budget)
    }

    /// How a real number compares with zero.
    pub(super) fn sign(&mut self, id: Id) -> Option<Ordering> {
        let zero = self.arena.integer(0);
        self.order(id, zero)
    }

    /// Whether it is certainly not zero.
    pub(super) fn is_nonzero(&mut self, id: Id) -> bool {
        let zero = self.arena.integer(0);
        self.exactly(id, zero) == Outcome::NotEqual
    }
}
