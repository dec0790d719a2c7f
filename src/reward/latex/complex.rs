//! Whether LaTeX speaks of complex numbers, so that its variables are not taken to be real.

/// Commands that only make sense among complex numbers or matrices.
const SIGNS: [&str; 14] = [
    "\\mathbb{C}",
    "\\text{i}",
    "\\mathrm{i}",
    "\\det",
    "\\operatorname{tr}",
    "\\operatorname{rank}",
    "\\text{rank}",
    "\\arg{",
    "\\Re{",
    "\\Im{",
    "\\operatorname{Re}",
    "\\operatorname{Im}",
    "\\text{Re}",
    "\\text{Im}",
];

/// Whether an i stands alone, or a command speaks of complex numbers.
pub fn suggested(latex: &str) -> bool {
    if lone_i(latex) {
        return true;
    }
    latex.contains('\\')
        && (SIGNS.iter().any(|sign| latex.contains(sign)) || whole_command(latex, "\\imath"))
}

/// An i that is not part of a longer word or number: `3+i`, but not `2i` or `sin`.
fn lone_i(latex: &str) -> bool {
    let word = |sign: char| sign.is_alphanumeric() || sign == '_';
    latex.match_indices('i').any(|(at, _)| {
        let before = latex[..at].chars().next_back();
        let after = latex[at + 1..].chars().next();
        !before.is_some_and(word) && !after.is_some_and(word)
    })
}

fn whole_command(latex: &str, command: &str) -> bool {
    latex.match_indices(command).any(|(at, _)| {
        let after = latex[at + command.len()..].chars().next();
        !after.is_some_and(|sign| sign.is_alphanumeric() || sign == '_')
    })
}
