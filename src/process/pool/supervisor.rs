//! The processes of a pool: the supervisor, which replaces workers that end, and the workers.
//!
//! Next: `process/pool/dispatcher.rs`, the side of the parent.
#![allow(unsafe_code)]

use super::shared_state::{Broken, ClaimedChunk, PoolShared};
use super::task::CallReader;
use super::task_error::TaskError;
use crate::process::builder::Process;
use crate::process::child::active_children;
use crate::process::this_process::parent;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

/// The configuration that the workers of a pool have in common.
#[derive(Clone)]
pub(super) struct WorkerConfig {
    pub(super) initializer: Rc<dyn Fn()>,
    pub(super) max_tasks: Option<u64>,
}

/// Exit code of a worker whose initializer has panicked. The code needs no meaning of its own: the supervisor sees that
/// the worker was not initialized.
const INITIALIZER_FAILED: i32 = 1;

/// Runs the supervisor: keeps a worker in each slot until the pool is over.
pub(super) fn supervise(shared: &Arc<PoolShared>, config: &WorkerConfig) {
    die_with_parent();
    reset_sigchld();
    let slots = (0..shared.slots()).map(|slot| {
        let (shared, config) = (shared.clone(), config.clone());
        crate::api::spawn::spawn(move || {
            let ended = respawn_loop(&shared, slot, &config);
            shared.update(|state| {
                state.status.broken = state.status.broken.or(ended.err());
                state.status.staffed -= 1;
            });
        })
    });
    let slots: Vec<_> = slots.collect();
    shared.wait_for_shutdown();
    for worker in active_children() {
        // The worker may have ended meanwhile.
        let _ = worker.kill();
    }
    crate::api::join::join_all(slots);
}

/// Starts one worker after another for a slot, until the pool is over.
fn respawn_loop(shared: &Arc<PoolShared>, slot: usize, config: &WorkerConfig) -> Result<(), Broken> {
    loop {
        shared.slot(slot).clear();
        let work = {
            let (shared, config) = (shared.clone(), config.clone());
            move || work(&shared, slot, &config)
        };
        let worker = Process::new(work).name(format!("worker {slot}")).daemon(true).start();
        let worker =
            worker.map_err(|error| Broken::NoProcess { errno: error.raw_os_error().unwrap_or(0) })?;
        if shared.status().must_kill() {
            // The supervisor may have killed all workers before this one existed.
            let _ = worker.kill();
        }
        let exit = worker.join();
        let exit =
            exit.map_err(|error| Broken::LostWorker { errno: error.raw_os_error().unwrap_or(libc::ECHILD) })?;
        if shared.status().is_over() {
            return Ok(());
        }
        if !shared.slot(slot).is_initialized() {
            return Err(Broken::Initializer { exit });
        }
        shared.collect_dead_worker(slot, exit);
    }
}

/// Runs a worker: executes one chunk after another. Returns the exit code.
fn work(shared: &PoolShared, slot: usize, config: &WorkerConfig) -> i32 {
    die_with_parent();
    if catch_unwind(AssertUnwindSafe(|| (config.initializer)())).is_err() {
        return INITIALIZER_FAILED;
    }
    let (slot_index, slot, limit) = (slot, shared.slot(slot), shared.largest_result());
    slot.set_initialized();
    let mut done = 0;
    let mut result = Vec::new();
    while config.max_tasks.is_none_or(|most| done < most) {
        let Some(ClaimedChunk { sequence, message }) = shared.claim_chunk(slot_index) else { break };
        let mut reader = CallReader::new(message.as_slice());
        let (id, calls) = (reader.id(), reader.calls());
        done += calls.len() as u64;
        slot.reset_outbox(calls.start);
        for call in calls {
            slot.begin_call(call);
            result.clear();
            result = match reader.call_next(result) {
                Ok(result) if result.len() <= limit => result,
                Ok(result) => TaskError::TooLarge { size: result.len(), limit }.encode(limit),
                Err(error) => error.encode(limit),
            };
            shared.put_result(slot, id, call, &result);
        }
        shared.send_outbox(slot, id, None);
        slot.finish(sequence);
    }
    0
}

/// Lets the supervisor read the exit codes of its children, even if the parent ignores SIGCHLD.
fn reset_sigchld() {
    // SAFETY: the default disposition has no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Makes the kernel kill this process when its parent ends: nobody could give it work any more.
fn die_with_parent() {
    // SAFETY: the arguments are numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // The parent may have ended before the call.
    if parent().is_some_and(|parent| !parent.is_alive()) {
        std::process::abort();
    }
}
