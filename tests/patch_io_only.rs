//! Files where only input and output are patched. Green threads then share the OS thread's thread-locals, which may be
//! destroyed before another OS thread has read into them.
#![cfg(feature = "patch")]

mod support;

use std::io::Read;
use support::files::Temp;
use support::proc_fs::os_threads_named;

fn offload_workers() -> usize {
    os_threads_named("greenline-off")
}

#[test]
fn read_is_offloaded_only_for_green_threads_with_own_thread_locals() {
    const MUCH: usize = 16 << 20;
    let temp = Temp::with(&vec![7; MUCH]);
    let path = temp.0.clone();
    let read = move || {
        let mut bytes = vec![0; MUCH];
        std::fs::File::open(&path).unwrap().read_exact(&mut bytes).unwrap();
        bytes.iter().all(|&byte| byte == 7)
    };

    greenline::patch::io().unwrap();
    assert!(greenline::spawn(read.clone()).join().unwrap());
    assert_eq!(offload_workers(), 0);

    // For a green thread with thread-locals of its own, a worker of the offload pool reads the file.
    greenline::patch::all();
    assert!(greenline::spawn(read).join().unwrap());
    assert_eq!(offload_workers(), 1);
}
