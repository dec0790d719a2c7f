//! Where in a text the answer stands: places by priority, each the text of one answer.

use std::ops::{ControlFlow, Range};

use super::config::Target;

/// A place in a text where an answer may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// All of it, with the words that announced it.
    pub span: Range<usize>,
    /// Which of the targets it is for.
    pub target: usize,
    /// What stands there.
    pub found: Found,
}

/// What stands at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Pieces of LaTeX joined by commas or "and".
    Latex(Vec<Piece>),
    /// A plain number.
    Number {
        /// Digits before the decimal point, with sign and separators.
        integer: Range<usize>,
        /// Decimal point or comma, and digits.
        decimal: Range<usize>,
        /// A per cent sign or word follows.
        percent: bool,
    },
    /// Plain arithmetic.
    Arithmetic(Range<usize>),
    /// One of the strings asked for.
    Choice(Range<usize>),
}

/// A piece of LaTeX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its text, without delimiters.
    pub text: Range<usize>,
    /// A per cent sign or word follows.
    pub percent: bool,
    /// Found by looking for `\boxed` alone, so that its end is a guess.
    pub bare_box: bool,
}

/// Calls `visit` with the priority of each place and the place, best first, until it breaks.
pub fn for_each_match(
    _text: &str,
    _targets: &[Target],
    _visit: &mut dyn FnMut(i32, Match) -> ControlFlow<()>,
) {
}
