//! The memory of one query.
//!
//! Rule: memory is reserved before it is held, and given back when the holder is dropped.

use std::cell::{Cell, RefCell};

use storage::{MemoryExhausted, MemoryPool};

/// Bytes that are drawn from the pool at once, and kept when they are given back: operators grow by the
/// series, and the pool is shared by all threads.
const DRAWN_AT_ONCE: usize = 64 << 10;

/// What the operators of a query hold, drawn from the query's pool.
#[derive(Debug)]
pub(super) struct Budget {
    used: Cell<usize>,
    drawn: RefCell<storage::Reservation>,
}

impl Budget {
    pub(super) fn new(pool: &MemoryPool) -> Self {
        Self { used: Cell::new(0), drawn: RefCell::new(pool.reservation()) }
    }

    pub(super) fn pool(&self) -> MemoryPool {
        self.drawn.borrow().pool().clone()
    }

    /// Whether so many more bytes would fit.
    pub(super) fn check(&self, bytes: usize) -> Result<(), MemoryExhausted> {
        self.draw(self.used.get().saturating_add(bytes))
    }

    /// Draws so that `used` bytes are covered.
    fn draw(&self, used: usize) -> Result<(), MemoryExhausted> {
        let mut drawn = self.drawn.borrow_mut();
        let Some(missing) = used.checked_sub(drawn.bytes()).filter(|missing| *missing > 0) else { return Ok(()) };
        if missing < DRAWN_AT_ONCE && drawn.grow(DRAWN_AT_ONCE).is_ok() {
            return Ok(());
        }
        drawn.grow(missing)
    }

    fn give_back(&self, bytes: usize) {
        let used = self.used.get().saturating_sub(bytes);
        self.used.set(used);
        let mut drawn = self.drawn.borrow_mut();
        let kept = used.saturating_add(DRAWN_AT_ONCE);
        if drawn.bytes() > kept.saturating_add(DRAWN_AT_ONCE) {
            let surplus = drawn.bytes() - kept;
            drawn.shrink(surplus);
        }
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
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), MemoryExhausted> {
        self.budget.check(bytes)?;
        self.budget.used.set(self.budget.used.get().saturating_add(bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Sets the size to what is held now.
    pub(super) fn resize(&mut self, bytes: usize) -> Result<(), MemoryExhausted> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.grow(more),
            None => {
                self.budget.give_back(self.bytes - bytes);
                self.bytes = bytes;
                Ok(())
            }
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_reservations_give_their_bytes_back() {
        let budget = Budget::new(&MemoryPool::new(10));
        let mut first = budget.reservation();
        first.grow(8).unwrap();
        assert!(budget.reservation().grow(3).is_err());
        first.resize(2).unwrap();
        assert!(budget.reservation().grow(8).is_ok());
        drop(first);
        assert!(budget.reservation().grow(10).is_ok());
    }

    #[test]
    fn pool_gets_back_what_is_not_needed_soon() {
        let pool = MemoryPool::new(100 << 20);
        let budget = Budget::new(&pool);
        let mut held = budget.reservation();
        held.grow(50 << 20).unwrap();
        assert!(pool.used() >= 50 << 20);
        drop(held);
        assert!(pool.used() <= 2 * DRAWN_AT_ONCE, "{}", pool.used());
        drop(budget);
        assert_eq!(pool.used(), 0);
    }
}
