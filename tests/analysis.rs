//! Edit distances against the recurrence that defines them.
#![allow(clippy::unwrap_used, reason = "a test that can not go on should stop")]

use icpo::Error;
use icpo::analysis::edit_distance::{EditDistances, Sequences};
use proptest::prelude::*;

/// The table of distances, row by row.
fn naive(a: &[i64], b: &[i64]) -> i64 {
    let mut row: Vec<i64> = (0..=b.len() as i64).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i as i64 + 1;
        for (j, y) in b.iter().enumerate() {
            let best = (corner + i64::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = row[j + 1];
            row[j + 1] = best;
        }
    }
    row[b.len()]
}

fn sequences(all: &[Vec<i64>]) -> Sequences {
    let mut offsets = vec![0];
    for one in all {
        offsets.push(offsets.last().unwrap() + one.len() as i64);
    }
    Sequences::new(&all.concat(), &offsets).unwrap()
}

fn all_pairs(all: &[Vec<i64>]) -> Vec<i64> {
    EditDistances::all_pairs(&sequences(all)).compute()
}

fn naive_pairs(all: &[Vec<i64>]) -> Vec<i64> {
    let pairs = (0..all.len()).flat_map(|i| (i + 1..all.len()).map(move |j| (i, j)));
    pairs.map(|(i, j)| naive(&all[i], &all[j])).collect()
}

/// Lengths at and around the ends of words and strips.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        Just(0usize),
        Just(1),
        62usize..67,
        126usize..131,
        254usize..259,
        510usize..515,
        0usize..40
    ]
}

/// Few different tokens, so that there is much to align; or many, negative and huge ones too.
fn sequence() -> impl Strategy<Value = Vec<i64>> {
    let token = prop_oneof![3 => 0i64..4, 1 => any::<i64>(), 1 => Just(i64::MIN)];
    length().prop_flat_map(move |length| prop::collection::vec(token.clone(), length))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn all_pairs_are_those_of_the_recurrence(all in prop::collection::vec(sequence(), 0..20)) {
        prop_assert_eq!(all_pairs(&all), naive_pairs(&all));
    }

    #[test]
    fn two_sets_are_compared_row_by_row(
        ours in prop::collection::vec(sequence(), 0..11),
        theirs in prop::collection::vec(sequence(), 0..11),
    ) {
        let all = sequences(&[ours.clone(), theirs.clone()].concat());
        let found = EditDistances::between(&all, ours.len()).unwrap().compute();
        let expected: Vec<i64> =
            ours.iter().flat_map(|a| theirs.iter().map(|b| naive(a, b))).collect();
        prop_assert_eq!(found, expected);
    }

    /// A few edits are no more than as many apart.
    #[test]
    fn edits_are_an_upper_bound(
        original in prop::collection::vec(0i64..9, 1..700),
        edits in prop::collection::vec((0usize..3, any::<prop::sample::Index>(), 0i64..9), 0..12),
    ) {
        let mut edited = original.clone();
        for (kind, place, token) in &edits {
            match kind {
                0 => edited.insert(place.index(edited.len() + 1), *token),
                1 if !edited.is_empty() => *place.get_mut(&mut edited) = *token,
                _ if !edited.is_empty() => drop(edited.remove(place.index(edited.len()))),
                _ => {}
            }
        }
        let all = [original, edited];
        let found = all_pairs(&all)[0];
        prop_assert!(found <= edits.len() as i64);
        prop_assert_eq!(found, naive(&all[0], &all[1]));
    }
}

/// More texts than a tile takes, in more parts than one, whatever the number of threads.
#[test]
fn tiles_and_parts_put_together_what_they_took_apart() {
    let one = |seed: i64, length: i64| -> Vec<i64> {
        (0..length).map(|place| (place * place + seed * place / 3) % 7).collect()
    };
    let all: Vec<Vec<i64>> = (0..40).map(|seed| one(seed, 8_000 - 13 * seed)).collect();
    let all = sequences(&all);
    let together = EditDistances::all_pairs(&all).compute();
    icpo::parallel::set_num_threads(1).unwrap();
    let plan = EditDistances::all_pairs(&all);
    assert!(plan.parts() > 1);
    let mut apart = vec![-1; plan.count()];
    for part in (0..plan.parts()).rev() {
        plan.compute_part(part, &mut apart).unwrap();
    }
    icpo::parallel::set_num_threads(0).unwrap();
    assert_eq!(apart, together);
    let between = EditDistances::between(&all, 1).unwrap().compute();
    assert_eq!(between, together[..39]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let shape = |tokens: &[i64], offsets: &[i64]| match Sequences::new(tokens, offsets) {
        Err(Error::Shape { expected, got, .. }) => format!("{expected}; {got}"),
        other => format!("{other:?}"),
    };
    assert!(shape(&[1], &[]).starts_with("offsets from 0 to the 1 tokens; None"));
    assert!(shape(&[1], &[0, 2]).contains("Some(0) to Some(2)"));
    assert!(shape(&[1, 2], &[0, 2, 1, 2]).contains("ascend; 2 before 1"));
    let all = sequences(&[vec![1], vec![2, 3]]);
    assert!(EditDistances::between(&all, 3).is_err());
    let plan = EditDistances::all_pairs(&all);
    assert!(plan.compute_part(1, &mut [0]).is_err());
    assert!(plan.compute_part(0, &mut [0, 0]).is_err());
    assert_eq!((plan.count(), plan.parts(), all.len(), all.is_empty()), (1, 1, 2, false));
    let none = Sequences::new(&[], &[0]).unwrap();
    assert!(none.is_empty() && EditDistances::all_pairs(&none).compute().is_empty());
}
