//! Spawning and joining: order, errors, detaching, waiting for several green threads.

use crate::support::time::{HOUR, ms};
use greenline::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

type Log = Rc<RefCell<Vec<String>>>;

#[test]
fn spawn_runs_nothing_before_the_root_blocks_and_then_in_spawn_order() {
    let log: Log = Rc::default();
    for n in 0..5 {
        let log = log.clone();
        spawn(move || log.borrow_mut().push(n.to_string()));
    }
    assert!(log.borrow().is_empty());
    yield_now();
    assert_eq!(*log.borrow(), ["0", "1", "2", "3", "4"]);
}

#[test]
fn yield_now_in_loops_interleaves_the_green_threads() {
    let log: Log = Rc::default();
    let all: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|name| {
            let log = log.clone();
            spawn(move || {
                for n in 0..3 {
                    log.borrow_mut().push(format!("{name}{n}"));
                    yield_now();
                }
            })
        })
        .collect();
    join_all(all);
    assert_eq!(*log.borrow(), ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]);
}

#[test]
fn join_returns_the_value_before_and_after_the_end() {
    let early = spawn(|| String::from("early"));
    yield_now();
    assert!(early.is_finished());
    assert_eq!(early.join().unwrap(), "early");
    let late = spawn(|| {
        sleep(ms(5));
        vec![1, 2]
    });
    assert!(!late.is_finished());
    assert_eq!(late.join().unwrap(), [1, 2]);
}

#[test]
fn join_after_a_panic_returns_the_payload_and_the_others_run_on() {
    let other = spawn(|| {
        sleep(ms(5));
        7
    });
    let bad = Builder::new().name("bad").spawn(|| -> i32 { std::panic::panic_any(42u8) }).unwrap();
    let error = bad.join().unwrap_err();
    assert_eq!(*error.into_panic().unwrap().downcast::<u8>().unwrap(), 42);
    assert!(!std::thread::panicking());
    assert_eq!(other.join().unwrap(), 7);
    let told = spawn(|| panic!("told {}", 1)).join().unwrap_err();
    assert_eq!(told.to_string(), "the green thread panicked: told 1");
}

#[test]
fn join_handle_dropped_detaches_and_the_value_is_dropped_at_the_end() {
    struct Noisy(Rc<Cell<u32>>);
    impl Drop for Noisy {
        fn drop(&mut self) {
            // A destructor may block, even then.
            yield_now();
            self.0.set(self.0.get() + 1);
        }
    }
    let dropped = Rc::new(Cell::new(0));
    let value = Noisy(dropped.clone());
    drop(spawn(move || {
        yield_now();
        value
    }));
    join_everything();
    assert_eq!(dropped.get(), 1);
    let value = Noisy(dropped.clone());
    let handle = spawn(move || value);
    yield_now();
    assert_eq!(dropped.get(), 1);
    drop(handle);
    assert_eq!(dropped.get(), 2);
}

#[test]
fn join_timeout_expired_returns_the_handle() {
    let slow = spawn(|| {
        sleep(ms(30));
        "done"
    });
    let slow = slow.join_timeout(Duration::ZERO).unwrap_err();
    let slow = slow.join_timeout(ms(1)).unwrap_err();
    assert_eq!(slow.join_timeout(Duration::from_secs(60)).unwrap().unwrap(), "done");
}

#[test]
fn join_all_returns_in_input_order_after_the_slowest() {
    let start = Instant::now();
    let naps = [30, 10, 20];
    let all = join_all(naps.map(|nap| {
        spawn(move || {
            sleep(ms(nap));
            nap
        })
    }));
    assert_eq!(all.into_iter().map(Result::unwrap).collect::<Vec<_>>(), naps);
    assert!(start.elapsed() >= ms(30));
    assert!(join_all(Vec::<JoinHandle<()>>::new()).is_empty());
}

#[test]
fn join_all_timeout_expired_returns_what_has_ended() {
    let all: Vec<_> =
        [Duration::ZERO, HOUR, ms(1)].into_iter().map(|nap| spawn(move || sleep(nap))).collect();
    let ended: Vec<bool> = join_all_timeout(all, ms(50)).iter().map(Result::is_ok).collect();
    assert_eq!(ended, [true, false, true]);
    // The result does not depend on how long ago the hub has read the clock.
    (0..1000).for_each(|_| yield_now());
    let mut polled = join_all_timeout([spawn(|| ())], Duration::ZERO);
    assert!(polled.pop().unwrap().is_err(), "a limit of zero does not wait");
}

#[test]
fn try_join_all_returns_the_earliest_failure_and_the_rest_run_on() {
    let ran_on = Rc::new(Cell::new(false));
    let inside = ran_on.clone();
    let all = vec![
        spawn(move || {
            sleep(ms(20));
            inside.set(true);
        }),
        spawn(|| {
            sleep(ms(5));
            panic!("first")
        }),
        spawn(|| {
            sleep(ms(10));
            panic!("second")
        }),
    ];
    assert!(try_join_all(all).unwrap_err().to_string().ends_with("first"));
    assert!(!ran_on.get());
    join_everything();
    assert!(ran_on.get());
    assert_eq!(try_join_all((0..3).map(|n| spawn(move || n))).unwrap(), [0, 1, 2]);
}

#[test]
fn as_completed_yields_in_the_order_of_the_ends() {
    let turn = Rc::new(Cell::new(0));
    let all = [2, 0, 1].map(|mine| {
        let turn = turn.clone();
        spawn(move || {
            while turn.get() != mine {
                yield_now();
            }
            turn.set(mine + 1);
        })
    });
    let order: Vec<usize> = as_completed(all).map(|(index, _)| index).collect();
    assert_eq!(order, [1, 2, 0]);
    // A green thread that has ended before comes first. A failure counts as an end.
    let ended = spawn(|| ());
    yield_now();
    let all = [spawn(|| sleep(Duration::MAX)), ended, spawn(|| panic!("counts"))];
    let mut completed = as_completed(all);
    assert_eq!(completed.next().unwrap().0, 1);
    assert!(matches!(completed.next(), Some((2, Err(JoinError::Panicked(_))))));
    assert!(completed.next_timeout(Duration::ZERO).is_none());
    let rest = completed.into_rest();
    assert_eq!(rest.len(), 1);
    for (_, handle) in rest {
        handle.kill();
        assert!(matches!(handle.join(), Err(JoinError::Killed)));
    }
}

#[test]
fn join_first_returns_the_first_to_end_and_the_handles_of_the_rest() {
    let all = [3600, 0, 3600, 0].map(|secs| {
        spawn(move || {
            sleep(Duration::from_secs(secs));
            secs
        })
    });
    let (first, rest) = join_first(all, 2);
    assert_eq!(first.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(rest.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2]);
    assert!(kill_all(rest.into_iter().map(|(_, handle)| handle)).iter().all(Result::is_err));
}

#[test]
fn spawn_after_starts_at_its_time_and_equal_times_in_call_order() {
    let log: Log = Rc::default();
    let start = Instant::now();
    let all: Vec<_> = ["x", "y", "z"]
        .into_iter()
        .map(|name| {
            let log = log.clone();
            spawn_after(ms(20), move || log.borrow_mut().push(name.into()))
        })
        .collect();
    let log2 = log.clone();
    spawn(move || log2.borrow_mut().push("now".into()));
    join_all(all);
    assert!(start.elapsed() >= ms(20));
    assert_eq!(*log.borrow(), ["now", "x", "y", "z"]);
}

#[test]
fn current_returns_the_name_and_id_of_the_running_green_thread() {
    assert!(current().is_root());
    let named =
        Builder::new().name("work1").spawn(|| (current().name().to_string(), current().id())).unwrap();
    let id = named.id();
    assert_eq!(&*named.name(), "work1");
    assert_eq!(named.join().unwrap(), ("work1".to_string(), id));
    let unnamed = spawn(|| (current().name().to_string(), current().is_root()));
    assert_ne!(unnamed.id(), id);
    let expected = format!("green-{}", unnamed.id());
    assert_eq!(unnamed.join().unwrap(), (expected, false));
}

#[test]
fn stack_size_is_granted_and_an_impossible_one_refused() {
    #[inline(never)]
    fn deep(left: usize) -> u64 {
        let block = std::hint::black_box([left as u8; 4096]);
        if left == 0 { 0 } else { deep(left - 1) + u64::from(block[left % 4096]) }
    }
    let big = Builder::new().stack_size(16 << 20).spawn(|| deep(1000)).unwrap();
    big.join().unwrap();
    let error = Builder::new().stack_size(usize::MAX).spawn(|| ()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("stack of"), "{error}");
}

#[test]
fn link_runs_in_order_in_green_threads_of_its_own_also_when_late() {
    let log: Log = Rc::default();
    let watched = spawn(|| ());
    let id = watched.id();
    for n in 0..2 {
        let log = log.clone();
        watched.link(move |of| {
            assert!(of == id && !current().is_root() && current().id() != id);
            sleep(ms(1)); // a link may block
            log.borrow_mut().push(n.to_string());
        });
    }
    yield_now();
    let late = log.clone();
    watched.link(move |_| late.borrow_mut().push("late".into()));
    join_everything();
    assert_eq!(*log.borrow(), ["late", "0", "1"]);
}

#[test]
fn spawn_and_join_in_a_green_thread_nest() {
    fn fib(n: u64) -> u64 {
        if n < 2 {
            return n;
        }
        let (a, b) = (spawn(move || fib(n - 1)), spawn(move || fib(n - 2)));
        a.join().unwrap() + b.join().unwrap()
    }
    assert_eq!(spawn(|| fib(12)).join().unwrap(), 144);
}

#[test]
fn spawn_on_two_os_threads_runs_on_two_hubs_at_once() {
    let (to_b, from_a) = std::sync::mpsc::channel();
    let (to_a, from_b) = std::sync::mpsc::channel();
    let hub = |send: std::sync::mpsc::Sender<u32>, receive: std::sync::mpsc::Receiver<u32>| {
        move || {
            // Polls: neither ends unless both hubs run at once.
            let answer = spawn(move || {
                send.send(1).unwrap();
                loop {
                    match receive.try_recv() {
                        Ok(n) => return n,
                        Err(_) => yield_now(),
                    }
                }
            });
            let noise = join_all((0..100).map(|n| spawn(move || n)));
            answer.join().unwrap() + noise.into_iter().map(Result::unwrap).sum::<u32>()
        }
    };
    let a = std::thread::spawn(hub(to_b, from_b));
    let b = std::thread::spawn(hub(to_a, from_a));
    assert_eq!((a.join().unwrap(), b.join().unwrap()), (4951, 4951));
}

#[test]
fn join_of_oneself_panics() {
    let slot: Rc<Cell<Option<JoinHandle<()>>>> = Rc::default();
    let inside = slot.clone();
    let handle = spawn(move || inside.take().unwrap().join().unwrap());
    let (done, watched) = (Rc::new(Cell::new(None)), handle.id());
    let told = done.clone();
    handle.link(move |id| told.set(Some(id)));
    slot.set(Some(handle));
    // It panics instead of waiting for itself. Its handle is dropped by the unwind, so the end is seen by the link.
    join_everything();
    assert_eq!(done.get(), Some(watched));
}

#[test]
fn join_everything_waits_for_detached_green_threads() {
    let done = Rc::new(Cell::new(0));
    for n in 0..10 {
        let done = done.clone();
        drop(spawn(move || {
            sleep(ms(n));
            done.set(done.get() + 1);
        }));
    }
    assert!(!join_everything_timeout(Duration::ZERO));
    join_everything();
    assert_eq!(done.get(), 10);
    assert!(join_everything_timeout(Duration::ZERO));
    assert!(spawn(join_everything).join().is_err(), "a green thread would wait for itself");
}

#[test]
fn join_everything_survives_payloads_and_values_that_panic_when_dropped() {
    struct Bomb(u32);
    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 > 0 {
                std::panic::panic_any(Bomb(self.0 - 1));
            }
        }
    }
    for n in 1..4 {
        drop(spawn(move || std::panic::panic_any(Bomb(n))));
        drop(spawn(move || Bomb(n)));
        yield_now();
        yield_now();
    }
    join_everything();
    assert_eq!(spawn(|| 3).join().unwrap(), 3);
}

#[test]
fn join_handle_leaked_drops_the_value_when_the_os_thread_ends() {
    struct Yields(std::sync::mpsc::Sender<()>);
    impl Drop for Yields {
        fn drop(&mut self) {
            yield_now();
            self.0.send(()).unwrap();
        }
    }
    let (say, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        std::mem::forget(spawn(|| Yields(say)));
        yield_now();
    })
    .join()
    .unwrap();
    assert_eq!(heard.try_iter().count(), 1);
}
