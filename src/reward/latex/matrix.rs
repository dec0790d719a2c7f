//! Matrices and determinants.

use super::super::budget::MAX_MATRIX;
use super::super::expr::{Function, Id, Node};
use super::super::verdict::Reason;
use super::parser::{Parser, Result};
use super::token::{Environment, Kind};

impl Parser<'_> {
    /// Rows and columns up to `\end`.
    pub(super) fn matrix(&mut self, environment: Environment) -> Result<Id> {
        self.at += 1;
        let mut entries = Vec::new();
        let (mut rows, mut columns, mut column) = (0, None, 0);
        loop {
            entries.push(self.nested(Self::expression)?);
            column += 1;
            if entries.len() > MAX_MATRIX {
                return Err(Reason::TooLarge);
            }
            if self.take(Kind::NextColumn) {
                continue;
            }
            rows += 1;
            if *columns.get_or_insert(column) != column {
                return Err(Reason::Syntax);
            }
            column = 0;
            let more = self.take(Kind::NextRow);
            if self.take(Kind::End(environment)) {
                break;
            }
            if !more {
                return Err(Reason::Syntax);
            }
        }
        let columns = columns.unwrap_or(0);
        let entries = self.arena.list(&entries);
        let matrix = self.arena.push(Node::Matrix { rows, columns, entries });
        if environment != Environment::Determinant {
            return Ok(matrix);
        }
        if rows != columns {
            return Err(Reason::Undefined);
        }
        Ok(self.arena.apply(Function::Det, &[matrix]))
    }
}
