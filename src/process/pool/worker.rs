//! The foreman's life, and a worker's.
#![allow(unsafe_code)]

use super::TaskError;
use super::floor::{Broken, Floor, Job, Note};
use super::task::Chunk;
use crate::process::{Process, active_children, parent};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What workers are engaged on.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) initializer: Rc<dyn Fn()>,
    pub(super) max_tasks: Option<u64>,
}

/// What a worker leaves by when its initializer fails. The number means nothing else here, for it is not ready then.
const UNFIT: i32 = 1;

/// For how long results of a chunk may lie there before the parent is woken to take them in.
const PATIENCE: Duration = Duration::from_micros(200);

/// The foreman: keeps every place staffed, until the pool is over.
pub(super) fn oversee(floor: &Floor, terms: Terms) {
    die_with_parent();
    let places = (0..floor.places()).map(|place| {
        let (floor, terms) = (floor.clone(), terms.clone());
        crate::spawn(move || {
            keep_staffed(&floor, place, &terms);
            floor.update(|state| state.left += 1);
        })
    });
    let places: Vec<_> = places.collect();
    if floor.wait_for_the_end() {
        for worker in active_children() {
            // If it has ended meanwhile, so much the better.
            let _ = worker.kill();
        }
    }
    crate::join_all(places);
}

/// One place after another worker has it, until there is nothing left to do.
fn keep_staffed(floor: &Floor, place: usize, terms: &Terms) {
    loop {
        floor.clear(place);
        let work = {
            let (floor, terms) = (floor.clone(), terms.clone());
            move || work(&floor, place, &terms)
        };
        let worker = match Process::new(work).name(format!("worker {place}")).daemon(true).start() {
            Ok(worker) => worker,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                return floor.update(|state| state.broken = Some(Broken::NoProcess { errno }));
            }
        };
        let Ok(exit) = worker.join() else { return };
        if floor.is_over() {
            return;
        }
        if !floor.is_ready(place) {
            return floor.update(|state| state.broken = Some(Broken::Initializer { exit }));
        }
        if let Some((id, at)) = floor.held_by(place) {
            floor.put_note(&Note::Died { id, at, exit }, true);
        }
    }
}

/// A worker: takes what there is to do, one chunk after the other.
fn work(floor: &Floor, place: usize, terms: &Terms) -> i32 {
    die_with_parent();
    if catch_unwind(AssertUnwindSafe(|| (terms.initializer)())).is_err() {
        return UNFIT;
    }
    floor.set_ready(place);
    let mut done = 0;
    let mut told = Instant::now();
    while terms.max_tasks.is_none_or(|most| done < most) {
        let Job::Chunk(message) = floor.next_job(place) else { break };
        let mut chunk = Chunk::decode(message.as_slice());
        let calls = chunk.calls();
        let last = calls.end - 1;
        done += calls.len() as u64;
        for at in calls {
            floor.begin(place, at);
            let outcome = chunk.call_next();
            let (size, limit) = (outcome.as_ref().map_or(0, Vec::len), floor.largest());
            let outcome = if size > limit { Err(TaskError::TooLarge { size, limit }) } else { outcome };
            let is_news = at == last || told.elapsed() > PATIENCE;
            if is_news {
                told = Instant::now();
            }
            floor.put_note(&Note::Done { id: chunk.id, outcome }, is_news);
        }
        floor.drop_job(place);
    }
    0
}

/// Has the kernel kill this process when its parent ends, in whatever way: nobody could give it work any more.
fn die_with_parent() {
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // It may have happened before.
    if parent().is_some_and(|parent| !parent.is_alive()) {
        std::process::abort();
    }
}
