//! A text looked at by byte position, with the character classes that decide what an answer is.

use memchr::memmem::Finder;

/// Where each of the world's runs of ten decimal digits begins, after ASCII's.
const DIGIT_ZEROS: [u32; 65] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6,
    0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50,
    0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650,
    0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50,
    0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

/// White space, the four ASCII information separators included.
pub(in crate::reward) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// A decimal digit of any script.
pub(in crate::reward) fn is_digit(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_digit();
    }
    let code = u32::from(c);
    let after = DIGIT_ZEROS.partition_point(|&zero| zero <= code);
    after > 0 && code - DIGIT_ZEROS[after - 1] < 10
}

/// Where a string stands last. Most texts do not have it, and looking for that forwards is several
/// times as fast.
pub(in crate::reward) fn last_place(bytes: &[u8], of: &str) -> Option<usize> {
    memchr::memmem::find(bytes, of.as_bytes())?;
    memchr::memmem::rfind(bytes, of.as_bytes())
}

/// A text and questions about the place at a byte position.
#[derive(Clone, Copy)]
pub(in crate::reward) struct Text<'a> {
    pub str: &'a str,
    pub bytes: &'a [u8],
}

impl<'a> Text<'a> {
    pub fn new(str: &'a str) -> Self {
        Self { str, bytes: str.as_bytes() }
    }

    pub fn len(self) -> usize {
        self.bytes.len()
    }

    /// The byte there, or 0 past the end, which is never what is looked for.
    pub fn byte(self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    pub fn byte_before(self, at: usize) -> u8 {
        if at == 0 { 0 } else { self.byte(at - 1) }
    }

    pub fn char(self, at: usize) -> Option<char> {
        match self.bytes.get(at) {
            Some(&b) if b < 0x80 => Some(char::from(b)),
            Some(_) => self.str.get(at..)?.chars().next(),
            None => None,
        }
    }

    pub fn char_before(self, at: usize) -> Option<char> {
        match self.byte_before(at) {
            b if b > 0 && b < 0x80 => Some(char::from(b)),
            _ => self.str.get(..at)?.chars().next_back(),
        }
    }

    pub fn starts(self, at: usize, with: &str) -> bool {
        self.bytes.get(at..).is_some_and(|rest| rest.starts_with(with.as_bytes()))
    }

    /// Likewise, whatever the case; `with` in lower case.
    pub fn starts_any_case(self, at: usize, with: &str) -> bool {
        self.bytes.get(at..at + with.len()).is_some_and(|s| s.eq_ignore_ascii_case(with.as_bytes()))
    }

    /// Length of the white space character there, or 0.
    pub fn space(self, at: usize) -> usize {
        self.char(at).map_or(0, |c| if is_space(c) { c.len_utf8() } else { 0 })
    }

    /// Length of the digit there, or 0.
    pub fn digit(self, at: usize) -> usize {
        self.char(at).map_or(0, |c| if is_digit(c) { c.len_utf8() } else { 0 })
    }

    /// The end of the white space there.
    pub fn skip_space(self, mut at: usize) -> usize {
        loop {
            match self.space(at) {
                0 => return at,
                len => at += len,
            }
        }
    }

    /// The end of the digits there.
    pub fn skip_digits(self, mut at: usize) -> usize {
        loop {
            match self.digit(at) {
                0 => return at,
                len => at += len,
            }
        }
    }

    /// So many characters on, or the end.
    pub fn after_chars(self, at: usize, count: usize) -> usize {
        let near = self.bytes.get(at..self.len().min(at + count)).unwrap_or_default();
        if near.is_ascii() {
            return at + near.len();
        }
        let rest = self.str.get(at..).unwrap_or("");
        rest.char_indices().nth(count).map_or(self.len(), |(i, _)| at + i)
    }
}

/// A position found by searching on from another, remembered: asked from rising positions, it is
/// searched for once, however often it is asked for.
pub(in crate::reward) struct Memo {
    from: usize,
    found: usize,
}

/// Where a search finds what is nowhere.
pub(in crate::reward) const NOWHERE: usize = usize::MAX;

impl Default for Memo {
    fn default() -> Self {
        Self { from: NOWHERE, found: 0 }
    }
}

impl Memo {
    /// What `search` finds at `at` or after.
    pub fn at_or_after(&mut self, at: usize, search: impl FnOnce() -> Option<usize>) -> usize {
        if !(self.from <= at && at <= self.found) {
            self.from = at;
            self.found = search().unwrap_or(NOWHERE);
        }
        self.found
    }
}

/// The next place of a fixed string.
pub(in crate::reward) struct Next {
    finder: Finder<'static>,
    memo: Memo,
}

impl Next {
    pub fn new(needle: &'static str) -> Self {
        Self { finder: Finder::new(needle), memo: Memo::default() }
    }

    pub fn at_or_after(&mut self, text: Text, at: usize) -> usize {
        let Self { finder, memo } = self;
        memo.at_or_after(at, || Some(at + finder.find(text.bytes.get(at..)?)?))
    }
}
