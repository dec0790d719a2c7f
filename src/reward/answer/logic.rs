//! Three-valued logic: what is not known spreads, unless the rest decides.

use crate::reward::verdict::Outcome;

impl Outcome {
    /// Equal only if both are.
    pub(super) fn and(self, other: impl FnOnce() -> Outcome) -> Outcome {
        match self {
            Outcome::Equal => other(),
            Outcome::NotEqual => Outcome::NotEqual,
            Outcome::Unknown(_) => match other() {
                Outcome::NotEqual => Outcome::NotEqual,
                _ => self,
            },
        }
    }

    /// Equal if either is.
    pub(super) fn or(self, other: impl FnOnce() -> Outcome) -> Outcome {
        match self {
            Outcome::Equal => Outcome::Equal,
            Outcome::NotEqual => other(),
            Outcome::Unknown(_) => match other() {
                Outcome::Equal => Outcome::Equal,
                _ => self,
            },
        }
    }
}
