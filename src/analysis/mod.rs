//! Measures of what was sampled.
//!
//! [`edit_distance`] says how far trajectories are from each other.

pub mod edit_distance;
mod myers;
