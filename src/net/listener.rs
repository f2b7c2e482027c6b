//! The sockets from which a server gets its work: listeners, and sockets that receive messages.
//!
//! Next: `net/server.rs`.

use std::io;

/// A socket that accepts connections.
pub trait Listener {
    /// A connection.
    type Stream;
    /// The address of a peer.
    type Address;

    /// Waits for a connection, and returns it with the address of the peer.
    ///
    /// # Errors
    /// Errors of accept(2).
    fn accept(&self) -> io::Result<(Self::Stream, Self::Address)>;
}

/// A socket that receives messages.
pub trait Datagrams {
    /// The address of a sender.
    type Address;

    /// Waits for a message, and returns its length and the address of its sender.
    ///
    /// # Errors
    /// Errors of recvfrom(2).
    fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, Self::Address)>;
}

/// An iterator over the connections of a listener. It never ends.
#[derive(Debug)]
pub struct Connections<'a, L>(pub(super) &'a L);

impl<L: Listener> Iterator for Connections<'_, L> {
    type Item = io::Result<L::Stream>;

    fn next(&mut self) -> Option<io::Result<L::Stream>> {
        Some(self.0.accept().map(|(stream, _)| stream))
    }
}
