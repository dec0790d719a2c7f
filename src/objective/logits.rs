//! Borrowed logits: one row of the vocabulary for each token, at any distance from each other.

use ndarray::{ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3, Axis};

use crate::element::Element;
use crate::error::{Error, Result};

/// Logits to read, of shape (N, V) or (B, T, V). Rows may lie anywhere, as in a slice of a larger
/// array; the values of one row must be adjacent.
#[derive(Debug, Clone, Copy)]
pub struct Logits<'a, E> {
    view: ArrayView3<'a, E>,
    layout: Layout,
}

/// Logits to write.
#[derive(Debug)]
pub struct LogitsMut<'a, E> {
    view: ArrayViewMut3<'a, E>,
    layout: Layout,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Layout {
    Packed,
    Padded,
}

/// Checks that rows are non-empty and adjacent in memory.
fn check(argument: &'static str, shape: &[usize], strides: &[isize]) -> Result<()> {
    if shape[2] == 0 {
        let (expected, got) = ("at least one token in the vocabulary".into(), format!("{shape:?}"));
        return Err(Error::Shape { argument, expected, got });
    }
    // Strides mean nothing in an array without elements.
    let rows = shape[0] * shape[1];
    if rows > 0 && shape[2] > 1 && strides[2] != 1 {
        let expected = "the values of a row next to each other (a contiguous last axis)";
        return Err(Error::Strides { argument, expected, strides: strides.to_vec() });
    }
    Ok(())
}

impl<'a, E: Element> Logits<'a, E> {
    /// From (N, V).
    ///
    /// # Errors
    /// If the vocabulary is empty or its axis is not contiguous.
    pub fn packed(view: ArrayView2<'a, E>) -> Result<Self> {
        let view = view.insert_axis(Axis(0));
        check("logits", view.shape(), view.strides())?;
        Ok(Self { view, layout: Layout::Packed })
    }

    /// From (B, T, V).
    ///
    /// # Errors
    /// As for [`Logits::packed`].
    pub fn padded(view: ArrayView3<'a, E>) -> Result<Self> {
        check("logits", view.shape(), view.strides())?;
        Ok(Self { view, layout: Layout::Padded })
    }

    /// Number of tokens: N, or B·T.
    pub fn tokens(&self) -> usize {
        self.view.len_of(Axis(0)) * self.view.len_of(Axis(1))
    }

    /// V.
    pub fn vocabulary(&self) -> usize {
        self.view.len_of(Axis(2))
    }

    /// The logits at a token, tokens counted row by row.
    pub(crate) fn row(&self, token: usize) -> &'a [E] {
        let length = self.view.len_of(Axis(1));
        let (outer, inner) = (token / length, token % length);
        let row = self.view.index_axis_move(Axis(0), outer).index_axis_move(Axis(0), inner);
        // Contiguous by construction, so the alternative is never taken.
        row.to_slice().unwrap_or_default()
    }

    /// The index of a token in the caller's array, for messages.
    pub(crate) fn place(&self, token: usize) -> String {
        place(self.layout, self.view.len_of(Axis(1)), token)
    }
}

fn place(layout: Layout, length: usize, token: usize) -> String {
    match layout {
        Layout::Packed => token.to_string(),
        Layout::Padded => format!("{}, {}", token / length, token % length),
    }
}

impl<'a, E: Element> LogitsMut<'a, E> {
    /// From (N, V).
    ///
    /// # Errors
    /// As for [`Logits::packed`].
    pub fn packed(view: ArrayViewMut2<'a, E>) -> Result<Self> {
        let view = view.insert_axis(Axis(0));
        check("dlogits", view.shape(), view.strides())?;
        Ok(Self { view, layout: Layout::Packed })
    }

    /// From (B, T, V).
    ///
    /// # Errors
    /// As for [`Logits::packed`].
    pub fn padded(view: ArrayViewMut3<'a, E>) -> Result<Self> {
        check("dlogits", view.shape(), view.strides())?;
        Ok(Self { view, layout: Layout::Padded })
    }

    /// To read what is there now.
    pub fn as_logits(&self) -> Logits<'_, E> {
        Logits { view: self.view.view(), layout: self.layout }
    }

    /// Every row, to be handed out to threads.
    pub(crate) fn rows(&mut self) -> Vec<&mut [E]> {
        self.view.rows_mut().into_iter().filter_map(|row| row.into_slice()).collect()
    }

    /// Checks that both have the same shape.
    pub(crate) fn check_fits(&self, logits: &Logits<'_, E>) -> Result<()> {
        if self.view.shape() == logits.view.shape() {
            return Ok(());
        }
        Err(Error::Shape {
            argument: "dlogits",
            expected: format!("the shape of logits, {:?}", logits.view.shape()),
            got: format!("{:?}", self.view.shape()),
        })
    }
}

/// The token ids of a batch, checked against the vocabulary where they are used.
pub(crate) fn check_ids(
    ids: &[i64],
    vocabulary: usize,
    used: impl Fn(usize) -> bool,
    place: impl Fn(usize) -> String,
) -> Result<()> {
    let inside = |id: i64| usize::try_from(id).is_ok_and(|id| id < vocabulary);
    match ids.iter().enumerate().find(|&(token, &id)| used(token) && !inside(id)) {
        Some((token, &value)) => Err(Error::TokenId { place: place(token), vocabulary, value }),
        None => Ok(()),
    }
}

/// The error for a row that holds a NaN, +inf, or nothing but −inf.
pub(crate) fn unsound_row<E: Element>(row: &[E], place: String) -> Error {
    let argument = "logits";
    let bad = |x: f32| x.is_nan() || x == f32::INFINITY;
    match row.iter().position(|x| bad(x.to_f32())) {
        Some(column) => Error::NotFinite {
            argument,
            place: format!("{place}, {column}"),
            expected: "a number or -inf",
            value: f64::from(row[column].to_f32()),
        },
        None => Error::NotFinite {
            argument,
            place: format!("{place}, :"),
            expected: "at least one token with a logit above -inf",
            value: f64::NEG_INFINITY,
        },
    }
}

/// The error for a selected token that the logits rule out.
pub(crate) fn impossible_token(id: i64, place: String) -> Error {
    Error::NotFinite {
        argument: "logits",
        place: format!("{place}, {id}"),
        expected: "a finite logit for the token that ids selects there",
        value: f64::NEG_INFINITY,
    }
}
