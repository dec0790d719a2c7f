//! Fractions, roots, powers and logarithms whose braces are missing.

use super::{Repair, replace, rewrite};
use crate::reward::extract::text::{Memo, NOWHERE, Next, Text, is_space};

pub(super) const REPAIRS: [Repair; 11] = [
    power_in_parentheses,
    root_in_parentheses,
    |text| digit_and_digits(text, "\\frac"),
    |text| digit_and_digits(text, "\\log_"),
    fraction_over_digit,
    digit_over_braces,
    root_of_digit,
    |text| replace(text, " sqrt", "\\sqrt"),
    root_of_character,
    fraction_of_characters,
    slash,
];

/// At most one white space character.
fn skip_one_space(text: Text, at: usize) -> usize {
    at + text.space(at)
}

/// `2^(n+1)`
fn power_in_parentheses(text: &str) -> Option<String> {
    parenthesised(text, "^", "^")
}

/// `sqrt(2)`. Where a backslash was there already, there are two now.
fn root_in_parentheses(text: &str) -> Option<String> {
    parenthesised(text, "sqrt", "\\sqrt")
}

/// The first closing parenthesis is taken for the right one.
fn parenthesised(text: &str, operator: &str, spelled: &str) -> Option<String> {
    if !text.contains('(') {
        return None;
    }
    let text = Text::new(text);
    let (mut close, mut newline) = (Next::new(")"), Next::new("\n"));
    let first: fn(u8) -> bool = if operator == "^" { |b| b == b'^' } else { |b| b == b's' };
    rewrite(text, first, |at| {
        let open = text.starts(at, operator).then_some(at + operator.len())?;
        let open = skip_one_space(text, open);
        let content = (text.byte(open) == b'(').then_some(open + 1)?;
        let end = close.at_or_after(text, content);
        if end == NOWHERE || newline.at_or_after(text, content) < end {
            return None;
        }
        Some((end + 1, format!("{spelled}{{{}}}", text.str.get(content..end)?)))
    })
}

/// `\frac12`, `\frac 1 23`, `\log_28`: the first digit is one argument, the others are the other.
fn digit_and_digits(text: &str, command: &str) -> Option<String> {
    if !text.contains(command) {
        return None;
    }
    let text = Text::new(text);
    rewrite(
        text,
        |b| b == b'\\',
        |at| {
            let first = text.starts(at, command).then_some(at + command.len())?;
            let first = skip_one_space(text, first);
            let first_end = first + text.digit(first);
            let second = skip_one_space(text, first_end);
            let second_end = text.skip_digits(second);
            if first_end == first || second_end == second {
                return None;
            }
            let (first, second) =
                (text.str.get(first..first_end)?, text.str.get(second..second_end)?);
            Some((second_end, format!("{command}{{{first}}}{{{second}}}")))
        },
    )
}

/// `\frac{x}2`. Whatever the braces between hold: only the last one and the digit after it matter.
fn fraction_over_digit(text: &str) -> Option<String> {
    if !text.contains("\\frac") {
        return None;
    }
    let text = Text::new(text);
    let (mut close, mut newline) = (Memo::default(), Next::new("\n"));
    rewrite(
        text,
        |b| b == b'\\',
        |at| {
            let open = text.starts(at, "\\frac").then_some(at + "\\frac".len())?;
            let open = skip_one_space(text, open);
            let content = (text.byte(open) == b'{').then_some(open + 1)?;
            let end = close.at_or_after(content, || {
                let mut braces = memchr::memchr_iter(b'}', text.bytes.get(content..)?);
                let brace = |i| text.digit(skip_one_space(text, content + i + 1)) > 0;
                braces.find(|&i| brace(i)).map(|i| content + i)
            });
            if end == NOWHERE || newline.at_or_after(text, content) < end {
                return None;
            }
            let digit = skip_one_space(text, end + 1);
            let digit_end = digit + text.digit(digit);
            let (content, digit) = (text.str.get(content..end)?, text.str.get(digit..digit_end)?);
            Some((digit_end, format!("\\frac{{{content}}}{{{digit}}}")))
        },
    )
}

/// `\frac1{x}`
fn digit_over_braces(text: &str) -> Option<String> {
    if !text.contains("\\frac") {
        return None;
    }
    let text = Text::new(text);
    let (mut close, mut newline) = (Next::new("}"), Next::new("\n"));
    rewrite(
        text,
        |b| b == b'\\',
        |at| {
            let digit = text.starts(at, "\\frac").then_some(at + "\\frac".len())?;
            let digit = skip_one_space(text, digit);
            let digit_end = digit + text.digit(digit);
            let open = skip_one_space(text, digit_end);
            if digit_end == digit || text.byte(open) != b'{' {
                return None;
            }
            let end = close.at_or_after(text, open + 1);
            if end == NOWHERE || newline.at_or_after(text, open + 1) < end {
                return None;
            }
            let (digit, content) = (text.str.get(digit..digit_end)?, text.str.get(open + 1..end)?);
            Some((end + 1, format!("\\frac{{{digit}}}{{{content}}}")))
        },
    )
}

/// `\sqrt2`: one digit only, as in LaTeX.
fn root_of_digit(text: &str) -> Option<String> {
    if !text.contains("\\sqrt") {
        return None;
    }
    let text = Text::new(text);
    rewrite(
        text,
        |b| b == b'\\',
        |at| {
            let digit = text.starts(at, "\\sqrt").then_some(at + "\\sqrt".len())?;
            let digit = skip_one_space(text, digit);
            let end = digit + text.digit(digit);
            let digit = text.str.get(digit..end).filter(|digit| !digit.is_empty())?;
            Some((end, format!("\\sqrt{{{digit}}}")))
        },
    )
}

/// `\sqrt x`
fn root_of_character(text: &str) -> Option<String> {
    let mut parts = text.split("\\sqrt");
    let mut repaired = parts.next()?.to_string();
    if repaired.len() == text.len() {
        return None;
    }
    for part in parts {
        let part = part.trim_start_matches(is_space);
        repaired.push_str("\\sqrt");
        match part.chars().next() {
            Some(c) if c != '{' && c != '[' => {
                braced(&mut repaired, c);
                repaired.push_str(&part[c.len_utf8()..]);
            }
            _ => repaired.push_str(part),
        }
    }
    Some(repaired)
}

/// `\frac xy`, `\frac x{y}`. If one fraction has too little after it, none is repaired.
fn fraction_of_characters(text: &str) -> Option<String> {
    let mut parts = text.split("\\frac");
    let mut repaired = parts.next()?.to_string();
    if repaired.len() == text.len() {
        return None;
    }
    for part in parts {
        let part = part.trim_start_matches(is_space);
        repaired.push_str("\\frac");
        if part.starts_with('{') {
            repaired.push_str(part);
            continue;
        }
        let mut characters = part.chars();
        let (above, below) = (characters.next()?, characters.next()?);
        braced(&mut repaired, above);
        if below == '{' {
            repaired.push(below);
        } else {
            braced(&mut repaired, below);
        }
        repaired.push_str(characters.as_str());
    }
    Some(repaired)
}

fn braced(text: &mut String, c: char) {
    text.push('{');
    text.push(c);
    text.push('}');
}

/// `3/4`, if that is all there is.
fn slash(text: &str) -> Option<String> {
    // Python reads integers up to this length.
    const MAX_DIGITS: usize = 4300;
    let integer = |s: &str| {
        let digits = s.strip_prefix('-').unwrap_or(s);
        let canonical = s == "0" || !digits.is_empty() && !digits.starts_with('0');
        canonical && digits.len() <= MAX_DIGITS && digits.bytes().all(|b| b.is_ascii_digit())
    };
    let (above, below) = text.split_once('/')?;
    (integer(above) && integer(below)).then(|| format!("\\frac{{{above}}}{{{below}}}"))
}
