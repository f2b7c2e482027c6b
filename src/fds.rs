//! What is known of file descriptors, for the whole process: which hub watches one, and how often its number was
//! given back.
//!
//! A number is used again as soon as it is closed, by another OS thread even. So whoever watches a descriptor
//! watches a number *and* its generation, which each close, and each call that makes one, counts up. A watcher of an
//! earlier generation is nobody's.
//!
//! The table is an array of pages that are made when first needed; a word is read or changed by one instruction.

#![allow(unsafe_code)]

use crate::hub::Shared;
use crate::lock::Lock;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64};
use std::sync::{Arc, Weak};

/// How often a number was given back.
pub(crate) type Generation = u32;

const PAGE: usize = 1024;
const PAGES: usize = 1024;

type Page = [AtomicU64; PAGE];

static TABLE: [AtomicPtr<Page>; PAGES] = [const { AtomicPtr::new(std::ptr::null_mut()) }; PAGES];

/// The hubs that watch descriptors, by number; the first has number 1.
static HUBS: Lock<Vec<Weak<Shared>>> = Lock::new(Vec::new());

/// A word of the table: the generation, and the hub that watches this one. `SEVERAL` do; 0: none.
const SEVERAL: u32 = u32::MAX;

fn pack(generation: Generation, hub: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(hub)
}

fn unpack(word: u64) -> (Generation, u32) {
    ((word >> 32) as u32, word as u32)
}

/// The word of a number, if there is one by now.
fn existing(fd: RawFd) -> Option<&'static AtomicU64> {
    let fd = usize::try_from(fd).ok()?;
    let page = TABLE.get(fd / PAGE)?.load(Acquire);
    // SAFETY: null, or a page that is never given back.
    unsafe { page.as_ref() }.map(|page| &page[fd % PAGE])
}

/// The word of a number. `None`: it is beyond what the table holds, a million.
fn word(fd: RawFd) -> Option<&'static AtomicU64> {
    if let Some(word) = existing(fd) {
        return Some(word);
    }
    let slot = TABLE.get(usize::try_from(fd).ok()? / PAGE)?;
    let page = Box::into_raw(Box::new([const { AtomicU64::new(0) }; PAGE]));
    if slot.compare_exchange(std::ptr::null_mut(), page, AcqRel, Acquire).is_err() {
        // SAFETY: made above, and nobody has seen it.
        drop(unsafe { Box::from_raw(page) });
    }
    existing(fd)
}

/// The generation of a number now.
#[inline]
pub(crate) fn generation(fd: RawFd) -> Generation {
    existing(fd).map_or(0, |word| unpack(word.load(Acquire)).0)
}

/// Gives a hub its number, for [`watch`].
pub(crate) fn enlist(hub: &Arc<Shared>) -> u32 {
    let weak = Arc::downgrade(hub);
    let mut hubs = HUBS.lock();
    let free = hubs.iter().position(|hub| hub.strong_count() == 0);
    match free {
        Some(at) => {
            hubs[at] = weak;
            at as u32 + 1
        }
        None => {
            hubs.push(weak);
            hubs.len() as u32
        }
    }
}

/// `hub` watches this number from now on. Answers of which generation it is. `None`: such numbers are not watched.
pub(crate) fn watch(fd: RawFd, hub: u32) -> Option<Generation> {
    let word = word(fd)?;
    let mut seen = word.load(Acquire);
    loop {
        let (generation, watcher) = unpack(seen);
        let watcher = if watcher == 0 || watcher == hub { hub } else { SEVERAL };
        match word.compare_exchange_weak(seen, pack(generation, watcher), AcqRel, Acquire) {
            Ok(_) => return Some(generation),
            Err(now) => seen = now,
        }
    }
}

/// The number is given back, or was just given out: whoever watches it watches what is no more, and is told.
pub(crate) fn forget(fd: RawFd) {
    let Some(word) = existing(fd) else { return };
    let mut seen = word.load(Acquire);
    let watcher = loop {
        let (generation, watcher) = unpack(seen);
        if watcher == 0 {
            return;
        }
        match word.compare_exchange_weak(seen, pack(generation.wrapping_add(1), 0), AcqRel, Acquire) {
            Ok(_) => break watcher,
            Err(now) => seen = now,
        }
    };
    let generation = unpack(seen).0;
    // One at a time, and told without the lock.
    let hubs = if watcher == SEVERAL { 0..usize::MAX } else { watcher as usize - 1..watcher as usize };
    for at in hubs {
        let hub = match HUBS.lock().get(at) {
            Some(hub) => hub.upgrade(),
            None => break,
        };
        if let Some(hub) = hub {
            hub.closed(fd, generation);
        }
    }
}

/// Nobody watches anything any more: for the child of a fork, whose parent's hubs are not its own.
#[cfg_attr(not(feature = "patch"), allow(dead_code))]
pub(crate) fn forget_all() {
    // SAFETY: the one OS thread of the child, which is not in here otherwise.
    unsafe { HUBS.begin_anew(Vec::new()) };
    for page in &TABLE {
        // SAFETY: null, or a page that is never given back.
        for word in unsafe { page.load(Acquire).as_ref() }.into_iter().flatten() {
            let (generation, watcher) = unpack(word.load(Acquire));
            if watcher != 0 {
                word.store(pack(generation.wrapping_add(1), 0), Release);
            }
        }
    }
}
