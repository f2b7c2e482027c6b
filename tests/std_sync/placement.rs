//! The threads that take part in a test: of one hub, of two hubs, or of a hub and OS threads.

use crate::support::threads::os_thread;
use greenline::patch;
use greenline::thread::Thread;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::thread;

/// Where the threads of a test run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Placement {
    OneHub,
    /// The threads with even numbers run on one hub, those with odd numbers on the other.
    TwoHubs,
    /// The threads with even numbers are green threads, those with odd numbers are OS threads without a hub.
    HubAndOsThreads,
}

/// Patches the process, and runs `case` in each placement.
pub(crate) fn in_each_placement(case: impl Fn(Placement)) {
    patch::all();
    for placement in [Placement::OneHub, Placement::TwoHubs, Placement::HubAndOsThreads] {
        case(placement);
    }
}

type Body = Arc<dyn Fn(usize) + Send + Sync>;

impl Placement {
    /// Runs `body(0)` to `body(n - 1)` in a thread each. Returns when all have ended.
    pub(crate) fn run(self, n: usize, body: impl Fn(usize) + Send + Sync + 'static) {
        let used = Arc::new(Mutex::new(HashSet::new()));
        let seen = used.clone();
        let body: Body = Arc::new(move |number| {
            used.lock().unwrap().insert(os_thread());
            body(number);
        });
        let (even, odd): (Vec<usize>, Vec<usize>) = (0..n).partition(|number| number % 2 == 0);
        let os_threads = match self {
            Placement::OneHub => {
                join(green(&body, 0..n));
                1..=1
            }
            Placement::TwoHubs => {
                let hubs = [even, odd].map(|which| {
                    let body = body.clone();
                    let hub = Thread::new(move || {
                        patch::all();
                        join(green(&body, which));
                    });
                    hub.start().unwrap()
                });
                hubs.into_iter().for_each(|hub| hub.join().unwrap());
                n.min(2)..=2
            }
            Placement::HubAndOsThreads => {
                // The kernel may give the id of an OS thread that has ended to the next one.
                let most = 1 + odd.len();
                let real = |number| {
                    let body = body.clone();
                    Thread::new(move || body(number)).start().unwrap()
                };
                let real: Vec<_> = odd.into_iter().map(real).collect();
                join(green(&body, even));
                real.into_iter().for_each(|one| one.join().unwrap());
                most.min(2)..=most
            }
        };
        let seen = seen.lock().unwrap().len();
        assert!(os_threads.contains(&seen), "{self:?}: {seen} OS threads");
    }
}

/// Starts threads of std, which are green threads where there is a hub.
fn green(body: &Body, which: impl IntoIterator<Item = usize>) -> Vec<thread::JoinHandle<()>> {
    let start = |number| {
        let body = body.clone();
        thread::spawn(move || body(number))
    };
    which.into_iter().map(start).collect()
}

fn join(threads: Vec<thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|one| one.join().unwrap());
}
