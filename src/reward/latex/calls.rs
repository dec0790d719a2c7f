//! Unknown functions applied to arguments: `f(x)`, `f_1^{-1}(2)`, `f(a, b)`.

use super::super::expr::{Id, Node};
use super::super::verdict::Reason;
use super::parser::{Parser, Result};
use super::token::{Bracket, Kind};

impl Parser<'_> {
    /// Whether an unknown function is applied here: `f(x)`, `f_1^{-1}(2)`, `f(a, b)`.
    pub(super) fn calls(&self) -> bool {
        if !matches!(self.kind(), Kind::Letter | Kind::Greek | Kind::Symbol | Kind::Accent) {
            return false;
        }
        let mut at = self.at + 1;
        for script in [Kind::Underscore, Kind::Caret] {
            if self.kind_at(at) == script {
                let Some(end) = self.script_end(at) else { return false };
                at = end;
            }
        }
        let (open, inner) = match (self.kind_at(at), self.kind_at(at + 1)) {
            (Kind::Open(Bracket::Brace), Kind::Open(inner)) => (at + 1, inner),
            (Kind::Open(inner), _) => (at, inner),
            _ => return false,
        };
        if !matches!(inner, Bracket::Round | Bracket::Square) {
            return false;
        }
        let close = self.partners[open];
        if self.kind_at(close) != Kind::Close(inner) {
            return false;
        }
        if open > at && self.kind_at(close + 1) != Kind::Close(Bracket::Brace) {
            return false;
        }
        self.atom_end(open + 1) == Some(close) || self.has_comma(open, close)
    }

    pub(super) fn has_comma(&self, open: usize, close: usize) -> bool {
        let mut at = open + 1;
        while at < close {
            match self.kind_at(at) {
                Kind::Comma => return true,
                Kind::Open(_) if self.partners[at] > at => at = self.partners[at] + 1,
                _ => at += 1,
            }
        }
        false
    }

    /// The token after the subscript or superscript that starts here.
    pub(super) fn script_end(&self, at: usize) -> Option<usize> {
        match self.kind_at(at + 1) {
            Kind::Open(Bracket::Brace) => {
                let close = self.partners[at + 1];
                (self.kind_at(close) == Kind::Close(Bracket::Brace)).then_some(close + 1)
            }
            _ => self.atom_end(at + 1),
        }
    }

    /// The token after the atom that starts here.
    pub(super) fn atom_end(&self, mut at: usize) -> Option<usize> {
        use Kind as K;
        loop {
            let scripts = matches!(
                self.kind_at(at),
                K::Letter | K::Greek | K::Symbol | K::Accent | K::Number
            );
            let plain = matches!(
                self.kind_at(at),
                K::Infinity
                    | K::Percentage
                    | K::Scientific
                    | K::UpperE
                    | K::Differential
                    | K::Gamma
            );
            if !scripts && !plain {
                return None;
            }
            let number = self.kind_at(at) == K::Number;
            at += 1;
            while scripts
                && (self.kind_at(at) == K::Underscore || self.kind_at(at) == K::Caret && !number)
            {
                if self.kind_at(at + 1) == K::Open(Bracket::Brace) {
                    at = self.partners[at + 1] + 1;
                } else {
                    at += 1;
                    break;
                }
            }
            let before = self.kind_at(at.wrapping_sub(1));
            if !matches!(before, K::Underscore | K::Caret) {
                return Some(at);
            }
        }
    }

    pub(super) fn call(&mut self) -> Result<Id> {
        let from = self.at;
        self.at += 1;
        if self.kind() == Kind::Underscore {
            self.subscript()?;
        }
        let name = self.joined(from, self.at);
        let exponent = match self.kind() {
            Kind::Caret => Some(self.superscript()?),
            _ => None,
        };
        let braced = self.take(Kind::Open(Bracket::Brace));
        let close = self.partners[self.at];
        self.at += 1;
        let mut arguments = Vec::new();
        while self.at < close {
            arguments.push(self.nested(Self::expression)?);
            if !self.take(Kind::Comma) {
                break;
            }
        }
        if self.at != close || arguments.is_empty() {
            return Err(Reason::Syntax);
        }
        self.at += 1;
        if braced {
            self.require(Kind::Close(Bracket::Brace))?;
        }
        let name = self.arena.intern(&name);
        let kids = self.arena.list(&arguments);
        let call = self.arena.push(Node::Call(name, kids));
        Ok(match exponent {
            Some(exponent) => self.arena.pow(call, exponent),
            None => call,
        })
    }
}
