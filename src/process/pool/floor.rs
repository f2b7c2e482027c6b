//! The shop floor: the memory that the parent, the foreman and the workers share.
//!
//! ```text
//!   state:   the two rings, who took the last chunk, who is closed or over, how many chunks are not done
//!   memory:  | a place for each worker | an outbox for each | tasks, a ring | notes, a ring |
//! ```
//!
//! *Who has which chunk.* That a chunk was taken, by whom, and as number what, is one commit. The next one that takes any,
//! or the foreman if it is sooner, writes it down at the place of who took it ([`Floor::settle`]); for the state has room
//! for the last one only. A worker has a chunk if the number of that is greater than of what it was done with.
//!
//! *Results.* A worker writes them into its outbox, one after the other, and each is there as soon as the outbox is said to
//! be filled that far. At the end of the chunk, or when the outbox is full, all of them go to the parent as one note. Of a
//! worker that dies the foreman sends them. One that dies between sending them and emptying its outbox has them sent
//! twice: so they are numbered.
#![allow(unsafe_code)]

use super::TaskError;
use crate::process::codec::Bytes;
use crate::process::shared::{Limit, Monitor, PopResult, Ring, Transaction};
use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Instant;

/// Where the parent waits: for notes, for room for tasks, for the end.
const OFFICE: usize = 0;
/// Where workers and the foreman wait for room for their notes.
const ROOM: usize = 1;
/// Where the foreman waits for the end.
const END: usize = 2;
/// Where the first worker waits for something to do, and from here on the others, each by itself: so that a chunk wakes
/// one. If that dies before it has taken it, the foreman wakes all.
const WORK: usize = 3;

/// What all of them agree on.
#[derive(Clone, Copy)]
pub(super) struct State {
    tasks: Ring,
    notes: Ring,
    /// The chunk that was taken last.
    last: Taken,
    /// The parent has found no room for a chunk.
    wants_room: bool,
    /// How many chunks were sent of which the parent has not seen the end.
    pending: u64,
    pub(super) closed: bool,
    pub(super) terminated: bool,
    pub(super) broken: Option<Broken>,
    workers: usize,
    /// How many places will not be staffed again.
    pub(super) left: usize,
}

/// That a chunk was taken.
#[derive(Clone, Copy, Default)]
struct Taken {
    /// How many were by then; 0: none.
    number: u64,
    place: usize,
    chunk: u64,
}

/// Why the foreman cannot go on.
#[derive(Clone, Copy)]
pub(super) enum Broken {
    Initializer { exit: i32 },
    NoProcess { errno: i32 },
    LostWorker { errno: i32 },
}

impl State {
    /// Why there will be no more results, if so.
    pub(super) fn why_over(&self) -> Option<TaskError> {
        match self.broken {
            _ if self.terminated => Some(TaskError::Terminated),
            Some(Broken::Initializer { exit }) => {
                let text = format!("a worker's initializer fails: it ends with exit code {exit}");
                Some(TaskError::Broken(text))
            }
            Some(Broken::NoProcess { errno }) => {
                let error = io::Error::from_raw_os_error(errno);
                Some(TaskError::Broken(format!("no process to replace a worker by: {error}")))
            }
            Some(Broken::LostWorker { errno }) => {
                let error = io::Error::from_raw_os_error(errno);
                Some(TaskError::Broken(format!("how a worker has ended is not known: {error}")))
            }
            None => None,
        }
    }

    /// Whether all workers have left for good.
    pub(super) fn is_empty(&self) -> bool {
        self.left == self.workers
    }

    fn is_over(&self) -> bool {
        self.terminated || self.broken.is_some() || self.closed && self.pending == 0
    }
}

/// What a worker is at. Written by that worker, by whoever settles, and by the foreman while there is no worker.
#[repr(C, align(64))]
struct Place {
    /// The chunk that it took, as which number.
    chunk: AtomicU64,
    number: AtomicU64,
    /// It is done with what it took as that number, and before.
    done: AtomicU64,
    /// In which of its calls the worker is, or [`NO_CALL`].
    at: AtomicU32,
    /// Of which call the first result in its outbox is, and how many bytes there are.
    from: AtomicU32,
    filled: AtomicU32,
    /// Its initializer has returned.
    ready: AtomicBool,
}

/// It has not begun with any.
const NO_CALL: u32 = u32::MAX;

/// A worker that has died, while it held a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Death {
    /// In which of its calls.
    at: u32,
    pub(super) exit: i32,
}

impl Death {
    pub(super) fn was_in(self, call: usize) -> bool {
        self.at != NO_CALL && self.at as usize == call
    }
}

/// What the parent is told of a chunk.
pub(super) struct Note<'a> {
    pub(super) id: u64,
    /// Of which call the first of the results is.
    pub(super) from: u32,
    pub(super) death: Option<Death>,
    results: &'a [u8],
}

/// A note's numbers: id, from, whether it is of a death, at, exit.
const HEADER: usize = 24;
/// A result's: its length, and whether it is an error.
const LENGTH: usize = 8;

impl<'a> Note<'a> {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.results.len());
        let death = self.death.unwrap_or(Death { at: 0, exit: 0 });
        bytes.extend_from_slice(&self.id.to_ne_bytes());
        for word in [self.from, u32::from(self.death.is_some()), death.at, death.exit as u32] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(self.results);
        bytes
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Note<'a> {
        let (header, results) = bytes.split_at(HEADER);
        let [from, is_death, at, exit] = std::array::from_fn(|nth| word(&header[8 + 4 * nth..]));
        let death = (is_death != 0).then_some(Death { at, exit: exit as i32 });
        Note { id: long(header), from, death, results }
    }

    /// Where in the note the results are, encoded, and whether that is an error.
    pub(super) fn results(&self) -> impl Iterator<Item = Result<Range<usize>, Range<usize>>> {
        let (mut at, mut rest) = (HEADER, self.results);
        std::iter::from_fn(move || {
            let (header, bytes) = rest.split_at_checked(LENGTH)?;
            let header = long(header);
            let length = (header >> 1) as usize;
            let range = at + LENGTH..at + LENGTH + length;
            (at, rest) = (range.end, &bytes[length..]);
            Some(if header & 1 == 0 { Ok(range) } else { Err(range) })
        })
    }
}

fn length_of(result: Result<&[u8], &[u8]>) -> [u8; LENGTH] {
    let (is_error, bytes) = match result {
        Ok(bytes) => (0, bytes),
        Err(bytes) => (1, bytes),
    };
    ((bytes.len() as u64) << 1 | is_error).to_ne_bytes()
}

pub(super) fn word(bytes: &[u8]) -> u32 {
    u32::from_ne_bytes(bytes[..4].try_into().expect("four bytes"))
}

pub(super) fn long(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes[..8].try_into().expect("eight bytes"))
}

/// A chunk that a worker has taken.
pub(super) struct Job {
    /// As number what.
    pub(super) number: u64,
    pub(super) message: Bytes,
}

/// What the parent finds.
pub(super) enum News {
    /// A note, which is a copy now.
    Note,
    /// That there is none, and how the pool is.
    None(State),
}

/// Why a chunk was not sent.
pub(super) enum Refused {
    Full,
    Because(TaskError),
}

/// A handle to it.
#[derive(Clone)]
pub(super) struct Floor(Arc<Shared>);

struct Shared {
    monitor: Monitor<State>,
    places: usize,
    /// Of each ring.
    bytes: usize,
    /// Of each outbox.
    outbox: usize,
}

/// How large an outbox is, if notes of that size have room.
const OUTBOX: usize = 32 << 10;

impl Floor {
    pub(super) fn new(places: usize, bytes: usize) -> io::Result<Floor> {
        let bytes = bytes.max(4096).next_multiple_of(4096);
        let outbox = OUTBOX.min(bytes / 2);
        let rings_at = places * (size_of::<Place>() + outbox);
        let state = State {
            tasks: Ring::new(rings_at..rings_at + bytes),
            notes: Ring::new(rings_at + bytes..rings_at + 2 * bytes),
            last: Taken::default(),
            wants_room: false,
            pending: 0,
            closed: false,
            terminated: false,
            broken: None,
            workers: places,
            left: 0,
        };
        let monitor = Monitor::with_memory(state, WORK + places, rings_at + 2 * bytes)?;
        Ok(Floor(Arc::new(Shared { monitor, places, bytes, outbox })))
    }

    pub(super) fn places(&self) -> usize {
        self.0.places
    }

    /// How large an encoded result may be.
    pub(super) fn largest(&self) -> usize {
        Ring::max_message(self.0.bytes).map_or(0, |longest| longest - HEADER - LENGTH)
    }

    /// Whether there can ever be room for a chunk of that size.
    pub(super) fn check_size(&self, size: usize) -> Result<(), TaskError> {
        let limit = Ring::max_message(self.0.bytes).unwrap_or(0);
        if size > limit { Err(TaskError::TooLarge { size, limit }) } else { Ok(()) }
    }

    fn place(&self, place: usize) -> &Place {
        assert!(place < self.0.places, "there is no place {place}");
        let memory = self.0.monitor.memory(place * size_of::<Place>(), size_of::<Place>());
        // SAFETY: the memory begins with so many places, all zeros at first, which is a value of one; it is aligned to 64.
        unsafe { memory.cast::<Place>().as_ref() }
    }

    /// The outbox of that place from `at` on.
    fn outbox(&self, place: usize, at: usize, size: usize) -> NonNull<u8> {
        let outbox = self.0.outbox;
        assert!(place < self.0.places && at <= outbox && size <= outbox - at, "beyond outbox {place}");
        self.0.monitor.memory(self.0.places * size_of::<Place>() + place * outbox + at, size)
    }

    /// Changes the state for all to see.
    pub(super) fn update<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        self.0.monitor.change(|change| {
            let answer = f(change);
            (0..WORK + self.0.places).for_each(|gate| _ = change.notify_all(gate));
            answer
        })
    }

    pub(super) fn look(&self) -> State {
        self.0.monitor.snapshot()
    }

    // The office's side.

    /// Has a worker see the chunk.
    pub(super) fn push_task(&self, message: &[u8], is_new: bool) -> Result<(), Refused> {
        self.0.monitor.change(|change| {
            if let Some(why) = change.why_over() {
                return Err(Refused::Because(why));
            }
            if is_new && change.closed {
                return Err(Refused::Because(TaskError::Closed));
            }
            if !Ring::push(change, |state| &mut state.tasks, message) {
                change.wants_room = true;
                return Err(Refused::Full);
            }
            change.pending += u64::from(is_new);
            // Who is not asleep looks before it sleeps.
            let _ = (WORK..WORK + self.0.places).find(|&gate| change.notify_all(gate));
            Ok(())
        })
    }

    /// Takes a note.
    pub(super) fn next_note(&self, bytes: &mut Bytes) -> News {
        self.pop_by(bytes, |bytes| {
            let pop = |change: &mut Transaction<'_, State>| {
                Some(match Ring::pop(change, |state| &mut state.notes, bytes, Some(ROOM)) {
                    Some(popped) => {
                        Ring::trim(change, |state| &mut state.notes);
                        Ok(popped)
                    }
                    None => Err(**change),
                })
            };
            self.0.monitor.try_change(pop)
        })
        .map_or(News::Note, News::None)
    }

    /// Whether there is nothing that the parent could do; then the caller is going to [wait](Floor::wait_in_office).
    pub(super) fn await_news(&self, was: &State) -> bool {
        let seen = |state: &State| (state.left, state.why_over().is_some(), state.tasks.len());
        let news = |change: &mut Transaction<'_, State>| {
            (change.notes.len() > 0 || seen(change) != seen(was)).then_some(())
        };
        self.0.monitor.try_change_or_register(OFFICE, news).is_none()
    }

    /// Waits until something may have changed, or `beside` is readable, or the deadline: `false`.
    pub(super) fn wait_in_office(&self, deadline: Option<Instant>, beside: Option<RawFd>) -> bool {
        self.0.monitor.spin_then_park(OFFICE, deadline, beside)
    }

    /// The parent has seen the end of so many chunks.
    pub(super) fn are_done(&self, chunks: u64) {
        self.0.monitor.change(|change| {
            change.pending -= chunks;
            if change.closed && change.pending == 0 {
                // Those who would leave now.
                (WORK..WORK + self.0.places).for_each(|gate| _ = change.notify_all(gate));
            }
        });
    }

    /// Copies what `pop` takes, with the memory that it needs made outside of the monitor.
    fn pop_by<E>(
        &self,
        bytes: &mut Bytes,
        mut pop: impl FnMut(&mut Bytes) -> Option<Result<PopResult, E>>,
    ) -> Option<E> {
        loop {
            match pop(bytes)? {
                Ok(PopResult::Message) => return None,
                Ok(PopResult::NeedsBuffer(length)) => bytes.reserve(length),
                Err(other) => return Some(other),
            }
        }
    }

    // The workers' side, and the foreman's.

    /// Takes a chunk. Blocks while there is none. `None`: there will be none.
    pub(super) fn next_job(&self, place: usize) -> Option<Job> {
        let (mut message, mut number) = (Bytes::new(), 0);
        let mut take = |change: &mut Transaction<'_, State>, message: &mut Bytes| {
            if change.is_over() {
                return Some(Err(()));
            }
            let room = change.wants_room.then_some(OFFICE);
            let popped = Ring::pop(change, |state| &mut state.tasks, message, room)?;
            if let PopResult::Message = popped {
                change.wants_room = false;
                self.settle(change);
                // If it was woken by nobody, it is still said to wait; a chunk that comes now is for another.
                change.notify_all(WORK + place);
                number = change.last.number + 1;
                change.last = Taken { number, place, chunk: long(message.as_slice()) };
                Ring::trim(change, |state| &mut state.tasks);
            }
            Some(Ok(popped))
        };
        let wait = |message: &mut Bytes| {
            Some(self.0.monitor.wait_spinning(WORK + place, |change| take(change, message)))
        };
        match self.pop_by(&mut message, wait) {
            Some(()) => None,
            None => Some(Job { number, message }),
        }
    }

    /// Writes down who has taken the last chunk, if that was not done.
    fn settle(&self, state: &State) {
        let Taken { number, place, chunk } = state.last;
        let place = self.place(place);
        if place.number.load(Relaxed) < number {
            place.chunk.store(chunk, Relaxed);
            place.number.store(number, Release);
        }
    }

    /// The worker there begins with that call.
    pub(super) fn begin(&self, place: usize, at: u32) {
        self.place(place).at.store(at, Release);
    }

    /// The worker there is done with what it took as `number`, and has sent the results.
    pub(super) fn drop_job(&self, place: usize, number: u64) {
        // First of all: they must not be taken for those of what it takes next.
        self.begin_outbox(place, 0);
        let place = self.place(place);
        place.done.store(number, Release);
        place.at.store(NO_CALL, Release);
    }

    /// Results that are put into the outbox from now on are of that call and the next ones.
    pub(super) fn begin_outbox(&self, place: usize, from: u32) {
        let place = self.place(place);
        // In this order: nothing is there that could be taken for another call's.
        place.filled.store(0, Release);
        place.from.store(from, Release);
    }

    /// Puts the result of call `at` of chunk `id` into the outbox, or, if that is too small, sends it.
    pub(super) fn put_result(&self, place: usize, id: u64, at: u32, result: Result<&[u8], &[u8]>) {
        let (length, Ok(bytes) | Err(bytes)) = (length_of(result), result);
        let size = LENGTH + bytes.len();
        let filled = self.place(place).filled.load(Relaxed) as usize;
        if size > self.0.outbox - filled {
            self.send_outbox(place, id, None);
            self.begin_outbox(place, at);
            if size > self.0.outbox {
                self.put_note(&Note { id, from: at, death: None, results: &[&length[..], bytes].concat() });
                return self.begin_outbox(place, at + 1);
            }
            return self.put_result(place, id, at, result);
        }
        let to = self.outbox(place, filled, size);
        // SAFETY: within the outbox, which only this worker writes to, behind what it is said to be filled with.
        unsafe {
            to.copy_from_nonoverlapping(NonNull::from(&length).cast(), LENGTH);
            to.add(LENGTH).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
        }
        self.place(place).filled.store((filled + size) as u32, Release);
    }

    /// Sends the parent what is in the outbox. Blocks while there is no room.
    pub(super) fn send_outbox(&self, place: usize, id: u64, death: Option<Death>) {
        let filled = self.place(place).filled.load(Acquire) as usize;
        if filled == 0 && death.is_none() {
            return;
        }
        let from = self.place(place).from.load(Acquire);
        let results = NonNull::slice_from_raw_parts(self.outbox(place, 0, filled), filled);
        // SAFETY: so much was written, by the only one who does, which is the caller, or dead.
        self.put_note(&Note { id, from, death, results: unsafe { results.as_ref() } });
    }

    /// Leaves a note for the parent. Blocks while there is no room; gives up when the pool is over, for nobody listens.
    fn put_note(&self, note: &Note<'_>) {
        let message = note.encode();
        self.0.monitor.wait(ROOM, Limit::Unlimited, |change| {
            if change.is_over() {
                return Some(());
            }
            // Even if there is no room: the parent is to make some.
            change.notify_all(OFFICE);
            Ring::push(change, |state| &mut state.notes, &message).then_some(())
        });
    }

    /// There is a new worker at that place, which has done nothing yet.
    pub(super) fn clear(&self, place: usize) {
        let at = self.place(place);
        self.drop_job(place, at.number.load(Relaxed).max(at.done.load(Relaxed)));
        at.ready.store(false, Relaxed);
    }

    pub(super) fn set_ready(&self, place: usize) {
        self.place(place).ready.store(true, Relaxed);
    }

    pub(super) fn is_ready(&self, place: usize) -> bool {
        self.place(place).ready.load(Relaxed)
    }

    /// The worker there has died: what it had taken, and what it has of that, is sent to the parent.
    pub(super) fn bury(&self, place: usize, exit: i32) {
        // All look again: it may have been the one that was woken for a chunk that is still there.
        self.update(|state| self.settle(state));
        let at = self.place(place);
        if at.number.load(Acquire) > at.done.load(Acquire) {
            let death = Death { at: at.at.load(Acquire), exit };
            self.send_outbox(place, at.chunk.load(Relaxed), Some(death));
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.monitor.snapshot().is_over()
    }

    /// Waits until workers are to be killed: `true`; or until all have left by themselves.
    pub(super) fn wait_for_the_end(&self) -> bool {
        let end = self.0.monitor.wait(END, Limit::Unlimited, |change| match () {
            () if change.is_empty() => Some(false),
            () => (change.terminated || change.broken.is_some()).then_some(true),
        });
        end.unwrap_or_else(|| unreachable!("no deadline has passed"))
    }
}
