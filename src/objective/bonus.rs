//! The annealed bonus on the reward of accepted expert rollouts (eq. 12).

use crate::error::{Error, Result};

/// γ(t), the share of the bonus that is left at step t.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BonusSchedule {
    /// 1 − t/T.
    Linear {
        /// T.
        total_steps: f64,
    },
    /// ½(1 + cos πt/T).
    Cosine {
        /// T.
        total_steps: f64,
    },
    /// e^(−t/τ).
    Exp {
        /// τ.
        tau: f64,
    },
}

impl BonusSchedule {
    /// γ(t). A schedule of T steps stays at 0 after them.
    ///
    /// # Errors
    /// If t is negative or not finite, or T or τ is not positive.
    pub fn gamma(&self, step: f64) -> Result<f64> {
        if !(step >= 0.0 && step.is_finite()) {
            return Err(Error::config("step", "a finite number >= 0", step));
        }
        let (field, horizon) = match *self {
            Self::Linear { total_steps } | Self::Cosine { total_steps } => {
                ("total_steps", total_steps)
            }
            Self::Exp { tau } => ("tau", tau),
        };
        if !(horizon > 0.0 && horizon.is_finite()) {
            return Err(Error::config(field, "a finite number > 0", horizon));
        }
        let progress = step / horizon;
        Ok(match self {
            Self::Linear { .. } => (1.0 - progress).max(0.0),
            Self::Cosine { .. } => 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos()),
            Self::Exp { .. } => (-progress).exp(),
        })
    }
}
