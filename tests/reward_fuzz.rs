//! Hostile text, by mutation: no input may make the checker panic, hang, grow or contradict itself.
//!
//! The same must hold of what is printed, passed on and grouped, and of lists of nodes that no
//! parser makes. Texts come from a small grammar of answers and from mutations of texts before; where a corpus is
//! given, from it too. Numbers, not clocks, decide when to stop:
//!
//! ```text
//! ICPO_FUZZ_EXECUTIONS=10000000 ICPO_FUZZ_SEED=7 cargo test --release --test reward_fuzz -- --nocapture
//! ```
//!
//! `ICPO_FUZZ_CORPUS` names a file whose lines are seeds (JSON lines will do: they are only text).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use icpo::reward::config::{StringsTarget, Target};
use icpo::reward::latex::Parsed;
use icpo::reward::wire::WireNode;
use icpo::reward::{Answer, Candidate, Checker, Outcome, Profile, Rule, Settings, print, wire};

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
    "\\det #",
    "\\operatorname{rank}#",
    "\\operatorname{tr}(#)",
    "\\|#\\|",
    "#^T",
    "#'",
    "\\begin{pmatrix}#\\\\#\\end{pmatrix}",
    "\\begin{vmatrix}#\\\\#\\end{vmatrix}",
    "\\begin{array}{cc}#&#\\end{array}",
    "\\arcsin #",
    "\\tan #",
    "\\sinh #",
    "{# \\choose #}",
    "#\\notin #",
    "\\boxed{#} and \\boxed{#}",
    "\\lceil # \\rceil",
    "#\\ne #",
    "#>#\\ge #",
    "\\operatorname{lcm}(#,#)",
    "\\int # dx",
    "\\exp(#)",
    "\\Gamma(#)",
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

/// A few fragments over and over, up to a length: what makes loops within loops show.
fn flood(random: &mut Random, bytes: usize) -> String {
    let fragment = |random: &mut Random| match random.below(4) {
        0 => random.pick(ATOMS).to_string(),
        1 => grown(random, 1),
        2 => random.pick(FRAMES).replace('#', random.pick(ATOMS)),
        _ => random.pick(SCRAPS).to_string(),
    };
    let mut text = String::with_capacity(bytes + 64);
    for _ in 0..random.below(3) {
        text.push_str(&fragment(random));
    }
    let unit: String = (0..1 + random.below(4)).map(|_| fragment(random)).collect();
    let numbered = random.below(3) == 0;
    for number in 0.. {
        if text.len() >= bytes || text.len() + unit.len() == 0 {
            break;
        }
        text.push_str(&unit);
        if numbered {
            // Names and numbers that are all different.
            text.push_str(&format!("x_{{{number}}}"));
        }
        if unit.is_empty() && !numbered {
            break;
        }
    }
    let tail: String = (0..random.below(3)).map(|_| fragment(random)).collect();
    text + &tail
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Resident memory in kB, now or at its peak, where the system tells.
fn resident(which: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(which))?;
    line.split_whitespace().nth(1)?.parse().ok()
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

/// Beyond this the time of a thread is told finely enough.
const COARSE: Duration = Duration::from_millis(8);

/// What is done with texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Job {
    /// A check of a response of a line or so.
    Check,
    /// Of an answer of up to 12 kB.
    LongAnswer,
    /// Of a response of up to 300 kB.
    LongResponse,
    /// Reading, printing, passing on.
    Structure,
    /// Several answers among themselves.
    Groups,
    /// Lists of nodes that no parser makes.
    Nodes,
}

const JOBS: [Job; 6] =
    [Job::Check, Job::LongAnswer, Job::LongResponse, Job::Structure, Job::Groups, Job::Nodes];

impl Job {
    fn any(random: &mut Random) -> Self {
        match random.below(2000) {
            0..=1 => Job::LongResponse,
            2..=39 => Job::LongAnswer,
            40..=299 => Job::Structure,
            300..=349 => Job::Groups,
            350..=369 => Job::Nodes,
            _ => Job::Check,
        }
    }
}

/// What a run has seen.
#[derive(Default)]
struct Seen {
    outcomes: [u64; 3],
    /// Per job: how often, and the slowest.
    jobs: [(u64, Duration, String); JOBS.len()],
}

impl Seen {
    fn timed<T>(&mut self, job: Job, texts: &[&str], work: impl Fn() -> T) -> T {
        let start = Instant::now();
        let result = work();
        let mut least = start.elapsed();
        let place = JOBS.iter().position(|&other| other == job).unwrap_or(0);
        let (count, slowest, example) = &mut self.jobs[place];
        *count += 1;
        if least > *slowest {
            // Was it the text, or the machine?
            for _ in 0..2 {
                let (start, wall) = (clock(), Instant::now());
                work();
                // The finer clock for what is short.
                let (own, wall) = (clock() - start, wall.elapsed());
                least = least.min(if own > COARSE { own } else { wall });
            }
            if least > *slowest {
                let shown: Vec<String> = texts.iter().map(|text| excerpt(text)).collect();
                (*slowest, *example) = (least, shown.join(" against "));
                if least > Duration::from_millis(setting("ICPO_FUZZ_SHOW_MS", 50)) {
                    println!("{job:?} {least:?}: {example}");
                }
            }
        }
        result
    }
}

fn excerpt(text: &str) -> String {
    if text.len() < 400 {
        return format!("{text:?}");
    }
    let (start, end) = (boundary(text, 200), boundary(text, text.len() - 100));
    format!("{:?}..{:?} ({} bytes)", &text[..start], &text[end..], text.len())
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
    let seeds = Arc::new(seeds);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4) as u64;
    let workers: Vec<_> = (0..threads)
        .map(|worker| {
            let seeds = Arc::clone(&seeds);
            let share = executions / threads + u64::from(worker < executions % threads);
            // The stack of a thread in a language without much of one.
            let builder = std::thread::Builder::new().stack_size(1 << 20);
            let random = Random(seed * 1000 + worker);
            builder.spawn(move || fuzz(random, &seeds, share, worker == 0)).unwrap()
        })
        .collect();
    let mut all = Seen::default();
    for worker in workers {
        let seen = worker.join().expect("a checker panicked");
        for (count, more) in all.outcomes.iter_mut().zip(seen.outcomes) {
            *count += more;
        }
        for (job, more) in all.jobs.iter_mut().zip(seen.jobs) {
            let count = job.0 + more.0;
            if more.1 > job.1 {
                *job = more;
            }
            job.0 = count;
        }
    }
    let [equal, different, unknown] = all.outcomes;
    println!("{executions} executions, seed {seed}");
    println!("equal {equal}, not equal {different}, unknown {unknown}");
    for (job, (count, slowest, example)) in JOBS.iter().zip(&all.jobs) {
        println!("{job:?}: {count}, slowest {slowest:?}: {example}");
    }
    if let Some(peak) = resident("VmHWM:") {
        println!("peak of resident memory: {} MB", peak >> 10);
    }
}

fn fuzz(mut random: Random, seeds: &[String], executions: u64, reports: bool) -> Seen {
    let mut choices = Settings::new(Profile::MathVerify);
    choices.reading_pred.targets.push(Target::Strings(StringsTarget::default()));
    choices.conventions.strict_variables = false;
    let checkers = [
        Checker::new(Settings::new(Profile::Strict)),
        Checker::new(Settings::new(Profile::MathVerify)),
        Checker::new(choices),
    ];
    let mut texts: Vec<String> = (0..200).map(|_| grown(&mut random, 3)).collect();
    let mut seen = Seen::default();
    let mut before = None;
    for execution in 0..executions {
        // Every so often a text of the corpus comes in.
        if !seeds.is_empty() && random.below(16) == 0 {
            let place = random.below(texts.len());
            texts[place] = seeds[random.below(seeds.len())].clone();
        }
        let (a, b) = (random.below(texts.len()), random.below(texts.len()));
        let fresh = match random.below(5) {
            0 => grown(&mut random, 4),
            _ => mutated(&mut random, &texts[a], &texts[b]),
        };
        let checker = &checkers[[0, 0, 0, 1, 1, 1, 2][random.below(7)]];
        match Job::any(&mut random) {
            Job::Check => {
                let response = match random.below(3) {
                    0 => fresh.clone(),
                    1 => format!("so $\\boxed{{{fresh}}}$."),
                    _ => format!("The final answer is ${fresh}$."),
                };
                let gold = if random.below(2) == 0 { &fresh } else { &texts[b] };
                let again = execution % 64 == 0;
                check(&mut seen, Job::Check, checker, gold, &response, again);
            }
            Job::LongAnswer => {
                let answer = |random: &mut Random| {
                    let bytes = 1 << (6 + random.below(8));
                    flood(random, bytes)
                };
                let gold = match random.below(3) {
                    0 => texts[b].clone(),
                    _ => answer(&mut random),
                };
                let response = match random.below(3) {
                    0 => format!("so $\\boxed{{{gold}}}$."),
                    1 => format!("so $\\boxed{{{}}}$.", answer(&mut random)),
                    _ => format!("The answer is ${}$", answer(&mut random)),
                };
                check(&mut seen, Job::LongAnswer, checker, &gold, &response, false);
            }
            Job::LongResponse => {
                let mut response = String::new();
                for _ in 0..1 + random.below(3) {
                    let bytes = 1 << (10 + random.below(9));
                    response.push_str(&flood(&mut random, bytes));
                }
                check(&mut seen, Job::LongResponse, checker, &texts[b], &response, false);
            }
            Job::Structure => {
                let other = &texts[b];
                seen.timed(Job::Structure, &[&fresh, other], || structure(checker, &fresh, other));
            }
            Job::Nodes => {
                let pair = [nodes(&mut random), nodes(&mut random)];
                seen.timed(Job::Nodes, &[&brief(&pair)], || built(checker, &pair));
            }
            Job::Groups => {
                let many: Vec<&str> = (0..6).map(|_| &*texts[random.below(texts.len())]).collect();
                seen.timed(Job::Groups, &many, || groups(checker, &many));
            }
        }
        // Texts stay short, so that millions of executions stay affordable.
        if fresh.len() < 600 {
            if texts.len() < 2000 {
                texts.push(fresh);
            } else {
                let place = random.below(texts.len());
                texts[place] = fresh;
            }
        }
        if reports && execution > 0 && execution % (executions / 8).max(1) == 0 {
            let now = resident("VmRSS:");
            println!("after {execution} on the first thread: {now:?} kB resident");
            before = before.or(now);
        }
    }
    if let (Some(before), Some(after)) = (before, resident("VmRSS:")) {
        assert!(after < before + 64 * 1024, "resident memory grew from {before} to {after} kB");
    }
    seen
}

fn check(seen: &mut Seen, job: Job, checker: &Checker, gold: &str, response: &str, again: bool) {
    let outcome = seen.timed(job, &[gold, response], || checker.check(gold, response).outcome);
    seen.outcomes[match outcome {
        Outcome::Equal => 0,
        Outcome::NotEqual => 1,
        Outcome::Unknown(_) => 2,
    }] += 1;
    if again {
        assert_eq!(checker.check(gold, response).outcome, outcome, "{gold:?} {response:?}");
    }
}

/// Printed text, wherever it comes from, is at most this long.
const LONGEST_PRINT: usize = 200_000;

/// Everything else that an answer is asked for, and what must hold of any.
fn structure(checker: &Checker, text: &str, other: &str) {
    let answer = checker.parse_gold(text);
    for candidate in &answer.candidates {
        let Candidate::Parsed(parsed) = candidate else { continue };
        let shown = print::to_str(&parsed.arena, parsed.root);
        let form = print::to_srepr(&parsed.arena, parsed.root);
        assert!(shown.len() < LONGEST_PRINT && form.len() < LONGEST_PRINT, "{text:?}");
        let nodes = wire::to_wire(&parsed.arena, parsed.root);
        let (arena, root) = wire::from_wire(&nodes).unwrap_or_else(|| panic!("{text:?}"));
        assert_eq!(wire::to_wire(&arena, root), nodes, "{text:?}");
        assert_eq!(print::to_srepr(&arena, root), form, "{text:?}");
    }
    // Nothing differs from itself, but for what says that 1 is 2.
    let (itself, rule) = checker.outcome(&answer, &answer);
    let parsed = matches!(answer.candidates.first(), Some(Candidate::Parsed(_)));
    let fine = itself != Outcome::NotEqual || rule == Rule::FalseEquation || !parsed;
    assert!(fine, "{text:?} is not itself: {rule:?}");
    // Nor from itself in a box, if the box is seen to hold it.
    let boxed = checker.parse(&format!("so $\\boxed{{{text}}}$."));
    if parsed && boxed.extracted == answer.extracted && boxed.candidates.len() > 1 {
        let (itself, rule) = checker.outcome(&answer, &boxed);
        let fine = itself != Outcome::NotEqual || rule == Rule::FalseEquation;
        assert!(fine, "{text:?} is not itself in a box: {rule:?}");
    }
    let there = checker.equivalent(text, other).outcome.is_equal();
    let back = checker.equivalent(other, text).outcome.is_equal();
    assert_eq!(there, back, "{text:?} {other:?}");
}

/// Nodes that share their parts, as text can not.
fn nodes(random: &mut Random) -> Vec<WireNode> {
    const LEAVES: &[&str] =
        &["number 2", "number -7/3", "decimal 1/2", "symbol x", "symbol y", "constant pi"];
    const KINDS: &[&str] = &[
        "add",
        "mul",
        "pow",
        "set",
        "tuple",
        "union",
        "intersection",
        "chain",
        "apply sin",
        "apply Abs",
        "apply log",
        "apply factorial",
        "apply Max",
        "apply transpose",
        "apply det",
        "call f",
        "percent",
        "not",
        "interval (]",
        "difference",
        "relation Eq",
        "relation <",
        "bind Sum",
        "bind Product",
        "bind Derivative",
        "bind Limit",
        "matrix 2x1",
        "matrix 1x1",
    ];
    let mut nodes: Vec<WireNode> = Vec::new();
    let most = if random.below(8) == 0 { 400 } else { 12 };
    let count = 2 + random.below(most);
    // Often one kind over and over, on the node before.
    let favourite = random.pick(KINDS);
    let tower = random.below(2) == 0;
    for at in 0..count as u32 {
        let leaf = at < 2 || random.below(6) == 0 && !tower;
        let named = match (leaf, tower && random.below(10) > 0) {
            (true, _) => random.pick(LEAVES),
            (false, true) => favourite,
            (false, false) => random.pick(KINDS),
        };
        let (kind, data) = named.split_once(' ').unwrap_or((named, ""));
        let arity = match (kind, data) {
            _ if leaf => 0,
            ("bind", "Derivative") | ("apply", "log") => 2,
            ("bind", "Limit") => 3,
            ("bind", _) => 4,
            ("apply" | "percent" | "not", _) | ("matrix", "1x1") => 1,
            ("pow" | "interval" | "difference" | "relation" | "matrix", _) => 2,
            _ => 1 + random.below(3),
        };
        let kids = (0..arity).map(|kid| {
            let last = at.saturating_sub(1);
            if kid == 1 && kind == "bind" {
                random.below(2) as u32
            } else if tower || random.below(2) == 0 {
                last
            } else {
                random.below(at.max(1) as usize) as u32
            }
        });
        nodes.push((kind.to_string(), data.to_string(), kids.collect()));
    }
    nodes
}

/// `add 0 0; mul 1 1`
fn brief(pair: &[Vec<WireNode>; 2]) -> String {
    let node = |(kind, data, kids): &WireNode| format!("{kind} {data} {kids:?}");
    let list = |nodes: &Vec<WireNode>| nodes.iter().map(node).collect::<Vec<_>>().join("; ");
    format!("{} AGAINST {}", list(&pair[0]), list(&pair[1]))
}

fn built(checker: &Checker, pair: &[Vec<WireNode>; 2]) {
    let answers: Vec<Answer> = pair
        .iter()
        .filter_map(|nodes| wire::from_wire(nodes))
        .map(|(arena, root)| {
            assert!(print::to_str(&arena, root).len() < LONGEST_PRINT);
            assert!(print::to_srepr(&arena, root).len() < LONGEST_PRINT);
            let parsed = Parsed { arena, root, complex: false };
            Answer { candidates: vec![Candidate::Parsed(parsed)], ..Answer::default() }
        })
        .collect();
    for gold in &answers {
        for pred in &answers {
            checker.outcome(gold, pred);
        }
    }
}

fn groups(checker: &Checker, texts: &[&str]) {
    let groups = checker.cluster(texts);
    assert_eq!(groups.len(), texts.len());
    let mut next = 0;
    for (place, &group) in groups.iter().enumerate() {
        assert!((-1..=next).contains(&group), "{texts:?}: {groups:?}");
        next = next.max(group + 1);
        let twin = texts[..place].iter().position(|text| *text == texts[place]);
        if let Some(twin) = twin {
            assert!(groups[twin] == group, "{texts:?}: {groups:?}");
        }
    }
}
