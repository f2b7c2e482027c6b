//! Both ends prove that they have the key, and neither shows it.
//!
//! ```text
//!   server                                          client
//!     MAGIC, challenge S (32 random bytes)  ------>
//!                                           <------   challenge C, HMAC(key, "client" S C)
//!     verdict, HMAC(key, "server" S C)      ------>
//! ```
//!
//! Both challenges are in both proofs, so neither can be played back, and each proof says whose it is, so neither can
//! be sent back to who has made it. All of it is of fixed size and nothing is decoded before it is over; proofs are
//! compared in constant time. Who has not finished within [`PATIENCE`] is dropped, however busily it dribbles.
//!
//! It protects who connects; what is said afterwards is neither encrypted nor signed. Source: the challenge and
//! response of Python's `multiprocessing.connection`, which does it twice, once in each direction.

use super::stream::Stream;
use super::sys;
use hmac_sha256::HMAC;
use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

/// How long the other end may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Which protocol this is, in which version.
const MAGIC: [u8; 20] = *b"greenline manager 1\n";
const ACCEPTED: u8 = 1;
const REFUSED: u8 = 0;

type Challenge = [u8; 32];
type Proof = [u8; 32];

/// What both ends have and show nobody.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key(pub(super) Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// One that nobody can guess.
    pub(super) fn random() -> io::Result<Key> {
        let mut key = vec![0; 32];
        sys::random(&mut key)?;
        Ok(Key(key))
    }

    fn message(role: &[u8; 6], server: &Challenge, client: &Challenge) -> Vec<u8> {
        [&role[..], server, client].concat()
    }

    fn prove(&self, role: &[u8; 6], server: &Challenge, client: &Challenge) -> Proof {
        HMAC::mac(Key::message(role, server, client), &self.0)
    }

    /// In constant time.
    fn is_proof(&self, proof: &Proof, role: &[u8; 6], server: &Challenge, client: &Challenge) -> bool {
        HMAC::verify(Key::message(role, server, client), &self.0, proof)
    }
}

fn challenge() -> io::Result<Challenge> {
    let mut challenge = [0; 32];
    sys::random(&mut challenge)?;
    Ok(challenge)
}

fn refusal(cause: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, cause)
}

/// Receives so many bytes, and no more.
fn receive<const N: usize>(mut stream: &Stream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The server's side.
///
/// Errors: `PermissionDenied`: the other end does not have the key; `TimedOut`; those of the connection.
pub(super) fn serve(stream: &Stream, key: &Key) -> io::Result<()> {
    crate::api::timeout::timeout(PATIENCE, || try_serve(stream, key))?
}

fn try_serve(mut stream: &Stream, key: &Key) -> io::Result<()> {
    let server = challenge()?;
    stream.write_all(&[&MAGIC[..], &server].concat())?;
    let client: Challenge = receive(stream)?;
    let proof: Proof = receive(stream)?;
    if !key.is_proof(&proof, b"client", &server, &client) {
        stream.write_all(&[[REFUSED; 1].as_slice(), &[0; 32]].concat())?;
        return Err(refusal("a client has the wrong key"));
    }
    stream.write_all(&[[ACCEPTED; 1].as_slice(), &key.prove(b"server", &server, &client)].concat())
}

/// The client's side.
///
/// Errors: `PermissionDenied`: the other end is no manager, or does not have the key, or says that we do not;
/// `TimedOut`; those of the connection.
pub(super) fn connect(stream: &Stream, key: &Key) -> io::Result<()> {
    crate::api::timeout::timeout(PATIENCE, || try_connect(stream, key))?
}

fn try_connect(mut stream: &Stream, key: &Key) -> io::Result<()> {
    if receive(stream)? != MAGIC {
        return Err(refusal("who answers there is no manager, or one of another version"));
    }
    let (server, client) = (receive(stream)?, challenge()?);
    stream.write_all(&[client, key.prove(b"client", &server, &client)].concat())?;
    let [verdict]: [u8; 1] = receive(stream)?;
    let proof: Proof = receive(stream)?;
    if verdict != ACCEPTED {
        return Err(refusal("the key is wrong"));
    }
    match key.is_proof(&proof, b"server", &server, &client) {
        true => Ok(()),
        false => Err(refusal("who answers there does not have the key")),
    }
}
