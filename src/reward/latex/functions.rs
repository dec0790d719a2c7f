//! Known functions, with or without parentheses, and roots.

use dashu_ratio::RBig;

use super::super::expr::{Constant, Function, Id, Node};
use super::super::verdict::Reason;
use super::parser::{Functions, Parser, Result};
use super::token::{Bracket, Kind};

impl Parser<'_> {
    /// A subscript and a superscript, in either order, if there.
    pub(super) fn scripts(&mut self) -> Result<(Option<Id>, Option<Id>)> {
        let (mut below, mut above) = (None, None);
        for _ in 0..2 {
            match self.kind() {
                Kind::Underscore if below.is_none() => below = self.subscript()?.1,
                Kind::Caret if above.is_none() => above = Some(self.superscript()?),
                _ => break,
            }
        }
        Ok((below, above))
    }

    /// The argument of a function: in parentheses, or a product without functions.
    pub(super) fn argument(&mut self) -> Result<Id> {
        if self.kind() == Kind::Open(Bracket::Round) {
            return self.group(Bracket::Round);
        }
        self.deeper(|parser| parser.product(Functions::End))
    }

    /// A function of one argument: `\sin^2 x`, `\log_2 8`.
    pub(super) fn function(&mut self, mut function: Function) -> Result<Id> {
        let natural = self.kind() == Kind::Ln;
        self.at += 1;
        let (below, mut above) = self.scripts()?;
        let from = self.at;
        let argument = self.argument()?;
        if let Some(inverse) = above.and_then(|power| self.inverse(function, power)) {
            (function, above) = (inverse, None);
        }
        let value = match function {
            Function::Log => {
                let base = match below {
                    Some(base) => base,
                    None if natural => self.arena.push(Node::Constant(Constant::E)),
                    None => self.arena.integer(10),
                };
                self.arena.apply(Function::Log, &[argument, base])
            }
            _ => {
                let argument = self.angle(function, from, argument);
                self.arena.apply(function, &[argument])
            }
        };
        Ok(match above {
            Some(power) => self.arena.pow(value, power),
            None => value,
        })
    }

    /// The argument of a trigonometric function.
    pub(super) fn angle(&mut self, function: Function, from: usize, argument: Id) -> Id {
        use Function as F;
        let trigonometric = matches!(function, F::Sin | F::Cos | F::Tan | F::Csc | F::Sec | F::Cot);
        let read = self.tokens.get(from..self.at).unwrap_or_default();
        let degrees = read.iter().any(|token| token.kind == Kind::Degree);
        if !(trigonometric && degrees && self.dialect.degrees) {
            return argument;
        }
        let pi = self.arena.push(Node::Constant(Constant::Pi));
        let degree = self.arena.exact(RBig::from_parts(1.into(), 180u8.into()));
        self.arena.mul(&[argument, pi, degree])
    }

    /// The inverse of a function raised to −1.
    pub(super) fn inverse(&self, function: Function, power: Id) -> Option<Function> {
        if self.exact_value(power)? != RBig::from(-1) {
            return None;
        }
        Some(match function {
            Function::Sin => Function::Asin,
            Function::Cos => Function::Acos,
            Function::Tan => Function::Atan,
            Function::Csc => Function::Acsc,
            Function::Sec => Function::Asec,
            Function::Cot => Function::Acot,
            Function::Sinh => Function::Asinh,
            Function::Cosh => Function::Acosh,
            Function::Tanh => Function::Atanh,
            _ => return None,
        })
    }

    /// The gamma function if an argument follows, else the constant.
    pub(super) fn gamma(&mut self) -> Result<Id> {
        let next = self.kind_at(self.at + 1);
        if matches!(next, Kind::Underscore | Kind::Caret) {
            return self.function(Function::Gamma);
        }
        self.at += 1;
        let applies = self.starts_factor(Functions::Allowed, false) || self.kind() == Kind::Sub;
        self.at -= 1;
        if applies && next != Kind::Add && next != Kind::Sub {
            return self.function(Function::Gamma);
        }
        self.atom()
    }

    /// `\gcd(a, b)`
    pub(super) fn variadic(&mut self, function: Function) -> Result<Id> {
        self.at += 1;
        let (_, above) = self.scripts()?;
        self.require(Kind::Open(Bracket::Round))?;
        let mut arguments = vec![self.nested(Self::expression)?];
        while self.take(Kind::Comma) {
            arguments.push(self.nested(Self::expression)?);
        }
        self.require(Kind::Close(Bracket::Round))?;
        let value = self.arena.apply(function, &arguments);
        Ok(match above {
            Some(power) => self.arena.pow(value, power),
            None => value,
        })
    }

    /// `\operatorname{..}` of the names that are known.
    pub(super) fn operator_name(&mut self) -> Result<Id> {
        let name = self.text_at(self.at + 2);
        let framed = self.kind_at(self.at + 1) == Kind::Open(Bracket::Brace)
            && self.kind_at(self.at + 2) == Kind::Word
            && self.kind_at(self.at + 3) == Kind::Close(Bracket::Brace);
        if !framed {
            return Err(Reason::Syntax);
        }
        // Left on the closing brace, which stands for the function's token.
        self.at += 3;
        match name {
            "arsinh" | "arcsinh" => self.function(Function::Asinh),
            "arcosh" | "arccosh" => self.function(Function::Acosh),
            "artanh" | "arctanh" => self.function(Function::Atanh),
            "floor" => self.function(Function::Floor),
            "ceil" => self.function(Function::Ceil),
            "rank" => self.function(Function::Rank),
            "trace" | "tr" => self.function(Function::Trace),
            "norm" => self.function(Function::Norm),
            "gcd" => self.variadic(Function::Gcd),
            "lcm" => self.variadic(Function::Lcm),
            _ => Err(Reason::Syntax),
        }
    }

    pub(super) fn root(&mut self) -> Result<Id> {
        self.at += 1;
        let degree = if self.take(Kind::Open(Bracket::Square)) {
            let degree = self.nested(Self::expression)?;
            self.require(Kind::Close(Bracket::Square))?;
            degree
        } else {
            self.arena.integer(2)
        };
        let radicand = self.braced()?;
        let one = self.arena.integer(1);
        let exponent = self.quotient(one, degree);
        Ok(self.arena.pow(radicand, exponent))
    }
}
