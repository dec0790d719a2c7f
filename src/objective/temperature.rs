//! The sampling temperature: one number, or one a token.

use super::row::Scale;
use crate::error::{Error, Result};

/// τ: logits are divided by it before the softmax.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Temperature<'a> {
    /// The same for all tokens.
    Scalar(f64),
    /// One for each of the N tokens.
    PerToken(&'a [f64]),
}

impl Temperature<'_> {
    /// Checks length and range. Values at unused tokens are not looked at.
    pub(crate) fn check(&self, tokens: usize, used: impl Fn(usize) -> bool) -> Result<()> {
        // Wide enough for any use, narrow enough for single precision.
        let fine = |t: f64| (1e-6..=1e6).contains(&t);
        let bad = match self {
            Self::Scalar(t) => (!fine(*t)).then(|| t.to_string()),
            Self::PerToken(values) => {
                Error::check_len("temperature", tokens, "tokens", values.len())?;
                let bad = values.iter().enumerate().find(|&(i, &t)| used(i) && !fine(t));
                bad.map(|(i, t)| format!("{t} at token {i}"))
            }
        };
        match bad {
            Some(got) => Err(Error::config("temperature", "a number from 1e-6 to 1e6", got)),
            None => Ok(()),
        }
    }

    pub(crate) fn scale(&self, token: usize) -> Scale {
        match self {
            Self::Scalar(temperature) => Scale::new(*temperature),
            Self::PerToken(values) => Scale::new(values[token]),
        }
    }
}
