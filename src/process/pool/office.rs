//! The parent's side of a pool: what it has sent, what it waits for. Nobody runs in the background: whoever waits for a
//! result takes in all that have come, and puts each where it belongs.
//!
//! Of the green threads of an OS thread that wait, one waits for the floor, and is the **watch**; the others wait to be
//! woken by whoever takes in what they wait for, or to be the next watch. So a result wakes the watch and who wants it,
//! however many wait.
//!
//! Holds: the book is open, to one at a time, from before notes are looked for until who looks has found what it waits
//! for or is written down as waiting. So nobody waits for what is there. And who stops waiting, however that comes,
//! leaves no OS thread without a watch on which others wait.

use super::TaskError;
use super::floor::{Floor, News, Note, Refused, State};
use super::task::Calls;
use crate::api::current::current_hub;
use crate::hub::{FdWaitResult, RemoteTicket, with_blocking_disabled};
use crate::process::Child;
use crate::process::codec::Bytes;
use crate::process::shared::ProcessId;
use crate::sys::raw_mutex::Lock;
use crate::time::NEVER;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// What has come of one call: the encoded result.
pub(super) type Outcome = Result<Slice, TaskError>;

/// Part of a note.
pub(super) struct Slice {
    note: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl Slice {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.note[self.range.clone()]
    }
}

pub(super) struct Office {
    floor: Floor,
    /// The process that this is of; another has only a copy.
    owner: ProcessId,
    foreman: OnceLock<Child>,
    /// While it is open nobody parks, for the allocator may have locks that are patched.
    book: Lock<Book>,
}

#[derive(Default)]
struct Book {
    next: u64,
    sent: HashMap<u64, Sent>,
    /// Those whose worker has died before it came to them, until there is room to send them again.
    again: VecDeque<u64>,
    /// Why there will be no more results.
    over: Option<TaskError>,
    waiting: Waiting,
}

/// Who waits.
#[derive(Default)]
struct Waiting {
    next: u64,
    /// Which OS threads have a watch.
    watched: Vec<OsThread>,
    /// Who is woken by others.
    others: BTreeMap<u64, Waiter>,
}

/// By the address of its hub.
type OsThread = usize;

struct Waiter {
    on: OsThread,
    waker: RemoteTicket,
    /// It waits for room, or for the end: for what no batch tells it.
    for_floor: bool,
}

impl Waiting {
    /// Has one of those on that OS thread be the watch, if there is none.
    fn see_to_watch(&self, on: OsThread) {
        if !self.watched.contains(&on) {
            if let Some(next) = self.others.values().find(|waiter| waiter.on == on) {
                next.waker.wake();
            }
        }
    }

    fn wake(&self, number: Option<u64>) {
        if let Some(waiter) = number.and_then(|number| self.others.get(&number)) {
            waiter.waker.wake();
        }
    }

    fn wake_for_floor(&self) {
        self.others.values().filter(|waiter| waiter.for_floor).for_each(|waiter| waiter.waker.wake());
    }

    fn wake_all(&self) {
        self.others.values().for_each(|waiter| waiter.waker.wake());
    }
}

/// A chunk that is not done.
struct Sent {
    calls: Calls,
    /// How many of its calls are done; workers do them in order.
    done: usize,
    batch: Arc<Batch>,
    /// Which of the batch's calls the first one is.
    first: usize,
}

/// Calls that belong together.
pub(super) struct Batch {
    /// Whether results are numbered as they come, and not as their calls.
    as_they_come: bool,
    arrived: Lock<Arrived>,
}

#[derive(Default)]
struct Arrived {
    count: usize,
    /// How many of them were taken, in order.
    taken: usize,
    /// From the next one on; `None`: it has not come.
    outcomes: VecDeque<Option<Outcome>>,
    /// Who waits for them.
    waiter: Option<u64>,
}

impl Batch {
    pub(super) fn new(as_they_come: bool) -> Arc<Batch> {
        Arc::new(Batch { as_they_come, arrived: Lock::new(Arrived::default()) })
    }

    /// How many outcomes have come so far.
    pub(super) fn count(&self) -> usize {
        self.arrived.lock().count
    }

    /// The next outcome, if it has come.
    pub(super) fn take(&self) -> Option<Outcome> {
        let mut arrived = self.arrived.lock();
        let outcome = arrived.outcomes.front_mut()?.take()?;
        arrived.outcomes.pop_front();
        arrived.taken += 1;
        Some(outcome)
    }

    fn put(&self, nth: usize, outcome: Outcome) {
        let mut arrived = self.arrived.lock();
        let nth = if self.as_they_come { arrived.count } else { nth };
        arrived.count += 1;
        let at = nth - arrived.taken;
        if arrived.outcomes.len() <= at {
            arrived.outcomes.resize_with(at + 1, || None);
        }
        arrived.outcomes[at] = Some(outcome);
    }

    fn waiter(&self) -> Option<u64> {
        self.arrived.lock().waiter
    }

    fn set_waiter(&self, waiter: Option<u64>) {
        self.arrived.lock().waiter = waiter;
    }
}

impl Sent {
    /// The next of its calls is done.
    fn put(&mut self, outcome: Outcome) {
        self.batch.put(self.first + self.done, outcome);
        self.done += 1;
    }

    fn is_done(&self) -> bool {
        self.done == self.calls.count()
    }
}

impl Office {
    pub(super) fn new(floor: Floor) -> Office {
        Office { floor, owner: ProcessId::current(), foreman: OnceLock::new(), book: Lock::default() }
    }

    pub(super) fn floor(&self) -> &Floor {
        &self.floor
    }

    pub(super) fn engage(&self, foreman: Child) {
        let _ = self.foreman.set(foreman);
    }

    /// Calls `f` with the book open.
    fn open<R>(&self, f: impl FnOnce(&mut Book) -> R) -> R {
        with_blocking_disabled(|| f(&mut self.book.lock()))
    }

    /// Sends `calls`, the first of which is number `first` of the batch. Blocks while there is no room, or until the deadline:
    /// `false`. They are taken when they are sent, and not if the caller is unwound before.
    ///
    /// Errors: why they are not sent.
    pub(super) fn send(
        &self,
        unsent: &mut Option<Calls>,
        batch: &Arc<Batch>,
        first: usize,
        deadline: Option<Instant>,
    ) -> Result<bool, TaskError> {
        let Some(calls) = unsent else { return Ok(true) };
        let id = self.open(|book| {
            book.next += 1;
            book.next
        });
        let message = calls.encode(id, 0);
        self.floor.check_size(message.len())?;
        let sent = self.wait(deadline, None, |book| {
            if let Some(why) = &book.over {
                return Some(Err(why.clone()));
            }
            match self.floor.push_task(&message, true) {
                Ok(()) => {
                    let calls = unsent.take()?;
                    book.sent.insert(id, Sent { calls, done: 0, batch: batch.clone(), first });
                    Some(Ok(()))
                }
                Err(Refused::Because(why)) => Some(Err(why)),
                Err(Refused::Full) => None,
            }
        });
        sent?.transpose().map(|sent| sent.is_some())
    }

    /// Waits until `look` finds something, which what comes for that batch may change, or until the deadline. `None`: it has
    /// passed.
    ///
    /// Errors: this is not the process that has made the pool.
    pub(super) fn wait_for<R>(
        &self,
        deadline: Option<Instant>,
        batch: &Batch,
        mut look: impl FnMut() -> Option<R>,
    ) -> Result<Option<R>, TaskError> {
        self.wait(deadline, Some(batch), |_| look())
    }

    /// What `look` finds now.
    ///
    /// Errors: as for `wait_for`.
    pub(super) fn look_for<R>(&self, look: impl FnOnce() -> Option<R>) -> Result<Option<R>, TaskError> {
        self.check_process()?;
        Ok(self.open(|book| {
            self.take_in(book);
            if book.over.is_none() && self.has_lost_foreman() {
                self.give_up(book);
            }
            look()
        }))
    }

    fn wait<R>(
        &self,
        deadline: Option<Instant>,
        batch: Option<&Batch>,
        mut look: impl FnMut(&mut Book) -> Option<R>,
    ) -> Result<Option<R>, TaskError> {
        self.check_process()?;
        let mut stay =
            Stay { office: self, batch, on: std::ptr::from_ref(current_hub()) as usize, role: Role::Nobody };
        let mut expired = false;
        loop {
            // Without a descriptor left for others to wake it by, it wakes by itself.
            let mut waker = RemoteTicket::new(current_hub()).ok();
            let step = self.open(|book| {
                if stay.role == Role::Watch {
                    book.waiting.wake_for_floor();
                }
                stay.leave(book);
                let looks_after_foreman = !book.waiting.watched.contains(&stay.on);
                let mut is_lost = false;
                loop {
                    if let Some(found) = look(book) {
                        return Some(Some(found));
                    }
                    let state = self.take_in(book);
                    if is_lost && book.over.is_none() {
                        self.give_up(book);
                    }
                    if let Some(found) = look(book) {
                        return Some(Some(found));
                    }
                    if !is_lost && looks_after_foreman && self.has_lost_foreman() {
                        // What it has left behind is taken in before it is given up.
                        is_lost = true;
                        continue;
                    }
                    if expired {
                        return Some(None);
                    }
                    if self.floor.await_news(&state) {
                        stay.enter(book, waker.take());
                        return None;
                    }
                }
            });
            match step {
                Some(found) => return Ok(found),
                None => expired = !stay.park(deadline),
            }
        }
    }

    fn check_process(&self) -> Result<(), TaskError> {
        if self.is_ours() { Ok(()) } else { Err(TaskError::NotOurs) }
    }

    fn has_lost_foreman(&self) -> bool {
        self.foreman.get().is_some_and(Child::has_ended)
    }

    /// The foreman has ended, and with it all workers.
    fn give_up(&self, book: &mut Book) {
        end(book, TaskError::Broken("its foreman was killed".to_owned()));
    }

    /// Enters all that has come, and answers how the pool is.
    fn take_in(&self, book: &mut Book) -> State {
        let mut done = 0;
        let state = loop {
            let mut bytes = Bytes::new();
            match self.floor.next_note(&mut bytes) {
                News::Note => done += u64::from(enter(&Arc::new(bytes.into_vec()), book)),
                News::None(state) => break state,
            }
        };
        if done > 0 {
            self.floor.are_done(done);
        }
        while let Some(&id) = book.again.front() {
            // Sent again only while it is not done.
            let message = book.sent.get(&id).map(|sent| sent.calls.encode(id, sent.done));
            if message.is_some_and(|message| self.floor.push_task(&message, false).is_err()) {
                break;
            }
            book.again.pop_front();
        }
        if let (None, Some(why)) = (&book.over, state.why_over()) {
            end(book, why);
        }
        state
    }

    /// No more tasks.
    pub(super) fn close(&self) {
        if self.is_ours() {
            self.floor.update(|state| state.closed = true);
        }
    }

    /// No more results.
    pub(super) fn terminate(&self) {
        if self.is_ours() {
            self.floor.update(|state| state.terminated = true);
        }
    }

    /// Waits until the foreman and all workers have ended.
    pub(super) fn join(&self) -> Result<(), TaskError> {
        // The foreman's end is one of the things that are waited for.
        self.wait(None, None, |book| (book.over.is_some() || self.floor.look().is_empty()).then_some(()))?;
        if let Some(foreman) = self.foreman.get() {
            let _ = foreman.join();
        }
        Ok(())
    }

    /// Waits for the end of what was terminated, which takes some milliseconds. Blocks the OS thread: for destructors.
    pub(super) fn reap(&self) {
        if let Some(foreman) = self.foreman.get() {
            foreman.wait_in_kernel(None);
        }
    }

    /// Whether this is the process that has made the pool.
    pub(super) fn is_ours(&self) -> bool {
        ProcessId::current() == self.owner
    }
}

/// Somebody who waits. Dropped when that is over, however it comes.
struct Stay<'a> {
    office: &'a Office,
    batch: Option<&'a Batch>,
    on: OsThread,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Nobody,
    Watch,
    /// By which number it is to be woken.
    Other(u64),
}

/// How long who cannot be woken sleeps before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

impl Stay<'_> {
    fn enter(&mut self, book: &mut Book, waker: Option<RemoteTicket>) {
        let waiting = &mut book.waiting;
        if !waiting.watched.contains(&self.on) {
            waiting.watched.push(self.on);
            self.role = Role::Watch;
            return;
        }
        let Some(waker) = waker else { return };
        waiting.next += 1;
        let waiter = Waiter { on: self.on, waker, for_floor: self.batch.is_none() };
        waiting.others.insert(waiting.next, waiter);
        self.role = Role::Other(waiting.next);
        if let Some(batch) = self.batch {
            batch.set_waiter(Some(waiting.next));
        }
    }

    fn leave(&mut self, book: &mut Book) {
        match std::mem::replace(&mut self.role, Role::Nobody) {
            Role::Nobody => {}
            Role::Watch => book.waiting.watched.retain(|&on| on != self.on),
            Role::Other(number) => {
                book.waiting.others.remove(&number);
                if let Some(batch) = self.batch {
                    batch.set_waiter(None);
                }
            }
        }
    }

    /// Blocks until it is worth while to look again; `false`: the deadline has passed.
    ///
    /// Unwinds when the green thread is killed or a timeout around it fires.
    fn park(&self, deadline: Option<Instant>) -> bool {
        let hub = current_hub();
        let until = deadline.map_or(NEVER, |deadline| hub.clock().at(deadline));
        let ended = match self.role {
            Role::Watch => {
                let foreman = self.office.foreman.get().map(|foreman| foreman.sentinel().as_raw_fd());
                return self.office.floor.wait_in_office(deadline, foreman);
            }
            Role::Other(_) => hub.wait_fds(&[], until, false, false),
            Role::Nobody => {
                hub.wait_fds(&[], until.min(hub.clock().at(Instant::now() + LOOK_AGAIN)), false, false)
            }
        };
        match ended {
            FdWaitResult::Interrupted => hub.throw_pending_interrupt(),
            FdWaitResult::Expired => return deadline.is_none_or(|deadline| Instant::now() < deadline),
            FdWaitResult::Ready | FdWaitResult::Closed | FdWaitResult::Signalled => {}
        }
        true
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        let office = self.office;
        office.open(|book| {
            self.leave(book);
            book.waiting.see_to_watch(self.on);
        });
    }
}

/// Enters a note. Answers whether that was the end of a chunk.
fn enter(bytes: &Arc<Vec<u8>>, book: &mut Book) -> bool {
    let note = Note::decode(bytes);
    let Some(sent) = book.sent.get_mut(&note.id) else { return false };
    let slice = |range| Slice { note: bytes.clone(), range };
    for (call, result) in (note.from as usize..).zip(note.results()) {
        // It may be there already: a worker that dies may have sent it.
        if call == sent.done {
            sent.put(result.map(slice).map_err(|range| TaskError::decode(&bytes[range])));
        }
    }
    let death = note.death;
    if let Some(death) = death.filter(|death| !sent.is_done() && death.was_in(sent.done)) {
        sent.put(Err(TaskError::WorkerDied { exit: death.exit }));
    }
    book.waiting.wake(sent.batch.waiter());
    let is_done = sent.is_done();
    if is_done {
        book.sent.remove(&note.id);
    } else if death.is_some() {
        book.again.push_back(note.id);
    }
    is_done
}

/// Everything that has not come never will.
fn end(book: &mut Book, why: TaskError) {
    book.again.clear();
    for (_, mut sent) in book.sent.drain() {
        while !sent.is_done() {
            sent.put(Err(why.clone()));
        }
    }
    book.over = Some(why);
    book.waiting.wake_all();
}
