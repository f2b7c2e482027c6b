//! Managers: what each object promises to several processes, and what happens when a client or the server dies.

mod lifetime;
mod network;
mod proxy;
mod queue;
mod sync;
mod values;

use crate::support::subprocess::Case;
use crate::support::time::wait_until;
use greenline::net::UnixStream;
use greenline::{join_all, sleep, spawn, timeout, yield_now};
use greenline_process::manager::{Manager, ManagerError};
use greenline_process::{Child, Process};
use std::io::{Read, Write};
use std::time::Duration;

/// Longest duration of a test.
const LONG: Duration = Duration::from_secs(40);
/// Time in which a call reaches the server, or in which a test expects nothing to happen.
const MOMENT: Duration = Duration::from_millis(50);

macro_rules! cases {
    ($($module:ident: $($name:ident),*;)*) => {
        &[$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name)),*),*]
    };
}

pub(crate) const CASES: &[Case] = cases![
        queue:
            get_returns_messages_in_order_and_len_counts_them,
            put_waits_while_the_queue_is_full,
            close_ends_waiting_and_later_calls,
            join_waits_until_task_done_for_all,
            iter_shares_messages_among_processes_and_green_threads,
            get_lets_other_green_threads_run,
            get_killed_or_timed_out_takes_no_message,
            get_killed_leaves_although_a_child_has_its_connection,
            get_by_process_that_dies_returns_the_message,
            get_by_processes_that_die_returns_their_messages_in_order;
        sync:
            lock_admits_one_at_a_time,
            lock_serves_waiters_in_order,
            lock_of_killed_holder_is_abandoned,
            lock_of_killed_holder_is_free_although_its_child_lives,
            lock_guard_in_forked_child_unlocks_nothing,
            semaphore_counts_permits,
            semaphore_permit_for_process_that_dies_is_given_back,
            event_set_wakes_all_although_cleared_at_once,
            barrier_opens_for_all_and_forgets_who_gave_up;
        values:
            dict_is_shared,
            list_is_shared,
            update_loses_no_change,
            get_of_another_type_is_a_codec_error;
        proxy:
            proxy_works_on_any_os_thread,
            proxy_calls_wait_a_thousand_at_once,
            proxy_works_in_process_older_than_the_manager,
            proxy_works_when_patched;
        lifetime:
            discard_ends_waiting_and_later_calls,
            shutdown_ends_waiting_and_later_calls,
            server_killed_ends_waiting_and_later_calls,
            server_ignores_sigint,
            server_outlives_copy_of_manager_in_child,
            server_ends_with_the_process_that_started_it,
            server_closes_inherited_descriptors,
            manager_leaves_no_descriptor_and_no_child;
        network:
            publish_makes_objects_findable_over_tcp,
            connect_with_wrong_key_is_refused,
            connect_by_another_user_is_refused,
            handshake_drops_garbage_and_silence,
            connect_to_false_manager_is_refused;
];

/// Calls `case` with a time limit: greenline ends it if it can, otherwise the kernel does.
pub(crate) fn call(case: fn()) {
    set_alarm();
    timeout(LONG, case).unwrap();
}

/// Makes the kernel end this process after twice the limit.
fn set_alarm() {
    // SAFETY: alarm has no preconditions.
    unsafe { libc::alarm(2 * LONG.as_secs() as u32) };
}

fn manager() -> Manager {
    Manager::start().unwrap()
}

/// Starts a child with a time limit of its own.
fn child(f: impl FnOnce() + 'static) -> Child {
    let limited = move || {
        set_alarm();
        f();
    };
    Process::new(limited).start().unwrap()
}

/// Starts `count` children, each of which runs a copy of `f`.
fn children(count: usize, f: impl FnOnce() + Clone + 'static) -> Vec<Child> {
    (0..count).map(|_| child(f.clone())).collect()
}

/// Runs `count` copies of `f`, each in a green thread, and waits for all.
fn in_green_threads(count: usize, f: impl FnOnce() + Clone + 'static) {
    let threads: Vec<_> = (0..count).map(|_| spawn(f.clone())).collect();
    join_all(threads).into_iter().for_each(|ended| ended.unwrap());
}

/// Waits until all children have ended successfully.
fn joined(children: impl IntoIterator<Item = Child>) {
    for child in children {
        assert_eq!(child.join().unwrap(), 0, "{child:?}");
    }
}

/// Kills a child and waits for its end.
fn kill(child: &Child) {
    child.kill().unwrap();
    assert_eq!(child.join().unwrap(), -libc::SIGKILL);
}

/// Starts a child that holds what `acquire` returns until it is killed. Returns once the child has it.
fn holder<G>(acquire: impl FnOnce() -> G + 'static) -> Child {
    let (here, there) = pair();
    let holder = child(move || {
        let _held = acquire();
        send(&there);
        sleep(LONG);
    });
    receive(&here);
    holder
}

/// Starts a child in which a green thread executes `call`. Stops the child by SIGSTOP when the call waits in the server.
fn stopped_in(call: impl FnOnce() + 'static) -> Child {
    let (here, there) = pair();
    let caller = child(move || {
        let call = spawn(call);
        yield_now();
        send(&there);
        drop(call.join());
    });
    receive(&here);
    sleep(MOMENT * 2);
    caller.signal(libc::SIGSTOP).unwrap();
    wait_until_stopped(caller.pid());
    caller
}

/// Returns two connected sockets, one for the parent and one for the child.
fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

/// Waits for a byte from the other end.
fn receive(mut from: &UnixStream) -> u8 {
    let mut byte = [0];
    from.read_exact(&mut byte).unwrap();
    byte[0]
}

fn send(mut to: &UnixStream) {
    to.write_all(&[1]).unwrap();
}

/// Sends a signal to the server of `manager`.
fn signal(manager: &Manager, signal: i32) {
    // SAFETY: kill takes no pointers, and the server is a child that was not reaped yet.
    assert_eq!(unsafe { libc::kill(manager.pid() as i32, signal) }, 0);
}

fn wait_until_stopped(pid: u32) {
    let stat = format!("/proc/{pid}/stat");
    wait_until(|| std::fs::read_to_string(&stat).unwrap().contains(") T "));
}

/// Returns the number of open descriptors of a process.
fn open_fds(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Asserts that a call failed because the manager, which the error names, is gone.
fn assert_gone<T: std::fmt::Debug>(result: Result<T, ManagerError>) {
    match result {
        Err(error @ ManagerError::Gone { .. }) => {
            let text = error.to_string();
            assert!(text.starts_with("the manager at @greenline/manager/"), "{text}");
            assert!(text.contains("is gone: "), "{text}");
        }
        other => panic!("{other:?}"),
    }
}
