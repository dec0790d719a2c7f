//! Repairs to LaTeX as people and models write it, before it is parsed.

use super::config::Normalization;

/// The LaTeX with its spelling repaired.
pub fn normalize(latex: &str, _config: &Normalization) -> String {
    latex.to_string()
}

/// The last part of a chain of equations.
pub fn last_equation(_latex: &str) -> Option<&str> {
    None
}
