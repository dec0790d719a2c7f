//! The objective of ICPO on the CPU: plain arrays in, numbers and gradients out.
//!
//! | module | what | equation |
//! |---|---|---|
//! | [`advantage`] | rewards of a group to advantages | 4, 6 |
//! | [`rollouts`] | what a batch of rollouts looks like | |
//! | [`bonus`] | the annealed expert bonus | 12 |
//! | [`shaping`] | f(x) = x/(x + λ) | 10 |
//! | `surrogate` | the loss of one token | 5, 7, 10 |
//! | [`aggregate`] | masks and modes to one weight a token | Z of 10 |
//! | [`policy_loss()`] | loss of log-probabilities | 10 |
//! | [`logp_entropy()`] | log-probability, entropy, rank from logits | 13 |
//! | [`fused_policy_loss()`] | both at once, with the gradient in place | |
//! | [`linear_policy_loss()`] | the same from hidden states, chunk by chunk | |
//!
//! Accumulation is in `f32` over some hundred values at most and in `f64` beyond; what happens
//! once a token is in `f64` throughout. The order of every sum is fixed: results are the same bit
//! for bit over any number of threads.

pub mod advantage;
pub mod aggregate;
mod batch;
pub mod bonus;
pub mod config;
mod exp2;
mod fused;
mod linear;
mod logits;
mod logp_entropy;
mod matmul;
pub mod metrics;
mod policy_loss;
pub mod rollouts;
mod row;
pub mod shaping;
mod surrogate;
mod temperature;

pub use aggregate::{RowOffsets, TokenWeights, token_weights};
pub use batch::{PolicyBatch, Real};
pub use config::LossConfig;
pub use fused::{
    FusedInput, FusedLoss, fused_chunk_in_place, fused_policy_loss, fused_policy_loss_in_place,
    fused_policy_loss_into,
};
pub use linear::{LinearLoss, linear_policy_loss};
pub use logits::{Logits, LogitsMut};
pub use logp_entropy::{SavedRow, TokenStats, logp_entropy, logp_entropy_backward};
pub use metrics::LossSums;
pub use policy_loss::{PolicyLoss, policy_loss, policy_loss_into};
pub use temperature::Temperature;
