//! The answer checker: whether a response's final answer is the gold answer.
//!
//! Text goes through four stages: where the answer stands ([`extract`]), spelling ([`normalize`]),
//! grammar ([`latex`], [`plain`]) and comparison ([`answer`], on [`algebra`]). Nothing here reads a
//! clock, uses floating point to decide, or recurses deeper than a fixed limit; work is counted and
//! bounded ([`budget`]), so that any text whatever is answered, in the same way on any machine.

pub mod algebra;
pub mod answer;
pub mod budget;
pub mod checker;
pub mod config;
pub mod conventions;
pub mod expr;
pub mod extract;
pub mod latex;
pub mod normalize;
mod phrase;
pub mod plain;
pub mod print;
pub mod read;
mod verbatim;
mod verdict;
pub mod wire;

pub use checker::{Checker, Profile, Settings, Verdict};
pub use read::{Answer, Candidate};
pub use verdict::{Outcome, Reason, Rule};
