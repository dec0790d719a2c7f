//! Plain numbers and arithmetic in a text.

use std::ops::Range;

use super::anchors::{Anchor, i_hope, same_line};
use super::text::Text;
use super::{How, Place, Places};

/// What must follow a number or arithmetic.
#[derive(Clone, Copy)]
enum Then {
    Anything,
    /// No equals sign, for then the answer is still to come.
    NoEquals,
    IHope,
}

impl Then {
    /// Whether it does, and where that ends.
    fn accept(self, text: Text, end: usize) -> Option<usize> {
        match self {
            Then::Anything => Some(end),
            Then::NoEquals => (text.byte(text.skip_space(end)) != b'=').then_some(end),
            Then::IHope => i_hope(text, end),
        }
    }
}

/// Finds numbers and arithmetic in one text.
pub(super) struct Plain<'a> {
    text: Text<'a>,
}

/// What was found, and the end of all that belongs to it.
type Found = (Place, usize);

impl<'a> Plain<'a> {
    pub fn new(text: Text<'a>) -> Self {
        Self { text }
    }

    /// Numbers and arithmetic announced in this way.
    pub fn find(&self, how: How, anchors: &[Anchor], out: &mut Places) {
        match how {
            How::FinalAnswerIHope => self.i_hope(anchors, out),
            How::FinalAnswerIs => self.final_answer_is(anchors, out),
            How::AnswerColon => self.answer(anchors, true, out),
            How::Answer => self.answer(anchors, false, out),
            How::Unannounced => self.unannounced_arithmetic(out),
        }
    }

    fn i_hope(&self, anchors: &[Anchor], out: &mut Places) {
        let mut from = 0;
        for anchor in anchors {
            let Some(start) = anchor.final_start.filter(|&s| s >= from) else { continue };
            let Some(at) = anchor.after_final_is(self.text) else { continue };
            if let Some((place, end)) = self.after_space(at, Then::IHope) {
                from = end;
                out.push(start..end, place);
            }
        }
    }

    fn final_answer_is(&self, anchors: &[Anchor], out: &mut Places) {
        let mut from = 0;
        for anchor in anchors {
            let Some(start) = anchor.final_start.filter(|&s| s >= from) else { continue };
            let mut after = anchor.after_final_then_is(self.text, false);
            if let Some((place, end)) = after.find_map(|at| self.either(at, Then::Anything)) {
                from = end;
                out.push(start..end, place);
            }
        }
    }

    /// After "answer": what follows the last equals sign near by, else what comes next.
    fn answer(&self, anchors: &[Anchor], colon: bool, out: &mut Places) {
        let mut from = 0;
        // The next place of any, whoever announced it.
        let mut next: Option<(usize, Option<Found>)> = None;
        for anchor in anchors {
            if anchor.start < from || colon && self.text.byte(anchor.end) != b':' {
                continue;
            }
            let at = anchor.end + usize::from(colon);
            let found = self.after_equals(at).or_else(|| {
                if next.as_ref().is_none_or(|(place, _)| *place < at) {
                    next = Some(self.next_either(at, Then::NoEquals));
                }
                let (place, found) = next.as_ref()?;
                found.clone().filter(|_| *place <= same_line(self.text, at, 50))
            });
            if let Some((place, end)) = found {
                from = end;
                out.push(anchor.start..end, place);
            }
        }
    }

    fn after_equals(&self, at: usize) -> Option<Found> {
        let last = same_line(self.text, at, 100);
        let near = self.text.bytes.get(at..self.text.len().min(last + 1)).unwrap_or_default();
        memchr::memrchr_iter(b'=', near)
            .find_map(|equals| self.after_space(at + equals + 1, Then::NoEquals))
    }

    fn next_either(&self, at: usize, then: Then) -> (usize, Option<Found>) {
        let mut from = at;
        while let Some(start) = self.next_start(from) {
            if let Some(found) = self.either(start, then) {
                return (start, Some(found));
            }
            from = start + 1;
        }
        (self.text.len(), None)
    }

    fn unannounced_arithmetic(&self, out: &mut Places) {
        let mut from = 0;
        while let Some(start) = self.next_start(from) {
            let mut run_end = start;
            let found = self
                .prefixes(start)
                .into_iter()
                .flatten()
                .find_map(|at| self.arithmetic(at, Then::Anything, &mut run_end));
            from = match found {
                Some((place, end)) => {
                    out.push(start..end, place);
                    end
                }
                // What fails from one start of a run of digits and operators fails from all.
                None => self.text.len().min(run_end.max(start + 1)),
            };
        }
    }

    /// Numbers that nothing announces.
    pub fn unannounced_numbers(&self, out: &mut Places) {
        let mut from = 0;
        while let Some(start) = self.next_start(from) {
            from = match self.number_from(start, Then::Anything) {
                Some((place, end)) => {
                    out.push(start..end, place);
                    end
                }
                None => start + 1,
            };
        }
    }

    /// Arithmetic, else a number, after white space of which it needs the last, or after none.
    fn after_space(&self, at: usize, then: Then) -> Option<Found> {
        let end = self.text.skip_space(at);
        self.either(end, then).or_else(|| {
            let last = self.text.char_before(end)?.len_utf8();
            if end > at { self.either(end - last, then) } else { None }
        })
    }

    /// Arithmetic, else a number, that begins there with what comes before it.
    fn either(&self, start: usize, then: Then) -> Option<Found> {
        let arithmetic = |at| self.arithmetic(at, then, &mut 0);
        let found = self.prefixes(start).into_iter().flatten().find_map(arithmetic);
        found.or_else(|| self.number_from(start, then))
    }

    /// Where there is white space or an equals sign, or the beginning of the text, with something
    /// like a number after it.
    fn next_start(&self, from: usize) -> Option<usize> {
        let opens = |b: u8| {
            b.is_ascii_digit() || !b.is_ascii() || matches!(b, b'-' | b'(' | b'.' | b'*' | b'$')
        };
        if from == 0 && opens(self.text.byte(0)) {
            return Some(0);
        }
        let mut at = from;
        while let Some(&byte) = self.text.bytes.get(at) {
            let len = match byte {
                b' ' | b'=' | 9..=13 | 0x1c..=0x1f => 1,
                0..=0x7f => 0,
                0xc0.. => self.text.space(at),
                _ => 0,
            };
            if len > 0 && opens(self.text.byte(at + len)) {
                return Some(at);
            }
            at += len.max(1);
        }
        None
    }

    /// Where a number might begin after white space, an equals sign, or the beginning of the
    /// text, and after `**`.
    fn prefixes(&self, start: usize) -> [Option<usize>; 2] {
        let bold = |at: usize| at + if self.text.starts(at, "**") { 2 } else { 0 };
        let equals = usize::from(self.text.byte(start) == b'=');
        let prefix = equals.max(self.text.space(start));
        [(start == 0).then(|| bold(0)), (prefix > 0).then(|| bold(start + prefix))]
    }

    /// Digits and operators, at least one of each, and punctuation after them. Says where the run
    /// of digits and operators ends if there is one.
    fn arithmetic(&self, at: usize, then: Then, run_end: &mut usize) -> Option<Found> {
        let text = self.text;
        let mut digit = at + usize::from(text.byte(at) == b'-');
        digit += usize::from(text.byte(digit) == b'(');
        digit += usize::from(text.byte(digit) == b'-');
        let run = digit + Some(text.digit(digit)).filter(|&len| len > 0)?;

        // After the first operator and one character more.
        let mut earliest_end = None;
        let mut operator_seen = false;
        let mut end = run;
        while let Some(c) = text.char(end)
            && let Some(operator) = operator_or_digit(text, end, c)
        {
            end += c.len_utf8();
            if operator_seen && earliest_end.is_none() {
                earliest_end = Some(end);
            }
            operator_seen |= operator;
        }
        *run_end = end;
        let earliest_end = earliest_end?;

        // The longest that ends as it should.
        let mut no_equals = NoEqualsAfter::default();
        let mut accept = |end: usize| match then {
            Then::NoEquals => no_equals.accept(text, end),
            _ => then.accept(text, end),
        };
        while end >= earliest_end {
            if text.byte(end) == b')' {
                let closed = self.punctuation(end + 1).into_iter().flatten();
                if let Some(all) = closed.into_iter().find_map(&mut accept) {
                    return Some((Place::Arithmetic(at..end + 1), all));
                }
            }
            let ends = self.punctuation(end).into_iter().flatten();
            if let Some(all) = ends.into_iter().find_map(&mut accept) {
                return Some((Place::Arithmetic(at..end), all));
            }
            end -= text.char_before(end).map_or(1, char::len_utf8);
        }
        None
    }

    /// Where the punctuation that ends arithmetic ends, with `**` before it and without.
    fn punctuation(&self, at: usize) -> [Option<usize>; 2] {
        let mark = |at: usize| match self.text.char(at) {
            Some('.' | ',' | ':' | ')' | '$') => Some(at + 1),
            None => Some(at),
            Some(_) => Some(at + self.text.space(at)).filter(|&end| end > at),
        };
        [if self.text.starts(at, "**") { mark(at + 2) } else { None }, mark(at)]
    }

    /// A number that begins there with what comes before it.
    fn number_from(&self, start: usize, then: Then) -> Option<Found> {
        self.prefixes(start).into_iter().flatten().find_map(|at| {
            let currency = self.text.char(at).filter(|&c| is_currency(c));
            self.number(at + currency.map_or(0, char::len_utf8), then)
        })
    }

    /// A number, in the first of its forms with which the right thing follows. Where a form does
    /// not fit, at most one character less is tried: then a digit follows, which settles it.
    fn number(&self, at: usize, then: Then) -> Option<Found> {
        let text = self.text;
        let digits = at + usize::from(text.byte(at) == b'-');
        let digits_end = text.skip_digits(digits);
        let with = |integer: Range<usize>, decimal: Range<usize>| {
            self.percent_ends(decimal.end).into_iter().flatten().find_map(|(end, percent)| {
                let all = then.accept(text, end)?;
                let (integer, decimal) = (integer.clone(), decimal.clone());
                Some((Place::Number { integer, decimal, percent }, all))
            })
        };
        let shorter = |end: usize, least: usize| {
            let less = end - text.char_before(end).map_or(1, char::len_utf8);
            [Some(end), Some(less).filter(|&less| less >= least)].into_iter().flatten()
        };
        let decimals = |from: usize| {
            let point = text.byte(from);
            let end = text.skip_digits(from + 1);
            let some = matches!(point, b'.' | b',') && end > from + 1;
            some.then(|| {
                let least = from + 1 + text.digit(from + 1);
                (point, shorter(end, least))
            })
        };

        let [grouped_less, grouped] = self.thousands(digits, digits_end);
        for end in [grouped, grouped_less].into_iter().flatten() {
            if let Some((b'.', ends)) = decimals(end)
                && let Some(found) = ends.into_iter().find_map(|last| with(at..end, end..last))
            {
                return Some(found);
            }
            if let Some(found) = with(at..end, end..end) {
                return Some(found);
            }
        }
        if digits_end > digits {
            if let Some((_, mut ends)) = decimals(digits_end)
                && let Some(found) = ends.find_map(|last| with(at..digits_end, digits_end..last))
            {
                return Some(found);
            }
        } else if let Some((b'.', mut ends)) = decimals(at)
            && let Some(found) = ends.find_map(|last| with(at..at, at..last))
        {
            return Some(found);
        }
        if digits_end == digits {
            return None;
        }
        let least = digits + text.digit(digits);
        shorter(digits_end, least).find_map(|end| with(at..end, end..end))
    }

    /// Where a number with separators between its thousands ends: without its last group, and
    /// with it.
    fn thousands(&self, digits: usize, digits_end: usize) -> [Option<usize>; 2] {
        let text = self.text;
        let first = text.byte(digits);
        let mut ends = [None; 2];
        if !(b'1'..=b'9').contains(&first) || text.after_chars(digits, 3) < digits_end {
            return ends;
        }
        let mut end = digits_end;
        while matches!(text.byte(end), b' ' | b',') {
            let mut group = end + 1;
            for _ in 0..3 {
                match text.digit(group) {
                    0 => return ends,
                    len => group += len,
                }
            }
            end = group;
            ends = [ends[1], Some(end)];
        }
        ends
    }

    /// Where a per cent sign or word ends, "percent" tried before "percentage", and where none does.
    fn percent_ends(&self, at: usize) -> [Option<(usize, bool)>; 3] {
        let text = self.text;
        let sign = text.skip_space(at);
        let none = (at, false);
        let word = matches!(text.byte(sign), b'p' | b'P');
        if text.byte(sign) == b'%' {
            [Some((sign + 1, true)), Some(none), None]
        } else if word && text.starts(sign + 1, "ercent") {
            let whole = text.starts(sign + 7, "age").then_some((sign + 10, true));
            [Some((sign + 7, true)), whole, Some(none)]
        } else if word && text.starts(sign + 1, "ct") {
            [Some((sign + 3, true)), Some(none), None]
        } else {
            [Some(none), None, None]
        }
    }
}

/// [`Then::NoEquals`] for falling ends, so that white space before an equals sign is read once.
#[derive(Default)]
struct NoEqualsAfter {
    /// From here, white space leads to an equals sign.
    equals_from: Option<usize>,
}

impl NoEqualsAfter {
    fn accept(&mut self, text: Text, end: usize) -> Option<usize> {
        let space = text.space(end);
        let equals = if space > 0 && self.equals_from == Some(end + space) {
            true
        } else {
            text.byte(text.skip_space(end)) == b'='
        };
        if equals {
            self.equals_from = Some(end);
        }
        (!equals).then_some(end)
    }
}

/// Whether a character of arithmetic is an operator; none for other characters.
fn operator_or_digit(text: Text, at: usize, c: char) -> Option<bool> {
    match c {
        '+' | '-' | '*' | '/' | '^' | '(' | ')' | '×' | '÷' => Some(true),
        '0'..='9' | '.' | ' ' => Some(false),
        _ => (text.space(at) > 0 || text.digit(at) > 0).then_some(false),
    }
}

/// Signs that may stand before an amount.
fn is_currency(c: char) -> bool {
    matches!(c, '$' | '£' | '¥' | '฿' | '\u{20a1}'..='\u{20bf}')
}
