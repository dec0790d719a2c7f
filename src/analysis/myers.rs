//! Levenshtein distances of one text to several patterns at once, 64 rows of each in a word.
//!
//! With patterns down the side and the text along the top, neighbours in the table of distances
//! differ by −1, 0 or 1. Myers (1999) keeps the differences of 64 rows of a column in two words
//! (+1 and −1) and makes those of the next column with a dozen operations, a sum among them, whose
//! carry does what the recurrence does row by row. Hyyrö (2003) chains words for longer patterns:
//! what leaves the last row of a word sideways enters the first row of the next.
//!
//! A single pattern leaves a vector unit idle, since each operation needs the one before. So a
//! lane is a pattern: [`Lanes`] hold the same rows of several patterns, and no lane looks at
//! another. A strip of [`WORDS`] words goes along the whole text while its differences stay in
//! registers; what left its last row waits in [`Edge`]s, a bit a column, for the next strip.
//!
//! Rows beyond the end of a pattern match nothing. Information flows down only, so they spoil
//! nothing, and a distance is read off at the end: that of the empty pattern, which is the length
//! of the text, plus the differences down to the pattern's last row.

use std::ops::Range;

/// Rows of a word.
pub(super) const BITS: usize = 64;

/// Words of a strip. Of 2, 4, 8 and 16 the fastest on AVX-512 and AVX2: fewer load and store more
/// edges, more do not fit the registers.
pub(super) const WORDS: usize = 4;

/// The same word of several patterns.
type Lanes<const L: usize> = [u64; L];

/// For one token, the rows of a strip that hold it.
type Matches<const L: usize> = [Lanes<L>; WORDS];

/// What leaves the last row of a strip sideways, in one column: a bit for each lane.
#[derive(Clone, Copy)]
struct Edge<const L: usize> {
    plus: [u8; L],
    minus: [u8; L],
}

impl<const L: usize> Edge<L> {
    /// Above the first row: against the empty pattern each token costs one more.
    const TOP: Self = Self { plus: [1; L], minus: [0; L] };
}

/// Sets of instructions that the loop is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Baseline,
}

/// A set of instructions that this processor has. No result depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instructions(Kind);

impl Instructions {
    /// All that this processor has, the fastest first.
    pub(super) fn here() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vbmi2")
            {
                found.push(Self(Kind::Avx512));
            }
            if is_x86_feature_detected!("avx2") {
                found.push(Self(Kind::Avx2));
            }
        }
        found.push(Self(Kind::Baseline));
        found
    }

    /// The fastest.
    pub(super) fn best() -> Self {
        Self::here().first().copied().unwrap_or(Self(Kind::Baseline))
    }

    /// How many patterns are compared at once.
    pub(super) fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => 8,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => 4,
            Kind::Baseline => 2,
        }
    }

    /// The distances of each text to up to [`Self::lanes`] patterns: those of the first text first.
    ///
    /// `rows` is one zero for each token there is, and is left so.
    pub(super) fn distances(
        self,
        patterns: &[&[u32]],
        texts: &[&[u32]],
        rows: &mut [u32],
    ) -> Vec<u32> {
        match self.0 {
            // SAFETY: values of this type are made by `here` alone, which has asked the processor
            // for every feature that the function is compiled for.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { avx512(patterns, texts, rows) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2(patterns, texts, rows) },
            Kind::Baseline => distances::<2>(patterns, texts, rows),
        }
    }
}

// avx512vbmi2 shifts a word together with the bit that enters it, in one instruction.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,popcnt")]
fn avx512(patterns: &[&[u32]], texts: &[&[u32]], rows: &mut [u32]) -> Vec<u32> {
    distances::<8>(patterns, texts, rows)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn avx2(patterns: &[&[u32]], texts: &[&[u32]], rows: &mut [u32]) -> Vec<u32> {
    distances::<4>(patterns, texts, rows)
}

#[inline(always)]
fn distances<const L: usize>(patterns: &[&[u32]], texts: &[&[u32]], rows: &mut [u32]) -> Vec<u32> {
    let longest = patterns.iter().map(|pattern| pattern.len()).max().unwrap_or(0);
    let columns = texts.iter().map(|text| text.len()).sum();
    let mut found: Vec<u32> =
        texts.iter().flat_map(|text| patterns.iter().map(|_| text.len() as u32)).collect();
    let mut edges = vec![Edge::<L>::TOP; columns];
    let mut matches = Vec::new();
    for first in (0..longest).step_by(WORDS * BITS) {
        let strip = first..first + WORDS * BITS;
        find_matches::<L>(patterns, &strip, rows, &mut matches);
        let mut edges = edges.as_mut_slice();
        for (text, found) in texts.iter().zip(found.chunks_mut(patterns.len())) {
            let (here, rest) = edges.split_at_mut(text.len());
            let (plus, minus) = along::<L>(text, rows, &matches, here);
            edges = rest;
            for (lane, (found, pattern)) in found.iter_mut().zip(patterns).enumerate() {
                for word in 0..WORDS {
                    let mask = first_bits(pattern.len().saturating_sub(first + word * BITS));
                    *found += (plus[word][lane] & mask).count_ones();
                    *found -= (minus[word][lane] & mask).count_ones();
                }
            }
        }
        for pattern in patterns {
            for &token in part(pattern, &strip) {
                rows[token as usize] = 0;
            }
        }
    }
    found
}

/// Where the tokens of a strip stand in it. `rows` gets the place in `matches` of each token;
/// place 0 matches nowhere.
#[inline(always)]
fn find_matches<const L: usize>(
    patterns: &[&[u32]],
    strip: &Range<usize>,
    rows: &mut [u32],
    matches: &mut Vec<Matches<L>>,
) {
    matches.clear();
    matches.push([[0; L]; WORDS]);
    for (lane, pattern) in patterns.iter().enumerate() {
        for (place, &token) in part(pattern, strip).iter().enumerate() {
            let row = &mut rows[token as usize];
            if *row == 0 {
                *row = matches.len() as u32;
                matches.push([[0; L]; WORDS]);
            }
            matches[*row as usize][place / BITS][lane] |= 1 << (place % BITS);
        }
    }
}

/// Takes a strip along a text. Returns the vertical differences in its last column: which are +1,
/// and which −1.
#[inline(always)]
fn along<const L: usize>(
    text: &[u32],
    rows: &[u32],
    matches: &[Matches<L>],
    edges: &mut [Edge<L>],
) -> (Matches<L>, Matches<L>) {
    // Before the first column each row costs one more than that above.
    let (mut plus, mut minus) = ([[!0; L]; WORDS], [[0; L]; WORDS]);
    for (&token, edge) in text.iter().zip(edges) {
        let equal = &matches[rows[token as usize] as usize];
        // The horizontal differences of the word above; the last row's is the highest bit.
        let (mut right, mut left) = ([0; L], [0; L]);
        for lane in 0..L {
            right[lane] = u64::from(edge.plus[lane]) << (BITS - 1);
            left[lane] = u64::from(edge.minus[lane]) << (BITS - 1);
        }
        for word in 0..WORDS {
            let (plus, minus) = (&mut plus[word], &mut minus[word]);
            for lane in 0..L {
                let (p, m) = (plus[lane], minus[lane]);
                let (from_right, from_left) = (right[lane] >> (BITS - 1), left[lane] >> (BITS - 1));
                let x = equal[word][lane] | from_left;
                // Where a diagonal step is free.
                let diagonal = ((x & p).wrapping_add(p) ^ p) | x | m;
                (right[lane], left[lane]) = (m | !(diagonal | p), diagonal & p);
                let shifted_right = (right[lane] << 1) | from_right;
                let shifted_left = (left[lane] << 1) | from_left;
                plus[lane] = shifted_left | !(diagonal | shifted_right);
                minus[lane] = shifted_right & diagonal;
            }
        }
        for lane in 0..L {
            edge.plus[lane] = (right[lane] >> (BITS - 1)) as u8;
            edge.minus[lane] = (left[lane] >> (BITS - 1)) as u8;
        }
    }
    (plus, minus)
}

/// What a pattern has in a strip.
fn part<'a>(pattern: &'a [u32], strip: &Range<usize>) -> &'a [u32] {
    let (start, end) = (strip.start.min(pattern.len()), strip.end.min(pattern.len()));
    &pattern[start..end]
}

/// A word whose lowest so many bits are set.
fn first_bits(count: usize) -> u64 {
    if count < BITS { (1 << count) - 1 } else { !0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(a: &[u32], b: &[u32]) -> u32 {
        let mut row: Vec<u32> = (0..=b.len() as u32).collect();
        for (i, x) in a.iter().enumerate() {
            let mut corner = row[0];
            row[0] = i as u32 + 1;
            for (j, y) in b.iter().enumerate() {
                let best = (corner + u32::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
                corner = row[j + 1];
                row[j + 1] = best;
            }
        }
        row[b.len()]
    }

    /// Every set of instructions, with as many patterns as it takes and fewer.
    #[test]
    fn all_instructions_agree_with_the_recurrence() {
        let mut state = 7u64;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        for instructions in Instructions::here() {
            for count in [1, instructions.lanes()] {
                for alphabet in [1, 2, 30] {
                    let mut some = |lengths: &[usize], count: usize| -> Vec<Vec<u32>> {
                        let mut one = || (0..lengths[draw(lengths.len())]).collect::<Vec<_>>();
                        let places: Vec<_> = (0..count).map(|_| one()).collect();
                        let mut token = |_| draw(alphabet) as u32;
                        places
                            .into_iter()
                            .map(|p| p.into_iter().map(&mut token).collect())
                            .collect()
                    };
                    let patterns = some(&[0, 1, 63, 64, 65, 255, 256, 257, 300], count);
                    let texts = some(&[0, 1, 2, 64, 100, 300], 3);
                    let patterns: Vec<&[u32]> = patterns.iter().map(Vec::as_slice).collect();
                    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
                    let mut rows = vec![0; alphabet];
                    let found = instructions.distances(&patterns, &texts, &mut rows);
                    let pairs = texts.iter().flat_map(|b| patterns.iter().map(|a| naive(a, b)));
                    assert_eq!(found, pairs.collect::<Vec<_>>(), "{instructions:?}");
                    assert!(rows.iter().all(|&row| row == 0));
                }
            }
        }
    }
}
