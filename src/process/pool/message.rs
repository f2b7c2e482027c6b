//! The encoding of the two kinds of messages: chunks on their way to a worker, results on their way to the parent.
//!
//! Each message is a header, encoded by postcard, and a payload. A chunk's payload is its arguments (`task.rs`). The
//! payload of results is a sequence of length and bytes, in the order of the calls.
//!
//! Next: `process/pool/ledger.rs`, where a worker collects results before it sends them.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The header of a chunk.
#[derive(Serialize, Deserialize)]
pub(super) struct ChunkHeader {
    pub(super) id: u64,
    /// Address of the function that runs one call.
    pub(super) entry: usize,
    /// Indices of the calls in this message: the calls before `first` have a result already.
    pub(super) first: u32,
    pub(super) end: u32,
}

/// The header of results.
#[derive(Serialize, Deserialize)]
pub(super) struct ResultHeader {
    /// Id of the chunk.
    pub(super) chunk: u64,
    /// Index of the call that the first result belongs to.
    pub(super) first: u32,
    pub(super) death: Option<WorkerDeath>,
}

/// The death of a worker that held a chunk.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct WorkerDeath {
    /// Index of the call that the worker was executing.
    pub(super) call: u32,
    pub(super) exit: i32,
}

/// Size of the length before each result, in bytes.
pub(super) const LENGTH: usize = size_of::<u64>();

/// The most bytes that a message with one result has beside that result. An encoded `u64` has up to 10 bytes, a `u32` or
/// `i32` up to 5, the tag of an `Option` has 1.
pub(super) const RESULT_OVERHEAD: usize = 10 + 5 + 1 + 5 + 5 + LENGTH;

/// Returns the message with that header and payload.
pub(super) fn encode(header: &impl Serialize, payload: &[&[u8]]) -> Vec<u8> {
    let size: usize = payload.iter().map(|part| part.len()).sum();
    let message = Vec::with_capacity(RESULT_OVERHEAD + size);
    let mut message = postcard::to_extend(header, message).expect("a header consists of numbers");
    payload.iter().for_each(|part| message.extend_from_slice(part));
    message
}

/// Returns the header and the payload of a message.
pub(super) fn decode<'a, H: Deserialize<'a>>(message: &'a [u8]) -> (H, &'a [u8]) {
    postcard::take_from_bytes(message).expect("the message was encoded by the same program")
}

/// Returns the length that precedes a result in a payload.
pub(super) fn length_of(result: &[u8]) -> [u8; LENGTH] {
    (result.len() as u64).to_ne_bytes()
}

/// Returns where in the message each of the results is that its payload consists of.
pub(super) fn results<'a>(
    message: &'a [u8],
    mut payload: &'a [u8],
) -> impl Iterator<Item = Range<usize>> + 'a {
    std::iter::from_fn(move || {
        let (length, bytes) = payload.split_first_chunk()?;
        let start = message.len() - bytes.len();
        let end = start + u64::from_ne_bytes(*length) as usize;
        payload = &message[end..];
        Some(start..end)
    })
}
