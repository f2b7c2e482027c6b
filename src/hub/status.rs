//! The part of a hub that other OS threads may read: the running green thread, the number of switches, names.
//!
//! The words are relaxed atomics that only the hub writes. So a write is a plain store, and a switch costs as much as if no
//! other OS thread could read. Two words may be a moment apart; the watchdog looks for words that do not change at all.
//!
//! The names of green threads are in their records, which only the hub may read. While there is a watchdog, each spawn
//! leaves a copy of the name here, under a lock.
//!
//! Next: `observe/watchdog/mod.rs`, which reads it.
#![allow(unsafe_code)]

use crate::ids::GreenId;
use crate::sys::raw_mutex::Lock;
use crate::sys::tid::gettid;
use std::panic::Location;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64};

/// Whether the watchdog wants to know the names of green threads.
static LABELS_WANTED: AtomicBool = AtomicBool::new(false);

/// Number of OS threads that only report: the watchdog. Never more than there are.
static HELPER_THREADS: AtomicI64 = AtomicI64::new(0);

/// Sets whether hubs keep the names of their green threads here.
pub(crate) fn want_labels(wanted: bool) {
    LABELS_WANTED.store(wanted, Relaxed);
}

#[inline]
pub(crate) fn labels_wanted() -> bool {
    LABELS_WANTED.load(Relaxed)
}

/// Adds to the number of OS threads that only report. A caller that counts the others must not miss one, so this is called
/// after such a thread was made, and before it ends.
pub(crate) fn add_helper_threads(n: i64) {
    HELPER_THREADS.fetch_add(n, SeqCst);
}

/// Returns the number of OS threads that only report.
pub(super) fn helper_threads() -> u64 {
    HELPER_THREADS.load(SeqCst).max(0) as u64
}

/// All hubs that have not ended.
static HUBS: Lock<Vec<HubPtr>> = Lock::new(Vec::new());

struct HubPtr(*const HubStatus);

// SAFETY: the pointer is followed only under the lock, and removed under the lock before its target is freed; a HubStatus
// is Sync.
unsafe impl Send for HubPtr {}

/// The readable part of a hub. The fields that every switch touches come last, next to the hub's other such fields.
#[repr(C)]
pub(crate) struct HubStatus {
    /// Number of the hub in this process. Unlike its address, it is not reused.
    pub(crate) number: u64,
    /// The kernel's id of the hub's OS thread.
    tid: AtomicI32,
    /// Name of the OS thread.
    pub(crate) os_thread: Box<str>,
    /// Names by the key of the record. The name of an ended green thread stays until its record is reused.
    labels: Lock<Vec<Option<GreenLabel>>>,
    /// Number of green threads that are not Finished, without the root.
    alive: AtomicU64,
    current: AtomicU64,
    switches: AtomicU64,
}

/// Name and origin of a green thread, for reports.
#[derive(Clone, Debug)]
pub(crate) struct GreenLabel {
    id: GreenId,
    /// The name that the program gave it, if any.
    pub(crate) name: Option<Box<str>>,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl HubStatus {
    pub(super) fn new(os_thread: &str) -> HubStatus {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        HubStatus {
            current: AtomicU64::new(GreenId::ROOT.bits()),
            switches: AtomicU64::new(0),
            alive: AtomicU64::new(0),
            number: COUNT.fetch_add(1, Relaxed),
            tid: AtomicI32::new(gettid()),
            os_thread: os_thread.into(),
            labels: Lock::default(),
        }
    }

    /// Returns the running green thread; `GreenId::HUB` while the loop runs.
    #[inline(always)]
    pub(crate) fn current(&self) -> GreenId {
        GreenId::from_bits(self.current.load(Relaxed))
    }

    #[inline(always)]
    pub(super) fn set_current(&self, id: GreenId) {
        self.current.store(id.bits(), Relaxed);
    }

    #[inline(always)]
    pub(crate) fn switches(&self) -> u64 {
        self.switches.load(Relaxed)
    }

    #[inline(always)]
    pub(super) fn count_switch(&self) {
        self.switches.store(self.switches() + 1, Relaxed);
    }

    #[inline]
    pub(crate) fn alive(&self) -> u64 {
        self.alive.load(Relaxed)
    }

    #[inline]
    pub(super) fn set_alive(&self, alive: u64) {
        self.alive.store(alive, Relaxed);
    }

    pub(crate) fn tid(&self) -> i32 {
        self.tid.load(Relaxed)
    }

    /// Keeps the name and the origin of `id`. Called while the hub's state is borrowed, so that nothing parks in the allocator
    /// while the lock is held.
    #[cold]
    pub(super) fn set_label(&self, id: GreenId, name: Option<&str>, spawned_at: &'static Location<'static>) {
        let mut labels = self.labels.lock();
        if labels.len() <= id.key() {
            labels.resize(id.key() + 1, None);
        }
        labels[id.key()] = Some(GreenLabel { id, name: name.map(Box::from), spawned_at });
    }

    /// Returns the label of `id`; `None` if it was spawned when there was no watchdog.
    pub(crate) fn label(&self, id: GreenId) -> Option<GreenLabel> {
        self.labels.lock().get(id.key())?.clone().filter(|label| label.id == id)
    }
}

/// Adds a hub to the list.
///
/// # Safety
/// The caller calls `unregister` before it moves or frees the hub.
pub(super) unsafe fn register(status: *const HubStatus) {
    HUBS.lock().push(HubPtr(status));
}

/// Removes a hub from the list. No other OS thread uses it when this returns.
pub(super) fn unregister(status: *const HubStatus) {
    HUBS.lock().retain(|listed| listed.0 != status);
}

/// Calls `look` for every hub, under the lock that a hub needs to start and to end: `look` must not block.
pub(crate) fn for_each_hub(mut look: impl FnMut(&HubStatus)) {
    for listed in HUBS.lock().iter() {
        // SAFETY: listed hubs live, and they are removed only under the lock, which is held.
        look(unsafe { &*listed.0 });
    }
}

/// Locks the list before a fork, so that the child finds it complete.
pub(crate) extern "C" fn before_fork() {
    HUBS.seize();
}

/// Unlocks it after a fork, in the parent.
///
/// # Safety
/// The same OS thread has called `before_fork`.
pub(crate) unsafe extern "C" fn after_fork() {
    // SAFETY: the caller has called `before_fork`, which has locked it.
    unsafe { HUBS.release() };
}

/// Unlocks it after a fork, in the child. Only this OS thread exists there, with a new id; `own` is its hub's status.
///
/// # Safety
/// As `after_fork`.
pub(crate) unsafe fn after_fork_in_child(own: Option<&HubStatus>) {
    // SAFETY: the caller has called `before_fork`, which has locked it.
    unsafe { HUBS.release() };
    if let Some(own) = own {
        own.tid.store(gettid(), Relaxed);
    }
    HELPER_THREADS.store(0, SeqCst);
    LABELS_WANTED.store(false, Relaxed);
    HUBS.lock().retain(|listed| own.is_some_and(|own| std::ptr::eq(own, listed.0)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_is_none_for_another_id_with_the_same_key() {
        let status = HubStatus::new("tests");
        let (first, second) = (GreenId::new(7, 3), GreenId::new(8, 3));
        assert!(status.label(first).is_none());
        status.set_label(first, Some("first"), Location::caller());
        assert_eq!(status.label(first).unwrap().name.as_deref(), Some("first"));
        assert!(status.label(second).is_none());
        status.set_label(second, None, Location::caller());
        assert!(status.label(first).is_none());
        assert!(status.label(second).unwrap().name.is_none());
    }

    #[test]
    fn for_each_hub_lists_a_hub_until_its_os_thread_ends() {
        let count = |number| {
            let mut seen = 0;
            for_each_hub(|status| seen += u32::from(status.number == number));
            seen
        };
        let number = std::thread::spawn(move || {
            crate::api::sleep::yield_now();
            let number = crate::hub::try_current().unwrap().status().number;
            assert_eq!(count(number), 1);
            number
        });
        assert_eq!(count(number.join().unwrap()), 0);
    }
}
