//! The three models do the same: results, failures, waiting. All of it first without a patch, then with everything patched.
//!
//! Forking wants one OS thread, so this is a `main` of its own that runs one test after the other on its only one.

use greenline::model::{ALL, AnyModel, Green, Model, OsThread, Process, Worker, WorkerError};
use greenline::net::UnixStream;
use libtest_mimic::{Arguments, Failed, Trial};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::time::Duration;

/// Longer than anything takes here, on a busy machine.
const LONG: Duration = Duration::from_secs(60);

const TESTS: &[(&str, fn(AnyModel))] = &[
    ("results", results),
    ("a large result", a_large_result),
    ("a panic is an error with its message", panics),
    ("what cannot be encoded", what_cannot_be_encoded),
    ("joined for a time", joined_for_a_time),
    ("asked whether it has finished", asked_whether_it_has_finished),
    ("joined by a green thread while others go on", joined_while_others_go_on),
    ("spawned by a green thread", spawned_by_a_green_thread),
    ("joined in another order", joined_in_another_order),
    ("dropped, it goes on", dropped_it_goes_on),
    ("workers of workers", workers_of_workers),
    ("nothing is left behind", nothing_is_left_behind),
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
        for model in ALL {
            trials.push(trial(format!("{when}: {model}: {name}"), move || test(model)));
        }
    }
    for (name, test) in [
        ("a process that dies says how", dies_before_it_answers as fn()),
        ("a green thread that is killed says so", killed),
        ("the three values and the enum are alike", the_three_values),
    ] {
        trials.push(trial(format!("{when}: {name}"), test));
    }
    trials
}

/// One test, which does not hang: SIGALRM ends the whole file first.
fn trial(name: String, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        settle();
        // SAFETY: no pointers.
        unsafe { libc::alarm(100) };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
        // SAFETY: as above.
        unsafe { libc::alarm(0) };
        ended.map_err(|payload| {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Failed::from(text.unwrap_or_else(|| "it panicked".into()))
        })
    })
}

/// Waits until the OS threads that were joined are gone for the kernel, too: until then no process can be started.
fn settle() {
    let others = || {
        let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| !name.starts_with("greenline-watch")).count()
    };
    while others() > 1 {
        std::thread::yield_now();
    }
}

fn spawn<T>(model: AnyModel, f: impl FnOnce() -> T + Send + 'static) -> Worker<T>
where
    T: Serialize + for<'de> Deserialize<'de> + Send + 'static,
{
    model.spawn(f).unwrap()
}

/// A worker that has said that it has begun, and answers what it is told; told 255 it panics.
fn waits(model: AnyModel) -> (UnixStream, Worker<u8>) {
    let (mut here, mut there) = UnixStream::pair().unwrap();
    let worker = spawn(model, move || {
        there.write_all(b"!").unwrap();
        let told = byte(&mut there);
        assert_ne!(told, 255, "told to panic");
        told
    });
    assert_eq!(byte(&mut here), b'!');
    (here, worker)
}

fn byte(from: &mut UnixStream) -> u8 {
    let mut byte = [0];
    from.read_exact(&mut byte).unwrap();
    byte[0]
}

fn results(model: AnyModel) {
    let captured = String::from("what it captures is there");
    let worker = spawn(model, move || {
        let lengths: BTreeMap<String, usize> =
            captured.split(' ').map(|word| (word.to_owned(), word.len())).collect();
        (lengths, Some(captured), 2.5)
    });
    assert_eq!(worker.model(), model);
    let (lengths, text, number) = worker.join().unwrap();
    assert_eq!((lengths["captures"], lengths.len()), (8, 5));
    assert_eq!((text.as_deref(), number), (Some("what it captures is there"), 2.5));
    spawn(model, || ()).join().unwrap();
    let refused: Result<u8, String> = spawn(model, || Err("an answer as any other".into())).join().unwrap();
    assert_eq!(refused, Err("an answer as any other".into()));
}

/// More than a pipe or a socket would take.
fn a_large_result(model: AnyModel) {
    let numbers = |from: u64| (from..from + (1 << 20)).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let workers = [1, 2, 3].map(|from| spawn(model, move || numbers(from).collect::<Vec<u64>>()));
    for (worker, from) in workers.into_iter().zip(1..) {
        assert!(worker.join().unwrap().into_iter().eq(numbers(from)));
    }
}

fn panics(model: AnyModel) {
    quietly(|| {
        let said = |worker: Worker<()>| match worker.join() {
            Err(WorkerError::Panicked(message)) => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(said(spawn(model, || panic!("no more wood"))), "no more wood");
        // Not known to the compiler, which would make it one text.
        let left = std::hint::black_box(3);
        assert_eq!(said(spawn(model, move || panic!("{left} pieces left"))), "3 pieces left");
        assert_eq!(said(spawn(model, || std::panic::panic_any(5))), "Box<dyn Any>");
        let error = spawn(model, || -> () { panic!("no more wood") }).join().unwrap_err();
        assert_eq!(error.to_string(), "the worker panicked: no more wood");
    });
}

/// Without what the panic hook says, of which the test would print pages.
fn quietly(f: impl FnOnce()) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    std::panic::set_hook(hook);
    ended.unwrap_or_else(|payload| std::panic::resume_unwind(payload));
}

/// Refuses to be written down, or to be read.
#[derive(Debug, PartialEq)]
enum Odd {
    Unwritable,
    Unreadable,
}

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Odd::Unwritable => Err(serde::ser::Error::custom("too odd to be written")),
            Odd::Unreadable => to.serialize_u8(1),
        }
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Odd, D::Error> {
        u8::deserialize(from)?;
        Err(serde::de::Error::custom("too odd to be read"))
    }
}

/// What does not leave its memory need not be encoded; what does says why it cannot.
fn what_cannot_be_encoded(model: AnyModel) {
    let (unwritable, unreadable) =
        (spawn(model, || Odd::Unwritable).join(), spawn(model, || Odd::Unreadable).join());
    if model == AnyModel::Process {
        assert!(matches!(unwritable, Err(WorkerError::Codec(_))), "{unwritable:?}");
        assert!(matches!(unreadable, Err(WorkerError::Codec(_))), "{unreadable:?}");
    } else {
        assert_eq!((unwritable.unwrap(), unreadable.unwrap()), (Odd::Unwritable, Odd::Unreadable));
    }
}

fn joined_for_a_time(model: AnyModel) {
    let (mut told, worker) = waits(model);
    let worker = worker.join_timeout(Duration::ZERO).unwrap_err();
    let worker = worker.join_timeout(Duration::from_millis(5)).unwrap_err();
    told.write_all(&[7]).unwrap();
    assert_eq!(worker.join_timeout(LONG).unwrap().unwrap(), 7);
    quietly(|| {
        let (mut told, worker) = waits(model);
        let worker = worker.join_timeout(Duration::from_millis(1)).unwrap_err();
        told.write_all(&[255]).unwrap();
        let error = worker.join_timeout(LONG).unwrap().unwrap_err();
        assert!(matches!(error, WorkerError::Panicked(_)), "{error:?}");
    });
}

fn asked_whether_it_has_finished(model: AnyModel) {
    let (mut told, worker) = waits(model);
    assert!(!worker.is_finished());
    told.write_all(&[8]).unwrap();
    while !worker.is_finished() {
        greenline::sleep(Duration::from_millis(1));
    }
    assert_eq!(worker.join().unwrap(), 8);
}

/// If joining blocked more than who joins, nobody would tell the worker to end.
fn joined_while_others_go_on(model: AnyModel) {
    let (mut told, worker) = waits(model);
    let worker = std::cell::Cell::new(Some(worker));
    let join = move || worker.take().unwrap().join().unwrap();
    let joiner = greenline::spawn(join);
    let other = greenline::spawn(move || {
        for _ in 0..3 {
            greenline::yield_now();
        }
        told.write_all(&[9]).unwrap();
    });
    assert_eq!(joiner.join().unwrap(), 9);
    other.join().unwrap();
}

fn spawned_by_a_green_thread(model: AnyModel) {
    let greens = (0..3u8).map(|n| {
        greenline::spawn(move || {
            greenline::yield_now();
            spawn(model, move || n * 2).join().unwrap()
        })
    });
    let answers: Vec<u8> = match model {
        // One after the other: no process can be started while there are other OS threads.
        AnyModel::OsThread | AnyModel::Process => greens.map(|green| green.join().unwrap()).collect(),
        AnyModel::Green => greenline::join_all(greens).into_iter().map(Result::unwrap).collect(),
    };
    assert_eq!(answers, [0, 2, 4]);
}

fn joined_in_another_order(model: AnyModel) {
    let (mut told_first, first) = waits(model);
    let (mut told_second, second) = waits(model);
    told_second.write_all(&[2]).unwrap();
    assert_eq!(second.join().unwrap(), 2);
    told_first.write_all(&[1]).unwrap();
    assert_eq!(first.join().unwrap(), 1);
}

fn dropped_it_goes_on(model: AnyModel) {
    let (mut here, mut there) = UnixStream::pair().unwrap();
    drop(spawn(model, move || {
        let told = byte(&mut there);
        there.write_all(&[told + 1]).unwrap();
    }));
    here.write_all(&[1]).unwrap();
    assert_eq!(byte(&mut here), 2);
}

fn workers_of_workers(model: AnyModel) {
    let sum = spawn(model, move || {
        let inner: Vec<_> = (1..=3u32).map(|n| spawn(model, move || n * 10)).collect();
        inner.into_iter().map(|worker| worker.join().unwrap()).sum::<u32>()
    });
    assert_eq!(sum.join().unwrap(), 60);
}

/// Neither descriptors nor zombies, however a worker ends.
fn nothing_is_left_behind(model: AnyModel) {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let round = || {
        quietly(|| {
            spawn(model, || [0u8; 32]).join().unwrap();
            spawn(model, || -> () { panic!("on purpose") }).join().unwrap_err();
            drop(spawn(model, || ()));
            let _ = spawn(model, || ()).join_timeout(LONG).unwrap();
        });
        if model == AnyModel::Process {
            spawn(model, || kill_me(libc::SIGKILL)).join().unwrap_err();
        }
        if model == AnyModel::Green {
            greenline::yield_now();
        }
        settle();
        while !greenline::process::active_children().is_empty() {
            std::thread::yield_now();
        }
    };
    // What is made once: a hub, its reactor.
    round();
    let before = descriptors();
    for _ in 0..10 {
        round();
    }
    assert_eq!(descriptors(), before);
    // SAFETY: nothing is written.
    assert_eq!(unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) }, -1, "a child is left");
}

fn kill_me(signal: i32) {
    // SAFETY: no pointers.
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

fn dies_before_it_answers() {
    assert_eq!(died(Process.spawn(|| kill_me(libc::SIGKILL)).unwrap().join()), -libc::SIGKILL);
    assert_eq!(died(Process.spawn(|| kill_me(libc::SIGTERM)).unwrap().join_timeout(LONG).unwrap()), -15);
    assert_eq!(died(Process.spawn(|| exit(7)).unwrap().join()), 7);
    assert_eq!(died(Process.spawn(|| exit(0)).unwrap().join()), 0);
    let error = Process.spawn(|| kill_me(libc::SIGKILL)).unwrap().join().unwrap_err();
    assert_eq!(error.to_string(), "the worker's process was ended by signal 9 before it had answered");
    let error = Process.spawn(|| exit(7)).unwrap().join().unwrap_err();
    assert_eq!(error.to_string(), "the worker's process ended with exit code 7 before it had answered");
}

fn killed() {
    let worker = Green.spawn(|| greenline::sleep(Duration::MAX)).unwrap();
    greenline::yield_now();
    greenline::shutdown();
    let end = worker.join();
    assert!(matches!(end, Err(WorkerError::Killed)), "{end:?}");
}

fn the_three_values() {
    fn once(model: impl Model) -> (&'static str, AnyModel, u32) {
        let worker = model.spawn(|| 6 * 7).unwrap();
        (model.name(), worker.model(), worker.join().unwrap())
    }
    assert_eq!(once(Green), ("green thread", AnyModel::Green, 42));
    assert_eq!(once(OsThread), ("OS thread", AnyModel::OsThread, 42));
    assert_eq!(once(Process), ("process", AnyModel::Process, 42));
    assert_eq!(ALL.map(|model| once(model).1), ALL);
}
