//! Sockets that yield: std's, with std's names, for code that is written for greenline.
//!
//! ```
//! use greenline::net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! let listener = TcpListener::bind("127.0.0.1:0").unwrap();
//! let address = listener.local_addr().unwrap();
//! let server = greenline::spawn(move || {
//!     let (mut stream, _) = listener.accept().unwrap();
//!     let mut bytes = [0; 5];
//!     stream.read_exact(&mut bytes).unwrap();
//!     stream.write_all(&bytes).unwrap();
//! });
//! let mut stream = TcpStream::connect(address).unwrap();
//! stream.write_all(b"hello").unwrap();
//! let mut echo = [0; 5];
//! stream.read_exact(&mut echo).unwrap();
//! assert_eq!(&echo, b"hello");
//! server.join().unwrap();
//! ```
//!
//! A call that would block parks the green thread. All are built on one loop; timeouts are those of std, and so are
//! the errors. A socket may be used by several green threads, of several hubs; to close it while another waits for it
//! wakes that one, with EBADF.
//!
//! Addresses are looked up by std's `ToSocketAddrs`, which blocks the OS thread if it has to ask a name server.

mod address;
mod handlers;
mod macros;
mod server;
mod socket;
mod tcp;
mod udp;
mod unix;

pub use server::{Datagrams, Listener, Server, ServerBuilder};
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixIncoming, UnixListener, UnixStream};
