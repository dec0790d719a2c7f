//! Expressions as text, as sympy would write them: what people see of an answer.

use std::cell::Cell;
use std::cmp::Ordering;

use dashu_base::{Abs, BitTest, Sign, Signed, SquareRoot, UnsignedAbs};
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::budget::MAX_NODES;
use super::expr::{Arena, Binder, Constant, Function, Id, Node, Relation};

/// Longest text of one expression, in bytes. Whatever would be longer ends in dots.
const MAX_TEXT: usize = 1 << 16;
/// Longest text of all parts of an expression together; beyond it each part's is short.
const MAX_TOTAL: usize = 1 << 21;
/// Length of those.
const SHORT_TEXT: usize = 64;
/// Decimals with more bits than this are written as fractions.
const MAX_DECIMAL_BITS: usize = 2048;

/// Functions that sympy writes before others, in its order.
const FUNCTIONS_FIRST: [Function; 10] = [
    Function::Exp,
    Function::Log,
    Function::Sin,
    Function::Cos,
    Function::Tan,
    Function::Cot,
    Function::Sinh,
    Function::Cosh,
    Function::Tanh,
    Function::Conjugate,
];

/// How tightly text holds together, by sympy's numbers.
const RELATIONAL: u16 = 35;
const ADD: u16 = 40;
const MUL: u16 = 50;
const POW: u16 = 60;
const ATOM: u16 = 1000;

/// The expression as people write it, terms and factors in sympy's order.
pub fn to_str(arena: &Arena, root: Id) -> String {
    Printer::new(arena, root, Style::Plain).print(root)
}

/// The expression as sympy's `str` writes what Math-Verify makes of it: with products as they were
/// written, `-1*2*x`, and 15 digits of a decimal.
pub fn to_sympy_str(arena: &Arena, root: Id) -> String {
    match arena.node(root) {
        Node::Number(number) if arena.number(number).decimal => {
            float(&arena.number(number).value, false)
        }
        Node::Matrix { .. } => Printer::new(arena, root, Style::SympyMatrix).print(root),
        _ => Printer::new(arena, root, Style::Sympy).print(root),
    }
}

/// The expression's structure as sympy's `srepr` writes it. Two expressions with the same text are
/// the same up to the order of terms, factors and elements.
pub fn to_srepr(arena: &Arena, root: Id) -> String {
    Printer::new(arena, root, Style::Structure).print(root)
}

/// The value of an expression that is printed as an integer.
pub fn integer(arena: &Arena, root: Id) -> Option<IBig> {
    if !matches!(arena.node(root), Node::Number(_) | Node::Mul(_)) {
        return None;
    }
    let mut printer = Printer::new(arena, root, Style::Structure);
    printer.evaluate();
    let value = printer.exact(root)?;
    value.is_int().then(|| value.numerator().clone())
}

#[derive(Clone, Copy, PartialEq)]
enum Style {
    Plain,
    Sympy,
    /// Of a matrix, which sympy writes differently when it is all there is.
    SympyMatrix,
    Structure,
}

#[derive(Clone, Default)]
struct Piece {
    text: String,
    precedence: u16,
}

struct Printer<'a> {
    arena: &'a Arena,
    style: Style,
    /// Per node: what it is made of, sums within sums and products within products opened up.
    parts: Vec<Option<Vec<Id>>>,
    /// Per node: its value, if it is written as one number.
    values: Vec<Option<RBig>>,
    pieces: Vec<Piece>,
    /// How many nodes were opened up so far, of all.
    opened: Cell<usize>,
}

impl<'a> Printer<'a> {
    fn new(arena: &'a Arena, root: Id, style: Style) -> Self {
        let mut parts: Vec<Option<Vec<Id>>> = vec![None; arena.len()];
        let mut needed = vec![false; arena.len()];
        needed[root.index()] = true;
        let mut opened = 0;
        for id in arena.ids().rev() {
            if needed[id.index()] {
                let of_node = flattened(arena, id, style, &mut opened);
                of_node.iter().for_each(|part| needed[part.index()] = true);
                parts[id.index()] = Some(of_node);
            }
        }
        let values = vec![None; arena.len()];
        let pieces = vec![Piece::default(); arena.len()];
        Self { arena, style, parts, values, pieces, opened: Cell::new(opened) }
    }

    fn print(mut self, root: Id) -> String {
        let mut total = 0;
        for id in self.arena.ids() {
            let Some(parts) = self.parts[id.index()].take() else { continue };
            self.values[id.index()] = self.value(id, &parts);
            let mut piece = match self.style {
                Style::Structure => Piece { text: self.structure(id, &parts), precedence: ATOM },
                _ => self.piece(id, &parts),
            };
            let longest = if total > MAX_TOTAL { SHORT_TEXT } else { MAX_TEXT };
            if piece.text.len() > longest {
                let end = (0..=longest).rev().find(|&at| piece.text.is_char_boundary(at));
                piece.text.truncate(end.unwrap_or(0));
                piece.text.push_str("...");
                piece.text.shrink_to_fit();
            }
            total += piece.text.len();
            self.pieces[id.index()] = piece;
            self.parts[id.index()] = Some(parts);
        }
        std::mem::take(&mut self.pieces[root.index()].text)
    }

    /// Only the values.
    fn evaluate(&mut self) {
        for id in self.arena.ids() {
            if let Some(parts) = self.parts[id.index()].take() {
                self.values[id.index()] = self.value(id, &parts);
            }
        }
    }

    fn text(&self, id: Id) -> &str {
        &self.pieces[id.index()].text
    }

    fn known(&self, id: Id) -> Option<&RBig> {
        self.values[id.index()].as_ref()
    }

    /// In brackets unless it holds together more tightly than its surroundings.
    fn within(&self, id: Id, level: u16) -> String {
        let piece = &self.pieces[id.index()];
        if piece.precedence <= level { format!("({})", piece.text) } else { piece.text.clone() }
    }

    fn list(&self, ids: &[Id]) -> String {
        let mut text = String::new();
        for (index, &id) in ids.iter().enumerate() {
            if text.len() > MAX_TEXT {
                break;
            }
            text.push_str(if index == 0 { "" } else { ", " });
            text.push_str(self.text(id));
        }
        text
    }

    /// The value of a number, of its opposite, and of a quotient of two integers.
    fn value(&self, id: Id, parts: &[Id]) -> Option<RBig> {
        match self.arena.node(id) {
            Node::Number(number) => Some(self.arena.number(number).value.clone()),
            Node::Mul(_) => {
                let (mut value, mut above, mut below) = (RBig::ONE, 0, 0);
                for &part in parts {
                    let inverse = self.inverse_of(part);
                    let factor = self.exact(inverse.unwrap_or(part))?;
                    if inverse.is_some() {
                        below += 1;
                        (!factor.is_zero() && factor.is_int()).then_some(())?;
                        value /= factor;
                    } else {
                        let unit = factor.is_one() || *factor == RBig::NEG_ONE;
                        above += u32::from(!unit);
                        value *= factor;
                    }
                    (above <= 1 && below <= 1).then_some(())?;
                }
                Some(value)
            }
            _ => None,
        }
    }

    /// b of b⁻¹.
    fn inverse_of(&self, id: Id) -> Option<Id> {
        match self.arena.node(id) {
            Node::Pow(base, exponent) if *self.known(exponent)? == RBig::NEG_ONE => Some(base),
            _ => None,
        }
    }

    fn exact(&self, id: Id) -> Option<&RBig> {
        match self.arena.node(id) {
            Node::Number(number) if self.arena.number(number).decimal => None,
            _ => self.known(id),
        }
    }

    /// Sympy's order of arguments: numbers by value, then symbols, then the rest by kind, by what
    /// they are made of, and by text.
    fn sorted(&self, parts: &[Id]) -> Vec<Id> {
        let mut sorted = parts.to_vec();
        sorted.sort_by(|&a, &b| {
            self.by_value(a, b).unwrap_or_else(|| {
                let class = |id| (self.rank(id), self.class(id));
                let text = |id| (self.text(self.base(id)), self.text(id));
                let elements = || {
                    let order = self.by_elements(a, b).or_else(|| self.by_number(a, b));
                    order.unwrap_or(Ordering::Equal)
                };
                class(a).cmp(&class(b)).then_with(elements).then_with(|| text(a).cmp(&text(b)))
            })
        });
        sorted
    }

    /// The order of two things of which one is a number at least, or infinite.
    fn by_value(&self, a: Id, b: Id) -> Option<Ordering> {
        let infinite = |id| match self.arena.node(id) {
            Node::Constant(Constant::Infinity) => 1,
            Node::Constant(Constant::NegativeInfinity) => -1,
            _ => 0,
        };
        match (self.known(a), self.known(b)) {
            (Some(a), Some(b)) => Some(a.cmp(b)),
            _ if infinite(a) != infinite(b) => Some(infinite(a).cmp(&infinite(b))),
            (Some(_), None) => Some(Ordering::Less),
            (None, Some(_)) => Some(Ordering::Greater),
            (None, None) => None,
        }
    }

    /// The order of two tuples or two intervals: the shorter first, then by the first elements that
    /// differ.
    fn by_elements(&self, a: Id, b: Id) -> Option<Ordering> {
        let ordered = |id| matches!(self.arena.node(id), Node::Tuple(_) | Node::Interval { .. });
        let (true, true) = (ordered(a), ordered(b)) else { return None };
        let (ours, theirs) = (self.parts[a.index()].as_ref()?, self.parts[b.index()].as_ref()?);
        let of = |(&a, &b)| self.by_value(a, b).unwrap_or_else(|| self.text(a).cmp(self.text(b)));
        let elements = ours.iter().zip(theirs).map(of).find(|order| order.is_ne());
        Some(ours.len().cmp(&theirs.len()).then(elements.unwrap_or(Ordering::Equal)))
    }

    /// The order of x + 1 and x + 2.
    fn by_number(&self, a: Id, b: Id) -> Option<Ordering> {
        let split = |id: Id| match (self.arena.node(id), self.parts[id.index()].as_deref()?) {
            (Node::Add(_), &[a, b]) => match (self.known(a), self.known(b)) {
                (Some(number), None) => Some((number, self.text(b))),
                (None, Some(number)) => Some((number, self.text(a))),
                _ => None,
            },
            _ => None,
        };
        let ((ours, rest), (theirs, other)) = (split(a)?, split(b)?);
        (rest == other).then(|| ours.cmp(theirs))
    }

    fn distinct(&self, parts: &[Id]) -> Vec<Id> {
        let mut sorted = self.sorted(parts);
        sorted.dedup_by(|a, b| self.text(*a) == self.text(*b));
        sorted
    }

    fn base(&self, id: Id) -> Id {
        match self.arena.node(id) {
            Node::Pow(base, exponent) if self.known(exponent).is_some() => base,
            _ => id,
        }
    }

    fn rank(&self, id: Id) -> u8 {
        match self.arena.node(self.base(id)) {
            Node::Number(_) | Node::Constant(_) => 1,
            Node::Symbol(_) => 2,
            Node::Mul(_) => 3,
            Node::Add(_) => 4,
            Node::Pow(base, _) if self.is_natural(base) => 6,
            Node::Pow(..) => 5,
            Node::Apply(..) | Node::Call(..) => 6,
            _ => 7,
        }
    }

    /// What orders functions, and things that are no numbers, before their text does.
    fn class(&self, id: Id) -> (u8, &'static str) {
        match self.arena.node(self.base(id)) {
            Node::Pow(base, _) if self.is_natural(base) => (1, ""),
            Node::Apply(function, _) => {
                let place = FUNCTIONS_FIRST.iter().position(|&first| first == function);
                (1 + place.unwrap_or(FUNCTIONS_FIRST.len()) as u8, "")
            }
            Node::Set(_) => (0, "FiniteSet"),
            Node::Interval { .. } => (0, "Interval"),
            Node::Tuple(_) => (0, "Tuple"),
            Node::Relation(Relation::Eq, ..) => (0, "Equality"),
            _ => (0, ""),
        }
    }

    fn is_infinite(&self, id: Id) -> bool {
        let constant = self.arena.node(id);
        constant == Node::Constant(Constant::Infinity)
            || constant == Node::Constant(Constant::NegativeInfinity)
    }

    fn is_natural(&self, id: Id) -> bool {
        matches!(self.arena.node(id), Node::Constant(Constant::E))
    }

    fn piece(&self, id: Id, parts: &[Id]) -> Piece {
        let atom = |text: String| Piece { text, precedence: ATOM };
        if let (Some(value), true) = (self.known(id), self.exact(id).is_some()) {
            let precedence = match value.sign() {
                Sign::Negative => ADD,
                Sign::Positive if value.is_int() => ATOM,
                Sign::Positive => MUL,
            };
            return Piece { text: value.to_string(), precedence };
        }
        let join = |name: &str, ids: &[Id]| atom(format!("{name}({})", self.list(ids)));
        match self.arena.node(id) {
            Node::Number(number) => {
                let value = &self.arena.number(number).value;
                let precedence = if value.is_negative() { ADD } else { ATOM };
                let text = match self.style {
                    Style::Plain => decimal(value),
                    _ => float(value, true),
                };
                Piece { text, precedence }
            }
            Node::Constant(Constant::NegativeInfinity) => {
                Piece { text: "-oo".to_string(), precedence: ADD }
            }
            Node::Constant(constant) => atom(constant.name().to_string()),
            Node::Symbol(name) => atom(self.arena.name(name).to_string()),
            Node::Add(_) => self.sum(parts),
            Node::Mul(_) if self.as_written(parts) => self.written_product(parts),
            Node::Mul(_) => self.product(parts),
            Node::Pow(base, exponent) => self.power(base, exponent),
            Node::Apply(function @ (Function::Max | Function::Min), _) => {
                join(function.name(), &self.sorted(parts))
            }
            Node::Apply(function, _) => join(function.name(), parts),
            Node::Call(name, _) => join(self.arena.name(name), parts),
            Node::Percent(inner) => {
                Piece { text: format!("{}*(1/100)", self.within(inner, MUL)), precedence: MUL }
            }
            Node::Bind(binder, _) => self.bound(binder, parts),
            Node::Matrix { columns, .. } => {
                if self.style == Style::Sympy {
                    return atom(format!("Matrix([{}])", self.table(parts, columns as usize)));
                }
                let rows = parts.chunks(columns.max(1) as usize);
                let rows: Vec<String> = rows.map(|row| format!("[{}]", self.list(row))).collect();
                atom(format!("Matrix([{}])", rows.join(", ")))
            }
            Node::Set(_) | Node::List(_) if parts.is_empty() => atom("EmptySet".to_string()),
            Node::Set(_) | Node::List(_) => {
                atom(format!("{{{}}}", self.list(&self.distinct(parts))))
            }
            Node::Tuple(_) if parts.len() == 1 => atom(format!("({},)", self.list(parts))),
            Node::Tuple(_) => join("", parts),
            Node::Interval { low, high, low_open, high_open } => {
                // Infinite ends are always open, and sympy does not say so where nothing else is.
                let sympy = self.style != Style::Plain;
                let low_said = low_open && !(sympy && self.is_infinite(low));
                let high_said = high_open && !(sympy && self.is_infinite(high));
                let (low_open, high_open) = match low_said || high_said {
                    true => (low_open, high_open),
                    false => (false, false),
                };
                let name = match (low_open, high_open) {
                    (false, false) => "Interval",
                    (true, true) => "Interval.open",
                    (true, false) => "Interval.Lopen",
                    (false, true) => "Interval.Ropen",
                };
                join(name, parts)
            }
            Node::Union(_) => join("Union", &self.distinct(parts)),
            Node::Intersection(_) => join("Intersection", &self.distinct(parts)),
            Node::Difference(..) => join("Complement", parts),
            Node::NumberSet(set) => atom(set.name().to_string()),
            Node::Relation(relation @ (Relation::Eq | Relation::Ne), ..) => {
                join(relation.name(), parts)
            }
            Node::Relation(relation, low, high) => {
                let (low, high) = (self.within(low, RELATIONAL), self.within(high, RELATIONAL));
                Piece { text: format!("{low} {} {high}", relation.name()), precedence: RELATIONAL }
            }
            Node::Chain(_) => {
                let links: Vec<String> =
                    parts.iter().map(|&part| self.within(part, RELATIONAL)).collect();
                Piece { text: links.join(" & "), precedence: RELATIONAL - 5 }
            }
            Node::Not(inner) => {
                Piece { text: format!("~{}", self.within(inner, POW)), precedence: POW }
            }
        }
    }

    /// Terms by falling powers, as sympy orders monomials.
    fn sum(&self, parts: &[Id]) -> Piece {
        let mut terms: Vec<(Monomial, Id)> =
            parts.iter().map(|&part| (self.monomial(part), part)).collect();
        terms.sort_by(|(a, _), (b, _)| compare(a, b));
        // Sympy's one exception: a positive number before a negative multiple of one thing.
        if let [(multiple, _), (number, id)] = &terms[..]
            && number.powers.is_empty()
            && (number.factors == 0 || matches!(self.arena.node(*id), Node::Constant(_)))
            && !number.imaginary
            && number.coefficient.is_positive()
            && multiple.factors == 1
            && multiple.coefficient.is_negative()
            && !(self.style != Style::Plain && multiple.numbers > 1)
        {
            terms.swap(0, 1);
        }
        let mut text = String::new();
        for (index, (_, part)) in terms.iter().enumerate() {
            if text.len() > MAX_TEXT {
                break;
            }
            let piece = &self.pieces[part.index()];
            match (index, piece.text.strip_prefix('-')) {
                (0, _) if piece.precedence >= ADD => text.push_str(&piece.text),
                (_, Some(rest)) if piece.precedence >= ADD => {
                    text.push_str(" - ");
                    text.push_str(rest);
                }
                _ => {
                    text.push_str(if index == 0 { "" } else { " + " });
                    text.push_str(&self.within(*part, ADD - 1));
                }
            }
        }
        Piece { text, precedence: ADD }
    }

    fn monomial(&self, term: Id) -> Monomial<'_> {
        let single = [term];
        let factors = match (self.arena.node(term), &self.parts[term.index()]) {
            (Node::Mul(_), Some(parts)) => &parts[..],
            _ => &single[..],
        };
        let mut monomial = Monomial {
            powers: Vec::new(),
            imaginary: false,
            coefficient: RBig::ONE,
            factors: 0,
            numbers: 0,
        };
        for &factor in factors {
            if let Some(value) = self.known(factor) {
                monomial.numbers += 1;
                // Its place does not matter as much as the work of multiplying whole pages.
                if monomial.coefficient.numerator().bit_len() < MAX_DECIMAL_BITS {
                    monomial.coefficient *= value;
                }
                continue;
            }
            let (base, exponent) = match self.arena.node(factor) {
                Node::Pow(base, exponent) => match self.known(exponent) {
                    Some(value) => (base, value.clone()),
                    None => (factor, RBig::ONE),
                },
                _ => (factor, RBig::ONE),
            };
            let inverse = self.inverse_of(factor).is_some_and(|base| self.known(base).is_some());
            monomial.factors += usize::from(!inverse);
            if matches!(self.arena.node(base), Node::Constant(Constant::I)) {
                monomial.imaginary ^= exponent.is_int();
            } else if let Some(size) = self.size(base, &exponent) {
                monomial.coefficient *= size;
            } else if !matches!(self.arena.node(base), Node::Number(_) | Node::Constant(_)) {
                // Constants are no variables: π x is of the first degree.
                let class = (self.rank(base), self.class(base).0);
                let (base, exponent) = match self.arena.node(base) {
                    // exp(−2t) is exp(t) to the minus second.
                    Node::Pow(e, of) if self.is_natural(e) => {
                        let (times, rest) = leading_integer(self.text(of));
                        (rest, exponent * times)
                    }
                    Node::Apply(Function::Exp, of) if of.len() == 1 => {
                        let of = self.arena.kids(of).first().map_or("", |&of| self.text(of));
                        let (times, rest) = leading_integer(of);
                        (rest, exponent * times)
                    }
                    _ => (self.text(base), exponent),
                };
                monomial.powers.push(((class, base), exponent));
            }
        }
        monomial.powers.sort();
        monomial.powers.dedup_by(|(base, exponent), (kept, sum)| {
            let same = base == kept;
            if same {
                *sum += &*exponent;
            }
            same
        });
        monomial.powers.retain(|(_, exponent)| !exponent.is_zero());
        monomial
    }

    /// Roughly how large a constant, a root of a small number, or its inverse is.
    fn size(&self, base: Id, exponent: &RBig) -> Option<RBig> {
        let scale = 10u64.pow(9);
        let billionths = match self.arena.node(base) {
            Node::Constant(Constant::Pi) => IBig::from(3_141_592_654_u64),
            Node::Constant(Constant::E) => IBig::from(2_718_281_828_u64),
            Node::Constant(Constant::EulerGamma) => IBig::from(577_215_665),
            _ => {
                let value = self.known(base)?;
                let small =
                    value.numerator().bit_len() < 256 && value.denominator().bit_len() < 256;
                (small && !value.is_negative()).then_some(())?;
                value.numerator() * IBig::from(scale) / value.denominator()
            }
        };
        let half = *exponent.denominator() == UBig::from(2u8);
        let size = match (half, exponent.is_int()) {
            (true, _) => (billionths * IBig::from(scale)).unsigned_abs().sqrt(),
            (_, true) => billionths.unsigned_abs(),
            _ => return None,
        };
        let size = RBig::from_parts(size.into(), scale.into());
        if *exponent.numerator() == IBig::ONE {
            Some(size)
        } else if *exponent.numerator() == IBig::NEG_ONE && !size.is_zero() {
            Some(RBig::ONE / size)
        } else {
            None
        }
    }

    fn product(&self, parts: &[Id]) -> Piece {
        let numbers = parts.iter().filter(|&&part| self.known(part).is_some());
        let numbers: Vec<Id> = numbers.copied().collect();
        // −1 belongs to the number beside it.
        let minus = numbers.len();
        let numbers: Vec<Id> = numbers.into_iter().filter(|&id| !self.is_minus_one(id)).collect();
        let sign = if (minus - numbers.len()) % 2 == 1 { RBig::NEG_ONE } else { RBig::ONE };
        let coefficient = match numbers[..] {
            [one] => sign * self.known(one).cloned().unwrap_or(RBig::ONE),
            _ => sign,
        };
        let sign = if coefficient.is_negative() { "-" } else { "" };
        // Sympy takes a sign out by calculating, after which nothing is as it was written.
        let calculated = self.style == Style::Plain || !sign.is_empty();
        let opened: Vec<Id>;
        let parts = match calculated && self.style != Style::Plain {
            true => {
                let within = |&part: &Id| match self.arena.node(part) {
                    Node::Mul(_) if self.known(part).is_none() => {
                        let mut opened = self.opened.get();
                        let parts = flattened(self.arena, part, Style::Plain, &mut opened);
                        self.opened.set(opened);
                        parts
                    }
                    _ => vec![part],
                };
                opened = parts.iter().flat_map(within).collect();
                if opened.len() > parts.len() {
                    return self.product(&opened);
                }
                &opened[..]
            }
            false => parts,
        };
        let (mut above, mut below): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        match numbers[..] {
            [] => {}
            [one] if self.exact(one).is_some() => {
                let size = coefficient.abs();
                if *size.numerator() != IBig::ONE {
                    above.push(size.numerator().to_string());
                }
                if *size.denominator() != UBig::ONE {
                    below.push(size.denominator().to_string());
                }
            }
            [_] if self.style == Style::Plain => above.push(decimal(&coefficient.abs())),
            [_] => above.push(float(&coefficient.abs(), true)),
            _ => {
                for &number in &numbers {
                    above.push(self.within(number, MUL));
                }
            }
        }
        let rest: Vec<Id> =
            parts.iter().filter(|&&part| self.known(part).is_none()).copied().collect();
        for part in self.sorted(&rest) {
            match self.arena.node(part) {
                Node::Pow(base, exponent) if self.is_divisor(base, exponent) => {
                    let size = self.known(exponent).map(|value| value.clone().abs());
                    let compound = matches!(self.arena.node(base), Node::Mul(_) | Node::Pow(..));
                    match size {
                        Some(size) if !size.is_one() => below.push(self.raised(base, &size)),
                        // Sympy brackets these twice.
                        _ if compound && !calculated => {
                            below.push(format!("({})", self.within(base, MUL)));
                        }
                        _ => below.push(self.within(base, MUL)),
                    }
                }
                Node::Add(_) if parts.len() == 1 => above.push(self.text(part).to_string()),
                // Sympy brackets what binds less tightly, and leaves roots and functions alone.
                _ => above.push(self.within(part, MUL)),
            }
        }
        if above.is_empty() {
            above.push("1".to_string());
        }
        let above = above.join("*");
        let text = match &below[..] {
            [] => format!("{sign}{above}"),
            [one] => format!("{sign}{above}/{one}"),
            _ => format!("{sign}{above}/({})", below.join("*")),
        };
        let precedence = if sign.is_empty() { MUL } else { ADD };
        Piece { text, precedence }
    }

    /// Whether sympy would have combined numbers if it were not told to leave a product as written.
    fn as_written(&self, parts: &[Id]) -> bool {
        let number = |id: Id| match self.arena.node(id) {
            Node::Pow(base, exponent) => {
                [base, exponent].iter().all(|&id| self.exact(id).is_some_and(RBig::is_int))
            }
            _ => self.known(id).is_some(),
        };
        let one = |id: &Id| self.exact(*id).is_some_and(RBig::is_one);
        self.style != Style::Plain
            && (parts.first().is_some_and(one) || parts.iter().skip(1).any(|&id| number(id)))
    }

    /// A product with its factors in the order written.
    fn written_product(&self, parts: &[Id]) -> Piece {
        let sum = |&id: &Id| matches!(self.arena.node(id), Node::Add(_));
        let negative = parts.first().is_some_and(|id| !sum(id) && self.text(*id).starts_with('-'));
        let level = if negative { ADD } else { MUL };
        let (mut above, mut below): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        for &part in parts {
            match self.arena.node(part) {
                Node::Pow(base, exponent) if self.is_divisor(base, exponent) => {
                    let size = self.known(exponent).map(|value| value.clone().abs());
                    match size {
                        Some(size) if !size.is_one() => below.push(self.raised(base, &size)),
                        _ => below.push(self.within(base, level)),
                    }
                }
                // The sign of the first needs no brackets.
                _ if above.is_empty() && negative => above.push(self.text(part).to_string()),
                _ => above.push(self.within(part, level)),
            }
        }
        if above.is_empty() {
            above.push("1".to_string());
        }
        let above = above.join("*");
        let text = match &below[..] {
            [] => above,
            [one] => format!("{above}/{one}"),
            _ => format!("{above}/({})", below.join("*")),
        };
        Piece { text, precedence: level }
    }

    /// The rows of a matrix within something, one a line, columns flush right.
    fn table(&self, parts: &[Id], columns: usize) -> String {
        let columns = columns.max(1);
        let mut widths = vec![0; columns];
        for (index, &part) in parts.iter().enumerate() {
            let width = &mut widths[index % columns];
            *width = (*width).max(self.text(part).chars().count());
        }
        let mut text = String::new();
        for (number, row) in parts.chunks(columns).enumerate() {
            if text.len() > MAX_TEXT {
                break;
            }
            text.push_str(match number {
                0 if parts.len() > columns => "\n",
                0 => "",
                _ => ",\n",
            });
            let cells = row.iter().zip(&widths);
            let cells: Vec<String> =
                cells.map(|(&id, &width)| format!("{:>width$}", self.text(id))).collect();
            text.push_str(&format!("[{}]", cells.join(", ")));
        }
        text
    }

    fn is_minus_one(&self, id: Id) -> bool {
        self.known(id).is_some_and(|value| *value == RBig::NEG_ONE)
    }

    /// Whether a power is written below the line.
    fn is_divisor(&self, base: Id, exponent: Id) -> bool {
        let natural = matches!(self.arena.node(base), Node::Constant(Constant::E));
        !natural && self.known(exponent).is_some_and(Signed::is_negative)
    }

    fn power(&self, base: Id, exponent: Id) -> Piece {
        if matches!(self.arena.node(base), Node::Constant(Constant::E)) {
            return Piece { text: format!("exp({})", self.text(exponent)), precedence: ATOM };
        }
        let Some(value) = self.known(exponent) else {
            let (base, exponent) = (self.within(base, POW), self.within(exponent, POW));
            return Piece { text: format!("{base}**{exponent}"), precedence: POW };
        };
        let half = *value.denominator() == UBig::from(2u8);
        if half && *value.numerator() == IBig::ONE {
            return Piece { text: format!("sqrt({})", self.text(base)), precedence: POW };
        }
        if half && *value.numerator() == IBig::NEG_ONE {
            return Piece { text: format!("1/sqrt({})", self.text(base)), precedence: POW };
        }
        if *value == RBig::NEG_ONE {
            return Piece { text: format!("1/{}", self.within(base, MUL)), precedence: POW };
        }
        let (base, exponent) = (self.within(base, POW), self.within(exponent, POW));
        Piece { text: format!("{base}**{exponent}"), precedence: POW }
    }

    fn raised(&self, base: Id, exponent: &RBig) -> String {
        if *exponent.denominator() == UBig::from(2u8) && *exponent.numerator() == IBig::ONE {
            return format!("sqrt({})", self.text(base));
        }
        let base = self.within(base, POW);
        if exponent.is_int() {
            format!("{base}**{exponent}")
        } else {
            format!("{base}**({exponent})")
        }
    }

    fn bound(&self, binder: Binder, parts: &[Id]) -> Piece {
        let text = match (binder, parts) {
            (Binder::Limit | Binder::LimitLeft | Binder::LimitRight, _) => {
                let at = parts.last().map(|&at| self.arena.node(at));
                let direction = match binder {
                    _ if at == Some(Node::Constant(Constant::Infinity)) => "-",
                    _ if at == Some(Node::Constant(Constant::NegativeInfinity)) => "+",
                    Binder::LimitLeft => "-",
                    Binder::LimitRight => "+",
                    _ => "+-",
                };
                format!("Limit({}, dir='{direction}')", self.list(parts))
            }
            (_, [body, bounds @ ..]) if bounds.len() > 1 => {
                format!("{}({}, ({}))", binder.name(), self.text(*body), self.list(bounds))
            }
            _ => format!("{}({})", binder.name(), self.list(parts)),
        };
        Piece { text, precedence: ATOM }
    }

    fn structure(&self, id: Id, parts: &[Id]) -> String {
        if let Some(value) = self.exact(id) {
            return match value.is_int() {
                true => format!("Integer({value})"),
                false => format!("Rational({}, {})", value.numerator(), value.denominator()),
            };
        }
        let join = |name: &str, ids: &[Id]| format!("{name}({})", self.list(ids));
        let named = |class: &str, name: &str| {
            let separator = if parts.is_empty() { "" } else { ", " };
            format!("{class}({name:?}{separator}{})", self.list(parts))
        };
        match self.arena.node(id) {
            Node::Number(number) => {
                format!("Float('{}')", decimal(&self.arena.number(number).value))
            }
            Node::Constant(constant) => constant.name().to_string(),
            Node::Symbol(name) => named("Symbol", self.arena.name(name)),
            Node::Add(_) => join("Add", &self.sorted(parts)),
            Node::Mul(_) => join("Mul", &self.sorted(parts)),
            Node::Pow(..) => join("Pow", parts),
            Node::Apply(function @ (Function::Max | Function::Min), _) => {
                join(function.name(), &self.distinct(parts))
            }
            Node::Apply(function, _) => join(function.name(), parts),
            Node::Call(name, _) => named("Function", self.arena.name(name)),
            Node::Percent(_) => join("Percent", parts),
            Node::Bind(binder, _) => join(binder.name(), parts),
            Node::Matrix { rows, columns, .. } => {
                format!("Matrix({rows}, {columns}, [{}])", self.list(parts))
            }
            Node::Set(_) | Node::List(_) => join("FiniteSet", &self.distinct(parts)),
            Node::Tuple(_) => join("Tuple", parts),
            Node::Interval { low_open, high_open, .. } => {
                format!("Interval({}, {low_open}, {high_open})", self.list(parts))
            }
            Node::Union(_) => join("Union", &self.distinct(parts)),
            Node::Intersection(_) => join("Intersection", &self.distinct(parts)),
            Node::Difference(..) => join("Complement", parts),
            Node::NumberSet(set) => set.name().to_string(),
            Node::Relation(relation, ..) => {
                let name = match relation {
                    Relation::Eq => "Equality",
                    Relation::Ne => "Unequality",
                    Relation::Lt => "StrictLessThan",
                    Relation::Le => "LessThan",
                    Relation::Gt => "StrictGreaterThan",
                    Relation::Ge => "GreaterThan",
                };
                join(name, parts)
            }
            Node::Chain(_) => join("And", &self.distinct(parts)),
            Node::Not(_) => join("Not", parts),
        }
    }
}

/// Kind and text of what is raised to a power, in sympy's order.
type Base<'a> = ((u8, u8), &'a str);

/// A term of a sum, as far as its place in the sum depends on it.
struct Monomial<'a> {
    /// Base and exponent.
    powers: Vec<(Base<'a>, RBig)>,
    imaginary: bool,
    /// Roughly, if there are constants and roots among the factors.
    coefficient: RBig,
    /// How many factors there are besides numbers.
    factors: usize,
    /// How many factors are numbers.
    numbers: usize,
}

/// Lexicographic by the exponents of the bases in order, the greatest first; then by coefficient.
fn compare(a: &Monomial<'_>, b: &Monomial<'_>) -> Ordering {
    let (mut left, mut right) = (a.powers.iter().peekable(), b.powers.iter().peekable());
    loop {
        // The sign of the first exponent in which they differ.
        let (ours, theirs) = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some((_, exponent)), None) => (exponent.clone(), RBig::ZERO),
            (None, Some((_, exponent))) => (RBig::ZERO, exponent.clone()),
            (Some((mine, ours)), Some((other, theirs))) => match mine.cmp(other) {
                Ordering::Equal => (ours.clone(), theirs.clone()),
                Ordering::Less => (ours.clone(), RBig::ZERO),
                Ordering::Greater => (RBig::ZERO, theirs.clone()),
            },
        };
        if ours != theirs {
            return theirs.cmp(&ours);
        }
        left.next();
        right.next();
    }
    a.imaginary.cmp(&b.imaginary).then_with(|| a.coefficient.cmp(&b.coefficient))
}

/// What a node is made of. Sums in sums and products in products are opened up; a product above a
/// fraction line only by those who write plainly.
fn flattened(arena: &Arena, id: Id, style: Style, opened: &mut usize) -> Vec<Id> {
    let same = |part: Id| {
        matches!(
            (arena.node(id), arena.node(part)),
            (Node::Add(_), Node::Add(_)) | (Node::Mul(_), Node::Mul(_))
        )
    };
    let closed =
        |id: Id| matches!(style, Style::Sympy | Style::SympyMatrix) && is_fraction(arena, id);
    // Each with whether it may be opened.
    let children = |id: Id| {
        let mut children: Vec<(Id, bool)> = arena.children(id).map(|kid| (kid, true)).collect();
        if closed(id) {
            children.iter_mut().for_each(|(_, open)| *open = false);
        }
        children.reverse();
        children
    };
    let number = |id: &Id| matches!(arena.node(*id), Node::Number(_));
    let rational = |id: Id| match arena.node(id) {
        Node::Mul(kids) if closed(id) => match arena.kids(kids) {
            [above, below] => {
                number(above) && matches!(arena.node(*below), Node::Pow(base, _) if number(&base))
            }
            _ => false,
        },
        _ => false,
    };
    let mut parts = Vec::new();
    let mut waiting = children(id);
    while let Some((part, open)) = waiting.pop() {
        // Shared nodes could make this endless; past the limit, for all nodes, they stay closed.
        if open && same(part) && *opened < 2 * MAX_NODES && !rational(part) {
            let inner = children(part);
            *opened += 1 + inner.len();
            waiting.extend(inner);
        } else {
            parts.push(part);
        }
    }
    parts
}

/// Whether a product is a quotient as written: a/b.
fn is_fraction(arena: &Arena, id: Id) -> bool {
    let Node::Mul(kids) = arena.node(id) else { return false };
    let [_, below] = arena.kids(kids) else { return false };
    matches!(arena.node(*below), Node::Pow(_, exponent) if arena.is_minus_one(exponent))
}

/// −2 and `t` of `-2*t`; 1 and all of it if there is no such factor.
fn leading_integer(text: &str) -> (RBig, &str) {
    let (negative, size) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let digits = size.bytes().take_while(u8::is_ascii_digit).count();
    let number = size.get(..digits).and_then(|digits| digits.parse::<u64>().ok());
    let (value, rest) = match (number, size.get(digits..).and_then(|rest| rest.strip_prefix('*'))) {
        (Some(number), Some(rest)) => (RBig::from(number), rest),
        // A sum may begin with a sign that is not all of it.
        _ if size.contains(' ') => return (RBig::ONE, text),
        _ => (RBig::ONE, size),
    };
    (if negative { -value } else { value }, rest)
}

/// A decimal as sympy writes it: to 15 significant digits, or as many as there are if more, with or
/// without the zeros at the end; with an exponent if it is tiny.
fn float(value: &RBig, strip: bool) -> String {
    let plain = decimal(value);
    if plain.contains('/') {
        return plain;
    }
    let (sign, size) = match plain.strip_prefix('-') {
        Some(size) => ("-", size),
        None => ("", plain.as_str()),
    };
    let (whole, fraction) = size.split_once('.').unwrap_or((size, ""));
    let digits = format!("{whole}{}", if fraction == "0" { "" } else { fraction });
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return "0.0".to_string();
    }
    let precision = significant.len().max(15);
    // Of the first significant digit.
    let exponent = whole.len() as i64 - 1 - (digits.len() - significant.len()) as i64;
    let padded = format!("{significant:0<precision$}");
    let (mut mantissa, suffix) = if exponent <= -5 {
        (format!("{}.{}", &padded[..1], &padded[1..]), format!("e{exponent}"))
    } else if exponent < 0 {
        (format!("0.{}{padded}", "0".repeat((-1 - exponent) as usize)), String::new())
    } else {
        let point = (exponent as usize + 1).min(padded.len());
        (format!("{}.{}", &padded[..point], &padded[point..]), String::new())
    };
    if strip {
        mantissa.truncate(mantissa.trim_end_matches('0').len());
        if mantissa.ends_with('.') {
            mantissa.push('0');
        }
    }
    format!("{sign}{mantissa}{suffix}")
}

/// A terminating decimal in digits, with a decimal point; anything else as a fraction.
fn decimal(value: &RBig) -> String {
    let denominator = value.denominator();
    if denominator.bit_len() > MAX_DECIMAL_BITS {
        return value.to_string();
    }
    let (ten, five, two) = (UBig::from(10u8), UBig::from(5u8), UBig::from(2u8));
    let (mut rest, mut twos, mut fives) = (denominator.clone(), 0usize, 0usize);
    while &rest % &two == UBig::ZERO {
        rest /= &two;
        twos += 1;
    }
    while &rest % &five == UBig::ZERO {
        rest /= &five;
        fives += 1;
    }
    if rest != UBig::ONE {
        return value.to_string();
    }
    let places = twos.max(fives);
    let scaled = value.numerator().unsigned_abs() * ten.pow(places) / denominator;
    let digits = format!("{scaled:0>width$}", scaled = scaled.to_string(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let sign = if value.is_negative() { "-" } else { "" };
    format!("{sign}{whole}.{}", if fraction.is_empty() { "0" } else { fraction })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::reward::wire::from_wire;

    /// Prints nodes given as `kind:data:children`, separated by spaces.
    fn printed(nodes: &str) -> (String, String) {
        let nodes: Vec<_> = nodes
            .split(' ')
            .map(|node| {
                let mut fields = node.splitn(3, ':');
                let mut field = || fields.next().unwrap_or("").to_string();
                let (kind, data, kids) = (field(), field(), field());
                let kids = kids.split(',').filter(|kid| !kid.is_empty());
                (kind, data, kids.map(|kid| kid.parse().unwrap()).collect())
            })
            .collect();
        let (arena, root) = from_wire(&nodes).unwrap();
        (to_str(&arena, root), to_srepr(&arena, root))
    }

    /// The right column is what sympy prints for such an expression.
    #[test]
    fn as_sympy_would() {
        for (nodes, expected) in [
            ("number:1 number:2 number:-1 pow::1,2 mul::0,3", "1/2"),
            ("number:-1 number:7 mul::0,1", "-7"),
            ("decimal:69/10", "6.9"),
            ("decimal:-8", "-8.0"),
            ("decimal:1/40", "0.025"),
            ("number:5 number:-3 add::0,1", "-3 + 5"),
            ("symbol:x number:1 number:3 add::1,2 pow::0,3", "x**(1 + 3)"),
            ("symbol:a symbol:b symbol:c number:-1 pow::2,3 add::0,1 mul::5,4", "(a + b)/c"),
            ("symbol:x number:2 pow::0,1 mul::1,0 number:1 add::4,3,2", "x**2 + 2*x + 1"),
            ("symbol:theta symbol:x number:-1 mul::2,0 add::1,3", "-theta + x"),
            ("number:1 symbol:x number:-1 mul::2,1 add::0,3", "1 - x"),
            ("symbol:y number:-1 mul::1,0 number:2 mul::3,0 add::4,2,2", "-y - y + 2*y"),
            ("constant:pi number:2 number:-1 pow::1,2 mul::0,3", "pi/2"),
            ("number:2 number:1/2 pow::0,1 number:3 mul::3,2", "3*sqrt(2)"),
            ("symbol:x number:-1/2 pow::0,1", "1/sqrt(x)"),
            ("symbol:x number:1/3 pow::0,1", "x**(1/3)"),
            ("number:-2 symbol:n pow::0,1", "(-2)**n"),
            ("constant:E number:3 pow::0,1", "exp(3)"),
            ("symbol:x constant:E apply:log:0,1", "log(x, E)"),
            ("number:3 number:1 number:2 set::0,1,2,1", "{1, 2, 3}"),
            ("number:0 number:1 interval:(]:0,1", "Interval.Lopen(0, 1)"),
            ("symbol:k number:1 relation:Eq:0,1", "Eq(k, 1)"),
            ("symbol:x number:1 relation:<=:1,0", "1 <= x"),
            (
                "symbol:k number:2 pow::0,1 number:1 number:10 bind:Sum:2,0,3,4",
                "Sum(k**2, (k, 1, 10))",
            ),
            ("symbol:x bind:Integral:0,0", "Integral(x, x)"),
            ("symbol:a symbol:x number:3 bind:Limit+:0,1,2", "Limit(a, x, 3, dir='+')"),
            ("number:1 number:2 matrix:1x2:0,1", "Matrix([[1, 2]])"),
            ("number:20 percent::0", "20*(1/100)"),
            ("number:128 number:10 number:300 pow::1,2 mul::0,3", "128*10**300"),
            ("symbol:a number:1 tuple::0,1", "(a, 1)"),
        ] {
            assert_eq!(printed(nodes).0, expected, "{nodes}");
        }
    }

    /// What sympy 1.14 prints of what Math-Verify 0.9 makes of these.
    #[test]
    fn as_math_verify_has_it() {
        use crate::reward::latex::{Dialect, parse};
        for (latex, expected) in [
            ("0.5", "0.500000000000000"),
            ("-24.40", "-24.4000000000000"),
            ("0.00001", "1.00000000000000e-5"),
            ("0.0", "0.0"),
            ("0.5x", "0.5*x"),
            ("4-2x", "-1*2*x + 4"),
            ("1-x", "1 - x"),
            ("x^2-3x+1", "x**2 - 1*3*x + 1"),
            ("\\frac{2\\pi}{3}", "(2*pi)/3"),
            ("-\\frac{2\\pi}{3}", "-1*2*pi/3"),
            ("-\\frac{\\sqrt{3}}{2}", "-1*sqrt(3)/2"),
            ("\\frac{8-4x}{5}", "(-1*4*x + 8)/5"),
            ("\\frac{-1+\\sqrt{5}}{4}", "(-1 + sqrt(5))/4"),
            ("-\\frac{2}{3}x", "-1*2/3*x"),
            ("x\\frac{1}{2}", "x*(1/2)"),
            ("\\frac{7}{8(k+3)}", "7/((8*(k + 3)))"),
            ("\\frac{1}{x(x+1)}", "1/(x*(x + 1))"),
            ("\\frac{a}{x^2}", "a/(x**2)"),
            ("-\\frac{1}{x}", "-1*1/x"),
            ("2^3x", "2**3*x"),
            ("(x+1)(x-1)", "(x - 1)*(x + 1)"),
            ("\\cos x\\sin x", "sin(x)*cos(x)"),
            ("[2,\\infty)", "Interval(2, oo)"),
            ("(-\\infty,2)", "Interval.open(-oo, 2)"),
            ("(-\\infty,\\infty)", "Interval(-oo, oo)"),
            ("(-\\infty,2]", "Interval(-oo, 2)"),
            ("(13,2,-2),(3,2,3)", "{(3, 2, 3), (13, 2, -2)}"),
            ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "Matrix([[1, 2], [3, 4]])"),
            ("A=\\begin{pmatrix}1&-2\\\\3&4\\end{pmatrix}", "Eq(a, Matrix([\n[1, -2],\n[3,  4]]))"),
        ] {
            let parsed = parse(latex, Dialect::MATH_VERIFY).unwrap();
            assert_eq!(to_sympy_str(&parsed.arena, parsed.root), expected, "{latex}");
        }
    }

    #[test]
    fn structure_ignores_order_but_not_kind() {
        let sum = printed("symbol:x number:1 add::0,1").1;
        assert_eq!(sum, "Add(Integer(1), Symbol(\"x\"))");
        assert_eq!(printed("number:1 symbol:x add::0,1").1, sum);
        assert_ne!(printed("number:13").1, printed("symbol:13").1);
        assert_ne!(printed("number:1/2").1, printed("decimal:1/2").1);
    }

    #[test]
    fn shared_nodes_do_not_make_text_explode() {
        let mut nodes = vec![("symbol".to_string(), "x".to_string(), vec![])];
        for i in 0..4000 {
            let kind = ["add", "mul", "tuple"][i as usize % 3];
            nodes.push((kind.to_string(), String::new(), vec![i, i]));
        }
        let (arena, root) = from_wire(&nodes).unwrap();
        assert!(to_str(&arena, root).len() < 3 * MAX_TEXT);
        assert!(to_srepr(&arena, root).len() < 3 * MAX_TEXT);
    }
}
