//! The processes of a pool: the supervisor, which replaces workers that end, and the workers.
//!
//! Next: `pool/dispatcher.rs`, the side of the parent.
#![allow(unsafe_code)]

use super::message::{ChunkHeader, RESULT_OVERHEAD, decode, parts};
use super::shared_state::{Broken, PoolShared};
use super::task::call;
use super::task_error::TaskError;
use crate::builder::Process;
use crate::child::active_children;
use crate::this_process::parent;
use greenline::scope;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The configuration that the workers of a pool have in common.
#[derive(Clone)]
pub(super) struct WorkerConfig {
    pub(super) initializer: Rc<dyn Fn()>,
    pub(super) max_tasks: Option<u64>,
}

/// Runs the supervisor: keeps a worker in each slot until the pool is over.
pub(super) fn supervise(shared: &Arc<PoolShared>, config: &WorkerConfig) {
    die_with_parent();
    reset_sigchld();
    scope(|scope| {
        for slot in 0..shared.slots {
            scope.spawn(move || {
                let ended = respawn_loop(shared, slot, config);
                shared.update(|state| {
                    state.status.broken = state.status.broken.or(ended.err());
                    state.status.staffed -= 1;
                });
            });
        }
        shared.wait_for_shutdown();
        // A worker may have ended meanwhile.
        active_children().iter().for_each(|worker| _ = worker.kill());
    });
}

/// Starts one worker after another for a slot, until the pool is over.
fn respawn_loop(shared: &Arc<PoolShared>, slot: usize, config: &WorkerConfig) -> Result<(), Broken> {
    loop {
        shared.slot(slot).clear();
        let (inherited, config) = (shared.clone(), config.clone());
        let worker = Process::new(move || work(&inherited, slot, &config));
        let worker = worker.name(format!("worker {slot}")).daemon(true).start();
        let exit = worker.and_then(|worker| {
            if shared.status().must_kill() {
                // The supervisor may have killed all workers before this one existed.
                let _ = worker.kill();
            }
            worker.join()
        });
        let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::ECHILD);
        let exit = exit.map_err(|error| Broken::Worker { errno: errno(error) })?;
        if shared.status().is_over() {
            return Ok(());
        }
        if !shared.slot(slot).initialized.load(Relaxed) {
            return Err(Broken::Initializer { exit });
        }
        shared.collect_dead_worker(slot, exit);
    }
}

/// Runs a worker: executes one chunk after another.
fn work(shared: &PoolShared, number: usize, config: &WorkerConfig) {
    die_with_parent();
    (config.initializer)();
    let (slot, limit) = (shared.slot(number), shared.largest_message - RESULT_OVERHEAD);
    slot.initialized.store(true, Relaxed);
    let (mut done, mut result) = (0, Vec::new());
    while config.max_tasks.is_none_or(|most| done < most) {
        let Some((sequence, message)) = shared.claim_chunk(number) else { break };
        let (chunk, payload) = decode::<ChunkHeader>(&message);
        slot.reset_outbox(chunk.first);
        for (index, args) in (chunk.first..).zip(parts(payload)) {
            slot.begin_call(index);
            result.clear();
            result = match call(&chunk, args, result) {
                Ok(result) if result.len() <= limit => result,
                Ok(result) => TaskError::TooLarge { size: result.len(), limit }.encode(limit),
                Err(error) => error.encode(limit),
            };
            shared.put_result(slot, chunk.id, index, &result);
            done += 1;
        }
        shared.send_outbox(slot, chunk.id, None);
        slot.finish(sequence);
    }
}

/// Lets the supervisor read the exit codes of its children, even if the parent ignores SIGCHLD.
fn reset_sigchld() {
    // SAFETY: the default disposition has no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Makes the kernel kill this process when its parent ends: without a parent it gets no work.
fn die_with_parent() {
    // SAFETY: the arguments are numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // The parent may have ended before the call.
    if parent().is_some_and(|parent| !parent.is_alive()) {
        std::process::abort();
    }
}
