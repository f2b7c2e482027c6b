//! Random operations on a file, patched: each returns what an OS thread that is not patched gets, and both files are the same
//! in the end.

#![cfg(feature = "patch")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use proptest::prelude::*;
use std::cell::Cell;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::thread;
use support::files::*;

#[derive(Clone, Debug)]
enum Operation {
    Read(usize),
    ReadAt(usize, usize),
    ReadVectored(usize, usize),
    Write(usize, u8),
    WriteAt(usize, usize, u8),
    WriteVectored(usize, usize),
    Seek(usize),
    Forget(usize),
    Cut(usize),
}

fn operations() -> impl Strategy<Value = Operation> {
    // Most operations are of some pages; a few are larger than what is read at once.
    let len = prop_oneof![8 => 0..20_000_usize, 1 => 0..6 * MIB];
    let at = 0..4 * MIB;
    prop_oneof![
        4 => len.clone().prop_map(Operation::Read),
        4 => (len.clone(), at.clone()).prop_map(|(len, at)| Operation::ReadAt(len, at)),
        2 => (len.clone(), len.clone()).prop_map(|(one, two)| Operation::ReadVectored(one, two)),
        2 => (len.clone(), 0..=255_u8).prop_map(|(len, byte)| Operation::Write(len, byte)),
        2 => (len.clone(), at.clone(), 0..=255_u8).prop_map(|(len, at, byte)| Operation::WriteAt(len, at, byte)),
        1 => (len.clone(), len).prop_map(|(one, two)| Operation::WriteVectored(one, two)),
        2 => at.clone().prop_map(Operation::Seek),
        3 => at.clone().prop_map(Operation::Forget),
        1 => at.prop_map(Operation::Cut),
    ]
}

/// Performs an operation. Returns its result, a checksum of the bytes read, and the file's position.
fn perform(file: &File, what: &Operation) -> (usize, u64, u64) {
    let mut file = file;
    let sum = |bytes: &[u8]| {
        bytes.iter().enumerate().fold(0_u64, |sum, (n, &byte)| sum.wrapping_add((n as u64 + 1) * byte as u64))
    };
    let (n, sum) = match *what {
        Operation::Read(len) => {
            let mut buffer = vec![0; len];
            let n = file.read(&mut buffer).unwrap();
            (n, sum(&buffer[..n]))
        }
        Operation::ReadAt(len, at) => {
            let mut buffer = vec![0; len];
            let n = file.read_at(&mut buffer, at as u64).unwrap();
            (n, sum(&buffer[..n]))
        }
        Operation::ReadVectored(one, two) => {
            let (mut one, mut two) = (vec![0; one], vec![0; two]);
            let n = file.read_vectored(&mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)]).unwrap();
            one.extend(two);
            (n, sum(&one[..n]))
        }
        Operation::Write(len, byte) => (file.write(&vec![byte; len]).unwrap(), 0),
        Operation::WriteAt(len, at, byte) => (file.write_at(&vec![byte; len], at as u64).unwrap(), 0),
        Operation::WriteVectored(one, two) => {
            let (one, two) = (vec![1; one], vec![2; two]);
            (file.write_vectored(&[IoSlice::new(&one), IoSlice::new(&two)]).unwrap(), 0)
        }
        Operation::Seek(at) => (file.seek(SeekFrom::Start(at as u64)).unwrap() as usize, 0),
        Operation::Forget(from) => {
            drop_cache(file, from);
            (0, 0)
        }
        Operation::Cut(len) => {
            file.set_len(len as u64).unwrap();
            (0, 0)
        }
    };
    (n, sum, file.stream_position().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn file_operations_in_any_order_return_what_an_os_thread_gets(seed in 0..u64::MAX, len in 0..3 * MIB, all in prop::collection::vec(operations(), 1..30)) {
        let _guard = setup();
        let (mine, theirs) = (Temp::with(&random(len, seed)), Temp::with(&random(len, seed)));
        let file = theirs.open();
        let (expected, all) = unpatched(move || {
            (all.iter().map(|what| perform(&file, what)).collect::<Vec<_>>(), all)
        });
        let file = mine.open();
        // Another green thread runs all the time.
        let stop = Rc::new(Cell::new(false));
        let seen = stop.clone();
        let other = greenline::spawn(move || while !seen.get() { thread::yield_now() });
        let got = greenline::spawn(move || all.iter().map(|what| perform(&file, what)).collect::<Vec<_>>());
        let got = got.join().unwrap();
        stop.set(true);
        other.join().unwrap();
        prop_assert_eq!(got, expected);
        prop_assert!(std::fs::read(&mine.0).unwrap() == std::fs::read(&theirs.0).unwrap());
    }
}
