//! The kernels' sources, and how they become images: one for each compile unit and architecture.

use sha2::{Digest, Sha256};

use super::kernel::Kernel;
use super::plan::{FusedPlan, Limits, plan};
use super::view::Element;

/// Changes when the same sources and options are to give another image.
const FORMAT: &str = "1";

/// Included by the units, under their bare names.
const HEADERS: [(&str, &str); 5] = [
    ("arguments.cuh", include_str!("../../kernels/arguments.cuh")),
    ("device.cuh", include_str!("../../kernels/device.cuh")),
    ("element.cuh", include_str!("../../kernels/element.cuh")),
    ("row.cuh", include_str!("../../kernels/row.cuh")),
    ("token_loss.cuh", include_str!("../../kernels/token_loss.cuh")),
];

/// An architecture that images are made for. Each runs on all devices of its major version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Compute capability 8.x.
    Sm80,
    /// 9.x.
    Sm90,
    /// 10.x.
    Sm100,
    /// 12.x.
    Sm120,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sm80, Self::Sm90, Self::Sm100, Self::Sm120];

    /// Its name, as compilers have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sm80 => "sm_80",
            Self::Sm90 => "sm_90",
            Self::Sm100 => "sm_100",
            Self::Sm120 => "sm_120",
        }
    }

    /// The architecture of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|architecture| architecture.name() == name)
    }

    /// The one that runs on devices of a compute capability.
    pub fn of_capability((major, _): (u32, u32)) -> Option<Self> {
        match major {
            8 => Some(Self::Sm80),
            9 => Some(Self::Sm90),
            10 => Some(Self::Sm100),
            12 => Some(Self::Sm120),
            _ => None,
        }
    }

    /// What its devices have, which decides what images are made ahead of time. A device that has
    /// other sizes gets a plan, and an image, of its own.
    pub fn limits(self) -> Limits {
        let (clusters, shared_a_block, shared_a_multiprocessor) = match self {
            Self::Sm80 => (false, 166_912, 167_936),
            Self::Sm90 | Self::Sm100 => (true, 232_448, 233_472),
            Self::Sm120 => (true, 101_376, 102_400),
        };
        Limits { clusters, shared_a_block, shared_a_multiprocessor, most_held: self.most_held() }
    }

    /// Vectors that a thread of the row-resident kernel can hold. NVRTC 12.8 to 13.0 spill beyond 20
    /// where they compile for sm_100 and sm_120; for sm_90 no compiler does up to 22.
    pub fn most_held(self) -> u32 {
        match self {
            Self::Sm80 | Self::Sm90 => 22,
            Self::Sm100 | Self::Sm120 => 20,
        }
    }
}

/// What is compiled at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Log-probabilities and entropies, and their gradient.
    LogpEntropy,
    /// The loss of log-probabilities.
    PolicyLoss,
    /// Advantages of groups.
    Advantage,
    /// Multiplication of rows by a number.
    Scale,
    /// The row-resident loss of logits, compiled for a plan and an element type.
    Fused(FusedPlan, Element),
}

impl Unit {
    /// Those that depend on nothing but the architecture.
    pub const COMMON: [Self; 4] =
        [Self::LogpEntropy, Self::PolicyLoss, Self::Advantage, Self::Scale];

    /// All units that a vocabulary needs within some limits.
    pub fn needed(vocabulary: u64, element: Element, limits: Limits) -> Vec<Self> {
        let fused = plan(vocabulary, element, limits).ok();
        Self::COMMON.into_iter().chain(fused.map(|plan| Self::Fused(plan, element))).collect()
    }

    /// Its name, which says what it was compiled for.
    pub fn name(self) -> String {
        let stem = self.source().0.trim_end_matches(".cu");
        match self {
            Self::Fused(plan, element) => {
                let FusedPlan { cluster, threads, held, slots, .. } = plan;
                let element = element.suffix();
                format!("{stem}_{element}_{cluster}x{threads}x{held}_{slots}")
            }
            _ => stem.to_string(),
        }
    }

    /// Name and text of the file that is compiled.
    pub fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::LogpEntropy => ("logp_entropy.cu", include_str!("../../kernels/logp_entropy.cu")),
            Self::PolicyLoss => ("policy_loss.cu", include_str!("../../kernels/policy_loss.cu")),
            Self::Advantage => ("advantage.cu", include_str!("../../kernels/advantage.cu")),
            Self::Scale => ("scale.cu", include_str!("../../kernels/scale.cu")),
            Self::Fused(..) => ("fused.cu", include_str!("../../kernels/fused.cu")),
        }
    }

    /// Name and text of what it may include.
    pub fn headers(self) -> &'static [(&'static str, &'static str)] {
        &HEADERS
    }

    /// What the compiler is told.
    pub fn options(self, architecture: Architecture) -> Vec<String> {
        let mut options = vec![
            format!("--gpu-architecture={}", architecture.name()),
            "--std=c++17".into(),
            "-default-device".into(),
        ];
        if let Self::Fused(plan, element) = self {
            options.push(format!("-DICPO_ELEMENT={}", element.suffix().to_uppercase()));
            options.extend(
                [
                    ("CLUSTER", plan.cluster),
                    ("THREADS", plan.threads),
                    ("HELD", plan.held),
                    ("SLOTS", plan.slots),
                    ("BLOCKS_PER_SM", plan.blocks_a_multiprocessor),
                    ("SHARED", plan.shared()),
                ]
                .map(|(name, value)| format!("-DICPO_{name}={value}")),
            );
        }
        options
    }

    /// Its kernels.
    pub(crate) fn kernels(self) -> Vec<Kernel> {
        let each = |kernel: fn(Element) -> Kernel| Element::ALL.into_iter().map(kernel);
        match self {
            Self::LogpEntropy => each(Kernel::RowStates)
                .chain([Kernel::FinishRows, Kernel::RowGradients])
                .chain(each(Kernel::Gradient))
                .collect(),
            Self::PolicyLoss => vec![Kernel::PolicyLoss, Kernel::AddSums],
            Self::Advantage => vec![Kernel::GroupAdvantages],
            Self::Scale => each(Kernel::Scale).collect(),
            Self::Fused(plan, element) => {
                let entropies = [false, true].into_iter();
                entropies.map(|entropy| Kernel::Fused { plan, element, entropy }).collect()
            }
        }
    }

    /// The file that holds its image. Whatever the image depends on is in the name, so that a file
    /// of this name can be used without asking where it is from.
    pub fn image_name(self, architecture: Architecture) -> String {
        let mut digest = Sha256::new();
        let options = self.options(architecture);
        let (main, text) = self.source();
        let headers = self.headers().iter().flat_map(|&(name, text)| [name, text]);
        let parts = [FORMAT, architecture.name(), main, text].into_iter();
        for part in parts.chain(options.iter().map(String::as_str)).chain(headers) {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let hash: String =
            digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{hash}.{}.cubin", self.name(), architecture.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn all_units() -> Vec<Unit> {
        let limits = Architecture::Sm90.limits();
        let mut units = Unit::COMMON.to_vec();
        for element in Element::ALL {
            for vocabulary in [32_000, 128_256, 151_936, 262_144] {
                units.extend(plan(vocabulary, element, limits).map(|p| Unit::Fused(p, element)));
            }
        }
        units
    }

    #[test]
    fn each_image_has_a_name_of_its_own() {
        let units: BTreeSet<String> = all_units().iter().map(|unit| unit.name()).collect();
        let images: BTreeSet<String> = all_units()
            .iter()
            .flat_map(|unit| Architecture::ALL.map(|a| unit.image_name(a)))
            .collect();
        assert_eq!(images.len(), 4 * units.len());
        assert!(units.len() > 10, "{units:?}");
    }

    #[test]
    fn units_define_the_kernels_that_are_launched() {
        for unit in all_units() {
            let (file, text) = unit.source();
            for kernel in unit.kernels() {
                assert_eq!(kernel.unit(), unit);
                let (name, threads) = (kernel.name(), kernel.block().threads);
                let at = text.find(&format!("KERNEL({name},"));
                let Some(line) = at.and_then(|at| text[at..].lines().next()) else {
                    unreachable!("{file} has no kernel {name}");
                };
                // KERNEL(name, Arguments, threads, blocks): the shape that the source asks for.
                let stated = line.split(',').nth(2).map(str::trim);
                match unit {
                    Unit::Fused(plan, _) => {
                        assert_eq!(stated, Some("ICPO_THREADS + 32"));
                        assert_eq!(threads, plan.threads + 32);
                    }
                    _ => assert_eq!(stated, Some(threads.to_string().as_str()), "{name}"),
                }
            }
            let kernels = unit.kernels().len();
            assert_eq!(text.matches("\nKERNEL(").count(), kernels, "{file} has others");
        }
    }

    #[test]
    fn headers_are_all_that_units_include() {
        let texts = all_units().into_iter().map(|unit| unit.source().1);
        for text in texts.chain(HEADERS.map(|(_, text)| text)) {
            for include in text.lines().filter_map(|line| line.strip_prefix("#include ")) {
                let name = include.trim_matches('"');
                let known = HEADERS.iter().any(|(header, _)| *header == name);
                assert!(known || name == "emulated.h", "{include}");
            }
        }
    }
}
