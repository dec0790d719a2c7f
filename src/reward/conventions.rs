//! The settings that decide when two answers are the same.

/// How a number written with a decimal point is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decimals {
    /// Both sides are rounded to [`Conventions::float_rounding`] places after the point, as
    /// Math-Verify does; what differs only behind them is the same.
    Places,
    /// A decimal is its exact value, or an approximation if it has at least
    /// [`Conventions::float_rounding`] places after the point, three significant digits, and the
    /// other value agrees with all digits written. 0.0000001 is then not 0.0000004.
    Digits,
}

/// Whether letters that differ only in case are the same variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LetterCase {
    /// They are: `R - r` is 0.
    Ignored,
    /// Only if one side uses the capital and the other the small letter throughout, as people do
    /// with the constant of integration: `x + C` is `x + c`, but `A + a` is not `2a`.
    Respelled,
    /// They are not.
    Significant,
}

/// When two answers are the same. Each flag names a point on which sources of answers differ.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conventions {
    /// Variables keep their names. False: the prediction's variables are renamed to the gold's, in
    /// order of appearance, if there are as many. Default true: `x + 1` does not answer `y + 1`.
    pub strict_variables: bool,
    /// Places after the point to which decimals are compared. Default 6.
    pub float_rounding: u32,
    /// Digits to which the difference of two irrational numbers is computed before it counts as
    /// zero; only with `numeric_shortcut`. Default 15.
    pub numeric_precision: u32,
    /// A predicted relation may answer a set: `1 < x < 2` for `(1, 2)`. The converse is always
    /// allowed. Default false: who asks for a set wants one.
    pub allow_set_relation_comp: bool,
    /// How decimals are compared.
    pub decimals: Decimals,
    /// Whether the case of letters matters.
    pub letter_case: LetterCase,
    /// Two numbers are the same if their difference is below 10⁻¹⁵ or so, however small they are.
    /// Math-Verify does this, so 1/2004! is 1/2006! there; the truth is otherwise.
    pub numeric_shortcut: bool,
    /// `9` answers `9\%`, for whole numbers. On in both: problems ask "what percent" either way.
    pub percent_as_number: bool,
    /// A per cent sign that the gold lacks is let pass behind any number: `17.5\%` answers `17.5`,
    /// where the problem asked for the percentage. Off in Math-Verify.
    pub extra_percent_sign: bool,
    /// `{2, 1}` and `(2, 1)` differ. Off in Math-Verify.
    pub sets_are_not_tuples: bool,
    /// Elements that the gold repeats must be repeated: `-2` does not answer `-2, -2`. Further
    /// repetitions in the prediction are never held against it.
    pub duplicates_count: bool,
    /// A prediction with a false equation between numbers (`x = 1 = 2`) is rejected; Math-Verify
    /// reads its last side only.
    pub reject_false_equations: bool,
    /// Equations with the same solutions are the same also in one variable: `2x = 8` and `x = 4`.
    /// Math-Verify knows this only for several variables.
    pub same_solutions: bool,
    /// Two equations without variables are always the same in Math-Verify.
    pub numeric_equations_alike: bool,
    /// Relations of a chain may be mirrored and in any order: `a < b < c` is `c > b > a`.
    pub free_chains: bool,
    /// Words with a meaning are taken at it: "no solution" is ∅, "all real numbers" is ℝ,
    /// "forty-two" is 42.
    pub words_have_values: bool,
    /// Of a response with `</think>`, only what follows the last one is read, if an answer is there.
    pub answer_after_thinking: bool,
    /// A gold that is a whole solution stands for the answer in its last box, or after `####`.
    pub solution_golds: bool,
    /// A gold answer that is a sentence or several formulas is given by a response that ends with
    /// the same words, however little of it can be parsed.
    pub prose_verbatim: bool,
    /// A function's argument may have another name: `f(x) = x^2` is `f(t) = t^2`.
    pub bound_names: bool,
}

impl Conventions {
    /// Math-Verify's verdicts, wrong ones included.
    pub fn math_verify() -> Self {
        Self {
            strict_variables: true,
            float_rounding: 6,
            numeric_precision: 15,
            allow_set_relation_comp: false,
            decimals: Decimals::Places,
            letter_case: LetterCase::Ignored,
            numeric_shortcut: true,
            percent_as_number: true,
            extra_percent_sign: false,
            sets_are_not_tuples: false,
            duplicates_count: false,
            reject_false_equations: false,
            same_solutions: false,
            numeric_equations_alike: true,
            free_chains: false,
            words_have_values: false,
            answer_after_thinking: false,
            solution_golds: false,
            prose_verbatim: false,
            bound_names: false,
        }
    }

    /// The truth, as far as it goes.
    pub fn strict() -> Self {
        Self {
            strict_variables: true,
            float_rounding: 6,
            numeric_precision: 15,
            allow_set_relation_comp: false,
            decimals: Decimals::Digits,
            letter_case: LetterCase::Respelled,
            numeric_shortcut: false,
            percent_as_number: true,
            extra_percent_sign: true,
            sets_are_not_tuples: true,
            duplicates_count: true,
            reject_false_equations: true,
            same_solutions: true,
            numeric_equations_alike: false,
            free_chains: true,
            words_have_values: true,
            answer_after_thinking: true,
            solution_golds: true,
            prose_verbatim: true,
            bound_names: true,
        }
    }
}
