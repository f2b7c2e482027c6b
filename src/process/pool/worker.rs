//! The foreman's life, and a worker's.
#![allow(unsafe_code)]

use super::TaskError;
use super::floor::{Broken, Floor, Job};
use super::task::Chunk;
use crate::process::{Process, active_children, parent};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// What workers are engaged on.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) initializer: Rc<dyn Fn()>,
    pub(super) max_tasks: Option<u64>,
}

/// What a worker leaves by when its initializer fails. The number means nothing else here, for it is not ready then.
const UNFIT: i32 = 1;

/// The foreman: keeps every place staffed, until the pool is over.
pub(super) fn oversee(floor: &Floor, terms: Terms) {
    die_with_parent();
    ask_for_children();
    let places = (0..floor.places()).map(|place| {
        let (floor, terms) = (floor.clone(), terms.clone());
        crate::api::spawn::spawn(move || {
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
    crate::api::join::join_all(places);
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
        let state = floor.look();
        if state.terminated || state.broken.is_some() {
            // Who kills the workers may have done so before this one was there.
            let _ = worker.kill();
        }
        let exit = match worker.join() {
            Ok(exit) => exit,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::ECHILD);
                return floor.update(|state| state.broken = Some(Broken::LostWorker { errno }));
            }
        };
        if floor.is_over() {
            return;
        }
        if !floor.is_ready(place) {
            return floor.update(|state| state.broken = Some(Broken::Initializer { exit }));
        }
        floor.bury(place, exit);
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
    let mut result = Vec::new();
    while terms.max_tasks.is_none_or(|most| done < most) {
        let Some(Job { number, message }) = floor.next_job(place) else { break };
        let mut chunk = Chunk::decode(message.as_slice());
        let calls = chunk.calls();
        done += calls.len() as u64;
        floor.begin_outbox(place, calls.start);
        for at in calls {
            floor.begin(place, at);
            let outcome = chunk.call_next(&mut result);
            put_outcome(floor, place, chunk.id, at, outcome.map(|()| &result));
        }
        floor.send_outbox(place, chunk.id, None);
        floor.drop_job(place, number);
    }
    0
}

fn put_outcome(floor: &Floor, place: usize, id: u64, at: u32, outcome: Result<&Vec<u8>, TaskError>) {
    let limit = floor.largest();
    let outcome = outcome.and_then(|result| match result.len() {
        size if size > limit => Err(TaskError::TooLarge { size, limit }),
        _ => Ok(result),
    });
    match outcome {
        Ok(result) => floor.put_result(place, id, at, Ok(result)),
        Err(error) => floor.put_result(place, id, at, Err(&error.encode(limit))),
    }
}

/// The foreman asks how its children have ended, whatever its parent does with its own.
fn ask_for_children() {
    // SAFETY: a disposition without a handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
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
