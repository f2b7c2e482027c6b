//! C's locks. Rust's std does not use them, C libraries do.
//!
//! Each lock stays the C library's own object, so OS threads without a hub use it as ever. A green thread *tries* to take
//! it by the C library's own function. If that fails, the green thread waits in the table of `hub/futex.rs` at the object's
//! address, and tries again when woken. A thread that releases the lock, on any OS thread, calls the C library's function,
//! and then wakes a waiter of the table. The C library notes the green thread as the owner (`owner.rs`).
//!
//! Conditions and barriers cannot be tried. They are made of the table alone, and OS threads wait there, too.
//!
//! Exceptions: mutexes with priority inheritance or a robust list, because the kernel knows their owners by its own thread
//! ids, and conditions that processes share. These block the OS thread, as they do without the patch. Other objects that
//! processes share are tried again every few milliseconds, because the other process cannot wake the green thread.
//!
//! | file | concept |
//! |---|---|
//! | `take.rs` | trying and waiting, for all locks |
//! | `owner.rs` | by which number a lock knows its owner |
//! | `pthread_*.rs`, `posix_semaphore.rs` | the locks, each with the check of the fields of glibc's object that it reads |
//!
//! Next: `patch/pthread/sync/take.rs`.

mod owner;
pub(super) mod posix_semaphore;
pub(super) mod pthread_barrier;
pub(super) mod pthread_cond;
pub(super) mod pthread_mutex;
pub(super) mod pthread_once;
pub(super) mod pthread_rwlock;
pub(super) mod take;

/// Checks that glibc's objects have their fields where the crate reads them.
///
/// Errors: which object is laid out otherwise.
pub(super) fn probe() -> Result<(), String> {
    let objects = [
        ("pthread_mutex_t", pthread_mutex::probe()),
        ("pthread_cond_t", pthread_cond::probe()),
        ("pthread_rwlock_t", pthread_rwlock::probe()),
        ("sem_t", posix_semaphore::probe()),
    ];
    match objects.iter().find(|(_, is_as_expected)| !is_as_expected) {
        Some((object, _)) => Err(format!("a {object} is not laid out as expected")),
        None => Ok(()),
    }
}
