//! What to look for in a text, and by which conventions answers are the same.

/// What counts as an answer in a text. Several are tried together, by priority.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// LaTeX in `$..$`, `\[..\]`, `\boxed{..}` and so on.
    Latex(LatexTarget),
    /// Plain numbers and arithmetic.
    Expr(ExprTarget),
    /// One of some fixed strings, as in multiple choice.
    Strings(StringsTarget),
}

/// Where LaTeX is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LatexTarget {
    /// Also take LaTeX that no words such as "the answer is" announce.
    pub try_extract_without_anchor: bool,
    /// When `\boxed` is tried: 0 first, 50 after "final answer is", negative never.
    pub boxed_match_priority: i32,
    /// Repairs made before parsing.
    pub normalization: Normalization,
}

impl Default for LatexTarget {
    fn default() -> Self {
        Self {
            try_extract_without_anchor: true,
            boxed_match_priority: 50,
            normalization: Normalization::default(),
        }
    }
}

/// Where plain numbers are looked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExprTarget {
    /// Also take numbers that no words such as "the answer is" announce.
    pub try_extract_without_anchor: bool,
}

impl Default for ExprTarget {
    fn default() -> Self {
        Self { try_extract_without_anchor: true }
    }
}

/// Which strings are looked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StringsTarget {
    /// The strings.
    pub strings: Vec<String>,
    /// Also take strings that no words such as "the answer is" announce.
    pub try_extract_without_anchor: bool,
    /// Whether the extracted string is lower-cased.
    pub lowercase: bool,
}

impl Default for StringsTarget {
    fn default() -> Self {
        Self {
            strings: ["A", "B", "C", "D"].map(String::from).to_vec(),
            try_extract_without_anchor: true,
            lowercase: true,
        }
    }
}

/// Which boxes of a text are its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Boxed {
    /// All, joined by commas.
    All,
    /// The last, with those just before it that belong to it.
    Last,
    /// As [`Boxed::Last`], but not those of an earlier sentence, which may well be taken back in it.
    LastSentence,
    /// Boxes are left as they are.
    None,
}

/// Repairs made to LaTeX before it is parsed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Normalization {
    /// Spelling: `\dfrac`, `\mathrm`, `\left`, "infinity" and the like.
    pub basic_latex: bool,
    /// Units after the answer are dropped.
    pub units: bool,
    /// `\frac12`, `\sqrt3`, `x^(2)` and the like are completed.
    pub malformed_operators: bool,
    /// `.5` and the like.
    pub nits: bool,
    /// What becomes of `\boxed`.
    pub boxed: Boxed,
    /// Only the last part of a chain of equations is kept.
    pub equations: bool,
}

impl Default for Normalization {
    fn default() -> Self {
        Self {
            basic_latex: true,
            units: true,
            malformed_operators: true,
            nits: true,
            boxed: Boxed::All,
            equations: false,
        }
    }
}

/// Whether text that was found but not understood still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fallback {
    /// Only what was parsed counts.
    NoFallback,
    /// The first text found counts too, as text.
    FirstMatch,
}

/// How many places of one priority are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extraction {
    /// Only the first.
    FirstMatch,
    /// Any, until one parses.
    AnyMatch,
}

/// How a text is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reading {
    /// What to look for.
    pub targets: Vec<Target>,
    /// Whether text that was not understood counts.
    pub fallback: Fallback,
    /// How many places are tried.
    pub extraction: Extraction,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            targets: vec![
                Target::Latex(LatexTarget::default()),
                Target::Expr(ExprTarget::default()),
            ],
            fallback: Fallback::FirstMatch,
            extraction: Extraction::AnyMatch,
        }
    }
}
