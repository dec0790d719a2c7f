//! Whether the row-resident kernel fits a vocabulary and a device, and how it is cut for them.
//!
//! The kernel (kernels/fused.cu) holds a row in the registers of a cluster of blocks while the next
//! rows stream into shared memory. So three sizes decide: registers bound how much of a row a
//! thread can hold, the cluster how many threads share a row, and shared memory how far loading
//! runs ahead.

use super::view::Element;

/// Bytes of a vector: what a thread loads at a time.
const VECTOR: u64 = 16;
/// Blocks of a cluster; more than 8 are not portable.
const CLUSTERS: [u32; 4] = [1, 2, 4, 8];
/// Few slots leave loading too little room to run ahead; a row and a half is enough. The kernel
/// fills two at a time.
const SLOTS: std::ops::RangeInclusive<u32> = 4..=30;
/// What the driver keeps for itself of each block's shared memory.
const RESERVED: u32 = 1024;
/// Besides the holders: the warp that loads and directs.
const DIRECTORS: u32 = 32;

/// A way to cut blocks that compiles without spilling registers.
struct Cut {
    /// Threads that hold the row.
    threads: u32,
    /// Vectors that each of them can hold.
    held: u32,
    blocks_a_multiprocessor: u32,
}

/// In order of preference: two blocks a multiprocessor overlap one row's settling with another's
/// loading; one block has more registers to hold long rows.
const CUTS: [Cut; 2] = [
    Cut { threads: 224, held: 22, blocks_a_multiprocessor: 2 },
    Cut { threads: 480, held: 20, blocks_a_multiprocessor: 1 },
];

/// What a device offers the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Whether blocks can form clusters.
    pub clusters: bool,
    /// Bytes of shared memory that a block may ask for.
    pub shared_a_block: u32,
    /// Bytes of shared memory of a multiprocessor.
    pub shared_a_multiprocessor: u32,
    /// Vectors that a thread can hold without spilling, whichever compiler there is.
    pub most_held: u32,
}

/// How the row-resident kernel is cut. Each plan is compiled by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FusedPlan {
    /// Blocks that share a row.
    pub cluster: u32,
    /// Threads of a block that hold its part of the row.
    pub threads: u32,
    /// Vectors of 16 bytes that each of them holds.
    pub held: u32,
    /// Slots of the ring that rows stream into.
    pub slots: u32,
    /// Blocks that share a multiprocessor.
    pub blocks_a_multiprocessor: u32,
}

/// Plans for rows of this many elements, or says why there is no plan.
///
/// # Errors
/// The reason, as half a sentence.
pub fn plan(vocabulary: u64, element: Element, limits: Limits) -> Result<FusedPlan, String> {
    if !limits.clusters {
        return Err("the device has no thread block clusters (compute capability 9.0)".into());
    }
    let bytes = vocabulary.saturating_mul(element.size());
    if bytes == 0 || !bytes.is_multiple_of(VECTOR) {
        let name = element.name();
        return Err(format!(
            "a row of {vocabulary} {name} logits has {bytes} bytes, which is no multiple of \
             {VECTOR}"
        ));
    }
    let vectors = bytes / VECTOR;
    let longest = CUTS.iter().map(|cut| 8 * u64::from(cut.threads * cut.held)).max().unwrap_or(0);
    if vectors > longest {
        let most = longest * VECTOR;
        return Err(format!("a row has {bytes} bytes, and registers hold at most {most}"));
    }
    let plans = CUTS.iter().flat_map(|cut| {
        CLUSTERS.iter().filter_map(move |&cluster| fit(vectors, cluster, cut, limits))
    });
    plans.into_iter().next().ok_or_else(|| {
        let shared = limits.shared_a_block;
        format!("{shared} bytes of shared memory a block are too few for a row of {bytes} bytes")
    })
}

fn fit(vectors: u64, cluster: u32, cut: &Cut, limits: Limits) -> Option<FusedPlan> {
    let held = vectors.div_ceil(cluster.into()).div_ceil(cut.threads.into());
    let most = cut.held.min(limits.most_held);
    let held = u32::try_from(held).ok().filter(|&held| held <= most)?;
    let of_multiprocessor = limits.shared_a_multiprocessor / cut.blocks_a_multiprocessor;
    let room = limits.shared_a_block.min(of_multiprocessor.checked_sub(RESERVED)?);
    let with = |slots| FusedPlan {
        cluster,
        threads: cut.threads,
        held,
        slots,
        blocks_a_multiprocessor: cut.blocks_a_multiprocessor,
    };
    SLOTS.rev().step_by(2).map(with).find(|plan| plan.shared() <= room)
}

impl FusedPlan {
    /// The plan for rows of this many elements where this one was asked for, to compare plans.
    ///
    /// # Errors
    /// If it does not hold such a row, or the device is too small for it; the reason.
    pub fn check(
        self,
        vocabulary: u64,
        element: Element,
        limits: Limits,
    ) -> std::result::Result<Self, String> {
        let fitting = plan(vocabulary, element, limits)?; // whether any plan takes the row
        let [cluster, threads, held, slots, blocks] =
            [self.cluster, self.threads, self.held, self.slots, self.blocks_a_multiprocessor]
                .map(u64::from);
        let sizes = CLUSTERS.contains(&self.cluster)
            && threads > 0
            && threads % 32 == 0
            && threads + u64::from(DIRECTORS) <= 1024
            && (1..=64).contains(&held)
            && (4..=1024).contains(&slots)
            && (1..=32).contains(&blocks);
        if !sizes {
            return Err(format!("{self:?} is no plan; {fitting:?} is one"));
        }
        let vectors = vocabulary.saturating_mul(element.size()) / VECTOR;
        if vectors > cluster * threads * held {
            return Err(format!("a row has {vectors} vectors, and {self:?} holds fewer"));
        }
        let (shared, most) = (slots * threads * VECTOR, u64::from(limits.shared_a_block));
        if shared > most || u64::from(self.shared()) > most {
            return Err(format!("{self:?} needs more than the {most} bytes of shared memory"));
        }
        Ok(self)
    }

    /// Threads of a block.
    pub fn block(&self) -> u32 {
        self.threads + DIRECTORS
    }

    /// Bytes of shared memory of a block: the ring, and beside it barriers, two rows' messages of
    /// each warp of the cluster, and orders.
    pub fn shared(&self) -> u32 {
        let barriers = (128 + (2 * self.slots + 3) * 8).next_multiple_of(16);
        let messages = 2 * self.cluster * (self.threads / 32) * 32;
        self.slots * self.threads * 16 + barriers + messages + 64
    }
}

#[cfg(test)]
mod tests {
    use super::super::sources::Architecture;
    use super::*;

    /// Vocabularies of every kind: tiny, of models, at the edges of clusters, odd.
    fn vocabularies() -> impl Iterator<Item = u64> {
        let models = [32_000, 49_152, 50_257, 128_256, 129_280, 151_936, 152_064, 262_144];
        let edges = [4_928, 9_600].into_iter().flat_map(|capacity| {
            CLUSTERS.into_iter().flat_map(move |cluster| {
                let vectors = capacity * u64::from(cluster);
                [vectors - 1, vectors, vectors + 1].into_iter().flat_map(|v| [4 * v, 8 * v])
            })
        });
        (2..300).chain((300..262_144).step_by(997)).chain(models).chain(edges)
    }

    fn cases() -> impl Iterator<Item = (u64, Element, Architecture)> {
        vocabularies().flat_map(|vocabulary| {
            Element::ALL.into_iter().flat_map(move |element| {
                Architecture::ALL.map(|architecture| (vocabulary, element, architecture))
            })
        })
    }

    #[test]
    fn plans_hold_the_row_and_fit_the_device() {
        for (vocabulary, element, architecture) in cases() {
            let limits = architecture.limits();
            let Ok(plan) = plan(vocabulary, element, limits) else { continue };
            let case = format!("{vocabulary} {element:?} {architecture:?} {plan:?}");
            let vectors = vocabulary * element.size() / VECTOR;
            let share = vectors.div_ceil(plan.cluster.into());
            let threads = u64::from(plan.threads);
            assert!(share <= threads * u64::from(plan.held), "too few registers: {case}");
            assert!(share > threads * u64::from(plan.held - 1), "idle registers: {case}");
            assert!(plan.shared() <= limits.shared_a_block, "{case}");
            let together = plan.blocks_a_multiprocessor * (plan.shared() + RESERVED);
            assert!(together <= limits.shared_a_multiprocessor, "{case}");
            let more = FusedPlan { slots: plan.slots + 2, ..plan };
            let together = plan.blocks_a_multiprocessor * (more.shared() + RESERVED);
            let fits = more.shared() <= limits.shared_a_block
                && together <= limits.shared_a_multiprocessor;
            assert!(SLOTS.contains(&plan.slots) && plan.slots % 2 == 0, "{case}");
            assert!(plan.slots == 30 || !fits, "{case}");
        }
    }

    #[test]
    fn rows_without_a_plan_are_misaligned_too_long_or_without_clusters() {
        for (vocabulary, element, architecture) in cases() {
            let bytes = vocabulary * element.size();
            let reason = plan(vocabulary, element, architecture.limits()).err();
            let expected = if architecture == Architecture::Sm80 {
                Some("no thread block clusters")
            } else if bytes % VECTOR != 0 {
                Some("no multiple of 16")
            } else if bytes > 8 * 480 * 20 * VECTOR {
                Some("registers hold at most")
            } else {
                None
            };
            let case = format!("{vocabulary} {element:?} {architecture:?}: {reason:?}");
            assert_eq!(reason.is_some(), expected.is_some(), "{case}");
            assert!(reason.unwrap_or_default().contains(expected.unwrap_or_default()), "{case}");
        }
    }

    #[test]
    fn preferred_cuts_and_small_clusters_come_first() {
        use Element::{Bf16, F32};
        let sizes = |vocabulary, element| {
            plan(vocabulary, element, Architecture::Sm90.limits())
                .map(|plan| (plan.cluster, plan.threads, plan.held))
        };
        // Capacities in vectors: 224 * 22 = 4,928 of a block that shares its multiprocessor, and
        // 480 * 20 = 9,600 of one that does not.
        assert_eq!(sizes(8, Bf16), Ok((1, 224, 1)));
        assert_eq!(sizes(32_000, Bf16), Ok((1, 224, 18)));
        assert_eq!(sizes(49_152, Bf16), Ok((2, 224, 14)));
        assert_eq!(sizes(128_256, Bf16), Ok((4, 224, 18)));
        assert_eq!(sizes(151_936, Bf16), Ok((4, 224, 22)));
        assert_eq!(sizes(262_144, Bf16), Ok((8, 224, 19)));
        assert_eq!(sizes(151_936, F32), Ok((8, 224, 22)));
        assert_eq!(sizes(262_144, F32), Ok((8, 480, 18)));
        let later = plan(151_936, Bf16, Architecture::Sm100.limits());
        assert_eq!(later.map(|plan| (plan.cluster, plan.threads, plan.held)), Ok((8, 224, 11)));
    }

    #[test]
    fn devices_with_little_shared_memory_get_a_reason() {
        let limits = Limits { shared_a_block: 8_192, ..Architecture::Sm90.limits() };
        let reason = plan(151_936, Element::Bf16, limits).err().unwrap_or_default();
        assert!(reason.contains("8192 bytes of shared memory"), "{reason}");
        let none = Limits { shared_a_multiprocessor: 0, ..limits };
        assert!(plan(151_936, Element::Bf16, none).is_err());
    }

    #[test]
    fn absurd_vocabularies_are_refused() {
        for vocabulary in [0, u64::MAX, u64::MAX / 2, 1 << 40] {
            for element in Element::ALL {
                assert!(plan(vocabulary, element, Architecture::Sm90.limits()).is_err());
            }
        }
    }
}
