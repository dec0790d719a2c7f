//! The threads that the operators run on.
//!
//! A pool of our own rather than rayon's global one, for two reasons: its size can be changed
//! while the process runs, and a forked child (a data loader, a worker of some framework) gets
//! a new one. Threads do not survive a fork, and a global pool would wait for them for ever.

use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

struct Pool {
    /// The process that the threads belong to.
    process: u32,
    pool: Arc<ThreadPool>,
}

static POOL: Mutex<Option<Pool>> = Mutex::new(None);

fn build(threads: usize) -> std::io::Result<Pool> {
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("icpo-{index}"))
        .build()
        .map_err(std::io::Error::other)?;
    Ok(Pool { process: process::id(), pool: Arc::new(pool) })
}

fn replace(slot: &mut Option<Pool>, threads: usize) -> std::io::Result<()> {
    let fresh = build(threads)?;
    if let Some(old) = slot.replace(fresh)
        && old.process != process::id()
    {
        // Dropping the parent's pool here would wait for threads that this process never had.
        std::mem::forget(old);
    }
    Ok(())
}

/// Sets how many threads the operators use; 0 stands for one a core, or `RAYON_NUM_THREADS`.
///
/// No result depends on it.
///
/// # Errors
/// If the operating system refuses to start the threads; the old ones then stay.
pub fn set_num_threads(threads: usize) -> std::io::Result<()> {
    let mut slot = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    replace(&mut slot, threads)
}

/// How many threads the operators use.
pub fn num_threads() -> usize {
    current().map_or(1, |pool| pool.current_num_threads())
}

fn current() -> Option<Arc<ThreadPool>> {
    let mut slot = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if slot.as_ref().is_none_or(|pool| pool.process != process::id()) {
        replace(&mut slot, 0).ok()?;
    }
    slot.as_ref().map(|pool| Arc::clone(&pool.pool))
}

/// Runs a job on the pool; on the calling thread alone if no pool could be started, as under a
/// limit on processes: slower, with the same result.
pub(crate) fn install<T: Send>(job: impl FnOnce() -> T + Send) -> T {
    match current() {
        Some(pool) => pool.install(job),
        None => job(),
    }
}
