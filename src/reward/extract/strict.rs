//! Extraction for the profile in which the truth counts: answers that a reader sees though
//! Math-Verify does not, and no answers in responses that were cut off before one.
//!
//! The candidates are those of [`for_each_match`], with a few before some of them. Each addition
//! is for a way to state an answer that leaves no doubt, and is looked for at the end of the text
//! alone; where none applies, the two profiles see the same.

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};

use super::anchors::anchors;
use super::text::{Text, is_space, last_place};
use super::{Found, Match, Piece, for_each_match, tail};
use crate::reward::budget::MAX_EXPRESSION;
use crate::reward::config::{Boxed, Target};
use crate::reward::normalize::{boxed_content, last_equation};

/// Words that state the answer come before all else: they only count if they are the gold's.
const WORDS: i32 = -1;
/// Conclusions come before what stands somewhere after the word "answer".
const CONCLUSION: i32 = 90;
/// From here on, what is found may be no answer at all.
const UNSURE: i32 = 100;
/// Conclusions are looked for in this much of the text's end.
const END: usize = 600;
/// A whole text not longer than this may be the answer in words.
const SHORT: usize = 200;

type Visit<'v> = dyn FnMut(i32, Match) -> ControlFlow<()> + 'v;

/// Like [`for_each_match`], with the additions and refusals of the strict profile.
///
/// Ranges are those of the text. A number may begin with the minus sign `−` instead of a hyphen.
/// [`Found::Text`] is to be compared with the gold's words, and passed over if it differs.
pub fn for_each_strict_match(text: &str, targets: &[Target], visit: &mut Visit) {
    let offset = tail(text);
    let Some(original) = text.get(offset..) else { return };
    let plain = plain_signs(original);
    let strict = Strict::new(&plain, targets);
    let mut visit = |priority, place| {
        let place = strict.tidy(priority, place);
        visit(priority, shift(original, offset, place))
    };
    let mut stages = stages(targets).into_iter().peekable();
    let mut run = |until: i32, visit: &mut Visit| {
        while let Some((priority, stage)) = stages.next_if(|(priority, _)| *priority <= until) {
            for place in stage(&strict) {
                visit(priority, place)?;
            }
        }
        ControlFlow::Continue(())
    };
    let mut stopped = false;
    let mut cut_off = None;
    for_each_match(&plain, targets, &mut |priority, place| {
        let stop = run(priority, &mut visit).is_break()
            || priority >= UNSURE && *cut_off.get_or_insert_with(|| strict.cut_off())
            || visit(priority, place).is_break();
        stopped |= stop;
        if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if !stopped {
        // Nothing comes after this, so it is the same whether the last stage stops or not.
        let _ = run(i32::MAX, &mut visit);
    }
}

/// The same place in the text of which `original` is the end. What was a sign of one byte may be
/// one of three there.
fn shift(original: &str, offset: usize, place: Match) -> Match {
    let at = |mut at: usize| {
        while !original.is_char_boundary(at) {
            at -= 1;
        }
        offset + at
    };
    let range = |r: Range<usize>| at(r.start)..at(r.end);
    let piece = |piece: Piece| Piece { text: range(piece.text), ..piece };
    let found = match place.found {
        Found::Latex(pieces) => Found::Latex(pieces.into_iter().map(piece).collect()),
        Found::Number { integer, decimal, percent } => {
            Found::Number { integer: range(integer), decimal: range(decimal), percent }
        }
        Found::Arithmetic(r) => Found::Arithmetic(range(r)),
        Found::Choice(r) => Found::Choice(range(r)),
        Found::Text(r) => Found::Text(range(r)),
    };
    Match { span: range(place.span), found, ..place }
}

/// The text with `−` as a hyphen and without the `+` of a positive number, each filled up with
/// spaces, so that everything else stays in its place.
fn plain_signs(text: &str) -> Cow<'_, str> {
    let mut plain = Cow::Borrowed(text);
    if memchr::memmem::find(text.as_bytes(), "−".as_bytes()).is_some() {
        plain = Cow::Owned(text.replace('−', "  -"));
    }
    let positive: Vec<usize> =
        memchr::memchr_iter(b'+', plain.as_bytes()).filter(|&at| is_sign(&plain, at)).collect();
    if !positive.is_empty() {
        let mut from = 0;
        let mut without = String::with_capacity(plain.len());
        for at in positive {
            without.push_str(&plain[from..at]);
            without.push(' ');
            from = at + 1;
        }
        without.push_str(&plain[from..]);
        plain = Cow::Owned(without);
    }
    plain
}

/// Whether the `+` there is a sign: nothing stands before it that could be added to.
fn is_sign(text: &str, at: usize) -> bool {
    let text = Text::new(text);
    if text.digit(at + 1) == 0 {
        return false;
    }
    // One space at most: what is further away is no matter of notation.
    let before = at - usize::from(text.byte_before(at) == b' ');
    let ends = |word: &str| text.bytes.get(..before).is_some_and(|b| b.ends_with(word.as_bytes()));
    before == 0 || ends(" is") || ends(":") || ends("=") || ends("**") && before == 2
}

struct Strict<'t> {
    text: Text<'t>,
    /// Which target is for LaTeX, if one is; and for plain numbers.
    latex: Option<usize>,
    numbers: Option<usize>,
    targets: &'t [Target],
}

type Stage = fn(&Strict) -> Vec<Match>;

/// What is added, by the priority before which it is visited.
fn stages(targets: &[Target]) -> Vec<(i32, Stage)> {
    let boxed = targets.iter().find_map(|target| match target {
        Target::Latex(latex) => Some(latex.boxed_match_priority),
        _ => None,
    });
    let Some(boxed) = boxed else { return Vec::new() };
    let mut stages: Vec<(i32, Stage)> =
        vec![(WORDS, |text| text.words()), (CONCLUSION, |text| text.conclusions())];
    if boxed >= 0 {
        stages.push((boxed, |text| text.unusual_box()));
    }
    stages.sort_by_key(|(priority, _)| *priority);
    stages
}

/// The last box of a text.
struct LastBox {
    start: usize,
    /// What is in it; to the end of the text if nothing closes it.
    content: Range<usize>,
    closed: bool,
    /// With a backslash, and not `\fbox`, so that it is found anyway.
    usual: bool,
}

impl<'t> Strict<'t> {
    fn new(text: &'t str, targets: &'t [Target]) -> Self {
        let latex = targets.iter().position(|target| matches!(target, Target::Latex(_)));
        let numbers = targets.iter().position(|target| matches!(target, Target::Expr(_)));
        Self { text: Text::new(text), latex, numbers, targets }
    }

    /// `found`, for the LaTeX target.
    fn place(&self, span: Range<usize>, found: Found) -> Match {
        Match { span, target: self.latex.unwrap_or(0), found }
    }

    fn latex(&self, text: Range<usize>) -> Match {
        let piece = Piece { text: text.clone(), percent: false, bare_box: false };
        self.place(text, Found::Latex(vec![piece]))
    }

    fn slice(&self, range: Range<usize>) -> &'t str {
        self.text.str.get(range).unwrap_or("")
    }

    /// The range without white space around it.
    fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        let text = self.slice(range.clone());
        let start = range.start + text.len() - text.trim_start_matches(is_space).len();
        start..start + text.trim_matches(is_space).len()
    }

    /// What is given as the answer in so many words: the last box, what follows "final answer is",
    /// or a whole short text.
    fn words(&self) -> Vec<Match> {
        let mut words = Vec::new();
        let mut add = |range: Range<usize>| {
            let range = self.trimmed(range);
            if !range.is_empty() && range.len() <= MAX_EXPRESSION {
                words.push(self.place(range.clone(), Found::Text(range)));
            }
        };
        let end = self.text.len();
        if let Some(last) = self.last_box() {
            // One of several boxes is not the answer.
            let content = self.slice(self.trimmed(last.content.clone()));
            if last.closed && (!last.usual || boxed_content(self.text.str, Boxed::Last) == content)
            {
                add(last.content);
            }
        } else if let Some(at) = self.final_answer_is() {
            let statement = self.trimmed(at..end);
            let sentence = sentence_end(self.text, statement.start);
            if sentence < statement.end {
                add(statement.start..sentence);
            }
            add(statement);
        } else if let Some(at) = self.answer_is() {
            add(at..sentence_end(self.text, at));
        } else if end <= SHORT && !self.text.str.contains('\n') {
            add(0..end);
        }
        words
    }

    /// After the last "final answer is".
    fn final_answer_is(&self) -> Option<usize> {
        let from = self.text.len().saturating_sub(MAX_EXPRESSION);
        let from = (from..=self.text.len()).find(|&at| self.text.str.is_char_boundary(at))?;
        let end = Text::new(self.slice(from..self.text.len()));
        let last = anchors(end).into_iter().rev().find_map(|anchor| anchor.after_final_is(end));
        last.map(|at| from + at)
    }

    /// After "answer is", if the text's last sentence says so.
    fn answer_is(&self) -> Option<usize> {
        let end = self.end();
        let last = self.slice(end.clone());
        let at = ["answer is ", "Answer is ", "answer: ", "Answer: ", "answer:** ", "Answer:** "]
            .iter()
            .filter_map(|words| Some(last.rfind(words)? + words.len()))
            .max()?;
        let at = end.start + at;
        (sentence_end(self.text, at) + 1 >= end.end).then_some(at)
    }

    fn last_box(&self) -> Option<LastBox> {
        let text = self.text;
        let mut end = text.len();
        memchr::memmem::find(text.bytes, b"box")?;
        while let Some(at) = memchr::memmem::rfind(text.bytes.get(..end)?, b"box") {
            end = at;
            let (start, open) = if text.starts(at, "boxed") {
                (at, text.skip_space(at + "boxed".len()))
            } else if text.starts(at.saturating_sub(1), "fbox") && at > 0 {
                (at - 1, text.skip_space(at + "box".len()))
            } else {
                continue;
            };
            let command = text.byte_before(start) == b'\\';
            let word = text.char_before(start).is_some_and(char::is_alphanumeric);
            if text.byte(open) != b'{' || word || !command && text.byte(start) == b'f' {
                continue;
            }
            let close = closing_brace(text, open);
            return Some(LastBox {
                start: start - usize::from(command),
                content: open + 1..close.unwrap_or(text.len()),
                closed: close.is_some(),
                usual: command && text.byte(start) == b'b',
            });
        }
        None
    }

    /// The last box, if it is `boxed{..}`, `\fbox{..}`, not closed, or holds a letter with a
    /// parenthesis and the text of that choice.
    fn unusual_box(&self) -> Vec<Match> {
        let Some(last) = self.last_box() else { return Vec::new() };
        let mut content = self.trimmed(last.content.clone());
        if !last.closed {
            let cut = self.slice(content.clone());
            let closers: &[_] = &['$', '.', ' ', '\n', '\\', ')', ']'];
            if cut.contains("\n\n") {
                return Vec::new();
            }
            // A parenthesis may belong to the answer; with a backslash, it ends the formula.
            let formula = cut.trim_end_matches(is_space);
            let ends = ["\\)", "\\]", "$", "."];
            if ends.iter().any(|end| formula.ends_with(end)) {
                content.end = content.start + formula.trim_end_matches(closers).len();
            }
        }
        let span = last.start..last.content.end;
        if let Some(letter) = choice_with_text(self.text, &content) {
            return vec![Match { span, ..self.latex(letter) }];
        }
        if last.closed && last.usual || content.is_empty() {
            return Vec::new();
        }
        vec![Match { span, ..self.latex(content) }]
    }

    /// Answers that the end of the text states.
    fn conclusions(&self) -> Vec<Match> {
        let end = self.end();
        let mut found = Vec::new();
        found.extend(self.choice(end.clone()).map(|letter| self.latex(letter)));
        found.extend(self.is_the_answer(end.clone()));
        if let Some(conclusion) = self.therefore(end) {
            let part = self.slice(conclusion.clone());
            for_each_match(part, self.targets, &mut |_, place| {
                found.push(shift(part, conclusion.start, place));
                ControlFlow::Continue(())
            });
        }
        found
    }

    /// The last paragraphs, [`END`] bytes at most.
    fn end(&self) -> Range<usize> {
        let end = self.trimmed(0..self.text.len()).end;
        let mut start = end.saturating_sub(END);
        while !self.text.str.is_char_boundary(start) {
            start += 1;
        }
        start..end
    }

    /// A letter alone in the last line, or after "option" and the like.
    fn choice(&self, end: Range<usize>) -> Option<Range<usize>> {
        let text = self.text;
        let line = memchr::memrchr(b'\n', self.slice(end.clone()).as_bytes());
        let line = line.map_or(end.start, |newline| end.start + newline + 1);
        let marks: &[_] = &['*', '(', ')', '.', ' '];
        let last = self.slice(line..end.end).trim_start_matches(marks);
        let letter = end.end - last.len();
        let whole_line = line == 0 || text.byte_before(line) == b'\n';
        if whole_line && last.trim_end_matches(marks).len() == 1 && is_choice(text.byte(letter)) {
            return Some(letter..letter + 1);
        }
        let letters = end.clone().rev().filter(|&at| is_choice(text.byte(at)));
        letters.map(|at| at..at + 1).find(|letter| self.announces_choice(&end, letter.start))
    }

    /// Whether "option", "choice" or "answer is" stands before the letter, and no formula after it.
    fn announces_choice(&self, end: &Range<usize>, letter: usize) -> bool {
        let text = self.text;
        let before = self.slice(end.start..letter);
        let bare = before.strip_suffix('(').unwrap_or(before);
        let in_parentheses = bare.len() < before.len() && text.byte(letter + 1) == b')';
        let bare = bare.strip_suffix("**").unwrap_or(bare);
        let spaced = bare.trim_end_matches(' ');
        if bare.len() < before.len() && !in_parentheses && before.ends_with('(')
            || spaced.len() == bare.len()
        {
            return false;
        }
        let is = [" is:", " is", ":"].iter().find_map(|is| spaced.strip_suffix(is));
        let word = is.unwrap_or(spaced);
        let ends = |end: &str| {
            let start = word.len().checked_sub(end.len()).and_then(|start| word.get(start..));
            start.is_some_and(|start| start.eq_ignore_ascii_case(end))
        };
        let announced = ends("option") || ends("choice") || is.is_some() && ends("answer");
        let after = self.slice(letter + 1..end.end);
        let after = after.strip_prefix("**").unwrap_or(after);
        let ended = after.is_empty() || after.starts_with(['.', ',', ';', ':', '\n']);
        announced && (in_parentheses || ended || after.starts_with(" is "))
    }

    /// What stands before "is the correct answer".
    fn is_the_answer(&self, end: Range<usize>) -> Option<Match> {
        let statement = self.slice(end.clone());
        let before = ["correct ", "right ", "final ", ""].iter().find_map(|kind| {
            let (before, after) = statement.rsplit_once(&format!(" is the {kind}answer"))?;
            let last = after.trim_end_matches(['.', '!', ')', ' ']);
            last.is_empty().then_some(end.start + before.len())
        })?;
        let text = self.text;
        for (open, close) in [("\\(", "\\)"), ("$", "$")] {
            if let Some(formula) = self.slice(end.start..before).strip_suffix(close) {
                let content = end.start + formula.rfind(open)? + open.len();
                return Some(self.latex(content..end.start + formula.len()));
            }
        }
        let mut start = before;
        while start > 0 && matches!(text.byte(start - 1), b'0'..=b'9' | b'.' | b',' | b'-') {
            start -= 1;
        }
        let alone = start == 0 || text.char_before(start).is_some_and(is_space);
        let (integer, decimal) = split_number(text, start..before)?;
        let found = Found::Number { integer, decimal, percent: false };
        alone.then_some(Match { span: start..before, target: self.numbers?, found })
    }

    /// The last sentence, if it draws a conclusion in which a value stands, and speaks of no
    /// answer, for which there are other rules.
    fn therefore(&self, end: Range<usize>) -> Option<Range<usize>> {
        let text = self.text;
        let part = self.slice(end.clone());
        let paragraph = part.rfind("\n\n").map_or(0, |at| at + "\n\n".len());
        let words = ["Therefore", "Thus", "Hence", "So"];
        let begins = |at: &usize| {
            let before = self.slice(end.start + paragraph..end.start + at);
            before.is_empty() || before.ends_with(". ") || before.ends_with('\n')
        };
        let last = |word: &&str| part.get(paragraph..)?.rfind(*word).map(|at| paragraph + at);
        let start = words.iter().filter_map(last).filter(begins).max()?;
        let conclusion = end.start + start..end.end;
        let sentence = self.slice(conclusion.clone());
        let whole = end.start == 0 || paragraph > 0 || start > 0;
        let is_value = sentence.contains(" is ") || sentence.contains('=');
        let one = sentence_end(text, conclusion.start) + 1 >= conclusion.end;
        let no_answer = anchors(Text::new(sentence)).is_empty();
        (whole && is_value && one && no_answer && sentence.ends_with('.')).then_some(conclusion)
    }

    /// Whether the text ends in the middle of a formula.
    fn cut_off(&self) -> bool {
        let text = self.text.str.trim_end_matches(is_space);
        let open = |open: &str, close: &str| {
            last_place(text.as_bytes(), open).is_some_and(|at| {
                let escaped = self.text.byte_before(at) == b'\\';
                !escaped && !text.get(at..).is_some_and(|rest| rest.contains(close))
            })
        };
        let line = Text::new(text.rsplit('\n').next().unwrap_or(""));
        let dollars =
            || memchr::memchr_iter(b'$', line.bytes).filter(|&at| line.byte_before(at) != b'\\');
        // One that nothing pairs may be money, or close what was paired wrongly.
        let formula = |at: usize| {
            let next = line.byte(at + 1);
            next == b'\\' || next.is_ascii_alphabetic()
        };
        let dollar = dollars().count() % 2 == 1 && dollars().next_back().is_some_and(formula);
        let operator = text.ends_with(['+', '*', '/', '^', '(', '-']) && !text.ends_with("**");
        open("\\(", "\\)") || open("\\[", "\\]") || dollar || operator && text.len() > SHORT
    }

    /// The place with less around the answer: without the box, when there is nothing else, a full
    /// stop, or the units in a chain of equations.
    fn tidy(&self, priority: i32, place: Match) -> Match {
        let Found::Latex(mut pieces) = place.found else { return place };
        for piece in &mut pieces {
            let mut range = self.trimmed(piece.text.clone());
            if let Some(content) = self.only_box(&range) {
                range = content;
                piece.bare_box = false;
            }
            let latex = self.slice(range.clone());
            if let Some(rest) = latex.strip_suffix('.').filter(|rest| may_end_sentence(rest)) {
                range.end = range.start + rest.len();
            }
            if priority >= UNSURE
                && let Some(last) = last_equation(self.slice(range.clone()))
                && self.slice(range.start..range.end - last.len()).contains("\\text")
            {
                range.start = range.end - last.len();
            }
            piece.text = range;
        }
        Match { found: Found::Latex(pieces), ..place }
    }

    /// What is in the box, if the range is one box.
    fn only_box(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let latex = Text::new(self.slice(range.clone()));
        let open = latex.starts(0, "\\boxed{").then_some("\\boxed".len())?;
        let close = closing_brace(latex, open)?;
        let content = range.start + open + 1..range.start + close;
        (close + 1 == latex.len() && open + 1 < close).then_some(self.trimmed(content))
    }
}

/// The brace that closes the one at `open`.
fn closing_brace(text: Text, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    memchr::memchr2_iter(b'{', b'}', text.bytes.get(open..)?).find_map(|i| {
        if text.byte(open + i) == b'{' {
            depth += 1;
        } else {
            depth = depth.saturating_sub(1);
        }
        (depth == 0).then_some(open + i)
    })
}

/// Where the sentence that begins there ends, before its full stop.
fn sentence_end(text: Text, start: usize) -> usize {
    let mut at = start;
    while let Some(mark) = text.bytes.get(at..).and_then(|rest| memchr::memchr2(b'.', b'\n', rest))
    {
        let end = at + mark;
        if text.byte(end) == b'\n' || end + 1 == text.len() || text.space(end + 1) > 0 {
            return end;
        }
        at = end + 1;
    }
    text.len()
}

/// Whether a full stop after this is one: not after `\right`, not the last of three.
fn may_end_sentence(latex: &str) -> bool {
    let command = latex.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    !latex.is_empty() && !latex.ends_with('.') && !command.ends_with('\\')
}

/// Letters of multiple choice.
fn is_choice(letter: u8) -> bool {
    letter.is_ascii_uppercase() && letter <= b'H'
}

/// The letter of `C) 5`, `\text{C) } 5` and `(C) five`, but not of `(C)`, which is understood, nor
/// of products such as `(A)(B)`.
fn choice_with_text(text: Text, content: &Range<usize>) -> Option<Range<usize>> {
    let mut at = content.start;
    for font in ["\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{"] {
        if text.starts(at, font) {
            at += font.len();
        }
    }
    let open = usize::from(text.byte(at) == b'(');
    let letter = at + open;
    if !is_choice(text.byte(letter)) || text.byte(letter + 1) != b')' || letter + 2 > content.end {
        return None;
    }
    let rest = text.str.get(letter + 2..content.end)?;
    let words = rest.trim_start_matches(|c| c == '}' || is_space(c));
    let apart = words.len() < rest.len() && words.starts_with(|c: char| c.is_ascii_alphanumeric());
    let is_text = apart || words.starts_with("\\text");
    (open == 0 && (words.is_empty() || words.len() < rest.len()) || is_text)
        .then_some(letter..letter + 1)
}

/// Digits before the decimal point, and the point with those after it.
fn split_number(text: Text, number: Range<usize>) -> Option<(Range<usize>, Range<usize>)> {
    let digits = text.str.get(number.clone())?;
    let point = digits.find('.').unwrap_or(digits.len());
    let (integer, decimal) = digits.split_at_checked(point)?;
    let unsigned = integer.strip_prefix('-').unwrap_or(integer);
    let well_formed = !unsigned.is_empty()
        && unsigned.bytes().all(|b| b.is_ascii_digit() || b == b',')
        && unsigned.as_bytes().first().is_some_and(u8::is_ascii_digit)
        && decimal.bytes().skip(1).all(|b| b.is_ascii_digit())
        && decimal.len() != 1;
    let middle = number.start + point;
    well_formed.then_some((number.start..middle, middle..number.end))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reward::config::{ExprTarget, LatexTarget};

    fn targets() -> [Target; 2] {
        [Target::Latex(LatexTarget::default()), Target::Expr(ExprTarget::default())]
    }

    fn all(text: &str) -> Vec<(i32, Match)> {
        let mut all = Vec::new();
        for_each_strict_match(text, &targets(), &mut |priority, place| {
            all.push((priority, place));
            ControlFlow::Continue(())
        });
        all
    }

    fn ranges(found: &Found) -> Vec<Range<usize>> {
        match found {
            Found::Latex(pieces) => pieces.iter().map(|piece| piece.text.clone()).collect(),
            Found::Number { integer, decimal, .. } => vec![integer.clone(), decimal.clone()],
            Found::Arithmetic(range) | Found::Choice(range) | Found::Text(range) => {
                vec![range.clone()]
            }
        }
    }

    /// The first that is not words.
    fn best(text: &str) -> String {
        let all = all(text);
        let best = all.iter().find(|(_, place)| !matches!(place.found, Found::Text(_)));
        let ranges = best.map(|(_, place)| ranges(&place.found)).unwrap_or_default();
        ranges.into_iter().map(|range| &text[range]).collect()
    }

    fn words(text: &str) -> Vec<&str> {
        let words = all(text).into_iter().filter_map(|(_, place)| match place.found {
            Found::Text(range) => Some(&text[range]),
            _ => None,
        });
        words.collect()
    }

    fn check(cases: &[(&str, &str)]) {
        for (text, expected) in cases {
            assert_eq!(best(text), *expected, "{text}");
        }
    }

    #[test]
    fn unusual_boxes() {
        check(&[
            ("so boxed{42}.", "42"),
            ("so \\fbox{42}", "42"),
            ("so $\\boxed{42", "42"),
            ("so \\(\\boxed{(1, 2)\\)", "(1, 2"),
            ("\\boxed{1} no, boxed{2}", "2"),
            ("\\boxed{C) 5}", "C"),
            ("\\boxed{\\text{C) } five}", "C"),
            ("\\boxed{(C) \\text{five}}", "C"),
            ("\\boxed{(C)}", "(C)"),
            ("\\boxed{(A)(B)}", "(A)(B)"),
            ("$\\boxed{42.}$", "42"),
            ("$\\boxed{0.5}$", "0.5"),
            ("unboxed{3} 4", "4"),
        ]);
    }

    #[test]
    fn choices() {
        check(&[
            ("Add 1 and 2.\n\n**C**", "C"),
            ("(C)", "C"),
            ("C)", "C"),
            ("With 3 of them, option C is correct.", "C"),
            ("Of all 4, the right option is (C) Five.\n\nThat is it.", "C"),
            ("After 2 steps, the answer is **B**.", "B"),
            ("the answer is A + 2", "2"),
            ("Plan B needs 7 men", "7"),
        ]);
    }

    #[test]
    fn conclusions() {
        check(&[
            ("The answer was 7 at first. I see that 44 is the correct answer.", "44"),
            ("The answer was 7, but \\(x^2\\) is the answer.", "x^2"),
            ("An answer of 5 is odd.\n\nTherefore, the value of n is 3.", "3"),
            ("An answer of 5 is odd.\n\nThe value of n is 3.", "5"),
            ("so\n\\[ a \\text{ m} = b \\text{ m} = 36 \\text{ mL} \\]", " 36 \\text{ mL}"),
        ]);
    }

    #[test]
    fn signs() {
        check(&[
            ("−42", "−42"),
            ("+42", "42"),
            ("that is −1,234.5", "−1,234.5"),
            ("so $3 − x$", "3 − x"),
            ("that is 5 +42 now", "5 +42"),
            ("the sum is: +7", "7"),
        ]);
    }

    #[test]
    fn words_that_state_the_answer() {
        let cases: [(&str, &[&str]); 6] = [
            ("So, the final answer is east. Done", &["east", "east. Done"]),
            ("The final answer is $x$ for $y > 0.5$", &["$x$ for $y > 0.5$"]),
            ("forty-two", &["forty-two"]),
            ("So \\boxed{all reals}", &["all reals"]),
            ("\\boxed{1} or \\boxed{2}", &[]),
            ("The final answer is 1. No, \\boxed{2}", &["2"]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn cut_off_responses_have_no_answer() {
        let long = "We add some numbers. ".repeat(20);
        for text in ["The answer may be 6. Now \\(x", "Is it 5? \\[ 2", "and 3 $x +"] {
            assert_eq!(best(text), "", "{text}");
        }
        assert_eq!(best(&format!("{long} L = 2: 2*(6-")), "");
        for text in ["cost: $42", "so \\(x\\) costs 5$", "\\(x\\) is 3", "it is **3**"] {
            assert_ne!(best(text), "", "{text}");
        }
        assert_eq!(best("\\boxed{7}, for \\(x"), "7");
    }

    #[test]
    fn other_texts_are_read_as_by_math_verify() {
        let text = "First $1$, then 2 and 3/4. The answer is $5$ or 6. We have 7";
        let mut usual = Vec::new();
        for_each_match(text, &targets(), &mut |priority, place| {
            usual.push((priority, place));
            ControlFlow::Continue(())
        });
        let strict = all(text);
        let hard = strict.into_iter().filter(|(_, place)| !matches!(place.found, Found::Text(_)));
        assert_eq!(hard.collect::<Vec<_>>(), usual);
    }

    const FRAGMENTS: [&str; 34] = [
        "boxed{",
        "\\boxed{",
        "\\fbox{",
        "}",
        "C)",
        "(C)",
        "**C**",
        "option ",
        "answer is ",
        "final ",
        "−",
        "+",
        "4",
        " 4",
        "2.5",
        " is the correct answer",
        ".",
        ". ",
        "\n",
        "\n\n",
        "Therefore, ",
        " is ",
        "=",
        "$",
        "\\(",
        "\\)",
        "\\[",
        "\\]",
        "\\text{",
        "é",
        "\u{3000}",
        "\\right.",
        ":",
        "I hope",
    ];

    proptest! {
        #[test]
        fn ranges_lie_in_the_text(
            parts in proptest::collection::vec(0..FRAGMENTS.len(), 0..30),
            long in 0..16,
        ) {
            let mut text: String = parts.iter().map(|&i| FRAGMENTS[i]).collect();
            if long == 0 {
                text.insert_str(0, &"é − 1 ".repeat(super::super::MAX_INPUT / 8));
            }
            let mut found = Vec::new();
            for_each_strict_match(&text, &targets(), &mut |_, place| {
                found.push(place);
                if found.len() < 40 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            for place in found {
                prop_assert!(text.get(place.span.clone()).is_some());
                for range in ranges(&place.found) {
                    prop_assert!(text.get(range).is_some(), "{:?}", place);
                }
            }
        }
    }

    #[test]
    fn floods_end() {
        for fragment in FRAGMENTS {
            let flood = fragment.repeat(super::super::MAX_INPUT / fragment.len());
            for_each_strict_match(&flood, &targets(), &mut |_, _| ControlFlow::Continue(()));
        }
    }
}
