//! When two answers are the same: one file for each kind of answer.
