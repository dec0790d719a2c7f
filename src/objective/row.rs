//! One row of logits: everything that reads or writes the whole vocabulary.
//!
//! A row is taken in blocks of [`BLOCK`] values that stay in the first-level cache. Each block is
//! read once from memory; its maximum, its sums and (for the gradient) its exponentials are then
//! computed from the cache. Blocks are merged in order, in `f64`, so a result depends neither on
//! the number of threads nor on how rows are spread over them.
//!
//! Three choices keep small quantities exact to their last digits:
//!
//! * Exponents are taken of `x − max`, and the elements equal to the maximum are counted rather
//!   than summed. The normaliser is then `ties + rest` with `rest` held apart, and its logarithm
//!   comes from `ln_1p`: a log-probability of −1e-9 has seven correct digits too.
//! * The entropy is `ln(ties + rest) − Σ e·(x − max)/(τ·Σ e)`, a sum of two non-negative terms.
//! * `(x − max)·log2(e)/τ` is reduced to its fraction with two fused multiply-adds against a
//!   constant split in two, so the exponential is good to about an ulp at any distance from the
//!   maximum.

use super::exp2::{FLOOR, exp2_scaled, mul_add};
use crate::element::{BLOCK, Element, LANES};

/// The inverse temperature in the forms that the kernels need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// 1/τ.
    pub inverse: f64,
    /// log2(e)/τ as an unevaluated sum `high + low`.
    high: f32,
    low: f32,
    /// Distance below the maximum beyond which an exponential is taken as zero.
    floor: f32,
}

impl Scale {
    pub(crate) fn new(temperature: f64) -> Self {
        let per_unit = std::f64::consts::LOG2_E / temperature;
        let high = per_unit as f32;
        let low = (per_unit - f64::from(high)) as f32;
        Self { inverse: 1.0 / temperature, high, low, floor: (f64::from(FLOOR) / per_unit) as f32 }
    }
}

/// What a pass over (part of) a row leaves: enough for log-probabilities, entropy and rank, and
/// mergeable, so that a row may be split over blocks or over the shards of a vocabulary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RowState {
    /// Greatest logit.
    pub max: f32,
    /// How many logits equal the maximum.
    pub ties: f64,
    /// Σ exp((x − max)/τ) over the others.
    pub rest: f64,
    /// Σ exp((x − max)/τ)·(x − max), at most zero; NaN if a logit was NaN or +inf.
    pub weighted: f64,
    /// How many logits are greater than the selected one.
    pub above: u64,
}

impl RowState {
    const EMPTY: Self =
        Self { max: f32::NEG_INFINITY, ties: 0.0, rest: 0.0, weighted: 0.0, above: 0 };

    /// The state relative to a maximum of at least `self.max`.
    fn relative_to(self, max: f32, scale: Scale) -> Self {
        if self.max == max || self.max == f32::NEG_INFINITY {
            return Self { max, ..self };
        }
        let distance = f64::from(self.max) - f64::from(max);
        let factor = (distance * scale.inverse).exp();
        let sum = self.ties + self.rest;
        Self {
            max,
            ties: 0.0,
            rest: factor * sum,
            weighted: factor * (self.weighted + sum * distance),
            ..self
        }
    }

    /// The state of both parts together.
    fn merge(self, other: Self, scale: Scale) -> Self {
        let max = if other.max > self.max { other.max } else { self.max };
        let (a, b) = (self.relative_to(max, scale), other.relative_to(max, scale));
        Self {
            max,
            ties: a.ties + b.ties,
            rest: a.rest + b.rest,
            weighted: a.weighted + b.weighted,
            above: a.above + b.above,
        }
    }

    /// Whether every logit was a number or −inf, and at least one a number.
    pub(crate) fn is_sound(&self) -> bool {
        self.max > f32::NEG_INFINITY && !self.weighted.is_nan()
    }

    /// ln Σ exp((x − max)/τ), at least zero; NaN for an unsound row, so that all that follows is.
    pub(crate) fn log_sum(&self) -> f64 {
        if !self.is_sound() {
            return f64::NAN;
        }
        self.ties.ln() + (self.rest / self.ties).ln_1p()
    }

    /// ln p of a token with this logit.
    pub(crate) fn logp(&self, logit: f32, scale: Scale) -> f64 {
        (f64::from(logit) - f64::from(self.max)) * scale.inverse - self.log_sum()
    }

    /// −Σ p·ln p in nats.
    pub(crate) fn entropy(&self, scale: Scale) -> f64 {
        self.log_sum() - self.weighted * scale.inverse / (self.ties + self.rest)
    }
}

/// What the gradient pass needs to know of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowGradient {
    /// Greatest logit of the row.
    pub max: f32,
    /// ln Σ exp((x − max)/τ).
    pub log_sum: f64,
    /// Log-probability of the selected token.
    pub logp: f64,
    /// Entropy of the row.
    pub entropy: f64,
    /// ∂loss/∂logp of the row.
    pub d_logp: f64,
    /// ∂loss/∂entropy of the row.
    pub d_entropy: f64,
}

impl RowGradient {
    /// ∂loss/∂x_j = exp((x_j − max)/τ)·(constant + slope·(x_j − max)) for every token but the
    /// selected one: −g·p_j − h·p_j·(ln p_j + H), over τ.
    fn coefficients(&self, scale: Scale) -> (f32, f32) {
        let per_mass = scale.inverse * (-self.log_sum).exp();
        let constant = -per_mass * (self.d_logp + self.d_entropy * (self.entropy - self.log_sum));
        let slope = -per_mass * self.d_entropy * scale.inverse;
        (constant as f32, slope as f32)
    }

    /// ∂loss/∂x of the selected token, with 1 − p taken without cancellation.
    fn at_label(&self, scale: Scale) -> f32 {
        let p = self.logp.exp();
        let spread = if p > 0.0 { p * (self.logp + self.entropy) } else { 0.0 };
        (scale.inverse * (self.d_logp * -self.logp.exp_m1() - self.d_entropy * spread)) as f32
    }
}

#[inline(always)]
fn block_max(block: &[f32]) -> f32 {
    let mut max = [f32::NEG_INFINITY; LANES];
    for chunk in block.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            max[lane] = if chunk[lane] > max[lane] { chunk[lane] } else { max[lane] };
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            max[lane] = if max[lane + width] > max[lane] { max[lane + width] } else { max[lane] };
        }
        width /= 2;
    }
    max[0]
}

/// The sums of one block relative to `max`, which no value exceeds. `TIES` tells whether any may
/// equal it, `RANK` whether to count those above `label`. A NaN or +inf among the values makes `weighted` NaN.
#[inline(always)]
fn block_sums<const FMA: bool, const RANK: bool, const TIES: bool>(
    block: &[f32],
    max: f32,
    label: f32,
    scale: Scale,
) -> RowState {
    let (mut rest, mut weighted) = ([0f32; LANES], [0f32; LANES]);
    let (mut ties, mut above) = ([0u32; LANES], [0u32; LANES]);
    for chunk in block.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            let x = chunk[lane];
            let distance = x - max;
            // Written so that a NaN stays one.
            let distance = if distance < scale.floor { scale.floor } else { distance };
            let e = exp2_scaled::<FMA>(distance, scale.high, scale.low);
            let e = if TIES && x == max { 0.0 } else { e };
            rest[lane] += e;
            weighted[lane] = mul_add::<FMA>(e, distance, weighted[lane]);
            if TIES {
                ties[lane] += u32::from(x == max);
            }
            if RANK {
                above[lane] += u32::from(x > label);
            }
        }
    }
    RowState {
        max,
        ties: f64::from(ties.iter().sum::<u32>()),
        rest: lane_sum(&rest),
        weighted: lane_sum(&weighted),
        above: u64::from(above.iter().sum::<u32>()),
    }
}

/// Fixed-order sum of the lanes in `f64`.
#[inline(always)]
fn lane_sum(lanes: &[f32; LANES]) -> f64 {
    const WIDTH: usize = 8;
    let mut sums = [0f64; WIDTH];
    for chunk in lanes.as_chunks::<WIDTH>().0 {
        for lane in 0..WIDTH {
            sums[lane] += f64::from(chunk[lane]);
        }
    }
    ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]))
}

#[inline(always)]
fn block_gradient<const FMA: bool>(
    block: &mut [f32],
    max: f32,
    (constant, slope): (f32, f32),
    scale: Scale,
) {
    for chunk in block.as_chunks_mut::<LANES>().0 {
        for x in chunk {
            let distance = *x - max;
            let distance = if distance < scale.floor { scale.floor } else { distance };
            let e = exp2_scaled::<FMA>(distance, scale.high, scale.low);
            let e = if distance > scale.floor { e } else { 0.0 };
            *x = e * mul_add::<FMA>(slope, distance, constant);
        }
    }
}

/// A block at the start of a row without anything to measure from. It adds nothing, unless a NaN
/// hides in it (which no maximum shows).
fn nothing_but_minus_infinity(block: &[f32]) -> RowState {
    let weighted = if block.iter().any(|x| x.is_nan()) { f64::NAN } else { 0.0 };
    RowState { weighted, ..RowState::EMPTY }
}

#[inline(always)]
fn scan<E: Element, const FMA: bool, const RANK: bool>(
    row: &[E],
    label: f32,
    scale: Scale,
) -> RowState {
    let mut state = RowState::EMPTY;
    let mut buffer = [0f32; BLOCK];
    for values in row.chunks(BLOCK) {
        let block = E::read(values, &mut buffer);
        let block_max = block_max(block);
        let max = if block_max > state.max { block_max } else { state.max };
        let part = if max == f32::NEG_INFINITY {
            nothing_but_minus_infinity(block)
        } else if block_max == max {
            block_sums::<FMA, RANK, true>(block, max, label, scale)
        } else {
            block_sums::<FMA, RANK, false>(block, max, label, scale)
        };
        state = state.merge(part, scale);
    }
    state
}

#[inline(always)]
fn scan_with_rank<E: Element, const FMA: bool>(row: &[E], label: f32, scale: Scale) -> RowState {
    scan::<E, FMA, true>(row, label, scale)
}

#[inline(always)]
fn scan_without_rank<E: Element, const FMA: bool>(row: &[E], scale: Scale) -> RowState {
    scan::<E, FMA, false>(row, 0.0, scale)
}

#[inline(always)]
fn gradient_body<E: Element, const FMA: bool>(
    row: &mut [E],
    label: usize,
    gradient: &RowGradient,
    scale: Scale,
) {
    let coefficients = gradient.coefficients(scale);
    let mut buffer = [0f32; BLOCK];
    for values in row.chunks_mut(BLOCK) {
        E::update(values, &mut buffer, |block| {
            block_gradient::<FMA>(block, gradient.max, coefficients, scale);
        });
    }
    row[label] = E::from_f32(gradient.at_label(scale));
}

#[inline(always)]
fn gradient_into_body<E: Element, const FMA: bool>(
    row: &[E],
    target: &mut [E],
    label: usize,
    gradient: &RowGradient,
    scale: Scale,
) {
    let coefficients = gradient.coefficients(scale);
    let mut buffer = [0f32; BLOCK];
    for (values, target) in row.chunks(BLOCK).zip(target.chunks_mut(BLOCK)) {
        target.copy_from_slice(values);
        E::update(target, &mut buffer, |block| {
            block_gradient::<FMA>(block, gradient.max, coefficients, scale);
        });
    }
    target[label] = E::from_f32(gradient.at_label(scale));
}

/// Compiles a body once for every instruction set that is worth it and calls the best that the
/// processor has. Which one is chosen depends on the machine only, never on the data.
macro_rules! for_every_instruction_set {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? => $body:ident) => {
        $(#[$doc])*
        pub(crate) fn $name<E: Element>($($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")]
                fn avx512<E: Element>($($arg: $type),*) $(-> $result)? {
                    $body::<E, true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx2<E: Element>($($arg: $type),*) $(-> $result)? {
                    $body::<E, true>($($arg),*)
                }
                let has_fma = is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
                if has_fma
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the processor has every feature that the function is compiled for.
                    return unsafe { avx512::<E>($($arg),*) };
                }
                if has_fma && is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { avx2::<E>($($arg),*) };
                }
            }
            // Every 64-bit Arm processor has fused multiply-add.
            $body::<E, { cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}

for_every_instruction_set! {
    /// One pass over a row. `label` is the logit of the selected token.
    fn scan_and_rank(row: &[E], label: f32, scale: Scale) -> RowState => scan_with_rank
}

for_every_instruction_set! {
    /// One pass over a row; `above` stays 0.
    fn scan_row(row: &[E], scale: Scale) -> RowState => scan_without_rank
}

for_every_instruction_set! {
    /// Overwrites a row of logits with the gradient of the loss with respect to them.
    fn gradient_in_place(row: &mut [E], label: usize, gradient: &RowGradient, scale: Scale)
        => gradient_body
}

for_every_instruction_set! {
    /// Writes the gradient of the loss with respect to a row of logits into `target`, which is as
    /// long as the row.
    fn gradient_into(
        row: &[E],
        target: &mut [E],
        label: usize,
        gradient: &RowGradient,
        scale: Scale
    ) => gradient_into_body
}
