//! Limits, counted and never clocked, so that a verdict does not depend on the machine or its load.

use super::verdict::Reason;

/// Only this much of a response's end is read, in bytes.
pub const MAX_INPUT: usize = 256 << 10;
/// Longest expression that is parsed, in bytes.
pub const MAX_EXPRESSION: usize = 8 << 10;
/// Most candidates tried for one priority.
pub const MAX_CANDIDATES: usize = 64;
/// Most nodes of one parsed answer.
pub const MAX_NODES: usize = 4096;
/// Deepest nesting that the parser follows. It bounds the stack: nothing recurses on more than this.
pub const MAX_DEPTH: usize = 128;
/// Most entries of a matrix.
pub const MAX_MATRIX: usize = 1024;
/// Largest integer that is written out, in bits. Larger powers, factorials and binomials stay symbolic.
pub const MAX_BITS: usize = 1 << 16;
/// Most terms of a sum or product that is added up term by term.
pub const MAX_TERMS: u64 = 10_000;
/// Work units for reading one text, whichever of its places are tried.
pub const READ_WORK: u64 = 2_000_000;
/// Work units for one comparison; a unit is roughly one operation on a machine word.
pub const DEFAULT_WORK: u64 = 4_000_000;

/// Work left for one check. Every loop whose length the input decides charges it.
#[derive(Debug, Clone)]
pub struct Budget {
    left: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(DEFAULT_WORK)
    }
}

impl Budget {
    /// A budget of so many units.
    pub fn new(work: u64) -> Self {
        Self { left: work }
    }

    /// Pays for work about to be done, or says that it can not be afforded.
    pub fn charge(&mut self, work: u64) -> Result<(), Reason> {
        match self.left.checked_sub(work) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Reason::Budget)
            }
        }
    }

    /// Units left.
    pub fn left(&self) -> u64 {
        self.left
    }
}
