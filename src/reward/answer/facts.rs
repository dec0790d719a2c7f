//! What comparison asks of algebra, with errors told apart from answers.

use std::cmp::Ordering;

use dashu_ratio::RBig;

use super::Comparison;
use crate::reward::algebra;
use crate::reward::expr::Id;
use crate::reward::verdict::Outcome;

impl Comparison<'_> {
    /// Whether two scalars are equal, exactly.
    pub(super) fn exactly(&mut self, a: Id, b: Id) -> Outcome {
        algebra::equal(&self.arena, a, b, self.budget)
    }

    /// The rational value of a scalar without variables.
    pub(super) fn rational(&mut self, id: Id) -> Option<RBig> {
        algebra::rational(&self.arena, id, self.budget)
    }

    /// How two real numbers compare.
    pub(super) fn order(&mut self, a: Id, b: Id) -> Option<Ordering> {
        algebra::order(&self.arena, a, b, self.budget)
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
