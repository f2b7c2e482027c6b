//! `select` and `pselect`: older than `poll`. Their lists are sets of bits, which the answer is written over.
//!
//! Next: `patch/io/wait_any.rs`, the loop of these calls.

use super::blocking::hub;
use super::mask::{Mask, SET_SIZE};
use super::wait_any::{Wanted, wait_any, with_limit};
use crate::ids::Direction;
use crate::patch::symbol::{failed, interpose, kernel, with_errno};
use crate::sys::sigset::Signals;
use crate::sys::timespec::timespec_of;
use libc::{c_int, fd_set, sigset_t, suseconds_t, time_t, timespec, timeval};
use std::ptr::null;
use std::slice;
use std::time::{Duration, Instant};

/// To read, to write, and with urgent data; null: none.
type Sets = [*mut fd_set; 3];

/// # Safety
/// As pselect(2).
unsafe fn kernel_select(count: c_int, sets: Sets, limit: Option<Duration>, mask: *const Signals) -> isize {
    // The kernel writes to it.
    let mut time = limit.map(timespec_of);
    let time = time.as_mut().map_or(null(), |time| &raw const *time);
    // The sixth argument points to a mask and its size.
    let mask = (mask, SET_SIZE);
    let [read, write, except] = sets.map(|set| set as usize);
    let args = [count as usize, read, write, except, time as usize, &raw const mask as usize];
    // SAFETY: the caller's contract.
    unsafe { kernel(libc::SYS_pselect6, args) }
}

/// Returns the number of bytes of each set that the kernel looks at, which does so by words. A program that is compiled
/// for 1,024 descriptors may say that it has as many as it is allowed to open. It relies on the kernel not looking
/// beyond its table.
fn set_len(count: c_int) -> usize {
    let count = usize::try_from(count).unwrap_or(0);
    let count = if count > libc::FD_SETSIZE { count.min(fd_table_size()) } else { count };
    count.div_ceil(64) * 8
}

/// Returns the size of the kernel's table of this process's descriptors.
fn fd_table_size() -> usize {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
    size.and_then(|size| size.trim().parse().ok()).unwrap_or(libc::FD_SETSIZE)
}

/// Returns what the sets ask for.
fn wanted(sets: &[Vec<u8>; 3]) -> Vec<Wanted> {
    let directions = [Direction::Read, Direction::Write, Direction::Read];
    let wanted = sets.iter().zip(directions).flat_map(|(set, direction)| {
        let fds = (0..set.len() * 8).filter(|fd| set[fd / 8] >> (fd % 8) & 1 != 0);
        fds.map(move |fd| (fd as c_int, direction))
    });
    wanted.collect()
}

/// Waits on a hub or in the kernel.
///
/// # Safety
/// As pselect(2).
unsafe fn wait(count: c_int, sets: Sets, limit: Option<Duration>, mask: *const sigset_t) -> isize {
    // SAFETY: the caller's contract. Of the sets no more is used than the kernel would use.
    unsafe {
        let mask = Mask::new(mask);
        let waits = count >= 0 && limit != Some(Duration::ZERO);
        let Some(hub) = hub().filter(|_| waits) else {
            return kernel_select(count, sets, limit, mask.as_ptr());
        };
        // Each look writes over the sets.
        let len = set_len(count);
        let copies = sets.map(|set| match set.is_null() {
            true => Vec::new(),
            false => slice::from_raw_parts(set.cast(), len).to_vec(),
        });
        let write_back = || {
            for (set, copy) in sets.iter().zip(&copies) {
                set.cast::<u8>().copy_from(copy.as_ptr(), copy.len());
            }
        };
        let look = || {
            write_back();
            kernel_select(count, sets, Some(Duration::ZERO), mask.as_ptr())
        };
        let answer = wait_any(hub, limit, &mask, || wanted(&copies), look);
        if answer < 0 {
            write_back();
        }
        answer
    }
}

/// `select`. Writes the time that is left to where the timeout was, as Linux does.
///
/// # Safety
/// As select(2).
unsafe fn select_for(count: c_int, sets: Sets, timeout: *mut timeval) -> isize {
    // SAFETY: null, or the caller's.
    let limit = unsafe { timeout.as_ref() };
    let limit = match limit.map(|time| (u64::try_from(time.tv_sec), u64::try_from(time.tv_usec))) {
        None => None,
        Some((Ok(seconds), Ok(micros))) => {
            Some(Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros)))
        }
        Some(_) => return failed(libc::EINVAL),
    };
    let began = Instant::now();
    // SAFETY: the caller's contract.
    let answer = unsafe { wait(count, sets, limit, null()) };
    if let Some(limit) = limit {
        let left = limit.saturating_sub(began.elapsed());
        let (tv_sec, tv_usec) = (left.as_secs() as time_t, left.subsec_micros() as suseconds_t);
        // SAFETY: the caller's contract, and not null.
        unsafe { *timeout = timeval { tv_sec, tv_usec } };
    }
    answer
}

interpose! { Io;
    /// See select(2).
    fn select(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set,
        timeout: *mut timeval) -> c_int, "C" => "parks until one is ready";
    { with_errno(select_for(count, [read, write, except], timeout)) }

    /// See pselect(2).
    fn pselect(count: c_int, read: *mut fd_set, write: *mut fd_set, except: *mut fd_set,
        timeout: *const timespec, mask: *const sigset_t) -> c_int,
        "C" => "the same; what its mask lets in is delivered meanwhile";
    { with_errno(with_limit(timeout, |limit| wait(count, [read, write, except], limit, mask))) }
}
