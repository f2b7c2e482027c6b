//! What is sent to a worker: which function, and with what. A worker is a fork of the process that made the pool, so
//! it has the same code at the same addresses, and a function is sent as the address of the code that decodes its
//! arguments, calls it and encodes its result.
#![allow(unsafe_code)]

use super::TaskError;
use super::floor::{long, word};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A function that a [`Pool`](super::Pool) can call in another process: one that captures nothing, of up to four
/// arguments, each of which can be encoded, as can its result. `Args` is the tuple of them.
///
/// It is implemented for all such functions; there is nothing to implement.
pub trait Task<Args>: Copy + Send + 'static {
    /// What it returns.
    type Output: Serialize + DeserializeOwned;

    /// Calls it.
    fn call(self, args: Args) -> Self::Output;
}

macro_rules! task {
    ($($arg:ident),*) => {
        impl<F, R, $($arg),*> Task<($($arg,)*)> for F
        where
            F: Fn($($arg),*) -> R + Copy + Send + 'static,
            R: Serialize + DeserializeOwned,
        {
            type Output = R;

            #[allow(non_snake_case)]
            fn call(self, ($($arg,)*): ($($arg,)*)) -> R {
                self($($arg),*)
            }
        }
    };
}
task!();
task!(A);
task!(A, B);
task!(A, B, C);
task!(A, B, C, D);

/// Decodes arguments, calls the function, encodes what it returns behind what is in the vector.
type Entry = fn(&[u8], Vec<u8>) -> Result<Vec<u8>, TaskError>;

/// Several calls of one function, one after the other, by one worker: what is sent.
///
/// ```text
///   | id, 8 bytes | entry, 8 | first, 4 | end, 4 | length, 4, encoded tuple | length ... |
/// ```
pub(super) struct Chunk<'a> {
    pub(super) id: u64,
    /// The address of an [`Entry`].
    entry: usize,
    /// Which of the calls these are: those before were done by others.
    first: u32,
    end: u32,
    args: &'a [u8],
}

/// What a chunk has before its arguments, and arguments before them.
const HEADER: usize = 24;
const LENGTH: usize = 4;

/// A chunk that can be sent, again if need be.
pub(super) struct Calls {
    entry: usize,
    /// Where the arguments of each call begin in `args`.
    starts: Vec<usize>,
    args: Vec<u8>,
}

impl Calls {
    /// Calls of `f`, with each of `all`.
    ///
    /// Errors: one of them cannot be encoded.
    pub(super) fn new<F, Args>(f: F, all: impl IntoIterator<Item = Args>) -> Result<Calls, TaskError>
    where
        F: Task<Args>,
        Args: Serialize + DeserializeOwned,
    {
        const { assert!(size_of::<F>() == 0, "a task must be a function itself: one that captures nothing") };
        let _ = f;
        let entry: Entry = enter::<F, Args>;
        let mut calls = Calls { entry: entry as usize, starts: Vec::new(), args: Vec::new() };
        for args in all {
            let start = calls.args.len();
            calls.starts.push(start);
            calls.args.extend_from_slice(&[0; LENGTH]);
            calls.args = postcard::to_extend(&args, calls.args)
                .map_err(|error| TaskError::Codec(format!("the arguments cannot be encoded: {error}")))?;
            let size = calls.args.len() - start - LENGTH;
            let length =
                u32::try_from(size).map_err(|_| TaskError::TooLarge { size, limit: u32::MAX as usize })?;
            calls.args[start..start + LENGTH].copy_from_slice(&length.to_ne_bytes());
        }
        Ok(calls)
    }

    pub(super) fn count(&self) -> usize {
        self.starts.len()
    }

    /// Those from `first` on, as a message.
    pub(super) fn encode(&self, id: u64, first: usize) -> Vec<u8> {
        let args = &self.args[self.starts[first]..];
        let mut message = Vec::with_capacity(HEADER + args.len());
        message.extend_from_slice(&id.to_ne_bytes());
        message.extend_from_slice(&(self.entry as u64).to_ne_bytes());
        message.extend_from_slice(&(first as u32).to_ne_bytes());
        message.extend_from_slice(&(self.count() as u32).to_ne_bytes());
        message.extend_from_slice(args);
        message
    }
}

impl<'a> Chunk<'a> {
    pub(super) fn decode(message: &'a [u8]) -> Chunk<'a> {
        let (header, args) = message.split_at(HEADER);
        Chunk {
            id: long(header),
            entry: long(&header[8..]) as usize,
            first: word(&header[16..]),
            end: word(&header[20..]),
            args,
        }
    }

    /// The numbers of its calls.
    pub(super) fn calls(&self) -> Range<u32> {
        self.first..self.end
    }

    /// Calls the function with the next arguments; what it returns is put into the vector, which is made empty. A panic
    /// of it is an error.
    pub(super) fn call_next(&mut self, result: &mut Vec<u8>) -> Result<(), TaskError> {
        let (length, rest) = self.args.split_at(LENGTH);
        let (args, rest) = rest.split_at(word(length) as usize);
        // Whatever becomes of this call, these are the next one's.
        self.args = rest;
        // SAFETY: it was made from an `Entry` in `Calls::new`, by the process that this one is a fork of.
        let entry: Entry = unsafe { std::mem::transmute(self.entry) };
        let mut into = std::mem::take(result);
        into.clear();
        // Broken invariants stay in this process, and a task cannot share any with the next but by globals.
        *result = catch_unwind(AssertUnwindSafe(|| entry(args, into)))
            .unwrap_or_else(|panic| Err(TaskError::Panicked(message_of(panic))))?;
        Ok(())
    }
}

fn enter<F, Args>(bytes: &[u8], into: Vec<u8>) -> Result<Vec<u8>, TaskError>
where
    F: Task<Args>,
    Args: DeserializeOwned,
{
    // SAFETY: a type without size has nothing to read; it is `Copy`, and there was one in `Calls::new`.
    let f: F = unsafe { std::ptr::NonNull::<F>::dangling().as_ptr().read() };
    let args = postcard::from_bytes(bytes)
        .map_err(|error| TaskError::Codec(format!("the arguments cannot be decoded: {error}")))?;
    let result = f.call(args);
    postcard::to_extend(&result, into)
        .map_err(|error| TaskError::Codec(format!("the result cannot be encoded: {error}")))
}

/// What was said when it was thrown.
fn message_of(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = crate::green::panic_message(&*panic).to_owned();
    // Its destructor may panic, too.
    std::mem::forget(panic);
    text
}
