//! Repairs to LaTeX as people and models write it, before it is parsed.
//!
//! The results are those of the normalizer that Math-Verify calls, its oddities included, since
//! what it repairs and what it spoils decide its verdicts.

mod boxes;
mod operators;
mod spelling;
mod units;

use std::borrow::Cow;

pub use self::boxes::boxed_content;
use super::config::Normalization;
use super::extract::text::{Text, is_space};

/// A repair: the new text, or none if there is nothing to repair.
type Repair = fn(&str) -> Option<String>;

/// The LaTeX with its spelling repaired.
pub fn normalize(latex: &str, config: &Normalization) -> String {
    let mut text = boxed_content(latex, config.boxed);
    let mut apply = |repairs: &[Repair]| {
        for repair in repairs {
            if let Some(repaired) = repair(&text) {
                text = Cow::Owned(repaired);
            }
        }
    };
    if config.basic_latex {
        apply(&spelling::REPAIRS);
    }
    if config.equations {
        apply(&[|text| last_equation(text).map(String::from)]);
    }
    if config.units {
        // Twice, for "5 sq m" is two units.
        apply(&[units::drop_text, units::drop_unit, units::drop_unit]);
    }
    if config.nits {
        apply(&[leading_point, half]);
    }
    if config.malformed_operators {
        apply(&operators::REPAIRS);
    }
    text.trim_matches(is_space).to_string()
}

/// What follows the last equals sign of a chain of equations, if there are two of them at least.
/// With commas or semicolons it is a list, `a=1, b=2`, no chain.
pub fn last_equation(latex: &str) -> Option<&str> {
    if memchr::memchr2(b',', b';', latex.as_bytes()).is_some() {
        return None;
    }
    let text = Text::new(latex);
    // Not of `\=`, `<=`, `>=` or `!=`.
    let mut equals = memchr::memrchr_iter(b'=', text.bytes)
        .filter(|&at| !matches!(text.byte_before(at), b'\\' | b'<' | b'>' | b'!'));
    let last = equals.next()?;
    equals.next()?;
    latex.get(last + 1..)
}

/// `.5`
fn leading_point(text: &str) -> Option<String> {
    text.starts_with('.').then(|| format!("0{text}"))
}

/// A half is nearly always meant exactly.
fn half(text: &str) -> Option<String> {
    (text == "0.5").then(|| "\\frac{1}{2}".to_string())
}

/// Replaces all of a string.
fn replace(text: &str, from: &str, to: &str) -> Option<String> {
    text.contains(from).then(|| text.replace(from, to))
}

/// Goes through the text and replaces what `found` finds at a place: up to where, and by what. It
/// is asked where a character begins with a byte that `first` accepts.
fn rewrite<'t, S: AsRef<str>>(
    text: Text<'t>,
    first: fn(u8) -> bool,
    mut found: impl FnMut(usize) -> Option<(usize, S)>,
) -> Option<String> {
    let mut repaired = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(&byte) = text.bytes.get(at) {
        let replacement = if first(byte) { found(at) } else { None };
        if let Some((end, by)) = replacement {
            repaired.push_str(text.str.get(copied..at)?);
            repaired.push_str(by.as_ref());
            copied = end;
            at = end;
        } else {
            at += 1;
        }
    }
    if copied == 0 {
        return None;
    }
    repaired.push_str(text.str.get(copied..)?);
    Some(repaired)
}

#[cfg(test)]
mod tests;
