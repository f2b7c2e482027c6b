//! Stacks: where they come from, how they are guarded, how an overflow is recognised.
//!
//! A stack is a slot in a slab. A slab is one private mapping that reserves no memory (the kernel commits it page by page
//! as it is touched), cut into slots of one length. The lowest page of each slot is its guard.
//!
//! ```text
//! slab   | slot 0         | slot 1         | slot 2         | ...          addresses grow ->
//!        |guard|  <-- grows|guard|  <-- grows|guard|  <-- grows|
//!                        ^ top             ^ top: lowered by a colour, see below
//! ```
//!
//! `MADV_GUARD_INSTALL` (Linux 6.13) makes the guards. It marks the page in the page table and does not split the mapping,
//! so a million guarded stacks need some two dozen mappings. `mprotect` needs two for each stack and meets
//! `vm.max_map_count` (65,530) at 32,000. Older kernels get `mprotect` all the same.
//!
//! **An odd number of pages.** The size of a stack is a power of two, and its guard makes the slot one page longer. If
//! slots were 64 pages apart, their tops would share a 64th of the sets of the TLB, the processor's cache of page tables.
//! From some dozens of stacks on, each switch would walk those tables.
//!
//! **Colour.** If all tops were page-aligned, the hot first words of all stacks would fall into the same few sets of the
//! first-level cache, and a switch would cost twice as much from some 16 stacks on. So each top is lowered by a multiple of
//! 64 bytes, which differs between neighbours. It is at most a quarter of a page: a green thread that sleeps in its first
//! few frames touches one page.
//!
//! **Invariants.** (1) A slot is free, or owned by exactly one `Stack`. (2) A slab is unmapped only when all its slots are
//! free, so a leaked stack stays mapped for ever.
//!
//! `context` puts a context on a stack, and `context::ContextPool` chooses which stack is used again.
//!
//! Next: `time/mod.rs`, the clock and the timers.
#![allow(unsafe_code)]

use crate::sys::page::page_size;
use std::cell::RefCell;
use std::io;
use std::ptr::null_mut;
use std::rc::Rc;
use std::sync::OnceLock;

/// The size of a stack: a power of two, in bytes. The guard page comes on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StackSize {
    log2: u8,
}

impl StackSize {
    /// The smallest size.
    pub(crate) const MIN: StackSize = StackSize { log2: 14 };
    /// Enough for destructors.
    pub(crate) const RESERVE: StackSize = StackSize { log2: 16 };
    /// The default size: 256 KiB. Only pages that are touched cost memory.
    pub(crate) const DEFAULT: StackSize = StackSize { log2: 18 };
    /// The largest size: a terabyte. A process has room for some hundred of them.
    const MAX: StackSize = StackSize { log2: 40 };

    /// Returns the smallest size that has room for `usable` bytes, a colour and a context.
    ///
    /// Errors: the size would be more than `MAX`.
    pub(crate) fn for_usable(usable: usize) -> io::Result<StackSize> {
        let wanted = usable.saturating_add(COLOUR_RANGE + CONTEXT).max(StackSize::MIN.bytes());
        if wanted > StackSize::MAX.bytes() {
            let max = StackSize::MAX.bytes() - COLOUR_RANGE - CONTEXT;
            let text = format!("a stack of {usable} bytes is too large; the maximum is {max}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(StackSize { log2: wanted.next_power_of_two().trailing_zeros() as u8 })
    }

    #[inline]
    pub(crate) const fn bytes(self) -> usize {
        1 << self.log2
    }

    /// Returns the length of a slot, guard included, in bytes. It is a number of whole pages.
    #[inline]
    fn slot(self) -> usize {
        page_size() + self.bytes().max(page_size())
    }
}

/// Maximum number of bytes that a context keeps at the top of its stack.
pub(crate) const CONTEXT: usize = 512;
const COLOUR_STEP: usize = 320;
const COLOUR_RANGE: usize = 1024;

/// Slabs grow from 64 slots by doubling, up to `SLAB_BYTES_MAX` of address space.
const FIRST_SLAB_SLOTS: usize = 64;
const SLAB_BYTES_MAX: usize = 16 << 30;
const SLAB_BYTES_MIN: usize = 8 << 20;
/// Number of slots that get their guards at once, just before the first of them is used.
const GUARD_BATCH: usize = 64;

/// From `linux/mman.h`, not yet in the libc crate for every target.
const MADV_GUARD_INSTALL: i32 = 102;

/// A guarded stack. Dropping it frees the slot.
pub(crate) struct Stack {
    /// Lowest address of the slot, where the guard page begins.
    bottom: usize,
    /// Address from which the stack grows down. A multiple of 16.
    top: usize,
    /// Owner of the slot. It keeps the slabs mapped.
    owner: Rc<SizeClass>,
}

impl Stack {
    pub(crate) fn top(&self) -> usize {
        self.top
    }

    pub(crate) fn bottom(&self) -> usize {
        self.bottom
    }

    pub(crate) fn size(&self) -> StackSize {
        self.owner.size
    }

    /// Lowers the top by `bytes`, rounded up to 16, and returns the address of the bytes gained.
    pub(crate) fn reserve(&mut self, bytes: usize) -> *mut u8 {
        self.top -= bytes.next_multiple_of(16);
        self.top as *mut u8
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.owner.free.borrow_mut().push(self.bottom);
    }
}

/// All stacks of one size of one hub.
pub(crate) struct SizeClass {
    size: StackSize,
    free: RefCell<Vec<usize>>,
    slabs: RefCell<Slabs>,
}

#[derive(Default)]
struct Slabs {
    /// Address and length of each mapping.
    mapped: Vec<(usize, usize)>,
    /// Address of the first unused slot of the newest slab.
    next: usize,
    /// Address of its first slot without a guard.
    unguarded: usize,
    /// Address of its end.
    end: usize,
    /// Number of slots ever handed out.
    used: usize,
}

impl SizeClass {
    fn take(self: &Rc<Self>) -> io::Result<Stack> {
        let bottom = match self.free.borrow_mut().pop() {
            Some(bottom) => bottom,
            None => self.carve_slot()?,
        };
        let colour = (bottom / self.size.slot() * COLOUR_STEP) % COLOUR_RANGE;
        Ok(Stack { bottom, top: bottom + self.size.slot() - colour, owner: self.clone() })
    }

    /// Returns the address of a slot that was never used.
    fn carve_slot(&self) -> io::Result<usize> {
        let mut slabs = self.slabs.borrow_mut();
        if slabs.next == slabs.end {
            let (base, len) = self.map(slabs.used)?;
            slabs.mapped.push((base, len));
            (slabs.next, slabs.unguarded, slabs.end) = (base, base, base + len);
        }
        let slot = self.size.slot();
        if slabs.next == slabs.unguarded {
            let batch = GUARD_BATCH.min((slabs.end - slabs.unguarded) / slot);
            install_guards(slabs.unguarded, slot, batch)?;
            slabs.unguarded += batch * slot;
        }
        let bottom = slabs.next;
        slabs.next += slot;
        slabs.used += 1;
        Ok(bottom)
    }

    /// Maps a slab of as many slots as there are already, and returns its address and length. Where the address space
    /// is short, the slab has fewer slots. The last of the address space is left to the allocator, which would abort
    /// without.
    fn map(&self, slots: usize) -> io::Result<(usize, usize)> {
        let slot = self.size.slot();
        let mut slots = slots.max(FIRST_SLAB_SLOTS).min((SLAB_BYTES_MAX / slot).max(1));
        loop {
            match map_slab(slots * slot) {
                Ok(base) => return Ok((base, slots * slot)),
                Err(error) if slots == 1 || slots * slot <= SLAB_BYTES_MIN => {
                    let size = self.size.bytes();
                    let text = format!("no memory for a green thread's stack of {size} bytes: {error}");
                    return Err(io::Error::new(error.kind(), text));
                }
                Err(_) => slots = slots.div_ceil(2),
            }
        }
    }

    /// Returns whether `address` lies in a guard page.
    fn is_guard(&self, address: usize) -> bool {
        let Ok(slabs) = self.slabs.try_borrow() else { return false };
        let slab = slabs.mapped.iter().find(|(base, len)| (*base..base + len).contains(&address));
        slab.is_some_and(|(base, _)| (address - base) % self.size.slot() < page_size())
    }
}

impl Drop for SizeClass {
    fn drop(&mut self) {
        // Every Stack holds an Rc of this size class. When it is dropped, all slots are free, and none was leaked.
        for &(base, len) in &self.slabs.borrow().mapped {
            // SAFETY: `map_slab` mapped it, and no Stack is left that could lie in it.
            unsafe { libc::munmap(base as *mut _, len) };
        }
    }
}

/// Maps `len` bytes for slots, and returns their address.
fn map_slab(len: usize) -> io::Result<usize> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    // SAFETY: a new private mapping at no fixed address touches nothing that exists.
    let base = unsafe { libc::mmap(null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // The name appears in /proc/self/maps, on kernels that can. Without huge pages, a stack of which one page is used
    // does not take 512. Both are hints, so their failure changes nothing.
    const PR_SET_VMA: i32 = 0x53564d41;
    // SAFETY: the range is the mapping just made, and the kernel copies the string.
    unsafe {
        libc::prctl(PR_SET_VMA, 0, base, len, c"greenline stacks".as_ptr());
        libc::madvise(base, len, libc::MADV_NOHUGEPAGE);
    }
    Ok(base as usize)
}

/// Returns whether `MADV_GUARD_INSTALL` works here. User-mode emulators return 0 for any advice and do nothing. They
/// return 0 for an advice that does not exist, too, which tells them apart.
fn guard_install_supported(page: usize) -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    const NO_SUCH_ADVICE: i32 = 9999;
    *SUPPORTED.get_or_init(|| {
        // SAFETY: the page lies in a slab of this allocator, in a slot that was never used.
        unsafe {
            libc::madvise(page as *mut _, page_size(), NO_SUCH_ADVICE) != 0
                && libc::madvise(page as *mut _, page_size(), MADV_GUARD_INSTALL) == 0
        }
    })
}

/// Protects the lowest page of each of `slots` slots, each `slot` bytes long, from address `base` on.
fn install_guards(base: usize, slot: usize, slots: usize) -> io::Result<()> {
    let supported = guard_install_supported(base);
    for page in (0..slots).map(|nth| base + nth * slot) {
        // SAFETY: the page lies in a slab of this allocator, in a slot that was never used.
        let guarded = unsafe {
            // Locked memory (mlockall(2)) cannot have guards of this kind, and gets the other.
            (supported && libc::madvise(page as *mut _, page_size(), MADV_GUARD_INSTALL) == 0)
                || libc::mprotect(page as *mut _, page_size(), libc::PROT_NONE) == 0
        };
        if !guarded {
            let error = io::Error::last_os_error();
            let what = format!("no guard page for a green thread's stack: {error}");
            return Err(io::Error::new(error.kind(), what));
        }
    }
    Ok(())
}

/// The stacks of one hub.
#[derive(Default)]
pub(crate) struct StackAllocator {
    classes: RefCell<Vec<Rc<SizeClass>>>,
}

impl StackAllocator {
    /// Returns a stack of that size.
    ///
    /// Errors: the kernel has no address space, memory or mappings left.
    pub(crate) fn take(&self, size: StackSize) -> io::Result<Stack> {
        let mut classes = self.classes.borrow_mut();
        let known = classes.iter().find(|class| class.size == size).cloned();
        let class = known.unwrap_or_else(|| {
            let new = Rc::new(SizeClass { size, free: RefCell::default(), slabs: RefCell::default() });
            classes.push(new.clone());
            new
        });
        drop(classes);
        class.take()
    }

    /// Returns the size of the stack whose guard page contains `address`, if one does. The fault handler calls this, so
    /// it takes no lock and allocates nothing.
    pub(crate) fn overflowed_at(&self, address: usize) -> Option<StackSize> {
        let classes = self.classes.try_borrow().ok()?;
        classes.iter().find(|class| class.is_guard(address)).map(|class| class.size)
    }

    /// Returns the number of stacks ever in use at once, of all sizes. Stacks are used again, so it is a maximum.
    pub(crate) fn high_water_mark(&self) -> usize {
        self.classes.borrow().iter().map(|class| class.slabs.borrow().used).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_usable_returns_powers_of_two_with_room_for_the_context() {
        assert_eq!(StackSize::for_usable(0).unwrap(), StackSize::MIN);
        assert_eq!(StackSize::for_usable(64 << 10).unwrap().bytes(), 128 << 10);
        assert_eq!(StackSize::for_usable(8 << 10).unwrap(), StackSize::MIN);
        assert_eq!(StackSize::for_usable(12 << 10).unwrap(), StackSize::MIN);
        assert_eq!(StackSize::for_usable(15 << 10).unwrap().bytes(), 32 << 10);
        assert!(StackSize::for_usable(usize::MAX).is_err());
    }

    #[test]
    fn take_returns_slots_that_do_not_overlap_and_are_used_again() {
        let stacks = StackAllocator::default();
        let mut held: Vec<Stack> = (0..300).map(|_| stacks.take(StackSize::MIN).unwrap()).collect();
        held.sort_by_key(Stack::bottom);
        for pair in held.windows(2) {
            assert!(pair[0].top() <= pair[1].bottom());
        }
        for stack in &held {
            // SAFETY: the page at the top belongs to the stack.
            unsafe { (stack.top() as *mut u8).sub(1).write(7) };
        }
        let again = held.pop().unwrap().bottom();
        assert_eq!(stacks.take(StackSize::MIN).unwrap().bottom(), again);
        assert_eq!(stacks.high_water_mark(), 300);
    }

    #[test]
    fn overflowed_at_is_some_only_in_the_guard() {
        let stacks = StackAllocator::default();
        let stack = stacks.take(StackSize::DEFAULT).unwrap();
        assert_eq!(stacks.overflowed_at(stack.bottom()), Some(StackSize::DEFAULT));
        assert_eq!(stacks.overflowed_at(stack.bottom() + page_size() - 1), Some(StackSize::DEFAULT));
        assert_eq!(stacks.overflowed_at(stack.bottom() + page_size()), None);
        assert_eq!(stacks.overflowed_at(&raw const stack as usize), None);
    }

    #[test]
    fn take_colours_tops_within_a_quarter_of_a_page() {
        let stacks = StackAllocator::default();
        let held: Vec<Stack> = (0..64).map(|_| stacks.take(StackSize::MIN).unwrap()).collect();
        let mut offsets: Vec<usize> =
            held.iter().map(|stack| (stack.bottom() + StackSize::MIN.slot()) - stack.top()).collect();
        offsets.sort_unstable();
        offsets.dedup();
        assert!(offsets.len() == 16, "{offsets:?}");
        assert!(offsets.iter().all(|&offset| offset < COLOUR_RANGE));
    }

    #[test]
    fn take_spreads_tops_over_the_sets_of_a_tlb() {
        const SETS: usize = 64;
        let stacks = StackAllocator::default();
        for size in [StackSize::MIN, StackSize::DEFAULT] {
            let held: Vec<Stack> = (0..SETS).map(|_| stacks.take(size).unwrap()).collect();
            let mut sets: Vec<usize> = held.iter().map(|stack| stack.bottom() / page_size() % SETS).collect();
            sets.sort_unstable();
            sets.dedup();
            assert_eq!(sets.len(), SETS);
        }
    }

    #[test]
    fn slab_is_unmapped_with_its_last_stack() {
        let stacks = StackAllocator::default();
        let stack = stacks.take(StackSize::MIN).unwrap();
        let bottom = stack.bottom();
        drop(stacks);
        let mapped = || {
            let mut vec = 0u8;
            // SAFETY: mincore reads nothing there. It fails with ENOMEM if nothing is mapped.
            unsafe { libc::mincore(bottom as *mut _, page_size(), &raw mut vec) == 0 }
        };
        assert!(mapped());
        drop(stack);
        assert!(!mapped());
    }
}
