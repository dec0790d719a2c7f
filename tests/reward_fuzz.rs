//! Hostile text, by mutation: no input may make the checker panic, hang, grow or contradict itself.
//!
//! Texts come from a small grammar of answers and from mutations of texts before; where a corpus is
//! given, from it too. Numbers, not clocks, decide when to stop:
//!
//! ```text
//! ICPO_FUZZ_EXECUTIONS=10000000 ICPO_FUZZ_SEED=7 cargo test --release --test reward_fuzz -- --nocapture
//! ```
//!
//! `ICPO_FUZZ_CORPUS` names a file whose lines are seeds (JSON lines will do: they are only text).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use icpo::reward::{Checker, Outcome, Profile, Settings};

/// A small generator of random numbers (splitmix64), so that a seed is a whole run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }
}

const ATOMS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "7",
    "10",
    "42",
    "100",
    "-1",
    "0.5",
    "3.14",
    "1,000",
    "10\\,000",
    "1e5",
    "2E9",
    "9999999999999999999999",
    "x",
    "y",
    "n",
    "i",
    "e",
    "E",
    "\\pi",
    "\\infty",
    "-\\infty",
    "\\theta",
    "\\text{cm}",
    "\\text{no solution}",
    "\\emptyset",
    "\\mathbb{R}",
    "50\\%",
    "90^\\circ",
    "½",
    "√2",
    "0.\\overline{3}",
    "A",
    "C",
    "x_1",
    "a_{n}",
    "\\gamma",
    "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
];

const FRAMES: &[&str] = &[
    "\\frac{#}{#}",
    "#+#",
    "#-#",
    "#\\cdot #",
    "#/#",
    "#^{#}",
    "#^#",
    "\\sqrt{#}",
    "\\sqrt[#]{#}",
    "(#)",
    "\\left(#\\right)",
    "{#}",
    "|#|",
    "(#,#)",
    "[#,#)",
    "(#,#]",
    "\\{#,#\\}",
    "#,#",
    "#;#",
    "#=#",
    "#<#",
    "#\\le #\\le #",
    "#\\in #",
    "#\\cup #",
    "#\\cap #",
    "#\\setminus #",
    "\\pm #",
    "#\\pm #",
    "\\sin #",
    "\\log_{#} #",
    "\\ln(#)",
    "#!",
    "\\binom{#}{#}",
    "f(#)",
    "#_{#}",
    "-#",
    "\\sum_{k=1}^{#} #",
    "\\prod_{k=#}^{#} k",
    "\\int_{#}^{#} # dx",
    "\\lim_{x\\to #} #",
    "# #",
    "\\gcd(#,#)",
    "\\lfloor # \\rfloor",
    "\\boxed{#}",
    "$#$",
    "#:#:#",
    "e^{#}",
    "#\\approx #",
    "\\begin{vmatrix}#&#\\\\#&#\\end{vmatrix}",
    "\\max(#,#)",
    "#\\bmod #",
    "\\text{#}",
    "#\\%",
    "\\frac{d}{dx}#",
    "\\overline{#}",
    "x=#",
    "#\\mod #",
    "#^{#^{#}}",
];

const SCRAPS: &[&str] = &[
    "$",
    "$$",
    "\\[",
    "\\]",
    "\\(",
    "\\)",
    "{",
    "}",
    "\\boxed{",
    "\\fbox{",
    "\\frac",
    "\\left",
    " and ",
    ",",
    "The final answer is ",
    "Answer: ",
    "answer",
    "is",
    "\n",
    " ",
    "%",
    "\\",
    "\\\\",
    "&",
    "_",
    "^",
    "(",
    ")",
    "[",
    "]",
    "|",
    "=",
    "<",
    "!",
    ".",
    "**",
    "I hope",
    "\u{0}",
    "\u{200b}",
    "é",
    "π",
    "∞",
    "²",
    "\\begin{",
    "\\end{",
    "\\text{",
    "d",
    "\\,",
    "'",
    "\"",
    ";",
    ":",
    "~",
    "#",
    "or",
    "\u{301}",
    "😀",
];

fn grown(random: &mut Random, depth: usize) -> String {
    if depth == 0 || random.below(4) == 0 {
        return random.pick(ATOMS).to_string();
    }
    let frame = random.pick(FRAMES);
    let mut text = String::new();
    for (nth, part) in frame.split('#').enumerate() {
        if nth > 0 {
            text.push_str(&grown(random, depth - 1));
        }
        text.push_str(part);
    }
    text
}

fn boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn mutated(random: &mut Random, text: &str, other: &str) -> String {
    let at = boundary(text, random.below(text.len() + 1));
    let to = boundary(text, (at + random.below(12)).min(text.len())).max(at);
    let from_other = boundary(other, random.below(other.len() + 1));
    match random.below(8) {
        0 => format!("{}{}", &text[..at], &text[to..]),
        1 => format!("{}{}{}", &text[..at], random.pick(SCRAPS), &text[at..]),
        2 => format!("{}{}{}", &text[..to], &text[at..to], &text[to..]),
        3 => format!("{}{}", &text[..at], &other[from_other..]),
        4 => format!("{}{}{}", &text[..at], random.pick(ATOMS), &text[to..]),
        5 => {
            format!("{}{}{}", &text[..at], &text[at..to].repeat(1 + random.below(40)), &text[to..])
        }
        6 => format!("{}{}{}", &text[..at], grown(random, 2), &text[to..]),
        _ => {
            let frame = random.pick(FRAMES);
            frame.replacen('#', text, 1).replace('#', random.pick(ATOMS))
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Resident memory in kB, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn no_text_makes_the_checker_fail() {
    let executions = setting("ICPO_FUZZ_EXECUTIONS", 20_000);
    let seed = setting("ICPO_FUZZ_SEED", 1);
    let mut seeds: Vec<String> = Vec::new();
    if let Ok(path) = std::env::var("ICPO_FUZZ_CORPUS") {
        let corpus = std::fs::read_to_string(path).expect("ICPO_FUZZ_CORPUS: a readable file");
        seeds.extend(corpus.lines().map(|line| line.chars().take(2000).collect::<String>()));
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4) as u64;
    let workers: Vec<_> = (0..threads)
        .map(|worker| {
            let seeds = seeds.clone();
            let share = executions / threads + u64::from(worker < executions % threads);
            std::thread::spawn(move || fuzz(Random(seed * 1000 + worker), seeds, share))
        })
        .collect();
    let mut slowest = (Duration::ZERO, String::new());
    let mut counts = [0u64; 3];
    for worker in workers {
        let (time, outcomes) = worker.join().expect("a checker panicked");
        slowest = slowest.max(time);
        for (count, more) in counts.iter_mut().zip(outcomes) {
            *count += more;
        }
    }
    println!(
        "{executions} executions, seed {seed}: equal {}, not equal {}, unknown {}; slowest {:?}: {:?}",
        counts[0], counts[1], counts[2], slowest.0, slowest.1
    );
}

fn fuzz(
    mut random: Random,
    mut texts: Vec<String>,
    executions: u64,
) -> ((Duration, String), [u64; 3]) {
    let checkers = [
        Checker::new(Settings::new(Profile::Strict)),
        Checker::new(Settings::new(Profile::MathVerify)),
    ];
    texts.extend((0..200).map(|_| grown(&mut random, 3)));
    let mut slowest = (Duration::ZERO, String::new());
    let mut counts = [0; 3];
    let mut before = None;
    for execution in 0..executions {
        let (a, b) = (random.below(texts.len()), random.below(texts.len()));
        let fresh = match random.below(5) {
            0 => grown(&mut random, 4),
            _ => mutated(&mut random, &texts[a], &texts[b]),
        };
        let checker = &checkers[random.below(2)];
        let response = match random.below(3) {
            0 => fresh.clone(),
            1 => format!("so $\\boxed{{{fresh}}}$."),
            _ => format!("The final answer is ${fresh}$."),
        };
        let gold = if random.below(2) == 0 { &fresh } else { &texts[b] };
        let start = Instant::now();
        let outcome = checker.check(gold, &response).outcome;
        let time = start.elapsed();
        if time > slowest.0 {
            slowest = (time, format!("{gold:.300} against {response:.300}"));
        }
        counts[match outcome {
            Outcome::Equal => 0,
            Outcome::NotEqual => 1,
            Outcome::Unknown(_) => 2,
        }] += 1;
        if execution % 64 == 0 {
            assert_eq!(checker.check(gold, &response).outcome, outcome, "{gold:?} {response:?}");
        }
        // Texts stay short, so that millions of executions stay affordable.
        if fresh.len() < 600 {
            let place = random.below(texts.len());
            if texts.len() < 2000 {
                texts.push(fresh);
            } else {
                texts[place] = fresh;
            }
        }
        if execution == executions / 2 {
            before = resident();
        }
    }
    if let (Some(before), Some(after)) = (before, resident()) {
        assert!(after < before + 64 * 1024, "resident memory grew from {before} to {after} kB");
    }
    (slowest, counts)
}
