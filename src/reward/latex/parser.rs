//! Scalar expressions: sums, products, juxtaposition, powers.
//!
//! Precedence, loosest first: `+ -`; `* / : mod`; signs; juxtaposition; postfix `!`; powers. A
//! function without parentheses takes a whole product of non-functions: sin 2x cos x is
//! (sin 2x)(cos x). The parser descends at most [`MAX_DEPTH`] levels.

use dashu_ratio::RBig;

use super::super::budget::{Budget, MAX_DEPTH, MAX_NODES};
use super::super::expr::{Arena, Binder, Constant, Function, Id, Node};
use super::super::verdict::Reason;
use super::Dialect;
use super::symbol;
use super::token::{Bracket, Kind, Token};

pub type Result<T> = std::result::Result<T, Reason>;

/// Tokens being read, and the expression built so far.
pub struct Parser<'t> {
    pub text: &'t str,
    pub tokens: Vec<Token>,
    /// For each opening bracket, the token that closes it.
    pub partners: Vec<usize>,
    pub at: usize,
    pub arena: Arena,
    pub dialect: Dialect,
    /// Pays for putting the ends of intervals in order.
    pub budget: &'t mut Budget,
    pub(super) depth: usize,
    /// Inside an integrand, where `dx` ends the expression rather than being a factor.
    pub(super) integrand: bool,
    /// Bars that are open at this level, where the next bar closes.
    pub(super) open_bars: usize,
    /// `i` is an index here, not the imaginary unit.
    pub index_i: bool,
}

/// Whether functions may follow in a product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Functions {
    Allowed,
    /// The argument of a function without parentheses ends at the next function.
    End,
}

/// Which scripts behind it an atom takes, and does not leave to the base that it belongs to itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scripts {
    Both,
    /// It is an exponent: an index behind it is the base's.
    Above,
    /// It is an index: an exponent behind it is the base's.
    None,
}

impl<'t> Parser<'t> {
    pub fn new(
        text: &'t str,
        tokens: Vec<Token>,
        dialect: Dialect,
        budget: &'t mut Budget,
    ) -> Self {
        let partners = partners(&tokens);
        let arena = Arena::new();
        Self {
            text,
            tokens,
            partners,
            at: 0,
            arena,
            dialect,
            budget,
            depth: 0,
            integrand: false,
            open_bars: 0,
            index_i: false,
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind_at(self.at)
    }

    pub fn kind_at(&self, at: usize) -> Kind {
        self.tokens.get(at).map_or(Kind::Finish, |token| token.kind)
    }

    pub fn text_at(&self, at: usize) -> &'t str {
        match self.tokens.get(at) {
            Some(token) => {
                self.text.get(token.start as usize..token.end as usize).unwrap_or_default()
            }
            None => "",
        }
    }

    /// Takes the token if it is of this kind.
    pub fn take(&mut self, kind: Kind) -> bool {
        let found = self.kind() == kind;
        self.at += usize::from(found);
        found
    }

    /// Takes a token of this kind, or it is a syntax error.
    pub fn require(&mut self, kind: Kind) -> Result<()> {
        if self.take(kind) { Ok(()) } else { Err(Reason::Syntax) }
    }

    /// Everything must have been read.
    pub fn require_finish(&self) -> Result<()> {
        if self.kind() == Kind::Finish { Ok(()) } else { Err(Reason::Syntax) }
    }

    /// Runs one level deeper, where neither an integrand nor bars outside matter.
    pub fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outside = (self.integrand, self.open_bars);
        (self.integrand, self.open_bars) = (false, 0);
        let inside = self.deeper(read);
        (self.integrand, self.open_bars) = outside;
        inside
    }

    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            return Err(Reason::TooLarge);
        }
        self.has_room()?;
        self.depth += 1;
        let inside = read(self);
        self.depth -= 1;
        inside
    }

    /// Loops that go no deeper ask as well: x!!!.. is as high as it is long.
    pub(super) fn has_room(&self) -> Result<()> {
        if self.arena.len() > MAX_NODES { Err(Reason::TooLarge) } else { Ok(()) }
    }

    /// A sum.
    pub fn expression(&mut self) -> Result<Id> {
        self.deeper(|parser| {
            let first = parser.product(Functions::Allowed)?;
            let mut terms = vec![first];
            loop {
                let minus = match parser.kind() {
                    Kind::Add => false,
                    Kind::Sub => true,
                    _ => break,
                };
                parser.at += 1;
                let term = parser.product(Functions::Allowed)?;
                terms.push(if minus { parser.negated(term) } else { term });
            }
            Ok(if terms.len() == 1 { first } else { parser.arena.add(&terms) })
        })
    }

    /// A product of signed, juxtaposed factors.
    pub(super) fn product(&mut self, functions: Functions) -> Result<Id> {
        let mut value = self.signed(functions)?;
        let mut factors = vec![value];
        let mut ratio = vec![value];
        loop {
            let operator = self.kind();
            if !matches!(operator, Kind::Mul | Kind::Div | Kind::Colon | Kind::Mod) {
                if ratio.len() < 3 || !self.dialect.ratios {
                    return Ok(value);
                }
                let name = self.arena.intern("ratio");
                let kids = self.arena.list(&ratio);
                return Ok(self.arena.push(Node::Call(name, kids)));
            }
            self.at += 1;
            let right = self.signed(functions)?;
            if operator == Kind::Colon {
                ratio.push(right);
            } else {
                ratio.clear();
            }
            match operator {
                Kind::Mul => {
                    factors.push(right);
                    // Rebuilt only once the run of factors ends, to stay linear.
                    if self.kind() != Kind::Mul {
                        value = self.arena.mul(&factors);
                        factors = vec![value];
                    }
                    continue;
                }
                Kind::Mod => value = self.arena.apply(Function::Mod, &[value, right]),
                _ => value = self.quotient(value, right),
            }
            factors = vec![value];
        }
    }

    pub(super) fn signed(&mut self, functions: Functions) -> Result<Id> {
        let mut negative = false;
        loop {
            match self.kind() {
                Kind::Sub => negative = !negative,
                Kind::Add => {}
                _ => break,
            }
            self.at += 1;
        }
        let value = self.juxtaposed(functions)?;
        Ok(if negative { self.negated(value) } else { value })
    }

    /// Factors side by side, and mixed numbers.
    pub(super) fn juxtaposed(&mut self, functions: Functions) -> Result<Id> {
        let mut factors = Vec::new();
        loop {
            let start = self.at;
            let allowed = if factors.is_empty() { Functions::Allowed } else { functions };
            if !self.starts_factor(allowed, factors.is_empty()) {
                break;
            }
            match self.derivative_operator() {
                Some(variable) => {
                    // d/dx binds all that follows in the product.
                    let body = self.deeper(|parser| parser.juxtaposed(functions))?;
                    let variable = symbol::variable(self, &variable);
                    let kids = self.arena.list(&[body, variable]);
                    let derivative = self.arena.push(Node::Bind(Binder::Derivative, kids));
                    factors.push((derivative, start));
                    break;
                }
                None => factors.push((self.postfix(allowed)?, start)),
            }
        }
        let Some((mut value, mut value_start)) = factors.pop() else {
            return Err(Reason::Syntax);
        };
        let mut run = vec![value];
        while let Some((left, start)) = factors.pop() {
            match self.mixed_number(left, value, value_start) {
                Some(mixed) if run.len() == 1 => {
                    value = mixed;
                    run = vec![mixed];
                }
                _ => {
                    run.push(left);
                    // A product is no fraction part of a mixed number.
                    value = left;
                }
            }
            value_start = start;
        }
        if run.len() == 1 {
            return Ok(value);
        }
        run.reverse();
        Ok(self.arena.mul(&run))
    }

    /// 2 1/2 as two and a half, if the parts allow it.
    pub(super) fn mixed_number(&mut self, whole: Id, part: Id, part_start: usize) -> Option<Id> {
        let whole = self.exact_value(whole).filter(|whole| whole.is_int())?;
        let part = self.exact_value(part).filter(|part| *part > RBig::ZERO)?;
        if self.dialect.proper_mixed_numbers {
            let proper = !part.is_int() && part < RBig::ONE;
            if !proper || self.kind_at(part_start) != Kind::Frac {
                return None;
            }
        }
        let sum = if whole < RBig::ZERO { whole - part } else { whole + part };
        Some(self.arena.exact(sum))
    }

    /// The value of a number written without a decimal point.
    pub fn exact_value(&self, id: Id) -> Option<RBig> {
        match self.arena.node(id) {
            Node::Number(number) => {
                let number = self.arena.number(number);
                (!number.decimal).then(|| number.value.clone())
            }
            _ => None,
        }
    }

    pub(super) fn starts_factor(&self, functions: Functions, first: bool) -> bool {
        use Kind as K;
        match self.kind() {
            K::Open(bracket) => bracket != Bracket::Angle && bracket != Bracket::RoundMath,
            // Between open bars, a bar after a factor closes.
            K::Bar | K::Vert | K::NormBar => first || self.open_bars == 0,
            K::Differential => !self.integrand,
            K::Function(_)
            | K::Ln
            | K::Variadic(_)
            | K::OperatorName
            | K::Sqrt
            | K::Bind(_)
            | K::LowerE => functions == Functions::Allowed,
            K::Phantom
            | K::Boxed
            | K::Gamma
            | K::Frac
            | K::Binom
            | K::Begin(_)
            | K::Letter
            | K::Greek
            | K::Symbol
            | K::Accent
            | K::Number
            | K::Scientific
            | K::UpperE
            | K::Percentage
            | K::Infinity => true,
            _ => false,
        }
    }

    /// A power with factorials and the like behind it.
    pub(super) fn postfix(&mut self, functions: Functions) -> Result<Id> {
        let mut value = self.power(functions)?;
        loop {
            self.has_room()?;
            match self.kind() {
                Kind::Bang => value = self.arena.apply(Function::Factorial, &[value]),
                Kind::Transpose => {
                    if matches!(self.arena.node(value), Node::Matrix { .. }) {
                        value = self.arena.apply(Function::Transpose, &[value]);
                    }
                }
                // What a degree means is up to the function around it.
                Kind::Degree => {}
                _ => return Ok(value),
            }
            self.at += 1;
        }
    }

    pub(super) fn power(&mut self, functions: Functions) -> Result<Id> {
        let mut value = self.primary(functions)?;
        while self.kind() == Kind::Caret && !self.one_sided() {
            let exponent = self.superscript()?;
            value = self.arena.pow(value, exponent);
            if self.kind() == Kind::Underscore {
                self.subscript()?;
            }
        }
        Ok(value)
    }

    /// `^{+}` and `^{-}` say from which side a limit is taken.
    pub(super) fn one_sided(&self) -> bool {
        self.kind_at(self.at + 1) == Kind::Open(Bracket::Brace)
            && matches!(self.kind_at(self.at + 2), Kind::Add | Kind::Sub)
            && self.kind_at(self.at + 3) == Kind::Close(Bracket::Brace)
    }

    /// What follows a caret.
    pub fn superscript(&mut self) -> Result<Id> {
        self.raised(Scripts::Both)
    }

    pub(super) fn raised(&mut self, scripts: Scripts) -> Result<Id> {
        self.require(Kind::Caret)?;
        if self.kind() == Kind::Open(Bracket::Brace) {
            return self.braced();
        }
        if self.dialect.lenient && self.kind() == Kind::Sub {
            self.at += 1;
            let value = self.deeper(|parser| parser.indexed_atom(scripts))?;
            return Ok(self.negated(value));
        }
        self.deeper(|parser| parser.indexed_atom(scripts))
    }

    /// `{ expression }`
    pub fn braced(&mut self) -> Result<Id> {
        self.require(Kind::Open(Bracket::Brace))?;
        let value = self.nested(Self::expression)?;
        self.require(Kind::Close(Bracket::Brace))?;
        Ok(value)
    }

    /// What follows an underscore: its text, and its value if it is one expression.
    pub fn subscript(&mut self) -> Result<(String, Option<Id>)> {
        self.require(Kind::Underscore)?;
        let from = self.at;
        if self.take(Kind::Open(Bracket::Brace)) {
            let first = self.nested(Self::expression)?;
            let mut single = Some(first);
            while self.take(Kind::Comma) {
                self.nested(Self::expression)?;
                single = None;
            }
            let text = self.joined(from + 1, self.at);
            self.require(Kind::Close(Bracket::Brace))?;
            return Ok((text, single));
        }
        // In x_i^2 the exponent belongs to x.
        let value = self.deeper(|parser| parser.indexed_atom(Scripts::None))?;
        Ok((self.joined(from, self.at), Some(value)))
    }

    /// Text of some tokens, without what is skipped between them.
    pub(super) fn joined(&self, from: usize, to: usize) -> String {
        (from..to).map(|at| self.text_at(at)).collect::<String>().trim().to_string()
    }

    pub(super) fn primary(&mut self, functions: Functions) -> Result<Id> {
        use Kind as K;
        let kind = self.kind();
        match kind {
            K::Open(bracket) => self.group(bracket),
            K::Phantom | K::Boxed => {
                self.at += 1;
                self.braced()
            }
            K::Bar | K::Vert => self.bars(kind, Function::Abs),
            K::NormBar => self.bars(kind, Function::Norm),
            K::Frac => {
                self.at += 1;
                self.fraction()
            }
            K::Binom => {
                self.at += 1;
                let upper = self.braced()?;
                let lower = self.braced()?;
                Ok(self.arena.apply(Function::Binomial, &[upper, lower]))
            }
            K::Begin(environment) => self.matrix(environment),
            K::Function(function) => self.function(function),
            K::Ln => self.function(Function::Log),
            K::Gamma => self.gamma(),
            K::Variadic(function) => self.variadic(function),
            K::OperatorName => self.operator_name(),
            K::Sqrt => self.root(),
            K::Bind(Binder::Sum) => self.sum_or_product(Binder::Sum),
            K::Bind(Binder::Product) => self.sum_or_product(Binder::Product),
            K::Bind(Binder::Integral) => self.integral(),
            K::Bind(_) => self.limit(),
            K::LowerE => {
                self.at += 1;
                if self.kind() == K::Caret {
                    let exponent = self.superscript()?;
                    return Ok(self.arena.apply(Function::Exp, &[exponent]));
                }
                if self.dialect.lenient && self.kind() == K::Underscore {
                    let (subscript, _) = self.subscript()?;
                    return Ok(symbol::symbol(self, "e", &subscript));
                }
                Ok(self.arena.push(Node::Constant(Constant::E)))
            }
            _ if functions == Functions::Allowed && self.calls() => self.call(),
            _ => self.atom(),
        }
    }

    pub(super) fn group(&mut self, bracket: Bracket) -> Result<Id> {
        self.at += 1;
        let value = self.nested(Self::expression)?;
        if bracket == Bracket::Brace && self.take(Kind::Choose) {
            let lower = self.nested(Self::expression)?;
            self.require(Kind::Close(bracket))?;
            return Ok(self.arena.apply(Function::Binomial, &[value, lower]));
        }
        self.require(Kind::Close(bracket))?;
        match bracket {
            Bracket::Bar => Ok(self.arena.apply(Function::Abs, &[value])),
            Bracket::Floor => Ok(self.arena.apply(Function::Floor, &[value])),
            Bracket::Ceil => Ok(self.arena.apply(Function::Ceil, &[value])),
            Bracket::Angle | Bracket::RoundMath => Err(Reason::Syntax),
            _ => Ok(value),
        }
    }

    /// `|x|`: inside, the next bar closes.
    pub(super) fn bars(&mut self, kind: Kind, function: Function) -> Result<Id> {
        self.at += 1;
        let value = self.nested(|parser| {
            parser.open_bars = 1;
            parser.expression()
        })?;
        self.require(kind)?;
        Ok(self.arena.apply(function, &[value]))
    }
}

/// For each opening bracket the token that closes it; for all others, and for brackets never
/// closed, the token itself. Braces close braces only; the others mix, as in `[0, 1)`.
fn partners(tokens: &[Token]) -> Vec<usize> {
    let mut partners: Vec<usize> = (0..tokens.len()).collect();
    let mut open: Vec<(usize, Bracket)> = Vec::new();
    let family = |bracket: Bracket| match bracket {
        Bracket::Round
        | Bracket::RoundMath
        | Bracket::Square
        | Bracket::SquareNamed
        | Bracket::Group => Bracket::Round,
        other => other,
    };
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open(bracket) => open.push((at, family(bracket))),
            Kind::Close(bracket) => {
                if open.last().is_some_and(|&(_, held)| held == family(bracket))
                    && let Some((opening, _)) = open.pop()
                {
                    partners[opening] = at;
                }
            }
            _ => {}
        }
    }
    partners
}
