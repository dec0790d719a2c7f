//! Spellings that Math-Verify's grammar does not know and a person reads without noticing.

use super::super::expr::{Function, Relation};
use super::commands::Command;
use super::token::{Environment, Kind};

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The end of an integer whose digits stand in groups of three (`10\,000`, `1 234 567`,
/// `1.234.567`), the first group ending at `first`.
pub fn grouped(bytes: &[u8], first: usize) -> usize {
    if !(1..=3).contains(&first) || bytes.first() == Some(&b'0') {
        return first;
    }
    for separator in [&b"\\,"[..], b"\\ ", b"\\;", b"\\:", b"\\!", b" ", b"~", b"'", b"."] {
        let mut end = first;
        let mut groups = 0;
        while bytes[end..].starts_with(separator) && digits(&bytes[end + separator.len()..]) == 3 {
            end += separator.len() + 3;
            groups += 1;
        }
        // One point is a decimal point.
        if groups > usize::from(separator == b".") {
            return end;
        }
    }
    first
}

/// The end of a repeating decimal such as `0.1\overline{6}`, whose whole part ends at `point`.
pub fn repeating(bytes: &[u8], point: usize) -> Option<usize> {
    let after = bytes.get(point..)?.strip_prefix(b".")?;
    let fixed = digits(after);
    let (mark, bar) = [&b"\\overline{"[..], b"\\bar{", b"\\dot{"]
        .into_iter()
        .find_map(|mark| Some((mark, after[fixed..].strip_prefix(mark)?)))?;
    let period = digits(bar);
    let closed = period > 0 && bar.get(period) == Some(&b'}');
    closed.then_some(point + 1 + fixed + mark.len() + period + 1)
}

/// The end of an exponent such as that of `4.5e33`, whose `e` stands at `at`.
pub fn exponent(bytes: &[u8], at: usize) -> Option<usize> {
    let after = bytes.get(at..)?.strip_prefix(b"e")?;
    let sign = usize::from(matches!(after.first(), Some(b'+' | b'-')));
    let exponent = digits(&after[sign..]);
    let end = at + 1 + sign + exponent;
    // In 2e3x or 2e3^2 the e is Euler's number.
    let goes_on = bytes.get(end).is_some_and(|b| b.is_ascii_alphabetic() || b"^_.".contains(b));
    (exponent > 0 && !goes_on).then_some(end)
}

/// Length of a degree sign with spaces anywhere: `^ { \circ }`.
pub fn degree(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('^')?.trim_start();
    let braced = inner.strip_prefix('{').map(str::trim_start);
    let sign = braced.unwrap_or(inner);
    let after = ["\\circ", "\\degree", "°"].iter().find_map(|name| sign.strip_prefix(name))?;
    let after = match braced {
        Some(_) => after.trim_start().strip_prefix('}')?,
        None => after,
    };
    let ends = braced.is_some() || !after.starts_with(|c: char| c.is_ascii_alphabetic());
    ends.then_some(text.len() - after.len())
}

/// Commands besides those of the peer's grammar.
pub fn named(name: &str) -> Option<Command> {
    use Command::Plain;
    let size = name.strip_suffix(['l', 'r', 'm']).unwrap_or(name);
    if matches!(size, "big" | "Big" | "bigg" | "Bigg") {
        return Some(Command::Skip);
    }
    Some(match name {
        "left" | "right" | "middle" | "displaystyle" | "textstyle" | "limits" | "nolimits" => {
            Command::Skip
        }
        "bmod" | "pmod" => Plain(Kind::Mod),
        "tg" => Plain(Kind::Function(Function::Tan)),
        "ctg" | "cotg" => Plain(Kind::Function(Function::Cot)),
        "arctg" => Plain(Kind::Function(Function::Atan)),
        "arcctg" => Plain(Kind::Function(Function::Acot)),
        "sh" => Plain(Kind::Function(Function::Sinh)),
        "ch" => Plain(Kind::Function(Function::Cosh)),
        "th" => Plain(Kind::Function(Function::Tanh)),
        "lg" => Plain(Kind::Function(Function::Log)),
        "land" | "wedge" => Plain(Kind::Comma),
        "leqq" => Plain(Kind::Relation(Relation::Le)),
        "geqq" => Plain(Kind::Relation(Relation::Ge)),
        "backslash" | "smallsetminus" => Plain(Kind::SetMinus),
        "varnothing" => Plain(Kind::EmptySet),
        "simeq" | "thickapprox" => Plain(Kind::Approx),
        "dots" | "ldots" | "cdots" => Command::Symbol,
        _ => return None,
    })
}

/// Environments besides those of the peer's grammar.
pub fn environment(name: &str) -> Option<Environment> {
    Some(match name {
        "Bmatrix" | "smallmatrix" => Environment::Matrix,
        "cases" | "dcases" | "rcases" => Environment::Cases,
        _ => return None,
    })
}

/// A name that stands as a plain word, as in `2pi` or `sqrt(2)`: its kind and length.
pub fn word(text: &str) -> Option<(Kind, usize)> {
    let len = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let kind = match text.get(..len)? {
        "pi" => return Some((Kind::Greek, len)),
        "sin" => Kind::Function(Function::Sin),
        "cos" => Kind::Function(Function::Cos),
        "tan" => Kind::Function(Function::Tan),
        "cot" => Kind::Function(Function::Cot),
        "sec" => Kind::Function(Function::Sec),
        "csc" => Kind::Function(Function::Csc),
        "arcsin" | "asin" => Kind::Function(Function::Asin),
        "arccos" | "acos" => Kind::Function(Function::Acos),
        "arctan" | "atan" => Kind::Function(Function::Atan),
        "sinh" => Kind::Function(Function::Sinh),
        "cosh" => Kind::Function(Function::Cosh),
        "tanh" => Kind::Function(Function::Tanh),
        "log" => Kind::Function(Function::Log),
        "ln" => Kind::Ln,
        "exp" => Kind::Function(Function::Exp),
        _ => return None,
    };
    Some((kind, len))
}
