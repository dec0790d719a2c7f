//! Whole answers: lists, sets, tuples, intervals, relations, and sets made of sets.

use std::cmp::Ordering;

use super::super::algebra;
use super::super::budget::Budget;
use super::super::expr::{Id, Node, Relation};
use super::super::verdict::Reason;
use super::number;
use super::parser::{Parser, Result};
use super::token::{Bracket, Environment, Kind};

/// Most work units for the order of one interval's ends.
const ORDER: u64 = 100_000;

/// Whether elements may be relations: not after `a =`, where `a = 1, 2` means one list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elements {
    Any,
    NoRelations,
}

/// Reads the whole answer. Three readings are tried in turn: `x = list`, a list, set algebra.
pub fn answer(parser: &mut Parser) -> Result<Id> {
    if let Some(sign) = assigned_at(parser)
        && matches!(parser.kind_at(sign), Kind::In | Kind::Relation(Relation::Eq))
        && let Ok(id) = whole(parser, assigned_list)
    {
        return Ok(id);
    }
    if let Some(number) = number::grouped(parser.text) {
        return Ok(parser.arena.push_number(number));
    }
    let as_list = whole(parser, |parser| {
        let groups = groups(parser, Elements::Any)?;
        gathered(parser, groups)
    });
    let set_sign = |kind: Kind| {
        matches!(kind, Kind::Union | Kind::Intersection | Kind::SetMinus | Kind::NotIn | Kind::In)
    };
    match as_list {
        Err(Reason::Syntax) if parser.tokens.iter().any(|token| set_sign(token.kind)) => {
            whole(parser, set_relation)
        }
        read => read,
    }
}

/// Reads with `read` from the start, to the very end.
fn whole(parser: &mut Parser, read: impl FnOnce(&mut Parser) -> Result<Id>) -> Result<Id> {
    parser.at = 0;
    let id = read(parser)?;
    parser.require_finish()?;
    Ok(id)
}

/// The place of the sign after a leading `x` or `(x, y)`, if there is such a beginning.
fn assigned_at(parser: &Parser) -> Option<usize> {
    let from = parser.at;
    let symbol_end = |at: usize| {
        let named =
            matches!(parser.kind_at(at), Kind::Letter | Kind::Greek | Kind::Symbol | Kind::Accent)
                || parser.dialect.lenient && parser.kind_at(at) == Kind::UpperE;
        if !named {
            return None;
        }
        let mut at = at + 1;
        for _ in 0..2 {
            if matches!(parser.kind_at(at), Kind::Underscore | Kind::Caret) {
                at = match parser.kind_at(at + 1) {
                    Kind::Open(Bracket::Brace) => parser.partners[at + 1] + 1,
                    _ => at + 2,
                };
            }
        }
        Some(at)
    };
    if parser.kind() != Kind::Open(Bracket::Round) {
        return symbol_end(from);
    }
    let mut at = symbol_end(from + 1)?;
    while parser.kind_at(at) == Kind::Comma {
        at = symbol_end(at + 1)?;
    }
    (parser.kind_at(at) == Kind::Close(Bracket::Round)).then_some(at + 1)
}

/// `x` or `(x, y)` before a sign.
fn assigned(parser: &mut Parser) -> Result<Id> {
    if !parser.take(Kind::Open(Bracket::Round)) {
        return parser.atom();
    }
    let mut names = vec![parser.atom()?];
    while parser.take(Kind::Comma) {
        names.push(parser.atom()?);
    }
    parser.require(Kind::Close(Bracket::Round))?;
    if let [single] = names[..] {
        return Ok(single);
    }
    let kids = parser.arena.list(&names);
    Ok(parser.arena.push(Node::Tuple(kids)))
}

/// `x = 1, 2, 3`
fn assigned_list(parser: &mut Parser) -> Result<Id> {
    let left = assigned(parser)?;
    // The sign was seen by the caller.
    parser.at += 1;
    let groups = groups(parser, Elements::NoRelations)?;
    let right = gathered(parser, groups)?;
    Ok(parser.arena.push(Node::Relation(Relation::Eq, left, right)))
}

/// A list's elements, by the semicolons between them.
fn groups(parser: &mut Parser, elements: Elements) -> Result<Vec<Vec<Id>>> {
    let mut groups = Vec::new();
    loop {
        let mut group = Vec::new();
        loop {
            element(parser, elements, &mut group)?;
            if !parser.take(Kind::Comma) {
                break;
            }
        }
        groups.push(group);
        if !parser.take(Kind::Semicolon) {
            return Ok(groups);
        }
    }
}

/// One value if there is one, a list if there are several, a list of tuples if semicolons part them.
fn gathered(parser: &mut Parser, mut groups: Vec<Vec<Id>>) -> Result<Id> {
    if let [group] = &groups[..]
        && let [single] = group[..]
    {
        return Ok(single);
    }
    let elements: Vec<Id> = if groups.len() == 1 {
        groups.swap_remove(0)
    } else if groups.iter().all(|group| group.len() == 1) {
        groups.concat()
    } else {
        groups.iter().map(|group| tuple(parser, group)).collect()
    };
    let kids = parser.arena.list(&elements);
    Ok(parser.arena.push(Node::List(kids)))
}

fn tuple(parser: &mut Parser, elements: &[Id]) -> Id {
    let kids = parser.arena.list(elements);
    parser.arena.push(Node::Tuple(kids))
}

/// Reads one element; `a ± b` is two. Tells whether it was a plain expression.
fn element(parser: &mut Parser, elements: Elements, into: &mut Vec<Id>) -> Result<bool> {
    if parser.take(Kind::PlusMinus) {
        let value = parser.expression()?;
        let minus = parser.negated(value);
        into.extend([minus, value]);
        return Ok(false);
    }
    if stands_alone(parser) {
        into.push(set_atom(parser)?);
        return Ok(false);
    }
    let mut value = parser.expression()?;
    if parser.take(Kind::PlusMinus) {
        let spread = parser.expression()?;
        let plus = parser.arena.add(&[value, spread]);
        let negative = parser.negated(spread);
        let minus = parser.arena.add(&[value, negative]);
        into.extend([plus, minus]);
        return Ok(false);
    }
    let mut plain = true;
    loop {
        let sign = parser.kind();
        let relates = matches!(sign, Kind::Relation(_) | Kind::Approx | Kind::In);
        if elements == Elements::NoRelations || !relates {
            break;
        }
        plain = false;
        parser.at += 1;
        let right = match parser.dialect.lenient && stands_alone(parser) {
            // I = (-1, 1)
            true => set_atom(parser)?,
            false => parser.expression()?,
        };
        value = match sign {
            Kind::Relation(relation) => linked(parser, value, relation, right),
            Kind::Approx if only_symbols(parser, value) => right,
            Kind::Approx => value,
            _ => return Err(Reason::Syntax),
        };
    }
    into.push(value);
    Ok(plain)
}

/// One more link of a chain of relations.
fn linked(parser: &mut Parser, left: Id, relation: Relation, right: Id) -> Id {
    let arena = &mut parser.arena;
    match arena.node(left) {
        Node::Relation(_, _, end) => {
            let link = arena.push(Node::Relation(relation, end, right));
            let kids = arena.list(&[left, link]);
            arena.push(Node::Chain(kids))
        }
        Node::Chain(kids) => {
            let mut links = arena.kids(kids).to_vec();
            let end = match links.last().map(|&last| arena.node(last)) {
                Some(Node::Relation(_, _, end)) => end,
                _ => left,
            };
            links.push(arena.push(Node::Relation(relation, end, right)));
            let kids = arena.list(&links);
            arena.push(Node::Chain(kids))
        }
        _ => arena.push(Node::Relation(relation, left, right)),
    }
}

/// Whether an expression is made of symbols alone: `x`, `f(x)`, `A/S`.
pub fn only_symbols(parser: &Parser, id: Id) -> bool {
    super::super::expr::only_symbols(&parser.arena, id)
}

/// Whether a set of its own starts here: a bracket that closes right before the element ends.
fn stands_alone(parser: &Parser) -> bool {
    let at = parser.at;
    let open = match parser.kind() {
        Kind::NumberSet(_) | Kind::EmptySet => return true,
        Kind::Begin(Environment::Cases) => return true,
        Kind::Boxed => at + 1,
        Kind::Open(Bracket::Angle) if parser.dialect.lenient => at,
        Kind::Open(
            Bracket::Round
            | Bracket::RoundMath
            | Bracket::Square
            | Bracket::SquareNamed
            | Bracket::Group
            | Bracket::Brace
            | Bracket::BraceShown,
        ) => at,
        _ => return false,
    };
    let Some(&close) = parser.partners.get(open) else { return false };
    close > open
        && matches!(
            parser.kind_at(close + 1),
            Kind::Finish | Kind::Comma | Kind::Semicolon | Kind::Close(_)
        )
}

/// A bracketed set, tuple or interval, or a named set.
fn set_atom(parser: &mut Parser) -> Result<Id> {
    parser.nested(|parser| {
        let kind = parser.kind();
        parser.at += 1;
        match kind {
            Kind::NumberSet(set) => Ok(parser.arena.push(Node::NumberSet(set))),
            Kind::EmptySet => Ok(empty(parser)),
            Kind::Begin(Environment::Cases) => cases(parser),
            Kind::Open(Bracket::Angle) => vector(parser),
            Kind::Boxed => {
                parser.require(Kind::Open(Bracket::Brace))?;
                let groups = groups(parser, Elements::Any)?;
                parser.require(Kind::Close(Bracket::Brace))?;
                gathered(parser, groups)
            }
            Kind::Open(Bracket::Brace) if parser.take(Kind::Close(Bracket::Brace)) => {
                Ok(empty(parser))
            }
            Kind::Open(bracket @ (Bracket::Brace | Bracket::BraceShown)) => {
                let before = parser.at;
                match braced_set(parser, bracket) {
                    // `{n \choose k}` is no set.
                    Err(Reason::Syntax) if bracket == Bracket::Brace => {
                        parser.at = before - 1;
                        parser.expression()
                    }
                    read => read,
                }
            }
            Kind::Open(bracket) => pair_or_tuple(parser, bracket),
            _ => Err(Reason::Syntax),
        }
    })
}

fn empty(parser: &mut Parser) -> Id {
    let kids = parser.arena.list(&[]);
    parser.arena.push(Node::Set(kids))
}

fn braced_set(parser: &mut Parser, bracket: Bracket) -> Result<Id> {
    if let Some(condition) = condition_at(parser) {
        parser.at = condition;
        let conditions = groups(parser, Elements::Any)?.concat();
        parser.require(Kind::Close(bracket))?;
        // A union of one: the set of its solutions, where a bare relation would be a relation.
        let condition = all_hold(parser, &conditions)?;
        let kids = parser.arena.list(&[condition]);
        return Ok(parser.arena.push(Node::Union(kids)));
    }
    let elements = groups(parser, Elements::Any)?.concat();
    parser.require(Kind::Close(bracket))?;
    let kids = parser.arena.list(&elements);
    Ok(parser.arena.push(Node::Set(kids)))
}

/// Where the condition of `{x | x > 0}` or `{x \in \mathbb{R} : x > 0}` begins, if this is one.
fn condition_at(parser: &Parser) -> Option<usize> {
    let at = parser.at;
    let named = matches!(parser.kind_at(at), Kind::Letter | Kind::Greek);
    if !named || !parser.dialect.lenient {
        return None;
    }
    let among =
        parser.kind_at(at + 1) == Kind::In && matches!(parser.kind_at(at + 2), Kind::NumberSet(_));
    let bar = if among { at + 3 } else { at + 1 };
    let such_that = matches!(parser.kind_at(bar), Kind::Bar | Kind::Vert | Kind::Colon)
        || parser.text_at(bar) == "\\mid";
    such_that.then_some(bar + 1)
}

/// Relations that all hold, as one chain.
fn all_hold(parser: &mut Parser, conditions: &[Id]) -> Result<Id> {
    let mut links = Vec::new();
    for &condition in conditions {
        match parser.arena.node(condition) {
            Node::Relation(..) | Node::Not(_) => links.push(condition),
            Node::Chain(kids) => links.extend_from_slice(parser.arena.kids(kids)),
            _ => return Err(Reason::Undefined),
        }
    }
    if let [single] = links[..] {
        return Ok(single);
    }
    let kids = parser.arena.list(&links);
    Ok(parser.arena.push(Node::Chain(kids)))
}

/// `\langle 1, 2 \rangle`
fn vector(parser: &mut Parser) -> Result<Id> {
    let elements = groups(parser, Elements::Any)?.concat();
    parser.require(Kind::Close(Bracket::Angle))?;
    Ok(tuple(parser, &elements))
}

/// Rows of `cases`: each a relation, or a value with its condition.
fn cases(parser: &mut Parser) -> Result<Id> {
    let mut rows = Vec::new();
    loop {
        let mut cells = Vec::new();
        loop {
            while parser.kind() == Kind::Accent && is_conjunction(parser.text_at(parser.at)) {
                parser.at += 1;
            }
            element(parser, Elements::Any, &mut cells)?;
            parser.take(Kind::Comma);
            if !parser.take(Kind::NextColumn) {
                break;
            }
        }
        rows.push(match cells[..] {
            [single] => single,
            _ => tuple(parser, &cells),
        });
        let more = parser.take(Kind::NextRow);
        if parser.take(Kind::End(Environment::Cases)) {
            break;
        }
        if !more {
            return Err(Reason::Syntax);
        }
    }
    let kids = parser.arena.list(&rows);
    Ok(parser.arena.push(Node::Set(kids)))
}

/// `\text{if}` before a condition.
fn is_conjunction(text: &str) -> bool {
    let word = text.split_once('{').map_or("", |(_, word)| word.trim_end_matches('}').trim());
    matches!(word, "if" | "for" | "when" | "where" | "as" | "if and only if")
}

/// What stands in round or square brackets.
fn pair_or_tuple(parser: &mut Parser, open: Bracket) -> Result<Id> {
    let mut plain = true;
    // The elements if they are ends of an interval: `{3 \over 4}` is then no set.
    let mut values = Vec::new();
    let mut groups: Vec<Vec<Id>> = vec![Vec::new()];
    loop {
        let group = groups.last_mut().ok_or(Reason::Syntax)?;
        let braced = parser.kind() == Kind::Open(Bracket::Brace);
        let before = group.len();
        if element(parser, Elements::Any, group)? {
            values.extend(group.last().copied());
        } else {
            let single = match group.get(before..) {
                Some(&[set]) if braced => grouped_value(parser, set),
                _ => None,
            };
            plain &= single.is_some();
            values.extend(single);
        }
        if parser.take(Kind::Semicolon) {
            groups.push(Vec::new());
        } else if !parser.take(Kind::Comma) {
            break;
        }
    }
    let Kind::Close(close) = parser.kind() else { return Err(Reason::Syntax) };
    parser.at += 1;
    if let ([_], true) = (&groups[..], plain)
        && let [low, high] = values[..]
    {
        return Ok(interval(parser, open, low, high, close));
    }
    let same =
        open == close && matches!(open, Bracket::Round | Bracket::RoundMath | Bracket::Square);
    if !same {
        return Err(Reason::Syntax);
    }
    let elements = groups.concat();
    if let [single] = elements[..] {
        return Ok(single);
    }
    Ok(tuple(parser, &elements))
}

/// The value in braces that only group it.
fn grouped_value(parser: &Parser, set: Id) -> Option<Id> {
    let Node::Set(kids) = parser.arena.node(set) else { return None };
    let &[only] = parser.arena.kids(kids) else { return None };
    let value = matches!(
        parser.arena.node(only),
        Node::Number(_) | Node::Constant(_) | Node::Add(_) | Node::Mul(_) | Node::Pow(..)
    );
    value.then_some(only)
}

/// An interval, or an ordered pair where an interval would be empty.
fn interval(parser: &mut Parser, open: Bracket, low: Id, high: Id, close: Bracket) -> Id {
    let is_open = |bracket| matches!(bracket, Bracket::Round | Bracket::RoundMath | Bracket::Group);
    let (low_open, high_open) = (is_open(open), is_open(close));
    let share = parser.budget.left().min(ORDER);
    let mut budget = Budget::new(share);
    let order = algebra::order(&parser.arena, low, high, &mut budget);
    // What is spent is no error: pairs and intervals are told apart by the next stage too.
    let _ = parser.budget.charge(share - budget.left());
    let pair = match order {
        Some(Ordering::Greater) => low_open == high_open,
        Some(Ordering::Equal) => low_open && high_open,
        _ => false,
    };
    if pair {
        return tuple(parser, &[low, high]);
    }
    parser.arena.push(Node::Interval { low, high, low_open, high_open })
}

/// `x \in A`, `x \notin A`, or sets joined by signs.
fn set_relation(parser: &mut Parser) -> Result<Id> {
    let sign = assigned_at(parser).map(|sign| parser.kind_at(sign));
    if let Some(sign @ (Kind::In | Kind::NotIn | Kind::Relation(Relation::Eq))) = sign {
        let left = assigned(parser)?;
        parser.at += 1;
        let right = parser.nested(set_relation)?;
        let equal = parser.arena.push(Node::Relation(Relation::Eq, left, right));
        return Ok(match sign {
            Kind::NotIn => parser.arena.push(Node::Not(equal)),
            _ => equal,
        });
    }
    differences(parser)
}

/// A \ B, loosest of the set signs.
fn differences(parser: &mut Parser) -> Result<Id> {
    let mut left = unions(parser)?;
    while parser.take(Kind::SetMinus) {
        let right = unions(parser)?;
        left = parser.arena.push(Node::Difference(left, right));
    }
    Ok(left)
}

fn unions(parser: &mut Parser) -> Result<Id> {
    let first = intersections(parser)?;
    let mut parts = vec![first];
    while parser.take(Kind::Union) {
        parts.push(intersections(parser)?);
    }
    if parts.len() == 1 {
        return Ok(first);
    }
    let parts = untupled(parser, parts);
    let kids = parser.arena.list(&parts);
    Ok(parser.arena.push(Node::Union(kids)))
}

fn intersections(parser: &mut Parser) -> Result<Id> {
    let first = operand(parser)?;
    let mut parts = vec![first];
    while parser.take(Kind::Intersection) {
        parts.push(operand(parser)?);
    }
    if parts.len() == 1 {
        return Ok(first);
    }
    let parts = untupled(parser, parts);
    let kids = parser.arena.list(&parts);
    Ok(parser.arena.push(Node::Intersection(kids)))
}

/// Among sets, a tuple is a list of elements.
fn untupled(parser: &mut Parser, parts: Vec<Id>) -> Vec<Id> {
    let as_set = |id: Id| match parser.arena.node(id) {
        Node::Tuple(kids) => parser.arena.push(Node::Set(kids)),
        _ => id,
    };
    parts.into_iter().map(as_set).collect()
}

/// A set, or set algebra in parentheses.
fn operand(parser: &mut Parser) -> Result<Id> {
    let algebra_inside = parser.kind() == Kind::Open(Bracket::Round) && {
        let close = parser.partners[parser.at];
        (parser.at..close).any(|at| {
            matches!(parser.kind_at(at), Kind::Union | Kind::Intersection | Kind::SetMinus)
        })
    };
    if algebra_inside {
        parser.at += 1;
        let inside = parser.nested(differences)?;
        parser.require(Kind::Close(Bracket::Round))?;
        return Ok(inside);
    }
    set_atom(parser)
}
