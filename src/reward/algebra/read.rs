//! From expressions as read to canonical terms.

use crate::reward::expr::{Arena, Id, NameId, Node};

use super::number::integer;
use super::term::{Step, Term, Terms, Tid};

/// A number for a name, the same in every arena (FNV-1a).
pub fn name_number(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The nodes that an expression consists of, children before parents.
pub fn nodes(arena: &Arena, roots: &[Id]) -> Vec<Id> {
    let Some(last) = roots.iter().map(|root| root.index()).max() else { return Vec::new() };
    let mut seen = vec![false; last + 1];
    for root in roots {
        seen[root.index()] = true;
    }
    let mut found = Vec::new();
    for id in arena.ids().take(last + 1).collect::<Vec<_>>().into_iter().rev() {
        if seen[id.index()] {
            found.push(id);
            for child in arena.children(id) {
                if let Some(mark) = seen.get_mut(child.index()) {
                    *mark = true;
                }
            }
        }
    }
    found.reverse();
    found
}

/// The names of variables that occur free, by name.
pub fn variables(arena: &Arena, root: Id) -> Vec<NameId> {
    // Per node, the free names below it; binders take theirs away.
    let order = nodes(arena, &[root]);
    let mut free: Vec<Vec<NameId>> = vec![Vec::new(); root.index() + 1];
    for id in order {
        let mut names: Vec<NameId> = Vec::new();
        let mut join = |list: &[NameId]| {
            for name in list {
                if !names.contains(name) {
                    names.push(*name);
                }
            }
        };
        match arena.node(id) {
            Node::Symbol(name) => join(&[name]),
            Node::Bind(_, kids) => {
                let kids = arena.kids(kids);
                let bound = kids.get(1).and_then(|&kid| match arena.node(kid) {
                    Node::Symbol(name) => Some(name),
                    _ => None,
                });
                for (at, kid) in kids.iter().enumerate() {
                    let list: Vec<NameId> = free[kid.index()]
                        .iter()
                        .copied()
                        .filter(|&name| at >= 2 || Some(name) != bound)
                        .collect();
                    join(&list);
                }
            }
            _ => arena.children(id).for_each(|child| join(&free[child.index()])),
        }
        free[id.index()] = names;
    }
    let mut names = std::mem::take(&mut free[root.index()]);
    names.sort_by(|a, b| arena.name(*a).cmp(arena.name(*b)));
    names
}

impl Terms<'_> {
    /// Canonical terms of several expressions.
    pub fn read(&mut self, arena: &Arena, roots: &[Id]) -> Step<Vec<Tid>> {
        let order = nodes(arena, roots);
        self.budget.charge(order.len() as u64 * 20 + arena.len() as u64)?;
        let last = roots.iter().map(|root| root.index()).max().unwrap_or(0);
        let mut done: Vec<Tid> = vec![Self::ZERO; last + 1];
        let mut parts: Vec<Tid> = Vec::new();
        for id in order {
            parts.clear();
            parts.extend(arena.children(id).map(|child| done[child.index()]));
            done[id.index()] = self.read_node(arena, arena.node(id), &parts)?;
        }
        Ok(roots.iter().map(|root| done[root.index()]).collect())
    }

    fn read_node(&mut self, arena: &Arena, node: Node, parts: &[Tid]) -> Step<Tid> {
        match (node, parts) {
            (Node::Number(number), _) => {
                Ok(self.insert(Term::Rational(arena.number(number).value.clone())))
            }
            (Node::Constant(constant), _) => Ok(self.constant(constant)),
            (Node::Symbol(name), _) => {
                let number = name_number(arena.name(name));
                Ok(self.insert(Term::Symbol(name, number)))
            }
            (Node::Add(_), _) => {
                let list: Vec<_> = parts.iter().map(|&part| (part, integer(1))).collect();
                self.sum(&list)
            }
            (Node::Mul(_), _) => self.product(parts),
            (Node::Pow(..), &[base, exponent]) => self.pow(base, exponent),
            (Node::Apply(function, _), _) => self.apply(function, parts),
            (Node::Call(name, _), _) => {
                let number = name_number(arena.name(name));
                Ok(self.insert(Term::Call(name, number, parts.into())))
            }
            (Node::Percent(_), &[part]) => self.percent(part),
            (Node::Bind(binder, _), _) => self.bind(binder, parts),
            (Node::Matrix { rows, columns, .. }, _) => {
                Ok(self.insert(Term::Matrix { rows, columns, entries: parts.into() }))
            }
            (Node::Tuple(_), _) if !parts.is_empty() => {
                let columns = parts.len() as u32;
                Ok(self.insert(Term::Matrix { rows: 1, columns, entries: parts.into() }))
            }
            _ => Ok(self.insert(Term::Foreign)),
        }
    }
}
