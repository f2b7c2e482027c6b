//! `pthread_barrier_*`.

use crate::c::*;
use crate::support::threads::*;
use greenline::patch;
use libc::pthread_barrier_t;
use std::ptr::null;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

fn counters(n: usize) -> Arc<Vec<AtomicUsize>> {
    Arc::new((0..n).map(|_| AtomicUsize::new(0)).collect())
}

#[test]
fn pthread_barrier_wait_releases_all_and_selects_one() {
    patch::all();
    const ROUNDS: usize = 100;
    const ALL: usize = 7;
    let (barrier, selected, arrived) = (barrier(ALL as u32), counters(ROUNDS), Arc::new(AtomicUsize::new(0)));
    let body = || {
        let (barrier, selected, arrived) = (barrier.clone(), selected.clone(), arrived.clone());
        move || {
            for (round, selected) in selected.iter().enumerate() {
                arrived.fetch_add(1, SeqCst);
                match wait_barrier(&barrier) {
                    0 => {}
                    libc::PTHREAD_BARRIER_SERIAL_THREAD => drop(selected.fetch_add(1, SeqCst)),
                    result => panic!("{result}"),
                }
                assert!(arrived.load(SeqCst) >= (round + 1) * ALL);
            }
        }
    };
    let mut joins = vec![start_hub([body(), body()])];
    joins.extend([Os, Os, Green, Green, Green].map(|kind| start(kind, body())));
    join_each(joins);
    assert!(selected.iter().all(|selected| selected.load(SeqCst) == 1));
    assert_eq!(destroy_barrier(&barrier), 0);
    // SAFETY: the object is memory of its type.
    assert_eq!(unsafe { libc::pthread_barrier_init(barrier.get(), null(), 0) }, libc::EINVAL);
}

#[test]
fn pthread_barrier_destroy_by_the_first_released_thread_is_safe() {
    patch::all();
    for round in 0..100 {
        let memory = barrier(3);
        let joins: Vec<_> = (0..3)
            .map(|n| {
                let barrier = memory.clone();
                start(Kind::os_if(n != 0 && round % 2 == 0), move || {
                    if wait_barrier(&barrier) == libc::PTHREAD_BARRIER_SERIAL_THREAD {
                        assert_eq!(destroy_barrier(&barrier), 0);
                        // SAFETY: no thread uses the barrier any more. This is what the test checks.
                        unsafe {
                            barrier.get().cast::<u8>().write_bytes(0xa5, size_of::<pthread_barrier_t>())
                        };
                    }
                })
            })
            .collect();
        join_each(joins);
        // SAFETY: all threads have ended.
        let bytes = unsafe { *memory.get().cast::<[u8; size_of::<pthread_barrier_t>()]>() };
        assert!(bytes.iter().all(|&byte| byte == 0xa5), "{bytes:x?}");
    }
}

#[test]
fn pthread_barrier_wait_by_more_threads_than_its_count_releases_all() {
    patch::all();
    // Four threads arrive at once and pass two at a time. All four pass, and two of them are selected.
    let (two, all, selected) = (barrier(2), barrier(4), counters(6000));
    let joins: Vec<_> = (0..4)
        .map(|n| {
            let (two, all, selected) = (two.clone(), all.clone(), selected.clone());
            start(Kind::os_if(n != 0), move || {
                for selected in selected.iter() {
                    if wait_barrier(&two) != 0 {
                        selected.fetch_add(1, SeqCst);
                    }
                    wait_barrier(&all);
                    assert_eq!(selected.load(SeqCst), 2);
                }
            })
        })
        .collect();
    join_each(joins);
}
