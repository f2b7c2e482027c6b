//! The encoding of the two kinds of messages: chunks on their way to a worker, results on their way to the parent.
//!
//! Each message is a header, encoded by postcard, and a payload: for each call, in their order, the length of its encoded
//! arguments or of its encoded result, and their bytes.
//!
//! Next: `pool/ledger.rs`, where a worker collects results before it sends them.

use serde::{Deserialize, Serialize};

/// The header of a chunk.
#[derive(Serialize, Deserialize)]
pub(super) struct ChunkHeader {
    pub(super) id: u64,
    /// Address of the function that runs one call.
    pub(super) entry: usize,
    /// Index of the first call in this message. The calls before it have a result already.
    pub(super) first: u32,
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

/// Size of the length before each part of a payload, in bytes.
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

/// Returns the length that precedes a part of a payload.
pub(super) fn length_of(part: &[u8]) -> [u8; LENGTH] {
    (part.len() as u64).to_ne_bytes()
}

/// Returns the parts of a payload.
pub(super) fn parts(mut payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = payload.split_first_chunk()?;
        let (part, rest) = rest.split_at(u64::from_ne_bytes(*length) as usize);
        payload = rest;
        Some(part)
    })
}
