//! Cases with known answers, written in a small notation of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cmp::Ordering;

use dashu_int::IBig;

use super::*;
use crate::reward::expr::{Binder, Constant, Function, Node};
use crate::reward::verdict::{Outcome, Reason};

/// Reads `+ - * / ^ !`, numbers, names, calls such as `sum(k^2, k, 1, n)` and `det[2](a, b, c, d)`.
pub(super) struct Notation<'a> {
    text: &'a [u8],
    at: usize,
    pub arena: &'a mut Arena,
}

pub(super) fn read(arena: &mut Arena, text: &str) -> Id {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let mut notation = Notation { text: text.as_bytes(), at: 0, arena };
    let id = notation.sum();
    assert_eq!(notation.at, text.len(), "trailing text in {text}");
    id
}

impl Notation<'_> {
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.at += usize::from(found);
        found
    }

    fn sum(&mut self) -> Id {
        let mut parts = vec![self.product()];
        loop {
            if self.eat(b'+') {
                parts.push(self.product());
            } else if self.eat(b'-') {
                let part = self.product();
                parts.push(self.arena.neg(part));
            } else if parts.len() == 1 {
                return parts[0];
            } else {
                return self.arena.add(&parts);
            }
        }
    }

    fn product(&mut self) -> Id {
        let mut result = self.unary();
        loop {
            if self.eat(b'*') {
                let other = self.unary();
                result = self.arena.mul(&[result, other]);
            } else if self.eat(b'/') {
                let other = self.unary();
                result = self.arena.div(result, other);
            } else {
                return result;
            }
        }
    }

    fn unary(&mut self) -> Id {
        if self.eat(b'-') {
            let part = self.unary();
            return self.arena.neg(part);
        }
        let base = self.postfix();
        if self.eat(b'^') {
            let exponent = self.unary();
            return self.arena.pow(base, exponent);
        }
        base
    }

    fn postfix(&mut self) -> Id {
        let mut id = self.atom();
        loop {
            if self.eat(b'!') {
                id = self.arena.apply(Function::Factorial, &[id]);
            } else if self.eat(b'%') {
                id = self.arena.push(Node::Percent(id));
            } else {
                return id;
            }
        }
    }

    fn atom(&mut self) -> Id {
        if self.eat(b'(') {
            let id = self.sum();
            assert!(self.eat(b')'));
            return id;
        }
        let start = self.at;
        while self.peek().is_ascii_alphanumeric() || self.peek() == b'_' {
            self.at += 1;
        }
        let word = std::str::from_utf8(&self.text[start..self.at]).unwrap().to_string();
        assert!(!word.is_empty(), "at {start} of {:?}", std::str::from_utf8(self.text));
        if word.as_bytes()[0].is_ascii_digit() {
            return self.arena.integer(word.parse::<IBig>().unwrap());
        }
        let mut columns = 0;
        if self.eat(b'[') {
            let from = self.at;
            while self.peek() != b']' {
                self.at += 1;
            }
            columns = std::str::from_utf8(&self.text[from..self.at]).unwrap().parse().unwrap();
            self.at += 1;
        }
        if !self.eat(b'(') {
            let constant = match &word[..] {
                "pi" => Constant::Pi,
                "e" => Constant::E,
                "i" => Constant::I,
                "gamma" => Constant::EulerGamma,
                "oo" => Constant::Infinity,
                _ => return self.arena.symbol(&word),
            };
            return self.arena.push(Node::Constant(constant));
        }
        let mut parts = vec![self.sum()];
        while self.eat(b',') {
            parts.push(self.sum());
        }
        assert!(self.eat(b')'));
        self.call(&word, columns, &parts)
    }

    fn call(&mut self, word: &str, columns: u32, parts: &[Id]) -> Id {
        let binder = match word {
            "sum" => Some(Binder::Sum),
            "prod" => Some(Binder::Product),
            "int" => Some(Binder::Integral),
            "lim" => Some(Binder::Limit),
            "diff" => Some(Binder::Derivative),
            _ => None,
        };
        let list = self.arena.list(parts);
        if let Some(binder) = binder {
            return self.arena.push(Node::Bind(binder, list));
        }
        let function = match word {
            "sqrt" => {
                let (one, two) = (self.arena.integer(1), self.arena.integer(2));
                let half = self.arena.div(one, two);
                return self.arena.pow(parts[0], half);
            }
            "sin" => Function::Sin,
            "cos" => Function::Cos,
            "tan" => Function::Tan,
            "cot" => Function::Cot,
            "sec" => Function::Sec,
            "asin" => Function::Asin,
            "acos" => Function::Acos,
            "atan" => Function::Atan,
            "sinh" => Function::Sinh,
            "cosh" => Function::Cosh,
            "tanh" => Function::Tanh,
            "asinh" => Function::Asinh,
            "exp" => Function::Exp,
            "log" => Function::Log,
            "abs" => Function::Abs,
            "floor" => Function::Floor,
            "ceil" => Function::Ceil,
            "binom" => Function::Binomial,
            "Gamma" => Function::Gamma,
            "gcd" => Function::Gcd,
            "lcm" => Function::Lcm,
            "max" => Function::Max,
            "min" => Function::Min,
            "mod" => Function::Mod,
            "re" => Function::Re,
            "im" => Function::Im,
            "conj" => Function::Conjugate,
            "arg" => Function::Arg,
            "det" | "trace" | "rank" | "norm" => {
                let rows = parts.len() as u32 / columns;
                let matrix = self.arena.push(Node::Matrix { rows, columns, entries: list });
                let function = match word {
                    "det" => Function::Det,
                    "trace" => Function::Trace,
                    "rank" => Function::Rank,
                    _ => Function::Norm,
                };
                return self.arena.apply(function, &[matrix]);
            }
            _ => {
                let name = self.arena.intern(word);
                return self.arena.push(Node::Call(name, list));
            }
        };
        self.arena.apply(function, parts)
    }
}

fn verdict(a: &str, b: &str) -> Outcome {
    let mut arena = Arena::new();
    let (a, b) = (read(&mut arena, a), read(&mut arena, b));
    equal(&arena, a, b, &mut Budget::default())
}

fn check(cases: &[(&str, &str)], want: Outcome) {
    let mut wrong = Vec::new();
    for (a, b) in cases {
        for (a, b) in [(a, b), (b, a)] {
            let got = verdict(a, b);
            if got != want {
                wrong.push(format!("{a}  vs  {b}: {got:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "expected {want:?}\n{}", wrong.join("\n"));
}

#[test]
fn powers_that_decay() {
    for (a, b) in [
        (
            "1/(s+2)-e^(-2)/s-e^(-2)*e^(-s)/(s+2)+e^(-2)*e^(-s)/s",
            "(s-e^(-2)*(s+2)-e^(-2)*e^(-s)*s+e^(-2)*e^(-s)*(s+2))/(s*(s+2))",
        ),
        ("(e^(-a*t)-e^(-b*t))/(b-a)", "(e^(a*t)-e^(b*t))*e^(-t*(a+b))/(a-b)"),
        ("(cos(x)-sin(x))/e^x", "2^(1/2)*e^(-x)*cos(x+pi/4)"),
        ("e^(-3*x)*(sin(x)+cos(x))", "2^(1/2)*e^(-3*x)*sin(x+pi/4)"),
    ] {
        assert_eq!(verdict(a, b), Outcome::Equal, "{a} against {b}");
    }
    let (a, b) = ("(cos(x)-sin(x))/e^x", "2^(1/2)*e^(-x)*cos(x-pi/4)");
    assert_eq!(verdict(a, b), Outcome::NotEqual);
}

#[test]
fn corners_far_from_zero() {
    for (a, b) in [
        ("abs(x-10^6)", "10^6-x"),
        ("abs(x+10^6)", "x+10^6"),
        ("abs(x-10^6)+abs(x-3*10^6)", "4*10^6-2*x"),
        ("abs(x/1000-10^5)", "10^5-x/1000"),
        ("abs(x^2-10^7)", "10^7-x^2"),
        ("((y-10^5)^2)^(1/2)", "10^5-y"),
    ] {
        assert_eq!(verdict(a, b), Outcome::NotEqual, "{a} against {b}");
    }
    for (a, b) in [("abs(x-10^6)", "abs(10^6-x)"), ("abs(2*x-10^6)", "2*abs(x-500000)")] {
        assert_eq!(verdict(a, b), Outcome::Equal, "{a} against {b}");
    }
}

#[test]
fn equal_forms() {
    check(
        &[
            ("x+y", "y+x"),
            ("2*(x+1)", "2*x+2"),
            ("(x+1)^2", "x^2+2*x+1"),
            ("(x+1)/2", "x/2+1/2"),
            ("(a^3-b^3)/(a-b)", "a^2+a*b+b^2"),
            ("(1-x)/(x-1)", "-1"),
            ("sqrt(12)", "2*sqrt(3)"),
            ("1/sqrt(2)", "sqrt(2)/2"),
            ("sqrt(2)+sqrt(8)", "3*sqrt(2)"),
            ("sqrt(3+2*sqrt(2))", "1+sqrt(2)"),
            ("sqrt(2)*sqrt(3)", "sqrt(6)"),
            ("(1+sqrt(2))*(1-sqrt(2))", "-1"),
            ("1/(1+sqrt(2))", "sqrt(2)-1"),
            ("8^(1/3)", "2"),
            ("16^(1/4)", "2"),
            ("(2/3)^(-1/2)", "sqrt(6)/2"),
            ("sqrt(-4)", "2*i"),
            ("i^2", "-1"),
            ("(1+i)^2", "2*i"),
            ("(1+i)/(1-i)", "i"),
            ("exp(i*pi)", "-1"),
            ("exp(i*pi/3)", "1/2+sqrt(3)/2*i"),
            ("abs(3+4*i)", "5"),
            ("sqrt(x^2)", "abs(x)"),
            ("abs(x)^2", "x^2"),
            ("abs(-3*x)", "3*abs(x)"),
            ("sin(x)^2+cos(x)^2", "1"),
            ("sin(2*x)", "2*sin(x)*cos(x)"),
            ("cos(x+y)", "cos(x)*cos(y)-sin(x)*sin(y)"),
            ("tan(x)", "sin(x)/cos(x)"),
            ("sin(-x)", "-sin(x)"),
            ("sin(x+pi)", "-sin(x)"),
            ("sin(pi/2-x)", "cos(x)"),
            ("cos(3*x)", "4*cos(x)^3-3*cos(x)"),
            ("sinh(x)", "(exp(x)-exp(-x))/2"),
            ("cosh(x)^2-sinh(x)^2", "1"),
            ("tanh(x)", "sinh(x)/cosh(x)"),
            ("asinh(x)", "log(x+sqrt(x^2+1))"),
            ("cos(pi/5)", "(1+sqrt(5))/4"),
            ("sin(pi/10)", "(sqrt(5)-1)/4"),
            ("sin(pi/12)", "(sqrt(6)-sqrt(2))/4"),
            ("cos(2*pi/7)+cos(4*pi/7)+cos(6*pi/7)", "-1/2"),
            ("tan(pi/8)", "sqrt(2)-1"),
            ("4*atan(1/5)-atan(1/239)", "pi/4"),
            ("acos(1/2)", "pi/3"),
            ("asin(sqrt(3)/2)", "pi/3"),
            ("acos(x)", "pi/2-asin(x)"),
            ("log(8)", "3*log(2)"),
            ("log(8,2)", "3"),
            ("log(1/9,3)", "-2"),
            ("log(4,8)", "2/3"),
            ("log(6)", "log(2)+log(3)"),
            ("log(100,10)", "2"),
            ("log(exp(x))", "x"),
            ("exp(log(x))", "x"),
            ("log(x^2-1)", "log((x-1)*(x+1))"),
            ("exp(x)*exp(y)", "exp(x+y)"),
            ("2^(x+1)", "2*2^x"),
            ("4^x", "2^(2*x)"),
            ("6^x", "2^x*3^x"),
            ("2^n-2^(n-1)", "2^(n-1)"),
            ("e^(2*x)", "(e^x)^2"),
            ("x^(1/2)*x^(1/2)", "x"),
            ("(sqrt(x)+1)^2", "x+2*sqrt(x)+1"),
            ("(x-1)/(sqrt(x)-1)", "sqrt(x)+1"),
            ("binom(n+1,2)", "n*(n+1)/2"),
            ("binom(n,2)", "n*(n-1)/2"),
            ("binom(2*n,n)", "(2*n)!/(n!)^2"),
            ("binom(n,k)+binom(n,k-1)", "binom(n+1,k)"),
            ("(n+1)!/n!", "n+1"),
            ("5!", "120"),
            ("Gamma(1/2)", "sqrt(pi)"),
            ("Gamma(5/2)", "3*sqrt(pi)/4"),
            ("binom(10,3)", "120"),
            ("100000!/99999!", "100000"),
            ("floor(7/2)", "3"),
            ("floor(pi)", "3"),
            ("ceil(sqrt(2))", "2"),
            ("floor(x+3)", "floor(x)+3"),
            ("mod(17,5)", "2"),
            ("mod(2^(10^18),7)", "2"),
            ("gcd(12,18)", "6"),
            ("lcm(4,6)", "12"),
            ("max(3,pi)", "pi"),
            ("min(sqrt(2),sqrt(3))", "sqrt(2)"),
            ("50%", "1/2"),
            ("f(x+1)", "f(1+x)"),
            ("f(x^2-1)", "f((x-1)*(x+1))"),
            ("2^(10^9)*2", "2^(10^9+1)"),
            ("(x+1)^100000", "(x+1)^99999*(x+1)"),
            ("(a+b+c+d)^60", "(a+b+c+d)^59*(a+b+c+d)"),
            ("sqrt(2)+sqrt(3)+sqrt(5)+sqrt(7)", "sqrt(7)+sqrt(5)+sqrt(3)+sqrt(2)"),
            ("(7+4*sqrt(3))^(1/2)", "2+sqrt(3)"),
            ("(2+sqrt(5))^(1/3)", "(1+sqrt(5))/2"),
            ("det[2](a,b,c,d)", "a*d-b*c"),
            ("det[2](1,2,3,4)", "-2"),
            ("trace[2](a,b,c,d)", "a+d"),
            ("rank[2](1,2,2,4)", "1"),
            ("norm[2](3,4)", "5"),
            ("re(3+4*i)", "3"),
            ("conj(x+i*y)", "x-i*y"),
            ("arg(1+i)", "pi/4"),
            ("10^x*10^(-x)", "1"),
            ("oo", "oo+1"),
        ],
        Outcome::Equal,
    );
}

#[test]
fn different_values() {
    check(
        &[
            ("x", "y"),
            ("x+1", "x"),
            ("sqrt(x^2)", "x"),
            ("log(x^2)", "2*log(x)"),
            ("sqrt(2)", "3/2"),
            ("pi", "22/7"),
            ("pi", "355/113"),
            ("sin(1000*x)", "sin(1001*x)"),
            (
                "sqrt(1000001)+sqrt(1000025)+sqrt(1000031)",
                "sqrt(1000002)+sqrt(1000018)+sqrt(1000037)",
            ),
            ("10^(-400)", "0"),
            ("2^(-10^400)", "0"),
            ("exp(-1000)", "0"),
            ("9^9^9^9", "1"),
            ("9!!!!", "3"),
            ("binom(1000000,500000)", "3"),
            ("2^(10^9)", "3"),
            ("2^(10^9)", "2^(10^9)+1"),
            ("9^9^9^9", "9^9^9^9+1"),
            ("exp(exp(exp(100)))", "1"),
            ("1/2004!", "1/2006!"),
            ("(x+1)^100000", "(x+1)^100000+1"),
            ("1-1/e", "1+1/e"),
            ("exp(pi*sqrt(163))", "262537412640768744"),
            ("f(x)", "f(y)"),
            ("f(x)", "g(x)"),
            ("x/abs(x)", "1"),
            ("log(10)", "log(100)"),
            ("oo", "5"),
            ("oo", "-oo"),
            ("i", "-i"),
            ("i", "1"),
            ("abs(x-100)", "100-x"),
            ("e^x", "2^x"),
            ("sin(x)", "cos(x)"),
            ("n!", "n"),
            ("log(log(log(log(10^10^10))))", "1"),
            ("sin(64*x)/sqrt(cos(64*x))", "sin(64*x)/sqrt(cos(64*x))+1"),
        ],
        Outcome::NotEqual,
    );
}

#[test]
fn no_value() {
    for text in ["1/0", "0/0", "log(0)", "oo-oo"] {
        assert_eq!(verdict(text, "1"), Outcome::Unknown(Reason::Undefined), "{text}");
    }
}

#[test]
fn orders() {
    for (a, b, want) in [
        ("1", "2", Some(Ordering::Less)),
        ("sqrt(2)", "3/2", Some(Ordering::Less)),
        ("oo", "9^9^9^9", Some(Ordering::Greater)),
        ("-oo", "0", Some(Ordering::Less)),
        ("sqrt(3+2*sqrt(2))", "1+sqrt(2)", Some(Ordering::Equal)),
        ("9^9^9", "10^10", Some(Ordering::Greater)),
        ("x", "1", None),
        ("i", "1", None),
    ] {
        let mut arena = Arena::new();
        let (x, y) = (read(&mut arena, a), read(&mut arena, b));
        assert_eq!(order(&arena, x, y, &mut Budget::default()), want, "{a} {b}");
        let back = order(&arena, y, x, &mut Budget::default());
        assert_eq!(back, want.map(Ordering::reverse), "{b} {a}");
    }
}

#[test]
fn decimals() {
    for (text, places, want) in [
        ("pi", 5, 314_159i64),
        ("1/8", 2, 12),
        ("3/8", 2, 38),
        ("-1/3", 3, -333),
        ("sqrt(2)", 10, 14_142_135_624),
        ("exp(1)", 6, 2_718_282),
        ("gamma", 6, 577_216),
        ("2^(-10^400)", 6, 0),
        ("log(2)", 6, 693_147),
        ("sin(1)", 6, 841_471),
        ("cos(100)", 6, 862_319),
        ("atan(3)", 6, 1_249_046),
    ] {
        let mut arena = Arena::new();
        let id = read(&mut arena, text);
        let got = decimal(&arena, id, places, &mut Budget::default());
        assert_eq!(got.map(|d| d.re), Some(IBig::from(want)), "{text}");
    }
    let mut arena = Arena::new();
    let id = read(&mut arena, "10^(-7)*sqrt(2)");
    assert_eq!(is_small(&arena, id, 6, &mut Budget::default()), Some(true));
    assert_eq!(is_small(&arena, id, 7, &mut Budget::default()), Some(false));
}

#[test]
fn free_variables() {
    let mut arena = Arena::new();
    let id = read(&mut arena, "sum(k*x, k, 1, n) + y + x");
    let names: Vec<&str> = variables(&arena, id).into_iter().map(|name| arena.name(name)).collect();
    assert_eq!(names, ["n", "x", "y"]);
}

#[test]
fn binders() {
    check(
        &[
            ("sum(k,k,1,10^18)", "10^18*(10^18+1)/2"),
            ("sum(k,k,1,n)", "n*(n+1)/2"),
            ("sum(k^2,k,1,n)", "n*(n+1)*(2*n+1)/6"),
            ("sum(k^3,k,1,n)", "(n*(n+1)/2)^2"),
            ("sum(k^5+3*k,k,2,7)", "2^5+3^5+4^5+5^5+6^5+7^5+3*27"),
            ("sum(1/k,k,1,4)", "25/12"),
            ("sum(k*x,k,1,3)", "6*x"),
            ("sum(2^k,k,0,n)", "2^(n+1)-1"),
            ("sum(2^k,k,0,63)", "2^64-1"),
            ("sum(1/2^k,k,1,oo)", "1"),
            ("sum((1/3)^k,k,0,oo)", "3/2"),
            ("sum(k/2^k,k,1,oo)", "2"),
            ("sum(1/k^2,k,1,oo)", "pi^2/6"),
            ("sum(1/k^4,k,1,oo)", "pi^4/90"),
            ("sum(f(k),k,1,n)", "sum(f(j),j,1,n)"),
            ("sum(sum(m*j,m,1,j),j,1,5)", "140"),
            ("sum(sin(k),k,1,200)", "sin(100)*sin(201/2)/sin(1/2)"),
            ("prod(k,k,1,5)", "120"),
            ("prod(k,k,1,n)", "n!"),
            ("prod(2,k,1,n)", "2^n"),
            ("prod(1-1/k^2,k,2,10)", "11/20"),
            ("diff(x^3,x)", "3*x^2"),
            ("diff(sin(x^2),x)", "2*x*cos(x^2)"),
            ("diff(x^x,x)", "x^x*(log(x)+1)"),
            ("int(x^2,x)", "x^3/3"),
            ("int(x^2,x,0,1)", "1/3"),
            ("int(sin(x),x,0,pi)", "2"),
            ("int(1/x,x,1,e)", "1"),
            ("int(exp(-x),x,0,oo)", "1"),
            ("int(1/x^2,x,1,oo)", "1"),
            ("int(sqrt(x),x,0,1)", "int(sqrt(t),t,0,1)"),
            ("lim(sin(x)/x,x,0)", "1"),
            ("lim((1-cos(x))/x^2,x,0)", "1/2"),
            ("lim((x^2-1)/(x-1),x,1)", "2"),
            ("lim((2*x+1)/(x-3),x,oo)", "2"),
            ("lim((1+1/x)^x,x,oo)", "e"),
            ("lim(x^2+1,x,3)", "10"),
        ],
        Outcome::Equal,
    );
    check(
        &[
            ("sum(k,k,1,10^18)", "10^18*(10^18+1)/2+1"),
            ("sum(1/k,k,1,10)", "3"),
            ("prod(prod(prod(m*j*k,k,1,1000),j,1,1000),m,1,1000)", "1"),
            ("prod(k,k,1,1000000)", "3"),
            ("sum(1/k^2,k,1,1000)", "pi^2/6"),
            ("int(x,x,0,1)", "1"),
        ],
        Outcome::NotEqual,
    );
    // Nothing is claimed about what is not evaluated.
    for text in ["sum(1/k^2,k,1,1000000)", "int(sin(x^x)*exp(x^3),x,0,1)", "int(1/x^2,x,-1,1)"] {
        assert!(matches!(verdict(text, "3"), Outcome::Unknown(_)), "{text}");
        assert_eq!(verdict(text, text), Outcome::Equal, "{text}");
    }
}

/// A small generator of pseudo-random numbers for the properties below.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    /// A rational function of x and y, as text.
    fn expression(&mut self, depth: u32) -> String {
        if depth == 0 {
            return match self.roll(4) {
                0 => "x".into(),
                1 => "y".into(),
                _ => format!("{}", self.roll(7) + 1),
            };
        }
        let (a, b) = (self.expression(depth - 1), self.expression(depth - 1));
        match self.roll(6) {
            0 | 1 => format!("({a}+{b})"),
            2 => format!("({a}-{b})"),
            3 | 4 => format!("({a}*{b})"),
            _ => format!("({a}/({b}))"),
        }
    }
}

/// The value of a rational function at a point, by plain recursion. None at a pole.
fn brute(arena: &Arena, id: Id, x: &RBig, y: &RBig) -> Option<RBig> {
    match arena.node(id) {
        Node::Number(number) => Some(arena.number(number).value.clone()),
        Node::Symbol(name) => Some(if arena.name(name) == "x" { x.clone() } else { y.clone() }),
        Node::Add(kids) => arena
            .kids(kids)
            .iter()
            .try_fold(RBig::ZERO, |total, &kid| Some(total + brute(arena, kid, x, y)?)),
        Node::Mul(kids) => arena
            .kids(kids)
            .iter()
            .try_fold(RBig::ONE, |total, &kid| Some(total * brute(arena, kid, x, y)?)),
        Node::Pow(base, _) => {
            let base = brute(arena, base, x, y)?;
            (!base.is_zero()).then(|| RBig::ONE / base)
        }
        _ => None,
    }
}

#[test]
fn rational_functions_against_brute_force() {
    let mut dice = Dice(1);
    let (mut same, mut different) = (0, 0);
    for _ in 0..4000 {
        let depth = 1 + dice.roll(3) as u32;
        let (ta, mut tb) = (dice.expression(depth), dice.expression(depth));
        if dice.roll(2) == 0 {
            // The first again, in disguise.
            tb = format!("({ta}*{tb}-({ta}))/({tb}-1)");
        }
        let mut arena = Arena::new();
        let (a, b) = (read(&mut arena, &ta), read(&mut arena, &tb));
        let (mut defined, mut agree) = (0, true);
        for point in 0..40i64 {
            let (x, y) = (number::fraction(7 * point + 3, 11), number::fraction(5 - 3 * point, 13));
            if let (Some(a), Some(b)) = (brute(&arena, a, &x, &y), brute(&arena, b, &x, &y)) {
                defined += 1;
                agree &= a == b;
            }
        }
        let got = equal(&arena, a, b, &mut Budget::default());
        if defined < 20 {
            assert_ne!(got, Outcome::NotEqual, "{ta} {tb}");
        } else {
            assert_eq!(got, Outcome::from_bool(agree), "{ta} {tb}");
        }
        same += usize::from(agree && defined > 0);
        different += usize::from(!agree);
    }
    assert!(same > 50 && different > 500, "{same} {different}");
}

#[test]
fn more_budget_never_flips() {
    for (a, b, want) in [
        ("sqrt(3+2*sqrt(2))", "1+sqrt(2)", Outcome::Equal),
        ("log(x^2)", "2*log(x)", Outcome::NotEqual),
        ("(x+1)^20", "(x+1)^19*(x+1)", Outcome::Equal),
        ("4*atan(1/5)-atan(1/239)", "pi/4", Outcome::Equal),
        ("sum(1/k^2,k,1,500)", "2", Outcome::NotEqual),
        ("9!!!", "3", Outcome::NotEqual),
    ] {
        let mut work = 1;
        let mut settled = false;
        while work < 30_000_000 {
            let mut arena = Arena::new();
            let (a, b) = (read(&mut arena, a), read(&mut arena, b));
            let got = equal(&arena, a, b, &mut Budget::new(work));
            let budget = got == Outcome::Unknown(Reason::Budget);
            assert!(got == want || (budget && !settled), "{work}: {got:?}");
            settled |= got == want;
            work = work * 3 / 2 + 1;
        }
        assert!(settled);
    }
}

#[test]
fn balls_hold_the_exact_value() {
    use super::ball::Ball;
    use super::elementary;
    use crate::reward::algebra::complex::Complex;
    let mut dice = Dice(7);
    let touches = |a: &Ball, b: &Ball| a.sub(b, 600).contains_zero();
    for round in 0..400 {
        let p = [64, 128, 200, 256][round % 4];
        let value = number::fraction(dice.roll(1 << 20) as i64 + 1, dice.roll(1 << 12) + 1);
        let value = if round % 3 == 0 { value / number::integer(1 << 20) } else { value };
        let x = Ball::rational(&value, p);
        let fine = Ball::rational(&value, 500);
        let (low, high) = x.ends().unwrap();
        assert!(low <= value && value <= high);
        // A wider input must give a ball that still holds the value at the middle.
        for x in [x.clone(), x.widened(1, x.top() - 20, p)] {
            assert!(touches(&x.sqrt(p).unwrap(), &fine.sqrt(500).unwrap()));
            let root = x.sqrt(p).unwrap();
            assert!(touches(&root.mul(&root, p), &fine));
            assert!(touches(&elementary::ln(&x, p).unwrap(), &elementary::ln(&fine, 500).unwrap()));
            assert!(touches(
                &elementary::atan(&x, p).unwrap(),
                &elementary::atan(&fine, 500).unwrap()
            ));
            if let Some(power) = elementary::exp(&x, p) {
                assert!(touches(&power, &elementary::exp(&fine, 500).unwrap()));
                assert!(touches(&elementary::ln(&power, p).unwrap(), &fine));
            }
            let (sin, cos) = elementary::sin_cos(&x, p).unwrap();
            let (s, c) = elementary::sin_cos(&fine, 500).unwrap();
            assert!(touches(&sin, &s) && touches(&cos, &c));
            let one = sin.mul(&sin, p).add(&cos.mul(&cos, p), p);
            assert!(touches(&one, &Ball::integer(1)));
            let inverse = Ball::integer(1).div(&x, p).unwrap();
            assert!(touches(&inverse.mul(&x, p), &Ball::integer(1)));
        }
        // Exact input: nearly all digits survive.
        let sharp = |ball: &Ball| ball.radius_top() <= ball.top().max(0) - p as i64 + 12;
        assert!(sharp(&elementary::ln(&x, p).unwrap()) && sharp(&elementary::atan(&x, p).unwrap()));
        let z = Complex { re: x.clone(), im: fine.clone() };
        let back = z.ln(p).unwrap().exp(p).unwrap();
        assert!(touches(&back.re, &z.re) && touches(&back.im, &z.im));
    }
}

#[test]
fn stored_constants() {
    // π = 16 atan(1/5) − 4 atan(1/239), ln 2 = 18 atanh(1/26) − 2 atanh(1/4801) + 8 atanh(1/8749)
    let bits = constants::BITS + 40;
    let series = |n: u64, alternate: bool| {
        let (mut power, mut total) = ((IBig::ONE << bits) / n, IBig::ZERO);
        for k in 0u64.. {
            let term = &power / (2 * k + 1);
            if term == IBig::ZERO {
                break;
            }
            if alternate && k % 2 == 1 {
                total -= term
            } else {
                total += term
            }
            power /= n * n;
        }
        total
    };
    let stored = |text: &str| IBig::from_str_radix(text, 16).unwrap();
    let close = |text: &str, value: IBig| {
        let difference = stored(text) - (value >> 40usize);
        assert!(difference >= IBig::from(-1) && difference <= IBig::from(1));
    };
    close(constants::PI, series(5, true) * 16 - series(239, true) * 4);
    close(
        constants::LN_2,
        series(26, false) * 18 - series(4801, false) * 2 + series(8749, false) * 8,
    );
}

#[test]
fn exact_values() {
    for (text, want) in [
        ("sqrt(4)", Some((2, 1))),
        ("8^(1/3)", Some((2, 1))),
        ("(4/9)^(-3/2)", Some((27, 8))),
        ("25%", Some((1, 4))),
        ("sin(pi/6)", Some((1, 2))),
        ("(1+i)*(1-i)", Some((2, 1))),
        ("floor(-7/2)", Some((-4, 1))),
        ("mod(-7,3)", Some((2, 1))),
        ("max(1/2,1/3)", Some((1, 2))),
        ("abs(-5)", Some((5, 1))),
        ("sqrt(2)*sqrt(8)", Some((4, 1))),
        ("sum(k,k,1,10)", Some((55, 1))),
        ("log(8,2)", Some((3, 1))),
        ("x-x+3", Some((3, 1))),
        ("sqrt(2)", None),
        ("pi", None),
        ("x", None),
    ] {
        let mut arena = Arena::new();
        let id = read(&mut arena, text);
        let got = rational(&arena, id, &mut Budget::default());
        assert_eq!(got, want.map(|(n, d)| number::fraction(n, d)), "{text}");
    }
}

/// Any expression whatever over the functions known here.
fn anything(dice: &mut Dice, depth: u32) -> String {
    const LEAVES: [&str; 12] =
        ["x", "y", "pi", "e", "i", "2", "3", "-1", "1/2", "0", "10", "sqrt(2)"];
    const UNARY: [&str; 17] = [
        "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "tanh", "exp", "log", "abs", "floor",
        "sqrt", "re", "im", "conj", "arg",
    ];
    if depth == 0 {
        return LEAVES[dice.roll(12) as usize].into();
    }
    let a = anything(dice, depth - 1);
    match dice.roll(10) {
        0..=3 => format!("{}({a})", UNARY[dice.roll(17) as usize]),
        4 => format!("({a})!"),
        other => {
            let b = anything(dice, depth - 1);
            match other {
                5 => format!("({a}+{b})"),
                6 => format!("({a}*({b}))"),
                7 => format!("({a}/({b}))"),
                8 => format!("(({a})^({b}))"),
                _ => format!("max({a},{b})"),
            }
        }
    }
}

#[test]
fn disguises_and_neighbours() {
    let mut dice = Dice(3);
    let rounds = if cfg!(debug_assertions) { 1500 } else { 20_000 };
    for _ in 0..rounds {
        let depth = 1 + dice.roll(4) as u32;
        let a = anything(&mut dice, depth);
        let again = format!("(({a})*(x+7)+3*({a}))/(10+x)");
        assert_ne!(verdict(&a, &again), Outcome::NotEqual, "{a}");
        let shifted = format!("{a}+1/10^9");
        assert_ne!(verdict(&a, &shifted), Outcome::Equal, "{a}");
        let squared = format!("({a})^2");
        let difference = format!("(({a})-y)*(({a})+y)+y^2");
        assert_ne!(verdict(&squared, &difference), Outcome::NotEqual, "{a}");
    }
}
