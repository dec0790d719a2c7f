//! Cases small enough to be worked by hand.
#![allow(clippy::unwrap_used, reason = "a test that can not go on should stop")]

use icpo::Error;
use icpo::objective::advantage::{AdvantageConfig, Baseline, Std, group_advantages};
use icpo::objective::bonus::BonusSchedule;
use icpo::objective::config::Aggregation;
use icpo::objective::*;

/// Loss, slope and sums of one token at ℓ = −0.5 with the given log-ratio.
fn one_token(advantage: f64, log_ratio: f64, expert: bool, config: &LossConfig) -> PolicyLoss<f64> {
    let (logp, old) = ([-0.5], [-0.5 - log_ratio]);
    let rows = RowOffsets::padded(1, 1);
    let weights = token_weights(&rows, &[true], &[expert], config, None).unwrap();
    let batch = PolicyBatch {
        weights: &weights,
        old_logp: &old,
        advantage: &[advantage],
        expert_mask: &[expert],
        behavior_logp: Some(&old),
        ref_logp: None,
    };
    policy_loss(&logp, None, &batch, config, true).unwrap()
}

#[test]
fn tokens_worked_by_hand() {
    let paper = LossConfig::default();
    let dual = LossConfig { dual_clip: Some(3.0), ..paper.clone() };
    let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
    let check = |advantage: f64, ratio: f64, expert, config: &LossConfig, loss, slope| {
        let result = one_token(advantage, ratio.ln(), expert, config);
        assert!(near(result.loss, loss), "{advantage} {ratio}: {} {loss}", result.loss);
        assert!(near(result.d_logp[0], slope), "{advantage} {ratio}: {} {slope}", result.d_logp[0]);
        result.sums
    };
    // On policy: clipped above for Â > 0, below for Â < 0; otherwise −rÂ, with slope −rÂ.
    check(1.0, 2.0, false, &paper, -1.2, 0.0);
    check(1.0, 0.5, false, &paper, -0.5, -0.5);
    check(-1.0, 0.5, false, &paper, 0.8, 0.0);
    check(-1.0, 2.0, false, &paper, 2.0, 2.0);
    // The dual clip bounds the loss of a negative advantage at 3, and binds only beyond.
    assert_eq!(check(-1.0, 5.0, false, &dual, 3.0, 0.0).on_dual_clipped, 1.0);
    assert_eq!(check(-1.0, 2.0, false, &dual, 2.0, 2.0).on_dual_clipped, 0.0);
    // Off policy: f(1) = 1/1.01, with slope f(1 − f) = 0.01/1.01².
    let sums = check(1.0, 1.0, true, &paper, -1.0 / 1.01, -0.01 / 1.01f64.powi(2));
    assert!(near(sums.off_ratio, 1.0) && near(sums.off_shaped, 1.0 / 1.01));
    assert!(near(sums.off_slope, 0.01 / 1.01f64.powi(2)));
}

#[test]
fn aggregation_worked_by_hand() {
    // Rows of 1, 3 and 0 valid tokens, whose loss −ÂR is 5 for the first row and 1 for the second.
    let rows = RowOffsets::padded(3, 4);
    let mask: Vec<bool> = (0..12).map(|i| i == 0 || (4..7).contains(&i)).collect();
    let advantage: Vec<f64> = (0..12).map(|i| if i < 4 { -5.0 } else { -1.0 }).collect();
    let logp = vec![-1.0; 12];
    for (aggregation, expected) in [
        (Aggregation::TokenMean, 8.0 / 4.0),
        (Aggregation::SeqMeanTokenSum, (5.0 + 3.0) / 2.0),
        (Aggregation::SeqMeanTokenMean, (5.0 + 1.0) / 2.0),
        (Aggregation::SeqMeanTokenSumNorm, (5.0 + 3.0) / 2.0 / 4.0),
    ] {
        let config = LossConfig { aggregation, ..LossConfig::default() };
        let weights = token_weights(&rows, &mask, &[false; 12], &config, None).unwrap();
        let batch = PolicyBatch {
            weights: &weights,
            old_logp: &logp,
            advantage: &advantage,
            expert_mask: &[false; 12],
            behavior_logp: None,
            ref_logp: None,
        };
        let loss = policy_loss(&logp, None, &batch, &config, true).unwrap();
        assert!((loss.loss - expected).abs() < 1e-12, "{aggregation:?}: {} {expected}", loss.loss);
        assert_eq!((loss.sums.on_tokens, loss.sums.on_rows), (4.0, 2.0));
    }
}

/// Advantages of groups given as (rewards, ids), by the definition, for groups with spread.
#[test]
fn advantages_of_worked_groups() {
    let run = |rewards: &[f64], ids: &[i64], expert: &[bool], keep: &[bool], config| {
        group_advantages(rewards, ids, expert, keep, config).unwrap()
    };
    let (no, yes) = ([false; 4], [true; 4]);
    let default = AdvantageConfig::default();
    let bare = AdvantageConfig { std: Std::None, ..default };
    let on_policy = AdvantageConfig { baseline: Baseline::OnPolicy, ..default };
    // Rewards 1, 0, 0, 0: mean 1/4, unbiased deviation 1/2.
    let a = run(&[1.0, 0.0, 0.0, 0.0], &[3; 4], &no, &yes, AdvantageConfig { eps: 0.0, ..default });
    assert_eq!(a, [1.5, -0.5, -0.5, -0.5]);
    assert_eq!(run(&[1.0, 0.0, 0.0, 0.0], &[3; 4], &no, &yes, bare), [0.75, -0.25, -0.25, -0.25]);
    // Groups of one and of three, mixed up; no spread; 0.1 is not a binary fraction.
    assert_eq!(run(&[0.1, 1.0, 0.1, 0.1], &[-5, 9, -5, -5], &no, &yes, bare), [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(run(&[0.1; 4], &[-5; 4], &no, &yes, default), [0.0; 4]);
    // An expert rollout right where all others are wrong, against them alone.
    let expert = [false, false, false, true];
    assert_eq!(run(&[0.0, 0.0, 0.0, 1.0], &[1; 4], &expert, &yes, on_policy), [0.0, 0.0, 0.0, 1.0]);
    // Left out: no part in the statistics, no advantage.
    let keep = [true, true, true, false];
    assert_eq!(run(&[1.0, 0.0, 0.5, 9.0], &[1; 4], &no, &keep, bare), [0.5, -0.5, 0.0, 0.0]);
    let nan = group_advantages(&[f64::NAN], &[0], &[false], &[true], default);
    assert!(matches!(nan, Err(Error::NotFinite { argument: "rewards", .. })));
    assert_eq!(run(&[f64::NAN, 0.0], &[0; 2], &no[..2], &[false, true], bare), [0.0, 0.0]);
}

#[test]
fn bonus_schedules_meet_their_formulas() {
    let linear = BonusSchedule::Linear { total_steps: 400.0 };
    let cosine = BonusSchedule::Cosine { total_steps: 400.0 };
    let exp = BonusSchedule::Exp { tau: 100.0 };
    let at = |schedule: BonusSchedule, step: f64| schedule.gamma(step).unwrap();
    assert_eq!([at(linear, 0.0), at(linear, 100.0), at(linear, 400.0)], [1.0, 0.75, 0.0]);
    assert!((at(cosine, 200.0) - 0.5).abs() < 1e-15 && at(cosine, 0.0) == 1.0);
    assert!((at(exp, 100.0) - (-1.0f64).exp()).abs() < 1e-15);
    assert_eq!([at(linear, 500.0), at(cosine, 500.0)], [0.0, 0.0]);
    assert!(linear.gamma(-1.0).is_err() && linear.gamma(f64::NAN).is_err());
    assert!(BonusSchedule::Exp { tau: 0.0 }.gamma(1.0).is_err());
}

#[test]
fn rollouts_are_counted_by_how_their_prompts_fare() {
    use icpo::objective::rollouts::{RolloutSums, Rollouts, rollout_sums};
    // Prompt 5 is never solved but refined, 2 sometimes, 9 always; 7 has an expert rollout only.
    let rollouts = Rollouts {
        rewards: &[0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0],
        group_ids: &[5, 2, 9, 2, 5, 2, 7],
        expert_mask: &[false, false, false, false, true, true, true],
        accepted: &[false, false, false, false, true, false, true],
        lengths: Some(&[10, 20, 30, 40, 5, 6, 7]),
        demos: Some(&[0, 0, 0, 0, 1, 1, 2]),
    };
    let expected = RolloutSums {
        prompts: 4.0,
        non_pass: 1.0,
        some_pass: 1.0,
        all_pass: 1.0,
        non_pass_refined: 1.0,
        some_pass_refined: 0.0,
        all_pass_refined: 0.0,
        on_rollouts: 4.0,
        off_rollouts: 3.0,
        accepted: 2.0,
        on_reward: 2.0,
        off_reward: 2.0,
        on_length: 100.0,
        off_length: 18.0,
        demos: 4.0,
    };
    assert_eq!(rollout_sums(&rollouts, 1.0).unwrap(), expected);
    let wrong = Rollouts { accepted: &[true; 7], ..rollouts };
    let error = rollout_sums(&wrong, 1.0).unwrap_err().to_string();
    assert_eq!(
        error,
        "accepted: expected true for expert rollouts only, got true for rollout 0, which is none"
    );
}
