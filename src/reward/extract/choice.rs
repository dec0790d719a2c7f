//! Fixed strings in a text, as in multiple choice.

use super::anchors::{Anchor, i_hope, same_line};
use super::text::Text;
use super::{How, Place, Places};

/// Finds fixed strings in one text.
pub(super) struct Choices<'a> {
    pub text: Text<'a>,
    pub strings: &'a [String],
}

/// What was found, and the end of all that belongs to it.
type Found = (Place, usize);

impl Choices<'_> {
    /// Strings announced in this way.
    pub fn find(&self, how: How, anchors: &[Anchor], out: &mut Places) {
        match how {
            How::FinalAnswerIHope => self.i_hope(anchors, out),
            How::FinalAnswerIs => self.final_answer_is(anchors, out),
            How::AnswerColon => self.answer(anchors, true, out),
            How::Answer => self.answer(anchors, false, out),
            How::Unannounced => self.unannounced(out),
        }
    }

    fn i_hope(&self, anchors: &[Anchor], out: &mut Places) {
        let mut from = 0;
        for anchor in anchors {
            let Some(start) = anchor.final_start.filter(|&s| s >= from) else { continue };
            let Some(at) = anchor.after_final_is(self.text) else { continue };
            let at = self.text.skip_space(at);
            if let Some((place, end)) = self.string(at, |end| i_hope(self.text, end)) {
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
            let found = after.find_map(|at| self.string(self.text.skip_space(at), Some));
            if let Some((place, end)) = found {
                from = end;
                out.push(start..end, place);
            }
        }
    }

    fn answer(&self, anchors: &[Anchor], colon: bool, out: &mut Places) {
        let mut from = 0;
        let mut next: Option<(usize, Option<Found>)> = None;
        for anchor in anchors {
            if anchor.start < from || colon && self.text.byte(anchor.end) != b':' {
                continue;
            }
            let at = anchor.end + usize::from(colon);
            if next.as_ref().is_none_or(|(place, _)| *place < at) {
                next = Some(self.next_standing(at));
            }
            if let Some((place, Some((found, end)))) = &next
                && *place <= same_line(self.text, at, 50)
            {
                from = *end;
                out.push(anchor.start..*end, found.clone());
            }
        }
    }

    /// Strings that stand alone.
    fn unannounced(&self, out: &mut Places) {
        let mut from = 0;
        while let (start, Some((place, end))) = self.next_standing(from) {
            out.push(start..end, place);
            from = end.max(start + 1);
        }
    }

    /// One that the text begins with.
    pub fn first(&self, out: &mut Places) {
        if let Some((place, end)) = self.standing(0) {
            out.push(0..end, place);
        }
    }

    fn next_standing(&self, from: usize) -> (usize, Option<Found>) {
        if from == 0
            && let Some(found) = self.standing(0)
        {
            return (0, Some(found));
        }
        let mut at = from;
        while let Some(c) = self.text.char(at) {
            let space = self.text.space(at);
            if space > 0
                && let Some(found) = self.standing(at + space)
            {
                return (at, Some(found));
            }
            at += c.len_utf8();
        }
        (self.text.len(), None)
    }

    /// A string, maybe in bold, with punctuation, white space or the end after it.
    fn standing(&self, at: usize) -> Option<Found> {
        let bold = |at: usize| self.text.starts(at, "**");
        let ends = |end: usize| match self.text.char(end) {
            Some('.' | ',' | ':') => Some(end + 1),
            None => Some(end),
            Some(_) => Some(end + self.text.space(end)).filter(|&all| all > end),
        };
        let string = |at: usize| {
            self.string(at, |end| {
                let marked = if bold(end) { ends(end + 2) } else { None };
                marked.or_else(|| ends(end))
            })
        };
        let marked = if bold(at) { string(at + 2) } else { None };
        marked.or_else(|| string(at))
    }

    /// The first of the strings that stands there and has the right thing after it.
    fn string(&self, at: usize, then: impl Fn(usize) -> Option<usize>) -> Option<Found> {
        self.strings.iter().find_map(|string| {
            let end = at + string.len();
            let all = if self.text.starts(at, string) { then(end) } else { None };
            Some((Place::Choice(at..end), all?))
        })
    }
}
