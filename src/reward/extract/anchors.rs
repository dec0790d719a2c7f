//! The words that announce an answer.

use super::text::Text;

/// A place where "answer" stands, in any case.
#[derive(Clone, Copy)]
pub(super) struct Anchor {
    /// Where "answer" begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Where "final answer" begins, if that is what stands there.
    pub final_start: Option<usize>,
}

/// All of them. Of the letters of "answer", `w` is the rarest in mathematical prose.
pub(super) fn anchors(text: Text) -> Vec<Anchor> {
    memchr::memchr2_iter(b'w', b'W', text.bytes)
        .filter_map(|w| {
            let start = w.checked_sub("ans".len())?;
            if !text.starts_any_case(start, "answer") {
                return None;
            }
            let is_final = |&at: &usize| text.starts_any_case(at, "final answer");
            let final_start = start.checked_sub("final ".len()).filter(is_final);
            Some(Anchor { start, end: start + "answer".len(), final_start })
        })
        .collect()
}

impl Anchor {
    /// After "final answer is", in any case, and a colon.
    pub fn after_final_is(self, text: Text) -> Option<usize> {
        self.final_start?;
        let end = self.end + " is".len();
        text.starts_any_case(self.end, " is").then(|| end + usize::from(text.byte(end) == b':'))
    }

    /// After "final answer", at most 100 characters ("to your question"), white space, "is" and
    /// a colon; several, for there may be more than one "is". The words between may stretch over
    /// lines or not.
    pub fn after_final_then_is(self, text: Text<'_>, lines: bool) -> ThenIs<'_> {
        let end = if self.final_start.is_none() {
            0
        } else if lines {
            text.after_chars(self.end, 100) + 1
        } else {
            same_line(text, self.end, 100) + 1
        };
        ThenIs { text, at: self.end, end }
    }
}

/// The last place reached from `at` over at most so many characters of the same line.
pub(super) fn same_line(text: Text, at: usize, chars: usize) -> usize {
    let limit = text.after_chars(at, chars);
    memchr::memchr(b'\n', text.bytes.get(at..limit).unwrap_or_default()).map_or(limit, |i| at + i)
}

/// See [`Anchor::after_final_then_is`].
pub(super) struct ThenIs<'a> {
    text: Text<'a>,
    at: usize,
    end: usize,
}

impl Iterator for ThenIs<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.at < self.end {
            let word = self.text.skip_space(self.at);
            if word == self.at {
                self.at += self.text.char(self.at)?.len_utf8();
                continue;
            }
            self.at = word;
            if self.text.starts(word, "is") {
                let end = word + "is".len();
                return Some(end + usize::from(self.text.byte(end) == b':'));
            }
        }
        None
    }
}

/// The end of ". I hope", with which a well-known prompt has the answer end.
pub(super) fn i_hope(text: Text, mut at: usize) -> Option<usize> {
    at += usize::from(text.byte(at) == b'.');
    at += text.space(at);
    text.starts(at, "I hope").then(|| at + "I hope".len())
}
