//! Repairs for the strict profile: units are dropped only where they can not be part of the answer.

use super::{Repair, boxed_content, half, leading_point, operators, spelling};
use crate::reward::config::Boxed;
use crate::reward::extract::text::is_space;
use crate::reward::latex::spelled_out;

/// Words for units, dropped after a number without variables.
const UNITS: &[&str] = &[
    "mm", "cm", "dm", "km", "ft", "feet", "foot", "inch", "inches", "yard", "yards", "mile",
    "miles", "meter", "meters", "metre", "metres", "kg", "lb", "lbs", "pound", "pounds", "oz",
    "gram", "grams", "sec", "second", "seconds", "min", "minute", "minutes", "hr", "hrs", "hour",
    "hours", "day", "days", "week", "weeks", "month", "months", "year", "years", "mph", "kmph",
    "kmh", "degree", "degrees", "deg", "dollar", "dollars", "cent", "cents", "rupees", "unit",
    "units", "liter", "liters", "litre", "litres", "mL", "ml", "acre", "acres", "hectares", "gal",
    "gallon", "gallons", "sq", "square", "cubic", "people", "students", "men", "women", "apples",
    "coins", "points", "kcal", "cal", "yr", "yrs", "erg", "ergs", "eV", "keV", "MeV", "Hz", "kHz",
    "MHz", "GHz", "mol", "Pa", "kPa", "nm", "rad", "m", "g", "s", "h", "L", "J", "N", "W", "V",
    "K",
];

/// Units that are mistaken for each other, and how they are written.
const CONFUSABLE: &[(&str, &[&str])] = &[
    ("millimetre", &["mm", "millimeter", "millimeters", "millimetre", "millimetres"]),
    ("centimetre", &["cm", "cms", "centimeter", "centimeters", "centimetre", "centimetres"]),
    ("metre", &["m", "meter", "meters", "metre", "metres"]),
    ("kilometre", &["km", "kms", "kilometer", "kilometers", "kilometre", "kilometres", "kmh"]),
    ("inch", &["inch", "inches"]),
    ("foot", &["ft", "foot", "feet"]),
    ("yard", &["yd", "yds", "yard", "yards"]),
    ("mile", &["mile", "miles", "mph"]),
    ("gram", &["g", "gm", "gram", "grams"]),
    ("kilogram", &["kg", "kgs", "kilogram", "kilograms"]),
    ("ounce", &["oz", "ounce", "ounces"]),
    ("pound", &["lb", "lbs", "pound", "pounds"]),
    ("second", &["s", "sec", "secs", "second", "seconds"]),
    ("minute", &["min", "mins", "minute", "minutes"]),
    ("hour", &["h", "hr", "hrs", "hour", "hours"]),
    ("day", &["day", "days"]),
    ("week", &["week", "weeks"]),
    ("month", &["month", "months"]),
    ("year", &["yr", "yrs", "year", "years"]),
    ("cent", &["cent", "cents"]),
    ("dollar", &["dollar", "dollars"]),
    ("morning", &["am"]),
    ("afternoon", &["pm"]),
];

/// The first unit in what was dropped behind an answer, if it is one that others are mistaken for.
fn confusable_unit(dropped: &str) -> Option<&'static str> {
    let plain = dropped.to_lowercase().replace("p.m", "pm").replace("a.m", "am");
    let word = plain.split(|c: char| !c.is_ascii_alphabetic()).find(|word| {
        !["", "text", "mathrm", "mbox", "textrm", "rm", "square", "sq", "cubic"].contains(word)
    })?;
    let (name, _) = CONFUSABLE.iter().find(|(_, spellings)| spellings.contains(&word))?;
    Some(name)
}

/// The LaTeX with its spelling repaired, and the unit that it lost, if that matters.
pub fn normalize_carefully(latex: &str, boxed: Boxed) -> (String, Option<&'static str>) {
    let boxed = boxed_content(latex, boxed);
    let mut text = spelled_out(boxed.trim_matches(is_space)).into_owned();
    apply(&mut text, &spelling::REPAIRS);
    if text.contains("\\langle") {
        // A vector, as a tuple.
        text = text.replace("\\left\\langle", "(").replace("\\right\\rangle", ")");
        text = text.replace("\\langle", "(").replace("\\rangle", ")");
    }
    if let Some(completed) = braced_commands(&text) {
        text = completed;
    }
    for mark in ["\\text{\\%}", "\\text{ \\%}", "\\text{%}", "\\text{ %}"] {
        text = text.replace(mark, "\\%");
    }
    let whole = text.clone();
    // Each round drops one thing: in "5 \text{cm}^2." the point, then the unit.
    for _ in 0..8 {
        let kept = without_tail(&text);
        if kept.len() == text.len() || kept.is_empty() {
            break;
        }
        text.truncate(kept.len());
    }
    let unit = whole.get(text.len()..).and_then(confusable_unit);
    apply(&mut text, &[leading_point, half]);
    apply(&mut text, &operators::REPAIRS);
    (text.trim_matches(is_space).to_string(), unit)
}

fn apply(text: &mut String, repairs: &[Repair]) {
    for repair in repairs {
        if let Some(repaired) = repair(text) {
            *text = repaired;
        }
    }
}

/// The text without the space, full stop, ordinal or unit that it ends with.
fn without_tail(text: &str) -> &str {
    let trimmed = text.trim_end_matches(is_space);
    if trimmed.len() < text.len() {
        // A backslash before a space is a space too.
        return trimmed.strip_suffix('\\').unwrap_or(trimmed);
    }
    for space in ["\\,", "\\;", "\\:", "\\!", "~", "\\quad", "\\qquad", "\\\\"] {
        if let Some(kept) = text.strip_suffix(space) {
            return kept;
        }
    }
    if let Some(kept) = text.strip_suffix("^{}") {
        return kept;
    }
    if let Some(kept) = text.strip_suffix(['.', ',', ';']) {
        return if kept.ends_with('.') { text } else { kept };
    }
    for ordinal in ["th", "st", "nd", "rd"] {
        for frame in [["^{\\text{", "}}"], ["^\\text{", "}"], ["^{", "}"], ["\\text{", "}"]] {
            let kept = text.strip_suffix(frame[1]).and_then(|t| t.strip_suffix(ordinal));
            let kept = kept.and_then(|t| t.strip_suffix(frame[0]));
            if let Some(kept) = kept.filter(|kept| kept.ends_with(|c: char| c.is_ascii_digit())) {
                return kept;
            }
        }
    }
    without_text(text).or_else(|| without_word(text)).unwrap_or(text)
}

/// Drops `\text{cm}`, `\text{cm}^2`, `\mbox{kg}^{-1}` and a sign that joined it.
fn without_text(text: &str) -> Option<&str> {
    let base = without_power(text);
    let inner = base.strip_suffix('}')?;
    let open = inner.rfind('{')?;
    let (before, content) = (&inner[..open], &inner[open + 1..]);
    let before = ["\\text", "\\mbox", "\\mathrm", "\\textrm", "\\rm"]
        .iter()
        .find_map(|command| before.trim_end_matches(is_space).strip_suffix(command))?;
    let content = content.trim_matches(is_space);
    let word = content.trim_matches('~');
    let constant = matches!(word, "i" | "e" | "I" | "E" | "d" | "or" | "and");
    let number = !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    if constant || number || content.contains('\\') {
        return None;
    }
    let kept = before.trim_end_matches(is_space);
    let kept = kept.strip_suffix("\\,").unwrap_or(kept).trim_end_matches(is_space);
    let joined = ["/", "\\cdot", "\\times"].iter().find_map(|sign| kept.strip_suffix(sign));
    let kept = joined.unwrap_or(kept);
    is_complete(kept).then_some(kept)
}

/// Without a power at the end: `^2`, `^{-1}`.
fn without_power(text: &str) -> &str {
    if let Some(kept) = text.strip_suffix(|c: char| c.is_ascii_digit()) {
        return kept.strip_suffix('^').unwrap_or(text);
    }
    let Some(inner) = text.strip_suffix('}') else { return text };
    let power = |c: char| c.is_ascii_digit() || c == '-';
    let kept = inner.trim_end_matches(power);
    match kept.len() < inner.len() {
        true => kept.strip_suffix("^{").unwrap_or(text),
        false => text,
    }
}

/// `\frac\pi6` and `\sqrt\pi` with braces around the command that is an argument.
fn braced_commands(text: &str) -> Option<String> {
    let mut repaired = String::new();
    let mut rest = text;
    while let Some((at, command)) =
        ["\\frac", "\\sqrt"].iter().filter_map(|command| Some((rest.find(command)?, command))).min()
    {
        let (before, after) = rest.split_at(at + command.len());
        repaired.push_str(before);
        rest = after.trim_start_matches(is_space);
        if rest.len() == after.len() && rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            continue;
        }
        if let Some(name) = rest.strip_prefix('\\') {
            let letters = name.bytes().take_while(u8::is_ascii_alphabetic).count();
            // Only names of values: \frac\sqrt3 2 is beyond repair.
            if ["pi", "theta", "alpha", "beta", "lambda", "phi"].contains(&&name[..letters]) {
                repaired.push('{');
                repaired.push_str(&rest[..letters + 1]);
                repaired.push('}');
                rest = &rest[letters + 1..];
                if let Some(name) = rest.strip_prefix('\\').filter(|_| *command == "\\frac") {
                    let letters = name.bytes().take_while(u8::is_ascii_alphabetic).count();
                    repaired.push('{');
                    repaired.push_str(&rest[..letters + 1]);
                    repaired.push('}');
                    rest = &rest[letters + 1..];
                }
            }
        }
    }
    if repaired.is_empty() {
        return None;
    }
    repaired.push_str(rest);
    Some(repaired)
}

/// Drops a word for a unit after a number.
fn without_word(text: &str) -> Option<&str> {
    let base = without_power(text);
    let kept = base.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let word = &base[kept.len()..];
    if kept.ends_with('\\') || !UNITS.contains(&word) {
        return None;
    }
    let kept = kept.trim_end_matches(is_space);
    // One letter is a unit only right after a number or another unit; a longer word after anything
    // without variables.
    let plain = kept.bytes().all(|b| b.is_ascii_digit() || b" .,-".contains(&b));
    let is_unit = match word.len() {
        1 => plain || ends_with_unit(kept),
        _ => ends_with_unit(kept) || !has_variables(kept),
    };
    (is_unit && is_complete(kept)).then_some(kept)
}

/// Whether the last word, maybe raised, is a unit of more than one letter.
fn ends_with_unit(text: &str) -> bool {
    let base = without_power(text);
    let before = base.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let word = &base[before.len()..];
    word.len() > 1 && !before.ends_with('\\') && UNITS.contains(&word)
}

/// Whether letters stand in it other than in commands for numbers.
fn has_variables(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        let (before, after) = rest.split_at(at);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let known = ["frac", "times", "cdot", "sqrt", "pi", "approx"].contains(&&after[..letters]);
        if !before.ends_with('\\') || !known {
            return true;
        }
        rest = &after[letters..];
    }
    false
}

/// Whether something is left, and it does not wait for more.
fn is_complete(text: &str) -> bool {
    let end = text.trim_end_matches(is_space);
    !end.is_empty()
        && !end
            .ends_with(['=', '+', '-', '*', '/', '(', '{', '[', '^', '_', '<', '>', ',', '&', '|'])
        && !["\\cdot", "\\times", "\\le", "\\ge", "\\leq", "\\geq", "\\in", "\\pm", "\\ne", "\\neq"]
            .iter()
            .any(|sign| end.ends_with(sign))
}
