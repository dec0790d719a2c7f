//! Tables: what each command, sign and word of LaTeX means.

use super::super::expr::{Binder, Function, NumberSet, Relation};
use super::token::{Bracket, Kind};

/// What a command stands for.
#[derive(Debug, Clone, Copy)]
pub enum Command {
    /// Space and the like.
    Skip,
    Plain(Kind),
    /// A Greek letter; takes one space after it along.
    Greek,
    /// Gamma: letter or function.
    Gamma,
    /// Any other symbol; takes one space after it along.
    Symbol,
    Infinity,
    /// `\lbrace`, which together with `\rbrace` is the empty set.
    LeftBrace,
    /// A command with text for an argument.
    Accent,
    /// `\begin` and `\end`.
    Environment,
    /// `\not`, known only before `\equiv`.
    NotEquivalent,
}

/// Length of the longest command name.
pub const LONGEST: usize = 18;

/// The command of this name.
pub fn named(name: &str) -> Option<Command> {
    use Command::Plain;
    Some(match name {
        "thinspace" | "medspace" | "thickspace" | "quad" | "qquad" | "negthinspace"
        | "negmedspace" | "negthickspace" | "vrule" | "vcenter" | "vbox" | "vskip" | "vspace"
        | "hfil" => Command::Skip,

        "over" | "div" => Plain(Kind::Div),
        "times" | "cdot" => Plain(Kind::Mul),
        "mod" => Plain(Kind::Mod),
        "pm" | "mp" => Plain(Kind::PlusMinus),

        "lgroup" => Plain(Kind::Open(Bracket::Group)),
        "rgroup" => Plain(Kind::Close(Bracket::Group)),
        "lbrace" => Command::LeftBrace,
        "rbrace" => Plain(Kind::Close(Bracket::BraceNamed)),
        "lbrack" => Plain(Kind::Open(Bracket::SquareNamed)),
        "rbrack" => Plain(Kind::Close(Bracket::SquareNamed)),
        "lvert" => Plain(Kind::Open(Bracket::Bar)),
        "rvert" => Plain(Kind::Close(Bracket::Bar)),
        "vert" => Plain(Kind::Vert),
        "langle" => Plain(Kind::Open(Bracket::Angle)),
        "rangle" => Plain(Kind::Close(Bracket::Angle)),
        "lfloor" | "llcorner" => Plain(Kind::Open(Bracket::Floor)),
        "rfloor" | "lrcorner" => Plain(Kind::Close(Bracket::Floor)),
        "lceil" | "ulcorner" => Plain(Kind::Open(Bracket::Ceil)),
        "rceil" | "urcorner" => Plain(Kind::Close(Bracket::Ceil)),
        "phantom" => Plain(Kind::Phantom),
        "boxed" => Plain(Kind::Boxed),

        "lim" => Plain(Kind::Bind(Binder::Limit)),
        "int" => Plain(Kind::Bind(Binder::Integral)),
        "sum" => Plain(Kind::Bind(Binder::Sum)),
        "prod" => Plain(Kind::Bind(Binder::Product)),
        "to" | "rightarrow" | "Rightarrow" | "longrightarrow" | "Longrightarrow" => {
            Plain(Kind::Approaches)
        }

        "log" => Plain(Kind::Function(Function::Log)),
        "ln" => Plain(Kind::Ln),
        "exp" => Plain(Kind::Function(Function::Exp)),
        "sin" => Plain(Kind::Function(Function::Sin)),
        "cos" => Plain(Kind::Function(Function::Cos)),
        "tan" => Plain(Kind::Function(Function::Tan)),
        "csc" => Plain(Kind::Function(Function::Csc)),
        "sec" => Plain(Kind::Function(Function::Sec)),
        "cot" => Plain(Kind::Function(Function::Cot)),
        "arcsin" => Plain(Kind::Function(Function::Asin)),
        "arccos" => Plain(Kind::Function(Function::Acos)),
        "arctan" => Plain(Kind::Function(Function::Atan)),
        "arccsc" => Plain(Kind::Function(Function::Acsc)),
        "arcsec" => Plain(Kind::Function(Function::Asec)),
        "arccot" => Plain(Kind::Function(Function::Acot)),
        "sinh" => Plain(Kind::Function(Function::Sinh)),
        "cosh" => Plain(Kind::Function(Function::Cosh)),
        "tanh" => Plain(Kind::Function(Function::Tanh)),
        "arsinh" | "arcsinh" => Plain(Kind::Function(Function::Asinh)),
        "arcosh" | "arccosh" => Plain(Kind::Function(Function::Acosh)),
        "artanh" | "arctanh" => Plain(Kind::Function(Function::Atanh)),
        "floor" => Plain(Kind::Function(Function::Floor)),
        "ceil" => Plain(Kind::Function(Function::Ceil)),
        "det" => Plain(Kind::Function(Function::Det)),
        "gcd" => Plain(Kind::Variadic(Function::Gcd)),
        "lcm" => Plain(Kind::Variadic(Function::Lcm)),
        "max" => Plain(Kind::Variadic(Function::Max)),
        "min" => Plain(Kind::Variadic(Function::Min)),
        "sqrt" => Plain(Kind::Sqrt),
        "frac" | "dfrac" | "tfrac" | "cfrac" => Plain(Kind::Frac),
        "binom" | "tbinom" | "dbinom" => Plain(Kind::Binom),
        "choose" => Plain(Kind::Choose),
        "operatorname" => Plain(Kind::OperatorName),
        "exponentialE" => Plain(Kind::LowerE),
        "begin" | "end" => Command::Environment,

        "in" => Plain(Kind::In),
        "notin" => Plain(Kind::NotIn),
        "equiv" => Plain(Kind::Relation(Relation::Eq)),
        "approx" => Plain(Kind::Approx),
        "lt" => Plain(Kind::Relation(Relation::Lt)),
        "le" | "leq" | "leqslant" => Plain(Kind::Relation(Relation::Le)),
        "gt" => Plain(Kind::Relation(Relation::Gt)),
        "ge" | "geq" | "geqslant" => Plain(Kind::Relation(Relation::Ge)),
        "ne" | "neq" => Plain(Kind::Relation(Relation::Ne)),
        "not" => Command::NotEquivalent,

        "cup" => Plain(Kind::Union),
        "cap" => Plain(Kind::Intersection),
        "setminus" => Plain(Kind::SetMinus),
        "emptyset" => Plain(Kind::EmptySet),
        "supseteq" => Plain(Kind::Superset),
        "subseteq" => Plain(Kind::Subset),

        "gamma" | "Gamma" => Command::Gamma,
        "alpha" | "beta" | "delta" | "Delta" | "epsilon" | "varepsilon" | "zeta" | "eta"
        | "theta" | "Theta" | "vartheta" | "iota" | "kappa" | "lambda" | "Lambda" | "mu" | "nu"
        | "xi" | "Xi" | "omicron" | "pi" | "Pi" | "varpi" | "rho" | "varrho" | "sigma"
        | "Sigma" | "varsigma" | "tau" | "upsilon" | "Upsilon" | "phi" | "Phi" | "varphi"
        | "chi" | "psi" | "Psi" | "omega" | "Omega" => Command::Greek,

        "infty" => Command::Infinity,
        "partial" => Plain(Kind::Partial),
        "Bbbk" | "wp" | "nabla" | "bigstar" | "angle" | "nexists" | "diagdown"
        | "measuredangle" | "eth" | "diagup" | "sphericalangle" | "clubsuit" | "varnothing"
        | "Diamond" | "complement" | "diamondsuit" | "imath" | "Finv" | "triangledown"
        | "heartsuit" | "jmath" | "Game" | "triangle" | "spadesuit" | "ell" | "hbar"
        | "vartriangle" | "hslash" | "blacklozenge" | "lozenge" | "blacksquare" | "mho"
        | "blacktriangle" | "sharp" | "prime" | "Im" | "flat" | "square" | "backprime" | "Re"
        | "natural" | "surd" | "circledS" => Command::Symbol,

        "acute" | "bar" | "overline" | "breve" | "check" | "widecheck" | "dot" | "ddot"
        | "grave" | "hat" | "tilde" | "widetilde" | "vec" | "overrightarrow" | "bm"
        | "boldsymbol" | "text" | "textit" | "textbf" | "textnormal" | "mathbb" | "mathbin"
        | "mathbf" | "mathcal" | "mathclap" | "mathclose" | "mathellipsis" | "mathfrak"
        | "mathinner" | "mathit" | "mathnormal" | "mathop" | "mathopen" | "mathord"
        | "mathpunct" | "mathrel" | "mathring" | "mathrlap" | "mathrm" | "mathscr" | "mathsf"
        | "mathsterling" | "mathtt" | "mbox" => Command::Accent,
        _ => return None,
    })
}

/// A command that is a sign: what follows the backslash.
pub fn sign(rest: &str) -> Option<(Option<Kind>, usize)> {
    let kind = match rest.as_bytes().first()? {
        b',' | b':' | b';' | b'!' | b'$' => None,
        b'(' => Some(Kind::Open(Bracket::RoundMath)),
        b')' => Some(Kind::Close(Bracket::RoundMath)),
        b'{' if rest.starts_with("{\\}") => return Some((Some(Kind::EmptySet), 3)),
        b'{' => Some(Kind::Open(Bracket::BraceShown)),
        b'}' => Some(Kind::Close(Bracket::BraceShown)),
        b'|' => Some(Kind::NormBar),
        b'\\' => Some(Kind::NextRow),
        _ => return None,
    };
    Some((kind, 1))
}

/// What a sign outside ASCII means.
pub fn unicode(sign: char) -> Option<Kind> {
    Some(match sign {
        '∔' | '⊕' | '⊞' => Kind::Add,
        '−' | '∸' => Kind::Sub,
        '×' | '⋅' | '⋄' | '⊡' | '∗' | '⋆' | '∘' | '∙' | '⊗' | '⊠' | '⋈' | '⋉' | '⋊' => {
            Kind::Mul
        }
        '÷' | '∕' => Kind::Div,
        '≡' | '≣' | '≟' | '≎' | '≏' | '≐' | '≑' | '≒' | '≓' | '≔' | '≕' | '≖' | '≗' => {
            Kind::Relation(Relation::Eq)
        }
        '≈' | '≊' | '≋' | '≃' | '≅' => Kind::Approx,
        '≪' | '≺' | '⋖' => Kind::Relation(Relation::Lt),
        '≤' | '≦' | '≲' | '≾' => Kind::Relation(Relation::Le),
        '≫' | '≻' | '⋗' => Kind::Relation(Relation::Gt),
        '≥' | '≧' | '≳' | '≿' => Kind::Relation(Relation::Ge),
        '≠' | '≁' | '≄' | '≇' | '≉' | '≢' => Kind::Relation(Relation::Ne),
        'ℕ' => Kind::NumberSet(NumberSet::Naturals),
        'ℤ' => Kind::NumberSet(NumberSet::Integers),
        'ℚ' => Kind::NumberSet(NumberSet::Rationals),
        'ℝ' => Kind::NumberSet(NumberSet::Reals),
        'ℂ' => Kind::NumberSet(NumberSet::Complexes),
        'ℙ' => Kind::NumberSet(NumberSet::Primes),
        '∪' => Kind::Union,
        '∩' => Kind::Intersection,
        '∖' => Kind::SetMinus,
        '±' | '∓' => Kind::PlusMinus,
        '∅' => Kind::EmptySet,
        '⊇' => Kind::Superset,
        '⊆' => Kind::Subset,
        '∉' => Kind::NotIn,
        'ℵ' | 'ℶ' | 'ℷ' | 'ℸ' => Kind::Symbol,
        sign if greek(sign).is_some() => Kind::Greek,
        _ => return None,
    })
}

/// The name of a Greek letter.
pub fn greek(letter: char) -> Option<&'static str> {
    Some(match letter {
        'α' => "alpha",
        'β' => "beta",
        'γ' => "gamma",
        'Γ' => "Gamma",
        'δ' => "delta",
        'Δ' => "Delta",
        'ε' => "epsilon",
        'ϵ' => "varepsilon",
        'ζ' => "zeta",
        'η' => "eta",
        'θ' => "theta",
        'Θ' => "Theta",
        'ϑ' => "vartheta",
        'ι' => "iota",
        'κ' => "kappa",
        'λ' => "lambda",
        'Λ' => "Lambda",
        'μ' => "mu",
        'ν' => "nu",
        'ξ' => "xi",
        'Ξ' => "Xi",
        'ο' => "omicron",
        'π' => "pi",
        'Π' => "Pi",
        'ϖ' => "varpi",
        'ρ' => "rho",
        'ϱ' => "varrho",
        'σ' => "sigma",
        'Σ' => "Sigma",
        'ς' => "varsigma",
        'τ' => "tau",
        'υ' => "upsilon",
        'Υ' => "Upsilon",
        'φ' => "phi",
        'Φ' => "Phi",
        'ϕ' => "varphi",
        'χ' => "chi",
        'ψ' => "psi",
        'Ψ' => "Psi",
        'ω' => "omega",
        'Ω' => "Omega",
        _ => return None,
    })
}

/// Names for `\operatorname`, which are words wherever they stand; the longest that fits.
const WORDS: [&str; 40] = [
    "orthogonalize",
    "eigenvectors",
    "eigenvalues",
    "diagonalize",
    "orthogonal",
    "eigenvects",
    "nullspace",
    "eigenvals",
    "bmatrix",
    "pmatrix",
    "vmatrix",
    "arccosh",
    "arcsinh",
    "arctanh",
    "arcosh",
    "arsinh",
    "artanh",
    "hstack",
    "vstack",
    "matrix",
    "eigen",
    "floor",
    "ortho",
    "trace",
    "zeros",
    "ceil",
    "cols",
    "diag",
    "norm",
    "ones",
    "orth",
    "rank",
    "rows",
    "rref",
    "eig",
    "eye",
    "gcd",
    "lcm",
    "svd",
    "SVD",
];

/// Length of the word that a text begins with, if it is one of [`WORDS`] or `tr`.
pub fn word(text: &str) -> Option<usize> {
    if !text.as_bytes().first().is_some_and(|b| b"oendbpvahmftzcrglsS".contains(b)) {
        return None;
    }
    let known = WORDS.iter().find(|word| text.starts_with(**word));
    known.map(|word| word.len()).or_else(|| text.starts_with("tr").then_some(2))
}
