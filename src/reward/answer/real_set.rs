//! Sets of real numbers as disjoint intervals in order.

use std::cmp::Ordering;

use super::Comparison;
use crate::reward::conventions::Decimals;
use crate::reward::expr::{Constant, Id, Node, NumberSet};
use crate::reward::verdict::Outcome;

/// An interval, or a single number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub low: Id,
    pub high: Id,
    pub low_open: bool,
    pub high_open: bool,
}

impl Piece {
    pub(super) fn point(id: Id) -> Self {
        Self { low: id, high: id, low_open: false, high_open: false }
    }
}

impl Comparison<'_> {
    /// An interval with its ends in the wrong order is a pair, [2, 2] is {2}; infinite ends are open.
    pub(super) fn settled(&mut self, id: Id) -> Id {
        let Node::Interval { low, high, low_open, high_open } = self.arena.node(id) else {
            return id;
        };
        if low_open == high_open {
            match self.order(low, high) {
                Some(Ordering::Equal) if !low_open => {
                    let point = self.arena.list(&[low]);
                    return self.arena.push(Node::Set(point));
                }
                Some(Ordering::Greater | Ordering::Equal) => {
                    let pair = self.arena.list(&[low, high]);
                    return self.arena.push(Node::Tuple(pair));
                }
                _ => {}
            }
        }
        let (left, right) =
            (low_open || self.is_infinite(low), high_open || self.is_infinite(high));
        if (left, right) == (low_open, high_open) {
            return id;
        }
        self.arena.push(Node::Interval { low, high, low_open: left, high_open: right })
    }

    fn is_infinite(&self, id: Id) -> bool {
        match self.arena.node(id) {
            Node::Constant(Constant::Infinity | Constant::NegativeInfinity) => true,
            Node::Mul(_) => self.arena.children(id).any(|kid| {
                matches!(
                    self.arena.node(kid),
                    Node::Constant(Constant::Infinity | Constant::NegativeInfinity)
                )
            }),
            _ => false,
        }
    }

    /// The real set that an answer is, in order, if its ends are numbers that can be compared.
    pub(super) fn pieces(&mut self, id: Id) -> Option<Vec<Piece>> {
        self.pieces_at(id, 0)
    }

    fn pieces_at(&mut self, id: Id, depth: usize) -> Option<Vec<Piece>> {
        if depth > super::MAX_NESTING {
            return None;
        }
        let id = self.settled(id);
        match self.arena.node(id) {
            Node::Interval { low, high, low_open, high_open } => {
                let piece = Piece { low, high, low_open, high_open };
                Some(if self.is_inhabited(&piece)? { vec![piece] } else { Vec::new() })
            }
            Node::Set(kids) | Node::List(kids) | Node::Tuple(kids) => {
                let points = self.arena.kids(kids).to_vec().into_iter().map(Piece::point).collect();
                self.in_sequence(points)
            }
            Node::Union(kids) => {
                let mut all = Vec::new();
                for kid in self.arena.kids(kids).to_vec() {
                    all.extend(self.pieces_at(kid, depth + 1)?);
                }
                self.in_sequence(all)
            }
            Node::Intersection(kids) => {
                let mut common: Option<Vec<Piece>> = None;
                for kid in self.arena.kids(kids).to_vec() {
                    let pieces = self.pieces_at(kid, depth + 1)?;
                    common = Some(match common {
                        None => pieces,
                        Some(common) => self.intersection(&common, &pieces)?,
                    });
                }
                common
            }
            Node::Difference(a, b) => {
                let a = self.pieces_at(a, depth + 1)?;
                let b = self.pieces_at(b, depth + 1)?;
                let rest = self.complement(&b);
                self.intersection(&a, &rest)
            }
            Node::NumberSet(NumberSet::Reals) => Some(vec![self.everything()]),
            // {x | x > 0} is a union of one.
            Node::Relation(..) | Node::Chain(_) if depth > 0 => self.solutions(id),
            _ => None,
        }
    }

    /// All real numbers.
    pub(super) fn everything(&mut self) -> Piece {
        let low = self.arena.push(Node::Constant(Constant::NegativeInfinity));
        let high = self.arena.push(Node::Constant(Constant::Infinity));
        Piece { low, high, low_open: true, high_open: true }
    }

    fn is_inhabited(&mut self, piece: &Piece) -> Option<bool> {
        Some(match self.order(piece.low, piece.high)? {
            Ordering::Less => true,
            Ordering::Equal => !piece.low_open && !piece.high_open,
            Ordering::Greater => false,
        })
    }

    /// How two pieces begin.
    fn starts(&mut self, a: &Piece, b: &Piece) -> Option<Ordering> {
        Some(self.order(a.low, b.low)?.then(a.low_open.cmp(&b.low_open)))
    }

    /// Sorts pieces and joins those that touch.
    pub(super) fn in_sequence(&mut self, pieces: Vec<Piece>) -> Option<Vec<Piece>> {
        let mut sorted: Vec<Piece> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            // Binary insertion: comparing ends costs more than moving pieces.
            let (mut low, mut high) = (0, sorted.len());
            while low < high {
                let middle = usize::midpoint(low, high);
                let other = *sorted.get(middle)?;
                match self.starts(&other, &piece)? {
                    Ordering::Greater => high = middle,
                    _ => low = middle + 1,
                }
            }
            sorted.insert(low, piece);
        }
        let mut joined: Vec<Piece> = Vec::with_capacity(sorted.len());
        for piece in sorted {
            let Some(last) = joined.last().copied() else {
                // A point that can not be compared with itself is no real number.
                self.order(piece.low, piece.high)?;
                joined.push(piece);
                continue;
            };
            let touch = match self.order(last.high, piece.low)? {
                Ordering::Greater => true,
                Ordering::Equal => !last.high_open || !piece.low_open,
                Ordering::Less => false,
            };
            if !touch {
                joined.push(piece);
                continue;
            }
            let (high, high_open) = match self.order(last.high, piece.high)? {
                Ordering::Less => (piece.high, piece.high_open),
                Ordering::Equal => (last.high, last.high_open && piece.high_open),
                Ordering::Greater => (last.high, last.high_open),
            };
            if let Some(last) = joined.last_mut() {
                (last.high, last.high_open) = (high, high_open);
            }
        }
        Some(joined)
    }

    /// What lies in both.
    pub(super) fn intersection(&mut self, a: &[Piece], b: &[Piece]) -> Option<Vec<Piece>> {
        let mut common = Vec::new();
        for a in a {
            for b in b {
                let start = if self.starts(a, b)?.is_ge() { a } else { b };
                let end = match self.order(a.high, b.high)? {
                    Ordering::Less => a,
                    Ordering::Greater => b,
                    Ordering::Equal if a.high_open => a,
                    Ordering::Equal => b,
                };
                let piece = Piece {
                    low: start.low,
                    low_open: start.low_open,
                    high: end.high,
                    high_open: end.high_open,
                };
                if self.is_inhabited(&piece)? {
                    common.push(piece);
                }
            }
        }
        self.in_sequence(common)
    }

    /// What lies outside of pieces in order.
    pub(super) fn complement(&mut self, pieces: &[Piece]) -> Vec<Piece> {
        let Piece { low, high, .. } = self.everything();
        let mut gap = Piece { low, high, low_open: true, high_open: true };
        let mut gaps = Vec::with_capacity(pieces.len() + 1);
        for piece in pieces {
            if !self.is_infinite(piece.low) {
                gaps.push(Piece { high: piece.low, high_open: !piece.low_open, ..gap });
            }
            gap = Piece { low: piece.high, low_open: !piece.high_open, ..gap };
        }
        if !self.is_infinite(gap.low) || pieces.is_empty() {
            gaps.push(gap);
        }
        gaps
    }

    /// Whether two sets of pieces in order are the same, ends compared as numbers are.
    pub(super) fn same_pieces(&mut self, gold: &[Piece], pred: &[Piece]) -> Outcome {
        let flags = |piece: &Piece| (piece.low_open, piece.high_open);
        if gold.len() != pred.len() || !gold.iter().map(flags).eq(pred.iter().map(flags)) {
            return Outcome::NotEqual;
        }
        let mut all = Outcome::Equal;
        for (a, b) in gold.iter().zip(pred) {
            for (a, b) in [(a.low, b.low), (a.high, b.high)] {
                // Math-Verify rounds the ends of one interval, not of several.
                let exact = self.conventions.decimals == Decimals::Places && gold.len() > 1;
                all = all.and(|| match exact {
                    true => Outcome::from_bool(self.order(a, b) == Some(Ordering::Equal)),
                    false => self.elements(a, b),
                });
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use crate::reward::answer::tests::{agree, differ};

    #[test]
    fn unions_and_gaps() {
        agree(&[
            (r"[1,4]", r"[1,2]\cup[2,3)\cup[3,4]"),
            (r"(0,1]", r"(0,1)\cup\{1\}"),
            (r"[0,5]\setminus\{2\}", r"[0,2)\cup(2,5]"),
            (r"\mathbb{R}", r"(-\infty,\infty)"),
            (r"\mathbb{R}\setminus\{0\}", r"(0,\infty)\cup(-\infty,0)"),
            (r"\{7\}", r"[7,7]"),
            (r"(-\infty,a)\cup(b,\infty)", r"(b,\infty)\cup(-\infty,a)"),
            (r"[0,\infty)", r"[0,\infty]"),
        ]);
        differ(&[
            (r"(1,4)", r"(1,2)\cup(2,4)"),
            (r"[1,2]", r"[1,2)"),
            (r"[1,2]\cup[3,4]", r"[1,4]"),
            (r"(0,1]", r"(1,0]"),
            (r"\mathbb{Z}", r"\mathbb{R}"),
        ]);
    }
}
