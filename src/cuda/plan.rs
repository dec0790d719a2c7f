//! Whether the row-resident kernel fits a vocabulary and a device, and how it is cut for them.
//!
//! The kernel (kernels/fused.cu) holds a row in the registers of a cluster of blocks while the next
//! rows stream into shared memory. So three sizes decide: registers bound how much of a row a thread
//! can hold, the cluster how many threads share a row, and shared memory how far loading runs ahead.

use super::view::Element;

/// Bytes of a vector: what a thread loads at a time.
const VECTOR: u64 = 16;
/// Blocks of a cluster; more than 8 are not portable.
const CLUSTERS: [u32; 4] = [1, 2, 4, 8];
/// Few slots leave loading too little room to run ahead; a lane serves each, which bounds them.
const SLOTS: std::ops::RangeInclusive<u32> = 4..=31;
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
            "a row of {vocabulary} {name} logits has {bytes} bytes, which is no multiple of {VECTOR}"
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
    let held = u32::try_from(held).ok().filter(|&held| held <= cut.held)?;
    let of_multiprocessor = limits.shared_a_multiprocessor / cut.blocks_a_multiprocessor;
    let room = limits.shared_a_block.min(of_multiprocessor.checked_sub(RESERVED)?);
    let with = |slots| FusedPlan {
        cluster,
        threads: cut.threads,
        held,
        slots,
        blocks_a_multiprocessor: cut.blocks_a_multiprocessor,
    };
    SLOTS.rev().map(with).find(|plan| plan.shared() <= room)
}

impl FusedPlan {
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
