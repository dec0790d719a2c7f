//! Scalar expressions: sums, products, juxtaposition, powers, functions.
//!
//! Precedence, loosest first: `+ -`; `* / : mod`; signs; juxtaposition; postfix `!`; powers. A
//! function without parentheses takes a whole product of non-functions: sin 2x cos x is
//! (sin 2x)(cos x). The parser descends at most [`MAX_DEPTH`] levels.

use dashu_base::BitTest;
use dashu_ratio::RBig;

use super::super::budget::{Budget, MAX_DEPTH, MAX_MATRIX, MAX_NODES};
use super::super::expr::{Arena, Binder, Constant, Function, Id, Node, Relation};
use super::super::verdict::Reason;
use super::Dialect;
use super::number::{self, Literal};
use super::symbol;
use super::token::{Bracket, Environment, Kind, Token};

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
    depth: usize,
    /// Inside an integrand, where `dx` ends the expression rather than being a factor.
    integrand: bool,
    /// Bars that are open at this level, where the next bar closes.
    open_bars: usize,
    /// `i` is an index here, not the imaginary unit.
    pub index_i: bool,
}

/// Whether functions may follow in a product.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Functions {
    Allowed,
    /// The argument of a function without parentheses ends at the next function.
    End,
}

/// Which scripts behind it an atom takes, and does not leave to the base that it belongs to itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scripts {
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

    pub fn expect(&mut self, kind: Kind) -> Result<()> {
        if self.take(kind) { Ok(()) } else { Err(Reason::Syntax) }
    }

    /// Everything must have been read.
    pub fn expect_finish(&self) -> Result<()> {
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

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
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
    fn has_room(&self) -> Result<()> {
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
    fn product(&mut self, functions: Functions) -> Result<Id> {
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

    fn signed(&mut self, functions: Functions) -> Result<Id> {
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
    fn juxtaposed(&mut self, functions: Functions) -> Result<Id> {
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
    fn mixed_number(&mut self, whole: Id, part: Id, part_start: usize) -> Option<Id> {
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

    fn starts_factor(&self, functions: Functions, first: bool) -> bool {
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
    fn postfix(&mut self, functions: Functions) -> Result<Id> {
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

    fn power(&mut self, functions: Functions) -> Result<Id> {
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
    fn one_sided(&self) -> bool {
        self.kind_at(self.at + 1) == Kind::Open(Bracket::Brace)
            && matches!(self.kind_at(self.at + 2), Kind::Add | Kind::Sub)
            && self.kind_at(self.at + 3) == Kind::Close(Bracket::Brace)
    }

    /// What follows a caret.
    pub fn superscript(&mut self) -> Result<Id> {
        self.raised(Scripts::Both)
    }

    fn raised(&mut self, scripts: Scripts) -> Result<Id> {
        self.expect(Kind::Caret)?;
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
        self.expect(Kind::Open(Bracket::Brace))?;
        let value = self.nested(Self::expression)?;
        self.expect(Kind::Close(Bracket::Brace))?;
        Ok(value)
    }

    /// What follows an underscore: its text, and its value if it is one expression.
    pub fn subscript(&mut self) -> Result<(String, Option<Id>)> {
        self.expect(Kind::Underscore)?;
        let from = self.at;
        if self.take(Kind::Open(Bracket::Brace)) {
            let first = self.nested(Self::expression)?;
            let mut single = Some(first);
            while self.take(Kind::Comma) {
                self.nested(Self::expression)?;
                single = None;
            }
            let text = self.joined(from + 1, self.at);
            self.expect(Kind::Close(Bracket::Brace))?;
            return Ok((text, single));
        }
        // In x_i^2 the exponent belongs to x.
        let value = self.deeper(|parser| parser.indexed_atom(Scripts::None))?;
        Ok((self.joined(from, self.at), Some(value)))
    }

    /// Text of some tokens, without what is skipped between them.
    fn joined(&self, from: usize, to: usize) -> String {
        (from..to).map(|at| self.text_at(at)).collect::<String>().trim().to_string()
    }

    fn primary(&mut self, functions: Functions) -> Result<Id> {
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

    fn group(&mut self, bracket: Bracket) -> Result<Id> {
        self.at += 1;
        let value = self.nested(Self::expression)?;
        if bracket == Bracket::Brace && self.take(Kind::Choose) {
            let lower = self.nested(Self::expression)?;
            self.expect(Kind::Close(bracket))?;
            return Ok(self.arena.apply(Function::Binomial, &[value, lower]));
        }
        self.expect(Kind::Close(bracket))?;
        match bracket {
            Bracket::Bar => Ok(self.arena.apply(Function::Abs, &[value])),
            Bracket::Floor => Ok(self.arena.apply(Function::Floor, &[value])),
            Bracket::Ceil => Ok(self.arena.apply(Function::Ceil, &[value])),
            Bracket::Angle | Bracket::RoundMath => Err(Reason::Syntax),
            _ => Ok(value),
        }
    }

    /// `|x|`: inside, the next bar closes.
    fn bars(&mut self, kind: Kind, function: Function) -> Result<Id> {
        self.at += 1;
        let value = self.nested(|parser| {
            parser.open_bars = 1;
            parser.expression()
        })?;
        self.expect(kind)?;
        Ok(self.arena.apply(function, &[value]))
    }

    /// Whether an unknown function is applied here: `f(x)`, `f_1^{-1}(2)`, `f(a, b)`.
    fn calls(&self) -> bool {
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

    fn has_comma(&self, open: usize, close: usize) -> bool {
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
    fn script_end(&self, at: usize) -> Option<usize> {
        match self.kind_at(at + 1) {
            Kind::Open(Bracket::Brace) => {
                let close = self.partners[at + 1];
                (self.kind_at(close) == Kind::Close(Bracket::Brace)).then_some(close + 1)
            }
            _ => self.atom_end(at + 1),
        }
    }

    /// The token after the atom that starts here.
    fn atom_end(&self, mut at: usize) -> Option<usize> {
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

    fn call(&mut self) -> Result<Id> {
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
            self.expect(Kind::Close(Bracket::Brace))?;
        }
        let name = self.arena.intern(&name);
        let kids = self.arena.list(&arguments);
        let call = self.arena.push(Node::Call(name, kids));
        Ok(match exponent {
            Some(exponent) => self.arena.pow(call, exponent),
            None => call,
        })
    }

    /// A number, a symbol with its indices, or infinity.
    pub fn atom(&mut self) -> Result<Id> {
        self.indexed_atom(Scripts::Both)
    }

    fn indexed_atom(&mut self, scripts: Scripts) -> Result<Id> {
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

    fn number(&mut self, text: &str) -> Result<Id> {
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
    fn named(&mut self, at: usize, scripts: Scripts) -> Result<Id> {
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
    fn quotient(&mut self, upper: Id, lower: Id) -> Id {
        if let (Some(a), Some(b)) = (self.exact_value(upper), self.exact_value(lower))
            && a.is_int()
            && b.is_int()
            && b != RBig::ZERO
        {
            return self.arena.exact(a / b);
        }
        self.arena.div(upper, lower)
    }

    fn fraction(&mut self) -> Result<Id> {
        if let Some(derivative) = self.derivative()? {
            return Ok(derivative);
        }
        let upper = self.braced()?;
        let lower = self.braced()?;
        Ok(self.quotient(upper, lower))
    }

    /// The variable of `\frac{d}{dx}`, if that stands here.
    fn derivative_operator(&mut self) -> Option<String> {
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
    fn derivative(&mut self) -> Result<Option<Id>> {
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
        self.expect(Kind::Open(Bracket::Brace))?;
        let variable = self.text_at(self.at)[1..].trim_start().trim_start_matches('\\');
        self.at += 1;
        self.expect(Kind::Close(Bracket::Brace))?;
        let variable = symbol::variable(self, variable);
        let kids = self.arena.list(&[body, variable]);
        Ok(Some(self.arena.push(Node::Bind(Binder::Derivative, kids))))
    }

    /// A subscript and a superscript, in either order, if there.
    fn scripts(&mut self) -> Result<(Option<Id>, Option<Id>)> {
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
    fn argument(&mut self) -> Result<Id> {
        if self.kind() == Kind::Open(Bracket::Round) {
            return self.group(Bracket::Round);
        }
        self.deeper(|parser| parser.product(Functions::End))
    }

    /// A function of one argument: `\sin^2 x`, `\log_2 8`.
    fn function(&mut self, mut function: Function) -> Result<Id> {
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
    fn angle(&mut self, function: Function, from: usize, argument: Id) -> Id {
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
    fn inverse(&self, function: Function, power: Id) -> Option<Function> {
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
    fn gamma(&mut self) -> Result<Id> {
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
    fn variadic(&mut self, function: Function) -> Result<Id> {
        self.at += 1;
        let (_, above) = self.scripts()?;
        self.expect(Kind::Open(Bracket::Round))?;
        let mut arguments = vec![self.nested(Self::expression)?];
        while self.take(Kind::Comma) {
            arguments.push(self.nested(Self::expression)?);
        }
        self.expect(Kind::Close(Bracket::Round))?;
        let value = self.arena.apply(function, &arguments);
        Ok(match above {
            Some(power) => self.arena.pow(value, power),
            None => value,
        })
    }

    /// `\operatorname{..}` of the names that are known.
    fn operator_name(&mut self) -> Result<Id> {
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

    fn root(&mut self) -> Result<Id> {
        self.at += 1;
        let degree = if self.take(Kind::Open(Bracket::Square)) {
            let degree = self.nested(Self::expression)?;
            self.expect(Kind::Close(Bracket::Square))?;
            degree
        } else {
            self.arena.integer(2)
        };
        let radicand = self.braced()?;
        let one = self.arena.integer(1);
        let exponent = self.quotient(one, degree);
        Ok(self.arena.pow(radicand, exponent))
    }

    /// `\sum_{k=1}^{n} ..`
    fn sum_or_product(&mut self, binder: Binder) -> Result<Id> {
        let outside = self.index_i;
        let below = if self.kind_at(self.at + 1) == Kind::Underscore { self.at + 3 } else { 0 };
        self.index_i |= below > 0 && self.text_at(below) == "i";
        let read = self.bounded(binder);
        self.index_i = outside;
        read
    }

    fn bounded(&mut self, binder: Binder) -> Result<Id> {
        self.at += 1;
        let mut above = None;
        if self.kind() == Kind::Caret {
            above = Some(self.superscript()?);
        }
        self.expect(Kind::Underscore)?;
        self.expect(Kind::Open(Bracket::Brace))?;
        let variable = self.nested(Self::expression)?;
        self.expect(Kind::Relation(Relation::Eq))?;
        let lower = self.nested(Self::expression)?;
        self.expect(Kind::Close(Bracket::Brace))?;
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
    fn limit(&mut self) -> Result<Id> {
        self.at += 1;
        self.expect(Kind::Underscore)?;
        self.expect(Kind::Open(Bracket::Brace))?;
        if !matches!(self.kind(), Kind::Letter | Kind::Greek | Kind::Symbol) {
            return Err(Reason::Syntax);
        }
        let variable = symbol::variable(self, self.text_at(self.at));
        self.at += 1;
        self.expect(Kind::Approaches)?;
        let point = self.nested(Self::expression)?;
        let mut binder = Binder::Limit;
        if self.kind() == Kind::Caret && self.one_sided() {
            let left = self.kind_at(self.at + 2) == Kind::Sub;
            binder = if left { Binder::LimitLeft } else { Binder::LimitRight };
            self.at += 4;
        }
        self.expect(Kind::Close(Bracket::Brace))?;
        let body = self.deeper(|parser| parser.product(Functions::Allowed))?;
        let kids = self.arena.list(&[body, variable, point]);
        Ok(self.arena.push(Node::Bind(binder, kids)))
    }

    /// `\int_a^b .. dx`
    fn integral(&mut self) -> Result<Id> {
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

    /// Rows and columns up to `\end`.
    fn matrix(&mut self, environment: Environment) -> Result<Id> {
        self.at += 1;
        let mut entries = Vec::new();
        let (mut rows, mut columns, mut column) = (0, None, 0);
        loop {
            entries.push(self.nested(Self::expression)?);
            column += 1;
            if entries.len() > MAX_MATRIX {
                return Err(Reason::TooLarge);
            }
            if self.take(Kind::NextColumn) {
                continue;
            }
            rows += 1;
            if *columns.get_or_insert(column) != column {
                return Err(Reason::Syntax);
            }
            column = 0;
            let more = self.take(Kind::NextRow);
            if self.take(Kind::End(environment)) {
                break;
            }
            if !more {
                return Err(Reason::Syntax);
            }
        }
        let columns = columns.unwrap_or(0);
        let entries = self.arena.list(&entries);
        let matrix = self.arena.push(Node::Matrix { rows, columns, entries });
        if environment != Environment::Determinant {
            return Ok(matrix);
        }
        if rows != columns {
            return Err(Reason::Undefined);
        }
        Ok(self.arena.apply(Function::Det, &[matrix]))
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
