//! LaTeX to expressions.
//!
//! The grammar is that of answers as people write them, with the readings that Math-Verify's parser
//! settles on where several are possible.

mod atoms;
mod calculus;
mod calls;
mod commands;
mod complex;
mod functions;
mod lenient;
mod matrix;
mod number;
mod parser;
mod sets;
mod symbol;
mod token;
mod unicode;

use std::borrow::Cow;

use super::budget::{Budget, MAX_EXPRESSION, READ_WORK};
use super::expr::{Arena, Id};
use super::verdict::Reason;

pub use number::{Literal, literal};
pub use unicode::spelled_out;

/// A parsed answer.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// Its nodes.
    pub arena: Arena,
    /// The whole answer.
    pub root: Id,
    /// Its variables are complex rather than real.
    pub complex: bool,
}

/// Points on which readers of LaTeX differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dialect {
    /// `A` and `a` are one symbol.
    pub lowercase: bool,
    /// Accepts what a person would: 4.5e33, 0.\overline{3}, 10\,000, E_1, 10^-3, √2, x², `\bigl(`,
    /// commands without a meaning as symbols, braces within text.
    pub lenient: bool,
    /// Only a proper fraction after an integer makes a mixed number; else any number does, 2(3) too.
    pub proper_mixed_numbers: bool,
    /// A subscript to a number is its base, and part of it.
    pub keep_bases: bool,
    /// `i` is the imaginary unit, unless it is bound as an index.
    pub imaginary_i: bool,
    /// The argument of a trigonometric function may be in degrees.
    pub degrees: bool,
    /// a:b:c is a ratio of three, not two divisions.
    pub ratios: bool,
}

impl Dialect {
    /// As Math-Verify reads.
    pub const MATH_VERIFY: Self = Self {
        lowercase: true,
        lenient: false,
        proper_mixed_numbers: false,
        keep_bases: false,
        imaginary_i: false,
        degrees: false,
        ratios: false,
    };

    /// As a careful reader would.
    pub const STRICT: Self = Self {
        lowercase: false,
        lenient: true,
        proper_mixed_numbers: true,
        keep_bases: true,
        imaginary_i: true,
        degrees: true,
        ratios: true,
    };
}

/// Work units for one byte of an expression.
const BYTE: u64 = 16;

/// Reads LaTeX, or says why it can not be read.
pub fn parse(latex: &str, dialect: Dialect) -> Result<Parsed, Reason> {
    parse_within(latex, dialect, &mut Budget::new(READ_WORK))
}

/// As [`parse`], as far as the budget goes.
pub fn parse_within(latex: &str, dialect: Dialect, budget: &mut Budget) -> Result<Parsed, Reason> {
    if latex.len() > MAX_EXPRESSION {
        return Err(Reason::TooLarge);
    }
    budget.charge(BYTE * latex.len() as u64)?;
    let spelled = match dialect.lenient {
        true => unicode::spelled_out(latex),
        false => Cow::Borrowed(latex),
    };
    let tokens = token::tokens(&spelled, dialect.lenient).ok_or(Reason::Syntax)?;
    let mut parser = parser::Parser::new(&spelled, tokens, dialect, budget);
    let root = sets::answer(&mut parser)?;
    Ok(Parsed { arena: parser.arena, root, complex: complex::suggested(latex) })
}
