//! Answers and responses made to burn time, memory or stack: each costs little, on a small stack.
//!
//! `cargo test --release --test reward_hostile -- --nocapture` prints what each cost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use icpo::reward::{Checker, Outcome, Profile, Settings};

/// As long as an answer can be.
const LONG: usize = 8_000;

fn listed(count: usize, separator: &str, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(separator)
}

fn nested(depth: usize, open: &str, inside: &str, close: &str) -> String {
    format!("{}{inside}{}", open.repeat(depth), close.repeat(depth))
}

fn matrix(frame: &str, size: usize, entry: impl Fn(usize, usize) -> String) -> String {
    let rows = listed(size, "\\\\", |row| listed(size, "&", |column| entry(row, column)));
    format!("\\begin{{{frame}}}{rows}\\end{{{frame}}}")
}

/// A formula by a number that changes it a little.
type Formula = (&'static str, fn(usize) -> String);

/// Formulas of the greatest length, depth or value.
const FORMULAS: &[Formula] = &[
    ("factorials of factorials", |n| format!("x{}", "!".repeat(LONG - 10 - n))),
    ("numbers' factorials", |n| format!("{}{}", 3 + n, "!".repeat(LONG - 10))),
    ("transposes", |n| format!("\\begin{{pmatrix}}{n}\\end{{pmatrix}}{}", "'".repeat(LONG - 100))),
    ("divisions", |n| listed(3900 + n, "/", |_| "x".into())),
    ("divisions of names", |n| listed(1200, "/", |i| format!("a_{{{}}}", i + n))),
    ("left-hand powers", |n| {
        listed(3900, "^", |i| if i == 0 { n.to_string() } else { "x".into() })
    }),
    ("left-hand numeric powers", |n| format!("{}{}", 90 + n, "^4390".repeat(1500))),
    ("remainders", |n| listed(900, "\\mod ", |i| format!("{}", i + n))),
    ("ratios", |n| listed(1500, ":", |i| format!("{}", i + n))),
    ("products", |n| listed(1100, "\\cdot ", |_| format!("x{}", n))),
    ("letters", |n| ["x", "y"][n % 2].repeat(LONG - 100)),
    ("names", |n| listed(1200, " ", |i| format!("a_{{{}}}", i + n))),
    ("signs", |n| format!("{}1", "-".repeat(LONG - 100 - n))),
    ("chains of numbers", |n| listed(1600, "<", |i| (i + n).to_string())),
    ("chains of names", |n| listed(1000, "<", |i| format!("x_{{{}}}", i + n))),
    ("false equations", |n| listed(1600, "=", |i| (i + n).to_string())),
    ("equations", |n| listed(600, ",", |i| format!("x_{{{i}}}={}", (i + n) % 600))),
    ("equations in x", |n| listed(600, ",", |i| format!("x^2={}", i + n))),
    ("approximations", |n| listed(700, "\\approx ", |i| if i == n { "y" } else { "x" }.into())),
    ("numbers", |n| listed(1500, ",", |i| ((i * 7 + n) % 1500).to_string())),
    ("roots", |n| listed(600, ",", |i| format!("\\sqrt{{{}}}", (i * 7 + n) % 600))),
    ("sums of roots", |n| listed(600, "+", |i| format!("\\sqrt{{{}}}", i * 7 + n))),
    ("odd roots", |n| listed(400, "+", |i| format!("\\sqrt[{}]{{{}}}", i % 97 + 2, i + n))),
    ("nested roots", |n| nested(120, "\\sqrt{2+", &n.to_string(), "}")),
    ("pairs of roots", |n| {
        listed(330, ",", |i| format!("(\\sqrt{{{}}},\\sqrt{{{}}})", i + n, i + 1))
    }),
    ("pairs of sines", |n| {
        listed(180, ",", |i| {
            format!("(\\sin(\\sqrt{{\\sqrt{{{}}}+\\pi}}),e^{{\\sqrt{{{i}}}}})", i + n)
        })
    }),
    ("unions", |n| {
        listed(240, "\\cup", |i| format!("(\\sqrt{{{}}},\\sqrt{{{}}})", (i * 7 + n) % 240, i + 300))
    }),
    ("intersections", |n| listed(500, "\\cap", |i| format!("(-{},{})", (i * 7 + n) % 500, i + 1))),
    ("differences", |n| {
        format!(
            "\\mathbb{{R}}{}",
            listed(400, "", |i| format!("\\setminus\\{{{}\\}}", (i * 7 + n) % 400))
        )
    }),
    ("sets in sets", |n| nested(120, "\\{1,", &n.to_string(), "\\}")),
    ("broken braces", |n| nested(120, "{", &format!("{n}+"), "}")),
    ("plus and minus", |n| listed(500, ",", |i| format!("{}\\pm {i}", i + n))),
    ("words", |n| format!("\\text{{{}{n}}}", "a".repeat(LONG - 100))),
    ("indices of indices", |n| nested(120, "x_{", &format!("{}{n}", "y".repeat(7000)), "}")),
    ("calls", |n| nested(120, "f(", &n.to_string(), ")")),
    ("bars", |n| nested(60, "|", &format!("x+{n}"), "|")),
    ("floors", |n| nested(100, "\\lfloor ", &format!("\\pi+{n}"), "\\rfloor ")),
    ("matrices", |n| matrix("pmatrix", 30, |i, j| format!("x_{{{}}}", i * 30 + j + n))),
    ("determinants of names", |n| {
        matrix("vmatrix", 12, |i, j| format!("x_{{{}}}", i * 12 + j + n))
    }),
    ("determinants of roots", |n| {
        matrix("vmatrix", 20, |i, j| format!("\\sqrt{{{}}}", i * 20 + j + n))
    }),
    ("determinants", |n| matrix("vmatrix", 30, |i, j| ((i * 7 + j * j * 3 + n) % 11).to_string())),
    ("products of matrices", |n| {
        matrix("pmatrix", 20, |i, j| ((i * 7 + j * j * 3 + n) % 11).to_string()).repeat(4)
    }),
    ("products of matrices of names", |n| {
        matrix("pmatrix", 8, |i, j| format!("x_{{{}}}", i * 8 + j + n)).repeat(5)
    }),
    ("digits", |n| format!("{}{n}", "9".repeat(LONG - 100))),
    ("long fractions", |n| format!("\\frac{{{}{n}}}{{{}}}", "9".repeat(3900), "7".repeat(3900))),
    ("sums of fractions", |n| {
        listed(100, "+", |i| format!("\\frac{{1}}{{1{}{}}}", "0".repeat(50), i + n))
    }),
    ("repeating decimals", |n| format!("0.\\overline{{{}{n}}}", "123".repeat(2500))),
    ("sums of powers of ten", |n| listed(1000, "+", |i| format!("1E{}", 4999 - i - n))),
    ("lists of powers of ten", |n| {
        listed(900, ",", |i| format!("1E-{}", 4999 - (i * 7 + n) % 900))
    }),
    ("lists of long powers", |n| listed(900, ",", |i| format!("1E{}", 99999 - (i * 7 + n) % 900))),
    ("huge powers of ten", |n| format!("1E9999999999{n}")),
    ("sines", |n| listed(250, "+", |i| format!("\\sin({}x)\\cos({i}y)", i + n))),
    ("sines of large numbers", |n| format!("\\sin(10^{{{}}})+\\sin(10!!!)", 900 + n)),
    ("logarithms", |n| listed(250, "+", |i| format!("\\log_{{{}}}(x+{i})", i + 2 + n))),
    ("sums of roots up to ten thousand", |n| format!("\\sum_{{k=1}}^{{{}}}\\sqrt{{k}}", 9999 + n)),
    ("sums of sums", |n| format!("\\sum_{{k=1}}^{{100}}\\sum_{{j=1}}^{{100}}\\sqrt{{k+j+{n}}}")),
    ("sums, nested", |n| format!("{}\\sqrt{{a+{n}}}", "\\sum_{a=1}^{9}".repeat(100))),
    ("sums within sums", |n| {
        let sums = listed(110, "", |i| format!("\\sum_{{a_{{{}}}=1}}^{{a_{{{i}}}}}", i + 1));
        format!("\\sum_{{a_{{0}}=1}}^{{9999}}{sums}\\sqrt{{a_{{110}}+{n}}}")
    }),
    ("sizes of piled powers", |n| format!("|x{}+{n}i|", "^{\\lfloor a\\rfloor}".repeat(400))),
    ("logarithms of piled powers", |n| format!("\\ln(x{}+{n})", "^{a!}".repeat(1000))),
    ("roots of piled powers", |n| {
        format!("\\sqrt{{{}}}", nested(110, "(", "x", &format!(")^{{y+{n}}}")))
    }),
    ("nested logarithms", |n| nested(120, "\\ln(", &format!("x+{n}"), ")")),
    ("nested sizes", |n| nested(120, "\\left|-x+", &n.to_string(), "\\right|")),
    ("nested sines", |n| nested(120, "\\sin(", &format!("x+{n}"), ")")),
    ("nested inequalities", |n| format!("{}<1", nested(60, "|x-", &n.to_string(), "|"))),
    ("norms of matrices", |n| {
        format!("\\|{}\\|", matrix("pmatrix", 30, |i, j| (i + j + n).to_string()))
    }),
    ("determinants of what is not square", |n| {
        format!("\\det \\begin{{pmatrix}}1\\\\{n}\\\\x\\end{{pmatrix}}")
    }),
    ("products of factorials", |n| format!("\\prod_{{k={n}+a}}^{{10000}}k!")),
    ("sums of powers", |n| listed(100, "+", |i| format!("\\sum_{{k=1}}^{{2999}}k^{{{}}}", i + n))),
    ("harmonic sums", |n| {
        listed(100, "+", |i| format!("\\sum_{{k=1}}^{{2999}}\\frac{{1}}{{k^{{{}}}}}", i + n))
    }),
    ("long products", |n| format!("\\prod_{{k=1}}^{{3000}}(x+k+{n})")),
    ("derivatives", |n| format!("{}\\frac{{\\sin(x)+{n}}}{{x^2+1}}", "\\frac{d}{dx}".repeat(100))),
    ("integrals", |n| format!("{}x^{{{}}}{}", "\\int_0^1 ".repeat(60), 30 - n, " dx".repeat(60))),
    ("limits", |n| format!("{}\\frac{{\\sin(x)+{n}}}{{x}}", "\\lim_{x\\to 0}".repeat(60))),
    ("binomials", |n| listed(40, "+", |i| format!("\\binom{{n+{i}}}{{{}}}", i + n))),
    ("expansions", |n| format!("(x+y+z+1)^{{{}}}", 500 + n)),
    ("products of sums", |n| listed(400, "", |i| format!("(x+y_{{{}}})", i + n))),
    ("towers", |n| nested(100, "2^{", &n.to_string(), "}")),
    ("complex powers", |n| format!("(1+i)^{{{}}}", 100_000 + n)),
    ("factorials", |n| listed(200, "+", |i| format!("{}!", 4000 + i + n))),
    ("common divisors", |n| {
        format!("\\gcd({})", listed(50, ",", |i| format!("{}!", 4000 + i + n)))
    }),
    ("greatest", |n| {
        format!("\\max({})", listed(300, ",", |i| format!("\\sqrt{{{}}}", 9 * i + n)))
    }),
    ("polynomials", |n| listed(700, "+", |i| format!("{}x^{{{i}}}", i + n))),
    ("equations of polynomials", |n| {
        format!("{}=0", listed(300, "", |i| format!("(x-{})", (i * 7 + n) % 300)))
    }),
    ("inequalities of polynomials", |n| {
        format!("{}>0", listed(300, "", |i| format!("(x-{})", (i * 7 + n) % 300)))
    }),
];

/// What a response repeats.
const FRAGMENTS: &[&str] = &[
    ")",
    "a_{1}/",
    "(\\sqrt{2},\\sqrt{3}),",
    "\\{1,",
    "{{x+",
    "5 cm ",
    "\\text{ a } ",
    "\\frac1",
    "1=2=",
    "x_{1}=2,",
    "\\boxed{",
    "$",
    "$$",
    "\\[",
    "\\(",
    "answer is ",
    "final answer is ",
    "The final answer is $1$. I hope",
    "1 ",
    "1,",
    "1+",
    "-",
    "**",
    "**C** ",
    "(C)",
    "\\boxed{1} ",
    "$1$ and ",
    "}",
    "\\",
    "\n",
    "=",
    ". ",
    "is ",
    "\\$",
    "1\\,",
    "\\text{",
    "{",
    "é",
    "½",
    "^",
    "%",
    "answer: ",
    "option C ",
    "\\begin{pmatrix}",
    "&",
    "I hope",
    "\\sqrt",
    "sqrt(",
    "\\left(",
    " or ",
];

struct Cost {
    name: String,
    time: Duration,
    memory: u64,
}

/// kB of memory by which the process grew in the meantime, where the system tells.
fn peak(work: impl FnOnce()) -> u64 {
    let read = |which: &str| -> Option<u64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find(|line| line.starts_with(which))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    // Forgets the peak so far.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = read("VmRSS:").unwrap_or(0);
    work();
    read("VmHWM:").unwrap_or(0).saturating_sub(before)
}

/// Time that this thread has run, where the system tells: other programs do not count.
fn clock() -> Duration {
    let read = || -> Option<u64> {
        let line = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        line.split_whitespace().next()?.parse().ok()
    };
    static START: OnceLock<Instant> = OnceLock::new();
    read().map_or_else(|| START.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}

fn cost(name: String, gold: &str, response: &str, equal: Option<bool>) -> Vec<Cost> {
    let mut costs = Vec::new();
    for (profile_name, profile) in Profile::ALL {
        let checker = Checker::new(Settings::new(profile));
        let mut outcome = Outcome::NotEqual;
        let mut time = Duration::MAX;
        let memory = peak(|| outcome = checker.check(gold, response).outcome);
        for _ in 0..2 {
            let (start, wall) = (clock(), Instant::now());
            checker.check(gold, response);
            // The finer clock for what is short.
            let (own, wall) = (clock() - start, wall.elapsed());
            time = time.min(if own > Duration::from_millis(8) { own } else { wall });
        }
        match equal {
            Some(true) => assert_ne!(outcome, Outcome::NotEqual, "{name} {profile_name}"),
            Some(false) => assert!(!outcome.is_equal(), "{name} {profile_name}"),
            None => {}
        }
        costs.push(Cost { name: format!("{name}, {profile_name}, {outcome:?}"), time, memory });
    }
    costs
}

fn report(mut costs: Vec<Cost>) {
    costs.sort_by_key(|cost| std::cmp::Reverse(cost.time));
    for Cost { name, time, memory } in costs.iter().take(25) {
        println!("{time:>12.1?} {memory:>8} kB  {name}");
    }
    let memory = costs.iter().max_by_key(|cost| cost.memory).unwrap();
    println!("{} checks; most memory: {} kB, {}", costs.len(), memory.memory, memory.name);
    // Generous: debug builds and busy machines run this as well.
    let slow = costs[0].time < Duration::from_secs(2);
    assert!(slow, "{} took {:?}", costs[0].name, costs[0].time);
    assert!(memory.memory < 64 << 10, "{} took {} kB", memory.name, memory.memory);
}

/// One after the other, so that each has the memory for itself.
#[test]
fn hostile_texts_cost_little() {
    let all = || {
        let mut costs = Vec::new();
        for (name, formula) in FORMULAS {
            let (gold, other) = (formula(0), formula(1));
            for (pred, same) in [(&gold, Some(true)), (&other, None)] {
                let response = format!("so it is $\\boxed{{{pred}}}$.");
                costs.extend(cost(name.to_string(), &gold, &response, same));
            }
        }
        for fragment in FRAGMENTS {
            let answer = fragment.repeat(LONG / fragment.len() - 10);
            let flood = fragment.repeat(250_000 / fragment.len());
            let texts = [
                ("alone", flood.clone()),
                (
                    "in boxes",
                    format!("The answer is {}", format!("$\\boxed{{{answer})}}$ ").repeat(32)),
                ),
                ("announced", format!("The final answer is ${answer})$. I hope so. ").repeat(32)),
                ("in one box", format!("The final answer is $$\\boxed{{{flood}}}$$. I hope")),
                ("before a box", format!("$${flood}\\boxed{{5}}$$.")),
                ("anchors", format!("The answer is ${fragment}$. ").repeat(9000)),
                ("numbers", format!("The answer is 1{fragment} ").repeat(9000)),
            ];
            for (place, text) in texts {
                costs.extend(cost(format!("{fragment:?} {place}"), "5x", &text, None));
            }
        }
        report(costs);
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(all).unwrap().join().unwrap();
}
