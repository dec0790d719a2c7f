//! Units after the answer: graders hardly ever ask for them, so they are dropped.

use crate::reward::extract::text::{Text, is_digit, is_space};

/// Everything that is dropped after a digit, a closing brace or white space, maybe with "s" or
/// "es". Some are no units, and a lone letter may well be a variable: `3t` loses its t. Verdicts
/// agreed with Math-Verify's are worth more here than a shorter list. A point stands for any
/// character, as it does there: `2 a + d` loses its d, then `a +`.
const UNITS: [&[&str]; 9] = [
    // Length.
    &[
        "ft", "feet", "inch", "inches", "mile", "yard", "m", "mm", "cm", "dm", "km", "mt", "mtr",
        "meter", "metre", " m east", "edge",
    ],
    // Area and volume.
    &[
        "sq", "sq m", "sq . m", "sq inch", "m square", "square", "cm 2", "π r 2", "pi sq m",
        "acre", "hectare", "Surface", "cc", "cu cm", "cu . m", "cube", "cubic", "gal", "gallon",
        "l", "lt", "liter", "litre",
    ],
    // Time and speed.
    &[
        "s", "s .", "sec", "second", "min", "minute", "minw", "h", "h .", "hr", "hour", "day",
        "month", "yr", "year", "noon", "am", "pm", "a . m", "p . m", "mph", "kmh", "kmph", "mp",
    ],
    // Mass and other quantities.
    &["g", "g .", "gm", "kg", "lb", "pound", "deg", "degree", "° f", "ohm", "unit", "c", "d"],
    // Money.
    &["cent", "rs", "rs .", "rupee", "profit of rs", "coin", "profit", "loss", "gain"],
    // People and things.
    &[
        "men",
        "man",
        "women",
        "woman",
        "student",
        "soldier",
        "monkey",
        "children ticket",
        "toy",
        "apple",
        "pie",
        "meal",
        "tile",
        "mark",
    ],
    // What was counted or compared.
    &[
        "number",
        "digit",
        "multiple",
        "prime",
        "ratio",
        "rounds",
        "excess",
        "more",
        "less",
        "increase",
        "decrease",
        "rise",
        "no change",
        "per",
        "pure",
        "by",
        "way",
        "are",
    ],
    // Directions and ordinals.
    &["east", "west", "st", "rd", "th"],
    // Letters and labels.
    &["t", "o", "ab", "bc", "sue", "a .", "b .", "c .", "d .", "e .", "f .", "q ."],
];

/// From the first `\text{` on, if the text ends with its brace or with a digit for a power of it.
/// White space around goes too, whatever else there is.
pub(super) fn drop_text(text: &str) -> Option<String> {
    let kept = without_text(text).unwrap_or(text).trim_matches(is_space);
    (!kept.is_empty() && kept != text).then(|| kept.to_string())
}

fn without_text(text: &str) -> Option<&str> {
    let one_line = text.strip_suffix('\n').unwrap_or(text);
    let without_digit = one_line.strip_suffix(is_digit).and_then(|s| s.strip_suffix('^'));
    let with_brace = without_digit.filter(|s| s.ends_with('}')).unwrap_or(one_line);
    let content = with_brace.strip_suffix('}')?;
    let line = memchr::memrchr(b'\n', content.as_bytes()).map_or(0, |newline| newline + 1);
    let content = content.get(line..)?;
    let start = ["\\text{", "\\mbox{"].iter().filter_map(|command| content.find(command)).min()?;
    text.get(..line + start)
}

/// The longest unit at the end.
pub(super) fn drop_unit(text: &str) -> Option<String> {
    let end = text.trim_end_matches(is_space);
    let mut last = end.chars().rev();
    let may_be_unit = |c: char| c.is_ascii_alphabetic() || c == '2';
    if !last.next().is_some_and(may_be_unit) && last.next() != Some(' ') {
        return None;
    }
    let singular = [Some(end), end.strip_suffix('s'), end.strip_suffix("es")];
    let kept = |singular: &str| {
        let units = UNITS.iter().flat_map(|units| units.iter());
        units.filter_map(|unit| before_unit(strip_unit(singular, unit)?)).min()
    };
    let kept = singular.into_iter().flatten().filter_map(kept).min()?;
    text.get(..kept).filter(|kept| !kept.is_empty() && *kept != text).map(String::from)
}

fn strip_unit<'t>(text: &'t str, unit: &str) -> Option<&'t str> {
    match unit.rsplit_once('.') {
        None => text.strip_suffix(unit),
        Some((before, after)) => {
            let text = text.strip_suffix(after)?.strip_suffix(|c| c != '\n')?;
            text.strip_suffix(before)
        }
    }
}

/// How much is kept of what stands before a unit: up to a digit or brace, or one white space.
fn before_unit(before: &str) -> Option<usize> {
    let trimmed = before.trim_end_matches(is_space);
    if trimmed.ends_with(|c: char| c == '}' || is_digit(c)) {
        return Some(trimmed.len());
    }
    let space = Text::new(before).space(trimmed.len());
    (space > 0).then_some(trimmed.len() + space)
}
