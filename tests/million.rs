//! A million green threads asleep at once, each on a guarded stack of its own, with the kernel's default limit
//! of mappings. Needs some 4.5 GiB of free memory; on a smaller machine it is as many as fit.

use greenline::*;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

fn available() -> usize {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = info.lines().find(|line| line.starts_with("MemAvailable:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Whether the kernel can mark a page as a guard, without a mapping of its own.
fn has_markers() -> bool {
    // SAFETY: a fresh page, unmapped again; the second advice does not exist, and is refused by a kernel that
    // looks at all.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let page = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0);
        let has = libc::madvise(page, 4096, 102) == 0 && libc::madvise(page, 4096, 9999) != 0;
        libc::munmap(page, 4096);
        has
    }
}

#[test]
fn a_million_sleep_at_once() {
    // A page of stack, a record, a timer and a handle, and page tables: 6 KiB leave room.
    let fit = available() / (6 << 10);
    let most = if has_markers() { 1_000_000 } else { 20_000 };
    let n = most.min(fit);
    let before = mappings();
    let asleep = Rc::new(Cell::new(0));
    let go = Instant::now() + Duration::from_secs(3600);
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
