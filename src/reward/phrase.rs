//! Answers in plain text that the strict profile reads: words, and formulas without delimiters.

use super::config::Boxed;
use super::latex::{self, Dialect, Parsed};
use super::normalize::normalize_carefully;

/// Longest run of characters that is tried as a formula.
const LONGEST: usize = 100;

/// Plain words as an answer: letters and what joins them. Whatever has digits or separators is no
/// word, or else 1,2,3 would be the word for 123.
pub fn words(text: &str, dialect: Dialect) -> Option<Parsed> {
    let text = bare(text);
    let joins = |sign: char| matches!(sign, ' ' | '-' | '\'' | '’');
    let worded = text.chars().all(|sign| sign.is_alphabetic() || joins(sign));
    let letters = text.chars().any(char::is_alphabetic);
    (worded && letters).then(|| latex::parse(&format!("\\text{{{text}}}"), dialect).ok())?
}

/// Whether plain words are the letter of a choice, which leaves no room for another answer.
pub fn is_choice(text: &str) -> bool {
    matches!(bare(text).as_bytes(), [b'A'..=b'J'])
}

/// Without full stop, parentheses and marks for bold type.
fn bare(text: &str) -> &str {
    text.trim().trim_end_matches('.').trim_matches(['(', ')', '*']).trim_end_matches('.')
}

/// The formula that a number at `start..end` of a text begins, if it goes on: 4.5e33, 2x+1, 5km/h.
/// None if the number stands alone, an error if what goes on can not be read.
pub fn formula(text: &str, start: usize, end: usize, dialect: Dialect) -> Option<(Parsed, String)> {
    let after = text.get(end..)?;
    let goes_on = |sign: char| sign.is_alphanumeric() || matches!(sign, '^' | '!' | '(' | '_');
    if !after.starts_with(goes_on) {
        return None;
    }
    let breaks = |sign: char| sign.is_whitespace() || matches!(sign, ',' | ';' | '?' | '*' | '$');
    let run = after.find(breaks).unwrap_or(after.len());
    let formula = text.get(start..end + run)?.trim_end_matches(['.', ':', '!', '"', '\'']);
    if formula.len() > LONGEST {
        return None;
    }
    let (latex, _) = normalize_carefully(formula, Boxed::None);
    Some((latex::parse(&latex, dialect).ok()?, latex))
}
