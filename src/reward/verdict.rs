//! What a check says, and why.

/// Whether two answers are the same. Only [`Outcome::Equal`] earns a reward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The same answer, by the rules of the profile.
    Equal,
    /// A different answer.
    NotEqual,
    /// It could not be told.
    Unknown(Reason),
}

impl Outcome {
    /// Whether this is [`Outcome::Equal`].
    pub fn is_equal(self) -> bool {
        self == Outcome::Equal
    }

    /// `Equal` for true, `NotEqual` for false.
    pub fn from_bool(equal: bool) -> Self {
        if equal { Outcome::Equal } else { Outcome::NotEqual }
    }
}

/// Why it could not be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The work budget ran out.
    Budget,
    /// An expression is longer, deeper or has more parts than the limits allow.
    TooLarge,
    /// The numbers agree as far as they were computed, and no exact argument applies.
    Undecided,
    /// The expression has no value that could be compared (0/0, an unsupported construct).
    Undefined,
    /// It is not the LaTeX that answers are written in.
    Syntax,
    /// The gold has no answer that could be read.
    Gold,
    /// The response has no answer that could be read.
    Response,
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// The expressions are the same as read.
    Identical,
    /// Exact values.
    Exact,
    /// A decimal, compared to so many digits.
    Decimal,
    /// A difference too small to be seen (Math-Verify only).
    Small,
    /// A percentage beside the bare number.
    Percent,
    /// Words or letters.
    Word,
    /// Matrices, entry by entry.
    Matrix,
    /// Tuples, or a set beside a tuple.
    Tuple,
    /// Finite sets, element by element.
    FiniteSet,
    /// Intervals and their unions, by end points.
    RealSet,
    /// Equations and inequalities.
    Relation,
    /// A relation beside the set of its solutions.
    Solutions,
    /// The prediction says that two different numbers are equal.
    FalseEquation,
    /// Answers of different kinds.
    Kind,
    /// Text compared as text.
    Text,
}

impl Rule {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Identical => "identical",
            Rule::Exact => "exact",
            Rule::Decimal => "decimal",
            Rule::Small => "small",
            Rule::Percent => "percent",
            Rule::Word => "word",
            Rule::Matrix => "matrix",
            Rule::Tuple => "tuple",
            Rule::FiniteSet => "finite_set",
            Rule::RealSet => "real_set",
            Rule::Relation => "relation",
            Rule::Solutions => "solutions",
            Rule::FalseEquation => "false_equation",
            Rule::Kind => "kind",
            Rule::Text => "text",
        }
    }
}
