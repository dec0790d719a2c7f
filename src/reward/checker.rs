//! The checker as its users see it: settings, answers, verdicts, and scores of whole batches.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::budget::DEFAULT_WORK;
use super::config::Reading;
use super::expr::Arena;
use super::latex::Parsed;
use super::verdict::{Outcome, Reason};
use super::{print, wire};
use crate::parallel;

/// By whose conventions answers are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Those of Math-Verify, its leniency included.
    MathVerify,
    /// The truth: nothing counts that the response does not present as its answer.
    Strict,
}

impl Profile {
    /// All profiles with their names.
    pub const ALL: [(&'static str, Self); 2] =
        [("strict", Self::Strict), ("math_verify", Self::MathVerify)];
}

/// Everything that a verdict depends on, besides the two texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    /// How a gold answer is read.
    pub reading_gold: Reading,
    /// How a response is read.
    pub reading_pred: Reading,
    /// By whose conventions answers are the same.
    pub profile: Profile,
    /// Decimal places to which the `math_verify` profile rounds.
    pub float_rounding: u32,
    /// Digits to which the `math_verify` profile evaluates.
    pub numeric_precision: u32,
    /// Whether variables matter by name; otherwise by position.
    pub strict_variables: bool,
    /// Whether a relation in the response may equal a set in the gold.
    pub allow_set_relation_comp: bool,
    /// Work units for one comparison.
    pub work: u64,
}

/// Where a flag lies in the settings.
type Flag = fn(&mut Settings) -> &mut bool;

impl Settings {
    /// The settings that Python passes as keyword arguments, by name.
    pub const FLAGS: &[(&'static str, Flag)] = &[
        ("strict_variables", |settings| &mut settings.strict_variables),
        ("allow_set_relation_comp", |settings| &mut settings.allow_set_relation_comp),
    ];

    /// The defaults of a profile.
    pub fn new(profile: Profile) -> Self {
        Self {
            reading_gold: Reading::default(),
            reading_pred: Reading::default(),
            profile,
            float_rounding: 6,
            numeric_precision: 15,
            strict_variables: true,
            allow_set_relation_comp: false,
            work: DEFAULT_WORK,
        }
    }
}

/// What stood at the place that an answer was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// LaTeX.
    Latex,
    /// A plain number.
    Number,
    /// Plain arithmetic.
    Arithmetic,
    /// One of the strings asked for.
    Choice,
}

impl Source {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latex => "latex",
            Self::Number => "number",
            Self::Arithmetic => "arithmetic",
            Self::Choice => "choice",
        }
    }
}

/// One reading of an answer.
#[derive(Debug, Clone)]
pub enum Candidate {
    /// Understood.
    Parsed(Parsed),
    /// Only found, or one of the strings asked for.
    Text(String),
}

/// What was read from a text, best first; nothing if the text has no answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The readings. With [`super::config::Fallback::FirstMatch`] the last is the extracted text.
    pub candidates: Vec<Candidate>,
    /// The text that the answer was read from.
    pub extracted: Option<String>,
    /// What stood there.
    pub source: Option<Source>,
}

impl Answer {
    /// Its first reading, as a person would write it.
    pub fn printed(&self) -> Option<String> {
        self.candidates.first().map(|candidate| match candidate {
            Candidate::Parsed(parsed) => print::to_str(&parsed.arena, parsed.root),
            Candidate::Text(text) => text.clone(),
        })
    }
}

/// What a check says, and what it looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the answers are the same.
    pub outcome: Outcome,
    /// The rule that decided.
    pub rule: &'static str,
    /// The text that the response's answer was read from.
    pub extracted: Option<String>,
    /// The gold answer as it was read.
    pub gold: Option<String>,
    /// The response's answer as it was read.
    pub pred: Option<String>,
}

/// Decides whether responses give the gold answer. Made once, used from any thread.
#[derive(Debug, Clone)]
pub struct Checker {
    settings: Settings,
}

impl Checker {
    /// A checker with these settings.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Reads a gold answer, which need not be delimited.
    pub fn parse_gold(&self, text: &str) -> Answer {
        self.parse(text)
    }

    /// Reads the answer of a response.
    pub fn parse(&self, text: &str) -> Answer {
        let boxed = text.rfind("\\boxed{").and_then(|at| text.get(at + "\\boxed{".len()..));
        let extracted = boxed.and_then(|rest| rest.split('}').next()).unwrap_or(text);
        let extracted = extracted.trim().trim_matches('$').trim();
        if extracted.is_empty() {
            return Answer::default();
        }
        let mut candidates = vec![Candidate::Text(extracted.to_string())];
        if let Some(value) = wire::rational(extracted) {
            let mut arena = Arena::new();
            let root = arena.exact(value);
            candidates.insert(0, Candidate::Parsed(Parsed { arena, root, complex: false }));
        }
        let source = match candidates.len() {
            _ if boxed.is_some() || text.contains('$') => Source::Latex,
            2 => Source::Number,
            _ => Source::Arithmetic,
        };
        Answer { candidates, extracted: Some(extracted.to_string()), source: Some(source) }
    }

    /// Whether any reading of the gold is the same as any of the response, and the rule that says
    /// so. This is all of a comparison; [`Self::compare`] adds what people read.
    fn decide(&self, gold: &Answer, pred: &Answer) -> (Outcome, &'static str) {
        if gold.candidates.is_empty() {
            return (Outcome::Unknown(Reason::Gold), "none");
        }
        if pred.candidates.is_empty() {
            return (Outcome::Unknown(Reason::Response), "none");
        }
        let texts = |answer: &Answer| -> Vec<String> {
            let text = |candidate: &Candidate| match candidate {
                Candidate::Parsed(parsed) => print::to_srepr(&parsed.arena, parsed.root),
                Candidate::Text(text) => text.trim().to_string(),
            };
            answer.candidates.iter().map(text).collect()
        };
        let golds = texts(gold);
        (Outcome::from_bool(texts(pred).iter().any(|pred| golds.contains(pred))), "text")
    }

    /// Compares what was read: any reading of the gold with any of the response.
    pub fn compare(&self, gold: &Answer, pred: &Answer) -> Verdict {
        let (outcome, rule) = self.decide(gold, pred);
        Verdict {
            outcome,
            rule,
            extracted: pred.extracted.clone(),
            gold: gold.printed(),
            pred: pred.printed(),
        }
    }

    /// Whether a response gives the gold answer.
    pub fn check(&self, gold: &str, pred: &str) -> Verdict {
        self.compare(&self.parse_gold(gold), &self.parse(pred))
    }

    /// As [`Self::check`], with every gold answer read once, and without what only people read.
    pub fn score(&self, responses: &[&str], golds: &[&str]) -> Vec<f32> {
        let golds: Vec<&[&str]> = golds.iter().map(std::slice::from_ref).collect();
        self.score_any(responses, &golds, None)
    }

    /// 1 for each response that gives one of its gold answers, 0 for the others; on at most so many
    /// threads. Responses without gold answers get 0.
    pub fn score_any(
        &self,
        responses: &[&str],
        golds: &[&[&str]],
        threads: Option<usize>,
    ) -> Vec<f32> {
        self.each(responses, golds, threads, |golds, pred| {
            let equal = golds.iter().any(|gold| self.decide(gold, pred).0.is_equal());
            f32::from(u8::from(equal))
        })
    }

    /// As [`Self::score_any`], with a verdict for each response: that of the first gold answer that
    /// is equal; if none is, of the first that is unknown; else of the first. Responses without
    /// gold answers are unknown.
    pub fn check_any(
        &self,
        responses: &[&str],
        golds: &[&[&str]],
        threads: Option<usize>,
    ) -> Vec<Verdict> {
        self.each(responses, golds, threads, |golds, pred| {
            let mut best: Option<Verdict> = None;
            for gold in golds {
                let verdict = self.compare(gold, pred);
                match (verdict.outcome, &best) {
                    (Outcome::Equal, _) => return verdict,
                    (_, None) => best = Some(verdict),
                    (Outcome::Unknown(_), Some(held)) if held.outcome == Outcome::NotEqual => {
                        best = Some(verdict);
                    }
                    _ => {}
                }
            }
            best.unwrap_or_else(|| self.compare(&Answer::default(), pred))
        })
    }

    /// Reads every gold answer once, then judges the responses.
    fn each<T: Send>(
        &self,
        responses: &[&str],
        golds: &[&[&str]],
        threads: Option<usize>,
        judge: impl Fn(&[&Answer], &Answer) -> T + Sync + Send,
    ) -> Vec<T> {
        // Samples of one problem share their gold answers.
        let mut places = FxHashMap::default();
        let mut texts: Vec<&str> = Vec::new();
        for &text in golds.iter().copied().flatten() {
            places.entry(text).or_insert_with(|| {
                texts.push(text);
                texts.len() - 1
            });
        }
        let read = for_each(texts.len(), threads, |index| self.parse_gold(texts[index]));
        for_each(responses.len().min(golds.len()), threads, |index| {
            let place = |text: &&str| places.get(text).and_then(|&place| read.get(place));
            let golds: Vec<&Answer> = golds[index].iter().filter_map(place).collect();
            judge(&golds, &self.parse(responses[index]))
        })
    }

    /// Whether two answers are the same, whichever of them is the gold one. Text without an
    /// extractable answer is taken as the answer itself.
    pub fn equivalent(&self, a: &str, b: &str) -> Verdict {
        let (a, b) = (self.parse_bare(a), self.parse_bare(b));
        let (outcome, rule) = self.decide_both(&a, &b);
        Verdict { outcome, rule, ..self.compare(&a, &b) }
    }

    /// Groups answers that are the same: each gets the number of its group, in order of first
    /// appearance, or −1 if nothing could be read.
    pub fn cluster(&self, texts: &[&str]) -> Vec<i64> {
        let answers = for_each(texts.len(), None, |index| self.parse_bare(texts[index]));
        let mut leaders: Vec<&Answer> = Vec::new();
        let mut groups = Vec::with_capacity(answers.len());
        for answer in &answers {
            if answer.candidates.is_empty() {
                groups.push(-1);
                continue;
            }
            let same = |leader: &&Answer| self.decide_both(leader, answer).0.is_equal();
            let group = leaders.iter().position(same).unwrap_or_else(|| {
                leaders.push(answer);
                leaders.len() - 1
            });
            groups.push(group as i64);
        }
        groups
    }

    fn parse_bare(&self, text: &str) -> Answer {
        let answer = self.parse(text);
        if answer.candidates.is_empty() { self.parse_gold(text) } else { answer }
    }

    /// Comparisons need not be symmetric: a gold `x = 1` accepts 1, but a gold 1 may not accept it.
    fn decide_both(&self, a: &Answer, b: &Answer) -> (Outcome, &'static str) {
        let decided = self.decide(a, b);
        let mirrored = if decided.0.is_equal() { decided } else { self.decide(b, a) };
        if mirrored.0.is_equal() { mirrored } else { decided }
    }
}

/// The results of a job for 0, 1, .. in order, computed on at most so many threads.
fn for_each<T: Send>(
    count: usize,
    threads: Option<usize>,
    job: impl Fn(usize) -> T + Sync + Send,
) -> Vec<T> {
    match threads {
        Some(1) => (0..count).map(job).collect(),
        None => parallel::install(|| {
            // Single items: one response may take a thousand times as long as the next.
            (0..count).into_par_iter().with_max_len(16).map(job).collect()
        }),
        Some(threads) => parallel::install(|| {
            // So many workers take the next index until there is none.
            let next = AtomicUsize::new(0);
            let mut done: Vec<(usize, T)> = (0..threads.min(count))
                .into_par_iter()
                .with_max_len(1)
                .flat_map_iter(|_| {
                    let (next, job) = (&next, &job);
                    std::iter::from_fn(move || {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        (index < count).then(|| (index, job(index)))
                    })
                })
                .collect();
            done.sort_unstable_by_key(|(index, _)| *index);
            done.into_iter().map(|(_, result)| result).collect()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checker() -> Checker {
        Checker::new(Settings::new(Profile::Strict))
    }

    #[test]
    fn scores_are_by_index_on_any_number_of_threads() {
        let texts: Vec<String> =
            (0..300).map(|i| format!("so it is \\boxed{{{}}}", i % 7)).collect();
        let responses: Vec<&str> = texts.iter().map(String::as_str).collect();
        let golds: Vec<&[&str]> = (0..300).map(|_| &["5", "3"][..]).collect();
        let expected: Vec<f32> =
            (0..300).map(|i| if i % 7 == 5 || i % 7 == 3 { 1.0 } else { 0.0 }).collect();
        for threads in [None, Some(1), Some(2), Some(3), Some(1000)] {
            assert_eq!(checker().score_any(&responses, &golds, threads), expected);
        }
    }

    #[test]
    fn a_response_without_golds_scores_nothing() {
        assert_eq!(checker().score_any(&["\\boxed{1}"], &[&[]], None), [0.0]);
        assert!(checker().score(&[], &[]).is_empty());
    }

    #[test]
    fn clusters_are_numbered_by_first_appearance() {
        assert_eq!(checker().cluster(&["3", "", "\\boxed{4}", "$3$", "4"]), [0, -1, 1, 0, 1]);
    }
}
