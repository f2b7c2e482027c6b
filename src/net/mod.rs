//! Sockets that yield, with the names of std's, for code that is written for greenline.
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
//! A call that would block parks the calling green thread. Timeouts and errors are those of std. Several green threads, of
//! several hubs, may use a socket. If one closes it while another waits for it, the waiter wakes with EBADF.
//!
//! Names are looked up by std's `ToSocketAddrs`, which blocks the OS thread if it has to ask a name server.
//!
//! Next: `net/socket.rs`.

mod handlers;
mod listener;
mod macros;
mod server;
mod sockaddr;
mod socket;
mod tcp;
mod udp;
mod unix;

pub use listener::{Connections, Datagrams, Listener};
pub use server::{Server, ServerBuilder};
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixIncoming, UnixListener, UnixStream};
