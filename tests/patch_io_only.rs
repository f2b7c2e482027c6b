//! Files where only input and output are patched: green threads then share the OS thread's thread-locals, which may be
//! gone before another OS thread has read into them.
#![cfg(feature = "patch")]

use std::io::{Read, Write};
use std::os::fd::AsRawFd;

fn offloads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("greenline-off")).count()
}

#[test]
fn nobody_else_reads_into_memory_that_may_not_last() {
    const MUCH: usize = 16 << 20;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![7; MUCH]).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let read = move || {
        let mut bytes = vec![0; MUCH];
        std::fs::File::open(&path).unwrap().read_exact(&mut bytes).unwrap();
        bytes.iter().all(|&byte| byte == 7)
    };

    greenline::patch::io().unwrap();
    assert!(greenline::spawn(read.clone()).join().unwrap());
    assert_eq!(offloads(), 0);

    // A green thread with thread-locals of its own has it read elsewhere.
    greenline::patch::all();
    assert!(greenline::spawn(read).join().unwrap());
    assert_eq!(offloads(), 1);
}
