//! Finite sets, lists and tuples, element by element.

use super::real_set::Piece;
use super::{Comparison, Kind, tree};
use crate::reward::expr::{Id, Kids, Node};
use crate::reward::verdict::{Outcome, Reason, Rule};

/// The elements of a finite answer.
struct Elements {
    ids: Vec<Id>,
    /// As opposed to a set or a bare list.
    ordered: bool,
    /// Written without brackets, so that it may be meant in order or not.
    bare: bool,
}

impl Comparison<'_> {
    /// Compares two answers of which one is a set or a tuple.
    pub(super) fn sets(&mut self, gold: Id, pred: Id) -> (Outcome, Rule) {
        if let (
            Node::Interval { low: a, high: b, low_open: c, high_open: d },
            Node::Interval { low: e, high: f, low_open: g, high_open: h },
        ) = (self.arena.node(gold), self.arena.node(pred))
        {
            if (c, d) != (g, h) {
                return (Outcome::NotEqual, Rule::RealSet);
            }
            let outcome = self.elements(a, e).and(|| self.elements(b, f));
            return (outcome, Rule::RealSet);
        }
        if let (Some(a), Some(b)) = (self.finite(gold), self.finite(pred)) {
            let rule = if a.ordered || b.ordered { Rule::Tuple } else { Rule::FiniteSet };
            return (self.finite_sets(a, b), rule);
        }
        let (Some(a), Some(b)) = (self.solved_pieces(gold), self.solved_pieces(pred)) else {
            return (self.unions_as_written(gold, pred), Rule::RealSet);
        };
        let mut same = self.same_pieces(&a, &b);
        if self.conventions.free_chains
            && !same.is_equal()
            && let Some(common) = self.all_of(pred)
        {
            // Whether a list means "and" or "or" is lost with the word between.
            same = same.or(|| self.same_pieces(&a, &common));
        }
        (same, Rule::RealSet)
    }

    /// The real set that an answer is, or that a list of relations describes.
    fn solved_pieces(&mut self, id: Id) -> Option<Vec<Piece>> {
        match self.pieces(id) {
            None if self.conventions.free_chains => self.any_of(id),
            pieces => pieces,
        }
    }

    /// Elements of what is a list by itself, or may be read as one: (1, 2) is a pair as well as an
    /// interval, and 3 a list of one.
    fn finite(&self, id: Id) -> Option<Elements> {
        let elements = |ids, ordered| Elements { ids, ordered, bare: false };
        match self.arena.node(id) {
            Node::Set(kids) => Some(elements(self.arena.kids(kids).to_vec(), false)),
            Node::List(kids) => {
                Some(Elements { bare: true, ..elements(self.arena.kids(kids).to_vec(), false) })
            }
            Node::Tuple(kids) => Some(elements(self.arena.kids(kids).to_vec(), true)),
            Node::Interval { low, high, low_open: true, high_open: true } => {
                Some(elements(vec![low, high], true))
            }
            _ if self.kind(id) == Kind::Set => None,
            _ => Some(elements(vec![id], false)),
        }
    }

    /// The elements of a finite set or a bare list.
    pub(super) fn set_kids(&self, id: Id) -> Option<Kids> {
        match self.arena.node(id) {
            Node::Set(kids) | Node::List(kids) => Some(kids),
            _ => None,
        }
    }

    fn finite_sets(&mut self, gold: Elements, pred: Elements) -> Outcome {
        match (gold.ordered, pred.ordered) {
            (true, true) => self.in_order(&gold.ids, &pred.ids),
            (false, false) => self.in_any_order(gold, pred),
            (golden, _) if self.conventions.sets_are_not_tuples => {
                let set = if golden { &pred } else { &gold };
                // What repeats elements or gives them names was no set, but a list.
                let named = set.ids.len() > 1 && set.ids.iter().all(|&id| self.is_equation(id));
                let repeats = match self.repeats(&set.ids) {
                    Ok(repeats) => repeats,
                    Err(reason) => return Outcome::Unknown(reason),
                };
                if !set.bare && !named && !repeats {
                    return Outcome::NotEqual;
                }
                self.in_order(&gold.ids, &pred.ids)
            }
            (true, false) => {
                // Math-Verify counts a set's distinct elements, but then takes them as written.
                match self.repeats(&pred.ids) {
                    Ok(false) => self.in_order(&gold.ids, &pred.ids),
                    Ok(true) => Outcome::NotEqual,
                    Err(reason) => Outcome::Unknown(reason),
                }
            }
            (false, true) => self.in_any_order(gold, pred),
        }
    }

    fn in_order(&mut self, gold: &[Id], pred: &[Id]) -> Outcome {
        if gold.len() != pred.len() {
            return Outcome::NotEqual;
        }
        let mut all = Outcome::Equal;
        for (&a, &b) in gold.iter().zip(pred) {
            all = all.and(|| self.elements(a, b));
        }
        all
    }

    /// Each gold element has a predicted one of its own; predicted ones left over repeat some gold
    /// element. Sameness hardly ever fails to be transitive, so that taking the first match will do.
    fn in_any_order(&mut self, gold: Elements, pred: Elements) -> Outcome {
        let count = self.conventions.duplicates_count;
        let mut counted = |elements: Elements| match count || elements.ordered {
            true => Ok(elements.ids),
            false => self.distinct(elements.ids),
        };
        let (gold, pred) = match (counted(gold), counted(pred)) {
            (Ok(gold), Ok(pred)) => (gold, pred),
            (Err(reason), _) | (_, Err(reason)) => return Outcome::Unknown(reason),
        };
        if !count && gold.len() != pred.len() || gold.len() > pred.len() {
            return Outcome::NotEqual;
        }
        let mut unused = vec![true; pred.len()];
        let mut all = Outcome::Equal;
        for (place, &wanted) in gold.iter().enumerate() {
            let mut found = Outcome::NotEqual;
            // Most lists come in the gold's order.
            let places = std::iter::once(place).chain(0..pred.len());
            for (nth, candidate) in places.enumerate() {
                if nth > 0 && candidate == place || !unused.get(candidate).is_some_and(|&free| free)
                {
                    continue;
                }
                let Some(&given) = pred.get(candidate) else { continue };
                found = found.or(|| self.elements(wanted, given));
                if found.is_equal() {
                    if let Some(free) = unused.get_mut(candidate) {
                        *free = false;
                    }
                    break;
                }
            }
            all = all.and(|| found);
            // Looking further would only take time, in deep sets very much of it.
            if !all.is_equal() {
                return all;
            }
        }
        let left: Vec<Id> =
            pred.iter().zip(&unused).filter(|(_, free)| **free).map(|(&id, _)| id).collect();
        for given in left {
            let mut found = Outcome::NotEqual;
            for &wanted in &gold {
                found = found.or(|| self.elements(wanted, given));
                if found.is_equal() {
                    break;
                }
            }
            all = all.and(|| found);
        }
        all
    }

    /// Elements without those that are written twice.
    fn distinct(&mut self, ids: Vec<Id>) -> Result<Vec<Id>, Reason> {
        let mut kept: Vec<Id> = Vec::with_capacity(ids.len());
        for id in ids {
            let mut twice = false;
            for &other in &kept {
                twice = twice || tree::same(&self.arena, id, other, self.budget)?;
            }
            if !twice {
                kept.push(id);
            }
        }
        Ok(kept)
    }

    fn repeats(&mut self, ids: &[Id]) -> Result<bool, Reason> {
        Ok(self.distinct(ids.to_vec())?.len() < ids.len())
    }

    /// Unions and the like whose ends can not be put in order are the same if written so.
    fn unions_as_written(&mut self, gold: Id, pred: Id) -> Outcome {
        match (self.arena.node(gold), self.arena.node(pred)) {
            (Node::Union(a), Node::Union(b)) => {
                let parts = |kids| {
                    let ids = self.arena.kids(kids).to_vec();
                    Elements { ids, ordered: false, bare: false }
                };
                let (a, b) = (parts(a), parts(b));
                match self.in_any_order(a, b) {
                    Outcome::NotEqual => Outcome::Unknown(Reason::Undecided),
                    outcome => outcome,
                }
            }
            (Node::Difference(..), Node::Difference(..))
            | (Node::Intersection(_), Node::Intersection(_)) => self.alike(gold, pred, 0),
            _ => Outcome::NotEqual,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::reward::answer::tests::{agree, differ, only_math_verify, only_strict};

    #[test]
    fn order_matters_in_tuples() {
        agree(&[
            (r"1,2,3", r"3,1,2"),
            (r"\{\frac{1}{2},4\}", r"\{4,0.5\}"),
            (r"(1,2),(3,4)", r"\{(3,4),(1,2)\}"),
            (r"(7,9,8)", r"(7.0,9,8)"),
            (r"(5,3)", r"(5,3)"),
        ]);
        differ(&[
            (r"(1,2,3)", r"(3,2,1)"),
            (r"(1,2),(3,4)", r"(2,1),(3,4)"),
            (r"(2,1)", r"\{1,2\}"),
            (r"1,2", r"1,2,3"),
            (r"1,2,3", r"1,2"),
        ]);
        only_math_verify(&[
            (r"\{1,2\}", r"(2,1)"),
            (r"\{3,4\}", r"(3,4)"),
            (r"(1,2)", r"\{1,2\}"),
            (r"5,8", r"(8,5)"),
        ]);
        agree(&[(r"(4,9,2)", r"4,9,2"), (r"7,6", r"(7,6)")]);
        differ(&[(r"(4,9,2)", r"9,4,2")]);
    }

    #[test]
    fn repeated_elements() {
        agree(&[(r"4,7", r"4,7,4")]);
        only_math_verify(&[(r"-2,-2", r"-2")]);
        only_strict(&[(r"-2,-2", r"(-2,-2)"), (r"-2,-2", r"a=-2,b=-2")]);
    }

    #[test]
    fn elements_with_names() {
        agree(&[
            (r"7,14", r"x=7,x=14"),
            (r"x=1,y=2", r"y=2,x=1"),
            (r"\pm 3", r"x=\pm 3"),
            (r"(2,5)", r"(x,y)=(2,5)"),
            (r"(2,5)", r"x=2,y=5"),
        ]);
        differ(&[(r"x=1,y=2", r"x=2,y=1")]);
    }
}
