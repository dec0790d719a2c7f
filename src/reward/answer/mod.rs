//! When two answers are the same: one file for each kind of answer.
//!
//! [`compare`] brings both answers into one arena, frees them of assignments and hands them to the
//! rule for their kinds. Which rule applies does not depend on the conventions; what it accepts does.

mod facts;
mod list;
mod logic;
mod matrix;
mod number;
mod real_set;
mod relation;
mod solve;
mod solved;
mod symbol;
mod tree;

use super::budget::Budget;
use super::conventions::{Conventions, LetterCase};
use super::expr::{Arena, Id, Node};
use super::latex::Parsed;
use super::verdict::{Outcome, Reason, Rule};

/// Whether the prediction is the gold answer, and what decided. Not symmetric: the gold says which
/// kind of answer is wanted.
pub fn compare(
    gold: &Parsed,
    pred: &Parsed,
    conventions: &Conventions,
    budget: &mut Budget,
) -> (Outcome, Rule) {
    let first = compare_as_spelled(gold, pred, conventions, false, budget);
    if first.0.is_equal() || conventions.letter_case != LetterCase::Respelled {
        return first;
    }
    let second = compare_as_spelled(gold, pred, conventions, true, budget);
    // Respelled answers that could not be told apart are not known to differ.
    if second.0 == Outcome::NotEqual { first } else { second }
}

/// The comparison with the prediction's letters in its own case, or in the gold's.
fn compare_as_spelled(
    gold: &Parsed,
    pred: &Parsed,
    conventions: &Conventions,
    respell: bool,
    budget: &mut Budget,
) -> (Outcome, Rule) {
    let mut arena = gold.arena.clone();
    let pred_root = arena.import(&pred.arena, pred.root);
    let mut comparison = Comparison { arena, conventions, budget, depth: 0 };
    let spelled = comparison.spell(gold, pred, pred_root, respell);
    match spelled {
        Ok(Some((gold, pred))) => comparison.nodes(gold, pred),
        Ok(None) => (Outcome::NotEqual, Rule::Word),
        Err(reason) => (Outcome::Unknown(reason), Rule::Kind),
    }
}

/// One comparison under way.
struct Comparison<'a> {
    /// Both answers, and what is derived from them.
    arena: Arena,
    conventions: &'a Conventions,
    budget: &'a mut Budget,
    /// How many elements deep the comparison is; it follows the nesting of the answers.
    depth: usize,
}

/// Deepest nesting of sets in tuples in sets; beyond it answers are not compared.
const MAX_NESTING: usize = 16;
/// Work units for one pair of nodes, beside what algebra charges.
const PAIR: u64 = 256;

/// What an answer is, by its outermost node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scalar,
    Matrix,
    Tuple,
    /// Finite sets, intervals, unions.
    Set,
    Relation,
}

impl Comparison<'_> {
    fn kind(&self, id: Id) -> Kind {
        match self.arena.node(id) {
            Node::Set(_)
            | Node::List(_)
            | Node::Interval { .. }
            | Node::Union(_)
            | Node::Intersection(_)
            | Node::Difference(..)
            | Node::NumberSet(_) => Kind::Set,
            Node::Tuple(_) => Kind::Tuple,
            Node::Relation(..) | Node::Chain(_) | Node::Not(_) => Kind::Relation,
            Node::Matrix { .. } => Kind::Matrix,
            _ => Kind::Scalar,
        }
    }

    /// Compares two answers, or two parts of answers.
    fn nodes(&mut self, gold: Id, pred: Id) -> (Outcome, Rule) {
        if self.depth > MAX_NESTING {
            return (Outcome::Unknown(Reason::TooLarge), Rule::Kind);
        }
        if let Err(reason) = self.budget.charge(PAIR) {
            return (Outcome::Unknown(reason), Rule::Kind);
        }
        self.depth += 1;
        let verdict = self.unwrapped(gold, pred);
        self.depth -= 1;
        verdict
    }

    /// Compares two elements, entries or ends.
    fn elements(&mut self, gold: Id, pred: Id) -> Outcome {
        self.nodes(gold, pred).0
    }

    fn unwrapped(&mut self, gold: Id, pred: Id) -> (Outcome, Rule) {
        match tree::same(&self.arena, gold, pred, self.budget) {
            Ok(true) => return (Outcome::Equal, Rule::Identical),
            Ok(false) => {}
            Err(reason) => return (Outcome::Unknown(reason), Rule::Kind),
        }
        if self.conventions.reject_false_equations && self.says_something_false(pred) {
            return (Outcome::NotEqual, Rule::FalseEquation);
        }
        let (gold, pred) = self.without_assignments(gold, pred);
        let (gold, pred) = (self.settled(gold), self.settled(pred));
        match tree::same(&self.arena, gold, pred, self.budget) {
            Ok(true) => return (Outcome::Equal, Rule::Identical),
            Ok(false) => {}
            Err(reason) => return (Outcome::Unknown(reason), Rule::Kind),
        }
        if let Some(verdict) = self.words(gold, pred) {
            return verdict;
        }
        match (self.kind(gold), self.kind(pred)) {
            (Kind::Relation, Kind::Relation) => (self.relations(gold, pred), Rule::Relation),
            (Kind::Relation, Kind::Set) => self.relation_and_set(gold, pred, true),
            (Kind::Set, Kind::Relation) => self.relation_and_set(pred, gold, false),
            (Kind::Set | Kind::Tuple, _) | (_, Kind::Set | Kind::Tuple) => self.sets(gold, pred),
            (Kind::Relation, _) | (_, Kind::Relation) => (Outcome::NotEqual, Rule::Kind),
            _ => match self.symbols(gold, pred) {
                Some(outcome) => (outcome, Rule::Word),
                None => self.matrices(gold, pred).unwrap_or_else(|| self.numbers(gold, pred)),
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::reward::latex::{self, Dialect};

    /// Whether the answers are the same to Math-Verify, and in truth.
    pub fn verdicts(gold: &str, pred: &str) -> (bool, bool) {
        let verdict = |dialect, conventions| {
            let (gold, pred) =
                (latex::parse(gold, dialect).unwrap(), latex::parse(pred, dialect).unwrap());
            compare(&gold, &pred, &conventions, &mut Budget::default()).0.is_equal()
        };
        (
            verdict(Dialect::MATH_VERIFY, Conventions::math_verify()),
            verdict(
                Dialect::STRICT,
                // So that the way from sets to relations is tried too.
                Conventions { allow_set_relation_comp: true, ..Conventions::strict() },
            ),
        )
    }

    fn expect(cases: &[(&str, &str)], verdict: (bool, bool)) {
        for (gold, pred) in cases {
            assert_eq!(verdicts(gold, pred), verdict, "{gold} against {pred}");
        }
    }

    /// The same to both.
    pub fn agree(cases: &[(&str, &str)]) {
        expect(cases, (true, true));
    }

    /// Different to both.
    pub fn differ(cases: &[(&str, &str)]) {
        expect(cases, (false, false));
    }

    /// The same to Math-Verify, but not in truth.
    pub fn only_math_verify(cases: &[(&str, &str)]) {
        expect(cases, (true, false));
    }

    /// The same in truth, but not to Math-Verify.
    pub fn only_strict(cases: &[(&str, &str)]) {
        expect(cases, (false, true));
    }

    #[test]
    fn kinds_do_not_mix() {
        differ(&[
            (r"5", r"(5,6)"),
            (r"x", r"x=y"),
            (r"k>1", r"k=1"),
            (r"v=3", r"v\le 3"),
            (r"\begin{pmatrix}1\\2\end{pmatrix}", r"(1,2)"),
            (r"\{1,2\}", r"[1,2]"),
        ]);
        agree(&[(r"3", r"\{3\}"), (r"\{3\}", r"3")]);
    }

    #[test]
    fn work_is_bounded() {
        let list = |term: fn(usize) -> String, sign: &str| {
            let all: Vec<String> = (0..300).map(term).collect();
            latex::parse(&all.join(sign), Dialect::STRICT).unwrap()
        };
        let nested = |end: &str| {
            let text = format!("{}{end}{}", r"\{".repeat(40), r"\}".repeat(40));
            latex::parse(&text, Dialect::STRICT).unwrap()
        };
        let pairs = [
            (list(|n| format!(r"\sqrt{{{}}}", 3 * n + 2), ","), list(|n| format!("{n}.5"), ",")),
            (list(|n| format!("x_{{{n}}}"), "<"), list(|n| format!("x_{{{}}}", 299 - n), "<")),
            (list(|n| format!("x+{n}"), "="), list(|n| format!("x+{}", n + 1), "=")),
            (nested("x"), nested("y")),
        ];
        for (gold, pred) in pairs {
            for conventions in [Conventions::math_verify(), Conventions::strict()] {
                // A hundredth of the budget of a check is enough, or is noticed.
                let mut budget = Budget::new(200_000);
                compare(&gold, &pred, &conventions, &mut budget);
                let verdict = compare(&gold, &gold, &conventions, &mut Budget::default()).0;
                assert_eq!(verdict, Outcome::Equal);
            }
        }
    }

    #[test]
    fn a_spent_budget_is_said() {
        let list = |step: usize| {
            let all: Vec<String> =
                (0..200).map(|n| format!(r"\sqrt{{{}}}", n * step + 2)).collect();
            latex::parse(&all.join(","), Dialect::STRICT).unwrap()
        };
        let mut budget = Budget::new(1000);
        let verdict = compare(&list(3), &list(5), &Conventions::strict(), &mut budget).0;
        assert_eq!(verdict, Outcome::Unknown(Reason::Budget));
    }
}
