//! The parent's side of a pool: what it has sent, what it waits for. Nobody runs in the background: whoever waits for a
//! result takes in all that have come, and puts each where it belongs.
//!
//! Holds: results are taken in under the monitor's lock, and so is looked whether what one waits for was taken in by
//! another. So nobody waits for what is there.

use super::TaskError;
use super::floor::{Desk, Floor, Note};
use super::task::Calls;
use crate::lock::Lock;
use crate::process::Child;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// What has come of one call: the encoded result.
pub(super) type Outcome = Result<Vec<u8>, TaskError>;

pub(super) struct Office {
    floor: Floor,
    /// The process that this is of; another has only a copy.
    owner: u32,
    foreman: OnceLock<Child>,
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
    /// From number `first` on.
    outcomes: VecDeque<Option<Outcome>>,
    first: usize,
}

impl Batch {
    pub(super) fn new(as_they_come: bool) -> Arc<Batch> {
        Arc::new(Batch { as_they_come, arrived: Lock::new(Arrived::default()) })
    }

    /// How many outcomes have come so far.
    pub(super) fn count(&self) -> usize {
        self.arrived.lock().count
    }

    /// Outcome number `nth`, once.
    pub(super) fn take(&self, nth: usize) -> Option<Outcome> {
        let mut arrived = self.arrived.lock();
        let at = nth.checked_sub(arrived.first)?;
        let outcome = arrived.outcomes.get_mut(at)?.take()?;
        while let Some(None) = arrived.outcomes.front() {
            arrived.outcomes.pop_front();
            arrived.first += 1;
        }
        Some(outcome)
    }

    fn put(&self, nth: usize, outcome: Outcome) {
        let mut arrived = self.arrived.lock();
        let nth = if self.as_they_come { arrived.count } else { nth };
        arrived.count += 1;
        let at = nth - arrived.first;
        if arrived.outcomes.len() <= at {
            arrived.outcomes.resize_with(at + 1, || None);
        }
        arrived.outcomes[at] = Some(outcome);
    }
}

impl Sent {
    /// The next of its calls is done. Answers whether that was the last.
    fn put(&mut self, outcome: Outcome) -> bool {
        self.batch.put(self.first + self.done, outcome);
        self.done += 1;
        self.done == self.calls.count()
    }
}

impl Office {
    pub(super) fn new(floor: Floor) -> Office {
        Office { floor, owner: std::process::id(), foreman: OnceLock::new(), book: Lock::default() }
    }

    pub(super) fn floor(&self) -> &Floor {
        &self.floor
    }

    pub(super) fn engage(&self, foreman: Child) {
        let _ = self.foreman.set(foreman);
    }

    /// Sends `calls`, the first of which is number `first` of the batch. Blocks while there is no room.
    ///
    /// Errors: why it was not sent.
    pub(super) fn send(&self, calls: Calls, batch: &Arc<Batch>, first: usize) -> Result<(), TaskError> {
        let id = {
            let mut book = self.book.lock();
            book.next += 1;
            book.next
        };
        let message = calls.encode(id, 0);
        self.floor.check_size(message.len())?;
        let mut sent = Some(Sent { calls, done: 0, batch: batch.clone(), first });
        self.wait(None, |desk, book| {
            if let Some(why) = &book.over {
                return Some(Err(why.clone()));
            }
            if desk.closed {
                return Some(Err(TaskError::Closed));
            }
            if !desk.push_task(&message) {
                return None;
            }
            desk.pending += 1;
            book.sent.insert(id, sent.take()?);
            Some(Ok(()))
        })?
        .unwrap_or(Ok(()))
    }

    /// Waits until `look` finds something, or the deadline. `None`: it has passed.
    ///
    /// Errors: this is not the process that has made the pool.
    pub(super) fn wait_for<R>(
        &self,
        deadline: Option<Instant>,
        mut look: impl FnMut() -> Option<R>,
    ) -> Result<Option<R>, TaskError> {
        self.wait(deadline, |_, _| look())
    }

    fn wait<R>(
        &self,
        deadline: Option<Instant>,
        mut look: impl FnMut(&mut Desk<'_, '_>, &mut Book) -> Option<R>,
    ) -> Result<Option<R>, TaskError> {
        if std::process::id() != self.owner {
            return Err(TaskError::NotOurs);
        }
        let foreman = self.foreman.get();
        loop {
            let step = self.floor.wait_in_office(deadline, foreman, |desk| {
                let mut book = self.book.lock();
                let news = take_in(desk, &mut book);
                match look(desk, &mut book) {
                    Some(found) => Some(Some(found)),
                    None => news.then_some(None),
                }
            });
            match step {
                Waited::Found(Some(found)) => return Ok(Some(found)),
                Waited::Found(None) => {}
                Waited::Expired => return Ok(None),
                Waited::ForemanGone => self.give_up(),
            }
        }
    }

    /// The foreman has ended, and with it all workers.
    fn give_up(&self) {
        let mut book = self.book.lock();
        if book.over.is_none() {
            end(&mut book, TaskError::Broken("its foreman was killed".to_owned()));
        }
    }

    /// No more tasks.
    pub(super) fn close(&self) {
        self.floor.update(|state| state.closed = true);
    }

    /// No more results.
    pub(super) fn terminate(&self) {
        self.floor.update(|state| state.terminated = true);
    }

    /// Waits until the foreman and all workers have ended.
    pub(super) fn join(&self) -> Result<(), TaskError> {
        // The foreman's end is one of the things that are waited for.
        self.wait(None, |desk, book| (desk.left == desk.workers || book.over.is_some()).then_some(()))?;
        if let Some(foreman) = self.foreman.get() {
            let _ = foreman.join();
        }
        Ok(())
    }

    /// Waits for the end of what was terminated, which takes some milliseconds. Blocks the OS thread: for destructors.
    pub(super) fn reap(&self) {
        if let Some(foreman) = self.foreman.get() {
            foreman.wait_in_kernel();
        }
    }

    /// Whether this is the process that has made the pool.
    pub(super) fn is_ours(&self) -> bool {
        std::process::id() == self.owner
    }
}

/// Enters all that has come. Answers whether there was anything.
fn take_in(desk: &mut Desk<'_, '_>, book: &mut Book) -> bool {
    let mut news = false;
    while let Some(note) = desk.pop_note() {
        news = true;
        enter(note, desk, book);
    }
    while let Some(&id) = book.again.front() {
        // Sent again only while it is not done.
        let message = book.sent.get(&id).map(|sent| sent.calls.encode(id, sent.done));
        if message.is_some_and(|message| !desk.push_task(&message)) {
            break;
        }
        book.again.pop_front();
        news = true;
    }
    if let (None, Some(why)) = (&book.over, desk.why_over()) {
        news = true;
        end(book, why);
    }
    news
}

fn enter(note: Note, desk: &mut Desk<'_, '_>, book: &mut Book) {
    let id = note.id();
    let Some(sent) = book.sent.get_mut(&id) else { return };
    let is_done = match note {
        Note::Done { outcome, .. } => sent.put(outcome),
        Note::Died { at, exit, .. } => {
            // It may have died after it had sent that result.
            let failed = at as usize == sent.done && sent.put(Err(TaskError::WorkerDied { exit }));
            let is_done = failed || sent.done == sent.calls.count();
            if !is_done {
                book.again.push_back(id);
            }
            is_done
        }
    };
    if is_done {
        book.sent.remove(&id);
        desk.is_done();
    }
}

/// Everything that has not come never will.
fn end(book: &mut Book, why: TaskError) {
    book.again.clear();
    for (_, mut sent) in book.sent.drain() {
        while !sent.put(Err(why.clone())) {}
    }
    book.over = Some(why);
}

/// How a wait in the office ended.
pub(super) enum Waited<R> {
    Found(R),
    Expired,
    ForemanGone,
}
