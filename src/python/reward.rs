//! Argument unpacking for `crate::reward`.

use std::borrow::Cow;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use dashu_base::{Signed, UnsignedAbs};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

use super::call::run;
use super::error::Failure;
use super::tensor::TensorView;
use crate::Error;
use crate::reward::config::{
    Boxed, ExprTarget, Extraction, Fallback, LatexTarget, Normalization, Reading, StringsTarget,
    Target,
};
use crate::reward::latex::Parsed;
use crate::reward::wire::{self, WireNode};
use crate::reward::{Answer, Candidate, Checker, Profile, Settings, Verdict};
use crate::reward::{Outcome, Reason, print};

/// Text of any origin. What is no text (half of a surrogate pair) becomes U+FFFD.
type Text<'py> = Bound<'py, PyString>;

/// Which `\boxed` counts: a name, or as a flag in older code.
#[derive(FromPyObject)]
enum PyBoxed {
    #[pyo3(transparent)]
    Flag(bool),
    #[pyo3(transparent)]
    Name(String),
}

/// A `LatexNormalizationConfig`, of this package or of latex2sympy2_extended.
#[derive(FromPyObject)]
struct PyNormalization {
    basic_latex: bool,
    units: bool,
    malformed_operators: bool,
    nits: bool,
    boxed: PyBoxed,
    equations: bool,
}

impl PyNormalization {
    fn get(self) -> Result<Normalization, Failure> {
        let boxed = match &self.boxed {
            PyBoxed::Flag(true) => Boxed::All,
            PyBoxed::Flag(false) => Boxed::None,
            PyBoxed::Name(name) => match name.as_str() {
                "all" => Boxed::All,
                "last" => Boxed::Last,
                "none" => Boxed::None,
                other => {
                    return Err(Error::config("boxed", "'all', 'last' or 'none'", other).into());
                }
            },
        };
        Ok(Normalization {
            basic_latex: self.basic_latex,
            units: self.units,
            malformed_operators: self.malformed_operators,
            nits: self.nits,
            boxed,
            equations: self.equations,
        })
    }
}

/// One of the extraction configurations, told apart by what they have.
#[derive(FromPyObject)]
enum PyTarget {
    Latex {
        try_extract_without_anchor: bool,
        boxed_match_priority: i32,
        normalization_config: PyNormalization,
    },
    Strings {
        strings: Vec<String>,
        try_extract_without_anchor: bool,
        lowercase: bool,
    },
    Expr {
        try_extract_without_anchor: bool,
    },
}

impl PyTarget {
    fn get(self) -> Result<Target, Failure> {
        Ok(match self {
            Self::Latex {
                try_extract_without_anchor,
                boxed_match_priority,
                normalization_config,
            } => {
                let normalization = normalization_config.get()?;
                Target::Latex(LatexTarget {
                    try_extract_without_anchor,
                    boxed_match_priority,
                    normalization,
                })
            }
            Self::Strings { strings, try_extract_without_anchor, lowercase } => {
                Target::Strings(StringsTarget { strings, try_extract_without_anchor, lowercase })
            }
            Self::Expr { try_extract_without_anchor } => {
                Target::Expr(ExprTarget { try_extract_without_anchor })
            }
        })
    }
}

/// How a text is read.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct PyReading {
    targets: Vec<PyTarget>,
    fallback: String,
    extraction: String,
}

impl PyReading {
    fn get(self) -> Result<Reading, Failure> {
        let targets = self.targets.into_iter().map(PyTarget::get).collect::<Result<_, _>>()?;
        let fallback = match self.fallback.as_str() {
            "no_fallback" => Fallback::NoFallback,
            "first_match" => Fallback::FirstMatch,
            other => {
                let expected = "'no_fallback' or 'first_match'";
                return Err(Error::config("fallback_mode", expected, format!("'{other}'")).into());
            }
        };
        let extraction = match self.extraction.as_str() {
            "first_match" => Extraction::FirstMatch,
            "any_match" => Extraction::AnyMatch,
            other => {
                let expected = "'first_match' or 'any_match'";
                return Err(Error::config("extraction_mode", expected, format!("'{other}'")).into());
            }
        };
        Ok(Reading { targets, fallback, extraction })
    }
}

fn settings(given: &Bound<'_, PyDict>) -> PyResult<Settings> {
    let mut settings = Settings::new(Profile::Strict);
    if let Some(profile) = given.get_item("profile")? {
        let name: String = profile.extract()?;
        let known = Profile::ALL.iter().find(|(known, _)| *known == name);
        let Some((_, profile)) = known else {
            let names: Vec<String> =
                Profile::ALL.iter().map(|(known, _)| format!("'{known}'")).collect();
            let error = Error::config("profile", names.join(" or "), format!("'{name}'"));
            return Err(Failure::from(error).into());
        };
        settings = Settings::new(*profile);
    }
    for (key, value) in given {
        let key: String = key.extract()?;
        match key.as_str() {
            "profile" => {}
            "reading_gold" => settings.reading_gold = value.extract::<PyReading>()?.get()?,
            "reading_pred" => settings.reading_pred = value.extract::<PyReading>()?.get()?,
            "float_rounding" => settings.conventions.float_rounding = value.extract()?,
            "numeric_precision" => settings.conventions.numeric_precision = value.extract()?,
            "work" => settings.work = value.extract()?,
            _ => match Settings::FLAGS.iter().find(|(name, _)| *name == key) {
                Some((_, flag)) => *flag(&mut settings) = value.extract()?,
                None => {
                    let names: Vec<&str> = Settings::FLAGS.iter().map(|(name, _)| *name).collect();
                    let error = Error::config("settings", names.join(", "), format!("'{key}'"));
                    return Err(Failure::from(error).into());
                }
            },
        }
    }
    Ok(settings)
}

/// The settings of a profile that a checker's keyword arguments may change, with their defaults.
#[pyfunction]
pub(crate) fn checker_defaults(py: Python<'_>, profile: String) -> PyResult<Bound<'_, PyDict>> {
    let given = PyDict::new(py);
    given.set_item("profile", profile)?;
    let mut settings = settings(&given)?;
    let defaults = PyDict::new(py);
    defaults.set_item("float_rounding", settings.conventions.float_rounding)?;
    defaults.set_item("numeric_precision", settings.conventions.numeric_precision)?;
    defaults.set_item("work", settings.work)?;
    for (name, flag) in Settings::FLAGS {
        defaults.set_item(name, *flag(&mut settings))?;
    }
    Ok(defaults)
}

/// Outcome, reason, rule, extracted, gold, pred.
type PyVerdict = (
    &'static str,
    Option<&'static str>,
    &'static str,
    Option<String>,
    Option<String>,
    Option<String>,
);

fn verdict(verdict: Verdict) -> PyVerdict {
    let (outcome, reason) = match verdict.outcome {
        Outcome::Equal => ("equal", None),
        Outcome::NotEqual => ("not_equal", None),
        Outcome::Unknown(reason) => ("unknown", Some(name(reason))),
    };
    (outcome, reason, verdict.rule, verdict.extracted, verdict.gold, verdict.pred)
}

fn name(reason: Reason) -> &'static str {
    match reason {
        Reason::Budget => "budget",
        Reason::TooLarge => "too_large",
        Reason::Undecided => "undecided",
        Reason::Undefined => "undefined",
        Reason::Syntax => "syntax",
        Reason::Gold => "gold",
        Reason::Response => "response",
    }
}

/// Nodes, and whether variables are complex.
type PyNodes = (Vec<WireNode>, bool);

/// A parsed answer. Equal to another one of the same structure, up to the order of terms, factors
/// and elements; and to a sympy object that it converts to.
#[pyclass(frozen, module = "icpo._core", name = "ParsedAnswer")]
pub(crate) struct ParsedAnswer {
    parsed: Arc<Parsed>,
}

impl ParsedAnswer {
    fn structure(&self) -> String {
        print::to_srepr(&self.parsed.arena, self.parsed.root)
    }
}

#[pymethods]
impl ParsedAnswer {
    /// From nodes as `nodes` gives them.
    #[new]
    #[pyo3(signature = (nodes, complex=false))]
    fn new(py: Python<'_>, nodes: Vec<WireNode>, complex: bool) -> PyResult<Self> {
        let built = run(py, || Ok(wire::from_wire(&nodes)))?;
        let Some((arena, root)) = built else {
            return Err(PyValueError::new_err("nodes: expected nodes of an answer's expression"));
        };
        Ok(Self { parsed: Arc::new(Parsed { arena, root, complex }) })
    }

    /// Its nodes as (kind, data, places of children), children first.
    fn nodes(&self, py: Python<'_>) -> PyResult<Vec<WireNode>> {
        run(py, || Ok(wire::to_wire(&self.parsed.arena, self.parsed.root)))
    }

    /// Whether its variables are complex rather than real.
    #[getter]
    fn complex(&self) -> bool {
        self.parsed.complex
    }

    /// Its structure, as `sympy.srepr` would write it.
    fn srepr(&self, py: Python<'_>) -> PyResult<String> {
        run(py, || Ok(self.structure()))
    }

    /// The same as a sympy object; needs sympy.
    fn to_sympy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("icpo.reward.sympy_bridge")?.call_method1("to_sympy", (slf,))
    }

    /// How sympy takes it as an operand.
    fn _sympy_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("icpo.reward.sympy_bridge")?.call_method1("sympified", (slf,))
    }

    fn __str__(&self, py: Python<'_>) -> PyResult<String> {
        run(py, || Ok(print::to_sympy_str(&self.parsed.arena, self.parsed.root)))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        self.__str__(py)
    }

    /// That of Python's and sympy's integers for an integer, which it equals.
    fn __hash__(&self, py: Python<'_>) -> PyResult<i64> {
        run(py, || {
            let (arena, root) = (&self.parsed.arena, self.parsed.root);
            if let Some(value) = print::integer(arena, root) {
                let size = (value.clone().unsigned_abs() % ((1u64 << 61) - 1)) as i64;
                return Ok(if value.is_negative() { -size } else { size });
            }
            let mut hasher = DefaultHasher::new();
            self.structure().hash(&mut hasher);
            Ok(hasher.finish() as i64)
        })
    }

    fn __eq__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if let Ok(other) = other.cast::<Self>() {
            let (ours, theirs) = (slf.get(), other.get());
            let equal = Arc::ptr_eq(&ours.parsed, &theirs.parsed)
                || run(py, || Ok(ours.structure() == theirs.structure()))?;
            return Ok(equal.into_pyobject(py)?.to_owned().into_any());
        }
        py.import("icpo.reward.sympy_bridge")?.call_method1("equals", (slf, other))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyType>, PyNodes)> {
        let this = slf.get();
        Ok((slf.get_type(), (this.nodes(slf.py())?, this.parsed.complex)))
    }
}

/// A reading as Python has it: parsed or only text.
#[derive(FromPyObject)]
enum PyCandidate<'py> {
    #[pyo3(transparent)]
    Parsed(Bound<'py, ParsedAnswer>),
    #[pyo3(transparent)]
    Text(Text<'py>),
}

fn answer(candidates: &[PyCandidate<'_>]) -> Answer {
    let candidates = candidates.iter().map(|candidate| match candidate {
        PyCandidate::Parsed(parsed) => Candidate::Parsed((*parsed.get().parsed).clone()),
        PyCandidate::Text(text) => Candidate::Text(text.to_string_lossy().into_owned()),
    });
    Answer { candidates: candidates.collect(), ..Answer::default() }
}

fn lossy<'a>(texts: &'a [Text<'_>]) -> Vec<Cow<'a, str>> {
    texts.iter().map(|text| text.to_string_lossy()).collect()
}

fn borrowed<'a>(texts: &'a [Cow<'_, str>]) -> Vec<&'a str> {
    texts.iter().map(AsRef::as_ref).collect()
}

/// Readings, the extracted text, and what stood there.
type PyAnswer = (Vec<Py<PyAny>>, Option<String>, Option<&'static str>);

fn readings(py: Python<'_>, answer: Answer) -> PyResult<PyAnswer> {
    let candidates = answer.candidates.into_iter().map(|candidate| {
        Ok(match candidate {
            Candidate::Parsed(parsed) => {
                Py::new(py, ParsedAnswer { parsed: Arc::new(parsed) })?.into_any()
            }
            Candidate::Text(text) => text.into_pyobject(py)?.into_any().unbind(),
        })
    });
    let candidates = candidates.collect::<PyResult<_>>()?;
    Ok((candidates, answer.extracted, answer.source.map(|source| source.name())))
}

/// The checker. It holds nothing that changes, so any thread may use it.
#[pyclass(frozen, module = "icpo._core", name = "Checker")]
pub(crate) struct PyChecker {
    checker: Checker,
    settings: Py<PyDict>,
}

#[pymethods]
impl PyChecker {
    /// Settings by name; those of the profile where none is given.
    #[new]
    fn new(given: &Bound<'_, PyDict>) -> PyResult<Self> {
        let checker = Checker::new(settings(given)?);
        Ok(Self { checker, settings: given.copy()?.unbind() })
    }

    /// Whether a response gives the gold answer, and why.
    fn check(&self, py: Python<'_>, gold: Text<'_>, response: Text<'_>) -> PyResult<PyVerdict> {
        let (gold, response) = (gold.to_string_lossy(), response.to_string_lossy());
        let (gold, response) = (gold.as_ref(), response.as_ref());
        Ok(verdict(run(py, || Ok(self.checker.check(gold, response)))?))
    }

    /// Writes 1 for each response that gives one of its gold answers, 0 for the others.
    #[pyo3(signature = (responses, golds, *, threads=None, out))]
    fn score(
        &self,
        py: Python<'_>,
        responses: Vec<Text<'_>>,
        golds: Vec<Vec<Text<'_>>>,
        threads: Option<usize>,
        out: PyRef<'_, TensorView>,
    ) -> PyResult<()> {
        let responses = lossy(&responses);
        let golds: Vec<Vec<Cow<'_, str>>> = golds.iter().map(|golds| lossy(golds)).collect();
        let out = &*out;
        run(py, || {
            Error::check_len("golds", responses.len(), "responses", golds.len())?;
            let responses = borrowed(&responses);
            let golds: Vec<Vec<&str>> = golds.iter().map(|golds| borrowed(golds)).collect();
            let golds: Vec<&[&str]> = golds.iter().map(Vec::as_slice).collect();
            let scores = self.checker.score_any(&responses, &golds, threads);
            out.fill("out", scores.into_iter())
        })
    }

    /// A verdict for each response.
    #[pyo3(signature = (responses, golds, *, threads=None))]
    fn check_many(
        &self,
        py: Python<'_>,
        responses: Vec<Text<'_>>,
        golds: Vec<Vec<Text<'_>>>,
        threads: Option<usize>,
    ) -> PyResult<Vec<PyVerdict>> {
        let responses = lossy(&responses);
        let golds: Vec<Vec<Cow<'_, str>>> = golds.iter().map(|golds| lossy(golds)).collect();
        let verdicts = run(py, || {
            Error::check_len("golds", responses.len(), "responses", golds.len())?;
            let responses = borrowed(&responses);
            let golds: Vec<Vec<&str>> = golds.iter().map(|golds| borrowed(golds)).collect();
            let golds: Vec<&[&str]> = golds.iter().map(Vec::as_slice).collect();
            Ok(self.checker.check_any(&responses, &golds, threads))
        })?;
        Ok(verdicts.into_iter().map(verdict).collect())
    }

    /// What a response's answer is read as.
    fn parse(&self, py: Python<'_>, text: Text<'_>) -> PyResult<PyAnswer> {
        let text = text.to_string_lossy();
        let text = text.as_ref();
        let answer = run(py, || Ok(self.checker.parse(text)))?;
        readings(py, answer)
    }

    /// What a gold answer is read as.
    fn parse_gold(&self, py: Python<'_>, text: Text<'_>) -> PyResult<PyAnswer> {
        let text = text.to_string_lossy();
        let text = text.as_ref();
        let answer = run(py, || Ok(self.checker.parse_gold(text)))?;
        readings(py, answer)
    }

    /// Whether any reading of the gold is the same as any of the response.
    fn compare(
        &self,
        py: Python<'_>,
        gold: Vec<PyCandidate<'_>>,
        response: Vec<PyCandidate<'_>>,
    ) -> PyResult<PyVerdict> {
        let (gold, response) = (answer(&gold), answer(&response));
        Ok(verdict(run(py, || Ok(self.checker.compare(&gold, &response)))?))
    }

    /// Whether two answers are the same, whichever of them is the gold one.
    fn equivalent(&self, py: Python<'_>, a: Text<'_>, b: Text<'_>) -> PyResult<PyVerdict> {
        let (a, b) = (a.to_string_lossy(), b.to_string_lossy());
        let (a, b) = (a.as_ref(), b.as_ref());
        Ok(verdict(run(py, || Ok(self.checker.equivalent(a, b)))?))
    }

    /// Numbers of the groups of equal answers, −1 for texts without one.
    fn cluster(&self, py: Python<'_>, texts: Vec<Text<'_>>) -> PyResult<Vec<i64>> {
        let texts = lossy(&texts);
        run(py, || Ok(self.checker.cluster(&borrowed(&texts))))
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyType>, (Bound<'py, PyDict>,))> {
        let settings = slf.get().settings.bind(slf.py()).copy()?;
        Ok((slf.get_type(), (settings,)))
    }
}
