//! The checker as its users see it: settings, answers, verdicts, and scores of whole batches.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::answer;
use super::budget::{Budget, DEFAULT_WORK};
use super::config::{Reading, Target};
use super::conventions::Conventions;
use super::extract::{for_each_match, for_each_strict_match};
use super::latex::Dialect;
use super::read::{Answer, Candidate, Source, read};
use super::verbatim;
use super::verdict::{Outcome, Reason, Rule};
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
    /// Whose conventions these began as.
    pub profile: Profile,
    /// How a gold answer is read.
    pub reading_gold: Reading,
    /// How a response is read.
    pub reading_pred: Reading,
    /// How LaTeX is understood.
    pub dialect: Dialect,
    /// When answers are the same.
    pub conventions: Conventions,
    /// Work units for one comparison.
    pub work: u64,
}

/// Where a flag lies in the settings.
type Flag = fn(&mut Settings) -> &mut bool;

impl Settings {
    /// The settings that Python passes as keyword arguments, by name.
    pub const FLAGS: &[(&'static str, Flag)] = &[
        ("strict_variables", |settings| &mut settings.conventions.strict_variables),
        ("allow_set_relation_comp", |settings| &mut settings.conventions.allow_set_relation_comp),
        ("numeric_shortcut", |settings| &mut settings.conventions.numeric_shortcut),
        ("percent_as_number", |settings| &mut settings.conventions.percent_as_number),
        ("sets_are_not_tuples", |settings| &mut settings.conventions.sets_are_not_tuples),
        ("duplicates_count", |settings| &mut settings.conventions.duplicates_count),
        ("reject_false_equations", |settings| &mut settings.conventions.reject_false_equations),
        ("same_solutions", |settings| &mut settings.conventions.same_solutions),
        ("numeric_equations_alike", |settings| &mut settings.conventions.numeric_equations_alike),
        ("free_chains", |settings| &mut settings.conventions.free_chains),
        ("words_have_values", |settings| &mut settings.conventions.words_have_values),
        ("extra_percent_sign", |settings| &mut settings.conventions.extra_percent_sign),
        ("solution_golds", |settings| &mut settings.conventions.solution_golds),
        ("answer_after_thinking", |settings| &mut settings.conventions.answer_after_thinking),
        ("prose_verbatim", |settings| &mut settings.conventions.prose_verbatim),
        ("bound_names", |settings| &mut settings.conventions.bound_names),
        ("lenient", |settings| &mut settings.dialect.lenient),
        ("proper_mixed_numbers", |settings| &mut settings.dialect.proper_mixed_numbers),
        ("keep_bases", |settings| &mut settings.dialect.keep_bases),
        ("imaginary_i", |settings| &mut settings.dialect.imaginary_i),
        ("degrees", |settings| &mut settings.dialect.degrees),
        ("ratios", |settings| &mut settings.dialect.ratios),
    ];

    /// The defaults of a profile.
    pub fn new(profile: Profile) -> Self {
        let (dialect, conventions) = match profile {
            Profile::MathVerify => (Dialect::MATH_VERIFY, Conventions::math_verify()),
            Profile::Strict => (Dialect::STRICT, Conventions::strict()),
        };
        let mut reading_gold = Reading::default();
        if profile == Profile::Strict {
            // A number within a formula that can not be read is not the gold answer.
            reading_gold.targets.retain(|target| matches!(target, Target::Latex(_)));
        }
        Self {
            profile,
            reading_gold,
            reading_pred: Reading::default(),
            dialect,
            conventions,
            work: DEFAULT_WORK,
        }
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
        let solution = self.settings.conventions.solution_golds;
        let stated = if solution { verbatim::stated_answer(text) } else { None };
        let text = stated.as_deref().unwrap_or(text);
        let prose = self.settings.conventions.prose_verbatim && verbatim::is_prose(text);
        let mut delimited = match has_dollar(text) {
            true => Cow::Borrowed(text),
            false => Cow::Owned(format!("${text}$")),
        };
        if self.settings.profile == Profile::Strict && delimited.contains('\n') {
            // A gold that is one formula may take several lines.
            delimited = Cow::Owned(delimited.replace('\n', " "));
        }
        let mut answer =
            read(&delimited, &self.settings.reading_gold, for_each_match, self.settings.dialect);
        if prose {
            answer.prose = Some(text.to_string());
        }
        answer
    }

    /// Reads the answer of a response.
    pub fn parse(&self, text: &str) -> Answer {
        let places = match self.settings.profile {
            Profile::MathVerify => for_each_match,
            Profile::Strict => for_each_strict_match,
        };
        let reading = &self.settings.reading_pred;
        let mut answer = None;
        if self.settings.conventions.answer_after_thinking
            && let Some((_, said)) = text.rsplit_once("</think>")
        {
            // What was only thought counts if nothing is said afterwards.
            let read = read(said, reading, places, self.settings.dialect);
            answer = Some(read).filter(|answer| !answer.candidates.is_empty());
        }
        let mut answer =
            answer.unwrap_or_else(|| read(text, reading, places, self.settings.dialect));
        if self.settings.conventions.prose_verbatim {
            let mut start = text.len().saturating_sub(verbatim::LONGEST);
            while !text.is_char_boundary(start) {
                start += 1;
            }
            answer.end = text.get(start..).map(str::to_string);
        }
        answer
    }

    /// Compares what was read: any reading of the gold with any of the response.
    pub fn outcome(&self, gold: &Answer, pred: &Answer) -> (Outcome, Rule) {
        if let (Some(prose), Some(end)) = (&gold.prose, &pred.end) {
            return match verbatim::ends_with(end, prose) {
                true => (Outcome::Equal, Rule::Text),
                // One of its formulas is not all of it.
                false => (Outcome::Unknown(Reason::Gold), Rule::Text),
            };
        }
        if let (Some(wanted), Some(given)) = (gold.unit, pred.unit)
            && wanted != given
        {
            return (Outcome::NotEqual, Rule::Kind);
        }
        let mut best = None;
        // One budget for all pairs of readings.
        let mut budget = Budget::new(self.settings.work);
        for gold in &gold.candidates {
            for pred in &pred.candidates {
                match (gold, pred) {
                    (Candidate::Parsed(gold), Candidate::Parsed(pred)) => {
                        let conventions = &self.settings.conventions;
                        let found = answer::compare(gold, pred, conventions, &mut budget);
                        if found.0.is_equal() {
                            return found;
                        }
                        best.get_or_insert(found);
                    }
                    (Candidate::Text(gold), Candidate::Text(pred)) => {
                        let (gold, pred) = (gold.trim(), pred.trim());
                        if !gold.is_empty() && gold == pred {
                            return (Outcome::Equal, Rule::Text);
                        }
                    }
                    // What was understood is not compared with what was not.
                    _ => {}
                }
            }
        }
        for gold in &gold.candidates {
            let Candidate::Parsed(gold) = gold else { continue };
            for words in &pred.words {
                let conventions = &self.settings.conventions;
                let found = answer::compare(gold, words, conventions, &mut budget);
                if found.0.is_equal() {
                    return found;
                }
            }
        }
        best.unwrap_or_else(|| (untold(gold, pred), Rule::Text))
    }

    /// As [`Self::outcome`], with what was looked at.
    pub fn compare(&self, gold: &Answer, pred: &Answer) -> Verdict {
        let (outcome, rule) = self.outcome(gold, pred);
        Verdict {
            outcome,
            rule: rule.name(),
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
            let equal = golds.iter().any(|gold| self.outcome(gold, pred).0.is_equal());
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
        self.compare_both(&self.parse_bare(a), &self.parse_bare(b))
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
            let same = |leader: &&Answer| self.same(leader, answer);
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

    fn same(&self, a: &Answer, b: &Answer) -> bool {
        self.outcome(a, b).0.is_equal() || self.outcome(b, a).0.is_equal()
    }

    fn compare_both(&self, a: &Answer, b: &Answer) -> Verdict {
        let verdict = self.compare(a, b);
        if verdict.outcome.is_equal() {
            return verdict;
        }
        match self.outcome(b, a) {
            (Outcome::Equal, rule) => {
                Verdict { outcome: Outcome::Equal, rule: rule.name(), ..verdict }
            }
            _ => verdict,
        }
    }
}

/// What is said where no two formulas could be compared, and no two texts are the same.
fn untold(gold: &Answer, pred: &Answer) -> Outcome {
    let choice = |answer: &Answer| answer.source == Some(Source::Choice);
    if choice(gold) && choice(pred) {
        // One of the strings asked for, but another one.
        return Outcome::NotEqual;
    }
    let understood =
        |answer: &Answer| answer.candidates.iter().any(|c| matches!(c, Candidate::Parsed(_)));
    if !understood(gold) && !choice(gold) {
        return Outcome::Unknown(Reason::Gold);
    }
    Outcome::Unknown(pred.reason.unwrap_or(Reason::Response))
}

/// Whether a text has a dollar sign that is not escaped.
fn has_dollar(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'$', bytes).any(|at| at == 0 || bytes[at - 1] != b'\\')
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
    fn units_that_both_name_must_agree() {
        let same = |gold: &str, pred: &str| {
            checker().check(gold, &format!("\\boxed{{{pred}}}")).outcome == Outcome::Equal
        };
        for (gold, pred) in [
            (r"37\text{ cm}", r"37\text{ m}"),
            (r"4\text{ hours}", r"4\text{ min}"),
            (r"6:10\text{ PM}", r"6:10\text{ a.m.}"),
            (r"85\text{ cents}", r"85\text{ dollars}"),
        ] {
            assert!(!same(gold, pred), "{gold} against {pred}");
        }
        for (gold, pred) in [
            (r"37\text{ cm}", r"37"),
            (r"37", r"37\text{ cm}"),
            (r"37\text{ cm}^2", r"37\text{ square centimeters}"),
            (r"9\text{ miles per hour}", r"9\text{ mph}"),
            (r"6:10\text{ PM}", r"6:10\text{ p.m.}"),
            (r"12\text{ apples}", r"12\text{ pieces}"),
        ] {
            assert!(same(gold, pred), "{gold} against {pred}");
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
