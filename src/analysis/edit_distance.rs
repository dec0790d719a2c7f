//! Edit distances between trajectories: the fewest insertions, deletions and substitutions of
//! tokens that make one the other (Levenshtein). Exact, in parallel, in bounded memory.
//!
//! ```
//! use icpo::analysis::edit_distance::{EditDistances, Sequences};
//!
//! // [5, 6, 7], [5, 7] and [].
//! let sequences = Sequences::new(&[5, 6, 7, 5, 7], &[0, 3, 5, 5])?;
//! // Between the first and the second, the first and the third, the second and the third.
//! assert_eq!(EditDistances::all_pairs(&sequences).compute(), [1, 3, 2]);
//! # Ok::<(), icpo::Error>(())
//! ```

use std::ops::Range;

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::myers::{BITS, Instructions};
use crate::error::{Error, Result};
use crate::parallel;

/// Columns of texts that a tile compares a group of patterns with: preparing the group then costs
/// a few per cent, and what a tile needs is about a megabyte.
const COLUMNS: usize = 1 << 16;

/// Words of a part for each thread: a tenth to half of a second.
const WORDS_A_THREAD: u64 = 1 << 29;

/// Token sequences, any integers, as numbers from 0.
#[derive(Debug, Clone)]
pub struct Sequences {
    tokens: Vec<u32>,
    /// Where each begins, and where the last ends.
    offsets: Vec<usize>,
    /// How many different tokens there are.
    alphabet: usize,
}

impl Sequences {
    /// Sequence i is `tokens[offsets[i]..offsets[i + 1]]`.
    ///
    /// # Errors
    /// If offsets do not ascend from 0 to the number of tokens, or there are 2^32 tokens.
    pub fn new(tokens: &[i64], offsets: &[i64]) -> Result<Self> {
        let refuse = |expected: &str, got: String| {
            Err(Error::Shape { argument: "offsets", expected: expected.into(), got })
        };
        if offsets.first() != Some(&0) || offsets.last() != Some(&(tokens.len() as i64)) {
            let expected = format!("offsets from 0 to the {} tokens", tokens.len());
            return refuse(&expected, format!("{:?} to {:?}", offsets.first(), offsets.last()));
        }
        if let Some(pair) = offsets.windows(2).find(|pair| pair[0] > pair[1]) {
            return refuse("offsets that ascend", format!("{} before {}", pair[0], pair[1]));
        }
        if u32::try_from(tokens.len()).is_err() {
            return refuse("fewer than 2^32 tokens", tokens.len().to_string());
        }
        let mut numbers = FxHashMap::default();
        let tokens = tokens
            .iter()
            .map(|&token| {
                let next = numbers.len() as u32;
                *numbers.entry(token).or_insert(next)
            })
            .collect();
        let offsets = offsets.iter().map(|&offset| offset as usize).collect();
        Ok(Self { tokens, offsets, alphabet: numbers.len() })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn get(&self, index: usize) -> &[u32] {
        &self.tokens[self.offsets[index]..self.offsets[index + 1]]
    }

    /// Some of them, shortest first: neighbours then fill the lanes of a group evenly.
    fn by_length(&self, those: Range<usize>) -> Vec<usize> {
        let mut order: Vec<usize> = those.collect();
        order.sort_by_key(|&index| self.get(index).len());
        order
    }
}

/// Which pairs of sequences are compared, and where the result of each goes.
#[derive(Debug, Clone, Copy)]
enum Pairs {
    /// i < j of n sequences, as (0, 1), (0, 2), ..., (1, 2), ...
    All(usize),
    /// Each of the first n with each of the others, of which there are so many; row by row.
    Between(usize, usize),
}

impl Pairs {
    fn count(self) -> usize {
        match self {
            Self::All(n) => n * n.saturating_sub(1) / 2,
            Self::Between(first, second) => first * second,
        }
    }

    /// Where the distance of two sequences goes.
    fn place(self, a: usize, b: usize) -> usize {
        let (i, j) = (a.min(b), a.max(b));
        match self {
            Self::All(n) => i * (2 * n - i - 1) / 2 + (j - i - 1),
            Self::Between(first, second) => i * second + (j - first),
        }
    }
}

/// A group of patterns and some texts, as places in their orders. Of a triangle only texts behind
/// the pattern count.
#[derive(Debug, Clone)]
struct Tile {
    patterns: Range<usize>,
    texts: Range<usize>,
}

/// Edit distances to be computed, in parts, between which the caller may look at the clock.
#[derive(Debug, Clone)]
pub struct EditDistances<'a> {
    sequences: &'a Sequences,
    pairs: Pairs,
    instructions: Instructions,
    /// Sequences by length, by place.
    patterns: Vec<usize>,
    texts: Vec<usize>,
    tiles: Vec<Tile>,
    /// Tiles of each part.
    parts: Vec<Range<usize>>,
}

impl<'a> EditDistances<'a> {
    /// Between all pairs of sequences i < j: (0, 1), (0, 2) and so on, then (1, 2).
    pub fn all_pairs(sequences: &'a Sequences) -> Self {
        let order = sequences.by_length(0..sequences.len());
        Self::plan(sequences, Pairs::All(sequences.len()), order.clone(), order)
    }

    /// Between each of the first `first` sequences and each of the others, row by row.
    ///
    /// # Errors
    /// If there are fewer sequences than that.
    pub fn between(sequences: &'a Sequences, first: usize) -> Result<Self> {
        let Some(second) = sequences.len().checked_sub(first) else {
            let expected = format!("at most {}, the number of sequences", sequences.len());
            return Err(Error::config("first", expected, first));
        };
        let (ours, theirs) =
            (sequences.by_length(0..first), sequences.by_length(first..sequences.len()));
        // The more patterns, the fewer lanes stay empty.
        let (patterns, texts) = if first < second { (theirs, ours) } else { (ours, theirs) };
        Ok(Self::plan(sequences, Pairs::Between(first, second), patterns, texts))
    }

    fn plan(
        sequences: &'a Sequences,
        pairs: Pairs,
        patterns: Vec<usize>,
        texts: Vec<usize>,
    ) -> Self {
        let instructions = Instructions::best();
        let enough = WORDS_A_THREAD * parallel::num_threads() as u64;
        let blocks = blocks(&texts, |index| sequences.get(index).len());
        let mut tiles = Vec::new();
        let mut parts = Vec::new();
        let (mut begun, mut work) = (0, 0);
        for first in (0..patterns.len()).step_by(instructions.lanes()) {
            let group = first..patterns.len().min(first + instructions.lanes());
            let longest = sequences.get(patterns[group.end - 1]).len();
            for block in &blocks {
                let start = match pairs {
                    Pairs::All(_) => block.start.max(first + 1),
                    Pairs::Between(..) => block.start,
                };
                if start >= block.end {
                    continue;
                }
                let texts_here = start..block.end;
                let columns: usize =
                    texts[texts_here.clone()].iter().map(|&index| sequences.get(index).len()).sum();
                tiles.push(Tile { patterns: group.clone(), texts: texts_here });
                work += (group.len() * columns * longest.div_ceil(BITS)) as u64;
                if work >= enough {
                    parts.push(begun..tiles.len());
                    (begun, work) = (tiles.len(), 0);
                }
            }
        }
        if begun < tiles.len() {
            parts.push(begun..tiles.len());
        }
        Self { sequences, pairs, instructions, patterns, texts, tiles, parts }
    }

    /// How many distances there are.
    pub fn count(&self) -> usize {
        self.pairs.count()
    }

    /// How many parts the work has.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Computes a part, and writes its distances where they belong among all [`Self::count`].
    ///
    /// # Errors
    /// If there is no such part, or `out` has another length.
    pub fn compute_part(&self, part: usize, out: &mut [i64]) -> Result<()> {
        Error::check_len("out", self.count(), "pairs", out.len())?;
        let Some(range) = self.parts.get(part) else {
            return Err(Error::config("part", format!("one of {}", self.parts.len()), part));
        };
        self.fill(&self.tiles[range.clone()], out);
        Ok(())
    }

    /// All distances.
    pub fn compute(&self) -> Vec<i64> {
        let mut out = vec![0; self.count()];
        for range in &self.parts {
            self.fill(&self.tiles[range.clone()], &mut out);
        }
        out
    }

    fn fill(&self, tiles: &[Tile], out: &mut [i64]) {
        let found: Vec<Vec<u32>> = parallel::install(|| {
            tiles
                .par_iter()
                .map_init(|| vec![0; self.sequences.alphabet], |rows, tile| self.tile(tile, rows))
                .collect()
        });
        for (tile, found) in tiles.iter().zip(found) {
            let mut found = found.into_iter();
            for text in tile.texts.clone() {
                for (pattern, distance) in tile.patterns.clone().zip(&mut found) {
                    if matches!(self.pairs, Pairs::Between(..)) || pattern < text {
                        let place = self.pairs.place(self.patterns[pattern], self.texts[text]);
                        out[place] = i64::from(distance);
                    }
                }
            }
        }
    }

    fn tile(&self, tile: &Tile, rows: &mut [u32]) -> Vec<u32> {
        let those = |places: &[usize]| -> Vec<&[u32]> {
            places.iter().map(|&index| self.sequences.get(index)).collect()
        };
        let patterns = those(&self.patterns[tile.patterns.clone()]);
        let texts = those(&self.texts[tile.texts.clone()]);
        self.instructions.distances(&patterns, &texts, rows)
    }
}

/// Cuts texts into blocks of about [`COLUMNS`] tokens, each of one text at least.
fn blocks(texts: &[usize], length: impl Fn(usize) -> usize) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let (mut begun, mut columns) = (0, 0);
    for (place, &text) in texts.iter().enumerate() {
        columns += length(text).max(1);
        if columns >= COLUMNS {
            blocks.push(begun..place + 1);
            (begun, columns) = (place + 1, 0);
        }
    }
    if begun < texts.len() {
        blocks.push(begun..texts.len());
    }
    blocks
}
