//! Behaviour that only another process can observe: the output of a process, and how it ends. Each case runs in a child.

use crate::support::limits::{limit_fds, limit_memory};
use crate::support::subprocess::output;
use greenline::policy::{Policy, ReadyReason};
use greenline::*;
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// Exit code of a case that needs a permission that this process does not have.
const NOT_PERMITTED: i32 = 77;

/// Policy that panics in the method that the cell names.
struct Bad(Rc<Cell<&'static str>>, VecDeque<GreenId>);

impl Policy for Bad {
    fn ready(&mut self, green: GreenId, _: ReadyReason) {
        assert!(self.0.get() != "ready", "in ready");
        self.1.push_back(green);
    }

    fn pick(&mut self) -> Option<GreenId> {
        assert!(self.0.get() != "pick", "in pick");
        self.1.pop_front()
    }
}

fn with_bad_policy(method: &'static str) {
    let bad = Rc::new(Cell::new(""));
    install_policy(Bad(bad.clone(), VecDeque::new()));
    spawn(|| ()).join().unwrap();
    bad.set(method);
    let _ = spawn(|| ()).join();
}

/// The cases that run in a child. To the hub, each is a `main`.
pub(crate) fn run(case: &str) {
    match case {
        "overflow" => {
            let deep = Builder::new().name("deep").stack_size(64 << 10).spawn(|| recurse(0)).unwrap();
            deep.join().unwrap();
        }
        "overflow in a generator" => drop(Generator::<u64>::new(|_| assert!(recurse(0) > 0)).next()),
        "other fault in a green thread" => {
            spawn(fault).join().unwrap();
        }
        "fault in main after a hub was made" => {
            spawn(|| ()).join().unwrap();
            fault();
        }
        "fault with a handler" => {
            extern "C" fn mine(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
                // SAFETY: the kernel passes `info`, through greenline's handler.
                unsafe { libc::_exit(if (*info).si_addr() as usize == 8 { 42 } else { 1 }) };
            }
            // SAFETY: a handler with the signature that SA_SIGINFO wants.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_flags = libc::SA_SIGINFO;
                action.sa_sigaction = mine as *const () as usize;
                libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut());
            }
            spawn(fault).join().unwrap();
        }
        "a policy panics in pick" => with_bad_policy("pick"),
        "a policy panics in ready" => with_bad_policy("ready"),
        "stacks in locked memory" => {
            spawn(|| ()).join().unwrap();
            // SAFETY: no pointers.
            if unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) } != 0 {
                std::process::exit(NOT_PERMITTED);
            }
            let all: Vec<_> = (0..200).map(|_| spawn(|| sleep(Duration::from_millis(1)))).collect();
            all.into_iter().for_each(|one| one.join().unwrap());
            let deep = Builder::new().name("deep").spawn(|| recurse(0)).unwrap();
            deep.join().unwrap();
        }
        "panic" => {
            let bad = Builder::new().name("work1").spawn(|| panic!("boom")).unwrap();
            drop(bad);
            let killed = spawn(|| sleep(Duration::MAX));
            yield_now();
            killed.kill();
            join_everything();
        }
        "panic with a hook" => {
            std::panic::set_hook(Box::new(|info| eprintln!("my hook: {info}")));
            let _ = spawn(|| panic!("boom")).join();
        }
        "main ends first" => {
            spawn_sleeper_that_prints_on_unwind();
            println!("main ends");
        }
        "shutdown" => {
            spawn_sleeper_that_prints_on_unwind();
            shutdown();
        }
        "exit" => {
            drop(spawn(|| sleep(Duration::from_secs(3600))));
            spawn(|| std::process::exit(7)).join().unwrap();
        }
        "deadlock" => {
            let waits = || {
                wait::park(wait::ticket(), None, "what never comes");
            };
            Builder::new().name("lonely").spawn(waits).unwrap().join().unwrap();
        }
        "deadlock while the logger is in use" => {
            static LOGGER: std::sync::Mutex<()> = std::sync::Mutex::new(());
            struct Logger;
            impl log::Log for Logger {
                fn enabled(&self, _: &log::Metadata<'_>) -> bool {
                    true
                }
                fn log(&self, _: &log::Record<'_>) {
                    drop(LOGGER.lock());
                }
                fn flush(&self) {}
            }
            log::set_logger(&Logger).unwrap();
            log::set_max_level(log::LevelFilter::Error);
            // SAFETY: no preconditions. The alarm ends a child that hangs.
            unsafe { libc::alarm(30) };
            let waits = || {
                let _held = LOGGER.lock();
                // The panic is noted. The root will log it.
                trace::observe(|_| panic!("the observer's"));
                wait::park(wait::ticket(), None, "what never comes");
            };
            spawn(waits).join().unwrap();
        }
        "no memory for stacks" => {
            // There is room for some stacks, then for none. The heap gets its memory before that, behind a block that stays:
            // the memory that is left when no stack fits may be too small for the heap.
            let mut heap: Vec<_> = (0..40_000).map(|n| vec![n as u8; 100]).collect();
            heap.drain(..39_999);
            limit_memory(1 << 30);
            let naps: Vec<_> = (0..8000).map(|_| spawn(|| sleep(Duration::from_millis(200)))).collect();
            let ends = join_all(naps);
            let refused = ends.iter().filter(|end| matches!(end, Err(JoinError::NoStack(_)))).count();
            let error = ends.iter().find_map(|end| end.as_ref().err()).unwrap();
            println!("{error}");
            assert!(refused > 0 && refused < 8000, "{refused}");
            assert_eq!(spawn(|| 3).join().unwrap(), 3);
            println!("the hub is alive");
            drop(heap);
        }
        "a policy that panics" => {
            struct Panics;
            impl policy::Policy for Panics {
                fn ready(&mut self, _: GreenId, _: policy::ReadyReason) {}
                fn pick(&mut self) -> Option<GreenId> {
                    panic!("in pick")
                }
            }
            install_policy(Panics);
            let borrowed = vec![1; 100];
            scope(|s| drop(s.spawn(|| assert_eq!(borrowed[0], 1))));
        }
        "a hook that blocks" => {
            std::panic::set_hook(Box::new(|_| {
                sleep(Duration::from_millis(1));
                yield_now();
            }));
            let both = join_all([spawn(|| panic!("a")), spawn(|| panic!("b"))]);
            assert!(both.iter().all(Result::is_err));
        }
        "one stack is too large" => {
            limit_memory(2 << 30);
            let inner = || Builder::new().stack_size(1 << 36).spawn(|| ()).unwrap().join();
            let error = spawn(inner).join().unwrap().unwrap_err();
            println!("{error}");
        }
        "no memory for any stack" => {
            limit_memory(1 << 20);
            println!("{}", Builder::new().spawn(|| ()).unwrap_err());
            sleep(Duration::from_millis(1));
            yield_now();
            println!("the hub is alive");
        }
        "a logger that calls current" => {
            struct Asks;
            impl log::Log for Asks {
                fn enabled(&self, _: &log::Metadata<'_>) -> bool {
                    true
                }
                fn log(&self, record: &log::Record<'_>) {
                    sleep(Duration::from_millis(1));
                    println!("{}: {}", current().name(), record.args());
                }
                fn flush(&self) {}
            }
            log::set_logger(&Asks).unwrap();
            log::set_max_level(log::LevelFilter::Trace);
            limit_memory(2 << 30);
            let refused = Builder::new().name("big").stack_size(1 << 36).spawn(|| ()).unwrap();
            assert!(refused.join().is_err());
            assert_eq!(spawn(|| 3).join().unwrap(), 3);
        }
        "no file descriptors" => {
            limit_fds(3);
            println!("{}", Handle::current().unwrap_err());
            // Green threads need no descriptor.
            let slept = spawn(|| sleep(Duration::from_millis(1)));
            slept.join().unwrap();
            println!("the hub is alive");
        }
        other => panic!("no case '{other}'"),
    }
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn recurse(n: u64) -> u64 {
    let block = std::hint::black_box([n; 64]);
    recurse(n + 1) + block[n as usize % 64]
}

/// Spawns a green thread that sleeps for an hour, and prints a line when it is unwound.
fn spawn_sleeper_that_prints_on_unwind() {
    struct Loud;
    impl Drop for Loud {
        fn drop(&mut self) {
            println!("unwound");
        }
    }
    drop(spawn(|| {
        let _loud = Loud;
        sleep(Duration::from_secs(3600));
    }));
    yield_now();
}

fn fault() {
    // SAFETY: not upheld on purpose: the test needs this fault.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
}

#[test]
fn stack_overflow_names_the_green_thread_and_its_size_and_aborts() {
    let output = output("program::overflow");
    assert_eq!(output.code, -libc::SIGABRT);
    let said = output.stderr;
    assert!(said.contains("green thread 'deep' has overflowed its stack (128 KiB"), "{said}");
    assert!(said.contains("spawned at tests/outside/program.rs:"), "{said}");
}

#[test]
fn stack_overflow_in_a_generator_is_reported() {
    let output = output("program::overflow in a generator");
    assert_eq!(output.code, -libc::SIGABRT);
    assert!(output.stderr.contains("a generator has overflowed its stack"), "{}", output.stderr);
}

#[test]
fn stack_overflow_is_caught_in_locked_memory() {
    let output = output("program::stacks in locked memory");
    if output.code != NOT_PERMITTED {
        assert_eq!(output.code, -libc::SIGABRT, "{}", output.stderr);
        assert!(output.stderr.contains("green thread 'deep' has overflowed its stack"), "{}", output.stderr);
    }
}

#[test]
fn policy_that_panics_aborts_the_process() {
    for (case, why) in [("a policy panics in pick", "in pick"), ("a policy panics in ready", "in ready")] {
        let output = output(&format!("program::{case}"));
        assert_eq!(output.code, -libc::SIGABRT, "{case}");
        let said = output.stderr;
        assert!(said.contains(why) && said.contains("a policy panicked"), "{said}");
    }
}

#[test]
fn sigsegv_that_is_no_stack_overflow_kills_the_process() {
    for case in ["other fault in a green thread", "fault in main after a hub was made"] {
        let output = output(&format!("program::{case}"));
        assert_eq!(output.code, -libc::SIGSEGV, "{case}");
        assert!(!output.stderr.contains("overflow"), "{case}: {}", output.stderr);
    }
}

#[test]
fn sigsegv_that_is_no_stack_overflow_reaches_the_former_handler() {
    assert_eq!(output("program::fault with a handler").code, 42);
}

#[test]
fn panic_hook_reports_a_panic_once_with_the_name_of_the_green_thread() {
    let output = output("program::panic");
    assert!(output.code == 0);
    let said = output.stderr;
    assert_eq!(said.matches("panicked at").count(), 1, "a kill is not a panic: {said}");
    assert!(said.contains("green thread 'work1': "), "{said}");
    assert!(said.contains("boom"), "{said}");
}

#[test]
fn panic_hook_that_was_set_before_is_called() {
    let said = output("program::panic with a hook").stderr;
    assert!(said.contains("green thread 'green-1': my hook: panicked at"), "{said}");
}

#[test]
fn main_return_ends_the_process_and_shutdown_unwinds_before_it() {
    assert_eq!(output("program::main ends first").stdout, "main ends\n");
    assert_eq!(output("program::shutdown").stdout, "unwound\n");
}

#[test]
fn exit_in_a_green_thread_ends_the_process_with_its_code() {
    assert_eq!(output("program::exit").code, 7);
}

#[test]
fn deadlock_ends_the_program_with_the_report() {
    let output = output("program::deadlock");
    assert_eq!(output.code, 101);
    let said = output.stderr;
    assert!(said.contains("deadlock: ") && said.contains("'lonely' waits for what never comes"), "{said}");
}

#[test]
fn deadlock_is_reported_before_deferred_logs() {
    let output = output("program::deadlock while the logger is in use");
    assert_eq!(output.code, 101, "{output:#?}");
    assert!(output.stderr.contains("deadlock: "), "{}", output.stderr);
}

#[test]
fn spawn_without_memory_for_stacks_returns_an_error_from_join_and_the_hub_goes_on() {
    let output = output("program::no memory for stacks");
    let said = output.stdout;
    assert!(output.code == 0, "{said}{}", output.stderr);
    assert!(said.contains("never ran: no memory for a green thread's stack"), "{said}");
    assert!(said.contains("the hub is alive"), "{said}");
}

#[test]
fn handle_current_without_descriptors_returns_an_error_and_the_hub_goes_on() {
    let said = output("program::no file descriptors").stdout;
    assert!(said.contains("no file descriptor for the hub's reactor"), "{said}");
    assert!(said.contains("the hub is alive"), "{said}");
}

#[test]
fn policy_that_panics_aborts_before_borrowed_data_of_a_scope_is_dropped() {
    let output = output("program::a policy that panics");
    assert_eq!(output.code, -libc::SIGABRT);
    assert!(output.stderr.contains("greenline: a policy panicked; aborting"), "{}", output.stderr);
}

#[test]
fn panic_hook_may_sleep() {
    let output = output("program::a hook that blocks");
    assert!(output.code == 0, "{}", output.stderr);
}

#[test]
fn spawn_of_one_stack_that_is_too_large_returns_an_error_from_join() {
    let said = output("program::one stack is too large").stdout;
    assert!(said.contains("never ran: no memory for a green thread's stack of 137438953472 bytes"), "{said}");
}

#[test]
fn spawn_without_memory_for_any_stack_returns_an_error_and_the_hub_goes_on() {
    let output = output("program::no memory for any stack");
    let said = output.stdout;
    assert!(output.code == 0, "{said}{}", output.stderr);
    assert!(said.contains("no memory for a green thread's stack"), "{said}");
    assert!(said.contains("the hub is alive"), "{said}");
}

#[test]
fn logger_may_block_and_call_current() {
    let output = output("program::a logger that calls current");
    let said = output.stdout;
    assert!(output.code == 0, "{said}{}", output.stderr);
    assert!(said.contains(": green thread 'big' never runs"), "{said}");
}
