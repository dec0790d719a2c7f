//! Equations, inequalities, chains of them, and the sets they describe.

use std::cmp::Ordering;

use dashu_ratio::RBig;

use super::real_set::Piece;
use super::{Comparison, Kind, number, tree};
use crate::reward::expr::{Constant, Id, NameId, Node, Number, Relation, only_symbols};
use crate::reward::verdict::{Outcome, Rule};

type Sides = (Relation, Id, Id);

/// Work units for one pair of relations: expressions are built and tried at points.
const RELATION: u64 = 4096;

impl Comparison<'_> {
    /// Whether it says that things are equal: an equation or a chain of them.
    pub(super) fn is_equation(&self, id: Id) -> bool {
        self.relations_of(id).is_some_and(|all| {
            !all.is_empty() && all.iter().all(|(sign, ..)| *sign == Relation::Eq)
        })
    }

    /// An equation that gives something a name: only symbols on its left.
    fn is_assignment(&self, id: Id) -> bool {
        self.is_equation(id)
            && self
                .relations_of(id)
                .and_then(|all| all.first().copied())
                .is_some_and(|(_, left, _)| only_symbols(&self.arena, left))
    }

    /// Takes names off answers: of `x = 3` and `3` the names do not matter, of `x = 3` and `y = 3`
    /// they do. The gold decides which it is.
    pub(super) fn without_assignments(&mut self, mut gold: Id, mut pred: Id) -> (Id, Id) {
        if self.conventions.free_chains {
            (gold, pred) = (self.spread(gold, pred), self.spread(pred, gold));
        }
        let gold_assigns = self.is_assignment(gold);
        let pred_equates = self.is_equation(pred);
        let gold_equates = self.is_equation(gold);
        if gold_assigns {
            gold = self.shortened(gold);
        }
        if self.is_assignment(pred) {
            pred = self.shortened(pred);
        }
        let unsolved = self.conventions.same_solutions && self.is_unsolved_root(pred);
        if pred_equates && !gold_equates && !unsolved {
            pred = self.value_side(pred);
        } else if gold_assigns && !pred_equates {
            gold = self.value_side(gold);
        }
        (gold, pred)
    }

    /// `(x, y) = (1, 2)` as the list `x = 1, y = 2`, if the other answer is such a list.
    fn spread(&mut self, id: Id, other: Id) -> Id {
        let Some(others) = self.set_kids(other) else { return id };
        if !self.arena.kids(others).iter().all(|&other| self.is_equation(other)) {
            return id;
        }
        let Node::Relation(Relation::Eq, names, values) = self.arena.node(id) else { return id };
        let values = match self.arena.node(values) {
            Node::Tuple(kids) => self.arena.kids(kids).to_vec(),
            Node::Interval { low, high, low_open: true, high_open: true } => vec![low, high],
            _ => return id,
        };
        let Node::Tuple(names) = self.arena.node(names) else { return id };
        let names = self.arena.kids(names).to_vec();
        if names.len() != values.len() {
            return id;
        }
        let equations: Vec<Id> = names
            .into_iter()
            .zip(values)
            .map(|(name, value)| self.arena.push(Node::Relation(Relation::Eq, name, value)))
            .collect();
        let kids = self.arena.list(&equations);
        self.arena.push(Node::List(kids))
    }

    /// A chain `x = 1 + 2 = 3` as `x = 3`.
    fn shortened(&mut self, id: Id) -> Id {
        let Node::Chain(_) = self.arena.node(id) else { return id };
        let all = self.relations_of(id).unwrap_or_default();
        match (all.first(), all.last()) {
            (Some(&(_, left, _)), Some(&(_, _, right))) => {
                self.arena.push(Node::Relation(Relation::Eq, left, right))
            }
            _ => id,
        }
    }

    /// The value that an equation gives: its last side, or in `3 = x` the first.
    fn value_side(&self, id: Id) -> Id {
        let all = self.relations_of(id).unwrap_or_default();
        match (all.first(), all.last()) {
            (Some(&(_, left, _)), Some(&(_, _, right))) => {
                let named = |id| only_symbols(&self.arena, id);
                let swapped = self.conventions.same_solutions && named(right) && !named(left);
                if swapped { left } else { right }
            }
            _ => id,
        }
    }

    /// Whether it contains an equation between numbers that does not hold.
    pub(super) fn says_something_false(&mut self, id: Id) -> bool {
        let all = self.relations_of(id).unwrap_or_default();
        all.into_iter().any(|(sign, left, right)| {
            sign == Relation::Eq
                && [left, right].iter().all(|&side| {
                    self.kind(side) == Kind::Scalar
                        && tree::variables(&self.arena, side).is_empty()
                        && !self.mentions_calls(side)
                })
                && self.is_false_equation(left, right)
        })
    }

    fn mentions_calls(&self, id: Id) -> bool {
        let opaque = |id| matches!(self.arena.node(id), Node::Call(..) | Node::Matrix { .. });
        tree::parts(&self.arena, id).into_iter().any(opaque)
    }

    fn is_false_equation(&mut self, left: Id, right: Id) -> bool {
        if self.exactly(left, right) != Outcome::NotEqual {
            return false;
        }
        let decimal = |id| tree::has_decimal(&self.arena, id);
        if !decimal(left) && !decimal(right) {
            return true;
        }
        if tree::is_zero(&self.arena, left) || tree::is_zero(&self.arena, right) {
            return false;
        }
        // People write = where they have rounded: a hundredth part is let pass.
        let difference = self.arena.sub(left, right);
        let hundred = self.arena.integer(100);
        let parts = self.arena.mul(&[hundred, difference]);
        let Some(size) = self.sign(left) else { return false };
        let parts = match self.sign(parts) {
            Some(Ordering::Less) => self.arena.neg(parts),
            Some(_) => parts,
            None => return false,
        };
        let whole = if size.is_lt() { self.arena.neg(left) } else { left };
        self.order(parts, whole) == Some(Ordering::Greater)
    }

    /// Compares two relations.
    pub(super) fn relations(&mut self, gold: Id, pred: Id) -> Outcome {
        if let (Node::Not(a), Node::Not(b)) = (self.arena.node(gold), self.arena.node(pred)) {
            return self.elements(a, b);
        }
        let (Some(a), Some(b)) = (self.relations_of(gold), self.relations_of(pred)) else {
            return Outcome::NotEqual;
        };
        if !self.conventions.free_chains {
            let chain = |id| matches!(self.arena.node(id), Node::Chain(_));
            if chain(gold) != chain(pred) || a.len() != b.len() {
                return Outcome::NotEqual;
            }
            let mut all = Outcome::Equal;
            for (a, b) in a.into_iter().zip(b) {
                all = all.and(|| self.relation(a, b));
            }
            return all;
        }
        self.free_relations(&a, &b).or(|| self.same_solution_sets(gold, pred))
    }

    /// Chains as collections of relations.
    fn free_relations(&mut self, gold: &[Sides], pred: &[Sides]) -> Outcome {
        if gold.len() != pred.len() {
            return Outcome::NotEqual;
        }
        let mut unused: Vec<Sides> = pred.to_vec();
        let mut all = Outcome::Equal;
        for &wanted in gold {
            let mut found = Outcome::NotEqual;
            for place in 0..unused.len() {
                let Some(&given) = unused.get(place) else { break };
                found = found.or(|| self.relation(wanted, given));
                if found.is_equal() {
                    unused.remove(place);
                    break;
                }
            }
            all = all.and(|| found);
            if !all.is_equal() {
                break;
            }
        }
        all
    }

    fn same_solution_sets(&mut self, gold: Id, pred: Id) -> Outcome {
        let (a, b) = (tree::variables(&self.arena, gold), tree::variables(&self.arena, pred));
        // To repeat the problem is not to solve it.
        let unsolved = self.is_assignment(gold) && !self.is_assignment(pred)
            || self.states_solution(gold) && !self.states_solution(pred);
        if a.len() != 1 || a != b || unsolved {
            return Outcome::NotEqual;
        }
        match (self.solutions(gold), self.solutions(pred)) {
            (Some(a), Some(b)) => self.same_pieces(&a, &b),
            _ => Outcome::NotEqual,
        }
    }

    /// Compares two single relations.
    fn relation(&mut self, gold: Sides, mut pred: Sides) -> Outcome {
        if let Err(reason) = self.budget.charge(RELATION) {
            return Outcome::Unknown(reason);
        }
        if self.conventions.bound_names {
            pred = self.with_golds_arguments(gold, pred);
        }
        let ((sign, a, b), (other, c, d)) = (gold, pred);
        let (same, mirrored) = (sign == other, sign == other.mirrored());
        let scalar = [a, b, c, d].iter().all(|&side| self.kind(side) == Kind::Scalar);
        let matrix = [a, b, c, d].iter().any(|&side| self.mentions_matrix(side));
        if self.conventions.same_solutions || !scalar || matrix {
            if self.alike_without_solutions(gold, pred).is_equal() {
                return Outcome::Equal;
            }
            let kinds = [a, b, c, d].map(|side| self.kind(side));
            // Math-Verify does not take a value for a list of one inside an equation.
            if !self.conventions.free_chains && kinds[..2] != kinds[2..] {
                return Outcome::NotEqual;
            }
            let mut sides = Outcome::NotEqual;
            if same {
                sides = self.elements(a, c).and(|| self.elements(b, d));
            }
            if mirrored {
                sides = sides.or(|| self.elements(a, d).and(|| self.elements(b, c)));
            }
            if sides.is_equal() || !scalar || matrix {
                return sides;
            }
        }
        if !same && !mirrored {
            return Outcome::NotEqual;
        }
        let (first, second) = (self.difference(a, b), self.difference(c, d));
        let variables = tree::variables(&self.arena, first);
        let others = tree::variables(&self.arena, second);
        let equations = sign == Relation::Eq && other == Relation::Eq;
        if self.conventions.same_solutions {
            if self.is_solution(a, b) && !self.isolates(c, d) {
                return Outcome::NotEqual;
            }
            if equations && self.repeats_identity(first, (a, b), second) {
                return Outcome::Equal;
            }
            if variables.is_empty() || others.is_empty() {
                return Outcome::NotEqual;
            }
            return match self.ratio(first, second, &variables) {
                Ok(Some(Some(ratio))) if ratio.is_gt() => Outcome::from_bool(same),
                Ok(Some(Some(_))) => Outcome::from_bool(mirrored),
                Ok(Some(None)) if same && mirrored => Outcome::Equal,
                Ok(_) if equations => self.linear_in_same(first, second, &variables),
                Ok(_) => Outcome::NotEqual,
                Err(outcome) => outcome,
            };
        }
        let mut outcome = Outcome::NotEqual;
        if same {
            outcome = self.elements(first, second);
        }
        if mirrored && sign != Relation::Ne {
            outcome = outcome.or(|| {
                let turned = self.difference(d, c);
                self.elements(first, turned)
            });
        }
        if !equations {
            return outcome;
        }
        if self.alike_without_solutions(gold, pred).is_equal() {
            return Outcome::Equal;
        }
        outcome.or(|| match (variables.len(), others.len()) {
            (2.., 2..) => match self.ratio(first, second, &variables) {
                Ok(Some(_)) => Outcome::Equal,
                Ok(None) => self.linear_in_same(first, second, &variables),
                Err(outcome) => outcome,
            },
            _ => Outcome::NotEqual,
        })
    }

    /// Of equations that always hold, like `log_3 27 = 3`, none says more than another; the same is
    /// one that is made of the same sides. Equations between numbers need not hold exactly, as
    /// people round: false ones have been turned away before.
    fn repeats_identity(&mut self, gold: Id, sides: (Id, Id), pred: Id) -> bool {
        let zero = self.arena.integer(0);
        let numeric = |id| tree::variables(&self.arena, id).is_empty();
        let (first, second) = (numeric(gold), numeric(pred));
        if first != second {
            return false;
        }
        let mut holds = |id| self.exactly(id, zero).is_equal();
        if !(first || holds(gold) && holds(pred)) {
            return false;
        }
        [sides.0, sides.1].into_iter().all(|side| {
            // Moved to the other side, a number changes its sign.
            let moved = number::literal(&self.arena, side)
                .map(|(value, decimal)| self.arena.push_number(Number { value: -value, decimal }));
            let mut occurs =
                |side| tree::contains(&self.arena, pred, side, self.budget).unwrap_or(false);
            occurs(side) || moved.is_some_and(occurs)
        })
    }

    /// Two equations are alike to Math-Verify if its solver finds nothing for either.
    fn alike_without_solutions(&mut self, gold: Sides, pred: Sides) -> Outcome {
        let equations = gold.0 == Relation::Eq && pred.0 == Relation::Eq;
        Outcome::from_bool(
            equations
                && self.conventions.numeric_equations_alike
                && self.has_no_solution(gold)
                && self.has_no_solution(pred),
        )
    }

    /// Math-Verify's solver finds no value of a variable where there is no variable, where any
    /// value will do, where the polynomial has no real root, where i is to be real, and in sums
    /// and multiples of matrices.
    fn has_no_solution(&mut self, (sign, left, right): Sides) -> bool {
        let i = |id| matches!(self.arena.node(id), Node::Constant(Constant::I));
        if i(left) || i(right) {
            return true;
        }
        if self.kind(left) != Kind::Scalar || self.kind(right) != Kind::Scalar {
            return false;
        }
        let numeric = |id| tree::variables(&self.arena, id).is_empty();
        if numeric(left) && numeric(right) {
            return true;
        }
        if self.mentions_matrix(left) || self.mentions_matrix(right) {
            return true;
        }
        if tree::same(&self.arena, left, right, self.budget) == Ok(true) {
            return true;
        }
        let relation = self.arena.push(Node::Relation(sign, left, right));
        self.solutions(relation).is_some_and(|pieces| pieces.is_empty())
    }

    fn mentions_matrix(&self, id: Id) -> bool {
        let matrix = |id| matches!(self.arena.node(id), Node::Matrix { .. });
        tree::parts(&self.arena, id).into_iter().any(matrix)
    }

    /// Left minus right; a zero is not written.
    fn difference(&mut self, left: Id, right: Id) -> Id {
        let mut nothing = |id| {
            tree::is_zero(&self.arena, id)
                || tree::variables(&self.arena, id).is_empty()
                    && self.kind(id) == Kind::Scalar
                    && self.rational(id).is_some_and(|value| value.is_zero())
        };
        if nothing(right) {
            left
        } else if nothing(left) {
            self.arena.neg(right)
        } else {
            self.arena.sub(left, right)
        }
    }

    /// Renames the argument of `f(t) = ..` to that of `f(x) = ..`.
    fn with_golds_arguments(&mut self, gold: Sides, pred: Sides) -> Sides {
        let (Node::Call(f, a), Node::Call(g, b)) =
            (self.arena.node(gold.1), self.arena.node(pred.1))
        else {
            return pred;
        };
        let symbols = |kids| -> Option<Vec<NameId>> {
            let one = |&id: &Id| match self.arena.node(id) {
                Node::Symbol(name) => Some(name),
                _ => None,
            };
            self.arena.kids(kids).iter().map(one).collect()
        };
        let (Some(a), Some(b)) = (symbols(a), symbols(b)) else { return pred };
        let used = tree::variables(&self.arena, pred.2);
        if f != g || a == b || a.len() != b.len() || a.iter().any(|name| used.contains(name)) {
            return pred;
        }
        let mut renamed = |id| {
            tree::replace(&mut self.arena, id, self.budget, |arena, name| {
                let place = b.iter().position(|&old| old == name)?;
                let new = *a.get(place)?;
                Some(arena.push(Node::Symbol(new)))
            })
        };
        match (renamed(pred.1), renamed(pred.2)) {
            (Ok(left), Ok(right)) => (pred.0, left, right),
            _ => pred,
        }
    }

    /// Whether two expressions are the same up to a constant factor, and that factor's sign, as far
    /// as known: the ratio at one point must be the ratio everywhere.
    fn ratio(
        &mut self,
        first: Id,
        second: Id,
        variables: &[NameId],
    ) -> Result<Option<Option<Ordering>>, Outcome> {
        // Positive and not small, so that roots and logarithms mostly exist.
        const POINTS: [[u32; 4]; 3] = [[3, 7, 11, 5], [13, 2, 5, 17], [1, 19, 3, 23]];
        let mut undecided = None;
        for point in POINTS {
            let mut values = [first, second];
            for value in &mut values {
                for (place, &variable) in variables.iter().enumerate() {
                    let at = point.get(place % 4).copied().unwrap_or(1) + (place / 4) as u32;
                    let at = self.arena.exact(RBig::from(at) / RBig::from(2));
                    let set =
                        tree::set_variable(&mut self.arena, *value, variable, at, self.budget);
                    match set.map_err(Outcome::Unknown)? {
                        Some(set) => *value = set,
                        None => return Ok(None),
                    }
                }
            }
            let [a, b] = values;
            if !self.is_nonzero(a) || !self.is_nonzero(b) {
                continue;
            }
            let (left, right) = (self.arena.mul(&[first, b]), self.arena.mul(&[second, a]));
            match self.exactly(left, right) {
                Outcome::Equal => {
                    let (a, b) = (self.sign(a), self.sign(b));
                    let same = a
                        .zip(b)
                        .map(|(a, b)| if a == b { Ordering::Greater } else { Ordering::Less });
                    return Ok(Some(same));
                }
                Outcome::NotEqual => return Ok(None),
                unknown => undecided = Some(unknown),
            }
        }
        undecided.map_or(Ok(None), Err)
    }

    /// Whether two equations that are linear in a common variable give it the same value.
    fn linear_in_same(&mut self, first: Id, second: Id, variables: &[NameId]) -> Outcome {
        let mut all = Outcome::NotEqual;
        for &variable in variables.iter().take(4) {
            let (Some((a, b)), Some((c, d))) =
                (self.linear(first, variable), self.linear(second, variable))
            else {
                continue;
            };
            // A factor that both have in common says nothing of the rest.
            if !self.is_nonzero(b) {
                continue;
            }
            let (left, right) = (self.arena.mul(&[a, d]), self.arena.mul(&[b, c]));
            all = all.or(|| self.exactly(left, right));
            if all.is_equal() {
                break;
            }
        }
        all
    }

    /// Slope and constant of an expression that is linear in a variable.
    fn linear(&mut self, id: Id, variable: NameId) -> Option<(Id, Id)> {
        let mut values = [id; 3];
        for (point, value) in values.iter_mut().enumerate() {
            let point = self.arena.integer(point as u32);
            *value =
                tree::set_variable(&mut self.arena, id, variable, point, self.budget).ok()??;
        }
        let [constant, at1, at2] = values;
        let slope = self.arena.sub(at1, constant);
        if !self.is_nonzero(slope) {
            return None;
        }
        let wanted = self.arena.add(&[at1, slope]);
        if !self.exactly(at2, wanted).is_equal() {
            return None;
        }
        // Three points in line prove nothing for a sine; a value between must fit too.
        let half = self.arena.exact(RBig::from(7) / RBig::from(3));
        let between =
            tree::set_variable(&mut self.arena, id, variable, half, self.budget).ok()??;
        let part = self.arena.mul(&[slope, half]);
        let wanted = self.arena.add(&[constant, part]);
        self.exactly(between, wanted).is_equal().then_some((slope, constant))
    }

    /// Compares a relation with a set, by its solutions.
    pub(super) fn relation_and_set(
        &mut self,
        relation: Id,
        set: Id,
        relation_is_gold: bool,
    ) -> (Outcome, Rule) {
        if !relation_is_gold && !self.conventions.allow_set_relation_comp {
            return self.as_element(relation, set, relation_is_gold);
        }
        let by_solutions = |outcome| (outcome, Rule::Solutions);
        let numeric =
            tree::variables(&self.arena, relation).is_empty() && !self.mentions_matrix(relation);
        if relation_is_gold && numeric && !self.conventions.free_chains {
            // To Math-Verify its solutions are everything or nothing.
            return by_solutions(Outcome::NotEqual);
        }
        let paired = |relation, set| match relation_is_gold {
            true => (relation, set),
            false => (set, relation),
        };
        if self.conventions.free_chains {
            if self.relation_and_list(relation, set).is_equal() {
                return by_solutions(Outcome::Equal);
            }
            if let Some(interval) = self.written_interval(relation) {
                let (gold, pred) = paired(interval, set);
                if self.sets(gold, pred).0.is_equal() {
                    return by_solutions(Outcome::Equal);
                }
            }
        }
        let unsolved =
            self.conventions.same_solutions && !relation_is_gold && !self.states_solution(relation);
        if unsolved {
            return self.as_element(relation, set, relation_is_gold);
        }
        let Some(solved) = self.solutions(relation) else {
            return self.as_element(relation, set, relation_is_gold);
        };
        if let Some(pieces) = self.pieces(set) {
            let (gold, pred) = if relation_is_gold { (solved, pieces) } else { (pieces, solved) };
            return by_solutions(self.same_pieces(&gold, &pred));
        }
        if self.conventions.free_chains
            && let Some(pieces) = self.any_of(set)
        {
            let (gold, pred) = if relation_is_gold { (solved, pieces) } else { (pieces, solved) };
            return by_solutions(self.same_pieces(&gold, &pred));
        }
        match self.points(&solved) {
            Some(solved) => {
                let (gold, pred) = paired(solved, set);
                by_solutions(self.sets(gold, pred).0)
            }
            // Math-Verify has solved the gold by now, and does not look back.
            None if relation_is_gold && !self.conventions.free_chains => {
                by_solutions(Outcome::NotEqual)
            }
            None => self.as_element(relation, set, relation_is_gold),
        }
    }

    /// Finitely many solutions as a finite set.
    fn points(&mut self, pieces: &[Piece]) -> Option<Id> {
        let point = |piece: &Piece| (piece.low == piece.high).then_some(piece.low);
        let points: Vec<Id> = pieces.iter().map(point).collect::<Option<_>>()?;
        let kids = self.arena.list(&points);
        Some(self.arena.push(Node::Set(kids)))
    }

    /// The common solutions of a list of relations in one variable: `x > 1, x < 2`.
    pub(super) fn all_of(&mut self, set: Id) -> Option<Vec<Piece>> {
        let kids = self.set_kids(set)?;
        let kids = self.arena.kids(kids).to_vec();
        if kids.len() < 2 || tree::variables(&self.arena, set).len() != 1 {
            return None;
        }
        let mut common = vec![self.everything()];
        for kid in kids {
            if !self.states_solution(kid) {
                return None;
            }
            let solved = self.solutions(kid)?;
            common = self.intersection(&common, &solved)?;
        }
        // Of values that exclude each other any is meant.
        (!common.is_empty()).then_some(common)
    }

    /// The solutions of any relation in a list of relations in one variable: `x < 1, x > 2`.
    pub(super) fn any_of(&mut self, set: Id) -> Option<Vec<Piece>> {
        let kids = self.set_kids(set)?;
        let kids = self.arena.kids(kids).to_vec();
        if kids.len() < 2 || tree::variables(&self.arena, set).len() != 1 {
            return None;
        }
        let mut all = Vec::new();
        for kid in kids {
            if !self.states_solution(kid) {
                return None;
            }
            all.extend(self.solutions(kid)?);
        }
        self.in_sequence(all)
    }

    /// A relation is also a list of one.
    fn as_element(&mut self, relation: Id, set: Id, relation_is_gold: bool) -> (Outcome, Rule) {
        let outcome = match self.set_kids(set) {
            Some(kids) => match *self.arena.kids(kids) {
                [only] if relation_is_gold => self.elements(relation, only),
                [only] => self.elements(only, relation),
                _ => Outcome::NotEqual,
            },
            None => Outcome::NotEqual,
        };
        (outcome, Rule::Kind)
    }

    /// `1 < x < 2` beside the list `x > 1, x < 2`.
    fn relation_and_list(&mut self, relation: Id, set: Id) -> Outcome {
        let Some(kids) = self.set_kids(set) else { return Outcome::NotEqual };
        let kids = self.arena.kids(kids).to_vec();
        let listed: Option<Vec<Vec<Sides>>> =
            kids.iter().map(|&kid| self.relations_of(kid)).collect();
        match (listed, self.relations_of(relation)) {
            (Some(listed), Some(wanted)) => self.free_relations(&wanted, &listed.concat()),
            _ => Outcome::NotEqual,
        }
    }

    /// `a < x < b` as the interval (a, b), whatever a and b are.
    fn written_interval(&mut self, relation: Id) -> Option<Id> {
        let all = self.relations_of(relation)?;
        let &[(first, left, middle), (second, same, right)] = all.as_slice() else { return None };
        let (Node::Symbol(name), Node::Symbol(other)) =
            (self.arena.node(middle), self.arena.node(same))
        else {
            return None;
        };
        let free = |id| !tree::variables(&self.arena, id).contains(&name);
        if name != other || !free(left) || !free(right) {
            return None;
        }
        let open = |sign| match sign {
            Relation::Lt | Relation::Gt => Some(true),
            Relation::Le | Relation::Ge => Some(false),
            _ => None,
        };
        let rising = |sign| matches!(sign, Relation::Lt | Relation::Le);
        if rising(first) != rising(second) {
            return None;
        }
        let (one, two) = (open(first)?, open(second)?);
        Some(self.arena.push(if rising(first) {
            Node::Interval { low: left, high: right, low_open: one, high_open: two }
        } else {
            Node::Interval { low: right, high: left, low_open: two, high_open: one }
        }))
    }
}

#[cfg(test)]
mod tests {
    use crate::reward::answer::tests::{agree, differ, only_math_verify, only_strict};

    #[test]
    fn names_of_values() {
        agree(&[
            (r"3", r"x=3"),
            (r"x=3", r"3"),
            (r"y=2x+1", r"2x+1"),
            (r"x=3", r"3=x"),
            (r"x=1+2=3", r"3"),
            (r"5", r"2+3=5"),
        ]);
        differ(&[(r"x=3", r"y=3"), (r"x=3", r"4"), (r"42", r"42=43"), (r"y=2x+1", r"y=2x-1")]);
        only_math_verify(&[(r"3", r"x=1=2=3"), (r"42", r"43=42")]);
    }

    #[test]
    fn equations_scaled_and_rearranged() {
        agree(&[
            (r"y=2x+1", r"y-2x=1"),
            (r"x+y=1", r"2x+2y=2"),
            (r"\frac{x^2}{4}+\frac{y^2}{3}=1", r"3x^2+4y^2=12"),
            (r"y=\frac{1}{x}", r"xy=1"),
        ]);
        differ(&[
            (r"x+y=1", r"x+y=2"),
            (r"y=x^2", r"x=y^2"),
            (r"\frac{x^2}{4}+\frac{y^2}{3}=1", r"\frac{x^2}{16}+\frac{y^2}{12}=1"),
            (r"f(x)=x^2", r"g(x)=x^2"),
        ]);
        only_strict(&[
            (r"x^2-7x+9=0", r"2x^2-14x+18=0"),
            (r"f(x)=x^2", r"f(t)=t^2"),
            (r"x^2=9", r"x=\pm 3"),
        ]);
        only_math_verify(&[(r"\log_3 9=2", r"\log_2 8=3"), (r"\log_3 9=2", r"\log_3 9=2+1")]);
        agree(&[(r"\log_3 9=2", r"\log_3 9-2=0")]);
    }

    #[test]
    fn inequalities_and_chains() {
        agree(&[(r"x<3", r"3>x"), (r"-x<3", r"x>-3"), (r"a<b<c", r"a<b<c")]);
        differ(&[(r"x<3", r"x\le 3"), (r"x<3", r"x>3"), (r"a<b<c", r"b<a<c"), (r"x<3", r"y<3")]);
        only_strict(&[
            (r"a<b<c", r"c>b>a"),
            (r"x<3", r"2x<6"),
            (r"-1\le x\le 1", r"|x|\le 1"),
            (r"1<x<2", r"x>1,x<2"),
        ]);
    }

    #[test]
    fn the_problem_is_no_answer() {
        differ(&[(r"x=2", r"x^2-4x+4=0"), (r"2", r"2x-4=0")]);
    }
}
