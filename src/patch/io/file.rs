//! Files. They cannot be polled: to `poll` they are always ready, and a read of what is not in memory keeps its OS
//! thread until the disk has it. So an OS thread of the pool (`offload`) is kept instead, where it may take long, and
//! only there: an offload costs some 10 to 20 microseconds, ten times what a read from memory costs.
//!
//! - A *read* is tried with `RWF_NOWAIT`, which returns what is in memory. The rest is offloaded. So is a large read,
//!   because copying it takes long, too; and files of network file systems, which do not know the flag.
//! - A *write* goes to memory, and is done at once: most file systems refuse `RWF_NOWAIT` for it, and a piece that went
//!   first would make two of what has to be one (`O_APPEND`). It is offloaded if it is large; if it goes to the disk
//!   (`O_SYNC`, `O_DIRECT`); and for a while after one has taken long, because the kernel slows down a writer that
//!   writes more than the disk takes.
//!
//! Next: `thread/offload/mod.rs`, the pool.

use super::blocking::{hub, offload};
use super::fd_mode::has_flag;
use super::file_pos::{FilePos, FilePositionLock};
use super::iovec::Slices;
use crate::hub::{EAGAIN, Hub};
use crate::ids::{Direction, GreenId};
use crate::patch::symbol::{interpose, kernel, with_errno};
use crate::thread::offload::WorkKind;
use crate::tls;
use libc::{c_int, c_uint, c_void};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// From here on, copying alone takes long: so many bytes keep the other green threads for 200 microseconds, or, where
/// memory has to be found for them, for a millisecond.
pub(super) const OFFLOAD_BYTES: usize = 4 << 20;

/// The most that the kernel reads or writes by one call.
pub(super) const MAX_RW_COUNT: usize = 0x7fff_f000;

/// A write that takes longer, in nanoseconds, was slowed down by the kernel. It is more than the pauses of a busy
/// machine.
const SLOW_WRITE_NS: u64 = 10_000_000;
/// For how long writes are offloaded after a slow one.
const OFFLOAD_WRITES_FOR_NS: u64 = 100_000_000;

/// Until when writes are offloaded.
static SLOW_UNTIL: AtomicU64 = AtomicU64::new(0);

/// Returns `true` if a read of a file that does not know `RWF_NOWAIT` may wait for a disk or a network.
fn may_hit_disk(fd: c_int) -> bool {
    // SAFETY: all zeros is a valid `statfs`, and the kernel writes to that local.
    unsafe {
        let mut stat: libc::statfs = std::mem::zeroed();
        let answer = kernel(libc::SYS_fstatfs, [fd as usize, &raw mut stat as usize]);
        answer == 0 && !IN_MEMORY.contains(&(stat.f_type as u32))
    }
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

/// Finishes a read after the kernel's `answer` to `RWF_NOWAIT`: it has read a part, or nothing is in memory (EAGAIN),
/// or the file does not know the flag. Returns the raw answer of the whole read.
///
/// # Safety
/// As preadv2(2).
pub(super) unsafe fn finish_read(hub: &'static Hub, pos: FilePos, slices: Slices, answer: isize) -> isize {
    // SAFETY: the caller's contract. If the answer is a number of bytes, the kernel has written to the slices.
    unsafe {
        match answer {
            1.. => read_uncached_tail(hub, pos, slices, answer as usize),
            _ if answer == EAGAIN || may_hit_disk(pos.fd) => offload_io(hub, pos, Direction::Read, slices),
            _ => pos.call(Direction::Read, 0, slices),
        }
    }
}

/// Reads what is not in memory, after the first `got` bytes, which were. Returns the number of bytes of both. An error of
/// the rest is returned by the next call. A loop, because another thread that writes meanwhile may let it read a little
/// many times.
///
/// # Safety
/// As preadv2(2). The kernel has just read these slices.
unsafe fn read_uncached_tail(hub: &'static Hub, pos: FilePos, slices: Slices, mut got: usize) -> isize {
    loop {
        // SAFETY: the caller's contract, for what is left of the slices.
        unsafe {
            let left = slices.part(got, usize::MAX);
            let (pos, left) = (pos.after(got), Slices::of(&left));
            // It may be the end of the file, which is known at once.
            match pos.call(Direction::Read, libc::RWF_NOWAIT, left) {
                0 => return got as isize,
                more @ 1.. => got += more as usize,
                answer => return got as isize + finish_read(hub, pos, left, answer).max(0),
            }
        }
    }
}

/// Returns `true` if memory of the running green thread stays while another OS thread works on it, whatever happens to
/// this one. When an OS thread ends, its green threads are abandoned where they wait: then their stacks stay, and so do
/// their own thread-locals, but not the thread-locals that they share with the OS thread. While the root waits, the
/// OS thread does not end.
fn outlasts(hub: &Hub) -> bool {
    tls::is_green() || hub.current() == GreenId::ROOT
}

/// Reads or writes on an OS thread of the pool; or here, if the memory may be gone before that is done.
///
/// # Safety
/// As preadv2(2) or pwritev2(2).
pub(super) unsafe fn offload_io(
    hub: &'static Hub,
    pos: FilePos,
    direction: Direction,
    slices: Slices,
) -> isize {
    let hub = Some(hub).filter(|hub| outlasts(hub));
    let _lock = hub.filter(|_| pos.is_current()).map(|hub| FilePositionLock::lock(hub, pos.fd));
    // SAFETY: the caller's contract.
    unsafe { offload(hub, WorkKind::LibcCall, "a file", || pos.call(direction, 0, slices)) }
}

/// Writes to a file. `len` is the number of bytes of the slices, as far as it is known.
///
/// # Safety
/// As pwritev2(2).
pub(super) unsafe fn write(hub: &'static Hub, pos: FilePos, slices: Slices, len: usize) -> isize {
    // SAFETY: the caller's contract.
    unsafe {
        let begun = now();
        if len >= OFFLOAD_BYTES || begun < SLOW_UNTIL.load(Relaxed) || is_synchronous_write(pos) {
            return offload_io(hub, pos, Direction::Write, slices);
        }
        if pos.is_current() {
            FilePositionLock::wait_unlocked(hub, pos.fd);
        }
        let answer = pos.call(Direction::Write, 0, slices);
        let ended = now();
        if ended - begun > SLOW_WRITE_NS {
            SLOW_UNTIL.store(ended + OFFLOAD_WRITES_FOR_NS, Relaxed);
        }
        answer
    }
}

/// Returns nanoseconds of a clock that all hubs share.
fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a time of this frame.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Returns `true` if a write there goes further than to memory.
fn is_synchronous_write(pos: FilePos) -> bool {
    pos.flags & (libc::RWF_SYNC | libc::RWF_DSYNC) != 0
        || has_flag(pos.fd, libc::O_SYNC | libc::O_DSYNC | libc::O_DIRECT)
}

/// Makes a system call on an OS thread of the pool, if it `waits` for a disk.
///
/// # Safety
/// As the system call.
unsafe fn sync<const N: usize>(waits: bool, number: libc::c_long, args: [usize; N]) -> c_int {
    let hub = hub().filter(|_| waits);
    // SAFETY: the caller's contract.
    with_errno(unsafe { offload(hub, WorkKind::LibcCall, "a disk", || kernel(number, args)) })
}

const OFFLOADS: &str = "parks while another OS thread does it";

interpose! { Io;
    /// See fsync(2).
    fn fsync(fd: c_int) -> c_int, "std::fs, C" => OFFLOADS;
    { sync(true, libc::SYS_fsync, [fd as usize]) }

    /// See fdatasync(2).
    fn fdatasync(fd: c_int) -> c_int, "std::fs, C" => OFFLOADS;
    { sync(true, libc::SYS_fdatasync, [fd as usize]) }

    /// See syncfs(2).
    fn syncfs(fd: c_int) -> c_int, "C" => OFFLOADS;
    { sync(true, libc::SYS_syncfs, [fd as usize]) }

    /// See sync_file_range(2).
    fn sync_file_range(fd: c_int, offset: i64, len: i64, flags: c_uint) -> c_int, "C" => OFFLOADS;
    { sync(true, libc::SYS_sync_file_range, [fd as usize, offset as usize, len as usize, flags as usize]) }

    /// See msync(2).
    fn msync(address: *mut c_void, len: usize, flags: c_int) -> c_int,
        "C" => "MS_SYNC: parks while another OS thread does it";
    { sync(flags & libc::MS_SYNC != 0, libc::SYS_msync, [address as usize, len, flags as usize]) }
}
