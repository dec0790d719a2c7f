//! Where in a text the answer stands: places by priority, each the text of one answer.
//!
//! Which words announce an answer, which notations are looked for and which place is tried first
//! are those of Math-Verify. Its regular expressions can take minutes; the scanners here read a
//! text a bounded number of times, and lower priorities cost nothing where a higher one answers.

mod anchors;
mod choice;
mod latex;
mod plain;
mod strict;
#[cfg(test)]
mod tests;
pub(super) mod text;

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::ops::{ControlFlow, Range};

use self::anchors::{Anchor, anchors};
use self::choice::Choices;
use self::latex::{Content, Latex};
use self::plain::Plain;
pub use self::strict::for_each_strict_match;
use self::text::Text;
use super::budget::{MAX_CANDIDATES, MAX_INPUT};
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
    /// Words, which only count if they are the gold's. Of the strict profile alone.
    Text(Range<usize>),
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

/// How an answer is announced, from the surest to none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// "final answer is ... I hope".
    FinalAnswerIHope,
    /// "final answer ... is".
    FinalAnswerIs,
    /// "answer: ...".
    AnswerColon,
    /// "answer ...".
    Answer,
    /// Not at all.
    Unannounced,
}

/// One kind of place that is looked for.
#[derive(Debug, Clone, Copy)]
enum Search {
    Latex(How),
    Boxed,
    BareBox,
    Plain(How),
    Numbers,
    Choice(How),
    FirstChoice,
}

/// A place as it is remembered until it is visited.
#[derive(Debug, Clone)]
enum Place {
    /// A chain of environments that begins there.
    Latex {
        first: usize,
        content: Content,
        whole_word: bool,
    },
    BareBox,
    Number {
        integer: Range<usize>,
        decimal: Range<usize>,
        percent: bool,
    },
    Arithmetic(Range<usize>),
    Choice(Range<usize>),
}

/// Places of one priority. Of each search only the last are kept, since those are visited first.
#[derive(Default)]
struct Places {
    all: Vec<(Range<usize>, usize, Place)>,
    /// Where those of the search now on begin.
    from: usize,
    target: usize,
}

impl Places {
    fn begin(&mut self, target: usize) {
        self.from = self.all.len();
        self.target = target;
    }

    fn push(&mut self, span: Range<usize>, place: Place) {
        if self.all.len() - self.from >= 2 * MAX_CANDIDATES {
            self.all.drain(self.from..self.from + MAX_CANDIDATES);
        }
        self.all.push((span, self.target, place));
    }
}

/// Calls `visit` with the priority of each place and the place, best first, until it breaks.
///
/// Of places of one priority the one that ends last comes first. Only the last [`MAX_INPUT`] bytes
/// of the text are looked at, and at most [`MAX_CANDIDATES`] places of each priority.
pub fn for_each_match(
    text: &str,
    targets: &[Target],
    visit: &mut dyn FnMut(i32, Match) -> ControlFlow<()>,
) {
    let offset = tail(text);
    let text = Text::new(&text[offset..]);
    let mut reader = Reader {
        text,
        latex: Latex::new(text),
        plain: Plain::new(text),
        targets,
        anchors: OnceCell::new(),
    };
    let searches = searches(targets);
    for group in searches.chunk_by(|a, b| a.0 == b.0) {
        let mut places = Places::default();
        for &(_, target, search) in group {
            places.begin(target);
            reader.find(search, target, &mut places);
        }
        let priority = group[0].0;
        places.all.sort_by_key(|(span, _, _)| (Reverse(span.end), span.start));
        for (span, target, place) in places.all.into_iter().take(MAX_CANDIDATES) {
            let found = shift(reader.found(&span, place), offset);
            let span = offset + span.start..offset + span.end;
            if visit(priority, Match { span, target, found }).is_break() {
                return;
            }
        }
    }
}

/// Where the end of a text begins that is looked at.
fn tail(text: &str) -> usize {
    let mut offset = text.len().saturating_sub(MAX_INPUT);
    while !text.is_char_boundary(offset) {
        offset += 1;
    }
    offset
}

/// Everything to look for, as priority, target and search; of equal priority in the order in which
/// equal places are visited.
fn searches(targets: &[Target]) -> Vec<(i32, usize, Search)> {
    let announced = [
        (0, How::FinalAnswerIHope),
        (50, How::FinalAnswerIs),
        (100, How::AnswerColon),
        (200, How::Answer),
    ];
    let mut searches = Vec::with_capacity(16);
    for (i, target) in targets.iter().enumerate() {
        let kind: fn(How) -> Search = match target {
            Target::Latex(_) => Search::Latex,
            Target::Expr(_) => Search::Plain,
            Target::Strings(_) => Search::Choice,
        };
        searches.extend(announced.map(|(priority, how)| (priority, i, kind(how))));
        match target {
            Target::Latex(latex) => {
                if latex.try_extract_without_anchor {
                    searches.push((300, i, Search::Latex(How::Unannounced)));
                }
                let priority = latex.boxed_match_priority;
                if priority >= 0 {
                    searches.extend([(priority, i, Search::Boxed), (priority, i, Search::BareBox)]);
                }
            }
            Target::Expr(expr) => {
                if expr.try_extract_without_anchor {
                    let arithmetic = Search::Plain(How::Unannounced);
                    searches.extend([(300, i, arithmetic), (300, i, Search::Numbers)]);
                }
            }
            Target::Strings(strings) => {
                if strings.try_extract_without_anchor {
                    let choice = Search::Choice(How::Unannounced);
                    searches.extend([(250, i, Search::FirstChoice), (300, i, choice)]);
                }
            }
        }
    }
    searches.sort_by_key(|&(priority, _, _)| priority);
    searches
}

/// What is known of a text, found out when it is first needed.
struct Reader<'a> {
    text: Text<'a>,
    latex: Latex<'a>,
    plain: Plain<'a>,
    targets: &'a [Target],
    anchors: OnceCell<Vec<Anchor>>,
}

impl Reader<'_> {
    fn find(&mut self, search: Search, target: usize, out: &mut Places) {
        let text = self.text;
        let anchors = |cell: &OnceCell<Vec<Anchor>>| cell.get_or_init(|| anchors(text)).len();
        if let Search::Latex(how) | Search::Plain(how) | Search::Choice(how) = search
            && how != How::Unannounced
            && anchors(&self.anchors) == 0
        {
            return;
        }
        let anchors = self.anchors.get().map_or(&[][..], Vec::as_slice);
        let strings = match self.targets.get(target) {
            Some(Target::Strings(strings)) => strings.strings.as_slice(),
            _ => &[],
        };
        let choices = Choices { text, strings };
        match search {
            Search::Latex(how) => self.latex.find(how, anchors, out),
            Search::Boxed => self.latex.boxed(out),
            Search::BareBox => self.latex.bare_box(out),
            Search::Plain(how) => self.plain.find(how, anchors, out),
            Search::Numbers => self.plain.unannounced_numbers(out),
            Search::Choice(how) => choices.find(how, anchors, out),
            Search::FirstChoice => choices.first(out),
        }
    }

    fn found(&mut self, span: &Range<usize>, place: Place) -> Found {
        match place {
            Place::Latex { first, content, whole_word } => {
                Found::Latex(self.latex.pieces(first, content, whole_word))
            }
            Place::BareBox => {
                Found::Latex(vec![Piece { text: span.clone(), percent: false, bare_box: true }])
            }
            Place::Number { integer, decimal, percent } => {
                Found::Number { integer, decimal, percent }
            }
            Place::Arithmetic(range) => Found::Arithmetic(range),
            Place::Choice(range) => Found::Choice(range),
        }
    }
}

/// The same, in the text that `offset` bytes were cut from.
fn shift(found: Found, offset: usize) -> Found {
    let shift = |range: Range<usize>| offset + range.start..offset + range.end;
    match found {
        Found::Latex(pieces) => Found::Latex(
            pieces.into_iter().map(|piece| Piece { text: shift(piece.text), ..piece }).collect(),
        ),
        Found::Number { integer, decimal, percent } => {
            Found::Number { integer: shift(integer), decimal: shift(decimal), percent }
        }
        Found::Arithmetic(range) => Found::Arithmetic(shift(range)),
        Found::Choice(range) => Found::Choice(shift(range)),
        Found::Text(range) => Found::Text(shift(range)),
    }
}
