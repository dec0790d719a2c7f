//! Determinants, traces, ranks and norms of matrices of terms.

use dashu_ratio::RBig;

use crate::reward::expr::Function;

use super::number::{self, fraction, integer};
use super::term::{Step, Term, Terms, Tid};

/// Determinants up to this size are written out when they hold variables.
const WRITTEN_OUT: usize = 3;

impl Terms<'_> {
    /// A function of a matrix.
    pub fn matrix_function(&mut self, function: Function, arguments: &[Tid]) -> Step<Tid> {
        let [argument] = arguments else { return Ok(self.insert(Term::Foreign)) };
        let (rows, columns, entries) = match self.term(*argument) {
            Term::Matrix { rows, columns, entries } => (*rows, *columns, entries.clone()),
            // The norm of a number is its absolute value.
            _ if function == Function::Norm && !self.facts(*argument).broken => {
                return self.absolute(*argument);
            }
            _ => return Ok(self.insert(Term::Foreign)),
        };
        let size = rows as usize;
        let square = rows == columns && entries.len() == size * size;
        match function {
            Function::Trace if square => {
                let list: Vec<_> =
                    (0..size).map(|at| (entries[at * size + at], integer(1))).collect();
                self.sum(&list)
            }
            Function::Transpose if entries.len() == size * columns as usize => {
                let mut turned = Vec::with_capacity(entries.len());
                for column in 0..columns as usize {
                    turned.extend((0..size).map(|row| entries[row * columns as usize + column]));
                }
                let entries = turned.into();
                Ok(self.insert(Term::Matrix { rows: columns, columns: rows, entries }))
            }
            Function::Norm if rows == 1 || columns == 1 => {
                let two = self.int(2);
                let mut squares = Vec::with_capacity(entries.len());
                for &entry in entries.iter() {
                    let size = self.absolute(entry)?;
                    squares.push((self.pow(size, two)?, integer(1)));
                }
                let sum = self.sum(&squares)?;
                self.root(sum)
            }
            Function::Det if square => self.determinant(*argument, size, &entries),
            Function::Rank if entries.len() == size * columns as usize => {
                let values: Option<Vec<RBig>> =
                    entries.iter().map(|&entry| self.as_rational(entry).cloned()).collect();
                match values {
                    Some(values) => {
                        let rank = self.eliminate(values, size, columns as usize)?.0;
                        Ok(self.int(rank as i64))
                    }
                    None => Ok(self.insert(Term::Apply(function, [*argument].into()))),
                }
            }
            _ => Ok(self.insert(Term::Foreign)),
        }
    }

    fn determinant(&mut self, matrix: Tid, size: usize, entries: &[Tid]) -> Step<Tid> {
        let values: Option<Vec<RBig>> =
            entries.iter().map(|&entry| self.as_rational(entry).cloned()).collect();
        if let Some(values) = values {
            let (_, determinant) = self.eliminate(values, size, size)?;
            return Ok(self.rational(determinant));
        }
        if size <= WRITTEN_OUT {
            return self.expand(size, entries);
        }
        Ok(self.insert(Term::Apply(Function::Det, [matrix].into())))
    }

    /// Along the first row. The size is at most three.
    fn expand(&mut self, size: usize, entries: &[Tid]) -> Step<Tid> {
        match size {
            0 => return Ok(Self::ONE),
            1 => return Ok(entries[0]),
            _ => {}
        }
        let mut list = Vec::with_capacity(size);
        for column in 0..size {
            let minor: Vec<Tid> = (1..size)
                .flat_map(|row| (0..size).filter(move |&at| at != column).map(move |at| (row, at)))
                .map(|(row, at)| entries[row * size + at])
                .collect();
            let minor = self.expand(size - 1, &minor)?;
            let part = self.product(&[entries[column], minor])?;
            list.push((part, integer(if column % 2 == 0 { 1 } else { -1 })));
        }
        self.sum(&list)
    }

    /// Rank, and determinant of a square matrix, by exact elimination.
    fn eliminate(&mut self, mut m: Vec<RBig>, rows: usize, columns: usize) -> Step<(usize, RBig)> {
        let mut determinant = integer(1);
        let mut rank = 0;
        for column in 0..columns {
            let Some(pivot) = (rank..rows).find(|&row| !m[row * columns + column].is_zero()) else {
                determinant = integer(0);
                continue;
            };
            if pivot != rank {
                for at in 0..columns {
                    m.swap(pivot * columns + at, rank * columns + at);
                }
                determinant = -determinant;
            }
            let lead = m[rank * columns + column].clone();
            determinant = number::mul(&determinant, &lead, self.budget)?;
            let inverse = number::inverse(&lead);
            for row in rank + 1..rows {
                let here = &m[row * columns + column];
                if here.is_zero() {
                    continue;
                }
                let factor = -number::mul(here, &inverse, self.budget)?;
                for at in column..columns {
                    let change = number::mul(&factor, &m[rank * columns + at], self.budget)?;
                    m[row * columns + at] =
                        number::add(&m[row * columns + at], &change, self.budget)?;
                }
            }
            rank += 1;
            if rank == rows {
                break;
            }
        }
        if rank < rows {
            determinant = integer(0);
        }
        Ok((rank, determinant))
    }

    /// A hundredth part.
    pub fn percent(&mut self, id: Tid) -> Step<Tid> {
        self.scale(id, fraction(1, 100))
    }
}
