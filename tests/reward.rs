//! The checker through its public interface: cases as data, and laws.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use icpo::reward::{Checker, Outcome, Profile, Settings};
use proptest::prelude::*;

fn checker(profile: Profile) -> Checker {
    Checker::new(Settings::new(profile))
}

fn outcome(profile: Profile, gold: &str, pred: &str) -> Outcome {
    checker(profile).check(gold, pred).outcome
}

/// The files `testdata/reward/*.toml`; Python runs the same.
#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/reward");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for file in files {
        let table: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
        for case in table["cases"].as_array().unwrap() {
            let (gold, pred) = (case["gold"].as_str().unwrap(), case["pred"].as_str().unwrap());
            for (name, profile) in Profile::ALL {
                let expected = case[name].as_bool().unwrap();
                let verdict = checker(profile).check(gold, pred);
                count += 1;
                if verdict.outcome.is_equal() != expected {
                    let file = file.file_name().unwrap().to_string_lossy().into_owned();
                    wrong.push(format!("{file} {name} {gold:?} {pred:?}: {verdict:?}"));
                }
            }
        }
    }
    assert!(count > 200, "only {count} cases");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Answers of many kinds.
fn answer() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        (0i64..1000).prop_map(|n| n.to_string()),
        (1i64..100, 1i64..100).prop_map(|(a, b)| format!("\\frac{{{a}}}{{{b}}}")),
        (0i64..50, 1i64..1000).prop_map(|(a, b)| format!("{a}.{b}")),
        Just("x".to_string()),
        Just("y".to_string()),
        Just("\\pi".to_string()),
    ];
    let scalar = atom.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} + {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} \\cdot ({b})")),
            (inner.clone(), 2u32..4).prop_map(|(a, n)| format!("({a})^{{{n}}}")),
            inner.clone().prop_map(|a| format!("\\sqrt{{{a}}}")),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| format!("\\frac{{{a}}}{{{b} + 1001}}")),
        ]
    });
    prop_oneof![
        4 => scalar.clone(),
        1 => (scalar.clone(), scalar.clone()).prop_map(|(a, b)| format!("({a}, {b})")),
        1 => (scalar.clone(), scalar.clone()).prop_map(|(a, b)| format!("\\{{{a}, {b}\\}}")),
        1 => (0i64..50, 51i64..100).prop_map(|(a, b)| format!("[{a}, {b})")),
        1 => (scalar.clone(), scalar).prop_map(|(a, b)| format!("y = {a} + {b}")),
    ]
}

fn boxed(answer: &str) -> String {
    format!("Therefore the result is $\\boxed{{{answer}}}$.")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    /// An answer equals itself, however it is spaced, sized or wrapped.
    #[test]
    fn spelling_does_not_matter(answer in answer()) {
        let sized = answer.replace('(', "\\left(").replace(')', "\\right)");
        let spaced = answer.replace(' ', "\\, ").replace('+', " \\; + \\; ");
        for (_, profile) in Profile::ALL {
            for spelling in [&answer, &sized, &spaced, &answer.replace("\\frac", "\\dfrac")] {
                // [a, b) has brackets that `\left` would have to be matched with.
                let found = outcome(profile, &answer, &boxed(spelling));
                prop_assert!(found.is_equal(), "{profile:?} {answer:?} {spelling:?} {found:?}");
            }
        }
    }

    /// Outer parentheses around a scalar do not matter.
    #[test]
    fn parentheses_do_not_matter(a in -500i64..500, b in 1i64..500) {
        let gold = format!("\\frac{{{a}}}{{{b}}}");
        for (_, profile) in Profile::ALL {
            let (outer, slash) = (boxed(&format!("({gold})")), boxed(&format!("\\left({a}/{b}\\right)")));
            prop_assert!(outcome(profile, &gold, &outer).is_equal());
            prop_assert!(outcome(profile, &gold, &slash).is_equal());
        }
    }

    /// The strict profile does not care which of two answers is the gold one.
    #[test]
    fn strict_is_symmetric(a in answer(), b in answer()) {
        // Equations are unwrapped on one side only: y = 3 answers 3, as 3 answers y = 3.
        let there = outcome(Profile::Strict, &a, &boxed(&b)).is_equal();
        let back = outcome(Profile::Strict, &b, &boxed(&a)).is_equal();
        prop_assert_eq!(there, back, "{:?} {:?}", a, b);
    }

    /// Rationals are equal exactly if they are, by cross-multiplication.
    #[test]
    fn rationals_agree_with_integers(a in -60i64..60, b in 1i64..60, c in -60i64..60, d in 1i64..60) {
        let expected = a * d == c * b;
        let (gold, pred) = (format!("\\frac{{{a}}}{{{b}}}"), boxed(&format!("\\frac{{{c}}}{{{d}}}")));
        for (_, profile) in Profile::ALL {
            prop_assert_eq!(outcome(profile, &gold, &pred).is_equal(), expected);
        }
    }

    /// A polynomial equals its expansion, and nothing else.
    #[test]
    fn polynomials_agree_with_their_coefficients(a in -30i64..30, b in -30i64..30, off in -2i64..3) {
        let gold = format!("(x + ({a}))(x + ({b}))");
        let pred = boxed(&format!("x^2 + ({})x + ({})", a + b, a * b + off));
        for (_, profile) in Profile::ALL {
            prop_assert_eq!(outcome(profile, &gold, &pred).is_equal(), off == 0);
        }
    }

    /// More budget never turns a verdict around.
    #[test]
    fn verdicts_are_monotone_in_budget(a in answer(), b in answer(), work in 0u64..2_000_000) {
        for (_, profile) in Profile::ALL {
            let poor = Checker::new(Settings { work, ..Settings::new(profile) });
            let few = poor.check(&a, &boxed(&b)).outcome;
            let many = outcome(profile, &a, &boxed(&b));
            let known = !matches!(few, Outcome::Unknown(_));
            prop_assert!(!known || few == many, "{a:?} {b:?} {work}: {few:?}, then {many:?}");
        }
    }

    /// Any text at all gets a verdict.
    #[test]
    fn any_text_is_answered(gold in "\\PC{0,40}", pred in "\\PC{0,200}") {
        for (_, profile) in Profile::ALL {
            outcome(profile, &gold, &pred);
        }
    }
}

/// The parser's recursion is bounded: a thread with a small stack survives the deepest nesting.
#[test]
fn deep_nesting_fits_a_small_stack() {
    let deep =
        |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    let texts = [
        deep("(", ")"),
        deep("{", "}"),
        deep("\\sqrt{", "}"),
        deep("\\frac{1}{", "}"),
        deep("|", "|"),
        deep("\\left(", "\\right)"),
        "-".repeat(100_000),
        "2^".repeat(100_000),
        "\\sin".repeat(50_000),
        "x_{".repeat(100_000),
        "f(".repeat(100_000),
        "[".repeat(100_000),
        "\\{".repeat(100_000),
        // As high as they are long, though nothing is nested.
        format!("x{}", "!".repeat(100_000)),
        "x/".repeat(100_000),
        format!("x{}", "^{\\lfloor a\\rfloor}".repeat(10_000)),
        format!("\\begin{{pmatrix}}1\\end{{pmatrix}}{}", "/x".repeat(100_000)),
        format!("\\ln(x{})", "^{a!}".repeat(10_000)),
    ];
    let check = move || {
        for text in &texts {
            for (_, profile) in Profile::ALL {
                for cut in [200, 1_000, 8_000, text.len()] {
                    let part: String = text.chars().take(cut).collect();
                    outcome(profile, "1", &format!("$\\boxed{{{part}}}$"));
                    outcome(profile, &part, "$1$");
                }
            }
        }
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(check).unwrap().join().unwrap();
}
