//! Plain arithmetic such as `3*(4+5)/2^3`, by the precedence of programming languages.

use super::budget::{MAX_DEPTH, MAX_EXPRESSION, MAX_NODES};
use super::expr::{Arena, Id, Number};
use super::latex::{Literal, Parsed, literal};
use super::verdict::Reason;

type Result<T> = std::result::Result<T, Reason>;

/// Reads arithmetic, or says why it can not be read.
pub fn parse(text: &str) -> Result<Parsed> {
    if text.len() > MAX_EXPRESSION {
        return Err(Reason::TooLarge);
    }
    let mut reader = Reader { rest: text, arena: Arena::new(), depth: 0 };
    let root = reader.sum()?;
    if reader.peek().is_some() {
        return Err(Reason::Syntax);
    }
    Ok(Parsed { arena: reader.arena, root, complex: false })
}

/// A plain number: digits with separators, and a decimal part that begins with a point or comma.
/// Also returns how it is written plainly.
pub fn number(integer: &str, decimal: &str, percent: bool) -> Result<(Parsed, String)> {
    let bare: String = integer.chars().filter(|sign| !matches!(sign, ',' | ' ')).collect();
    let digits = bare.trim_start_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    let text = format!("{digits}{}", decimal.replace(',', "."));
    if text.len() > MAX_EXPRESSION {
        return Err(Reason::TooLarge);
    }
    let unsigned = text.strip_prefix('-');
    let Literal::Number(mut number) = literal(unsigned.unwrap_or(&text))? else {
        return Err(Reason::TooLarge);
    };
    if unsigned.is_some() {
        number.value = -number.value;
    }
    let mut arena = Arena::new();
    let mut root = arena.push_number(number);
    if percent {
        root = arena.percent(root);
    }
    Ok((Parsed { arena, root, complex: false }, text))
}

struct Reader<'t> {
    rest: &'t str,
    arena: Arena,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_start_matches(|sign: char| sign.is_ascii_whitespace());
        self.rest.as_bytes().first().copied()
    }

    fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    fn deeper(&mut self) -> Result<()> {
        if self.depth == MAX_DEPTH || self.arena.len() > MAX_NODES {
            return Err(Reason::TooLarge);
        }
        self.depth += 1;
        Ok(())
    }

    fn sum(&mut self) -> Result<Id> {
        self.deeper()?;
        let first = self.product()?;
        let mut terms = vec![first];
        while let Some(sign @ (b'+' | b'-')) = self.peek() {
            self.skip(1);
            let term = self.product()?;
            terms.push(if sign == b'-' { self.arena.neg(term) } else { term });
        }
        self.depth -= 1;
        Ok(if terms.len() == 1 { first } else { self.arena.add(&terms) })
    }

    fn product(&mut self) -> Result<Id> {
        let mut value = self.signed()?;
        loop {
            match self.peek() {
                Some(b'*') if !self.rest.starts_with("**") => {
                    self.skip(1);
                    let right = self.signed()?;
                    value = self.arena.mul(&[value, right]);
                }
                Some(b'/') if !self.rest.starts_with("//") => {
                    self.skip(1);
                    let right = self.signed()?;
                    value = self.arena.div(value, right);
                }
                _ => return Ok(value),
            }
        }
    }

    /// A sign binds more loosely than a power: −2² is −4.
    fn signed(&mut self) -> Result<Id> {
        let mut negative = false;
        while let Some(sign @ (b'+' | b'-')) = self.peek() {
            negative ^= sign == b'-';
            self.skip(1);
        }
        let value = self.power()?;
        Ok(if negative { self.arena.neg(value) } else { value })
    }

    fn power(&mut self) -> Result<Id> {
        let base = self.atom()?;
        let sign = match self.peek() {
            Some(b'^') => 1,
            Some(b'*') if self.rest.starts_with("**") => 2,
            _ => return Ok(base),
        };
        self.skip(sign);
        self.deeper()?;
        let exponent = self.signed()?;
        self.depth -= 1;
        Ok(self.arena.pow(base, exponent))
    }

    fn atom(&mut self) -> Result<Id> {
        match self.peek() {
            Some(b'(') => {
                self.skip(1);
                let inside = self.sum()?;
                if self.peek() != Some(b')') {
                    return Err(Reason::Syntax);
                }
                self.skip(1);
                Ok(inside)
            }
            _ if self.arena.len() > MAX_NODES => Err(Reason::TooLarge),
            Some(b'0'..=b'9' | b'.') => self.literal(),
            _ => Err(Reason::Syntax),
        }
    }

    fn literal(&mut self) -> Result<Id> {
        let digit_or_point = |sign: char| sign.is_ascii_digit() || sign == '.';
        let end = self.rest.find(|sign| !digit_or_point(sign)).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        // Integers with leading zeros are no numbers in the languages that this notation is from.
        let zeros = text.len() > 1 && text.starts_with('0') && !text.trim_matches('0').is_empty();
        if zeros && !text.contains('.') {
            return Err(Reason::Syntax);
        }
        let point = text.ends_with('.');
        match literal(text.strip_suffix('.').unwrap_or(text))? {
            Literal::Number(number) => {
                let number = Number { decimal: number.decimal || point, ..number };
                Ok(self.arena.push_number(number))
            }
            Literal::Scaled(..) => Err(Reason::Syntax),
        }
    }
}
