//! Every model gives the same results, errors and waits. All tests run first unpatched, then after `patch::all()`.
//!
//! A fork needs a process with one OS thread. Therefore this file has its own `main`, which runs the tests in sequence.

use greenline::net::UnixStream;
use greenline_process::model::{Model, Worker, WorkerError};
use libtest_mimic::{Arguments, Failed, Trial};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::time::Duration;

/// Longer than any wait of these tests takes, even on a busy machine.
const LONG: Duration = Duration::from_secs(60);

macro_rules! named {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), $name)),*]
    };
}

/// The tests that run once for each model.
const TESTS: &[(&str, fn(Model))] = named![
    join_returns_result_of_closure,
    join_returns_result_of_8_mib,
    join_of_panicking_worker_is_panicked_with_message,
    join_of_unserializable_result_is_codec_error_of_process,
    join_timeout_gives_worker_back_while_it_runs,
    is_finished_is_true_after_end,
    join_blocks_only_its_green_thread,
    spawn_inside_green_thread_works,
    join_in_other_order_than_spawn_works,
    drop_of_worker_detaches_it,
    spawn_inside_worker_works,
    join_and_drop_leave_no_descriptor_and_no_zombie,
];

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let mut conclusion = libtest_mimic::run(&arguments, trials("plain"));
    if cfg!(feature = "patch") && !conclusion.has_failed() {
        #[cfg(feature = "patch")]
        greenline::patch::all();
        conclusion = libtest_mimic::run(&arguments, trials("patched"));
    }
    conclusion.exit();
}

fn trials(when: &str) -> Vec<Trial> {
    let mut trials = Vec::new();
    for &(name, test) in TESTS {
        for model in Model::ALL {
            trials.push(trial(format!("{when}: {model}: {name}"), move || test(model)));
        }
    }
    let tests: &[(&str, fn())] = named![
        join_of_dying_process_is_died_with_exit_code,
        join_of_killed_green_thread_is_killed,
        model_all_names_and_worker_model_agree,
    ];
    for &(name, test) in tests {
        trials.push(trial(format!("{when}: {name}"), test));
    }
    trials
}

/// Wraps one test. If the test hangs, SIGALRM ends the whole program.
fn trial(name: String, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        wait_for_single_os_thread();
        // SAFETY: `alarm` takes no pointers.
        unsafe { libc::alarm(100) };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
        // SAFETY: as above.
        unsafe { libc::alarm(0) };
        ended.map_err(|payload| {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Failed::from(text.unwrap_or_else(|| "the test panicked".into()))
        })
    })
}

/// Waits until the kernel has removed all joined OS threads. Until then, no process can be started.
fn wait_for_single_os_thread() {
    let others = || {
        let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| !name.starts_with("greenline-watch")).count()
    };
    while others() > 1 {
        std::thread::yield_now();
    }
}

fn spawn<T>(model: Model, f: impl FnOnce() -> T + Send + 'static) -> Worker<T>
where
    T: Serialize + for<'de> Deserialize<'de> + Send + 'static,
{
    model.spawn(f).unwrap()
}

/// Starts a worker that has begun to run, and returns the byte that it is sent. It panics if that byte is 255.
fn start_receiver(model: Model) -> (UnixStream, Worker<u8>) {
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let worker = spawn(model, move || {
        there.write_all(b"!").unwrap();
        let received = byte(&mut there);
        assert_ne!(received, 255, "panic on request");
        received
    });
    assert_eq!(byte(&mut here), b'!');
    (here, worker)
}

fn byte(from: &mut UnixStream) -> u8 {
    let mut byte = [0];
    from.read_exact(&mut byte).unwrap();
    byte[0]
}

fn join_returns_result_of_closure(model: Model) {
    let captured = String::from("the text that it captures");
    let worker = spawn(model, move || {
        let lengths: BTreeMap<String, usize> =
            captured.split(' ').map(|word| (word.to_owned(), word.len())).collect();
        (lengths, Some(captured), 2.5)
    });
    assert_eq!(worker.model(), model);
    let (lengths, text, number) = worker.join().unwrap();
    assert_eq!((lengths["captures"], lengths.len()), (8, 5));
    assert_eq!((text.as_deref(), number), (Some("the text that it captures"), 2.5));
    spawn(model, || ()).join().unwrap();
    let error_result: Result<u8, String> =
        spawn(model, || Err("an error as a result".into())).join().unwrap();
    assert_eq!(error_result, Err("an error as a result".into()));
}

/// The result is larger than the buffer of a pipe or a socket.
fn join_returns_result_of_8_mib(model: Model) {
    let numbers = |from: u64| (from..from + (1 << 20)).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let workers = [1, 2, 3].map(|from| spawn(model, move || numbers(from).collect::<Vec<u64>>()));
    for (worker, from) in workers.into_iter().zip(1..) {
        assert!(worker.join().unwrap().into_iter().eq(numbers(from)));
    }
}

fn join_of_panicking_worker_is_panicked_with_message(model: Model) {
    quietly(|| {
        let said = |worker: Worker<()>| match worker.join() {
            Err(WorkerError::Panicked(message)) => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(said(spawn(model, || panic!("no more wood"))), "no more wood");
        // The black box keeps the compiler from formatting the message at compile time: the payload is a `String`.
        let left = std::hint::black_box(3);
        assert_eq!(said(spawn(model, move || panic!("{left} pieces left"))), "3 pieces left");
        assert_eq!(said(spawn(model, || std::panic::panic_any(5))), "Box<dyn Any>");
        let error = spawn(model, || -> () { panic!("no more wood") }).join().unwrap_err();
        assert_eq!(error.to_string(), "the worker panicked: no more wood");
    });
}

/// Runs `f` without the panic hook, which would print a message for each expected panic.
fn quietly(f: impl FnOnce()) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    std::panic::set_hook(hook);
    ended.unwrap_or_else(|payload| std::panic::resume_unwind(payload));
}

/// A type whose serialization or deserialization fails.
#[derive(Debug, PartialEq)]
enum Failing {
    Serialization,
    Deserialization,
}

impl Serialize for Failing {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Failing::Serialization => Err(serde::ser::Error::custom("cannot be serialized")),
            Failing::Deserialization => to.serialize_u8(1),
        }
    }
}

impl<'de> Deserialize<'de> for Failing {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Failing, D::Error> {
        u8::deserialize(from)?;
        Err(serde::de::Error::custom("cannot be deserialized"))
    }
}

/// Only a result that crosses to another process is serialized.
fn join_of_unserializable_result_is_codec_error_of_process(model: Model) {
    let (not_serialized, not_deserialized) =
        (spawn(model, || Failing::Serialization).join(), spawn(model, || Failing::Deserialization).join());
    if model == Model::Process {
        assert!(matches!(not_serialized, Err(WorkerError::Codec(_))), "{not_serialized:?}");
        assert!(matches!(not_deserialized, Err(WorkerError::Codec(_))), "{not_deserialized:?}");
    } else {
        assert_eq!(
            (not_serialized.unwrap(), not_deserialized.unwrap()),
            (Failing::Serialization, Failing::Deserialization)
        );
    }
}

fn join_timeout_gives_worker_back_while_it_runs(model: Model) {
    let (mut to_worker, worker) = start_receiver(model);
    let worker = worker.join_timeout(Duration::ZERO).unwrap_err();
    let worker = worker.join_timeout(Duration::from_millis(5)).unwrap_err();
    to_worker.write_all(&[7]).unwrap();
    assert_eq!(worker.join_timeout(LONG).unwrap().unwrap(), 7);
    quietly(|| {
        let (mut to_worker, worker) = start_receiver(model);
        let worker = worker.join_timeout(Duration::from_millis(1)).unwrap_err();
        to_worker.write_all(&[255]).unwrap();
        let error = worker.join_timeout(LONG).unwrap().unwrap_err();
        assert!(matches!(error, WorkerError::Panicked(_)), "{error:?}");
    });
}

fn is_finished_is_true_after_end(model: Model) {
    let (mut to_worker, worker) = start_receiver(model);
    assert!(!worker.is_finished());
    to_worker.write_all(&[8]).unwrap();
    while !worker.is_finished() {
        greenline::sleep(Duration::from_millis(1));
    }
    assert_eq!(worker.join().unwrap(), 8);
}

/// If `join` blocked the whole OS thread, the green thread that ends the worker would not run.
fn join_blocks_only_its_green_thread(model: Model) {
    let (mut to_worker, worker) = start_receiver(model);
    let worker = std::cell::Cell::new(Some(worker));
    let join = move || worker.take().unwrap().join().unwrap();
    let joiner = greenline::spawn(join);
    let other = greenline::spawn(move || {
        for _ in 0..3 {
            greenline::yield_now();
        }
        to_worker.write_all(&[9]).unwrap();
    });
    assert_eq!(joiner.join().unwrap(), 9);
    other.join().unwrap();
}

fn spawn_inside_green_thread_works(model: Model) {
    let greens = (0..3u8).map(|n| {
        greenline::spawn(move || {
            greenline::yield_now();
            spawn(model, move || n * 2).join().unwrap()
        })
    });
    let results: Vec<u8> = match model {
        // In sequence, because no process can be started while there are other OS threads.
        Model::OsThread | Model::Process => greens.map(|green| green.join().unwrap()).collect(),
        Model::Green => greenline::join_all(greens).into_iter().map(Result::unwrap).collect(),
    };
    assert_eq!(results, [0, 2, 4]);
}

fn join_in_other_order_than_spawn_works(model: Model) {
    let (mut to_first, first) = start_receiver(model);
    let (mut to_second, second) = start_receiver(model);
    to_second.write_all(&[2]).unwrap();
    assert_eq!(second.join().unwrap(), 2);
    to_first.write_all(&[1]).unwrap();
    assert_eq!(first.join().unwrap(), 1);
}

fn drop_of_worker_detaches_it(model: Model) {
    let (mut here, mut there) = UnixStream::pair().unwrap();
    drop(spawn(model, move || {
        let received = byte(&mut there);
        there.write_all(&[received + 1]).unwrap();
    }));
    here.write_all(&[1]).unwrap();
    assert_eq!(byte(&mut here), 2);
}

fn spawn_inside_worker_works(model: Model) {
    let sum = spawn(model, move || {
        let inner: Vec<_> = (1..=3u32).map(|n| spawn(model, move || n * 10)).collect();
        inner.into_iter().map(|worker| worker.join().unwrap()).sum::<u32>()
    });
    assert_eq!(sum.join().unwrap(), 60);
}

fn join_and_drop_leave_no_descriptor_and_no_zombie(model: Model) {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let round = || {
        quietly(|| {
            spawn(model, || [0u8; 32]).join().unwrap();
            spawn(model, || -> () { panic!("on purpose") }).join().unwrap_err();
            drop(spawn(model, || ()));
            let _ = spawn(model, || ()).join_timeout(LONG).unwrap();
        });
        if model == Model::Process {
            spawn(model, || kill_me(libc::SIGKILL)).join().unwrap_err();
        }
        if model == Model::Green {
            greenline::yield_now();
        }
        wait_for_single_os_thread();
        while !greenline_process::active_children().is_empty() {
            std::thread::yield_now();
        }
    };
    // The first round creates the hub and its reactor.
    round();
    let before = descriptors();
    for _ in 0..10 {
        round();
    }
    assert_eq!(descriptors(), before);
    // SAFETY: the status pointer is null, so the kernel writes nothing.
    assert_eq!(unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) }, -1, "a child is left");
}

fn kill_me(signal: i32) {
    // SAFETY: `raise` takes no pointers.
    unsafe { libc::raise(signal) };
}

fn exit(code: i32) {
    std::process::exit(code)
}

fn died<T: Debug>(end: Result<T, WorkerError>) -> i32 {
    match end {
        Err(WorkerError::Died { exit }) => exit,
        other => panic!("{other:?}"),
    }
}

fn join_of_dying_process_is_died_with_exit_code() {
    assert_eq!(died(Model::Process.spawn(|| kill_me(libc::SIGKILL)).unwrap().join()), -libc::SIGKILL);
    assert_eq!(
        died(Model::Process.spawn(|| kill_me(libc::SIGTERM)).unwrap().join_timeout(LONG).unwrap()),
        -15
    );
    assert_eq!(died(Model::Process.spawn(|| exit(7)).unwrap().join()), 7);
    assert_eq!(died(Model::Process.spawn(|| exit(0)).unwrap().join()), 0);
    let error = Model::Process.spawn(|| kill_me(libc::SIGKILL)).unwrap().join().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the worker's process was ended by signal 9 before it had delivered a result"
    );
    let error = Model::Process.spawn(|| exit(7)).unwrap().join().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the worker's process ended with exit code 7 before it had delivered a result"
    );
}

fn join_of_killed_green_thread_is_killed() {
    let worker = Model::Green.spawn(|| greenline::sleep(Duration::MAX)).unwrap();
    greenline::yield_now();
    greenline::shutdown();
    let end = worker.join();
    assert!(matches!(end, Err(WorkerError::Killed)), "{end:?}");
}

fn model_all_names_and_worker_model_agree() {
    assert_eq!(Model::ALL.map(Model::name), ["green thread", "OS thread", "process"]);
    for model in Model::ALL {
        let worker = model.spawn(|| 6 * 7).unwrap();
        assert_eq!((worker.model(), model.to_string()), (model, model.name().to_owned()));
        assert_eq!(worker.join().unwrap(), 42);
    }
}
