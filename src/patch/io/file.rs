//! Files. Nobody can wait for them: to `poll` they are always ready, and who reads what is not in memory is kept until
//! the disk has it. So an OS thread of the pool (`offload`) is kept in our place, where it may take long, and only there:
//! for to have another one do it costs some 10 to 20 microseconds, ten times what a read from memory costs.
//!
//! - A *read* is tried with `RWF_NOWAIT`, which answers what is in memory. What is not is read elsewhere. So is much,
//!   for to copy it takes long, too; and files of networks and the like, which do not know the flag.
//! - A *write* goes to memory, and is done at once: most file systems refuse `RWF_NOWAIT` for it, and a piece that went
//!   first would make two of what has to be one (`O_APPEND`). Elsewhere it is done if it is much; if it goes to the
//!   disk (`O_SYNC`, `O_DIRECT`); and for a while after one has taken long, for the kernel slows down who writes more
//!   than the disk takes.
//!
//! One that is under way offload_blocking, at the file's own position, keeps that position locked in the kernel. So whoever
//! comes next with this descriptor waits for its [`Turn`] first, and parks.

use super::read_write::At;
use super::{HERE, hub, kernel};
use crate::hub::Hub;
use crate::hub::futex;
use crate::hub::futex::Waiter;
use crate::ids::Direction;
use crate::ids::GreenId;
use crate::patch::offload_blocking;
use crate::thread::offload::WorkKind;
use crate::time::NEVER;
use crate::tls;
use libc::{c_int, iovec};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// From here on, copying alone takes long: so many bytes keep the others for 200 microseconds, or, where memory has to be
/// found for them, for a millisecond.
pub(super) const MUCH: usize = 4 << 20;

/// The most that the kernel reads or writes at a time.
const MOST: usize = 0x7fff_f000;

/// A write that takes longer, in nanoseconds, was made to wait: more than the pauses of a busy machine.
const LONG: u64 = 10_000_000;
/// For how long others are then done elsewhere.
const WHILE: u64 = 100_000_000;

/// Until when writes are done elsewhere.
static SLOW_UNTIL: AtomicU64 = AtomicU64::new(0);

/// What a descriptor refers to: one of `libc::S_IFMT`.
pub(super) fn kind(fd: c_int) -> Option<libc::mode_t> {
    // SAFETY: all zeros is a value of it; room for one is given.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        let answer = kernel(libc::SYS_fstat, [fd as usize, &raw mut stat as usize, 0, 0, 0, 0]);
        (answer == 0).then_some(stat.st_mode & libc::S_IFMT)
    }
}

/// Whether it is a file, for which nobody can wait. One that was waited for is none.
pub(super) fn is_file(hub: &Hub, fd: c_int) -> bool {
    hub.reactor().source(fd).is_none() && matches!(kind(fd), Some(libc::S_IFREG | libc::S_IFBLK))
}

/// Of a file that does not know `RWF_NOWAIT`: whether it may have to be waited for, since it does not lie in memory.
pub(super) fn is_slow(fd: c_int) -> bool {
    if !matches!(kind(fd), Some(libc::S_IFREG | libc::S_IFBLK)) {
        return false;
    }
    // SAFETY: all zeros is a value of it; room for one is given.
    let kind = unsafe {
        let mut stat: libc::statfs = std::mem::zeroed();
        match kernel(libc::SYS_fstatfs, [fd as usize, &raw mut stat as usize, 0, 0, 0, 0]) {
            0 => stat.f_type,
            _ => return false,
        }
    };
    !IN_MEMORY.contains(&(kind as u32))
}

/// proc, sysfs, tmpfs, ramfs, cgroup2, cgroup, debugfs, tracefs, securityfs, hugetlbfs, devpts: see statfs(2).
const IN_MEMORY: [u32; 11] = [
    0x9fa0,
    0x6265_6572,
    0x0102_1994,
    0x8584_58f6,
    0x6367_7270,
    0x0027_e0eb,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x9584_58f6,
    0x1cd1,
];

/// Whether that is less than was asked for, though there may be more: of a file that is only partly in memory.
///
/// # Safety
/// The kernel has just read, or written, these slices.
pub(super) unsafe fn is_part(hub: &Hub, fd: c_int, slices: *const iovec, count: usize, got: isize) -> bool {
    // SAFETY: the caller's.
    let wanted = unsafe { length(slices, count) };
    (got as usize) < wanted && wanted <= MOST && is_file(hub, fd)
}

/// How many bytes those are.
///
/// # Safety
/// There are so many.
pub(super) unsafe fn length(slices: *const iovec, count: usize) -> usize {
    // SAFETY: the caller's.
    let slices = unsafe { std::slice::from_raw_parts(slices, count) };
    slices.iter().map(|slice| slice.iov_len).sum()
}

/// What is left of slices of which the first `done` bytes are done.
///
/// # Safety
/// There are so many.
pub(super) unsafe fn left(slices: *const iovec, count: usize, mut done: usize) -> Vec<iovec> {
    // SAFETY: the caller's.
    let slices = unsafe { std::slice::from_raw_parts(slices, count) };
    let rest = slices.iter().map(|slice| {
        let here = done.min(slice.iov_len);
        done -= here;
        iovec { iov_base: slice.iov_base.wrapping_byte_add(here), iov_len: slice.iov_len - here }
    });
    rest.filter(|slice| slice.iov_len > 0).collect()
}

/// The first bytes of slices.
///
/// # Safety
/// There are so many.
pub(super) unsafe fn first(slices: *const iovec, count: usize, mut bytes: usize) -> Vec<iovec> {
    // SAFETY: the caller's.
    let slices = unsafe { std::slice::from_raw_parts(slices, count) };
    let some = slices.iter().map_while(|slice| {
        let here = bytes.min(slice.iov_len);
        let wanted = bytes > 0;
        bytes -= here;
        wanted.then_some(iovec { iov_base: slice.iov_base, iov_len: here })
    });
    some.collect()
}

/// Reads what is not in memory; `got` bytes came from there. Answers all that has been read.
///
/// # Safety
/// As preadv2(2). If `got` is not 0, the kernel has just read these slices.
pub(super) unsafe fn rest(
    hub: &'static Hub,
    at: At,
    slices: *const iovec,
    count: usize,
    mut got: isize,
) -> isize {
    // SAFETY: the caller's, and what is left of it.
    unsafe {
        loop {
            if got == 0 {
                return other_thread(hub, at, Direction::Read, slices, count);
            }
            let left = left(slices, count, got as usize);
            if left.is_empty() {
                return got;
            }
            let at = at.after(got as usize);
            // It may be the end of the file: that is known at once.
            got += match at.call(Direction::Read, libc::RWF_NOWAIT, left.as_ptr(), left.len()) {
                more @ 1.. => more,
                0 => return got,
                // What is wrong with the rest, the next call will be told.
                _ => return got + other_thread(hub, at, Direction::Read, left.as_ptr(), left.len()).max(0),
            };
        }
    }
}

/// Whether memory of who calls stays while another OS thread works on it, whatever happens to this one. When an OS thread
/// ends, its green threads are abandoned where they wait: then what they have on their stacks stays, and their own
/// thread-locals do, but not thread-locals that they share with the OS thread. (While the root waits it does not end.)
fn outlasts(hub: &Hub) -> bool {
    tls::is_green() || hub.current() == GreenId::ROOT
}

/// Has an OS thread of the pool read or write; or does it here, if the memory may be gone before that is done.
///
/// # Safety
/// As preadv2(2) or pwritev2(2).
pub(super) unsafe fn other_thread(
    hub: &'static Hub,
    at: At,
    direction: Direction,
    slices: *const iovec,
    count: usize,
) -> isize {
    if !outlasts(hub) {
        // SAFETY: the caller's.
        return unsafe { at.call(direction, 0, slices, count) };
    }
    let _turn = (at.offset == HERE).then(|| Turn::take(hub, at.fd));
    let slices = slices as usize;
    // SAFETY: the caller's; it waits until it is done.
    offload_blocking(WorkKind::LibcCall, "a file", move || unsafe {
        at.call(direction, 0, slices as *const iovec, count)
    })
}

/// Writes to a file.
///
/// # Safety
/// As pwritev2(2). `len` is what the slices hold, as far as it is known.
pub(super) unsafe fn write(
    hub: &'static Hub,
    at: At,
    slices: *const iovec,
    count: usize,
    len: usize,
) -> isize {
    // SAFETY: the caller's.
    unsafe {
        let begun = now();
        if len >= MUCH || begun < SLOW_UNTIL.load(Relaxed) || goes_to_disk(at) {
            return other_thread(hub, at, Direction::Write, slices, count);
        }
        if at.offset == HERE {
            Turn::let_pass(hub, at.fd);
        }
        let answer = at.call(Direction::Write, 0, slices, count);
        let ended = now();
        if ended - begun > LONG {
            SLOW_UNTIL.store(ended + WHILE, Relaxed);
        }
        answer
    }
}

/// Nanoseconds, for all hubs alike.
fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a time of ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Whether what is written there is not written to memory alone.
fn goes_to_disk(at: At) -> bool {
    // SAFETY: no pointers.
    let flags = unsafe { kernel(libc::SYS_fcntl, [at.fd as usize, libc::F_GETFL as usize, 0, 0, 0, 0]) };
    let synchronous = (libc::O_SYNC | libc::O_DSYNC | libc::O_DIRECT) as isize;
    at.flags & (libc::RWF_SYNC | libc::RWF_DSYNC) != 0 || flags >= 0 && flags & synchronous != 0
}

/// The right to use a descriptor's own position for long. (Some descriptors share one.)
pub(super) struct Turn(&'static AtomicU32);

/// 1: somebody has it.
static TAKEN: [AtomicU32; 64] = [const { AtomicU32::new(0) }; 64];

impl Turn {
    fn word(fd: c_int) -> &'static AtomicU32 {
        &TAKEN[fd as usize % TAKEN.len()]
    }

    fn take(hub: &'static Hub, fd: c_int) -> Turn {
        let word = Turn::word(fd);
        while word.compare_exchange(0, 1, AcqRel, Acquire).is_err() {
            Turn::let_pass(hub, fd);
        }
        Turn(word)
    }

    /// Parks while somebody has it.
    #[inline]
    pub(super) fn let_pass(hub: &'static Hub, fd: c_int) {
        let word = Turn::word(fd);
        while word.load(Acquire) != 0 {
            let who = Waiter::Green { hub, deadline: NEVER, shield: true };
            futex::wait(who, word.as_ptr() as usize, u32::MAX, || word.load(Acquire) != 0);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(0, Release);
        futex::wake(self.0.as_ptr() as usize, u32::MAX as usize, u32::MAX);
    }
}

/// In the child of a fork nobody has a turn.
pub(super) fn reset_after_fork() {
    TAKEN.iter().for_each(|word| word.store(0, Relaxed));
}

/// Has an OS thread of the pool make a system call that waits for a disk.
///
/// # Safety
/// That of the system call.
unsafe fn sync(number: libc::c_long, args: [usize; 6]) -> c_int {
    // SAFETY: the caller's; it waits until it is done.
    let call = move || unsafe { kernel(number, args) };
    super::with_errno(match hub() {
        Some(_) => offload_blocking(WorkKind::LibcCall, "a disk", call),
        None => call(),
    }) as c_int
}

/// See fsync(2).
#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: no pointers.
    unsafe { sync(libc::SYS_fsync, [fd as usize, 0, 0, 0, 0, 0]) }
}

/// See fdatasync(2).
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: no pointers.
    unsafe { sync(libc::SYS_fdatasync, [fd as usize, 0, 0, 0, 0, 0]) }
}

/// See syncfs(2).
#[unsafe(no_mangle)]
extern "C" fn syncfs(fd: c_int) -> c_int {
    // SAFETY: no pointers.
    unsafe { sync(libc::SYS_syncfs, [fd as usize, 0, 0, 0, 0, 0]) }
}

/// See sync_file_range(2).
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(fd: c_int, offset: i64, len: i64, flags: libc::c_uint) -> c_int {
    // SAFETY: no pointers.
    unsafe {
        sync(libc::SYS_sync_file_range, [fd as usize, offset as usize, len as usize, flags as usize, 0, 0])
    }
}

/// See msync(2).
///
/// # Safety
/// As msync(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn msync(address: *mut libc::c_void, len: usize, flags: c_int) -> c_int {
    let args = [address as usize, len, flags as usize, 0, 0, 0];
    // SAFETY: the caller's.
    unsafe {
        match flags & libc::MS_SYNC {
            0 => super::with_errno(kernel(libc::SYS_msync, args)) as c_int,
            _ => sync(libc::SYS_msync, args),
        }
    }
}
