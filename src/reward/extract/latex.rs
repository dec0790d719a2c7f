//! LaTeX in a text: environments, several of them joined, and boxes.

use std::ops::Range;

use super::Piece;
use super::anchors::{Anchor, i_hope};
use super::text::{NOWHERE, Next, Text, is_digit, is_space, last_place};
use super::{How, Place, Places};

/// Most environments joined to a first one.
const MAX_JOINED: usize = 5;
const BOX: &str = "\\boxed{";

/// What an environment must contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Any,
    /// A `\boxed{..}`; a bare fraction does not count as an environment then.
    Box,
}

/// Finds LaTeX in one text. Every search is remembered, so that reading on costs linear time.
pub(super) struct Latex<'a> {
    text: Text<'a>,
    dollars: Next,
    bracket: Next,
    parenthesis: Next,
    newline: Next,
    boxes: Next,
    brace: Next,
}

/// An environment: its content and where its closing delimiter ends.
struct Environment {
    content: Range<usize>,
    end: usize,
}

impl<'a> Latex<'a> {
    pub fn new(text: Text<'a>) -> Self {
        Self {
            text,
            dollars: Next::new("$$"),
            bracket: Next::new("\\]"),
            parenthesis: Next::new("\\)"),
            newline: Next::new("\n"),
            boxes: Next::new(BOX),
            brace: Next::new("}"),
        }
    }

    /// LaTeX announced in this way.
    pub fn find(&mut self, how: How, anchors: &[Anchor], out: &mut Places) {
        match how {
            How::FinalAnswerIHope => self.i_hope(anchors, out),
            How::FinalAnswerIs => self.final_answer_is(anchors, out),
            How::AnswerColon => self.answer(anchors, true, out),
            How::Answer => self.answer(anchors, false, out),
            How::Unannounced => self.unannounced(out),
        }
    }

    fn i_hope(&mut self, anchors: &[Anchor], out: &mut Places) {
        let mut from = 0;
        for anchor in anchors {
            let Some(start) = anchor.final_start.filter(|&s| s >= from) else { continue };
            let Some(at) = anchor.after_final_is(self.text) else { continue };
            let Some(first) = self.first_after_space(at, Content::Any) else { continue };
            // Only the whole word "percentage" can be followed by what must follow.
            let end = self.chain(first, Content::Any, true, &mut |_| {});
            if let Some(end) = end.and_then(|end| i_hope(self.text, end)) {
                from = end;
                let place = Place::Latex { first, content: Content::Any, whole_word: true };
                out.push(start..end, place);
            }
        }
    }

    fn final_answer_is(&mut self, anchors: &[Anchor], out: &mut Places) {
        let mut from = 0;
        for anchor in anchors {
            let Some(start) = anchor.final_start.filter(|&s| s >= from) else { continue };
            for at in anchor.after_final_then_is(self.text, true) {
                let Some(first) = self.first_after_space(at, Content::Any) else { continue };
                from = self.push(start, first, Content::Any, out);
                break;
            }
        }
    }

    fn answer(&mut self, anchors: &[Anchor], colon: bool, out: &mut Places) {
        let mut from = 0;
        let mut first = None;
        for anchor in anchors {
            if anchor.start < from || colon && self.text.byte(anchor.end) != b':' {
                continue;
            }
            let at = anchor.end + usize::from(colon);
            if first.is_none_or(|first| first < at) {
                match self.next_environment(at, self.text.len()) {
                    Some(found) => first = Some(found),
                    None => break,
                }
            }
            if let Some(first) = first.filter(|&f| f <= self.text.after_chars(at, 50)) {
                from = self.push(anchor.start, first, Content::Any, out);
            }
        }
    }

    fn unannounced(&mut self, out: &mut Places) {
        let mut from = 0;
        while let Some(first) = self.next_environment(from, self.text.len()) {
            from = self.push(first, first, Content::Any, out);
        }
    }

    /// Environments with a box in them.
    pub fn boxed(&mut self, out: &mut Places) {
        let mut from = 0;
        loop {
            let next = self.boxes.at_or_after(self.text, from);
            if next == NOWHERE {
                return;
            }
            // Whatever begins before `next` and has a box in it has this box in it.
            let mut start = self.earliest_around(next, from);
            let mut found = None;
            while start < next && found.is_none() {
                match self.next_candidate(start, next) {
                    Some(at) if self.environment(at, Content::Box).is_some() => found = Some(at),
                    Some(at) => start = at + self.text.char(at).map_or(1, char::len_utf8),
                    None => break,
                }
            }
            from = match found {
                Some(first) => self.push(first, first, Content::Box, out),
                None => next + BOX.len(),
            };
        }
    }

    /// The first box, up to the last closing brace of the text: where a box ends is left to
    /// whoever reads it.
    pub fn bare_box(&mut self, out: &mut Places) {
        let start = self.boxes.at_or_after(self.text, 0);
        if start == NOWHERE {
            return;
        }
        if let Some(end) = memchr::memrchr(b'}', self.text.bytes).map(|last| last + 1)
            && end > start + BOX.len() + 1
        {
            out.push(start..end, Place::BareBox);
        }
    }

    /// Remembers the chain that begins there and returns its end.
    fn push(&mut self, start: usize, first: usize, content: Content, out: &mut Places) -> usize {
        let end = self.chain(first, content, false, &mut |_| {}).unwrap_or(first + 1);
        out.push(start..end, Place::Latex { first, content, whole_word: false });
        end
    }

    /// The pieces of the chain that begins there.
    pub fn pieces(&mut self, first: usize, content: Content, whole_word: bool) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.chain(first, content, whole_word, &mut |piece| pieces.push(piece));
        pieces
    }

    /// Environments joined by commas, "and" or "or", each maybe with a per cent sign or word. Of
    /// the word "percentage" only "percent" is taken, unless the whole word is asked for.
    fn chain(
        &mut self,
        first: usize,
        content: Content,
        whole_word: bool,
        piece: &mut dyn FnMut(Piece),
    ) -> Option<usize> {
        let mut next = Some(self.environment(first, content)?);
        let mut end = first;
        for joined in 0..=MAX_JOINED {
            let Some(environment) = next else { break };
            let after = self.text.skip_space(environment.end);
            let percent = self.percent(after, whole_word);
            piece(Piece { text: environment.content, percent: percent > 0, bare_box: false });
            end = after + percent;
            if content == Content::Box {
                end = self.text.skip_space(end);
            }
            next = if joined < MAX_JOINED { self.joined(end, content) } else { None };
        }
        Some(end)
    }

    /// Length of a per cent sign or word, or 0.
    fn percent(&self, at: usize, whole_word: bool) -> usize {
        let rest = match self.text.byte(at) {
            b'%' => return 1,
            b'\\' if self.text.byte(at + 1) == b'%' => return 2,
            b'p' | b'P' => at + 1,
            _ => return 0,
        };
        if whole_word && self.text.starts(rest, "ercentage") {
            10
        } else if self.text.starts(rest, "ercent") {
            7
        } else if self.text.starts(rest, "ct") {
            3
        } else {
            0
        }
    }

    /// The environment that is joined there to one before.
    fn joined(&mut self, at: usize, content: Content) -> Option<Environment> {
        let at = self.text.skip_space(at);
        for word in [",and", ",or", ",", "and", "or"] {
            if self.text.starts(at, word)
                && let Some(first) = self.first_after_space(at + word.len(), content)
            {
                return self.environment(first, content);
            }
        }
        None
    }

    /// Where an environment begins after white space: some begin with their last white space.
    fn first_after_space(&mut self, at: usize, content: Content) -> Option<usize> {
        let end = self.text.skip_space(at);
        if self.environment(end, content).is_some() {
            return Some(end);
        }
        if end == at {
            return None;
        }
        let last = end - self.text.char_before(end)?.len_utf8();
        self.environment(last, content).is_some().then_some(last)
    }

    /// The first environment that begins at `from` or after, before `limit`.
    fn next_environment(&mut self, mut from: usize, limit: usize) -> Option<usize> {
        loop {
            let at = self.next_candidate(from, limit)?;
            if self.environment(at, Content::Any).is_some() {
                return Some(at);
            }
            from = at + self.text.char(at).map_or(1, char::len_utf8);
        }
    }

    /// Where an environment might begin, at `from` or after, before `limit`.
    fn next_candidate(&self, from: usize, limit: usize) -> Option<usize> {
        let mut searched = from;
        loop {
            let rest = self.text.bytes.get(searched..limit)?;
            let at = searched + memchr::memchr3(b'$', b'\\', b'[', rest)?;
            match self.text.byte(at) {
                b'$' => return Some(at),
                b'\\' => match self.text.byte(at + 1) {
                    b'f' if at > from && self.text.byte(at - 1) == b'-' => return Some(at - 1),
                    b'f' | b'(' | b'[' => return Some(at),
                    _ => {}
                },
                _ => {
                    if let Some(c) = self.text.char_before(at).filter(|&c| is_space(c))
                        && at - c.len_utf8() >= from
                    {
                        return Some(at - c.len_utf8());
                    }
                }
            }
            searched = at + 1;
        }
    }

    /// No environment that has the box at `at` in it begins before this, if none has a box
    /// between `from` and `at`.
    fn earliest_around(&self, at: usize, from: usize) -> usize {
        let before = self.text.bytes.get(from..at).unwrap_or_default();
        // Of one line: all but `$$` and `\[`; one begins with the line break before.
        let line = memchr::memrchr(b'\n', before).unwrap_or(0);
        let dollars = last_place(before, "$$").map_or(line, |i| i.saturating_sub(1));
        let closed = last_place(before, "\\]").unwrap_or(0);
        let bracket = memchr::memmem::find(&before[closed..], b"\\[").map_or(line, |i| closed + i);
        from + line.min(dollars).min(bracket)
    }

    /// The environment that begins there.
    fn environment(&mut self, at: usize, content: Content) -> Option<Environment> {
        let environment = match self.text.byte(at) {
            b'$' if self.text.byte(at + 1) == b'$' => self.display_dollars(at),
            b'$' => self.inline_dollar(at),
            b'\\' => match self.text.byte(at + 1) {
                b'[' => self.display_bracket(at),
                b'(' => self.inline_parenthesis(at),
                b'f' if content == Content::Any => return self.fraction(at, at),
                _ => None,
            },
            b'-' if content == Content::Any => return self.fraction(at, at + 1),
            _ => self.inline_bracket(at),
        }?;
        let boxed = content == Content::Any || self.has_box(&environment.content);
        boxed.then_some(environment)
    }

    /// Whether `\boxed{`, something and `}` are in there.
    fn has_box(&mut self, content: &Range<usize>) -> bool {
        let start = self.boxes.at_or_after(self.text, content.start);
        start < content.end
            && self.brace.at_or_after(self.text, start + BOX.len() + 1) < content.end
    }

    /// `$$..$$`, over lines.
    fn display_dollars(&mut self, at: usize) -> Option<Environment> {
        let start = at + 2;
        let end = self.dollars.at_or_after(self.text, start);
        let open = self.text.byte_before(at) != b'\\';
        let closed = end != NOWHERE && end > start && self.text.byte(end - 1) != b'\\';
        (open && closed).then(|| Environment { content: start..end, end: end + 2 })
    }

    /// `\[..\]`, over lines.
    fn display_bracket(&mut self, at: usize) -> Option<Environment> {
        let start = at + 2;
        let end = self.bracket.at_or_after(self.text, start);
        let open = self.text.byte_before(at) != b'\\';
        let closed = end != NOWHERE && end > start && self.text.byte(end - 1) != b'\\';
        (open && closed).then(|| Environment { content: start..end, end: end + 2 })
    }

    /// `$..$` on one line; `\$` does not close it, and a `$` after a digit is money.
    fn inline_dollar(&mut self, at: usize) -> Option<Environment> {
        if self.text.char_before(at).is_some_and(|c| c == '\\' || is_digit(c)) {
            return None;
        }
        let start = at + 1;
        let mut from = start;
        loop {
            let end = from + memchr::memchr2(b'$', b'\n', self.text.bytes.get(from..)?)?;
            if self.text.byte(end) == b'\n' || end == start {
                return None;
            }
            if self.text.byte(end - 1) != b'\\' {
                return Some(Environment { content: start..end, end: end + 1 });
            }
            from = end + 1;
        }
    }

    /// `\(..\)` on one line.
    fn inline_parenthesis(&mut self, at: usize) -> Option<Environment> {
        let start = at + 2;
        let end = self.parenthesis.at_or_after(self.text, start);
        let open = self.text.byte_before(at) != b'\\';
        let closed = end != NOWHERE
            && end > start
            && self.text.byte(end - 1) != b'\\'
            && self.newline.at_or_after(self.text, start) > end;
        (open && closed).then(|| Environment { content: start..end, end: end + 2 })
    }

    /// `[..]` on one line, between white space, which belongs to it.
    fn inline_bracket(&mut self, at: usize) -> Option<Environment> {
        let bracket = at + self.text.space(at);
        if bracket == at || self.text.byte(bracket) != b'[' {
            return None;
        }
        let start = bracket + 1;
        let end = start + memchr::memchr3(b'[', b']', b'\n', self.text.bytes.get(start..)?)?;
        let space = self.text.space(end + 1);
        let closed = self.text.byte(end) == b']' && end > start && space > 0;
        closed.then(|| Environment { content: start..end, end: end + 1 + space })
    }

    /// A fraction of plain numbers, outside of any delimiters.
    fn fraction(&mut self, at: usize, command: usize) -> Option<Environment> {
        let opening = "\\frac{";
        let above = self.text.starts(command, opening).then_some(command + opening.len())?;
        let above_end = self.simple_number(above)?;
        let below = self.text.starts(above_end, "}{").then_some(above_end + "}{".len())?;
        let below_end = self.simple_number(below)?;
        let end = (self.text.byte(below_end) == b'}').then_some(below_end + 1)?;
        Some(Environment { content: at..end, end })
    }

    fn simple_number(&self, at: usize) -> Option<usize> {
        let digits = at + usize::from(self.text.byte(at) == b'-');
        let end = self.text.skip_digits(digits);
        if end == digits {
            return None;
        }
        let decimals = end + usize::from(matches!(self.text.byte(end), b'.' | b','));
        let decimal_end = self.text.skip_digits(decimals);
        Some(if decimals > end && decimal_end > decimals { decimal_end } else { end })
    }
}
