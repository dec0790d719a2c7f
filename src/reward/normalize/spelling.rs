//! Commands and words that mean the same as others.

use super::{Repair, replace, rewrite};
use crate::reward::extract::text::Text;

pub(super) const REPAIRS: [Repair; 13] = [
    // A transpose, the d of an integral.
    |text| replace(text, "\\mathrm{T}", "T"),
    |text| replace(text, "\\mathrm{d}", "d"),
    |text| replace(text, "{\\rm d}", "d"),
    |text| replace(text, "\\left[\\begin{matrix}", "\\begin{bmatrix}"),
    |text| replace(text, "\\end{matrix}\\right]", "\\end{bmatrix}"),
    left,
    right,
    falling_factorial,
    remove_typography,
    respell,
    |text| replace(text, "\n", " "),
    |text| replace(text, "\t", " "),
    doubled_backslashes,
];

/// Delimiters after `\left`, spelled as the grammar of the peer expects them.
const LEFT: [&str; 17] = [
    "\\{",
    "{",
    "\\|",
    "|",
    "[",
    "(",
    "\\rbracl",
    "\\lgroup",
    "\\lbrace",
    "\\lbrack",
    "\\vert",
    "\\lvert",
    "\\lceil",
    "\\lfloor",
    "\\langle",
    "\\llcorner",
    "\\ulcorner",
];
const RIGHT: [&str; 16] = [
    "\\}",
    "}",
    "\\|",
    "|",
    "]",
    ")",
    "\\rbrack",
    "\\rgroup",
    "\\rbrace",
    "\\vert",
    "\\rvert",
    "\\rceil",
    "\\rfloor",
    "\\rangle",
    "\\lrcorner",
    "\\urcorner",
];

fn backslash(byte: u8) -> bool {
    byte == b'\\'
}

/// `\left(`: the size of a delimiter says nothing.
fn left(text: &str) -> Option<String> {
    sized_delimiters(text, ["\\left", "\\mleft"], &LEFT)
}

/// `\right)`
fn right(text: &str) -> Option<String> {
    sized_delimiters(text, ["\\right", "\\mright"], &RIGHT)
}

fn sized_delimiters(text: &str, sizes: [&str; 2], delimiters: &[&'static str]) -> Option<String> {
    let text = Text::new(text);
    rewrite(text, backslash, |at| {
        let size = sizes.iter().find(|size| text.starts(at, size))?;
        let after = at + size.len();
        let delimiter = delimiters.iter().find(|delimiter| text.starts(after, delimiter))?;
        Some((after + delimiter.len(), *delimiter))
    })
}

/// `(x)_{n}`, the number of permutations.
fn falling_factorial(text: &str) -> Option<String> {
    let simple =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'*' | b'/' | b'\\' | b' ');
    let text = Text::new(text);
    let simple_end = |mut at: usize| {
        while simple(text.byte(at)) {
            at += 1;
        }
        at
    };
    rewrite(
        text,
        |b| b == b'(',
        |at| {
            let (x, x_end) = (at + 1, simple_end(at + 1));
            let n = text.starts(x_end, ")_{").then_some(x_end + ")_{".len())?;
            let n_end = simple_end(n);
            if x == x_end || n == n_end || text.byte(n_end) != b'}' {
                return None;
            }
            let (x, n) = (text.str.get(x..x_end)?, text.str.get(n..n_end)?);
            Some((n_end + 1, format!("\\frac{{({x})!}}{{(({x})-({n}))!}}")))
        },
    )
}

/// What only changes the looks: `\!`, quotes, dollar signs, empty `\text{}`, the th of "5th".
fn remove_typography(text: &str) -> Option<String> {
    let text = Text::new(text);
    rewrite(
        text,
        |b| matches!(b, b'\\' | b'$' | b'"' | b'\''),
        |at| {
            let end = match text.byte(at) {
                b'$' => Some(at + 1),
                b'"' | b'\'' => (text.byte_before(at) != b'\\').then_some(at + 1),
                _ => match text.byte(at + 1) {
                    b'$' => Some(at + 2),
                    b'!' => Some(text.skip_space(at + 2)),
                    b'd' => after(text, at, "\\displaystyle"),
                    b'm' => after(text, at, "\\mathrm{th}"),
                    b't' => after(text, at, "\\text").and_then(|end| {
                        let end = after(text, text.skip_space(end), "{")?;
                        after(text, text.skip_space(end), "}")
                    }),
                    _ => None,
                },
            };
            end.map(|end| (end, ""))
        },
    )
}

/// The end of `what`, if it stands there.
fn after(text: Text, at: usize, what: &str) -> Option<usize> {
    text.starts(at, what).then_some(at + what.len())
}

/// Other spellings, in one pass, so that none is repaired twice.
fn respell(text: &str) -> Option<String> {
    let text = Text::new(text);
    let first = |b: u8| {
        !b.is_ascii()
            || b.is_ascii_whitespace()
            || matches!(
                b,
                0x0b | 0x1c..=0x1f | b'\\' | b'{' | b'~' | b',' | b'a' | b'o' | b'i' | b'p'
            )
    };
    let mut after_space: Option<(usize, AfterSpace)> = None;
    rewrite(text, first, |at| match text.byte(at) {
        b'\\' => command(text, at),
        // `{.5}`, and the comma of `10{,}000`.
        b'{' if text.byte(at + 1) == b'.' => Some((at + 2, "{0.")),
        b'{' => braced_comma(text, at).map(|end| (end, ",")),
        b'~' => after(text, at, "~=").map(|end| (end, "\\approx")),
        b',' => {
            let word = text.skip_space(at + 1);
            let joined = if after_letter(text, at) { None } else { and_or(text, word) };
            let joined = joined.or_else(|| and_or_in_text(text, word)).map(|end| (end, ","));
            joined.or_else(|| after(text, at, ",\\ldots").map(|end| (end, " ")))
        }
        b'a' | b'o' if !after_letter(text, at) => and_or(text, at).map(|end| (end, ",")),
        b'i' => infinity(text, at).map(|end| (end, "\\infty")),
        b'p' if !text.char_before(at).is_some_and(is_word) => {
            per_cent(text, at).map(|end| (end, "\\%"))
        }
        _ => {
            let space = text.space(at);
            if space == 0 {
                return None;
            }
            if text.byte(at + space) == b'.' {
                return Some((at + space + 1, " 0."));
            }
            // What follows is the same for all of a stretch of white space.
            let next = match &after_space {
                Some((end, next)) if at < *end => next,
                _ => {
                    let end = text.skip_space(at);
                    &after_space.insert((end, AfterSpace::read(text, end))).1
                }
            };
            let joined = if after_letter(text, at) { None } else { next.and_or };
            let comma = next.comma.or(joined).or(next.and_or_in_text).map(|end| (end, ","));
            let comma = comma.or_else(|| next.per_cent.map(|end| (end, "\\%")));
            comma.or_else(|| after(text, at, " sqrt").map(|end| (end, "\\sqrt")))
        }
    })
}

/// Where the things end that swallow white space before them.
struct AfterSpace {
    comma: Option<usize>,
    and_or: Option<usize>,
    and_or_in_text: Option<usize>,
    per_cent: Option<usize>,
}

impl AfterSpace {
    fn read(text: Text, at: usize) -> Self {
        Self {
            comma: braced_comma(text, at),
            and_or: and_or(text, at),
            and_or_in_text: and_or_in_text(text, at),
            per_cent: per_cent(text, at),
        }
    }
}

/// Fonts, sizes of fractions, dots, and words in `\text`.
fn command(text: Text, at: usize) -> Option<(usize, &'static str)> {
    const SPELLINGS: [(&str, &str); 14] = [
        ("\\mathrm", "\\text"),
        ("\\mathit", "\\text"),
        ("\\mathbf", "\\text"),
        ("\\textnormal", "\\text"),
        ("\\textbf", "\\text"),
        ("\\textit", "\\text"),
        ("\\textrm", "\\text"),
        ("\\dfrac", "\\frac"),
        ("\\tfrac", "\\frac"),
        ("\\cfrac", "\\frac"),
        ("\\ldots", " "),
        ("\\text{percentage}", "%"),
        ("\\text{percent}", "%"),
        ("\\text{pct}", "%"),
    ];
    let space = text.space(at + 1);
    if space > 0 && text.byte_before(at) != b'\\' {
        return Some((at + 1 + space, " "));
    }
    if let Some(end) = and_or_in_text(text, at) {
        return Some((end, ","));
    }
    SPELLINGS.iter().find_map(|&(from, to)| after(text, at, from).map(|end| (end, to)))
}

fn after_letter(text: Text, at: usize) -> bool {
    text.byte_before(at).is_ascii_alphabetic()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn braced_comma(text: Text, at: usize) -> Option<usize> {
    let comma = after(text, at, "{").map(|end| text.skip_space(end))?;
    let close = after(text, comma, ",").map(|end| text.skip_space(end))?;
    after(text, close, "}")
}

/// "and" or "or", which join as commas do.
fn and_or(text: Text, at: usize) -> Option<usize> {
    let end = after(text, at, "and").or_else(|| after(text, at, "or"))?;
    (!text.byte(end).is_ascii_alphabetic()).then_some(end)
}

fn and_or_in_text(text: Text, at: usize) -> Option<usize> {
    let word = after(text, at, "\\text{").map(|end| text.skip_space(end))?;
    let end = after(text, word, "and").or_else(|| after(text, word, "or"))?;
    after(text, text.skip_space(end), "}")
}

fn per_cent(text: Text, at: usize) -> Option<usize> {
    ["percentage", "percent", "pct"].iter().find_map(|word| {
        let end = after(text, at, word)?;
        (!text.char(end).is_some_and(is_word)).then_some(end)
    })
}

fn infinity(text: Text, at: usize) -> Option<usize> {
    after(text, at, "infinity").or_else(|| {
        let end = after(text, at, "inf").filter(|_| text.byte_before(at) != b'\\')?;
        (!text.starts(end, "inity")).then_some(end)
    })
}

/// `\\frac`, escaped once too often. In a matrix, `\\` ends a row.
fn doubled_backslashes(text: &str) -> Option<String> {
    if text.contains("matrix") {
        return None;
    }
    let text = Text::new(text);
    rewrite(text, backslash, |at| {
        let doubled = text.byte(at + 1) == b'\\' && text.byte(at + 2).is_ascii_alphabetic();
        doubled.then_some((at + 2, "\\"))
    })
}
