//! Mutual authentication (challenge and response): both ends prove that they have the key, and neither sends it.
//!
//! Next: `manager/endpoint.rs`, from an address to a connection.
//!
//! ```text
//!   server                                          client
//!     MAGIC, challenge S (32 random bytes)  ------>
//!                                           <------   challenge C, HMAC(key, "client" S C)
//!     verdict, HMAC(key, "server" S C)      ------>
//! ```
//!
//! Both challenges are part of both proofs, so a proof cannot be replayed. Each proof names its role, so it is not valid at
//! the end that made it. All messages have a fixed size, and nothing is decoded before the handshake is
//! over. Proofs are compared in constant time. If an end has not finished within [`HANDSHAKE_TIMEOUT`], the other end
//! drops the connection, even if bytes still trickle in.
//!
//! The handshake protects the connecting only. The frames after it are neither encrypted nor signed. Source: the
//! challenge and response of Python's `multiprocessing.connection`, which runs it twice, once in each direction.

use super::endpoint::Stream;
use super::sys;
use hmac_sha256::HMAC;
use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

/// Longest duration of a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The name and the version of the protocol.
const MAGIC: [u8; 20] = *b"greenline manager 2\n";
const ACCEPTED: u8 = 1;
const REFUSED: u8 = 0;

type Challenge = [u8; 32];
type Proof = [u8; 32];

/// The secret that both ends share. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key(pub(super) Vec<u8>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    pub(super) fn random() -> io::Result<Key> {
        Ok(Key(sys::random::<32>()?.to_vec()))
    }

    fn prove(&self, role: &str, server: &Challenge, client: &Challenge) -> Proof {
        HMAC::mac([role.as_bytes(), server, client].concat(), &self.0)
    }

    /// Returns whether `proof` was made with this key. Compares in constant time.
    fn verifies(&self, proof: &Proof, role: &str, server: &Challenge, client: &Challenge) -> bool {
        HMAC::verify([role.as_bytes(), server, client].concat(), &self.0, proof)
    }
}

fn refusal<T>(cause: &str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::PermissionDenied, cause))
}

/// Receives exactly `N` bytes.
fn receive<const N: usize>(mut stream: &Stream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Runs the server's side.
///
/// Errors: `PermissionDenied` if the client does not have the key; `TimedOut`; those of the connection.
pub(super) fn serve(mut stream: &Stream, key: &Key) -> io::Result<()> {
    greenline::timeout(HANDSHAKE_TIMEOUT, || {
        let server = sys::random()?;
        stream.write_all(&[&MAGIC[..], &server].concat())?;
        let (client, proof) = (receive(stream)?, receive(stream)?);
        if !key.verifies(&proof, "client", &server, &client) {
            stream.write_all(&[&[REFUSED][..], &[0; 32]].concat())?;
            return refusal("the client has the wrong key");
        }
        stream.write_all(&[&[ACCEPTED][..], &key.prove("server", &server, &client)].concat())
    })?
}

/// Runs the client's side.
///
/// Errors: `PermissionDenied` if the other end is not a manager, does not have the key, or says that this end does not
/// have it, or does not answer; those of the connection.
pub(super) fn connect(mut stream: &Stream, key: &Key) -> io::Result<()> {
    greenline::timeout(HANDSHAKE_TIMEOUT, || {
        if receive(stream)? != MAGIC {
            return refusal("the other end is no manager, or one of another version");
        }
        let (server, client) = (receive(stream)?, sys::random()?);
        stream.write_all(&[client, key.prove("client", &server, &client)].concat())?;
        let ([verdict], proof) = (receive(stream)?, receive(stream)?);
        match verdict {
            ACCEPTED if key.verifies(&proof, "server", &server, &client) => Ok(()),
            ACCEPTED => refusal("the other end does not have the key"),
            _ => refusal("the key is wrong"),
        }
    })
    .unwrap_or_else(|_| refusal(&format!("no manager has answered within {HANDSHAKE_TIMEOUT:?}")))
}
