//! What other OS threads may see of a hub: who runs, after how many switches, what it is called. The hub
//! writes it, the watchdog reads it.
//!
//! The words are atomic and relaxed, and only the hub writes them, so to write one is a plain store: a switch
//! does the same as it would if nobody could look. What they say together may be a moment apart; the watchdog
//! looks for what does not change at all.
//!
//! The names of green threads are in their records, which are nobody's but the hub's. While there is a watchdog
//! a copy of each name is kept here, under a lock, from the spawn on.
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

// SAFETY: it is followed only under the lock, and taken out under it before what it points to goes; a HubStatus is
// Sync.
unsafe impl Send for HubPtr {}

/// The part of a hub that others may look at. What every switch touches comes last, beside what else it does.
#[repr(C)]
pub(crate) struct HubStatus {
    /// How many green threads have not ended.
    alive: AtomicU64,
    /// Which hub of the process: not used again, as its address may be.
    number: u64,
    /// The kernel's id of the OS thread.
    tid: AtomicI32,
    /// The name of the OS thread.
    os_thread: Box<str>,
    /// By the key of the record. Those who have ended stay until their record is used again.
    labels: Lock<Vec<Option<GreenLabel>>>,
    current: AtomicU64,
    switches: AtomicU64,
}

/// What a report says of a green thread.
#[derive(Clone, Debug)]
pub(crate) struct GreenLabel {
    id: GreenId,
    /// If it was given one.
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

    /// Who runs; `NOBODY` while the hub's loop does.
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

    pub(crate) fn alive(&self) -> u64 {
        self.alive.load(Relaxed)
    }

    #[inline]
    pub(super) fn set_alive(&self, alive: usize) {
        self.alive.store(alive as u64, Relaxed);
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn tid(&self) -> i32 {
        self.tid.load(Relaxed)
    }

    pub(crate) fn os_thread(&self) -> &str {
        &self.os_thread
    }

    /// Keeps what a report is to say of `id`. Called while the hub's state is borrowed, so that nothing parks in
    /// the allocator while the lock is held.
    #[cold]
    pub(super) fn set_label(&self, id: GreenId, name: Option<&str>, spawned_at: &'static Location<'static>) {
        let mut labels = self.labels.lock();
        if labels.len() <= id.key() {
            labels.resize(id.key() + 1, None);
        }
        labels[id.key()] = Some(GreenLabel { id, name: name.map(Box::from), spawned_at });
    }

    /// What was kept; `None` if it was spawned when there was no watchdog.
    pub(crate) fn label(&self, id: GreenId) -> Option<GreenLabel> {
        self.labels.lock().get(id.key())?.clone().filter(|label| label.id == id)
    }
}

/// Lets others see it.
///
/// # Safety
/// It stays where it is until it has been taken out again.
pub(super) unsafe fn register(pulse: *const HubStatus) {
    HUBS.lock().push(HubPtr(pulse));
}

/// Nobody sees it any more when this returns.
pub(super) fn unregister(pulse: *const HubStatus) {
    HUBS.lock().retain(|listed| listed.0 != pulse);
}

/// Shows all hubs, one by one. `look` is called under the lock that hubs begin and end with: it must not wait.
pub(crate) fn for_each_hub(mut look: impl FnMut(&HubStatus)) {
    for listed in HUBS.lock().iter() {
        // SAFETY: it is listed, and we hold the lock.
        look(unsafe { &*listed.0 });
    }
}

/// Before a fork: the child is to find the list whole, and its lock free.
pub(crate) fn before_fork() {
    HUBS.seize();
}

/// After a fork, in the parent.
///
/// # Safety
/// The same OS thread has called `before_fork`.
pub(crate) unsafe fn after_fork() {
    // SAFETY: the caller's.
    unsafe { HUBS.release() };
}

/// After a fork, in the child: of the OS threads there is only this one, and it has another id.
///
/// # Safety
/// As `after_fork`.
pub(crate) unsafe fn after_fork_in_child(own: Option<&HubStatus>) {
    // SAFETY: the caller's.
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
    fn a_label_is_good_for_one_id_and_not_for_the_next_with_its_key() {
        let pulse = HubStatus::new("tests");
        let (first, second) = (GreenId::new(7, 3), GreenId::new(8, 3));
        assert!(pulse.label(first).is_none());
        pulse.set_label(first, Some("first"), Location::caller());
        assert_eq!(pulse.label(first).unwrap().name.as_deref(), Some("first"));
        assert!(pulse.label(second).is_none());
        pulse.set_label(second, None, Location::caller());
        assert!(pulse.label(first).is_none());
        assert!(pulse.label(second).unwrap().name.is_none());
    }

    #[test]
    fn hubs_come_and_go() {
        let count = |number| {
            let mut seen = 0;
            for_each_hub(|pulse| seen += u32::from(pulse.number() == number));
            seen
        };
        let number = std::thread::spawn(move || {
            crate::api::sleep::yield_now();
            let number = crate::hub::try_current().unwrap().status().number();
            assert_eq!(count(number), 1);
            number
        });
        assert_eq!(count(number.join().unwrap()), 0);
    }
}
