//! From a text to its answer: the best place whose contents can be understood.

use std::ops::ControlFlow;

use super::config::{Boxed, Extraction, Fallback, LatexTarget, Normalization, Reading, Target};
use super::expr::Node;
use super::extract::{Found, Match, Piece};
use super::latex::{self, Dialect, Parsed};
use super::normalize;
use super::plain;
use super::print;
use super::verdict::Reason;

/// What stood at the place that an answer was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// LaTeX.
    Latex,
    /// A plain number.
    Number,
    /// Plain arithmetic.
    Arithmetic,
    /// One of the strings asked for.
    Choice,
}

impl Source {
    fn of(found: &Found) -> Self {
        match found {
            Found::Latex(_) => Self::Latex,
            Found::Number { .. } => Self::Number,
            Found::Arithmetic(_) => Self::Arithmetic,
            Found::Choice(_) | Found::Text(_) => Self::Choice,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latex => "latex",
            Self::Number => "number",
            Self::Arithmetic => "arithmetic",
            Self::Choice => "choice",
        }
    }
}

/// One reading of an answer.
#[derive(Debug, Clone)]
pub enum Candidate {
    /// Understood.
    Parsed(Parsed),
    /// Only found, or one of the strings asked for.
    Text(String),
}

/// What was read from a text, best first; nothing if the text has no answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The readings. With [`super::config::Fallback::FirstMatch`] the last is the extracted text.
    pub candidates: Vec<Candidate>,
    /// The text that the answer was read from.
    pub extracted: Option<String>,
    /// What stood there.
    pub source: Option<Source>,
    /// All of a gold answer that is a sentence or several formulas.
    pub prose: Option<String>,
    /// How a response ends, where that may matter.
    pub end: Option<String>,
    /// The unit that was dropped, if it is one that others are mistaken for.
    pub unit: Option<&'static str>,
}

impl Answer {
    /// Its first reading, as a person would write it.
    pub fn printed(&self) -> Option<String> {
        self.candidates.first().map(|candidate| match candidate {
            Candidate::Parsed(parsed) => print::to_str(&parsed.arena, parsed.root),
            Candidate::Text(text) => text.clone(),
        })
    }
}

/// Which places of a text are looked at, best first: [`extract::for_each_match`] or its strict kin.
pub type Places = fn(&str, &[Target], &mut dyn FnMut(i32, Match) -> ControlFlow<()>);

/// Reads a text's answer.
pub fn read(text: &str, reading: &Reading, places: Places, dialect: Dialect) -> Answer {
    let mut answer = Answer::default();
    places(text, &reading.targets, &mut |_, found| {
        if let Found::Text(range) = &found.found {
            // Words may be the answer; what stands elsewhere may be it as well.
            answer.candidates.extend(words(text.get(range.clone()).unwrap_or_default(), dialect));
            return ControlFlow::Continue(());
        }
        let Some(target) = reading.targets.get(found.target) else {
            return ControlFlow::Continue(());
        };
        let source = Source::of(&found.found);
        let (candidate, shown) = match understand(text, &found, target, dialect) {
            Understood::Parsed(parsed, shown, unit) => {
                answer.unit = unit;
                (Some(Candidate::Parsed(parsed)), shown)
            }
            Understood::Choice(choice, shown) => (Some(Candidate::Text(choice)), shown),
            Understood::Not(shown) => (None, shown),
        };
        // What is shown, and compared as text, is the first place found, understood or not.
        if answer.extracted.is_none() && !shown.is_empty() {
            answer.extracted = Some(shown);
            answer.source = Some(source);
        }
        let understood = candidate.is_some();
        answer.candidates.extend(candidate);
        match understood || reading.extraction == Extraction::FirstMatch {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    if let (Fallback::FirstMatch, Some(text)) = (reading.fallback, &answer.extracted) {
        answer.candidates.push(Candidate::Text(text.clone()));
    }
    answer
}

enum Understood {
    /// With the text, and the unit that it lost.
    Parsed(Parsed, String, Option<&'static str>),
    Choice(String, String),
    Not(String),
}

/// Plain words as an answer.
fn words(text: &str, dialect: Dialect) -> Option<Candidate> {
    let text = text.trim().trim_end_matches('.');
    let plain = !text.contains(['{', '}', '\\', '$']);
    let parsed = plain.then(|| latex::parse(&format!("\\text{{{text}}}"), dialect).ok())??;
    Some(Candidate::Parsed(parsed))
}

fn understand(text: &str, found: &Match, target: &Target, dialect: Dialect) -> Understood {
    let part = |range: &std::ops::Range<usize>| text.get(range.clone()).unwrap_or_default();
    // A minus sign of Unicode's is a minus sign.
    let ascii = |range: &std::ops::Range<usize>| part(range).replace('−', "-");
    match (&found.found, target) {
        (Found::Latex(pieces), Target::Latex(target)) => pieces_of(text, pieces, target, dialect),
        (Found::Number { integer, decimal, percent }, _) => {
            match plain::number(&ascii(integer), part(decimal), *percent) {
                Ok((parsed, shown)) => Understood::Parsed(parsed, shown, None),
                Err(_) => Understood::Not(String::new()),
            }
        }
        (Found::Arithmetic(range), _) => {
            let arithmetic = ascii(range);
            match plain::parse(&arithmetic) {
                Ok(parsed) => Understood::Parsed(parsed, arithmetic, None),
                Err(_) => Understood::Not(arithmetic),
            }
        }
        (Found::Choice(range), Target::Strings(target)) => {
            let shown = part(range).to_string();
            let choice = if target.lowercase { shown.to_lowercase() } else { shown.clone() };
            Understood::Choice(choice, shown)
        }
        _ => Understood::Not(String::new()),
    }
}

/// One piece of LaTeX, or several that together make a set.
fn pieces_of(text: &str, pieces: &[Piece], target: &LatexTarget, dialect: Dialect) -> Understood {
    let mut shown = Vec::with_capacity(pieces.len());
    let mut parsed = Vec::with_capacity(pieces.len());
    let mut unit = None;
    for piece in pieces {
        let latex = text.get(piece.text.clone()).unwrap_or_default();
        let boxed = if piece.bare_box { Boxed::Last } else { target.normalization.boxed };
        let latex = if dialect.lenient {
            let (latex, dropped) = normalize::normalize_carefully(latex, boxed);
            unit = unit.or(dropped);
            latex
        } else {
            let normalization = Normalization { boxed, ..target.normalization.clone() };
            normalize::normalize(latex, &normalization)
        };
        parsed.push(latex_answer(&latex, piece.percent, dialect));
        shown.push(latex);
    }
    if parsed.len() > 1 && parsed.iter().all(Result::is_ok) {
        let whole = joined(parsed.into_iter().flatten());
        return Understood::Parsed(whole, shown.join(" and "), None);
    }
    let first = shown.into_iter().next().unwrap_or_default();
    match parsed.into_iter().next() {
        Some(Ok(parsed)) => Understood::Parsed(parsed, first, unit),
        Some(Err(_)) => Understood::Not(first),
        None => Understood::Not(first),
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

/// Several answers as one list; sets among them give their elements.
fn joined(parts: impl Iterator<Item = Parsed>) -> Parsed {
    let mut whole = Parsed { arena: Default::default(), root: Default::default(), complex: false };
    let mut elements = Vec::new();
    for part in parts {
        let root = whole.arena.import(&part.arena, part.root);
        whole.complex |= part.complex;
        match whole.arena.node(root) {
            Node::Set(kids) | Node::List(kids) => {
                elements.extend_from_slice(whole.arena.kids(kids))
            }
            _ => elements.push(root),
        }
    }
    let kids = whole.arena.list(&elements);
    whole.root = whole.arena.push(Node::List(kids));
    whole
}
