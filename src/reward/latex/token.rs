//! The words of LaTeX mathematics. A command ends at its longest known spelling, so that
//! `\quadx` is a space and an x, as writers (and the peer) would have it.

use super::super::expr::{Binder, Function, NumberSet, Relation};
use super::commands::{self, Command};
use super::lenient;

/// A token and the stretch of text it was read from.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
}

/// Pairs of delimiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bracket {
    /// `( )`
    Round,
    /// `\( \)`
    RoundMath,
    /// `\lgroup \rgroup`
    Group,
    /// `{ }`
    Brace,
    /// `\{ \}`
    BraceShown,
    /// `\lbrace \rbrace`
    BraceNamed,
    /// `[ ]`
    Square,
    /// `\lbrack \rbrack`
    SquareNamed,
    /// `\lvert \rvert`
    Bar,
    /// `\langle \rangle`
    Angle,
    /// `\lfloor \rfloor`
    Floor,
    /// `\lceil \rceil`
    Ceil,
}

/// Surroundings of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    Matrix,
    Array,
    Determinant,
    /// Rows that are values with conditions, or relations that all hold.
    Cases,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Add,
    Sub,
    Mul,
    Div,
    Colon,
    Mod,
    Open(Bracket),
    Close(Bracket),
    Phantom,
    Boxed,
    /// `|`
    Bar,
    /// `\vert`
    Vert,
    /// `\|`
    NormBar,
    /// `\sum`, `\prod`, `\int`, `\lim`
    Bind(Binder),
    /// `\to` and the like.
    Approaches,
    /// A function of one argument.
    Function(Function),
    /// Natural logarithm.
    Ln,
    /// A function of several arguments.
    Variadic(Function),
    /// The letter gamma, which may be a function.
    Gamma,
    Sqrt,
    Frac,
    Binom,
    Choose,
    OperatorName,
    /// A word that is also a name for `\operatorname`.
    Word,
    Begin(Environment),
    End(Environment),
    NextColumn,
    NextRow,
    Underscore,
    Caret,
    Semicolon,
    Comma,
    Period,
    /// `dx`
    Differential,
    /// e
    LowerE,
    /// E
    UpperE,
    Letter,
    Number,
    /// `1.5E3`
    Scientific,
    /// `5\%`
    Percentage,
    In,
    NotIn,
    Approx,
    Relation(Relation),
    Bang,
    Greek,
    Symbol,
    Partial,
    Infinity,
    NumberSet(NumberSet),
    Accent,
    Union,
    Intersection,
    SetMinus,
    PlusMinus,
    EmptySet,
    Subset,
    Superset,
    Transpose,
    Degree,
    /// After the last token.
    Finish,
}

/// Splits LaTeX into tokens; `None` if some character has no meaning. Lenient reading knows more
/// ways to write numbers and takes unknown commands for symbols.
pub fn tokens(text: &str, lenient: bool) -> Option<Vec<Token>> {
    let mut found = Vec::with_capacity(text.len() / 2 + 1);
    let mut at = 0;
    while at < text.len() {
        let (kind, len) = next(&text[at..], lenient)?;
        let end = at + len;
        if let Some(kind) = kind {
            found.push(Token { kind, start: at as u32, end: end as u32 });
        }
        at = end;
    }
    Some(found)
}

/// The first token of a text that is not empty, and its length; no kind for what is skipped.
fn next(text: &str, lenient: bool) -> Option<(Option<Kind>, usize)> {
    let bytes = text.as_bytes();
    let one = |kind| Some((Some(kind), 1));
    match bytes[0] {
        b' ' | b'\t' | b'\r' | b'\n' => Some((None, 1)),
        b'\\' => command(text, lenient),
        b'0'..=b'9' => Some(number(bytes, lenient)),
        b'.' if bytes.get(1).is_some_and(u8::is_ascii_digit) => Some(number(bytes, lenient)),
        b'a'..=b'z' | b'A'..=b'Z' => Some(letters(text, lenient)),
        b'^' => Some(raised(text, lenient)),
        b'+' => one(Kind::Add),
        b'-' => one(Kind::Sub),
        b'*' if lenient && bytes.starts_with(b"**") => Some((Some(Kind::Caret), 2)),
        b'*' => one(Kind::Mul),
        b'/' => one(Kind::Div),
        b'(' => one(Kind::Open(Bracket::Round)),
        b')' => one(Kind::Close(Bracket::Round)),
        b'{' => one(Kind::Open(Bracket::Brace)),
        b'}' => one(Kind::Close(Bracket::Brace)),
        b'[' => one(Kind::Open(Bracket::Square)),
        b']' => one(Kind::Close(Bracket::Square)),
        b'|' => one(Kind::Bar),
        b'&' => one(Kind::NextColumn),
        b'_' => one(Kind::Underscore),
        b':' => one(Kind::Colon),
        b';' => one(Kind::Semicolon),
        b',' => one(Kind::Comma),
        b'.' => one(Kind::Period),
        b'\'' => one(Kind::Transpose),
        b'=' if bytes.starts_with(b"==") => Some((Some(Kind::Relation(Relation::Eq)), 2)),
        b'=' => one(Kind::Relation(Relation::Eq)),
        b'<' if bytes.starts_with(b"<=>") || bytes.starts_with(b"<->") => None,
        b'<' if bytes.starts_with(b"<=") => Some((Some(Kind::Relation(Relation::Le)), 2)),
        b'<' => one(Kind::Relation(Relation::Lt)),
        b'>' if bytes.starts_with(b">=") => Some((Some(Kind::Relation(Relation::Ge)), 2)),
        b'>' => one(Kind::Relation(Relation::Gt)),
        b'!' if bytes.starts_with(b"!==") => Some((Some(Kind::Relation(Relation::Ne)), 3)),
        b'!' if bytes.starts_with(b"!=") => Some((Some(Kind::Relation(Relation::Ne)), 2)),
        b'!' => one(Kind::Bang),
        b'~' if bytes.starts_with(b"~=") => Some((Some(Kind::Approx), 2)),
        b'~' if lenient => Some((None, 1)),
        128.. => {
            let sign = text.chars().next()?;
            Some((Some(commands::unicode(sign)?), sign.len_utf8()))
        }
        _ => None,
    }
}

/// A number, with its exponent or per cent sign.
fn number(bytes: &[u8], lenient: bool) -> (Option<Kind>, usize) {
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut len = digits(0);
    if lenient {
        len = lenient::grouped(bytes, len);
        if let Some(end) = lenient::repeating(bytes, len) {
            return (Some(Kind::Number), end);
        }
    }
    if bytes.get(len) == Some(&b'.') && digits(len + 1) > 0 {
        len += 1 + digits(len + 1);
    }
    if bytes.get(len) == Some(&b'E') {
        let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits((len + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            return (Some(Kind::Scientific), len + 1 + sign + exponent);
        }
    }
    if lenient && let Some(end) = lenient::exponent(bytes, len) {
        return (Some(Kind::Scientific), end);
    }
    let space = usize::from(matches!(bytes.get(len), Some(b' ' | b'\t' | b'\r' | b'\n')));
    let after = bytes.get(len + space..).unwrap_or_default();
    if after.starts_with(b"%") {
        return (Some(Kind::Percentage), len + space + 1);
    }
    if after.starts_with(b"\\%") {
        return (Some(Kind::Percentage), len + space + 2);
    }
    (Some(Kind::Number), len)
}

/// A letter, a differential such as `dx`, or a word with a meaning of its own.
fn letters(text: &str, lenient: bool) -> (Option<Kind>, usize) {
    let bytes = text.as_bytes();
    if lenient && let Some((kind, len)) = lenient::word(text) {
        return (Some(kind), len);
    }
    if let Some(len) = commands::word(text) {
        return (Some(Kind::Word), len);
    }
    match bytes[0] {
        b'd' => {
            let blank = |b: &&u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
            let gap = bytes[1..].iter().take_while(blank).count();
            let after = &bytes[1 + gap..];
            let letters = |from: &[u8]| from.iter().take_while(|b| b.is_ascii_alphabetic()).count();
            match after.first() {
                Some(b) if b.is_ascii_alphabetic() => (Some(Kind::Differential), 2 + gap),
                Some(b'\\') if letters(&after[1..]) > 0 => {
                    (Some(Kind::Differential), 2 + gap + letters(&after[1..]))
                }
                _ => (Some(Kind::Letter), 1),
            }
        }
        b'e' => (Some(Kind::LowerE), 1),
        b'E' => (Some(Kind::UpperE), 1),
        _ => (Some(Kind::Letter), 1),
    }
}

/// A caret, or one of the raised signs that are tokens of their own.
fn raised(text: &str, lenient: bool) -> (Option<Kind>, usize) {
    const DEGREES: [&str; 8] = [
        "^{\\circle}",
        "^{\\degree}",
        "^{\\circ}",
        "^{°}",
        "^\\circle",
        "^\\degree",
        "^\\circ",
        "^°",
    ];
    if let Some(sign) = DEGREES.iter().find(|sign| text.starts_with(**sign)) {
        return (Some(Kind::Degree), sign.len());
    }
    if lenient && let Some(len) = lenient::degree(text) {
        return (Some(Kind::Degree), len);
    }
    match ["^{T}", "^T"].iter().find(|sign| text.starts_with(**sign)) {
        Some(sign) => (Some(Kind::Transpose), sign.len()),
        None => (Some(Kind::Caret), 1),
    }
}

/// A token that begins with a backslash.
fn command(text: &str, lenient: bool) -> Option<(Option<Kind>, usize)> {
    let rest = &text[1..];
    let name_len = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    if name_len == 0 {
        if lenient && rest.starts_with([' ', '\n', '\t']) {
            return Some((None, 2));
        }
        let (kind, len) = commands::sign(rest)?;
        return Some((kind, 1 + len));
    }
    if lenient {
        let name = &rest[..name_len];
        match lenient::named(name) {
            Some(Command::Skip) => return Some((None, 1 + name_len)),
            Some(Command::Plain(kind)) => return Some((Some(kind), 1 + name_len)),
            Some(_) => return Some((Some(Kind::Symbol), 1 + name_len)),
            None if commands::named(name).is_none() && !known_beginning(name) => {
                return Some((Some(Kind::Symbol), 1 + name_len));
            }
            None => {}
        }
    }
    // The longest known beginning wins.
    let longest = name_len.min(commands::LONGEST);
    let (command, len) =
        (1..=longest).rev().find_map(|len| Some((commands::named(&rest[..len])?, len)))?;
    let after = &rest[len..];
    let spaced = usize::from(after.starts_with(' '));
    Some(match command {
        Command::Skip => (None, 1 + len),
        Command::Plain(kind) => (Some(kind), 1 + len),
        Command::Greek => (Some(Kind::Greek), 1 + len + spaced),
        Command::Gamma if spaced == 1 => (Some(Kind::Greek), 2 + len),
        Command::Gamma => (Some(Kind::Gamma), 1 + len),
        Command::Symbol => (Some(Kind::Symbol), 1 + len + spaced),
        Command::Infinity if after.starts_with("\\%") => (Some(Kind::Infinity), 3 + len),
        Command::Infinity if after.starts_with('%') => (Some(Kind::Infinity), 2 + len),
        Command::Infinity => (Some(Kind::Infinity), 1 + len),
        Command::LeftBrace => match after.strip_prefix("\\rbrace") {
            Some(_) => (Some(Kind::EmptySet), 1 + len + 7),
            None => (Some(Kind::Open(Bracket::BraceNamed)), 1 + len),
        },
        Command::Accent => return accent(text, 1 + len, lenient),
        Command::Environment => return environment(text, 1 + len, lenient),
        Command::NotEquivalent => {
            let long = after.starts_with("\\equiv");
            return long.then_some((Some(Kind::Relation(Relation::Ne)), 1 + len + 6));
        }
    })
}

/// Whether a command without a meaning begins with one that has: `\quadx`.
fn known_beginning(name: &str) -> bool {
    let longest = name.len().min(commands::LONGEST);
    let greek = |len: usize| matches!(commands::named(&name[..len]), Some(Command::Greek));
    (3..=longest).any(|len| commands::named(&name[..len]).is_some()) || longest > 2 && greek(2)
}

/// The place of the brace that closes text, whose opening brace is behind.
fn closing_brace(body: &str) -> Option<usize> {
    let mut open = 0usize;
    for (at, byte) in body.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// `\text{..}` and its kin reach to the first closing brace; read leniently, to the matching one.
fn accent(text: &str, name_end: usize, lenient: bool) -> Option<(Option<Kind>, usize)> {
    let name = &text[1..name_end];
    let after = &text[name_end..];
    let blank = usize::from(after.starts_with([' ', '\t', '\r', '\n']));
    let body = after[blank..].strip_prefix('{')?;
    let close = if lenient { closing_brace(body) } else { body.find('}') }?;
    let len = name_end + blank + 1 + close + 1;
    let set = match (name, blank, body.as_bytes()) {
        ("mathbb", 0, [b'N', b'}', ..]) => Some(NumberSet::Naturals),
        ("mathbb", 0, [b'Z', b'}', ..]) => Some(NumberSet::Integers),
        ("mathbb", 0, [b'Q', b'}', ..]) => Some(NumberSet::Rationals),
        ("mathbb", 0, [b'R', b'}', ..]) => Some(NumberSet::Reals),
        ("mathbb", 0, [b'C', b'}', ..]) => Some(NumberSet::Complexes),
        ("mathbb", 0, [b'P', b'}', ..]) => Some(NumberSet::Primes),
        _ => None,
    };
    Some((Some(set.map_or(Kind::Accent, Kind::NumberSet)), len))
}

/// `\begin{..}` and `\end{..}` of matrices.
fn environment(text: &str, name_end: usize, lenient: bool) -> Option<(Option<Kind>, usize)> {
    let begins = text.starts_with("\\begin");
    let body = text[name_end..].strip_prefix('{')?;
    let name = &body[..body.find('}')?];
    let mut len = name_end + 1 + name.len() + 1;
    let environment = match name {
        "matrix" | "pmatrix" | "bmatrix" => Environment::Matrix,
        "vmatrix" => Environment::Determinant,
        "array" => Environment::Array,
        _ if lenient => lenient::environment(name)?,
        _ => return None,
    };
    if begins && environment == Environment::Array {
        let columns = text[len..].strip_prefix('{')?;
        let rule = |b: &u8| lenient && matches!(b, b'|' | b' ');
        let count =
            columns.bytes().take_while(|b| matches!(b, b'c' | b'l' | b'r') || rule(b)).count();
        if columns.as_bytes().get(count) != Some(&b'}') {
            return None;
        }
        len += count + 2;
    }
    Some((Some(if begins { Kind::Begin(environment) } else { Kind::End(environment) }), len))
}
