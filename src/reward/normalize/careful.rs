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
    "K", "Å", "Å",
];

/// Units of one letter that are read as such only in upright type.
const LETTERS: &[&str] = &["F", "C", "A", "T", "H", "S", "l", "Ω"];

/// Words that are no units: numbers, and those that make a sentence.
const NOT_UNITS: &[&str] = &[
    "hundred",
    "thousand",
    "million",
    "billion",
    "trillion",
    "dozen",
    "half",
    "third",
    "quarter",
    "or",
    "and",
    "if",
    "for",
    "when",
    "where",
    "not",
    "maybe",
    "perhaps",
    "otherwise",
    "except",
    "i",
    "e",
    "I",
    "E",
    "d",
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
    if let Some(completed) = braced_choice(&text) {
        text = completed;
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
    let inner = without_power(text).strip_suffix('}')?;
    let open = opening_brace(inner)?;
    let (before, content) = (&inner[..open], &inner[open + 1..]);
    let before = ["\\text", "\\mbox", "\\mathrm", "\\textrm", "\\rm"]
        .iter()
        .find_map(|command| before.trim_end_matches(is_space).strip_suffix(command))?;
    let word = content.trim_matches(is_space).trim_matches('~');
    let number = !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    let mut words = word.split(|c: char| !c.is_alphabetic());
    if number || content.contains('\\') || words.any(|word| NOT_UNITS.contains(&word)) {
        return None;
    }
    let kept = before.trim_end_matches(is_space);
    let kept = kept.strip_suffix("\\,").unwrap_or(kept).trim_end_matches(is_space);
    let joined = ["/", "\\cdot", "\\times"].iter().find_map(|sign| kept.strip_suffix(sign));
    let kept = joined.unwrap_or(kept);
    // One letter is a unit only after a number: \mathbf{k} is a vector, \mathrm{y} a variable.
    let letter = word.chars().nth(1).is_none() && word.chars().all(char::is_alphabetic);
    let known = UNITS.contains(&word) || LETTERS.contains(&word);
    let unit = !letter || known && !has_variables(kept);
    // Words after words are a sentence, no unit.
    (unit && is_complete(kept) && !is_only_text(kept)).then_some(kept)
}

/// The brace that opens what a closing brace behind the text closes.
fn opening_brace(text: &str) -> Option<usize> {
    let mut closed = 0usize;
    for (at, byte) in text.bytes().enumerate().rev() {
        match byte {
            b'}' => closed += 1,
            b'{' if closed == 0 => return Some(at),
            b'{' => closed -= 1,
            _ => {}
        }
    }
    None
}

/// Whether nothing but text stands there.
fn is_only_text(text: &str) -> bool {
    let text = text.trim_matches(is_space);
    ["\\text{", "\\mbox{"].iter().any(|command| text.starts_with(command)) && text.ends_with('}')
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
    let next = |rest: &str| {
        memchr::memchr_iter(b'\\', rest.as_bytes()).find_map(|at| {
            let here = rest.get(at..)?;
            ["\\frac", "\\sqrt"]
                .into_iter()
                .find_map(|command| here.starts_with(command).then_some((at, command)))
        })
    };
    while let Some((at, command)) = next(rest) {
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
                if let Some(name) = rest.strip_prefix('\\').filter(|_| command == "\\frac") {
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

/// `\binom62` with braces around the digits.
fn braced_choice(text: &str) -> Option<String> {
    let (before, after) = text.split_once("binom")?;
    let digits = after.trim_start_matches(is_space);
    let mut signs = digits.chars();
    let (n, k) = (signs.next()?, signs.next()?);
    let both = n.is_ascii_digit() && k.is_ascii_digit();
    both.then(|| format!("{before}binom{{{n}}}{{{k}}}{}", signs.as_str()))
}

/// Drops words for units after a number: `5 kg m^2/s`.
fn without_word(text: &str) -> Option<&str> {
    let mut kept = text;
    let mut first = "";
    loop {
        let base = without_power(kept.trim_end_matches(is_space));
        let before = base.trim_end_matches(char::is_alphabetic);
        let word = &base[before.len()..];
        if before.ends_with('\\') || !UNITS.contains(&word) {
            break;
        }
        first = word;
        let before = before.trim_end_matches(is_space);
        let joined = ["/", "\\cdot", "·", "*"].iter().find_map(|sign| before.strip_suffix(sign));
        kept = joined.unwrap_or(before);
    }
    let kept = kept.trim_end_matches(is_space);
    // A letter right after the number is a unit only if that is plain: 2\pi h is a product.
    let plain = kept.bytes().all(|b| b.is_ascii_digit() || b" .,-".contains(&b));
    let is_unit = match first.chars().count() {
        0 => false,
        1 => plain,
        _ => !has_variables(kept),
    };
    (is_unit && is_complete(kept)).then_some(kept)
}

/// Whether letters stand in it other than in commands for numbers.
fn has_variables(text: &str) -> bool {
    // What is set equal to a variable may well be a number.
    let mut rest = text.rsplit('=').next().unwrap_or(text);
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
