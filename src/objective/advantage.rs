//! Group-relative advantages (eq. 4 and 6).

use std::collections::HashMap;

use super::config::Named;
use crate::error::{Error, Result};

/// What the deviation from the mean is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Std {
    /// The sample standard deviation (n − 1) plus ε: GRPO as verl has it.
    #[default]
    Unbiased,
    /// Nothing: Dr. GRPO, LUFFY.
    None,
}

/// Which rollouts the statistics of a group come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Baseline {
    /// All of them, G_on ∪ G_off (eq. 6).
    #[default]
    Mixed,
    /// G_on alone.
    OnPolicy,
}

impl Named for Std {
    const FIELD: &'static str = "std";
    const ALL: &'static [(&'static str, Self)] =
        &[("unbiased", Self::Unbiased), ("none", Self::None)];
}

impl Named for Baseline {
    const FIELD: &'static str = "baseline";
    const ALL: &'static [(&'static str, Self)] =
        &[("mixed", Self::Mixed), ("on_policy", Self::OnPolicy)];
}

/// The conventions of [`group_advantages`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdvantageConfig {
    /// Divisor.
    pub std: Std,
    /// Origin of the statistics.
    pub baseline: Baseline,
    /// Added to the standard deviation.
    pub eps: f64,
}

impl Default for AdvantageConfig {
    fn default() -> Self {
        Self { std: Std::Unbiased, baseline: Baseline::Mixed, eps: 1e-6 }
    }
}

/// Mean and standard deviation of a group, with the conventions for those too small to have any.
fn statistics(rewards: &[f64], eps: f64) -> (f64, f64) {
    let n = rewards.len() as f64;
    match rewards {
        // verl's convention for a group of one: the reward itself is the advantage.
        [] | [_] => (0.0, 1.0 + eps),
        // Without spread there is nothing to divide by. (The mean of equal numbers may differ from
        // them in the last bit, so it is not computed.)
        [first, rest @ ..] if rest.iter().all(|reward| reward == first) => (*first, 1.0),
        _ => {
            let mean = rewards.iter().sum::<f64>() / n;
            let squares: f64 = rewards.iter().map(|reward| (reward - mean).powi(2)).sum();
            (mean, (squares / (n - 1.0)).sqrt() + eps)
        }
    }
}

/// Â of each rollout: its reward against the others of its group.
///
/// Rollouts of one group share an id; ids come in any order and groups in any size. Rollouts that
/// `keep_mask` leaves out have no part in the statistics and advantage 0. Statistics over a single
/// rollout, or over none, are mean 0 and deviation 1; over equal rewards they are that reward and
/// deviation 1, so that a group without spread has advantage 0 everywhere, and an expert rollout
/// that beats a uniform on-policy baseline gets the plain difference rather than 1/ε times it.
///
/// # Errors
/// If a length differs or a kept reward is not finite.
pub fn group_advantages(
    rewards: &[f64],
    group_ids: &[i64],
    expert_mask: &[bool],
    keep_mask: &[bool],
    config: AdvantageConfig,
) -> Result<Vec<f64>> {
    let rollouts = rewards.len();
    Error::check_len("group_ids", rollouts, "rollouts", group_ids.len())?;
    Error::check_len("expert_mask", rollouts, "rollouts", expert_mask.len())?;
    Error::check_len("keep_mask", rollouts, "rollouts", keep_mask.len())?;
    if !(config.eps >= 0.0 && config.eps.is_finite()) {
        return Err(Error::config("eps", "a finite number >= 0", config.eps));
    }
    if let Some(i) = (0..rollouts).find(|&i| keep_mask[i] && !rewards[i].is_finite()) {
        return Err(Error::NotFinite {
            argument: "rewards",
            place: i.to_string(),
            expected: "a finite number",
            value: rewards[i],
        });
    }
    let mut groups: HashMap<i64, Vec<f64>> = HashMap::new();
    for i in (0..rollouts).filter(|&i| keep_mask[i]) {
        let group = groups.entry(group_ids[i]).or_default();
        if config.baseline == Baseline::Mixed || !expert_mask[i] {
            group.push(rewards[i]);
        }
    }
    // Looked up by key only, so the map's order never shows.
    let statistics: HashMap<i64, (f64, f64)> =
        groups.iter().map(|(&id, rewards)| (id, statistics(rewards, config.eps))).collect();
    let advantage = |i: usize| match statistics.get(&group_ids[i]) {
        Some((mean, std)) if keep_mask[i] => match config.std {
            Std::Unbiased => (rewards[i] - mean) / std,
            Std::None => rewards[i] - mean,
        },
        _ => 0.0,
    };
    Ok((0..rollouts).map(advantage).collect())
}
