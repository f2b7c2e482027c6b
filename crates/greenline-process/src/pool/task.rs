//! Functions that can be sent to a worker, and their arguments.
//!
//! A worker is a fork of the process that created the pool. It has the same code at the same addresses. A function is
//! therefore sent as the address of the code that decodes its arguments, calls it and encodes its result.
//!
//! Next: `pool/message.rs`, the header of what is sent.
#![allow(unsafe_code)]

use super::message::{ChunkHeader, LENGTH, encode, length_of, parts};
use super::task_error::TaskError;
use greenline::internals::panic_message;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A function that a [`Pool`](super::Pool) can call in another process. It captures nothing and has up to four arguments.
/// Its arguments and its result can be encoded. `Args` is the tuple of the arguments.
///
/// All such functions implement the trait. No other type needs to.
pub trait Task<Args>: Copy + Send + 'static {
    /// The type of the result.
    type Output: Serialize + DeserializeOwned;

    /// Calls the function.
    fn call(self, args: Args) -> Self::Output;

    /// Appends the encoded arguments to `into`.
    #[doc(hidden)]
    fn encode(args: &Args, into: Vec<u8>) -> Result<Vec<u8>, TaskError>;

    #[doc(hidden)]
    fn decode(args: &[u8]) -> Result<Args, TaskError>;
}

macro_rules! task {
    ($($arg:ident),*) => {
        impl<F, R, $($arg),*> Task<($($arg,)*)> for F
        where
            F: Fn($($arg),*) -> R + Copy + Send + 'static,
            R: Serialize + DeserializeOwned,
            $($arg: Serialize + DeserializeOwned,)*
        {
            type Output = R;

            #[allow(non_snake_case)]
            fn call(self, ($($arg,)*): ($($arg,)*)) -> R {
                self($($arg),*)
            }

            fn encode(args: &($($arg,)*), into: Vec<u8>) -> Result<Vec<u8>, TaskError> {
                postcard::to_extend(args, into).map_err(codec_error("the arguments cannot be encoded"))
            }

            fn decode(args: &[u8]) -> Result<($($arg,)*), TaskError> {
                postcard::from_bytes(args).map_err(codec_error("the arguments cannot be decoded"))
            }
        }
    };
}
task!();
task!(A);
task!(A, B);
task!(A, B, C);
task!(A, B, C, D);

/// Returns the error of an encoding or decoding that has failed.
pub(super) fn codec_error<E: Display>(what: &str) -> impl FnOnce(E) -> TaskError {
    move |error| TaskError::Codec(format!("{what}: {error}"))
}

/// Decodes arguments, calls the function, and appends its encoded result to the vector.
type Entry = fn(&[u8], Vec<u8>) -> Result<Vec<u8>, TaskError>;

/// Several calls of one function, with encoded arguments. The parent keeps them until they have results, to send the rest
/// again if a worker dies.
pub(super) struct EncodedCalls {
    /// The address of an [`Entry`].
    entry: usize,
    pub(super) count: usize,
    /// The length and the encoded arguments of each call.
    args: Vec<u8>,
}

impl EncodedCalls {
    /// Creates a call of `f` for each item of `all`.
    ///
    /// Errors: the arguments of a call cannot be encoded.
    pub(super) fn new<F: Task<Args>, Args>(
        f: F,
        all: impl IntoIterator<Item = Args>,
    ) -> Result<EncodedCalls, TaskError> {
        const { assert!(size_of::<F>() == 0, "a task must be a function itself: one that captures nothing") };
        let _ = f;
        let entry: Entry = run_call::<F, Args>;
        let (mut count, mut encoded) = (0, Vec::new());
        for args in all {
            let start = encoded.len();
            encoded.extend_from_slice(&[0; LENGTH]);
            encoded = F::encode(&args, encoded)?;
            let length = length_of(&encoded[start + LENGTH..]);
            encoded[start..start + LENGTH].copy_from_slice(&length);
            count += 1;
        }
        Ok(EncodedCalls { entry: entry as usize, count, args: encoded })
    }

    /// Returns the message with the calls from index `first` on.
    pub(super) fn encode(&self, id: u64, first: usize) -> Vec<u8> {
        let done: usize = parts(&self.args).take(first).map(|args| LENGTH + args.len()).sum();
        let header = ChunkHeader { id, entry: self.entry, first: first as u32 };
        encode(&header, &[&self.args[done..]])
    }
}

/// Calls the function of a chunk with the arguments of one call, and appends the encoded result to `into`.
///
/// Errors: the function panics, or its arguments or its result are refused by their codec.
pub(super) fn call(chunk: &ChunkHeader, args: &[u8], into: Vec<u8>) -> Result<Vec<u8>, TaskError> {
    // SAFETY: `EncodedCalls::new` has made the address from an `Entry`, in the process that this one is a fork of.
    let entry: Entry = unsafe { std::mem::transmute(chunk.entry) };
    // Broken invariants stay in this process. A task shares values with the next one by globals only.
    catch_unwind(AssertUnwindSafe(|| entry(args, into))).unwrap_or_else(|panic| {
        let text = panic_message(&*panic).to_owned();
        // The destructor of the payload could panic, too.
        std::mem::forget(panic);
        Err(TaskError::Panicked(text))
    })
}

/// The [`Entry`] of `F`. The result is encoded as a `Result<F::Output, TaskError>`.
fn run_call<F: Task<Args>, Args>(args: &[u8], into: Vec<u8>) -> Result<Vec<u8>, TaskError> {
    // SAFETY: a type of size zero has no bytes to read. It is `Copy`, and `EncodedCalls::new` had a value of it.
    let f: F = unsafe { std::ptr::NonNull::<F>::dangling().as_ptr().read() };
    let result = f.call(F::decode(args)?);
    postcard::to_extend(&Ok::<_, TaskError>(result), into)
        .map_err(codec_error("the result cannot be encoded"))
}
