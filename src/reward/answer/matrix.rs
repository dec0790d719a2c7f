//! Matrices, entry by entry.

use rustc_hash::FxHashSet;

use super::{Comparison, tree};
use crate::reward::budget::{MAX_MATRIX, MAX_NODES};
use crate::reward::expr::{Function, Id, Node};
use crate::reward::verdict::{Outcome, Reason, Rule};

/// A matrix with its entries worked out.
struct Entries {
    rows: u32,
    columns: u32,
    entries: Vec<Id>,
}

impl Comparison<'_> {
    /// Compares two answers of which one contains a matrix.
    pub(super) fn matrices(&mut self, gold: Id, pred: Id) -> Option<(Outcome, Rule)> {
        let verdict = |outcome| Some((outcome, Rule::Matrix));
        match (self.has_matrix(gold), self.has_matrix(pred)) {
            (false, false) => return None,
            (true, true) => {}
            _ => return verdict(Outcome::NotEqual),
        }
        let (Some(a), Some(b)) = (self.entries(gold, 0), self.entries(pred, 0)) else {
            // Sums with factors that stay open are compared term by term.
            return verdict(self.alike(gold, pred, 0));
        };
        if (a.rows, a.columns) != (b.rows, b.columns) {
            return verdict(Outcome::NotEqual);
        }
        let mut all = Outcome::Equal;
        for (a, b) in a.entries.into_iter().zip(b.entries) {
            all = all.and(|| self.elements(a, b));
        }
        verdict(all)
    }

    /// Whether its value is a matrix or made from one.
    fn has_matrix(&self, id: Id) -> bool {
        let mut seen = FxHashSet::default();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            match self.arena.node(id) {
                Node::Matrix { .. } => return true,
                Node::Add(_)
                | Node::Mul(_)
                | Node::Pow(..)
                | Node::Apply(Function::Transpose, _)
                    if seen.insert(id) =>
                {
                    open.extend(self.arena.children(id));
                }
                _ => {}
            }
        }
        false
    }

    /// Works out sums, products and transposes; the recursion follows the parser's depth limit.
    fn entries(&mut self, id: Id, depth: usize) -> Option<Entries> {
        if depth > super::MAX_NESTING {
            return None;
        }
        self.budget.charge(super::PAIR).ok()?;
        match self.arena.node(id) {
            Node::Matrix { rows, columns, entries } => {
                let entries = self.arena.kids(entries).to_vec();
                Some(Entries { rows, columns, entries })
            }
            Node::Add(kids) => {
                let kids = self.arena.kids(kids).to_vec();
                let mut sum: Option<Entries> = None;
                for kid in kids {
                    let term = self.entries(kid, depth + 1)?;
                    sum = Some(match sum {
                        None => term,
                        Some(sum) => self.sum(sum, term)?,
                    });
                }
                sum
            }
            Node::Mul(kids) => {
                let kids = self.arena.kids(kids).to_vec();
                let mut scalars = Vec::new();
                let mut product: Option<Entries> = None;
                for kid in kids {
                    if !self.has_matrix(kid) {
                        scalars.push(kid);
                        continue;
                    }
                    let factor = self.entries(kid, depth + 1)?;
                    product = Some(match product {
                        None => factor,
                        Some(product) => self.product(product, factor)?,
                    });
                }
                let mut product = product?;
                if !scalars.is_empty() {
                    self.budget.charge(product.entries.len() as u64 * 8).ok()?;
                    for entry in &mut product.entries {
                        let mut factors = scalars.clone();
                        factors.push(*entry);
                        *entry = self.arena.mul(&factors);
                    }
                }
                Some(product)
            }
            Node::Apply(Function::Transpose, kids) => {
                let &[inner] = self.arena.kids(kids) else { return None };
                let Entries { rows, columns, entries } = self.entries(inner, depth + 1)?;
                let at =
                    |row: u32, column: u32| entries.get((row * columns + column) as usize).copied();
                let turned =
                    (0..columns).flat_map(|column| (0..rows).map(move |row| (row, column)));
                let entries = turned.map(|(row, column)| at(row, column)).collect::<Option<_>>()?;
                Some(Entries { rows: columns, columns: rows, entries })
            }
            _ => None,
        }
    }

    fn sum(&mut self, a: Entries, b: Entries) -> Option<Entries> {
        if (a.rows, a.columns) != (b.rows, b.columns) {
            return None;
        }
        self.budget.charge(a.entries.len() as u64 * 8).ok()?;
        let pairs = a.entries.iter().zip(&b.entries);
        let entries = pairs.map(|(&a, &b)| self.arena.add(&[a, b])).collect();
        Some(Entries { entries, ..a })
    }

    fn product(&mut self, a: Entries, b: Entries) -> Option<Entries> {
        if a.columns != b.rows || a.rows as usize * b.columns as usize > MAX_MATRIX {
            return None;
        }
        self.budget
            .charge(u64::from(a.rows) * u64::from(a.columns) * u64::from(b.columns) * 8)
            .ok()?;
        let mut entries = Vec::new();
        for row in 0..a.rows {
            for column in 0..b.columns {
                let mut terms = Vec::new();
                for k in 0..a.columns {
                    let left = *a.entries.get((row * a.columns + k) as usize)?;
                    let right = *b.entries.get((k * b.columns + column) as usize)?;
                    terms.push(self.arena.mul(&[left, right]));
                }
                let entry = self.arena.add(&terms);
                let entry = self.tidy(entry);
                // Sums of products of sums share parts, but not without end.
                if tree::parts(&self.arena, entry).len() > MAX_NODES / 4 {
                    return None;
                }
                entries.push(entry);
            }
        }
        Some(Entries { rows: a.rows, columns: b.columns, entries })
    }

    /// Compares two expressions of the same form part by part, in the order written; the last
    /// resort for what has no value.
    pub(super) fn alike(&mut self, gold: Id, pred: Id, depth: usize) -> Outcome {
        if depth > super::MAX_NESTING {
            return Outcome::Unknown(Reason::TooLarge);
        }
        let (a, b) = (self.arena.node(gold), self.arena.node(pred));
        let compound = |node| {
            matches!(
                node,
                Node::Add(_)
                    | Node::Mul(_)
                    | Node::Union(_)
                    | Node::Intersection(_)
                    | Node::Difference(..)
                    | Node::Not(_)
            )
        };
        if !(compound(a) && compound(b)) {
            // At the top this pair has just come from there.
            let top = depth == 0;
            return if top {
                Outcome::Unknown(Reason::Undecided)
            } else {
                self.elements(gold, pred)
            };
        }
        let left: Vec<Id> = self.arena.children(gold).collect();
        let right: Vec<Id> = self.arena.children(pred).collect();
        if std::mem::discriminant(&a) != std::mem::discriminant(&b) || left.len() != right.len() {
            return Outcome::Unknown(Reason::Undecided);
        }
        let mut all = Outcome::Equal;
        for (a, b) in left.into_iter().zip(right) {
            all = all.and(|| self.alike(a, b, depth + 1));
        }
        match all {
            Outcome::Equal => Outcome::Equal,
            _ => Outcome::Unknown(Reason::Undecided),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::reward::answer::tests::{agree, differ};

    #[test]
    fn entries() {
        agree(&[
            (r"\begin{pmatrix}1/4\\3\end{pmatrix}", r"\begin{bmatrix}0.25\\3\end{bmatrix}"),
            (r"\begin{pmatrix}2\\4\end{pmatrix}", r"2\begin{pmatrix}1\\2\end{pmatrix}"),
            (
                r"\begin{pmatrix}1&2\\3&4\end{pmatrix}\begin{pmatrix}1\\1\end{pmatrix}",
                r"\begin{pmatrix}3\\7\end{pmatrix}",
            ),
            (r"\begin{pmatrix}5\\6\end{pmatrix}", r"A=\begin{pmatrix}5\\6\end{pmatrix}"),
        ]);
        differ(&[
            (r"\begin{pmatrix}1&2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
            (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}"),
        ]);
    }
}
