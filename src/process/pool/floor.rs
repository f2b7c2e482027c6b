//! The shop floor: the memory that the parent, the foreman and the workers share.
//!
//! ```text
//!   state:   the two rings, who is closed or over, how many chunks are not done
//!   memory:  | a place for each worker: what it holds | tasks, a ring | notes, a ring |
//! ```
//!
//! A place says which chunk its worker holds, by the number under which it was taken. That is written before the taking
//! is committed: so if the number is not below [`State::taken`], the worker died before it had anything, and the chunk is
//! still in the ring.
#![allow(unsafe_code)]

use super::TaskError;
use super::office::{Outcome, Waited};
use super::task::Chunk;
use crate::process::Child;
use crate::process::codec::Bytes;
use crate::process::shared::{Change, Monitor, Popped, Ring};
use serde::{Deserialize, Serialize};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Instant;

/// Where workers wait for something to do.
const WORK: usize = 0;
/// Where the parent waits: for notes, for room for tasks, for the end.
const OFFICE: usize = 1;
/// Where workers and the foreman wait for room for their notes.
const ROOM: usize = 2;
/// Where the foreman waits for the end.
const END: usize = 3;
const GATES: usize = 4;

/// What all of them agree on.
#[derive(Clone, Copy)]
pub(super) struct State {
    tasks: Ring,
    notes: Ring,
    /// How many chunks workers have taken.
    taken: u64,
    /// How many chunks were sent of which the parent has not seen the end.
    pub(super) pending: u64,
    pub(super) closed: bool,
    pub(super) terminated: bool,
    pub(super) broken: Option<Broken>,
    pub(super) workers: usize,
    /// How many places will not be staffed again.
    pub(super) left: usize,
}

/// Why the foreman cannot go on.
#[derive(Clone, Copy)]
pub(super) enum Broken {
    Initializer { exit: i32 },
    NoProcess { errno: i32 },
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
            None => None,
        }
    }

    fn is_over(&self) -> bool {
        self.terminated || self.broken.is_some() || self.closed && self.pending == 0
    }
}

/// What a worker holds. Written by that worker, or by the foreman while there is none.
#[repr(C, align(64))]
struct Place {
    chunk: AtomicU64,
    /// It was the chunk taken as number this less one; 0: it holds none.
    number: AtomicU64,
    /// In which of its calls the worker is.
    at: AtomicU32,
    /// Its initializer has returned.
    ready: AtomicBool,
}

/// What the parent is told.
#[derive(Serialize, Deserialize)]
pub(super) enum Note {
    /// The next call of that chunk is done.
    Done { id: u64, outcome: Outcome },
    /// The worker that held that chunk has died, in or just after that call.
    Died { id: u64, at: u32, exit: i32 },
}

impl Note {
    pub(super) fn id(&self) -> u64 {
        match self {
            Note::Done { id, .. } | Note::Died { id, .. } => *id,
        }
    }
}

/// What a worker is to do.
pub(super) enum Job {
    Chunk(Bytes),
    Leave,
}

/// A handle to it.
#[derive(Clone)]
pub(super) struct Floor(Arc<Shared>);

struct Shared {
    monitor: Monitor<State>,
    places: usize,
    /// Of each ring.
    bytes: usize,
}

/// What a note has beside the encoded result, at most.
const AROUND: usize = 64;

impl Floor {
    pub(super) fn new(places: usize, bytes: usize) -> io::Result<Floor> {
        let bytes = bytes.max(4096).next_multiple_of(4096);
        let rings_at = places * size_of::<Place>();
        let state = State {
            tasks: Ring::new(rings_at..rings_at + bytes),
            notes: Ring::new(rings_at + bytes..rings_at + 2 * bytes),
            taken: 0,
            pending: 0,
            closed: false,
            terminated: false,
            broken: None,
            workers: places,
            left: 0,
        };
        let monitor = Monitor::with_memory(state, GATES, rings_at + 2 * bytes)?;
        Ok(Floor(Arc::new(Shared { monitor, places, bytes })))
    }

    pub(super) fn places(&self) -> usize {
        self.0.places
    }

    /// How large an encoded result may be.
    pub(super) fn largest(&self) -> usize {
        Ring::longest(self.0.bytes).map_or(0, |longest| longest - AROUND)
    }

    /// Whether there can ever be room for a chunk of that size.
    pub(super) fn check_size(&self, size: usize) -> Result<(), TaskError> {
        let limit = Ring::longest(self.0.bytes).unwrap_or(0);
        if size > limit { Err(TaskError::TooLarge { size, limit }) } else { Ok(()) }
    }

    fn place(&self, place: usize) -> &Place {
        assert!(place < self.0.places, "there is no place {place}");
        let memory = self.0.monitor.memory(place * size_of::<Place>(), size_of::<Place>());
        // SAFETY: the memory begins with so many places, all zeros at first, which is a value of one; it is aligned to 64.
        unsafe { memory.cast::<Place>().as_ref() }
    }

    /// Changes the state for all to see.
    pub(super) fn update<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        self.0.monitor.change(|change| {
            let answer = f(change);
            (0..GATES).for_each(|gate| change.open(gate));
            answer
        })
    }

    // The office's side.

    /// Waits for whatever `f` can do something about.
    pub(super) fn wait_in_office<R>(
        &self,
        deadline: Option<Instant>,
        foreman: Option<&Child>,
        mut f: impl FnMut(&mut Desk<'_, '_>) -> Option<R>,
    ) -> Waited<R> {
        let beside = || foreman.map(|foreman| foreman.sentinel().as_raw_fd());
        let found = self.0.monitor.wait_beside(OFFICE, deadline, beside, |change| {
            let mut desk = Desk(change);
            if let Some(found) = f(&mut desk) {
                return Some(Waited::Found(found));
            }
            // Looked at last: what it has left behind was taken in by now.
            foreman.is_some_and(Child::has_ended).then_some(Waited::ForemanGone)
        });
        found.unwrap_or(Waited::Expired)
    }

    // The workers' side, and the foreman's.

    /// Takes a chunk, or says that there will be none. Blocks while there is none.
    pub(super) fn next_job(&self, place: usize) -> Job {
        let job = self.0.monitor.wait(WORK, None, |change| {
            if change.is_over() {
                return Some(Job::Leave);
            }
            let message = pop(change, |state| &mut state.tasks)?;
            let place = self.place(place);
            place.chunk.store(Chunk::decode(message.as_slice()).id, Relaxed);
            place.at.store(0, Relaxed);
            place.number.store(change.taken + 1, Release);
            change.taken += 1;
            change.open(OFFICE);
            Some(Job::Chunk(message))
        });
        job.unwrap_or_else(|| unreachable!("no deadline has passed"))
    }

    /// The worker there begins with that call.
    pub(super) fn begin(&self, place: usize, at: u32) {
        self.place(place).at.store(at, Relaxed);
    }

    /// The worker there is done with its chunk.
    pub(super) fn drop_job(&self, place: usize) {
        self.place(place).number.store(0, Release);
    }

    /// Leaves a note for the parent, and wakes it if that is news. Blocks while there is no room; gives up when the pool is
    /// over, for nobody listens.
    pub(super) fn put_note(&self, note: &Note, is_news: bool) {
        let message = postcard::to_stdvec(note).expect("numbers and bytes can be encoded");
        self.0.monitor.wait(ROOM, None, |change| {
            if change.is_over() {
                return Some(());
            }
            let has_room = Ring::push(change, |state| &mut state.notes, &message);
            if is_news || !has_room {
                change.open(OFFICE);
            }
            has_room.then_some(())
        });
    }

    /// There is a new worker at that place, which has done nothing yet.
    pub(super) fn clear(&self, place: usize) {
        self.drop_job(place);
        self.place(place).ready.store(false, Relaxed);
    }

    pub(super) fn set_ready(&self, place: usize) {
        self.place(place).ready.store(true, Relaxed);
    }

    pub(super) fn is_ready(&self, place: usize) -> bool {
        self.place(place).ready.load(Relaxed)
    }

    /// What the worker there, which has died, had taken: which chunk, and in which of its calls it was.
    pub(super) fn held_by(&self, place: usize) -> Option<(u64, u32)> {
        let taken = self.0.monitor.look().taken;
        let place = self.place(place);
        let number = place.number.load(Acquire);
        // One that is larger was not committed.
        (1..=taken).contains(&number).then(|| (place.chunk.load(Relaxed), place.at.load(Relaxed)))
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.monitor.look().is_over()
    }

    /// Waits until workers are to be killed: `true`; or until all have left by themselves.
    pub(super) fn wait_for_the_end(&self) -> bool {
        let end = self.0.monitor.wait(END, None, |change| match () {
            () if change.left == change.workers => Some(false),
            () => (change.terminated || change.broken.is_some()).then_some(true),
        });
        end.unwrap_or_else(|| unreachable!("no deadline has passed"))
    }
}

/// Takes a message. `None`: there is none.
fn pop(change: &mut Change<'_, State>, of: impl Fn(&mut State) -> &mut Ring) -> Option<Bytes> {
    let mut bytes = Bytes::new();
    loop {
        match Ring::pop(change, &of, &mut bytes)? {
            Popped::Message => return Some(bytes),
            Popped::Needs(length) => bytes.reserve(length),
        }
    }
}

/// The state, for the parent to work on.
pub(super) struct Desk<'a, 'b>(&'a mut Change<'b, State>);

impl Desk<'_, '_> {
    /// Has workers see it; `false`: there is no room.
    pub(super) fn push_task(&mut self, message: &[u8]) -> bool {
        let has_room = Ring::push(self.0, |state| &mut state.tasks, message);
        if has_room {
            self.0.open(WORK);
        }
        has_room
    }

    pub(super) fn pop_note(&mut self) -> Option<Note> {
        let message = pop(self.0, |state| &mut state.notes)?;
        self.0.open(ROOM);
        Some(postcard::from_bytes(message.as_slice()).expect("it was encoded by this program"))
    }

    /// The parent has seen the end of a chunk.
    pub(super) fn is_done(&mut self) {
        self.0.pending -= 1;
        if self.0.pending == 0 {
            // Those who would leave now.
            self.0.open(WORK);
        }
    }
}

impl Deref for Desk<'_, '_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.0
    }
}

impl DerefMut for Desk<'_, '_> {
    fn deref_mut(&mut self) -> &mut State {
        self.0
    }
}
