//! Terms in canonical form, each held once, so that equal forms have equal ids.

use std::hash::{Hash, Hasher};

use dashu_ratio::RBig;
use rustc_hash::{FxHashMap, FxHasher};

use crate::reward::budget::Budget;
use crate::reward::expr::{Binder, Constant, Function, NameId};
use crate::reward::verdict::Reason;

use super::number;

/// A term's index. Parts of a term have smaller indices than the term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tid(u32);

impl Tid {
    /// Its place.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One term. Lists are sorted and without doubles.
#[derive(Debug, Clone, PartialEq)]
pub enum Term {
    /// An exact number.
    Rational(RBig),
    /// π, e, i, γ, ±∞.
    Constant(Constant),
    /// A variable; the number depends on its name alone.
    Symbol(NameId, u64),
    /// The variable of a binder, numbered from the inside.
    Bound(u32),
    /// A number plus multiples of other terms. Never a lone term without a factor.
    Sum(RBig, Box<[(Tid, RBig)]>),
    /// Bases with exponents; no rational factor, no base twice.
    Product(Box<[(Tid, Tid)]>),
    /// A known function that does not fold.
    Apply(Function, Box<[Tid]>),
    /// An unknown function.
    Call(NameId, u64, Box<[Tid]>),
    /// A binder that does not fold.
    Bind(Binder, Box<[Tid]>),
    /// A matrix, row by row.
    Matrix {
        /// Rows.
        rows: u32,
        /// Columns.
        columns: u32,
        /// Entries.
        entries: Box<[Tid]>,
    },
    /// Division by zero, ∞ − ∞ and so on.
    Undefined,
    /// A set, a relation: no scalar.
    Foreign,
}

/// What is known of a term's value wherever it is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// A real number.
    pub real: bool,
    /// Real and not below zero.
    pub nonnegative: bool,
    /// Real and above zero.
    pub positive: bool,
    /// An integer.
    pub integer: bool,
    /// Contains no variable, but for those that its own binders bind.
    pub constant: bool,
    /// Contains a variable or an unknown function.
    pub symbols: bool,
    /// The highest number of a binder's variable that is free here, plus one.
    pub open: u32,
    /// Contains something that has no scalar value.
    pub broken: bool,
    /// Contains an infinity.
    pub infinite: bool,
    /// Contains a binder, or functions that jump or kink.
    pub kinked: bool,
    /// Binders around nothing: the highest number of a bound variable inside, plus one.
    pub height: u32,
}

/// Most rules that call each other.
const MAX_RULES: usize = 64;

/// All terms of one comparison.
pub struct Terms<'b> {
    terms: Vec<Term>,
    facts: Vec<Facts>,
    table: FxHashMap<u64, Tid>,
    depth: usize,
    /// Pays for everything done here.
    pub budget: &'b mut Budget,
}

/// Result of a step that the budget may refuse.
pub type Step<T> = Result<T, Reason>;

impl<'b> Terms<'b> {
    /// No terms but zero and one.
    pub fn new(budget: &'b mut Budget) -> Self {
        let mut terms = Self {
            terms: Vec::with_capacity(32),
            facts: Vec::with_capacity(32),
            table: FxHashMap::default(),
            depth: 0,
            budget,
        };
        for value in [0, 1, -1] {
            terms.insert(Term::Rational(number::integer(value)));
        }
        terms
    }

    /// 0
    pub const ZERO: Tid = Tid(0);
    /// 1
    pub const ONE: Tid = Tid(1);
    /// −1
    pub const MINUS_ONE: Tid = Tid(2);

    /// Does something one level deeper: rules for powers of powers, logarithms of products and so on
    /// call each other, however high the powers are piled.
    pub fn deeper<T>(&mut self, work: impl FnOnce(&mut Self) -> Step<T>) -> Step<T> {
        if self.depth == MAX_RULES {
            return Err(Reason::TooLarge);
        }
        self.depth += 1;
        let done = work(self);
        self.depth -= 1;
        done
    }

    /// Ids up to one, parts before wholes.
    pub fn ids_up_to(&self, last: Tid) -> impl DoubleEndedIterator<Item = Tid> + use<> {
        (0..=last.0).map(Tid)
    }

    /// The term.
    pub fn term(&self, id: Tid) -> &Term {
        &self.terms[id.index()]
    }

    /// What is known of it.
    pub fn facts(&self, id: Tid) -> Facts {
        self.facts[id.index()]
    }

    /// The number, if the term is one.
    pub fn as_rational(&self, id: Tid) -> Option<&RBig> {
        match self.term(id) {
            Term::Rational(value) => Some(value),
            _ => None,
        }
    }

    /// The integer, if the term is one and small.
    pub fn as_small(&self, id: Tid) -> Option<i64> {
        self.as_rational(id).and_then(number::small)
    }

    /// Whether the term is this constant.
    pub fn is_constant(&self, id: Tid, constant: Constant) -> bool {
        matches!(self.term(id), Term::Constant(held) if *held == constant)
    }

    /// The parts of a term.
    pub fn for_each_part(&self, id: Tid, mut visit: impl FnMut(Tid)) {
        match self.term(id) {
            Term::Sum(_, list) => list.iter().for_each(|(part, _)| visit(*part)),
            Term::Product(list) => list.iter().for_each(|&(base, exponent)| {
                visit(base);
                visit(exponent);
            }),
            Term::Apply(_, list) | Term::Call(_, _, list) | Term::Bind(_, list) => {
                list.iter().for_each(|&part| visit(part));
            }
            Term::Matrix { entries, .. } => entries.iter().for_each(|&part| visit(part)),
            _ => {}
        }
    }

    /// Everything a term consists of, itself included, parts before wholes.
    pub fn reachable(&mut self, roots: &[Tid]) -> Step<Vec<Tid>> {
        let Some(&last) = roots.iter().max() else { return Ok(Vec::new()) };
        self.budget.charge(last.0 as u64 + 8)?;
        let mut seen = vec![false; last.index() + 1];
        for root in roots {
            seen[root.index()] = true;
        }
        let mut found = Vec::new();
        for id in self.ids_up_to(last).rev() {
            if seen[id.index()] {
                found.push(id);
                self.for_each_part(id, |part| seen[part.index()] = true);
            }
        }
        found.reverse();
        self.budget.charge(4 * found.len() as u64)?;
        Ok(found)
    }

    /// The term's id; equal terms are held once.
    pub fn insert(&mut self, term: Term) -> Tid {
        let mut hash = hash(&term);
        while let Some(&id) = self.table.get(&hash) {
            if self.terms[id.index()] == term {
                return id;
            }
            hash = hash.wrapping_add(1);
        }
        let id = Tid(self.terms.len() as u32);
        let facts = self.derive(&term);
        self.terms.push(term);
        self.facts.push(facts);
        self.table.insert(hash, id);
        id
    }

    fn derive(&self, term: &Term) -> Facts {
        let mut facts = Facts::default();
        let mut absorb = |part: Facts| {
            facts.symbols |= part.symbols;
            facts.open = facts.open.max(part.open);
            facts.broken |= part.broken;
            facts.infinite |= part.infinite;
            facts.kinked |= part.kinked;
            facts.height = facts.height.max(part.height);
        };
        match term {
            Term::Sum(_, list) => list.iter().for_each(|(part, _)| absorb(self.facts(*part))),
            Term::Product(list) => list.iter().for_each(|&(base, exponent)| {
                absorb(self.facts(base));
                absorb(self.facts(exponent));
            }),
            Term::Apply(_, list) | Term::Call(_, _, list) | Term::Bind(_, list) => {
                list.iter().for_each(|&part| absorb(self.facts(part)));
            }
            Term::Matrix { entries, .. } => {
                entries.iter().for_each(|&part| absorb(self.facts(part)));
            }
            _ => {}
        }
        match term {
            Term::Rational(value) => {
                facts.real = true;
                facts.integer = value.is_int();
                facts.nonnegative = !number::negative(value);
                facts.positive = facts.nonnegative && !value.is_zero();
            }
            Term::Constant(constant) => match constant {
                Constant::Pi | Constant::E | Constant::EulerGamma => {
                    (facts.real, facts.nonnegative, facts.positive) = (true, true, true);
                }
                Constant::I => {}
                Constant::Infinity | Constant::NegativeInfinity => facts.infinite = true,
            },
            Term::Symbol(..) => (facts.real, facts.symbols) = (true, true),
            Term::Bound(level) => {
                (facts.real, facts.height, facts.open) = (true, level + 1, level + 1);
            }
            Term::Sum(constant, list) => self.sum_facts(constant, list, &mut facts),
            Term::Product(list) => self.product_facts(list, &mut facts),
            Term::Apply(function, list) => self.apply_facts(*function, list, &mut facts),
            Term::Call(..) => facts.symbols = true,
            Term::Bind(_, list) => {
                facts.kinked = true;
                // The second child is the variable bound.
                let own = list.get(1).map_or(0, |&variable| self.facts(variable).open);
                if facts.open <= own {
                    facts.open = 0;
                }
            }
            Term::Matrix { .. } | Term::Undefined | Term::Foreign => facts.broken = true,
        }
        facts.constant = !facts.symbols && facts.open == 0;
        facts
    }

    fn sum_facts(&self, constant: &RBig, list: &[(Tid, RBig)], facts: &mut Facts) {
        let parts = || list.iter().map(|(part, factor)| (self.facts(*part), factor));
        facts.real = parts().all(|(part, _)| part.real);
        facts.integer =
            constant.is_int() && parts().all(|(part, factor)| part.integer && factor.is_int());
        facts.nonnegative = !number::negative(constant)
            && parts().all(|(part, factor)| part.nonnegative && !number::negative(factor));
        facts.positive =
            facts.nonnegative && (!constant.is_zero() || parts().any(|(part, _)| part.positive));
    }

    fn product_facts(&self, list: &[(Tid, Tid)], facts: &mut Facts) {
        let mut all =
            Facts { real: true, nonnegative: true, positive: true, integer: true, ..*facts };
        for &(base, exponent) in list {
            let (b, e) = (self.facts(base), self.facts(exponent));
            let whole = self.as_rational(exponent).filter(|value| value.is_int());
            let even = whole.is_some_and(|value| (value.numerator() & 1u8) == 0u8);
            all.positive &= b.positive && e.real;
            all.nonnegative &= (b.nonnegative && e.real) || (b.real && even);
            all.real &= (b.nonnegative && e.real) || (b.real && whole.is_some());
            all.integer &= b.integer && whole.is_some_and(|value| !number::negative(value));
        }
        *facts = all;
    }

    fn apply_facts(&self, function: Function, list: &[Tid], facts: &mut Facts) {
        let arguments_real = list.iter().all(|&part| self.facts(part).real);
        match function {
            Function::Abs | Function::Norm => {
                (facts.real, facts.nonnegative, facts.kinked) = (true, true, true);
                facts.integer = list.iter().all(|&part| self.facts(part).integer);
            }
            Function::Sin | Function::Cos | Function::Atan => facts.real = arguments_real,
            Function::Log => facts.real = list.iter().all(|&part| self.facts(part).positive),
            Function::Floor | Function::Ceil => {
                (facts.real, facts.integer, facts.kinked) = (arguments_real, arguments_real, true);
            }
            Function::Factorial => {
                facts.real = arguments_real;
                let natural = list.iter().all(|&part| {
                    let part = self.facts(part);
                    part.integer && part.nonnegative
                });
                (facts.integer, facts.nonnegative, facts.positive) = (natural, natural, natural);
            }
            Function::Max | Function::Min | Function::Mod => {
                (facts.real, facts.kinked) = (arguments_real, true);
                facts.integer = list.iter().all(|&part| self.facts(part).integer);
            }
            Function::Gcd | Function::Lcm => {
                (facts.real, facts.integer, facts.nonnegative) = (true, true, true);
                facts.kinked = true;
            }
            Function::Re | Function::Im | Function::Arg => {
                (facts.real, facts.kinked) = (true, true);
            }
            Function::Conjugate => facts.kinked = true,
            // These take a matrix, and are scalars all the same.
            Function::Det | Function::Trace | Function::Rank => {
                facts.broken = list.iter().any(|&part| match self.term(part) {
                    Term::Matrix { entries, .. } => {
                        entries.iter().any(|&entry| self.facts(entry).broken)
                    }
                    _ => true,
                });
            }
            _ => {}
        }
    }
}

fn hash(term: &Term) -> u64 {
    let mut hasher = FxHasher::default();
    std::mem::discriminant(term).hash(&mut hasher);
    let rational = |value: &RBig, hasher: &mut FxHasher| {
        value.numerator().hash(hasher);
        value.denominator().hash(hasher);
    };
    match term {
        Term::Rational(value) => rational(value, &mut hasher),
        Term::Constant(constant) => constant.hash(&mut hasher),
        Term::Symbol(name, _) => name.hash(&mut hasher),
        Term::Bound(level) => level.hash(&mut hasher),
        Term::Sum(constant, list) => {
            rational(constant, &mut hasher);
            for (part, factor) in list {
                part.hash(&mut hasher);
                rational(factor, &mut hasher);
            }
        }
        Term::Product(list) => list.hash(&mut hasher),
        Term::Apply(function, list) => (function, list).hash(&mut hasher),
        Term::Call(name, _, list) => (name, list).hash(&mut hasher),
        Term::Bind(binder, list) => (binder, list).hash(&mut hasher),
        Term::Matrix { rows, columns, entries } => (rows, columns, entries).hash(&mut hasher),
        Term::Undefined | Term::Foreign => {}
    }
    hasher.finish()
}
