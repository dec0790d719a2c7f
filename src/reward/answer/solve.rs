//! Solutions of relations in one variable that need no solver: polynomials up to degree two, and
//! absolute values of them.

use std::cmp::Ordering;

use dashu_ratio::RBig;

use super::real_set::Piece;
use super::{Comparison, Kind, tree};
use crate::reward::expr::{Arena, Function, Id, NameId, Node, Relation};

impl Comparison<'_> {
    /// The real solutions of a relation or chain in one variable.
    pub(super) fn solutions(&mut self, id: Id) -> Option<Vec<Piece>> {
        let id = self.with_named_values(id);
        let &[variable] = tree::variables(&self.arena, id).as_slice() else { return None };
        let mut common = vec![self.everything()];
        for (sign, left, right) in self.relations_of(id)? {
            let solved = self.solve(sign, left, right, variable, 0)?;
            common = self.intersection(&common, &solved)?;
        }
        Some(common)
    }

    /// An applied function by itself on a side counts as the unknown: `0 < f(x) < 1`.
    fn with_named_values(&mut self, id: Id) -> Id {
        let Some(all) = self.relations_of(id) else { return id };
        let call = |id: &Id| matches!(self.arena.node(*id), Node::Call(..));
        let Some(call) = all.iter().flat_map(|(_, left, right)| [*left, *right]).find(call) else {
            return id;
        };
        let unknown = self.arena.symbol("f\u{1}");
        let mut renamed = Vec::with_capacity(all.len());
        for (sign, left, right) in all {
            let sides =
                [left, right].map(|side| match tree::same(&self.arena, side, call, self.budget) {
                    Ok(true) => unknown,
                    _ => side,
                });
            renamed.push(self.arena.push(Node::Relation(sign, sides[0], sides[1])));
        }
        if let [only] = renamed[..] {
            return only;
        }
        let kids = self.arena.list(&renamed);
        self.arena.push(Node::Chain(kids))
    }

    /// The relations that make up a relation or chain.
    pub(super) fn relations_of(&self, id: Id) -> Option<Vec<(Relation, Id, Id)>> {
        let one = |id| match self.arena.node(id) {
            Node::Relation(sign, left, right) => Some((sign, left, right)),
            _ => None,
        };
        match self.arena.node(id) {
            Node::Chain(kids) => self.arena.kids(kids).iter().map(|&kid| one(kid)).collect(),
            _ => one(id).map(|relation| vec![relation]),
        }
    }

    fn solve(
        &mut self,
        sign: Relation,
        left: Id,
        right: Id,
        variable: NameId,
        depth: usize,
    ) -> Option<Vec<Piece>> {
        if depth > 8 {
            return None;
        }
        let mentions = |arena: &Arena, id| tree::variables(arena, id).contains(&variable);
        for (sign, side, bound) in [(sign, left, right), (sign.mirrored(), right, left)] {
            if let Some(inner) = self.inside_abs(side)
                && !mentions(&self.arena, bound)
            {
                return self.solve_abs(sign, inner, bound, variable, depth);
            }
        }
        if sign == Relation::Ne {
            let equal = self.solve(Relation::Eq, left, right, variable, depth + 1)?;
            return Some(self.complement(&equal));
        }
        let alone =
            |arena: &Arena, id| matches!(arena.node(id), Node::Symbol(name) if name == variable);
        if sign == Relation::Eq && self.kind(right) == Kind::Set {
            // x = ±2, or x in a set.
            return if alone(&self.arena, left) { self.pieces(right) } else { None };
        }
        // x alone on one side is the usual case, and its bound may be any number.
        let zero = self.arena.integer(0);
        let (roots, signs) = if alone(&self.arena, left) && !mentions(&self.arena, right) {
            (vec![right], vec![Ordering::Less, Ordering::Greater])
        } else if alone(&self.arena, right) && !mentions(&self.arena, left) {
            (vec![left], vec![Ordering::Greater, Ordering::Less])
        } else {
            let degree = |arena: &Arena, id| degree(arena, id, variable);
            if degree(&self.arena, left)?.max(degree(&self.arena, right)?) > 2 {
                return None;
            }
            let difference = self.arena.sub(left, right);
            self.signs(difference, variable, zero)?
        };
        for &root in &roots {
            self.order(root, zero)?;
        }
        self.where_signs_fit(sign, &roots, &signs)
    }

    /// The argument of an absolute value.
    fn inside_abs(&self, id: Id) -> Option<Id> {
        match self.arena.node(id) {
            Node::Apply(Function::Abs, kids) => self.arena.kids(kids).first().copied(),
            _ => None,
        }
    }

    fn solve_abs(
        &mut self,
        sign: Relation,
        inner: Id,
        bound: Id,
        variable: NameId,
        depth: usize,
    ) -> Option<Vec<Piece>> {
        let depth = depth + 1;
        let minus = self.arena.neg(bound);
        match sign {
            Relation::Lt | Relation::Le => {
                let above = self.solve(sign.mirrored(), inner, minus, variable, depth)?;
                let below = self.solve(sign, inner, bound, variable, depth)?;
                self.intersection(&above, &below)
            }
            Relation::Gt | Relation::Ge => {
                let mut all = self.solve(sign.mirrored(), inner, minus, variable, depth)?;
                all.extend(self.solve(sign, inner, bound, variable, depth)?);
                self.in_sequence(all)
            }
            Relation::Eq => {
                if self.sign(bound)?.is_lt() {
                    return Some(Vec::new());
                }
                let mut all = self.solve(sign, inner, minus, variable, depth)?;
                all.extend(self.solve(sign, inner, bound, variable, depth)?);
                self.in_sequence(all)
            }
            Relation::Ne => {
                let equal = self.solve_abs(Relation::Eq, inner, bound, variable, depth)?;
                Some(self.complement(&equal))
            }
        }
    }

    /// The roots of a polynomial of degree two at most, ascending, and its signs between them.
    fn signs(&mut self, id: Id, x: NameId, zero: Id) -> Option<(Vec<Id>, Vec<Ordering>)> {
        // Its coefficients, from its values at 0, 1 and 2.
        let mut values = [zero; 3];
        for (point, value) in values.iter_mut().enumerate() {
            let point = self.arena.integer(point as u32);
            let at = tree::set_variable(&mut self.arena, id, x, point, self.budget).ok()??;
            *value = self.tidy(at);
        }
        let [at0, at1, at2] = values;
        let half = self.arena.exact(RBig::from(1) / RBig::from(2));
        let minus_two = self.arena.integer(-2);
        let middle = self.arena.mul(&[minus_two, at1]);
        let second = self.arena.add(&[at2, middle, at0]);
        let a = self.arena.mul(&[half, second]);
        let a = self.tidy(a);
        let minus_at0 = self.arena.neg(at0);
        let minus_a = self.arena.neg(a);
        let b = self.arena.add(&[at1, minus_at0, minus_a]);
        let b = self.tidy(b);
        let c = at0;
        let curved = self.sign(a)?;
        if curved.is_eq() {
            let rising = self.sign(b)?;
            if rising.is_eq() {
                return Some((Vec::new(), vec![self.sign(c)?]));
            }
            let minus_c = self.arena.neg(c);
            let root = self.arena.div(minus_c, b);
            return Some((vec![self.tidy(root)], vec![rising.reverse(), rising]));
        }
        let minus_four = self.arena.integer(-4);
        let squared = self.arena.mul(&[b, b]);
        let product = self.arena.mul(&[minus_four, a, c]);
        let discriminant = self.arena.add(&[squared, product]);
        let discriminant = self.tidy(discriminant);
        let minus_b = self.arena.neg(b);
        let two_a = self.arena.add(&[a, a]);
        match self.sign(discriminant)? {
            Ordering::Less => Some((Vec::new(), vec![curved])),
            Ordering::Equal => {
                let root = self.arena.div(minus_b, two_a);
                Some((vec![self.tidy(root)], vec![curved, curved]))
            }
            Ordering::Greater => {
                let root = self.arena.pow(discriminant, half);
                let minus_root = self.arena.neg(root);
                let mut roots = [minus_root, root].map(|root| {
                    let above = self.arena.add(&[minus_b, root]);
                    let root = self.arena.div(above, two_a);
                    self.tidy(root)
                });
                if curved.is_lt() {
                    roots.reverse();
                }
                Some((roots.to_vec(), vec![curved, curved.reverse(), curved]))
            }
        }
    }

    /// The same number, written shortly if it is rational.
    pub(super) fn tidy(&mut self, id: Id) -> Id {
        match self.rational(id) {
            Some(value) => self.arena.exact(value),
            None => id,
        }
    }

    /// Where a function with these roots, and these signs between them, has the sign wanted.
    fn where_signs_fit(
        &mut self,
        wanted: Relation,
        roots: &[Id],
        signs: &[Ordering],
    ) -> Option<Vec<Piece>> {
        let fits = |sign: Ordering| match wanted {
            Relation::Eq => sign.is_eq(),
            Relation::Ne => sign.is_ne(),
            Relation::Lt => sign.is_lt(),
            Relation::Le => sign.is_le(),
            Relation::Gt => sign.is_gt(),
            Relation::Ge => sign.is_ge(),
        };
        let Piece { low, high, .. } = self.everything();
        let lows = std::iter::once(low).chain(roots.iter().copied());
        let highs = roots.iter().copied().chain(std::iter::once(high));
        let mut pieces: Vec<Piece> = lows
            .zip(highs)
            .zip(signs)
            .filter(|(_, sign)| fits(**sign))
            .map(|((low, high), _)| Piece { low, high, low_open: true, high_open: true })
            .collect();
        if fits(Ordering::Equal) {
            pieces.extend(roots.iter().copied().map(Piece::point));
        }
        self.in_sequence(pieces)
    }
}

/// An upper bound of the degree of a polynomial; nothing if it is none.
fn degree(arena: &Arena, root: Id, x: NameId) -> Option<u32> {
    // Per part, children before parents: its degree, and whether x occurs in it.
    let parts = tree::parts(arena, root);
    let mut found: Vec<(Option<u32>, bool)> = Vec::with_capacity(parts.len());
    for &id in &parts {
        let at = |id: Id| {
            let place = parts.binary_search(&id).ok();
            place.and_then(|place| found.get(place)).copied().unwrap_or((None, true))
        };
        let inside = arena.children(id).any(|kid| at(kid).1);
        let degree = match arena.node(id) {
            Node::Symbol(name) => Some(u32::from(name == x)),
            Node::Add(kids) => {
                let mut kids = arena.kids(kids).iter();
                kids.try_fold(0, |top, &kid| Some(at(kid).0?.max(top)))
            }
            Node::Mul(kids) => {
                let mut kids = arena.kids(kids).iter();
                kids.try_fold(0u32, |sum, &kid| at(kid).0?.checked_add(sum))
            }
            Node::Pow(base, exponent) => match (at(base).0, arena.node(exponent)) {
                (Some(0), _) => (at(exponent).0 == Some(0)).then_some(0),
                (Some(base), Node::Number(exponent)) => {
                    let exponent = &arena.number(exponent).value;
                    let small = (1..=2u32).find(|&n| *exponent == RBig::from(n));
                    small.and_then(|n| n.checked_mul(base))
                }
                _ => None,
            },
            _ => (!inside).then_some(0),
        };
        let mentions = inside || matches!(arena.node(id), Node::Symbol(name) if name == x);
        found.push((degree, mentions));
    }
    found.last().and_then(|found| found.0)
}

#[cfg(test)]
mod tests {
    use crate::reward::answer::tests::{agree, differ, only_strict};

    #[test]
    fn inequalities_as_sets() {
        differ(&[(r"(2,7]", r"x>2,x<7"), (r"(2,7]", r"x\le 2,x>7")]);
        agree(&[
            (r"1<x<2", r"(1,2)"),
            (r"|x-1|<2", r"(-1,3)"),
            (r"x^2-5x+6>0", r"(-\infty,2)\cup(3,\infty)"),
            (r"x^2\le 2", r"[-\sqrt{2},\sqrt{2}]"),
            (r"x\ne 0", r"(-\infty,0)\cup(0,\infty)"),
            (r"2x+1\ge 7", r"[3,\infty)"),
            (r"x^2-5x+6=0", r"x=2,x=3"),
            (r"-2<g(t)\le 3", r"(-2,3]"),
            (r"h(x)>4", r"(4,\infty)"),
        ]);
        differ(&[(r"1<x<2", r"[1,2)"), (r"x^2<4", r"(-\infty,2)"), (r"x>2", r"[2,\infty)")]);
        only_strict(&[
            (r"(1,2)", r"1<x<2"),
            (r"[-1,1]", r"|x|\le 1"),
            (r"(-\infty,1)\cup(4,\infty)", r"x<1,x>4"),
            (r"(2,7]", r"x>2,x\le 7"),
        ]);
    }
}
