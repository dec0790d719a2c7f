//! Products of matrices on our threads, in an order that does not depend on their number.

use ndarray::linalg::general_mat_mul;
use ndarray::parallel::prelude::*;
use ndarray::{ArrayView2, ArrayViewMut2, Axis};

use crate::parallel;

/// Rows or columns of the result that are computed as one job.
const PANEL: usize = 512;

/// out ← left·right + keep·out, with `out` cut into panels along its longer side.
pub(crate) fn matmul(
    left: &ArrayView2<'_, f32>,
    right: &ArrayView2<'_, f32>,
    keep: f32,
    out: &mut ArrayViewMut2<'_, f32>,
) {
    parallel::install(|| {
        if out.nrows() >= out.ncols() {
            out.axis_chunks_iter_mut(Axis(0), PANEL)
                .into_par_iter()
                .zip(left.axis_chunks_iter(Axis(0), PANEL))
                .for_each(|(mut out, left)| general_mat_mul(1.0, &left, right, keep, &mut out));
        } else {
            out.axis_chunks_iter_mut(Axis(1), PANEL)
                .into_par_iter()
                .zip(right.axis_chunks_iter(Axis(1), PANEL))
                .for_each(|(mut out, right)| general_mat_mul(1.0, left, &right, keep, &mut out));
        }
    });
}
