//! From a text to its answer: the best place whose contents can be understood.

use std::ops::ControlFlow;

use super::budget::{Budget, MAX_EXPRESSION, MAX_NODES, READ_WORK};
use super::config::{Boxed, Extraction, Fallback, LatexTarget, Normalization, Reading, Target};
use super::expr::Node;
use super::extract::{Found, Match, Piece};
use super::latex::{self, Dialect, Parsed};
use super::normalize;
use super::phrase;
use super::plain;
use super::print;
use super::verdict::Reason;

/// Longest text whose spelling is repaired: it may shrink, but hardly by half.
const LONGEST_REPAIRED: usize = 2 * MAX_EXPRESSION;

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
    /// Plain words.
    Words,
}

impl Source {
    fn of(found: &Found) -> Self {
        match found {
            Found::Latex(_) => Self::Latex,
            Found::Number { .. } => Self::Number,
            Found::Arithmetic(_) => Self::Arithmetic,
            Found::Choice(_) => Self::Choice,
            Found::Text(_) => Self::Words,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latex => "latex",
            Self::Number => "number",
            Self::Arithmetic => "arithmetic",
            Self::Choice => "choice",
            Self::Words => "words",
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
    /// What is said in words, which counts only if it is the gold: it may as well be talk.
    pub words: Vec<Parsed>,
    /// Why the best place could not be understood, if it could not.
    pub reason: Option<Reason>,
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
        let print = |parsed: &Parsed| print::to_str(&parsed.arena, parsed.root);
        match self.candidates.first() {
            Some(Candidate::Parsed(parsed)) => Some(print(parsed)),
            Some(Candidate::Text(text)) => Some(text.clone()),
            None => self.words.first().map(print),
        }
    }
}

/// Which places of a text are looked at, best first: [`extract::for_each_match`] or its strict kin.
pub type Places = fn(&str, &[Target], &mut dyn FnMut(i32, Match) -> ControlFlow<()>);

/// Reads a text's answer.
pub fn read(text: &str, reading: &Reading, places: Places, dialect: Dialect) -> Answer {
    let mut answer = Answer::default();
    // One budget for all places, which may overlap and be as long as the text.
    let mut budget = Budget::new(READ_WORK);
    let mut words = Vec::new();
    places(text, &reading.targets, &mut |_, found| {
        if let Found::Text(range) = &found.found {
            let said = text.get(range.clone()).unwrap_or_default();
            words.extend(phrase::words(said, dialect).map(|parsed| (said.to_string(), parsed)));
            // Words may be the answer, or only speak of it; a choice is one.
            return match phrase::is_choice(said) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            };
        }
        let Some(target) = reading.targets.get(found.target) else {
            return ControlFlow::Continue(());
        };
        let source = Source::of(&found.found);
        let (candidate, shown) = match understand(text, &found, target, dialect, &mut budget) {
            Understood::Parsed(parsed, shown, unit) => {
                answer.unit = unit;
                (Some(Candidate::Parsed(parsed)), shown)
            }
            Understood::Choice(choice, shown) => (Some(Candidate::Text(choice)), shown),
            Understood::Not(reason, shown) => {
                answer.reason.get_or_insert(reason);
                (None, shown)
            }
        };
        let boxed = || found.span.start < text.len() && boxes(&found, text);
        // What is shown, and compared as text, is the first place found, understood or not.
        if answer.extracted.is_none() && !shown.is_empty() {
            answer.extracted = Some(shown);
            answer.source = Some(source);
        }
        let understood = candidate.is_some();
        answer.candidates.extend(candidate);
        // To a careful reader a box is the answer, even one that can not be understood.
        let last = dialect.lenient && boxed();
        match understood || last || reading.extraction == Extraction::FirstMatch {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    if let (Fallback::FirstMatch, Some(text)) = (reading.fallback, &answer.extracted) {
        answer.candidates.push(Candidate::Text(text.clone()));
    }
    if answer.extracted.is_none() {
        answer.extracted = words.first().map(|(said, _)| said.clone());
        answer.source = answer.extracted.as_ref().map(|_| Source::Words);
    }
    answer.words = words.into_iter().map(|(_, parsed)| parsed).collect();
    answer
}

/// Whether a place is a box.
fn boxes(found: &Match, text: &str) -> bool {
    let place = text.get(found.span.clone()).unwrap_or_default();
    matches!(found.found, Found::Latex(_)) && place.contains("box")
}

enum Understood {
    /// With the text, and the unit that it lost.
    Parsed(Parsed, String, Option<&'static str>),
    Choice(String, String),
    Not(Reason, String),
}

fn understand(
    text: &str,
    found: &Match,
    target: &Target,
    dialect: Dialect,
    budget: &mut Budget,
) -> Understood {
    let part = |range: &std::ops::Range<usize>| text.get(range.clone()).unwrap_or_default();
    // A minus sign of Unicode's is a minus sign.
    let ascii = |range: &std::ops::Range<usize>| part(range).replace('−', "-");
    match (&found.found, target) {
        (Found::Latex(pieces), Target::Latex(target)) => {
            pieces_of(text, pieces, target, dialect, budget)
        }
        (Found::Number { integer, decimal, percent }, _) => {
            let start = if integer.is_empty() { decimal.start } else { integer.start };
            let end = if decimal.is_empty() { integer.end } else { decimal.end };
            if dialect.lenient
                && let Some((parsed, shown)) = phrase::formula(text, start, end, dialect)
            {
                return Understood::Parsed(parsed, shown, None);
            }
            match plain::number(&ascii(integer), part(decimal), *percent) {
                Ok((parsed, shown)) => Understood::Parsed(parsed, shown, None),
                Err(reason) => Understood::Not(reason, String::new()),
            }
        }
        (Found::Arithmetic(range), _) => {
            let arithmetic = ascii(range);
            match plain::parse(&arithmetic) {
                Ok(parsed) => Understood::Parsed(parsed, arithmetic, None),
                Err(reason) => Understood::Not(reason, arithmetic),
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
fn pieces_of(
    text: &str,
    pieces: &[Piece],
    target: &LatexTarget,
    dialect: Dialect,
    budget: &mut Budget,
) -> Understood {
    let mut shown = Vec::with_capacity(pieces.len());
    let mut parsed = Vec::with_capacity(pieces.len());
    let mut unit = None;
    for piece in pieces {
        let latex = text.get(piece.text.clone()).unwrap_or_default();
        // Signs beyond ASCII are spelled out, in up to a dozen bytes.
        let byte = if latex.is_ascii() { 2 } else { 16 };
        if budget.charge(byte * latex.len() as u64).is_err() {
            break;
        }
        let boxed = if piece.bare_box { Boxed::Last } else { target.normalization.boxed };
        let content = normalize::boxed_content(latex, boxed);
        if content.len() > LONGEST_REPAIRED {
            parsed.push(Err(Reason::TooLarge));
            shown.push(content.into_owned());
            continue;
        }
        let latex = if dialect.lenient {
            let boxed = if boxed == Boxed::Last { Boxed::LastSentence } else { boxed };
            let (latex, dropped) = normalize::normalize_carefully(latex, boxed);
            unit = unit.or(dropped);
            latex
        } else {
            let normalization = Normalization { boxed, ..target.normalization.clone() };
            normalize::normalize(latex, &normalization)
        };
        parsed.push(latex_answer(&latex, piece.percent, dialect, budget));
        shown.push(latex);
    }
    let nodes: usize = parsed.iter().flatten().map(|parsed| parsed.arena.len()).sum();
    if parsed.len() > 1 && parsed.iter().all(Result::is_ok) && nodes <= MAX_NODES {
        let whole = joined(parsed.into_iter().flatten());
        return Understood::Parsed(whole, shown.join(" and "), None);
    }
    let first = shown.into_iter().next().unwrap_or_default();
    match parsed.into_iter().next() {
        Some(Ok(parsed)) => Understood::Parsed(parsed, first, unit),
        Some(Err(reason)) => Understood::Not(reason, first),
        None => Understood::Not(Reason::Syntax, first),
    }
}

/// Parses normalized LaTeX; of a chain of equations that can not be parsed, its end.
fn latex_answer(
    latex: &str,
    percent: bool,
    dialect: Dialect,
    budget: &mut Budget,
) -> Result<Parsed, Reason> {
    let mut parsed = match latex::parse_within(latex, dialect, budget) {
        Err(reason) => match normalize::last_equation(latex) {
            Some(last) => latex::parse_within(last, dialect, budget)?,
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
