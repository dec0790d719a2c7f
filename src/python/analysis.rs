//! Argument unpacking for `crate::analysis`.

use pyo3::prelude::*;

use super::call::run;
use super::tensor::TensorView;
use crate::analysis::edit_distance::{EditDistances, Sequences};

/// Writes edit distances into `out`: between all pairs of sequences, or, with `first`, between each
/// of the first so many and each of the others.
///
/// Between parts of the work `progress` is told how many there are and how many are done, and
/// signals are looked at, so that the interrupt key works.
#[pyfunction]
#[pyo3(signature = (tokens, offsets, first, progress, *, out))]
pub(crate) fn edit_distances(
    py: Python<'_>,
    tokens: PyRef<'_, TensorView>,
    offsets: PyRef<'_, TensorView>,
    first: Option<usize>,
    progress: Option<Bound<'_, PyAny>>,
    out: PyRef<'_, TensorView>,
) -> PyResult<()> {
    let (tokens, offsets, out) = (&*tokens, &*offsets, &*out);
    let sequences =
        run(py, || Ok(Sequences::new(tokens.slice("tokens")?, offsets.slice("offsets")?)?))?;
    let distances = run(py, || {
        Ok(match first {
            None => EditDistances::all_pairs(&sequences),
            Some(first) => EditDistances::between(&sequences, first)?,
        })
    })?;
    for part in 0..distances.parts() {
        run(py, || Ok(distances.compute_part(part, out.slice_mut("out")?)?))?;
        py.check_signals()?;
        if let Some(progress) = &progress {
            progress.call1((part + 1, distances.parts()))?;
        }
    }
    Ok(())
}
