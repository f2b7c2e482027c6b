//! `select` and `pselect`: `poll`'s elders, whose lists are sets of bits that the answer is written over.

use super::sigwait::Mask;
use super::wait_any::{self, Wanted};
use super::{failed, hub, kernel, length, timespec_of, with_errno};
use crate::ids::Direction;
use libc::{c_int, fd_set, sigset_t, suseconds_t, time_t, timespec, timeval};
use std::ptr::null;
use std::time::{Duration, Instant};

/// The kernel reads and writes sets by words.
type Word = u64;

/// To read, to write, and with urgent data; null: none.
type Sets = [*mut fd_set; 3];

/// The sixth argument: a mask and its size.
type Masked = (*const Word, usize);

/// # Safety
/// As pselect(2).
unsafe fn kernel_select(count: c_int, sets: Sets, limit: Option<Duration>, mask: *const Word) -> isize {
    // The kernel writes to it.
    let mut time = limit.map(timespec_of);
    let time = time.as_mut().map_or(null(), |time| &raw const *time);
    let masked: Masked = (mask, 8);
    let args = [
        count as usize,
        sets[0] as usize,
        sets[1] as usize,
        sets[2] as usize,
        time as usize,
        &raw const masked as usize,
    ];
    // SAFETY: the caller's.
    unsafe { kernel(libc::SYS_pselect6, args) }
}

/// How many words of each set the kernel looks at. Programs that are compiled for 1,024 descriptors may say that they
/// have as many as they are allowed to open, and rely on the kernel not looking beyond what it has ever opened.
fn words(count: c_int) -> usize {
    let count = usize::try_from(count).unwrap_or(0);
    let count = if count > libc::FD_SETSIZE { count.min(ever_opened()) } else { count };
    count.div_ceil(Word::BITS as usize)
}

/// The size of the process's table of descriptors.
fn ever_opened() -> usize {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
    size.and_then(|size| size.trim().parse().ok()).unwrap_or(libc::FD_SETSIZE)
}

/// What the program has asked for, kept while each look is written over it.
struct Asked {
    sets: Sets,
    copies: [Vec<Word>; 3],
}

impl Asked {
    /// # Safety
    /// As pselect(2); as long as this lives.
    unsafe fn new(count: c_int, sets: Sets) -> Asked {
        let words = words(count);
        let copy = |set: *mut fd_set| match set.is_null() {
            true => Vec::new(),
            // SAFETY: the caller's. No further than the kernel would look.
            false => (0..words).map(|at| unsafe { set.cast::<Word>().add(at).read_unaligned() }).collect(),
        };
        Asked { sets, copies: sets.map(copy) }
    }

    /// Has the sets as they were.
    fn put_back(&self) {
        for (set, copy) in self.sets.iter().zip(&self.copies) {
            for (at, word) in copy.iter().enumerate() {
                // SAFETY: as far as was read in `new`.
                unsafe { set.cast::<Word>().add(at).write_unaligned(*word) };
            }
        }
    }

    fn wanted(&self) -> Vec<Wanted> {
        let directions = [Direction::Read, Direction::Write, Direction::Read];
        let mut wanted = Vec::new();
        for (copy, direction) in self.copies.iter().zip(directions) {
            for (at, &word) in copy.iter().enumerate() {
                let bits = (0..Word::BITS).filter(|bit| word >> bit & 1 != 0);
                wanted.extend(bits.map(|bit| ((at as u32 * Word::BITS + bit) as c_int, direction)));
            }
        }
        wanted
    }
}

/// With a hub or without.
///
/// # Safety
/// As pselect(2).
unsafe fn wait(count: c_int, sets: Sets, limit: Option<Duration>, mask: *const sigset_t) -> isize {
    // SAFETY: the caller's.
    unsafe {
        let mask = Mask::new(mask);
        let Some(hub) = hub().filter(|_| count >= 0) else {
            return kernel_select(count, sets, limit, mask.as_ptr());
        };
        if limit == Some(Duration::ZERO) {
            return kernel_select(count, sets, limit, mask.as_ptr());
        }
        let asked = Asked::new(count, sets);
        let look = || {
            asked.put_back();
            kernel_select(count, sets, Some(Duration::ZERO), mask.as_ptr())
        };
        let answer = wait_any::wait(hub, limit, &mask, || asked.wanted(), look);
        if answer < 0 {
            asked.put_back();
        }
        answer
    }
}

/// See select(2). Writes the time that is left to where the timeout was, as Linux does.
///
/// # Safety
/// As select(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn select(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    // SAFETY: null, or the caller's.
    let limit =
        unsafe { timeout.as_ref() }.map(|time| (u64::try_from(time.tv_sec), u64::try_from(time.tv_usec)));
    let limit = match limit {
        None => None,
        Some((Ok(seconds), Ok(micros))) => {
            Some(Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros)))
        }
        Some(_) => return with_errno(failed(libc::EINVAL)) as c_int,
    };
    let began = Instant::now();
    // SAFETY: the caller's.
    let answer = unsafe { wait(count, [read, write, except], limit, null()) };
    if let Some(limit) = limit {
        let left = limit.saturating_sub(began.elapsed());
        // SAFETY: the caller's: it is not null.
        unsafe {
            *timeout =
                timeval { tv_sec: left.as_secs() as time_t, tv_usec: left.subsec_micros() as suseconds_t };
        }
    }
    with_errno(answer) as c_int
}

/// See pselect(2).
///
/// # Safety
/// As pselect(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn pselect(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: null, or the caller's.
    match unsafe { timeout.as_ref() }.copied().map(length).transpose() {
        // SAFETY: the caller's.
        Ok(limit) => with_errno(unsafe { wait(count, [read, write, except], limit, mask) }) as c_int,
        Err(number) => with_errno(failed(number)) as c_int,
    }
}
