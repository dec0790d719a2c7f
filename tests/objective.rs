//! The objective against plain double-precision versions of the same formulas.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can not go on should stop")]

use icpo::element::{Element, bf16, f16};
use icpo::objective::config::{Aggregation, Kl, Named, OffRatio};
use icpo::objective::*;
use icpo::{Error, parallel};
use ndarray::{Array1, Array2, s};
use proptest::prelude::*;

/// So many random cases; failures are printed, not stored.
fn cases(cases: u32) -> ProptestConfig {
    // PROPTEST_CASES in the environment asks for a longer search.
    let cases = cases.max(ProptestConfig::default().cases);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A small generator, so that a case is one number.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }
}

/// Log-probability, entropy and rank of one row, straight from the definitions.
fn plain_row(row: &[f64], id: usize, temperature: f64) -> (f64, f64, i64) {
    let scaled: Vec<f64> = row.iter().map(|x| x / temperature).collect();
    let max = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (tops, rest): (Vec<f64>, Vec<f64>) =
        scaled.iter().map(|x| x - max).partition(|x| *x == 0.0);
    let log_sum = (tops.len() as f64).ln()
        + (rest.iter().map(|x| x.exp()).sum::<f64>() / tops.len() as f64).ln_1p();
    let logp = scaled[id] - max - log_sum;
    let p = |x: f64| (x - max - log_sum).exp();
    let entropy =
        scaled.iter().filter(|x| x.is_finite()).map(|&x| p(x) * (log_sum - (x - max))).sum();
    (logp, entropy, 1 + row.iter().filter(|x| **x > row[id]).count() as i64)
}

/// Relative closeness, down to where exponentials are cut off (2^-125 of the greatest).
fn close(ours: f64, theirs: f64, tolerance: f64) -> bool {
    (ours - theirs).abs() <= tolerance * theirs.abs().max(1e-25)
}

fn slice(values: &Array1<f64>) -> &[f64] {
    values.as_slice().unwrap()
}

fn logits<E: Element>(random: &mut Random, tokens: usize, vocabulary: usize) -> Array2<E> {
    let spread = [0.5, 3.0, 12.0][random.below(3)];
    Array2::from_shape_simple_fn((tokens, vocabulary), || {
        let masked = random.chance(0.05);
        E::from_f32(if masked { f32::NEG_INFINITY } else { (random.normal() * spread) as f32 })
    })
}

/// Ids of tokens that the logits allow.
fn allowed_ids<E: Element>(random: &mut Random, logits: &mut Array2<E>) -> Vec<i64> {
    let vocabulary = logits.ncols();
    (0..logits.nrows())
        .map(|token| {
            let id = random.below(vocabulary);
            if logits[[token, id]].to_f32() == f32::NEG_INFINITY {
                logits[[token, id]] = E::from_f32(0.25);
            }
            id as i64
        })
        .collect()
}

fn check_forward<E: Element>(seed: u64, vocabulary: usize) {
    let mut random = Random(seed);
    let tokens = 1 + random.below(4);
    let mut logits = logits::<E>(&mut random, tokens, vocabulary);
    let ids = allowed_ids(&mut random, &mut logits);
    let temperatures: Vec<f64> =
        (0..tokens).map(|_| [0.1, 0.6, 0.7, 1.0, 5.0][random.below(5)]).collect();
    let view = Logits::packed(logits.view()).unwrap();
    let stats = logp_entropy(&view, &ids, Temperature::PerToken(&temperatures), true).unwrap();
    for token in 0..tokens {
        let row: Vec<f64> = logits.row(token).iter().map(|x| f64::from(x.to_f32())).collect();
        let (logp, entropy, rank) = plain_row(&row, ids[token] as usize, temperatures[token]);
        assert!(close(f64::from(stats.logp[token]), logp, 2e-6), "{} {logp}", stats.logp[token]);
        // A row with one live token has entropy 0 and log-probability 0.
        assert!(
            close(f64::from(stats.entropy[token]), entropy, 5e-6),
            "seed {seed} V {vocabulary} t {}: {} {entropy}",
            temperatures[token],
            stats.entropy[token]
        );
        assert_eq!(stats.rank[token], rank);
    }
}

proptest! {
    #![proptest_config(cases(300))]

    /// Element-wise relative errors, however peaked the distribution.
    #[test]
    fn forward_meets_the_definition(seed: u64, vocabulary in 2usize..5000) {
        check_forward::<f32>(seed, vocabulary);
        check_forward::<bf16>(seed, vocabulary);
        check_forward::<f16>(seed, vocabulary);
    }
}

/// A random batch and everything that the loss may need.
struct Case {
    rows: RowOffsets,
    mask: Vec<bool>,
    expert: Vec<bool>,
    old: Array1<f64>,
    behavior: Array1<f64>,
    reference: Array1<f64>,
    advantage: Array1<f64>,
    logp: Array1<f64>,
    entropy: Array1<f64>,
    config: LossConfig,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let lengths: Vec<usize> = (0..1 + random.below(5)).map(|_| random.below(6)).collect();
        let packed = random.chance(0.5);
        let longest = lengths.iter().copied().max().unwrap().max(1);
        let rows = if packed {
            let ends = lengths.iter().scan(0, |end, length| {
                *end += *length as i64;
                Some(*end)
            });
            let cumulative: Vec<i64> = std::iter::once(0).chain(ends).collect();
            RowOffsets::packed(&cumulative, lengths.iter().sum()).unwrap()
        } else {
            RowOffsets::padded(lengths.len(), longest)
        };
        let tokens = rows.tokens();
        let mut values = |scale: f64, shift: f64| -> Array1<f64> {
            (0..tokens).map(|_| random.normal() * scale + shift).collect()
        };
        let logp = values(1.0, -2.0).mapv(|x| x.min(0.0));
        let (old, behavior, reference) =
            (&logp + values(0.3, 0.0), &logp + values(1.5, 1.0), &logp + values(0.5, 0.0));
        let (advantage, entropy) = (values(1.0, 0.0), values(1.0, 0.0).mapv(f64::abs));
        let share = [0.0, 0.3, 1.0][random.below(3)];
        let expert = (0..tokens).map(|_| random.chance(share)).collect();
        let keep = [0.0, 0.7, 1.0][random.below(3)];
        let mask = (0..tokens).map(|_| random.chance(keep)).collect();
        let pick = |random: &mut Random| random.chance(0.5);
        let config = LossConfig {
            off_ratio: OffRatio::ALL[random.below(3)].1,
            lam: [0.01, 0.1][random.below(2)],
            off_clip: pick(&mut random),
            clip_low: [0.2, f64::INFINITY][random.below(2)],
            clip_high: [0.2, 0.28, f64::INFINITY][random.below(3)],
            dual_clip: pick(&mut random).then_some(1.2),
            log_ratio_clamp: pick(&mut random).then_some(1.5),
            kl: Kl::ALL[1 + random.below(3)].1,
            kl_coef: 0.3,
            entropy_coef: 0.1,
            sft_coef: if pick(&mut random) { 0.5 } else { 0.0 },
            aggregation: Aggregation::ALL[random.below(4)].1,
            norm_constant: Some(7.0),
        };
        Self { rows, mask, expert, old, behavior, reference, advantage, logp, entropy, config }
    }

    fn weights(&self) -> TokenWeights {
        token_weights(&self.rows, &self.mask, &self.expert, &self.config, None).unwrap()
    }

    fn batch<'a>(&'a self, weights: &'a TokenWeights) -> PolicyBatch<'a, f64> {
        PolicyBatch {
            weights,
            old_logp: slice(&self.old),
            advantage: slice(&self.advantage),
            expert_mask: &self.expert,
            behavior_logp: Some(slice(&self.behavior)),
            ref_logp: Some(slice(&self.reference)),
        }
    }

    fn loss(&self, logp: &[f64], entropy: &[f64]) -> PolicyLoss<f64> {
        let weights = self.weights();
        policy_loss(logp, Some(entropy), &self.batch(&weights), &self.config, true).unwrap()
    }

    /// Whether a step of h in ℓ of this token crosses a kink of the loss.
    fn near_kink(&self, token: usize, h: f64) -> bool {
        let weights = self.weights();
        let flags = |logp: f64| {
            let mut moved = self.logp.clone();
            moved[token] = logp;
            let batch = self.batch(&weights);
            let sums =
                policy_loss(slice(&moved), Some(slice(&self.entropy)), &batch, &self.config, true)
                    .unwrap()
                    .sums;
            (sums.on_clipped, sums.on_dual_clipped, sums.off_clipped)
        };
        let limit = self.config.log_ratio_clamp.unwrap_or(f64::INFINITY);
        let at = self.logp[token];
        let at_limit = [self.old[token], self.behavior[token], self.reference[token], 0.0]
            .iter()
            .any(|origin| ((at - origin).abs() - limit).abs() < 2.0 * h);
        at_limit || flags(at - 2.0 * h) != flags(at + 2.0 * h)
    }
}

proptest! {
    #![proptest_config(cases(600))]

    /// The gradient is the derivative of the value, for every combination of settings.
    #[test]
    fn gradient_meets_finite_differences(seed: u64) {
        let case = Case::new(seed);
        let loss = case.loss(slice(&case.logp), slice(&case.entropy));
        let h = 1e-6;
        for token in (0..case.rows.tokens()).filter(|&token| !case.near_kink(token, h)) {
            let shifted = |values: &Array1<f64>, by: f64| {
                let mut moved = values.clone();
                moved[token] += by;
                moved
            };
            let up = case.loss(slice(&shifted(&case.logp, h)), slice(&case.entropy)).loss;
            let down = case.loss(slice(&shifted(&case.logp, -h)), slice(&case.entropy)).loss;
            let quotient = (up - down) / (2.0 * h);
            prop_assert!((loss.d_logp[token] - quotient).abs() < 1e-6 * quotient.abs().max(1.0));
            let up = case.loss(slice(&case.logp), slice(&shifted(&case.entropy, 1.0))).loss;
            prop_assert!((loss.d_entropy[token] - (up - loss.loss)).abs() < 1e-9);
        }
    }

    /// Micro-batches with the batch's denominator add up to the batch.
    #[test]
    fn micro_batches_add_up(seed: u64) {
        let case = Case::new(seed);
        let whole = case.loss(slice(&case.logp), slice(&case.entropy));
        let ranges: Vec<_> = case.rows.ranges().collect();
        let valid = |range: &std::ops::Range<usize>| case.mask[range.clone()].iter().filter(|m| **m).count();
        let denominator = match case.config.aggregation {
            Aggregation::TokenMean => ranges.iter().map(valid).sum::<usize>(),
            _ => ranges.iter().filter(|range| valid(range) > 0).count(),
        };
        if denominator == 0 {
            return Ok(());
        }
        let mut total = LossSums::default();
        for range in ranges {
            let rows = RowOffsets::padded(1, range.len());
            let (mask, expert) = (&case.mask[range.clone()], &case.expert[range.clone()]);
            let weights =
                token_weights(&rows, mask, expert, &case.config, Some(denominator as f64)).unwrap();
            let part = |values: &Array1<f64>| values.slice(s![range.clone()]).to_owned();
            let (old, behavior) = (part(&case.old), part(&case.behavior));
            let (reference, advantage) = (part(&case.reference), part(&case.advantage));
            let (logp, entropy) = (part(&case.logp), part(&case.entropy));
            let batch = PolicyBatch {
                weights: &weights,
                old_logp: slice(&old),
                advantage: slice(&advantage),
                expert_mask: expert,
                behavior_logp: Some(slice(&behavior)),
                ref_logp: Some(slice(&reference)),
            };
            let entropy = Some(slice(&entropy));
            total.add(&policy_loss(slice(&logp), entropy, &batch, &case.config, true).unwrap().sums);
        }
        for (name, (a, b)) in
            LossSums::NAMES.iter().zip(total.to_array().into_iter().zip(whole.sums.to_array()))
        {
            prop_assert!((a - b).abs() < 1e-9 * b.abs().max(1.0), "{name}: {a} {b}");
        }
    }
}

/// Random fused inputs around a [`Case`], which supplies rows and settings.
fn fused_case(seed: u64, vocabulary: usize) -> (Case, Array2<f32>, Vec<i64>) {
    let mut case = Case::new(seed);
    case.config.log_ratio_clamp = Some(20.0);
    let mut random = Random(seed ^ 0xf00d);
    let mut logits = logits::<f32>(&mut random, case.rows.tokens(), vocabulary);
    let ids = allowed_ids(&mut random, &mut logits);
    // Old log-probs near the new ones, as in training.
    for (token, id) in ids.iter().enumerate() {
        let row: Vec<f64> = logits.row(token).iter().map(|x| f64::from(*x)).collect();
        let (logp, _, _) = plain_row(&row, *id as usize, 0.7);
        case.old[token] = logp + 0.3 * random.normal();
        case.behavior[token] = logp + 0.5 * random.normal();
        case.reference[token] = logp + 0.3 * random.normal();
    }
    (case, logits, ids)
}

proptest! {
    #![proptest_config(cases(150))]

    /// The fused operators equal the two steps they replace, in value and gradient, in place or not,
    /// and the gradient is that of the plain softmax.
    #[test]
    fn fused_equals_its_parts(seed: u64, vocabulary in 2usize..300) {
        let (case, logits, ids) = fused_case(seed, vocabulary);
        let weights = case.weights();
        let input = FusedInput {
            ids: &ids,
            temperature: Temperature::Scalar(0.7),
            batch: case.batch(&weights),
            config: &case.config,
            check: true,
        };
        let mut dlogits = Array2::<f32>::zeros(logits.dim());
        let view = Logits::packed(logits.view()).unwrap();
        let forward = fused_policy_loss(&view, &input).unwrap();
        let into = fused_policy_loss_into(
            &view, &mut LogitsMut::packed(dlogits.view_mut()).unwrap(), &input).unwrap();
        let mut in_place = logits.clone();
        let placed = fused_policy_loss_in_place(
            &mut LogitsMut::packed(in_place.view_mut()).unwrap(), &input).unwrap();
        prop_assert_eq!(&forward, &into);
        prop_assert_eq!(&forward, &placed);
        prop_assert_eq!(&dlogits, &in_place);

        let plain: Vec<_> = (0..ids.len()).map(|token| {
            let row: Vec<f64> = logits.row(token).iter().map(|x| f64::from(*x)).collect();
            plain_row(&row, ids[token] as usize, 0.7)
        }).collect();
        let logp: Array1<f64> = plain.iter().map(|row| row.0).collect();
        let entropy: Array1<f64> = plain.iter().map(|row| row.1).collect();
        let parts = case.loss(slice(&logp), slice(&entropy));
        prop_assert!((parts.loss - forward.loss).abs() <= 1e-5 * parts.loss.abs().max(0.1));

        let (mut squares, mut size) = (0.0, 0.0);
        for (token, &id) in ids.iter().enumerate() {
            let row: Vec<f64> = logits.row(token).iter().map(|x| f64::from(*x)).collect();
            let (g, h) = (forward.d_logp[token] / 0.7, forward.d_entropy[token] / 0.7);
            for j in 0..vocabulary {
                let (ln_p, _, _) = plain_row(&row, j, 0.7);
                let p = ln_p.exp();
                // 1 - p without cancellation for the selected token, -p for the others.
                let policy = g * if j as i64 == id { -ln_p.exp_m1() } else { -p };
                let bonus = if p > 0.0 { -h * p * (ln_p + plain[token].1) } else { 0.0 };
                let error = (f64::from(dlogits[[token, j]]) - (policy + bonus)).abs();
                // Relative to the terms, which may cancel. x - max is rounded to float32 before
                // the exponential, so the error grows with the distance from the maximum.
                let reach = ln_p.abs().min(90.0);
                let terms = policy.abs() + (h * p).abs() * (1.0 + reach);
                prop_assert!(error <= (5e-7 + 1.5e-7 * reach) * terms + 1e-35, "{error:e}");
                squares += error * error;
                size += policy * policy + bonus * bonus;
            }
        }
        // As a whole, which tokens far from the maximum hardly enter.
        prop_assert!(squares.sqrt() <= 1e-6 * size.sqrt() + 1e-9, "{squares:e} of {size:e}");
    }

    /// Chunks of any size give the loss of the whole, and its gradients.
    #[test]
    fn linear_equals_the_whole(seed: u64, chunk in 1usize..9) {
        let (case, _, _) = fused_case(seed, 2);
        let mut random = Random(seed);
        let (tokens, width, vocabulary) = (case.rows.tokens(), 1 + random.below(9), 2 + random.below(700));
        let hidden = Array2::from_shape_simple_fn((tokens, width), || random.normal() as f32);
        let weight = Array2::from_shape_simple_fn((vocabulary, width), || random.normal() as f32);
        let ids: Vec<i64> = (0..tokens).map(|_| random.below(vocabulary) as i64).collect();
        let weights = case.weights();
        let input = FusedInput {
            ids: &ids,
            temperature: Temperature::Scalar(1.3),
            batch: case.batch(&weights),
            config: &case.config,
            check: true,
        };
        let ours = linear_policy_loss(hidden.view(), weight.view(), &input, chunk).unwrap();
        let logits = hidden.dot(&weight.t()).as_standard_layout().into_owned();
        let mut dlogits = logits.clone();
        let whole = fused_policy_loss_in_place(
            &mut LogitsMut::packed(dlogits.view_mut()).unwrap(), &input).unwrap();
        prop_assert!((ours.loss - whole.loss).abs() <= 1e-6 * whole.loss.abs().max(1.0));
        prop_assert_eq!(ours.sums.on_rows, whole.sums.on_rows);
        let near = |a: &Array2<f32>, b: &Array2<f32>| {
            let scale = b.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
            a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * scale)
        };
        prop_assert!(near(&ours.d_hidden, &dlogits.dot(&weight)));
        prop_assert!(near(&ours.d_weight, &dlogits.t().dot(&hidden)));
    }
}

#[test]
fn results_do_not_depend_on_threads() {
    let (case, logits, ids) = fused_case(11, 9_001);
    let run = |threads: usize| {
        parallel::set_num_threads(threads).unwrap();
        assert_eq!(parallel::num_threads(), threads);
        let weights = case.weights();
        let input = FusedInput {
            ids: &ids,
            temperature: Temperature::Scalar(0.7),
            batch: case.batch(&weights),
            config: &case.config,
            check: true,
        };
        let mut dlogits = logits.clone();
        let mut view = LogitsMut::packed(dlogits.view_mut()).unwrap();
        let loss = fused_policy_loss_in_place(&mut view, &input).unwrap();
        (loss, dlogits)
    };
    let first = run(1);
    for threads in [2, 3, 7, 1] {
        assert_eq!(run(threads), first, "{threads} threads");
    }
}

#[test]
fn bad_values_are_named() {
    let ids = [1i64, 0];
    let at = |value: f32| {
        let mut logits = Array2::from_elem((2, 5000), 0.5f32);
        logits[[1, 4321]] = value;
        logp_entropy(&Logits::packed(logits.view()).unwrap(), &ids, Temperature::Scalar(1.0), true)
    };
    assert!(at(f32::NEG_INFINITY).is_ok());
    for bad in [f32::NAN, f32::INFINITY, -f32::NAN] {
        match at(bad) {
            Err(Error::NotFinite { argument: "logits", place, .. }) => assert_eq!(place, "1, 4321"),
            other => panic!("{other:?}"),
        }
    }
    let run = |logits: Array2<f32>, ids: &[i64], check| {
        let view = Logits::packed(logits.view()).unwrap();
        logp_entropy(&view, ids, Temperature::Scalar(1.0), check)
    };
    let minus = Array2::from_elem((1, 3000), f32::NEG_INFINITY);
    assert!(run(minus.clone(), &[7], true).is_err());
    assert!(run(minus.clone(), &[7], false).unwrap().logp[0].is_nan());
    // A NaN among leading −inf, which no maximum shows.
    let mut hidden = minus.clone();
    (hidden[[0, 5]], hidden[[0, 2999]]) = (f32::NAN, 1.0);
    assert!(run(hidden.clone(), &[2999], true).is_err());
    assert!(run(hidden, &[2999], false).unwrap().logp[0].is_nan());
    // One live token: probability 1; any other is impossible.
    let mut single = minus;
    single[[0, 2998]] = -3.0;
    let stats = run(single.clone(), &[2998], true).unwrap();
    assert!(stats.logp[0].abs() < 1e-30 && stats.rank[0] == 1);
    assert!(stats.entropy[0].abs() < 1e-30);
    assert!(run(single.clone(), &[0], true).is_err());
    assert_eq!(run(single, &[0], false).unwrap().logp[0], f32::NEG_INFINITY);
    for id in [-1, 3, i64::MAX, i64::MIN] {
        let error = run(Array2::zeros((1, 3)), &[id], true).unwrap_err();
        assert_eq!(error.to_string(), format!("ids[0]: expected a token id in 0..3, got {id}"));
    }
}

#[test]
fn in_place_errors_leave_the_row_at_fault() {
    let config = LossConfig::default();
    let rows = RowOffsets::padded(2, 1);
    let weights = token_weights(&rows, &[true; 2], &[false; 2], &config, None).unwrap();
    let (old, advantage) = (Array1::from(vec![-1.0; 2]), Array1::from(vec![1.0; 2]));
    let input = FusedInput {
        ids: &[0, 1],
        temperature: Temperature::Scalar(1.0),
        batch: PolicyBatch {
            weights: &weights,
            old_logp: slice(&old),
            advantage: slice(&advantage),
            expert_mask: &[false; 2],
            behavior_logp: None,
            ref_logp: None,
        },
        config: &config,
        check: true,
    };
    let mut logits = Array2::from_shape_vec((2, 2), vec![1.0f32, 2.0, f32::NAN, 4.0]).unwrap();
    let error =
        fused_policy_loss_in_place(&mut LogitsMut::packed(logits.view_mut()).unwrap(), &input);
    let expected = "logits[row 1, token 0, 0]: expected a number or -inf, got NaN";
    assert_eq!(error.unwrap_err().to_string(), expected);
    assert!(logits[[1, 0]].is_nan() && logits[[1, 1]] == 4.0);
}

#[test]
fn settings_outside_their_range_are_named() {
    let bad = |change: fn(&mut LossConfig)| {
        let mut config = LossConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    };
    assert_eq!(bad(|c| c.lam = 0.0), "lam: expected a finite number > 0, got 0");
    assert!(bad(|c| c.clip_low = f64::NAN).starts_with("clip_low"));
    assert!(bad(|c| c.clip_high = -0.1).starts_with("clip_high"));
    assert!(bad(|c| c.dual_clip = Some(1.0)).starts_with("dual_clip"));
    assert!(bad(|c| c.log_ratio_clamp = Some(0.0)).starts_with("log_ratio_clamp"));
    assert!(bad(|c| c.norm_constant = Some(0.0)).starts_with("norm_constant"));
    assert!(bad(|c| c.entropy_coef = f64::NAN).starts_with("entropy_coef"));
    let names = OffRatio::from_name("behaviour").unwrap_err().to_string();
    assert_eq!(names, "off_ratio: expected 'behavior' or 'policy' or 'none', got 'behaviour'");
}
