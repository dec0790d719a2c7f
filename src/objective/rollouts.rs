//! The diagnostics of a batch of rollouts, before any of them is trained on: how the policy does
//! by itself, and what the expert prompt adds.

use std::collections::BTreeMap;

use super::metrics::sums;
use crate::error::{Error, Result};

/// What was sampled, one entry for each generated rollout, rejected ones included.
#[derive(Debug, Clone, Copy)]
pub struct Rollouts<'a> {
    /// R, before any bonus.
    pub rewards: &'a [f64],
    /// Rollouts of one prompt share an id.
    pub group_ids: &'a [i64],
    /// Which were sampled under the expert prompt.
    pub expert_mask: &'a [bool],
    /// Which of those entered the update.
    pub accepted: &'a [bool],
    /// Lengths in tokens, where known.
    pub lengths: Option<&'a [i64]>,
    /// Demonstrations in the prompt of each, where known.
    pub demos: Option<&'a [i64]>,
}

sums! {
    /// Sums over a batch; additive, as [`super::LossSums`] are, as long as no prompt is split.
    RolloutSums {
        /// Prompts.
        prompts,
        /// Prompts that no policy rollout solves.
        non_pass,
        /// Prompts that some, but not all, policy rollouts solve.
        some_pass,
        /// Prompts that all policy rollouts solve.
        all_pass,
        /// Prompts with an accepted expert rollout, of those that no policy rollout solves.
        non_pass_refined,
        /// The same of those that some policy rollouts solve.
        some_pass_refined,
        /// The same of those that all policy rollouts solve.
        all_pass_refined,
        /// Rollouts under the plain prompt.
        on_rollouts,
        /// Rollouts under the expert prompt.
        off_rollouts,
        /// Accepted ones of these.
        accepted,
        /// Σ R under the plain prompt.
        on_reward,
        /// Σ R under the expert prompt.
        off_reward,
        /// Σ length under the plain prompt.
        on_length,
        /// Σ length under the expert prompt.
        off_length,
        /// Demonstrations shown.
        demos,
    }
}

#[derive(Default)]
struct Group {
    on: usize,
    solved: usize,
    refined: bool,
}

/// Counts prompts by how the policy alone does on them, and what expert rollouts add. A rollout
/// solves its prompt if its reward is at least `threshold` (δ). Prompts without a policy rollout
/// are counted as prompts only.
///
/// # Errors
/// If a length differs, a reward is not finite, or an accepted rollout is not an expert's.
pub fn rollout_sums(rollouts: &Rollouts<'_>, threshold: f64) -> Result<RolloutSums> {
    let n = rollouts.rewards.len();
    let same = |argument, len| Error::check_len(argument, n, "rollouts", len);
    same("group_ids", rollouts.group_ids.len())?;
    same("expert_mask", rollouts.expert_mask.len())?;
    same("accepted", rollouts.accepted.len())?;
    same("lengths", rollouts.lengths.map_or(n, <[i64]>::len))?;
    same("demos", rollouts.demos.map_or(n, <[i64]>::len))?;
    let mut sums = RolloutSums::default();
    let mut groups: BTreeMap<i64, Group> = BTreeMap::new();
    for i in 0..n {
        let (reward, expert, accepted) =
            (rollouts.rewards[i], rollouts.expert_mask[i], rollouts.accepted[i]);
        if !reward.is_finite() {
            let (argument, expected) = ("rewards", "a finite number");
            return Err(Error::NotFinite {
                argument,
                place: i.to_string(),
                expected,
                value: reward,
            });
        }
        if accepted && !expert {
            return Err(Error::Shape {
                argument: "accepted",
                expected: "true for expert rollouts only".into(),
                got: format!("true for rollout {i}, which is none"),
            });
        }
        let length = rollouts.lengths.map_or(0.0, |lengths| lengths[i] as f64);
        let group = groups.entry(rollouts.group_ids[i]).or_default();
        if expert {
            group.refined |= accepted;
            sums.off_rollouts += 1.0;
            sums.accepted += f64::from(u8::from(accepted));
            sums.off_reward += reward;
            sums.off_length += length;
        } else {
            group.on += 1;
            group.solved += usize::from(reward >= threshold);
            sums.on_rollouts += 1.0;
            sums.on_reward += reward;
            sums.on_length += length;
        }
        sums.demos += rollouts.demos.map_or(0.0, |demos| demos[i] as f64);
    }
    sums.prompts = groups.len() as f64;
    for group in groups.values().filter(|group| group.on > 0) {
        let (count, refined) = if group.solved == 0 {
            (&mut sums.non_pass, &mut sums.non_pass_refined)
        } else if group.solved < group.on {
            (&mut sums.some_pass, &mut sums.some_pass_refined)
        } else {
            (&mut sums.all_pass, &mut sums.all_pass_refined)
        };
        *count += 1.0;
        *refined += f64::from(u8::from(group.refined));
    }
    Ok(sums)
}
