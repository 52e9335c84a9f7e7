//! The memory of one query.
//!
//! Rule: memory is reserved before it is held, and given back when the holder is dropped.

use std::cell::Cell;

use crate::error::EvalError;

/// Bytes that a query may hold.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    used: Cell<usize>,
}

impl Budget {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, used: Cell::new(0) }
    }

    /// Whether so many more bytes would fit.
    pub(super) fn check(&self, bytes: usize) -> Result<(), EvalError> {
        if self.used.get().saturating_add(bytes) > self.limit {
            return Err(EvalError::OverBudget { limit: self.limit });
        }
        Ok(())
    }

    pub(super) const fn reservation(&self) -> Reservation<'_> {
        Reservation { budget: self, bytes: 0 }
    }
}

/// Bytes held by one operator.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Reservation<'_> {
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.budget.check(bytes)?;
        self.budget.used.set(self.budget.used.get().saturating_add(bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Sets the size to what is held now.
    pub(super) fn resize(&mut self, bytes: usize) -> Result<(), EvalError> {
        if let Some(more) = bytes.checked_sub(self.bytes) {
            return self.grow(more);
        }
        self.budget.used.set(self.budget.used.get().saturating_sub(self.bytes - bytes));
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.budget.used.set(self.budget.used.get().saturating_sub(self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_reservations_give_their_bytes_back() {
        let budget = Budget::new(10);
        let mut first = budget.reservation();
        first.grow(8).unwrap();
        assert!(budget.reservation().grow(3).is_err());
        first.resize(2).unwrap();
        assert!(budget.reservation().grow(8).is_ok());
        drop(first);
        assert!(budget.reservation().grow(10).is_ok());
    }
}
