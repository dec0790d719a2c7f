//! Whether a relation states its solution, or only what is to be solved: `2x + 3 = 7` is as true as
//! `x = 2`, but no answer.

use super::{Comparison, Kind, tree};
use crate::reward::expr::{Function, Id, Node, Relation};

impl Comparison<'_> {
    /// Whether every relation of a chain has a variable by itself on one side.
    pub(super) fn states_solution(&self, id: Id) -> bool {
        self.relations_of(id)
            .is_some_and(|all| all.into_iter().all(|(_, left, right)| self.isolates(left, right)))
    }

    /// A variable, or a multiple of it, beside what has no variables; all moved to one side is
    /// the same.
    pub(super) fn isolates(&self, left: Id, right: Id) -> bool {
        [(left, right), (right, left)].into_iter().any(|(side, other)| {
            self.is_multiple_of_variable(side) && self.is_free(other)
                || tree::is_zero(&self.arena, other) && self.is_shifted_variable(side)
        })
    }

    /// Whether a relation gives one variable its value or bound, with nothing left to do.
    pub(super) fn is_solution(&self, left: Id, right: Id) -> bool {
        let alone = |id| matches!(self.arena.node(id), Node::Symbol(_));
        alone(left) && self.is_free(right) || alone(right) && self.is_free(left)
    }

    /// Whether `... = 0` is an equation to be solved, not the value 0 of something: `x - 4 = 0`.
    pub(super) fn is_unsolved_root(&self, id: Id) -> bool {
        let Node::Relation(Relation::Eq, left, right) = self.arena.node(id) else { return false };
        let Node::Add(kids) = self.arena.node(left) else { return false };
        if !tree::is_zero(&self.arena, right) || self.is_free(left) {
            return false;
        }
        let mut seen = Vec::new();
        self.arena.kids(kids).iter().any(|&kid| {
            let names = tree::variables(&self.arena, kid);
            let again = names.is_empty() || names.iter().any(|name| seen.contains(name));
            seen.extend(names);
            again
        })
    }

    fn is_free(&self, id: Id) -> bool {
        tree::variables(&self.arena, id).is_empty()
    }

    /// `x`, `3x`, `-x/2`, `|x|`.
    fn is_multiple_of_variable(&self, mut id: Id) -> bool {
        loop {
            match self.arena.node(id) {
                Node::Symbol(_) => return true,
                Node::Apply(Function::Abs, kids) => {
                    let inside = self.arena.kids(kids).first().map(|&kid| self.arena.node(kid));
                    return matches!(inside, Some(Node::Symbol(_)));
                }
                Node::Mul(_) => match self.only_child_with_variables(id) {
                    Some(kid) => id = kid,
                    None => return false,
                },
                _ => return false,
            }
        }
    }

    /// `x - 4`
    fn is_shifted_variable(&self, id: Id) -> bool {
        self.kind(id) == Kind::Scalar
            && matches!(self.arena.node(id), Node::Add(_))
            && self
                .only_child_with_variables(id)
                .is_some_and(|kid| self.is_multiple_of_variable(kid))
    }

    fn only_child_with_variables(&self, id: Id) -> Option<Id> {
        let mut with = self.arena.children(id).filter(|&kid| !self.is_free(kid));
        let first = with.next()?;
        with.next().is_none().then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use crate::reward::answer::tests::{agree, differ, only_math_verify, only_strict};

    #[test]
    fn a_solution_is_not_an_equation_to_be_solved() {
        differ(&[
            (r"x=2", r"2x+3=7"),
            (r"x<3", r"2x+1<7"),
            (r"x=0,x=4", r"x^2=4x"),
            (r"\{-6,2\}", r"x^2+4x-12=0"),
            (r"(-1,4)", r"x^2-3x-4<0"),
        ]);
        only_math_verify(&[(r"x=-5", r"3x-1=2x-6"), (r"0", r"x-4=0"), (r"0", r"x^2-5x+6=0")]);
        agree(&[
            (r"x=4", r"x-4=0"),
            (r"x=4", r"4=x"),
            (r"x\ge 5", r"x-(5)\ge 0"),
            (r"0", r"a+b=0"),
        ]);
        only_strict(&[
            (r"x=4", r"2(x)=2(4)"),
            (r"x<3", r"2x<6"),
            (r"(-\infty,3)", r"x<3"),
            (r"[-2,2]", r"|x|\le 2"),
        ]);
    }
}
