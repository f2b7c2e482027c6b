//! Random programs against a simple model: what each green thread does is a list of steps, and what must come
//! of it can be said without running it.

use greenline::*;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Yield,
    /// Microseconds.
    Sleep(u64),
    /// Spawns a child with these steps and joins it.
    Child(Vec<Step>),
    /// Spawns a child with these steps and lets it go.
    Detached(Vec<Step>),
    /// Kills the green thread with this number (of those spawned so far, modulo).
    Kill(usize),
    /// Limits a nap: microseconds, microseconds.
    Timeout(u64, u64),
    Scope(Vec<Step>),
    Generator(u8),
    Panic,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let leaf = prop_oneof![
        4 => Just(Step::Yield),
        4 => (0u64..300).prop_map(Step::Sleep),
        2 => (0usize..64).prop_map(Step::Kill),
        2 => (0u64..200, 0u64..200).prop_map(|(limit, nap)| Step::Timeout(limit, nap)),
        1 => (0u8..5).prop_map(Step::Generator),
        1 => Just(Step::Panic),
    ];
    let nested = leaf.prop_recursive(3, 40, 6, |inner| {
        let list = prop::collection::vec(inner, 0..5);
        prop_oneof![
            list.clone().prop_map(Step::Child),
            list.clone().prop_map(Step::Detached),
            list.prop_map(Step::Scope),
        ]
    });
    prop::collection::vec(nested, 0..8)
}

/// The state that all green threads of one run share.
#[derive(Default)]
struct World {
    /// Bodies entered and not yet left, by whatever way.
    inside: Cell<usize>,
    entered: Cell<usize>,
    killable: RefCell<Vec<JoinHandle<()>>>,
    kills: Cell<usize>,
}

/// Counts a body in, and out when it is left.
struct Inside(Rc<World>);

impl Inside {
    fn new(world: &Rc<World>) -> Inside {
        world.inside.set(world.inside.get() + 1);
        world.entered.set(world.entered.get() + 1);
        Inside(world.clone())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        struct Out<'a>(&'a World);
        impl Drop for Out<'_> {
            fn drop(&mut self) {
                self.0.inside.set(self.0.inside.get() - 1);
            }
        }
        // A destructor may block, whatever it is that ends the body. If that is a return, a kill may be
        // delivered here, too.
        let _out = Out(&self.0);
        yield_now();
    }
}

fn perform(steps: Vec<Step>, world: &Rc<World>) {
    let _inside = Inside::new(world);
    for step in steps {
        match step {
            Step::Yield => yield_now(),
            Step::Sleep(us) => {
                let start = std::time::Instant::now();
                let nap = Duration::from_micros(us);
                sleep(nap);
                assert!(start.elapsed() >= nap);
            }
            Step::Child(steps) => {
                let world = world.clone();
                let _ = spawn(move || perform(steps, &world)).join();
            }
            Step::Detached(steps) => {
                let inside = world.clone();
                let handle = spawn(move || perform(steps, &inside));
                world.killable.borrow_mut().push(handle);
            }
            Step::Kill(n) => {
                let killable = world.killable.borrow();
                if !killable.is_empty() && killable[n % killable.len()].kill() {
                    world.kills.set(world.kills.get() + 1);
                }
            }
            Step::Timeout(limit, nap) => {
                let start = std::time::Instant::now();
                let (limit, nap) = (Duration::from_micros(limit), Duration::from_micros(nap));
                match timeout(limit, || sleep(nap)) {
                    Ok(()) => assert!(start.elapsed() >= nap),
                    Err(_) => assert!(start.elapsed() >= limit),
                }
            }
            Step::Scope(steps) => {
                let done = Cell::new(0);
                let _ = scope(|s| {
                    let halves = steps.split_at(steps.len() / 2);
                    let body = |steps: &[Step]| {
                        let steps = steps.to_vec();
                        || {
                            perform(steps, world);
                            done.set(done.get() + 1);
                        }
                    };
                    let (a, b) = (s.spawn(body(halves.0)), s.spawn(body(halves.1)));
                    (a.join().is_ok(), b.join().is_ok())
                });
            }
            Step::Generator(n) => {
                let mut numbers = Generator::new(move |y| {
                    for i in 0..n {
                        yield_now();
                        y.yield_(i);
                    }
                });
                assert_eq!(numbers.next(), (n > 0).then_some(0));
            }
            Step::Panic => std::panic::resume_unwind(Box::new("a step")),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is spawned ends; every body that was entered is left, by return, panic or unwind; every
    /// handle gets its answer; nothing is alive at the end, and the hub is as good as new.
    #[test]
    fn everything_ends_and_is_accounted_for(programs in prop::collection::vec(steps(), 1..6)) {
        let world = Rc::new(World::default());
        let mains: Vec<_> = programs
            .into_iter()
            .map(|steps| {
                let world = world.clone();
                spawn(move || perform(steps, &world))
            })
            .collect();
        let ends = join_all(mains);
        prop_assert!(ends.iter().all(|end| matches!(end, Ok(()) | Err(JoinError::Panicked(_)))));
        join_everything();
        prop_assert_eq!(world.inside.get(), 0);
        prop_assert!(world.entered.get() >= ends.len());
        prop_assert_eq!(stats().alive, 0);
        let detached = world.killable.take();
        prop_assert!(detached.iter().all(JoinHandle::is_finished));
        let killed = join_all(detached).iter().filter(|end| matches!(end, Err(JoinError::Killed))).count();
        prop_assert!(killed <= world.kills.get());
        prop_assert_eq!(spawn(|| 1).join().unwrap(), 1);
    }

    /// Under FIFO, who yields n times takes its turns in spawn order, round after round.
    #[test]
    fn yields_take_turns(turns in prop::collection::vec(0usize..6, 1..20)) {
        let log: Rc<RefCell<Vec<(usize, usize)>>> = Rc::default();
        let all: Vec<_> = turns
            .iter()
            .enumerate()
            .map(|(who, &turns)| {
                let log = log.clone();
                spawn(move || {
                    for turn in 0..turns {
                        log.borrow_mut().push((turn, who));
                        yield_now();
                    }
                })
            })
            .collect();
        join_all(all);
        let mut model: Vec<(usize, usize)> =
            turns.iter().enumerate().flat_map(|(who, &turns)| (0..turns).map(move |turn| (turn, who))).collect();
        model.sort_unstable();
        prop_assert_eq!(&*log.borrow(), &model);
    }

    /// Sleepers wake in the order of their deadlines, and equal ones in the order in which they slept.
    #[test]
    fn sleepers_wake_in_order(naps in prop::collection::vec(0u64..8, 1..30)) {
        let log: Rc<RefCell<Vec<(u64, usize)>>> = Rc::default();
        let late = Rc::new(Cell::new(false));
        let base = std::time::Instant::now() + Duration::from_millis(2);
        let all: Vec<_> = naps
            .iter()
            .enumerate()
            .map(|(who, &nap)| {
                let (log, late) = (log.clone(), late.clone());
                spawn(move || {
                    late.set(late.get() || std::time::Instant::now() >= base);
                    sleep_until(base + Duration::from_micros(nap * 100));
                    log.borrow_mut().push((nap, who));
                })
            })
            .collect();
        join_all(all);
        let mut model: Vec<(u64, usize)> = naps.iter().copied().zip(0..).collect();
        model.sort_unstable();
        // Had a deadline passed before its sleeper slept, the order would be another's: then nothing is said.
        prop_assume!(!late.get());
        prop_assert_eq!(&*log.borrow(), &model);
    }
}
