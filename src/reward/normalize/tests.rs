//! Cases worked out with the peer's normalizer; laws that hold for any text.

#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::*;
use crate::reward::config::Boxed;

const NOTHING: Normalization = Normalization {
    basic_latex: false,
    units: false,
    malformed_operators: false,
    nits: false,
    boxed: Boxed::None,
    equations: false,
};

fn check(config: Normalization, cases: &[(&str, &str)]) {
    for (latex, expected) in cases {
        assert_eq!(normalize(latex, &config), *expected, "{latex}");
    }
}

#[test]
fn spelling() {
    check(
        Normalization { basic_latex: true, ..NOTHING },
        &[
            (r"\dfrac{1}{2}", r"\frac{1}{2}"),
            (r"\mathrm{m}", r"\text{m}"),
            (r"\textbf{B}", r"\text{B}"),
            (r"\left( x \right)", "( x )"),
            (r"\left\lfloor x \right\rfloor", r"\lfloor x \rfloor"),
            (r"\left. x \right|", r"\left. x |"),
            (r"\leftarrow", r"\leftarrow"),
            (r"(x+1)_{2}", r"\frac{(x+1)!}{((x+1)-(2))!}"),
            (r"10\!000", "10000"),
            (r"10{,}000", "10,000"),
            (r"\$5", "5"),
            ("x  and y", "x , y"),
            (r"x\text{ or }y", "x,y"),
            ("1,and 2", "1, 2"),
            ("land and order", "land , order"),
            (r"1,\ldots 2", "1  2"),
            ("5 percentage", r"5\%"),
            ("5percent", "5percent"),
            ("-infinity", r"-\infty"),
            (r"\inf", r"\inf"),
            ("x = .5", "x = 0.5"),
            (r"\\frac{1}{2}", r"\frac{1}{2}"),
            (r"\begin{matrix}1\\a\end{matrix}", r"\begin{matrix}1\\a\end{matrix}"),
            ("a\nb\tc", "a b c"),
        ],
    );
}

#[test]
fn units() {
    check(
        Normalization { units: true, ..NOTHING },
        &[
            ("5 cm", "5"),
            ("5miles", "5"),
            ("5 sq m", "5"),
            (r"\frac{1}{2}hours", r"\frac{1}{2}"),
            ("3t", "3"),
            ("xt", "xt"),
            ("x t", "x"),
            ("2 a + d", "2"),
            ("cm", "cm"),
            (r"5\text{ cm}^2", "5"),
            (r"5\text{ cm}{^2}", "5"),
            (r"a\text{ of } b \text{ cm}", "a"),
            (r"\text{east}", r"\text{east}"),
            (r"5\text{ cm} x", r"5\text{ cm} x"),
        ],
    );
}

#[test]
fn operators() {
    check(
        Normalization { malformed_operators: true, ..NOTHING },
        &[
            (r"\frac12", r"\frac{1}{2}"),
            (r"\frac 1 23", r"\frac{1}{23}"),
            (r"\frac{x}2", r"\frac{x}{2}"),
            (r"\frac1{x}", r"\frac{1}{x}"),
            (r"\frac ab", r"\frac{a}{b}"),
            (r"\frac{1}{2} + x^{3}4", r"\frac{1}{2} + x^{3}{4}"),
            (r"\frac x", r"\frac x"),
            (r"\sqrt2", r"\sqrt{2}"),
            (r"\sqrt x", r"\sqrt{x}"),
            (r"\sqrt[3] 2", r"\sqrt[3] 2"),
            ("sqrt(2)", r"\sqrt{2}"),
            (r"\sqrt(2)", r"\\sqrt{2}"),
            ("2^(n+1)", "2^{n+1}"),
            ("2^(n\n)", "2^(n\n)"),
            (r"\log_28", r"\log_{2}{8}"),
            ("3/4", r"\frac{3}{4}"),
            ("-3/4", r"\frac{-3}{4}"),
            ("03/4", "03/4"),
            ("3/4/5", "3/4/5"),
            ("-0/1", "-0/1"),
        ],
    );
}

#[test]
fn nits() {
    let nits = Normalization { nits: true, ..NOTHING };
    check(nits, &[(".5", r"\frac{1}{2}"), (".25", "0.25"), ("0.50", "0.50"), ("", "")]);
}

#[test]
fn all_boxes() {
    let cases = [
        (r"so \boxed{1}", "1"),
        (r"\boxed{1} or else \boxed{2}", "1,2"),
        (r"\boxed{1} \boxed{1}", "1"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\fbox{ 7 }", "7"),
        (r"\boxed {\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{3", "{3"),
        (r"\boxed 3", "3"),
        (r"\boxed", r"\boxed"),
        ("7", "7"),
        (r"\boxed{é} et \boxed{à}", "é,à"),
    ];
    for (latex, expected) in cases {
        assert_eq!(boxed_content(latex, Boxed::All), expected, "{latex}");
        assert_eq!(boxed_content(latex, Boxed::None), latex);
    }
}

#[test]
fn last_boxes() {
    let cases = [
        (r"\boxed{1}, \boxed{2}", "1,2"),
        (r"\boxed{1} is the first one and also \boxed{2}", "1,2"),
        (r"\boxed{1} is the first step towards \boxed{2}", "2"),
        (r"\boxed{1} is, to say it once more, \boxed{1}", "1"),
        (r"\boxed{1} is bandied about by orators \boxed{2}", "2"),
    ];
    for (latex, expected) in cases {
        assert_eq!(boxed_content(latex, Boxed::Last), expected, "{latex}");
    }
}

#[test]
fn chains_of_equations() {
    assert_eq!(last_equation("a=b=c"), Some("c"));
    assert_eq!(last_equation("a=b"), None);
    assert_eq!(last_equation("a=1,b=2,c=3"), None);
    assert_eq!(last_equation("a<=b!=c=d"), None);
    let equations = Normalization { equations: true, ..NOTHING };
    check(equations, &[("a=b= c ", "c"), ("a=b", "a=b")]);
}

const FRAGMENTS: [&str; 44] = [
    "\\text{",
    "}",
    "{",
    " cm",
    "s",
    "es",
    "5",
    "\\mathrm{",
    "\\frac",
    "\\sqrt",
    "sqrt(",
    " sqrt",
    "^(",
    ")",
    "(",
    ")_{",
    "\\left",
    "\\right",
    "|",
    "\\!",
    "\\ ",
    "$",
    "\"",
    "~=",
    "{,}",
    " and",
    ",",
    " or ",
    "inf",
    "infinity",
    "\\ldots",
    " percent",
    "\\boxed{",
    "\\fbox",
    "=",
    "\n",
    " ",
    ".",
    "/",
    "\\\\",
    "é",
    "٣",
    "\u{3000}",
    "x",
];

proptest! {
    /// No panic, and a text with nothing to repair comes back as it is.
    #[test]
    fn any_text_is_normalized(parts in proptest::collection::vec(0..FRAGMENTS.len(), 0..20)) {
        let text: String = parts.iter().map(|&i| FRAGMENTS[i]).collect();
        for boxed in [Boxed::All, Boxed::Last, Boxed::None] {
            for equations in [false, true] {
                let config = Normalization { boxed, equations, ..Normalization::default() };
                let normal = normalize(&text, &config);
                prop_assert_eq!(normal.trim_matches(is_space), &normal);
            }
        }
        prop_assert_eq!(normalize(&text, &NOTHING), text.trim_matches(is_space));
    }
}

#[test]
fn floods_end() {
    for fragment in FRAGMENTS {
        let flood = fragment.repeat((1 << 17) / fragment.len());
        let text = format!("\\boxed{{5}} {flood}}} cm");
        for boxed in [Boxed::All, Boxed::None] {
            normalize(&text, &Normalization { boxed, ..Normalization::default() });
        }
    }
}
