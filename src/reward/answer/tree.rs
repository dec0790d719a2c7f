//! Walks over expressions: sameness as written, variables, substitution.

use rustc_hash::FxHashSet;

use crate::reward::budget::Budget;
use crate::reward::expr::{Arena, Constant, Id, Kids, NameId, Node};
use crate::reward::verdict::Reason;

/// Work units charged for one node of a walk.
const NODE: u64 = 4;

/// Whether two expressions are the same as written; numbers by value.
pub fn same(arena: &Arena, a: Id, b: Id, budget: &mut Budget) -> Result<bool, Reason> {
    let mut open = vec![(a, b)];
    while let Some((a, b)) = open.pop() {
        if a == b {
            continue;
        }
        budget.charge(NODE)?;
        let alike = match (arena.node(a), arena.node(b)) {
            (Node::Number(a), Node::Number(b)) => arena.number(a).value == arena.number(b).value,
            (Node::Constant(a), Node::Constant(b)) => a == b,
            (Node::Symbol(a), Node::Symbol(b)) => a == b,
            (Node::NumberSet(a), Node::NumberSet(b)) => a == b,
            (Node::Apply(a, _), Node::Apply(b, _)) => a == b,
            (Node::Call(a, _), Node::Call(b, _)) => a == b,
            (Node::Bind(a, _), Node::Bind(b, _)) => a == b,
            (Node::Relation(a, ..), Node::Relation(b, ..)) => a == b,
            (
                Node::Matrix { rows: a, columns: c, .. },
                Node::Matrix { rows: b, columns: d, .. },
            ) => (a, c) == (b, d),
            (
                Node::Interval { low_open: a, high_open: c, .. },
                Node::Interval { low_open: b, high_open: d, .. },
            ) => (a, c) == (b, d),
            (Node::Set(_) | Node::List(_), Node::Set(_) | Node::List(_)) => true,
            (a, b) => std::mem::discriminant(&a) == std::mem::discriminant(&b) && !is_leaf(a),
        };
        if !alike || arena.children(a).count() != arena.children(b).count() {
            return Ok(false);
        }
        open.extend(arena.children(a).zip(arena.children(b)));
    }
    Ok(true)
}

fn is_leaf(node: Node) -> bool {
    matches!(node, Node::Number(_) | Node::Constant(_) | Node::Symbol(_) | Node::NumberSet(_))
}

/// Which nodes an expression consists of, in the arena's order: children before parents. The work
/// follows the expression, not the arena around it.
pub fn parts(arena: &Arena, root: Id) -> Vec<Id> {
    let mut seen = FxHashSet::default();
    let mut open = vec![root];
    let mut parts = Vec::new();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            parts.push(id);
            open.extend(arena.children(id));
        }
    }
    parts.sort_unstable();
    parts
}

/// Copies what some expressions consist of into an arena of their own.
pub fn extract(arena: &Arena, roots: [Id; 2]) -> (Arena, [Id; 2]) {
    let mut ids = parts(arena, roots[0]);
    ids.extend(parts(arena, roots[1]));
    ids.sort_unstable();
    ids.dedup();
    let mut own = Arena::new();
    let mut new: Vec<Id> = Vec::with_capacity(ids.len());
    let moved = |new: &[Id], id: Id| match ids.binary_search(&id) {
        Ok(place) => new.get(place).copied().unwrap_or_default(),
        Err(_) => Id::default(),
    };
    for &id in &ids {
        let copy = match arena.node(id) {
            Node::Number(number) => own.push_number(arena.number(number).clone()),
            Node::Symbol(name) => own.symbol(arena.name(name)),
            Node::Call(name, _) => {
                let kids: Vec<Id> = arena.children(id).map(|kid| moved(&new, kid)).collect();
                let name = own.intern(arena.name(name));
                let kids = own.list(&kids);
                own.push(Node::Call(name, kids))
            }
            node if is_leaf(node) => own.push(node),
            node => {
                let kids: Vec<Id> = arena.children(id).map(|kid| moved(&new, kid)).collect();
                with_children(&mut own, node, &kids)
            }
        };
        new.push(copy);
    }
    let roots = roots.map(|root| moved(&new, root));
    (own, roots)
}

/// The free variables, in order of appearance in the arena.
pub fn variables(arena: &Arena, root: Id) -> Vec<NameId> {
    let mut found = Vec::new();
    let mut bound = Vec::new();
    for id in parts(arena, root) {
        match arena.node(id) {
            Node::Symbol(name) if !found.contains(&name) => found.push(name),
            Node::Bind(_, kids) => bound.extend(bound_name(arena, kids)),
            _ => {}
        }
    }
    found.retain(|name| !bound.contains(name));
    found
}

fn bound_name(arena: &Arena, kids: Kids) -> Option<NameId> {
    match arena.kids(kids).get(1).map(|&id| arena.node(id)) {
        Some(Node::Symbol(name)) => Some(name),
        _ => None,
    }
}

/// Whether some number was written as a decimal.
pub fn has_decimal(arena: &Arena, root: Id) -> bool {
    let decimal = |id| matches!(arena.node(id), Node::Number(n) if arena.number(n).decimal);
    parts(arena, root).into_iter().any(decimal)
}

/// The expression with some symbols replaced.
pub fn replace(
    arena: &mut Arena,
    root: Id,
    budget: &mut Budget,
    mut by: impl FnMut(&mut Arena, NameId) -> Option<Id>,
) -> Result<Id, Reason> {
    let parts = parts(arena, root);
    budget.charge(NODE * parts.len() as u64)?;
    // Where each part went; parts come in ascending order, so that it can be searched.
    let mut new: Vec<Id> = Vec::with_capacity(parts.len());
    let moved = |new: &[Id], id: Id| match parts.binary_search(&id) {
        Ok(place) => new.get(place).copied().unwrap_or(id),
        Err(_) => id,
    };
    for &id in &parts {
        let node = arena.node(id);
        if let Node::Symbol(name) = node {
            let id = by(arena, name).unwrap_or(id);
            new.push(id);
            continue;
        }
        let old: Vec<Id> = arena.children(id).collect();
        let kids: Vec<Id> = old.iter().map(|&kid| moved(&new, kid)).collect();
        let id = if kids == old { id } else { with_children(arena, node, &kids) };
        new.push(id);
    }
    Ok(moved(&new, root))
}

/// A node of the same sort with other children.
fn with_children(arena: &mut Arena, node: Node, kids: &[Id]) -> Id {
    let node = match (node, kids) {
        (Node::Pow(..), &[a, b]) => Node::Pow(a, b),
        (Node::Difference(..), &[a, b]) => Node::Difference(a, b),
        (Node::Relation(sign, ..), &[a, b]) => Node::Relation(sign, a, b),
        (Node::Interval { low_open, high_open, .. }, &[low, high]) => {
            Node::Interval { low, high, low_open, high_open }
        }
        (Node::Percent(_), &[a]) => Node::Percent(a),
        (Node::Not(_), &[a]) => Node::Not(a),
        (node, kids) => {
            let kids = arena.list(kids);
            match node {
                Node::Add(_) => Node::Add(kids),
                Node::Mul(_) => Node::Mul(kids),
                Node::Apply(function, _) => Node::Apply(function, kids),
                Node::Call(name, _) => Node::Call(name, kids),
                Node::Bind(binder, _) => Node::Bind(binder, kids),
                Node::Matrix { rows, columns, .. } => Node::Matrix { rows, columns, entries: kids },
                Node::Set(_) => Node::Set(kids),
                Node::List(_) => Node::List(kids),
                Node::Tuple(_) => Node::Tuple(kids),
                Node::Union(_) => Node::Union(kids),
                Node::Intersection(_) => Node::Intersection(kids),
                Node::Chain(_) => Node::Chain(kids),
                other => other,
            }
        }
    };
    arena.push(node)
}

/// The expression with one variable set to a value, unless some operator binds that variable.
pub fn set_variable(
    arena: &mut Arena,
    root: Id,
    variable: NameId,
    value: Id,
    budget: &mut Budget,
) -> Result<Option<Id>, Reason> {
    let binds = |id| match arena.node(id) {
        Node::Bind(_, kids) => bound_name(arena, kids) == Some(variable),
        _ => false,
    };
    if parts(arena, root).into_iter().any(binds) {
        return Ok(None);
    }
    let by = |_: &mut Arena, name| (name == variable).then_some(value);
    replace(arena, root, budget, by).map(Some)
}

/// Whether it is the number 0 as written.
pub fn is_zero(arena: &Arena, id: Id) -> bool {
    matches!(arena.node(id), Node::Number(n) if arena.number(n).value.is_zero())
}

/// The word that a symbol is, or that a product of letters spells; E reads as the letter.
pub fn spelled(arena: &Arena, id: Id) -> Option<String> {
    let letter = |id: Id| match arena.node(id) {
        Node::Symbol(name) => Some(arena.name(name)),
        Node::Constant(Constant::E) => Some("e"),
        Node::Constant(Constant::I) => Some("i"),
        _ => None,
    };
    match arena.node(id) {
        Node::Mul(kids) => arena.kids(kids).iter().map(|&kid| letter(kid)).collect(),
        _ => letter(id).map(String::from),
    }
}

/// Whether one expression occurs in another, as written.
pub fn contains(arena: &Arena, whole: Id, part: Id, budget: &mut Budget) -> Result<bool, Reason> {
    for id in parts(arena, whole) {
        if same(arena, id, part, budget)? {
            return Ok(true);
        }
    }
    Ok(false)
}
