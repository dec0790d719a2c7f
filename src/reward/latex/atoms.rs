//! Numbers, symbols with their indices, and what is calculated as it is read.

use dashu_base::BitTest;
use dashu_ratio::RBig;

use super::super::expr::{Constant, Id, Node};
use super::super::verdict::Reason;
use super::number::{self, Literal};
use super::parser::{Parser, Result, Scripts};
use super::symbol;
use super::token::Kind;

impl Parser<'_> {
    /// A number, a symbol with its indices, or infinity.
    pub fn atom(&mut self) -> Result<Id> {
        self.indexed_atom(Scripts::Both)
    }

    pub(super) fn indexed_atom(&mut self, scripts: Scripts) -> Result<Id> {
        let at = self.at;
        let text = self.text_at(at);
        self.at += 1;
        match self.tokens.get(at).map_or(Kind::Finish, |token| token.kind) {
            Kind::Accent if self.dialect.lenient && symbol::number_in_text(text).is_some() => {
                self.number(symbol::number_in_text(text).unwrap_or_default())
            }
            Kind::Letter | Kind::Greek | Kind::Symbol | Kind::Accent => self.named(at, scripts),
            Kind::UpperE => {
                if self.dialect.lenient {
                    return self.named(at, scripts);
                }
                Ok(symbol::symbol(self, "E", ""))
            }
            Kind::Number => {
                let value = self.number(text)?;
                if self.kind() == Kind::Underscore && scripts == Scripts::Both {
                    let (_, base) = self.subscript()?;
                    if let (true, Some(base)) = (self.dialect.keep_bases, base) {
                        let name = self.arena.intern("base");
                        let kids = self.arena.list(&[value, base]);
                        return Ok(self.arena.push(Node::Call(name, kids)));
                    }
                }
                Ok(value)
            }
            Kind::Scientific => self.number(text),
            Kind::Percentage => {
                let digits = text.trim_end_matches(['%', '\\']).trim_end();
                let value = self.number(digits)?;
                Ok(self.arena.push(Node::Percent(value)))
            }
            Kind::Infinity => Ok(self.arena.push(Node::Constant(Constant::Infinity))),
            Kind::Differential => {
                let variable = text[1..].trim_start().trim_start_matches('\\');
                let name = format!("d{variable}");
                Ok(self.arena.symbol(&name))
            }
            Kind::Gamma => Ok(symbol::symbol(self, text, "")),
            _ => Err(Reason::Syntax),
        }
    }

    pub(super) fn number(&mut self, text: &str) -> Result<Id> {
        match number::literal(text)? {
            Literal::Number(number) => {
                // Exponents make numbers a thousand times as long as their text.
                let (above, below) = (number.value.numerator(), number.value.denominator());
                self.budget.charge((above.bit_len() + below.bit_len()) as u64 / 2)?;
                Ok(self.arena.push_number(number))
            }
            Literal::Scaled(mantissa, exponent) => {
                let mantissa = self.arena.push_number(mantissa);
                let ten = self.arena.integer(10);
                let exponent = self.arena.integer(exponent);
                let scale = self.arena.pow(ten, exponent);
                Ok(self.arena.mul(&[mantissa, scale]))
            }
        }
    }

    /// A symbol whose name was read at `at`, with subscript and superscript in either order.
    pub(super) fn named(&mut self, at: usize, scripts: Scripts) -> Result<Id> {
        let mut subscript = String::new();
        let mut exponent = None;
        for _ in 0..2 {
            match self.kind() {
                Kind::Underscore if subscript.is_empty() && scripts == Scripts::Both => {
                    subscript = self.subscript()?.0;
                }
                Kind::Caret
                    if exponent.is_none() && scripts != Scripts::None && !self.one_sided() =>
                {
                    // In x^a_1 the index belongs to x.
                    let inner = match subscript.is_empty() {
                        true => Scripts::Above,
                        false => scripts,
                    };
                    exponent = Some(self.raised(inner)?);
                }
                _ => break,
            }
        }
        let base = symbol::symbol(self, self.text_at(at), &subscript);
        // Where I is the imaginary unit, the peer reads past its exponent.
        let imaginary = self.text_at(at) == "I" && !self.dialect.imaginary_i;
        Ok(match exponent {
            Some(exponent) if !imaginary => self.arena.pow(base, exponent),
            _ => base,
        })
    }

    pub fn negated(&mut self, value: Id) -> Id {
        match self.arena.node(value) {
            Node::Number(id) => {
                let mut number = self.arena.number(id).clone();
                number.value = -number.value;
                self.arena.push_number(number)
            }
            Node::Constant(Constant::Infinity) => {
                self.arena.push(Node::Constant(Constant::NegativeInfinity))
            }
            _ => self.arena.neg(value),
        }
    }

    /// a / b, written out if both are integers.
    pub(super) fn quotient(&mut self, upper: Id, lower: Id) -> Id {
        if let (Some(a), Some(b)) = (self.exact_value(upper), self.exact_value(lower))
            && a.is_int()
            && b.is_int()
            && b != RBig::ZERO
        {
            return self.arena.exact(a / b);
        }
        self.arena.div(upper, lower)
    }
}
