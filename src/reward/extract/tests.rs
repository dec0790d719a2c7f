//! Cases worked out with Math-Verify 0.9; laws that hold for any text.

#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::*;
use crate::reward::config::{ExprTarget, LatexTarget, StringsTarget};

fn latex_and_numbers() -> Vec<Target> {
    vec![Target::Latex(LatexTarget::default()), Target::Expr(ExprTarget::default())]
}

fn choices() -> Vec<Target> {
    vec![Target::Strings(StringsTarget::default())]
}

fn all(text: &str, targets: &[Target]) -> Vec<(i32, Match)> {
    let mut all = Vec::new();
    for_each_match(text, targets, &mut |priority, place| {
        all.push((priority, place));
        ControlFlow::Continue(())
    });
    all
}

/// What stands there, in one line.
fn shown(text: &str, found: &Found) -> String {
    let sign = |percent: bool| if percent { "%" } else { "" };
    match found {
        Found::Latex(pieces) => {
            let piece = |p: &Piece| format!("{}{}", &text[p.text.clone()], sign(p.percent));
            pieces.iter().map(piece).collect::<Vec<_>>().join(" & ")
        }
        Found::Number { integer, decimal, percent } => {
            let number = format!("{}|{}", &text[integer.clone()], &text[decimal.clone()]);
            format!("{number}{}", sign(*percent))
        }
        Found::Arithmetic(range) | Found::Choice(range) | Found::Text(range) => {
            text[range.clone()].to_string()
        }
    }
}

/// Priority and text of the first places.
fn first(text: &str, targets: &[Target], count: usize) -> Vec<(i32, String)> {
    let all = all(text, targets);
    all.iter().take(count).map(|(p, m)| (*p, shown(text, &m.found))).collect()
}

fn best(text: &str) -> (i32, String) {
    first(text, &latex_and_numbers(), 1).pop().unwrap_or((-1, String::new()))
}

#[test]
fn latex_is_found_as_announced() {
    let cases = [
        ("The final answer is $7$. I hope so.", 0, "7"),
        ("Final Answer to all of it is: \\(x\\)", 50, "x"),
        ("so \\boxed{a} and $b$.", 50, "\\boxed{a}"),
        ("so $\\boxed{a}$ and $b$.", 50, "\\boxed{a}"),
        ("answer: then $1$ or $2$, $3$", 100, "1 & 2 & 3"),
        ("my ANSWER\nis \\[3\\] not $5$", 200, "3"),
        ("$1$ and $2$", 300, "1 & 2"),
        ("costs 5$ not $6$", 300, "6"),
        ("$a\\$b$", 300, "a\\$b"),
        ("$a\nb is $$c\nd$$", 300, "c\nd"),
        ("take -\\frac{1}{2,5} of it", 300, "-\\frac{1}{2,5}"),
        ("thus [ 1, 2 ] it is", 300, " 1, 2 "),
        ("$5$ percent", 300, "5%"),
        ("\\\\[2pt] $x$", 300, "x"),
    ];
    for (text, priority, expected) in cases {
        assert_eq!(best(text), (priority, expected.to_string()), "{text}");
    }
}

#[test]
fn numbers_are_found_as_announced() {
    let cases = [
        ("final answer is 7. I hope so", 0, "7|"),
        ("the final answer is: 1,234.5 units", 50, "1,234|.5"),
        ("answer: 3 + 4 = 7 apples", 100, "7|"),
        ("answer 12 = x", 200, "1|"),
        ("cost $12,50", 300, "12|,50"),
        ("now .5 percent", 300, "|.5%"),
        ("that is 3/4, so", 300, "3/4"),
        ("that is 3/4.", 300, "3/4."),
        ("that is (1+2): so", 300, "(1+2)"),
        ("x2 is x3", -1, ""),
        ("٣ = ٤", 300, "٤|"),
    ];
    for (text, priority, expected) in cases {
        assert_eq!(best(text), (priority, expected.to_string()), "{text}");
    }
}

#[test]
fn choices_are_found_as_announced() {
    let cases = [
        ("final answer is A I hope", 0, "A"),
        ("final answer surely is: Bar", 50, "B"),
        ("answer: it is **C**.", 100, "C"),
        ("answer D", 200, "D"),
        ("A: yes", 250, "A"),
        ("take B", 300, "B"),
    ];
    for (text, priority, expected) in cases {
        let found = first(text, &choices(), 1);
        assert_eq!(found, [(priority, expected.to_string())], "{text}");
    }
    assert!(all("ABC (D)", &choices()).is_empty());
}

#[test]
fn the_last_place_of_a_priority_is_visited_first() {
    let text = "$1$ then 2, then 3+4 and $5$";
    let found: Vec<_> = first(text, &latex_and_numbers(), 9).into_iter().map(|f| f.1).collect();
    assert_eq!(found, ["5", "5|", "3+4", "3|", "2|", "1", "1|"]);
}

#[test]
fn boxes_are_found_wherever_their_environment_begins() {
    let text = "\\[ a \\] \\[ b \\n $c$ $$ \\boxed{1} \\] and \\boxed{2}";
    let found: Vec<_> = first(text, &latex_and_numbers(), 2).into_iter().map(|f| f.1).collect();
    assert_eq!(found[0], "\\boxed{1} \\] and \\boxed{2}");
    assert_eq!(found[1], " b \\n $c$ $$ \\boxed{1} ");
}

#[test]
fn visiting_stops_when_told_to() {
    let mut visited = 0;
    for_each_match("1 2 3", &latex_and_numbers(), &mut |_, _| {
        visited += 1;
        ControlFlow::Break(())
    });
    assert_eq!(visited, 1);
}

#[test]
fn only_the_end_of_a_long_text_is_read() {
    let text = format!("$\\boxed{{1}}$ {}2 $3$", "é".repeat(MAX_INPUT));
    let all = all(&text, &latex_and_numbers());
    assert_eq!(shown(&text, &all[0].1.found), "3");
    assert!(all.iter().all(|(priority, _)| *priority == 300));
}

#[test]
fn candidates_are_limited() {
    for fragment in ["$1$ ", "1 ", "answer 1 ", "final answer is $1$ ", "$\\boxed{1}$ "] {
        let all = all(&fragment.repeat(1000), &latex_and_numbers());
        for (priority, place) in &all {
            let same = all.iter().filter(|(p, _)| p == priority).count();
            assert!(same <= MAX_CANDIDATES, "{fragment}: {priority}, {place:?}");
        }
    }
}

/// Each of these would keep a backtracking scanner busy for hours.
#[test]
fn floods_end() {
    let fragments = [
        "answer",
        "answer: =",
        "$",
        "$$\\$$",
        "\\boxed{",
        "$\\boxed{",
        ", and ",
        "final answer ",
        "final answer is ",
        "1",
        "1 ",
        "1+",
        " (1+",
        "\\[",
        "\\(\\boxed{",
        "\\frac{1",
        "\u{3000}",
    ];
    for fragment in fragments {
        let flood = fragment.repeat(MAX_INPUT / fragment.len());
        for text in [format!("{flood}="), format!("answer final answer is {flood} $")] {
            for targets in [latex_and_numbers(), choices()] {
                for_each_match(&text, &targets, &mut |_, _| ControlFlow::Continue(()));
            }
        }
    }
}

const FRAGMENTS: [&str; 40] = [
    "$",
    "$$",
    "\\boxed{",
    "}",
    "{",
    " and ",
    ",or",
    ", ",
    "%",
    "\\%",
    " percentage",
    "answer",
    "Answer: ",
    "final answer is ",
    ". I hope",
    "\\[",
    "\\]",
    "\\(",
    "\\)",
    "\n",
    " [",
    "] ",
    "\\",
    "-",
    "\\frac{1}{2}",
    "1,234",
    " 12 345.67",
    "=",
    "**",
    "1/2",
    "(1+",
    " is: ",
    "€",
    "\u{a0}",
    "é",
    "٣",
    "A",
    "B",
    ".5",
    "x",
];

proptest! {
    #[test]
    fn places_lie_in_the_text_and_in_order(
        parts in proptest::collection::vec(0..FRAGMENTS.len(), 0..40),
    ) {
        let text: String = parts.iter().map(|&i| FRAGMENTS[i]).collect();
        let mut targets = latex_and_numbers();
        targets.extend(choices());
        let all = all(&text, &targets);
        for (_, place) in &all {
            prop_assert!(text.get(place.span.clone()).is_some());
            let inside = |r: &Range<usize>| {
                text.get(r.clone()).is_some()
                    && place.span.start <= r.start
                    && r.end <= place.span.end
            };
            match &place.found {
                Found::Latex(pieces) => prop_assert!(pieces.iter().all(|p| inside(&p.text))),
                Found::Number { integer, decimal, .. } => {
                    prop_assert!(inside(integer) && inside(decimal));
                }
                Found::Arithmetic(range) | Found::Choice(range) | Found::Text(range) => {
                    prop_assert!(inside(range));
                }
            }
        }
        let key = |(priority, m): &(i32, Match)| (*priority, Reverse(m.span.end), m.span.start);
        prop_assert!(all.windows(2).all(|pair| key(&pair[0]) <= key(&pair[1])));
    }
}
