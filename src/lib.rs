//! In-context policy optimization: the objective, exact and fast.
//!
//! This crate is the core of the Python package `icpo-rs`, and is usable without Python. It
//! computes the loss of In-Context Steered Policy Optimization (GRPO in which the policy itself,
//! shown worked examples, supplies off-policy "expert" rollouts) with its gradient, from
//! log-probabilities, from logits, or from hidden states.
//!
//! ```
//! use icpo::objective::{self, LossConfig, PolicyBatch, RowOffsets};
//!
//! // Two rollouts of two tokens; the second was sampled with a demonstration in the prompt.
//! let rows = RowOffsets::padded(2, 2);
//! let (mask, expert) = ([true; 4], [false, false, true, true]);
//! let config = LossConfig::default();
//! let weights = objective::token_weights(&rows, &mask, &expert, &config, None)?;
//! let (old, behavior) = ([-1.0, -0.5, -2.0, -1.0], [-1.0, -0.5, -0.2, -0.1]);
//! let advantage = [-0.7, -0.7, 0.7, 0.7];
//! let batch = PolicyBatch {
//!     weights: &weights,
//!     old_logp: &old,
//!     advantage: &advantage,
//!     expert_mask: &expert,
//!     behavior_logp: Some(&behavior),
//!     ref_logp: None,
//! };
//! let loss = objective::policy_loss(&old, None, &batch, &config, true)?;
//! // Expert tokens that the plain prompt finds unlikely are pushed up.
//! assert!(loss.d_logp[2] < 0.0 && loss.d_logp[0] > 0.0);
//! # Ok::<(), icpo::Error>(())
//! ```
//!
//! [`reward`] is the checker of mathematical answers that rewards come from; [`analysis`] measures
//! what was sampled.
//!
//! Features: `python` builds the extension module; `cuda` adds the operators on CUDA devices, whose
//! driver is found at run time. Without features there is no dependency on an interpreter or a GPU,
//! and with them none on a GPU either.

pub mod analysis;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod element;
mod error;
pub mod objective;
pub mod parallel;
#[cfg(feature = "python")]
mod python;
pub mod reward;

pub use error::{Error, Result};
