//! One limit on memory for everyone: bytes are reserved before they are allocated.
//!
//! - [`MemoryPool`]: a limit with a name. Pools form a tree; what is reserved in one counts in all above it.
//! - [`Reservation`]: bytes that somebody may hold; given back when it is dropped.
//! - [`MemoryExhausted`]: who asked, what is left, who holds most.
//!
//! ```text
//! process 128 MiB ─┬─ head
//!                  └─ queries 64 MiB ─┬─ query `sum(rate(…))`  32 MiB
//!                                     └─ query `topk(5, …)`    32 MiB
//! ```
//!
//! Rule: a reservation that fails changes nothing, and says why. Reserving costs one atomic update per
//! level; who grows in small steps reserves in larger ones.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Longest name of a pool in bytes; longer ones are cut.
const MAX_NAME_BYTES: usize = 256;

/// Bytes that the holders of reservations may hold together. A handle, cheap to clone.
#[derive(Clone, Debug)]
pub struct MemoryPool(Arc<Node>);

#[derive(Debug)]
struct Node {
    name: Arc<str>,
    limit: usize,
    used: AtomicUsize,
    peak: AtomicUsize,
    /// Bytes of the process that nobody reserved; only the root has any.
    unreserved: AtomicUsize,
    parent: Option<MemoryPool>,
    children: Mutex<Vec<Weak<Self>>>,
}

impl Node {
    fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// What reservations may take at most, beside what nobody reserved.
    fn available(&self) -> usize {
        self.limit.saturating_sub(self.unreserved.load(Ordering::Relaxed))
    }

    fn take(&self, bytes: usize) -> bool {
        let available = self.available();
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= available);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.is_ok_and(|before| {
            self.peak.fetch_max(before + bytes, Ordering::Relaxed);
            true
        })
    }

    fn take_anyway(&self, bytes: usize) {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        self.peak.fetch_max(before.saturating_add(bytes), Ordering::Relaxed);
    }

    /// Never more than was taken.
    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Default for MemoryPool {
    fn default() -> Self {
        Self::unlimited()
    }
}

impl MemoryPool {
    /// The pool of a process: `limit` bytes for all.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self::node("the process", limit, None)
    }

    /// A pool that refuses nothing and still counts.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(usize::MAX)
    }

    /// A part of this pool with a name of its own and at most `limit` bytes. It exists as long as it has a
    /// handle or a reservation.
    #[must_use]
    pub fn child(&self, name: &str, limit: usize) -> Self {
        let child = Self::node(name, limit, Some(self.clone()));
        let mut children = self.0.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain(|child| child.strong_count() > 0);
        children.push(Arc::downgrade(&child.0));
        drop(children);
        child
    }

    /// A part of this pool with a name, and no limit but this pool's.
    #[must_use]
    pub fn consumer(&self, name: &str) -> Self {
        self.child(name, usize::MAX)
    }

    fn node(name: &str, limit: usize, parent: Option<Self>) -> Self {
        let end = name.floor_char_boundary(MAX_NAME_BYTES);
        let name = match name.get(..end).filter(|_| end < name.len()) {
            Some(start) => format!("{start}…").into(),
            None => name.into(),
        };
        Self(Arc::new(Node {
            name,
            limit,
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            unreserved: AtomicUsize::new(0),
            parent,
            children: Mutex::default(),
        }))
    }

    /// This pool and those above it.
    fn upwards(&self) -> impl Iterator<Item = &Node> {
        std::iter::successors(Some(&*self.0), |node| node.parent.as_ref().map(|parent| &*parent.0))
    }

    /// A reservation of nothing, which can grow.
    pub fn reservation(&self) -> Reservation {
        Reservation { pool: self.clone(), bytes: 0 }
    }

    /// Reserves bytes.
    ///
    /// # Errors
    ///
    /// This pool or one above it has not so much left; nothing is reserved.
    pub fn reserve(&self, bytes: usize) -> Result<Reservation, MemoryExhausted> {
        let mut reservation = self.reservation();
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    fn take(&self, bytes: usize) -> Result<(), MemoryExhausted> {
        for (level, node) in self.upwards().enumerate() {
            if !node.take(bytes) {
                self.upwards().take(level).for_each(|node| node.give_back(bytes));
                return Err(MemoryExhausted {
                    consumer: Arc::clone(&self.0.name),
                    pool: Arc::clone(&node.name),
                    asked: bytes,
                    left: node.available().saturating_sub(node.used()),
                    limit: node.limit,
                    largest: largest(node),
                });
            }
        }
        Ok(())
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The limit of this pool in bytes; those above it may allow less.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Bytes that are reserved.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used()
    }

    /// The most bytes that were ever reserved at once.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.0.peak.load(Ordering::Relaxed)
    }

    /// Bytes that can be reserved at present, as far as all pools above allow.
    #[must_use]
    pub fn left(&self) -> usize {
        self.upwards().map(|node| node.available().saturating_sub(node.used())).min().unwrap_or_default()
    }

    /// Tells the pool of a process how much memory the process really holds. What exceeds the reservations
    /// (code, stacks, slack of the allocator, whoever does not reserve) can no longer be reserved.
    pub fn observe_resident(&self, resident: usize) {
        self.0.unreserved.store(resident.saturating_sub(self.0.used()), Ordering::Relaxed);
    }

    /// Bytes that the process held and nobody had reserved, when it was last observed.
    #[must_use]
    pub fn unreserved(&self) -> usize {
        self.0.unreserved.load(Ordering::Relaxed)
    }

    /// The parts of this pool that hold anything, with their bytes, largest first. The parts of parts are
    /// not listed.
    #[must_use]
    pub fn consumers(&self) -> Vec<(Arc<str>, usize)> {
        let mut all: Vec<_> = children(&self.0).iter().map(|node| (Arc::clone(&node.name), node.used())).collect();
        all.retain(|(_, used)| *used > 0);
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        all
    }
}

fn children(node: &Node) -> Vec<Arc<Node>> {
    node.children.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
}

/// The part without parts that holds most.
fn largest(node: &Node) -> Option<(Arc<str>, usize)> {
    let part = children(node).into_iter().max_by_key(|part| part.used()).filter(|part| part.used() > 0)?;
    Some(largest(&part).unwrap_or_else(|| (Arc::clone(&part.name), part.used())))
}

/// Bytes that the holder may hold. Dropping it gives them back.
#[derive(Debug)]
#[must_use = "dropping a reservation gives its bytes back"]
pub struct Reservation {
    pool: MemoryPool,
    bytes: usize,
}

impl Reservation {
    /// Reserves more.
    ///
    /// # Errors
    ///
    /// The pool has not so much left; the reservation stays as it is.
    pub fn grow(&mut self, more: usize) -> Result<(), MemoryExhausted> {
        self.pool.take(more)?;
        self.bytes = self.bytes.saturating_add(more);
        Ok(())
    }

    /// Gives a part back; all of it, if it is smaller.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.bytes);
        self.pool.upwards().for_each(|node| node.give_back(less));
        self.bytes -= less;
    }

    /// Sets the size to what is held now.
    ///
    /// # Errors
    ///
    /// As [`grow`](Self::grow).
    pub fn resize(&mut self, bytes: usize) -> Result<(), MemoryExhausted> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.grow(more),
            None => {
                self.shrink(self.bytes - bytes);
                Ok(())
            }
        }
    }

    /// Sets the size to what is held already and cannot be refused, such as data that a restart found. The
    /// pool may be over its limit afterwards, and refuses others until it no longer is.
    pub fn resize_anyway(&mut self, bytes: usize) {
        match bytes.checked_sub(self.bytes) {
            Some(more) => {
                self.pool.upwards().for_each(|node| node.take_anyway(more));
                self.bytes = bytes;
            }
            None => self.shrink(self.bytes - bytes),
        }
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where they come from.
    #[must_use]
    pub const fn pool(&self) -> &MemoryPool {
        &self.pool
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

/// A pool has less left than was asked for. Hold less, or end with this error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryExhausted {
    /// Who asked.
    pub consumer: Arc<str>,
    /// Whose limit it is: the one who asked, or a pool above.
    pub pool: Arc<str>,
    /// Bytes that were asked for.
    pub asked: usize,
    /// Bytes that are left.
    pub left: usize,
    /// The limit in bytes.
    pub limit: usize,
    /// The part of the pool that holds most, with its bytes; none if the pool has no parts.
    pub largest: Option<(Arc<str>, usize)>,
}

impl std::error::Error for MemoryExhausted {}

impl fmt::Display for MemoryExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consumer, pool, asked, left, limit, largest } = self;
        let (asked, left, limit) = (Bytes(*asked), Bytes(*left), Bytes(*limit));
        write!(f, "{consumer} would need {asked} more of memory: ")?;
        if consumer == pool {
            write!(f, "{left} of its {limit} are left")?;
        } else {
            write!(f, "{left} of the {limit} of {pool} are left")?;
        }
        match largest {
            Some((name, bytes)) => write!(f, ", most is held by {name}: {}", Bytes(*bytes)),
            None => Ok(()),
        }
    }
}

/// A number of bytes with a unit.
struct Bytes(usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        let (mut value, mut unit) = (self.0 as f64, None);
        for next in UNITS {
            if value < 1024.0 {
                break;
            }
            (value, unit) = (value / 1024.0, Some(next));
        }
        match unit {
            Some(unit) => write!(f, "{value:.1} {unit}"),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_reservation_gives_its_bytes_back_on_every_level() {
        let process = MemoryPool::new(100);
        let query = process.child("queries", 60).child("query `up`", 50);
        let mut held = query.reserve(40).unwrap();
        held.resize(30).unwrap();
        assert_eq!((query.used(), process.used(), query.left(), process.left()), (30, 30, 20, 70));
        held.grow(20).unwrap();
        drop(held);
        assert_eq!((query.used(), process.used(), process.peak()), (0, 0, 50));
    }

    #[test]
    fn refused_reservation_changes_nothing_and_names_who_holds_most() {
        let process = MemoryPool::new(100 << 20);
        let head = process.consumer("head");
        let queries = process.child("queries", 80 << 20);
        let (first, second) = (queries.child("query `a`", 64 << 20), queries.child("query `b`", 64 << 20));
        let _held = (head.reserve(10 << 20).unwrap(), first.reserve(60 << 20).unwrap());
        check(&second, 70 << 20, "query `b` would need 70.0 MiB more of memory: 64.0 MiB of its 64.0 MiB are left");
        check(
            &second,
            30 << 20,
            "query `b` would need 30.0 MiB more of memory: 20.0 MiB of the 80.0 MiB of queries are left, \
             most is held by query `a`: 60.0 MiB",
        );
        check(
            &head,
            31 << 20,
            "head would need 31.0 MiB more of memory: 30.0 MiB of the 100.0 MiB of the process are left, \
             most is held by query `a`: 60.0 MiB",
        );
        assert_eq!((second.used(), queries.used(), process.used()), (0, 60 << 20, 70 << 20));
    }

    #[track_caller]
    fn check(pool: &MemoryPool, bytes: usize, expected: &str) {
        assert_eq!(pool.reserve(bytes).unwrap_err().to_string(), expected);
    }

    #[test]
    fn memory_that_nobody_reserved_is_not_handed_out() {
        let process = MemoryPool::new(100);
        let head = process.reserve(30).unwrap();
        process.observe_resident(50);
        assert_eq!((process.unreserved(), process.left()), (20, 50));
        assert!(process.reserve(51).is_err());
        drop(head);
        process.observe_resident(20);
        assert!(process.reserve(80).is_ok());
    }

    #[test]
    fn what_a_restart_found_is_counted_over_the_limit() {
        let process = MemoryPool::new(100);
        let mut head = process.reservation();
        head.resize_anyway(130);
        assert!(process.reserve(1).is_err());
        head.resize_anyway(90);
        assert!(process.reserve(10).is_ok());
    }

    #[test]
    fn parts_are_forgotten_with_their_last_holder() {
        let process = MemoryPool::new(100);
        let held = process.consumer("query `up`").reserve(8).unwrap();
        drop(process.consumer("query `down`"));
        assert_eq!(process.consumers(), [("query `up`".into(), 8)]);
        drop(held);
        assert_eq!(process.consumers(), []);
        (0..1_000).for_each(|_| drop(process.consumer("query `up`")));
        assert!(process.0.children.lock().unwrap().len() <= 1);
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let pool = MemoryPool::new(1).consumer(&"é".repeat(1_000));
        assert!(pool.name().len() <= MAX_NAME_BYTES + 3 && pool.name().ends_with('…'));
    }

    #[test]
    fn threads_never_hold_more_than_the_limit_together() {
        let process = MemoryPool::new(1_000);
        std::thread::scope(|scope| {
            for thread in 0..4_usize {
                let pool = process.consumer("thread");
                scope.spawn(move || {
                    for round in 0..5_000 {
                        if let Ok(mut held) = pool.reserve(1 + (round * 7 + thread * 13) % 400) {
                            drop(held.grow(round % 50));
                            held.shrink(round % 30);
                        }
                    }
                });
            }
        });
        assert_eq!(process.used(), 0);
        assert!(process.peak() <= 1_000, "{}", process.peak());
    }
}
