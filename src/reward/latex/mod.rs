//! LaTeX to expressions.
//!
//! The grammar is that of answers as people write them, with the readings that Math-Verify's parser
//! settles on where several are possible.

mod commands;
mod complex;
mod number;
mod parser;
mod sets;
mod symbol;
mod token;

use super::budget::MAX_EXPRESSION;
use super::expr::{Arena, Id};
use super::verdict::Reason;

pub use number::{Literal, literal};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// `A` and `a` are one symbol.
    pub lowercase: bool,
    /// Only a proper fraction after an integer makes a mixed number; else any number does, 2(3) too.
    pub proper_mixed_numbers: bool,
    /// `E` is a letter like any other, with indices.
    pub upper_e_symbol: bool,
    /// A subscript to a number is its base, and part of it.
    pub keep_bases: bool,
    /// `f'` is not `f`.
    pub primes: bool,
    /// `10^-3` without braces.
    pub bare_signed_exponents: bool,
}

impl Dialect {
    /// As Math-Verify reads.
    pub fn math_verify() -> Self {
        Self {
            lowercase: true,
            proper_mixed_numbers: false,
            upper_e_symbol: false,
            keep_bases: false,
            primes: false,
            bare_signed_exponents: false,
        }
    }

    /// As a careful reader would.
    pub fn strict() -> Self {
        Self {
            lowercase: false,
            proper_mixed_numbers: true,
            upper_e_symbol: true,
            keep_bases: true,
            primes: false,
            bare_signed_exponents: true,
        }
    }
}

/// Reads LaTeX, or says why it can not be read.
pub fn parse(latex: &str, dialect: Dialect) -> Result<Parsed, Reason> {
    if latex.len() > MAX_EXPRESSION {
        return Err(Reason::TooLarge);
    }
    let tokens = token::tokens(latex).ok_or(Reason::Syntax)?;
    let mut parser = parser::Parser::new(latex, tokens, dialect);
    let root = sets::answer(&mut parser)?;
    Ok(Parsed { arena: parser.arena, root, complex: complex::suggested(latex) })
}
