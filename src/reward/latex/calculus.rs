//! Fractions that are derivatives, sums, products, limits, integrals.

use super::super::expr::{Binder, Id, Node, Relation};
use super::super::verdict::Reason;
use super::parser::{Functions, Parser, Result};
use super::symbol;
use super::token::{Bracket, Kind};

impl Parser<'_> {
    pub(super) fn fraction(&mut self) -> Result<Id> {
        if let Some(derivative) = self.derivative()? {
            return Ok(derivative);
        }
        let upper = self.braced()?;
        let lower = self.braced()?;
        Ok(self.quotient(upper, lower))
    }

    /// The variable of `\frac{d}{dx}`, if that stands here.
    pub(super) fn derivative_operator(&mut self) -> Option<String> {
        let pattern = [
            Kind::Frac,
            Kind::Open(Bracket::Brace),
            Kind::Letter,
            Kind::Close(Bracket::Brace),
            Kind::Open(Bracket::Brace),
            Kind::Differential,
            Kind::Close(Bracket::Brace),
        ];
        let fits = pattern.iter().enumerate().all(|(i, &kind)| self.kind_at(self.at + i) == kind);
        if !fits || self.text_at(self.at + 2) != "d" {
            return None;
        }
        let variable = self.text_at(self.at + 5)[1..].trim_start().trim_start_matches('\\');
        self.at += pattern.len();
        Some(variable.to_string())
    }

    /// `{dy}{dx}` after `\frac`.
    pub(super) fn derivative(&mut self) -> Result<Option<Id>> {
        let lower = self.partners.get(self.at).map_or(0, |close| close + 1);
        if self.kind_at(lower + 1) != Kind::Differential
            || self.kind_at(lower + 2) != Kind::Close(Bracket::Brace)
            || self.kind_at(self.at + 1) != Kind::Differential
        {
            return Ok(None);
        }
        // What is derived: all of the numerator but its first d.
        let first = &mut self.tokens[self.at + 1];
        first.start += 1;
        first.kind = Kind::Letter;
        let trimmed = self.text_at(self.at + 1).trim_start();
        let start = self.tokens[self.at + 1].end as usize - trimmed.len();
        self.tokens[self.at + 1].start = start as u32;
        if trimmed == "e" {
            self.tokens[self.at + 1].kind = Kind::LowerE;
        } else if trimmed.starts_with('\\') {
            self.tokens[self.at + 1].kind = Kind::Greek;
        }
        let body = self.braced()?;
        self.require(Kind::Open(Bracket::Brace))?;
        let variable = self.text_at(self.at)[1..].trim_start().trim_start_matches('\\');
        self.at += 1;
        self.require(Kind::Close(Bracket::Brace))?;
        let variable = symbol::variable(self, variable);
        let kids = self.arena.list(&[body, variable]);
        Ok(Some(self.arena.push(Node::Bind(Binder::Derivative, kids))))
    }

    /// `\sum_{k=1}^{n} ..`
    pub(super) fn sum_or_product(&mut self, binder: Binder) -> Result<Id> {
        let outside = self.index_i;
        let below = if self.kind_at(self.at + 1) == Kind::Underscore { self.at + 3 } else { 0 };
        self.index_i |= below > 0 && self.text_at(below) == "i";
        let read = self.bounded(binder);
        self.index_i = outside;
        read
    }

    pub(super) fn bounded(&mut self, binder: Binder) -> Result<Id> {
        self.at += 1;
        let mut above = None;
        if self.kind() == Kind::Caret {
            above = Some(self.superscript()?);
        }
        self.require(Kind::Underscore)?;
        self.require(Kind::Open(Bracket::Brace))?;
        let variable = self.nested(Self::expression)?;
        self.require(Kind::Relation(Relation::Eq))?;
        let lower = self.nested(Self::expression)?;
        self.require(Kind::Close(Bracket::Brace))?;
        let upper = match above {
            Some(upper) => upper,
            None => self.superscript()?,
        };
        let body = self.deeper(|parser| parser.product(Functions::Allowed))?;
        if !matches!(self.arena.node(variable), Node::Symbol(_)) {
            return Err(Reason::Undefined);
        }
        let kids = self.arena.list(&[body, variable, lower, upper]);
        Ok(self.arena.push(Node::Bind(binder, kids)))
    }

    /// `\lim_{x \to a^{+}} ..`
    pub(super) fn limit(&mut self) -> Result<Id> {
        self.at += 1;
        self.require(Kind::Underscore)?;
        self.require(Kind::Open(Bracket::Brace))?;
        if !matches!(self.kind(), Kind::Letter | Kind::Greek | Kind::Symbol) {
            return Err(Reason::Syntax);
        }
        let variable = symbol::variable(self, self.text_at(self.at));
        self.at += 1;
        self.require(Kind::Approaches)?;
        let point = self.nested(Self::expression)?;
        let mut binder = Binder::Limit;
        if self.kind() == Kind::Caret && self.one_sided() {
            let left = self.kind_at(self.at + 2) == Kind::Sub;
            binder = if left { Binder::LimitLeft } else { Binder::LimitRight };
            self.at += 4;
        }
        self.require(Kind::Close(Bracket::Brace))?;
        let body = self.deeper(|parser| parser.product(Functions::Allowed))?;
        let kids = self.arena.list(&[body, variable, point]);
        Ok(self.arena.push(Node::Bind(binder, kids)))
    }

    /// `\int_a^b .. dx`
    pub(super) fn integral(&mut self) -> Result<Id> {
        self.at += 1;
        let (lower, upper) = self.scripts()?;
        if lower.is_some() != upper.is_some() {
            return Err(Reason::Syntax);
        }
        let outside = self.integrand;
        self.integrand = true;
        let body = if self.kind() == Kind::Differential {
            Ok(self.arena.integer(1))
        } else {
            self.expression()
        };
        self.integrand = outside;
        let mut body = body?;
        let variable = if self.kind() == Kind::Differential {
            let text = self.text_at(self.at);
            self.at += 1;
            symbol::variable(self, text[1..].trim_start().trim_start_matches('\\'))
        } else {
            // `\int \frac{dx}{x}`: the differential stands somewhere inside.
            let (name, without) = symbol::without_differential(&mut self.arena, body);
            body = without;
            symbol::variable(self, name.as_deref().unwrap_or("x"))
        };
        let kids = match (lower, upper) {
            (Some(lower), Some(upper)) => self.arena.list(&[body, variable, lower, upper]),
            _ => self.arena.list(&[body, variable]),
        };
        Ok(self.arena.push(Node::Bind(Binder::Integral, kids)))
    }
}
