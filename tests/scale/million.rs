//! A million green threads asleep at once, each on a guarded stack of its own, with the kernel's default limit of
//! mappings. A million need about 4.5 GiB of free memory. A smaller machine runs as many as fit.

use crate::support::proc_fs::value;
use crate::support::time::HOUR;
use greenline::*;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Returns the number of mappings of this process.
fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Returns whether the kernel can mark a page as a guard, without a mapping of its own.
fn has_markers() -> bool {
    // SAFETY: the page is mapped here and unmapped again. The second advice does not exist: a kernel that checks advice
    // refuses it.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let page = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0);
        let has = libc::madvise(page, 4096, 102) == 0 && libc::madvise(page, 4096, 9999) != 0;
        libc::munmap(page, 4096);
        has
    }
}

pub(crate) fn spawn_of_a_million_green_threads_that_sleep_at_once_succeeds() {
    // Each takes a page of stack, a record, a timer, a handle, and page tables. 6 KiB leave room.
    let fit = value("/proc/meminfo", "MemAvailable:").parse::<usize>().unwrap() / 6;
    let most = if has_markers() { 1_000_000 } else { 20_000 };
    let n = most.min(fit);
    let before = mappings();
    let asleep = Rc::new(Cell::new(0));
    let go = Instant::now() + HOUR;
    let all: Vec<_> = (0..n)
        .map(|_| {
            let asleep = asleep.clone();
            spawn(move || {
                asleep.set(asleep.get() + 1);
                timeout(Duration::MAX, || sleep_until(go)).unwrap();
                asleep.set(asleep.get() - 1);
            })
        })
        .collect();
    yield_now();
    assert_eq!(asleep.get(), n, "all are asleep at once");
    assert!(stats().stacks >= n);
    let mapped = mappings() - before;
    if most == 1_000_000 {
        assert!(mapped < 1000, "{mapped} mappings for {n} stacks");
    }
    println!("{n} asleep, {mapped} mappings");
    let killed = kill_all(all);
    assert!(killed.iter().all(|end| matches!(end, Err(JoinError::Killed))));
    assert_eq!(stats().alive, 0);
}
