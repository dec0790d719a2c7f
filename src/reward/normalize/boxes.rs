//! What stands in boxes.

use std::borrow::Cow;

use crate::reward::config::Boxed;
use crate::reward::extract::text::{Text, is_space, last_place};

/// Boxes nearer than this belong together.
const NEAR: usize = 10;
/// Boxes with a comma or an "and" between them belong together if nearer than this.
const NOT_FAR: usize = 70;

/// What stands in the boxes of a text, joined by commas, or the text if it has none.
///
/// `\fbox` counts too. A last box that is not closed reaches to the end of the text.
pub fn boxed_content(latex: &str, mode: Boxed) -> Cow<'_, str> {
    let contents = match mode {
        Boxed::None => Vec::new(),
        Boxed::All | Boxed::Last | Boxed::LastSentence => contents(latex, mode),
    };
    match contents.as_slice() {
        [] => Cow::Borrowed(latex),
        [one] => Cow::Borrowed(one),
        _ => Cow::Owned(contents.join(",")),
    }
}

/// From the last box back: one that holds another is passed over, and what is boxed twice in a row
/// is taken once.
fn contents(latex: &str, mode: Boxed) -> Vec<&str> {
    let text = Text::new(latex);
    let mut contents: Vec<&str> = Vec::new();
    let mut later: Option<usize> = None;
    let mut boxes = Boxes::new(text);
    while let Some((start, after)) = boxes.previous() {
        let limit = later.unwrap_or(text.len());
        let open = text.skip_space(after);
        if open >= limit {
            break;
        }
        let close = if text.byte(open) == b'{' { closing(text, open, limit) } else { None };
        let Some(close) = close else {
            if contents.is_empty() {
                contents.extend(latex.get(open..));
            }
            break;
        };
        let content = latex.get(open + 1..close).unwrap_or("").trim_matches(is_space);
        let next = contents.last().copied();
        if let Some(later) = later.filter(|_| mode != Boxed::All) {
            let between = latex.get(close + 1..later).unwrap_or("");
            let parted = mode == Boxed::LastSentence && ends_sentence(between);
            if parted || !belong_together(between, next != Some(content)) {
                break;
            }
        }
        if next != Some(content) {
            contents.push(content);
        }
        later = Some(start);
    }
    contents.reverse();
    contents
}

/// Boxes from the last to the first, each as where it begins and where its command ends.
struct Boxes<'t> {
    text: Text<'t>,
    boxed: Option<usize>,
    fbox: Option<usize>,
}

impl<'t> Boxes<'t> {
    fn new(text: Text<'t>) -> Self {
        let boxed = last_place(text.bytes, "\\boxed");
        let fbox = last_place(text.bytes, "\\fbox");
        Self { text, boxed, fbox }
    }

    fn previous(&mut self) -> Option<(usize, usize)> {
        if self.boxed > self.fbox {
            let start = self.boxed?;
            self.boxed = memchr::memmem::rfind(&self.text.bytes[..start], b"\\boxed");
            Some((start, start + "\\boxed".len()))
        } else {
            let start = self.fbox?;
            self.fbox = memchr::memmem::rfind(&self.text.bytes[..start], b"\\fbox");
            Some((start, start + "\\fbox".len()))
        }
    }
}

/// The brace that closes the one at `open`, before `limit`.
fn closing(text: Text, open: usize, limit: usize) -> Option<usize> {
    let mut depth = 0_usize;
    memchr::memchr2_iter(b'{', b'}', text.bytes.get(open..limit)?).find_map(|i| {
        if text.byte(open + i) == b'{' {
            depth += 1;
        } else {
            depth -= 1;
        }
        (depth == 0).then_some(open + i)
    })
}

/// Whether boxes with this between them are one answer.
fn belong_together(between: &str, differ: bool) -> bool {
    let shorter_than = |limit: usize| between.chars().nth(limit - 1).is_none();
    shorter_than(NEAR) || differ && shorter_than(NOT_FAR) && separates(between)
}

/// Whether a sentence ends between two boxes that are not right beside each other.
fn ends_sentence(between: &str) -> bool {
    let ends = [". ", ".\n", "? ", "! ", "\n\n"];
    between.chars().nth(NEAR - 1).is_some() && ends.iter().any(|end| between.contains(end))
}

fn separates(between: &str) -> bool {
    let words = between.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    between.contains([',', ';']) || words.into_iter().any(|word| word == "and" || word == "or")
}
