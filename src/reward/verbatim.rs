//! Gold answers that are sentences, or several formulas: no parser reads them, but a response that
//! ends with the very words gives them.

use std::borrow::Cow;

use super::config::Boxed;
use super::normalize::boxed_content;

/// Longest gold answer that is looked for, in bytes of the response's end.
pub const LONGEST: usize = 4096;

/// The answer that a whole solution states: after `####`, as GSM8K has it, or in its last box.
pub fn stated_answer(solution: &str) -> Option<Cow<'_, str>> {
    if let Some((_, answer)) = solution.rsplit_once("####") {
        return Some(Cow::Borrowed(answer.trim()));
    }
    let boxed = solution.contains("\\boxed") || solution.contains("\\fbox");
    boxed.then(|| boxed_content(solution, Boxed::LastSentence))
}

/// Whether a gold answer is more than one formula: prose around mathematics, or several pieces.
pub fn is_prose(gold: &str) -> bool {
    let pieces: Vec<&str> = gold.split('$').collect();
    if pieces.len() < 2 {
        // Without dollars all of it is LaTeX; more than one line is more than one formula.
        return gold.trim().contains('\n');
    }
    let outside = pieces.iter().step_by(2);
    let words = |text: &str| text.chars().any(char::is_alphabetic);
    outside.clone().any(|text| words(text)) || pieces.len() > 3
}

/// Whether the response ends with the gold, but for spaces, delimiters and punctuation.
pub fn ends_with(response: &str, gold: &str) -> bool {
    let mut gold_end = bare(gold).rev();
    let mut response_end = bare(response).rev();
    let mut length = 0;
    loop {
        match (gold_end.next(), response_end.next()) {
            (None, None) => return length > 0,
            // The gold must not begin in the middle of a word or number.
            (None, Some(before)) => {
                let first = bare(gold).next();
                let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                return length > 0 && !(word(first) && before.is_ascii_digit());
            }
            (Some(a), Some(b)) if a == b => length += 1,
            _ => return false,
        }
    }
}

/// The characters that matter.
fn bare(text: &str) -> impl DoubleEndedIterator<Item = char> {
    let matters = |c: &char| {
        !c.is_whitespace() && !matches!(c, '$' | '.' | '*' | '{' | '}' | '\\' | '[' | ']')
    };
    text.chars().filter(matters)
}
