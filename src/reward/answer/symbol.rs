//! Words, letters and names of variables.

use dashu_int::IBig;
use dashu_ratio::RBig;

use super::{Comparison, Kind, tree};
use crate::reward::conventions::LetterCase;
use crate::reward::expr::{Arena, Constant, Id, NameId, Node, Number, NumberSet};
use crate::reward::latex::Parsed;
use crate::reward::print;
use crate::reward::verdict::{Outcome, Reason, Rule};

/// Stands behind the names of variables that range over another domain than the gold's: Math-Verify
/// reads letters as complex on one side and real on the other, and then they differ.
const OTHER_DOMAIN: char = '\u{1}';

impl Comparison<'_> {
    /// Both answers with the spelling of names that the conventions want; nothing if they can not
    /// be respelled without mixing names up.
    pub(super) fn spell(
        &mut self,
        gold: &Parsed,
        pred: &Parsed,
        pred_root: Id,
        respell: bool,
    ) -> Result<Option<(Id, Id)>, Reason> {
        let mut golden = gold.root;
        let mut predicted = pred_root;
        if respell {
            let Some(by) = respelling(&self.arena, golden, predicted) else { return Ok(None) };
            predicted = tree::replace(&mut self.arena, predicted, self.budget, |arena, name| {
                let (_, new) = by.iter().find(|(old, _)| *old == name)?;
                Some(arena.push(Node::Symbol(*new)))
            })?;
        }
        if self.conventions.letter_case == LetterCase::Ignored {
            golden = tree::replace(&mut self.arena, golden, self.budget, lower_case)?;
            predicted = tree::replace(&mut self.arena, predicted, self.budget, lower_case)?;
        }
        if !self.conventions.strict_variables {
            let old = tree::variables(&self.arena, predicted);
            let new = tree::variables(&self.arena, golden);
            if old.len() == new.len() {
                predicted =
                    tree::replace(&mut self.arena, predicted, self.budget, |arena, name| {
                        let place = old.iter().position(|&old| old == name)?;
                        let new = *new.get(place)?;
                        Some(arena.push(Node::Symbol(new)))
                    })?;
            }
        } else if gold.complex != pred.complex && self.conventions.numeric_shortcut {
            predicted = tree::replace(&mut self.arena, predicted, self.budget, |arena, name| {
                let marked = format!("{}{OTHER_DOMAIN}", arena.name(name));
                Some(arena.symbol(&marked))
            })?;
        }
        Ok(Some((golden, predicted)))
    }

    /// Compares what is a word on either side, if words decide.
    pub(super) fn words(&mut self, gold: Id, pred: Id) -> Option<(Outcome, Rule)> {
        let (a, b) = (self.as_word(gold), self.as_word(pred));
        if let (Some(a), Some(b)) = (&a, &b) {
            // A product of letters against a word, or two words; two products are algebra.
            let one_word = |id| matches!(self.arena.node(id), Node::Symbol(_));
            if a.chars().count() > 1 && (one_word(gold) || one_word(pred)) && a == b {
                return Some((Outcome::Equal, Rule::Word));
            }
        }
        if !self.conventions.words_have_values {
            return None;
        }
        let gold_value = a.and_then(|a| self.value_of_word(&a));
        let pred_value = b.and_then(|b| self.value_of_word(&b));
        if gold_value.is_none() && pred_value.is_none() {
            return None;
        }
        let (gold, pred) = (gold_value.unwrap_or(gold), pred_value.unwrap_or(pred));
        let verdict = self.nodes(gold, pred);
        Some((verdict.0, if verdict.0.is_equal() { Rule::Word } else { verdict.1 }))
    }

    /// The word that letters spell, without what does not distinguish words. Math-Verify tells
    /// punctuation apart, and takes no i for a letter.
    fn as_word(&self, id: Id) -> Option<String> {
        let word = tree::spelled(&self.arena, id)?;
        if self.conventions.letter_case != LetterCase::Ignored {
            return Some(plain(&word));
        }
        let imaginary = |id| matches!(self.arena.node(id), Node::Constant(Constant::I));
        if imaginary(id) || self.arena.children(id).any(imaginary) {
            return None;
        }
        // A command's name is what it stands for.
        Some(word.trim_end_matches(OTHER_DOMAIN).replace('\\', "").to_lowercase())
    }

    /// Compares two scalars of which one is a symbol, if that decides.
    pub(super) fn symbols(&mut self, gold: Id, pred: Id) -> Option<Outcome> {
        let (a, b) = (self.arena.node(gold), self.arena.node(pred));
        let ((Node::Symbol(_), _) | (_, Node::Symbol(_))) = (a, b) else { return None };
        let lenient = self.conventions.letter_case == LetterCase::Ignored;
        let e = |node, other| match (node, other) {
            (Node::Symbol(name), Node::Constant(Constant::E)) => {
                let name = plain(self.arena.name(name));
                name == "e"
            }
            _ => false,
        };
        if lenient && (e(a, b) || e(b, a)) {
            return Some(Outcome::Equal);
        }
        let spelled = (tree::spelled(&self.arena, gold), tree::spelled(&self.arena, pred));
        if let (Some(a), Some(b)) = spelled {
            let words = a.chars().count() > 1 && b.chars().count() > 1;
            if !lenient && (a == b || words && plain(&a) == plain(&b)) {
                return Some(Outcome::Equal);
            }
        }
        if let (true, Some(a), Some(b)) = (lenient, self.as_word(gold), self.as_word(pred))
            && a == b
        {
            return Some(Outcome::Equal);
        }
        // Math-Verify compares a symbol with anything else as text: `\text{pi/6}` reads like π/6.
        if lenient {
            let reads = |id| {
                let text = print::to_str(&self.arena, id);
                // A command without its backslash is that function or constant.
                text.trim_end_matches(OTHER_DOMAIN).replace('\\', "")
            };
            // What prints like a mere name, as `1 \cdot x`, is none.
            let telling = |node| match node {
                Node::Symbol(name) => self.arena.name(name).contains(['*', '/', '+', '-']),
                node => matches!(node, Node::Number(_) | Node::Constant(_)),
            };
            let one_symbol = |node| matches!(node, Node::Symbol(_));
            // Decimals print with all digits of their precision.
            let decimal =
                |id| tree::has_decimal(&self.arena, id) && !tree::is_zero(&self.arena, id);
            if one_symbol(a) != one_symbol(b)
                && (telling(a) || telling(b))
                && !decimal(gold)
                && !decimal(pred)
                && reads(gold) == reads(pred)
            {
                return Some(Outcome::Equal);
            }
        }
        (lenient && self.kind(gold) == Kind::Scalar && self.kind(pred) == Kind::Scalar)
            .then_some(Outcome::NotEqual)
    }

    /// The mathematical value of a word, in the form that [`plain`] gives it.
    fn value_of_word(&mut self, word: &str) -> Option<Id> {
        match word {
            "nosolution" | "nosolutions" | "norealsolution" | "norealsolutions" | "emptyset"
            | "theemptyset" => {
                let none = self.arena.list(&[]);
                Some(self.arena.push(Node::Set(none)))
            }
            "allrealnumbers" | "allreals" | "realnumbers" | "allreal" | "allrealvalues"
            | "anyrealnumber" => Some(self.arena.push(Node::NumberSet(NumberSet::Reals))),
            "infinity" => Some(self.arena.push(Node::Constant(Constant::Infinity))),
            _ => {
                let number = written_number(word).or_else(|| number_words(word))?;
                Some(self.arena.push_number(number))
            }
        }
    }
}

/// A word without what does not distinguish words: case, spaces, brackets, full stops at its end.
fn plain(word: &str) -> String {
    let word = word.trim_end_matches(['.', OTHER_DOMAIN]);
    let kept = |c: &char| !c.is_whitespace() && !matches!(c, '(' | ')' | '~' | ',');
    word.chars().filter(kept).flat_map(char::to_lowercase).collect()
}

fn lower_case(arena: &mut Arena, name: NameId) -> Option<Id> {
    let name = arena.name(name);
    name.chars()
        .any(char::is_uppercase)
        .then(|| name.to_lowercase())
        .map(|name| arena.symbol(&name))
}

/// Which of the prediction's names to replace so that it spells them as the gold does: a name that
/// the gold lacks and has in the other case. Nothing if that changes nothing, or if either side
/// has a name in both cases.
fn respelling(arena: &Arena, gold: Id, pred: Id) -> Option<Vec<(NameId, NameId)>> {
    let (wanted, given) = (tree::variables(arena, gold), tree::variables(arena, pred));
    let folded = |name: NameId| arena.name(name).to_lowercase();
    let mixed = |names: &[NameId]| {
        let mut names: Vec<String> = names.iter().map(|&name| folded(name)).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair.first() == pair.last())
    };
    let pairs: Vec<_> = given
        .iter()
        .filter(|name| !wanted.contains(name))
        .filter_map(|&name| {
            let twin = wanted.iter().find(|&&twin| folded(twin) == folded(name))?;
            Some((name, *twin))
        })
        .collect();
    (!pairs.is_empty() && !mixed(&wanted) && !mixed(&given)).then_some(pairs)
}

/// A number in digits, read as text.
fn written_number(text: &str) -> Option<Number> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && part.is_empty() || digits.len() > 64 {
        return None;
    }
    if !all_digits(whole) || !all_digits(part) {
        return None;
    }
    let value: IBig = format!("0{whole}{part}").parse().ok()?;
    let scale = IBig::from(10).pow(part.len());
    let value = RBig::from(value * sign) / RBig::from(scale);
    Some(Number { value, decimal: digits.contains('.') })
}

/// Number words in English: `fortytwo`, `onehalf`, `threequarters`. Bounded by their vocabulary.
fn number_words(text: &str) -> Option<Number> {
    const UNITS: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] =
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    const PARTS: [(&str, u32); 10] = [
        ("half", 2),
        ("halves", 2),
        ("third", 3),
        ("thirds", 3),
        ("quarter", 4),
        ("quarters", 4),
        ("fourth", 4),
        ("fourths", 4),
        ("fifth", 5),
        ("fifths", 5),
    ];
    if text.len() > 40 {
        return None;
    }
    let text: String = text.chars().filter(|c| *c != '-').collect();
    let unit = |word: &str| UNITS.iter().position(|unit| *unit == word).map(|n| n as u32);
    let below_hundred = |word: &str| {
        unit(word).or_else(|| {
            let (place, tens) =
                TENS.iter().enumerate().find(|(_, tens)| word.starts_with(**tens))?;
            let rest = word.strip_prefix(tens)?;
            let ones =
                if rest.is_empty() { 0 } else { unit(rest).filter(|n| (1..10).contains(n))? };
            Some((place as u32 + 2) * 10 + ones)
        })
    };
    let exact = |value: RBig| Some(Number { value, decimal: false });
    for (name, parts) in PARTS {
        let above = text.strip_suffix(name).and_then(below_hundred);
        if let Some(above) = above.filter(|&above| above > 0) {
            return exact(RBig::from(above) / RBig::from(parts));
        }
    }
    if let Some((hundreds, rest)) = text.split_once("hundred") {
        let hundreds = unit(hundreds).filter(|n| (1..10).contains(n))?;
        let rest = rest.strip_prefix("and").unwrap_or(rest);
        let rest = if rest.is_empty() { 0 } else { below_hundred(rest)? };
        return exact(RBig::from(hundreds * 100 + rest));
    }
    below_hundred(&text).and_then(|value| exact(RBig::from(value)))
}

#[cfg(test)]
mod tests {
    use crate::reward::answer::tests::{agree, differ, only_math_verify, only_strict};

    use super::number_words;
    use dashu_ratio::RBig;

    #[test]
    fn words_and_letters() {
        agree(&[
            (r"\text{odd}", r"odd"),
            (r"\text{east}", r"\text{East}"),
            (r"x^2+C", r"x^2+c"),
            (r"\text{(B)}", r"B"),
            (r"20", r"\text{20}"),
        ]);
        differ(&[
            (r"\text{odd}", r"\text{even}"),
            (r"\text{odd}", r"ddo"),
            (r"A", r"B"),
            (r"x^2+C", r"x^2"),
        ]);
        only_math_verify(&[(r"A+a", r"2a"), (r"R-r", r"0")]);
    }

    #[test]
    fn words_with_a_value() {
        only_strict(&[
            (r"\emptyset", r"\text{no solution}"),
            (r"(-\infty,\infty)", r"\text{all real numbers}"),
            (r"\text{no real solutions}", r"\emptyset"),
            (r"42", r"\text{forty two}"),
        ]);
        differ(&[(r"\emptyset", r"\text{all real numbers}"), (r"42", r"\text{forty three}")]);
    }

    #[test]
    fn number_words_in_english() {
        let value = |text| number_words(text).map(|number| number.value);
        let fraction = |a: i32, b: i32| Some(RBig::from(a) / RBig::from(b));
        assert_eq!(value("forty-two"), fraction(42, 1));
        assert_eq!(value("seventeen"), fraction(17, 1));
        assert_eq!(value("onehalf"), fraction(1, 2));
        assert_eq!(value("three-quarters"), fraction(3, 4));
        assert_eq!(value("twohundredandfive"), fraction(205, 1));
        assert_eq!(value("tenfold"), None);
        assert_eq!(value("half"), None);
        assert_eq!(value("twentyten"), None);
    }
}
