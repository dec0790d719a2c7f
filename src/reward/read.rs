//! From a text to its answer: the best place whose contents can be understood.

use std::ops::ControlFlow;

use super::config::{Boxed, Extraction, Fallback, LatexTarget, Reading, Target};
use super::expr::Node;
use super::extract::{self, Found, Match, Piece};
use super::latex::{self, Dialect, Parsed};
use super::normalize;
use super::plain;
use super::verdict::Reason;

/// What a text gives as its answer. Any of these may be meant.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// What was understood.
    pub parsed: Option<Parsed>,
    /// What was found, as text: for comparison with other text, and to be shown.
    pub text: Option<String>,
    /// A string that was asked for, as in multiple choice.
    pub choice: Option<String>,
    /// Why the first place found was not understood.
    pub reason: Option<Reason>,
}

/// Reads a text's answer.
pub fn read(text: &str, reading: &Reading, dialect: Dialect) -> Answer {
    let mut answer = Answer::default();
    extract::for_each_match(text, &reading.targets, &mut |_, found| {
        let Some(target) = reading.targets.get(found.target) else {
            return ControlFlow::Continue(());
        };
        let understood = match understand(text, &found, target, dialect) {
            Understood::Parsed(parsed, shown) => {
                answer.text.get_or_insert(shown);
                answer.parsed = Some(parsed);
                true
            }
            Understood::Choice(choice, shown) => {
                answer.text.get_or_insert(shown);
                answer.choice = Some(choice);
                true
            }
            Understood::Not(reason, shown) => {
                if !shown.is_empty() {
                    answer.text.get_or_insert(shown);
                }
                answer.reason.get_or_insert(reason);
                false
            }
        };
        match understood || reading.extraction == Extraction::FirstMatch {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    if reading.fallback == Fallback::NoFallback {
        answer.text = None;
    }
    answer
}

enum Understood {
    Parsed(Parsed, String),
    Choice(String, String),
    Not(Reason, String),
}

fn understand(text: &str, found: &Match, target: &Target, dialect: Dialect) -> Understood {
    let part = |range: &std::ops::Range<usize>| text.get(range.clone()).unwrap_or_default();
    match (&found.found, target) {
        (Found::Latex(pieces), Target::Latex(target)) => pieces_of(text, pieces, target, dialect),
        (Found::Number { integer, decimal, percent }, _) => {
            match plain::number(part(integer), part(decimal), *percent) {
                Ok((parsed, shown)) => Understood::Parsed(parsed, shown),
                Err(reason) => Understood::Not(reason, String::new()),
            }
        }
        (Found::Arithmetic(range), _) => {
            let arithmetic = part(range);
            match plain::parse(arithmetic) {
                Ok(parsed) => Understood::Parsed(parsed, arithmetic.to_string()),
                Err(reason) => Understood::Not(reason, arithmetic.to_string()),
            }
        }
        (Found::Choice(range), Target::Strings(target)) => {
            let shown = part(range).to_string();
            let choice = if target.lowercase { shown.to_lowercase() } else { shown.clone() };
            Understood::Choice(choice, shown)
        }
        _ => Understood::Not(Reason::Syntax, String::new()),
    }
}

/// One piece of LaTeX, or several that together make a set.
fn pieces_of(text: &str, pieces: &[Piece], target: &LatexTarget, dialect: Dialect) -> Understood {
    let mut shown = Vec::with_capacity(pieces.len());
    let mut parsed = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let latex = text.get(piece.text.clone()).unwrap_or_default();
        let mut normalization = target.normalization.clone();
        if piece.bare_box {
            normalization.boxed = Boxed::Last;
        }
        let latex = normalize::normalize(latex, &normalization);
        parsed.push(latex_answer(&latex, piece.percent, dialect));
        shown.push(latex);
    }
    if parsed.len() > 1 && parsed.iter().all(Result::is_ok) {
        return Understood::Parsed(joined(parsed.into_iter().flatten()), shown.join(" and "));
    }
    let first = shown.into_iter().next().unwrap_or_default();
    match parsed.into_iter().next() {
        Some(Ok(parsed)) => Understood::Parsed(parsed, first),
        Some(Err(reason)) => Understood::Not(reason, first),
        None => Understood::Not(Reason::Syntax, first),
    }
}

/// Parses normalized LaTeX; of a chain of equations that can not be parsed, its end.
pub fn latex_answer(latex: &str, percent: bool, dialect: Dialect) -> Result<Parsed, Reason> {
    let mut parsed = match latex::parse(latex, dialect) {
        Err(reason) => match normalize::last_equation(latex) {
            Some(last) => latex::parse(last, dialect)?,
            None => return Err(reason),
        },
        read => read?,
    };
    if percent {
        parsed.root = parsed.arena.percent(parsed.root);
    }
    Ok(parsed)
}

/// Several answers as one set; sets among them give their elements.
fn joined(parts: impl Iterator<Item = Parsed>) -> Parsed {
    let mut whole = Parsed { arena: Default::default(), root: Default::default(), complex: false };
    let mut elements = Vec::new();
    for part in parts {
        let root = whole.arena.import(&part.arena, part.root);
        whole.complex |= part.complex;
        match whole.arena.node(root) {
            Node::Set(kids) => elements.extend_from_slice(whole.arena.kids(kids)),
            _ => elements.push(root),
        }
    }
    let kids = whole.arena.list(&elements);
    whole.root = whole.arena.push(Node::Set(kids));
    whole
}
