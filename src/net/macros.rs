//! The methods that the types of this module have in common. Each type is a [`Socket`](super::socket::Socket). For calls that
//! do not block, it delegates to std's type.
//!
//! Next: `net/tcp.rs`.

/// Methods of every socket: another handle, conversion from and to std, the address, the error, the descriptor.
macro_rules! socket {
    ($type:ident: $std:ty, $address:ty) => {
        impl $type {
            /// Returns another handle to the same socket, with the same timeouts.
            ///
            /// # Errors
            /// No descriptor is left.
            pub fn try_clone(&self) -> std::io::Result<$type> {
                self.0.try_clone().map($type)
            }

            /// Converts std's type into one that yields. Other handles of the same socket become non-blocking with it. Its
            /// timeouts are not taken over.
            ///
            /// # Errors
            /// The socket cannot be made non-blocking.
            pub fn from_std(socket: $std) -> std::io::Result<$type> {
                $crate::net::socket::Socket::new(socket.into()).map($type)
            }

            /// Converts into std's type, blocking and without timeouts.
            ///
            /// # Errors
            /// The socket cannot be made blocking.
            pub fn into_std(self) -> std::io::Result<$std> {
                self.0.into_fd().map(<$std>::from)
            }
        }

        $crate::net::macros::delegate! { $type: $std {
            /// Returns the local address.
            fn local_addr(&self) -> $address;
            /// Returns the error that the kernel has kept for this socket, and clears it.
            fn take_error(&self) -> Option<std::io::Error>;
        }}

        impl std::os::fd::AsFd for $type {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.0.as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $type {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.0.raw()
            }
        }

        impl std::os::fd::IntoRawFd for $type {
            /// Returns the descriptor, which is still non-blocking.
            fn into_raw_fd(self) -> std::os::fd::RawFd {
                std::os::fd::IntoRawFd::into_raw_fd(self.0.take_fd())
            }
        }
    };
}

/// Methods that call the method of std's type of the same name, which does not block.
macro_rules! delegate {
    ($type:ident: $std:ty {
        $($(#[$meta:meta])* fn $name:ident(&self $(, $argument:ident: $of:ty)*) -> $result:ty;)*
    }) => {
        impl $type {
            $(
                $(#[$meta])*
                ///
                /// # Errors
                /// Errors of the system call.
                pub fn $name(&self $(, $argument: $of)*) -> std::io::Result<$result> {
                    self.0.as_std::<$std>().$name($($argument),*)
                }
            )*
        }
    };
}

/// Methods of a socket that accepts connections.
macro_rules! listener {
    ($type:ident: $std:ty, $stream:ident, $address:ty) => {
        $crate::net::macros::socket!($type: $std, $address);

        impl $type {
            /// Waits for a connection. Returns it with the address of the peer.
            ///
            /// # Errors
            /// Errors of accept(2): no descriptor is left, the peer has gone already, ...
            pub fn accept(&self) -> std::io::Result<($stream, $address)> {
                self.0.accept().map(|(socket, address)| ($stream(socket), address))
            }

            /// Returns an iterator over the connections. It never ends.
            pub fn incoming(&self) -> $crate::net::listener::Connections<'_, $type> {
                $crate::net::listener::Connections(self)
            }
        }

        impl $crate::net::listener::Listener for $type {
            type Stream = $stream;
            type Address = $address;

            fn accept(&self) -> std::io::Result<($stream, $address)> {
                $type::accept(self)
            }
        }
    };
}

/// Methods of a socket with a peer, which receives and sends: timeouts, the peer's address, shutdown.
macro_rules! connected {
    ($type:ident: $std:ty, $address:ty) => {
        $crate::net::macros::socket!($type: $std, $address);
        $crate::net::macros::delegate! { $type: $std {
            /// Returns the address of the peer.
            fn peer_addr(&self) -> $address;
        }}

        impl $type {
            /// Sets for how long receiving waits before it fails with [`WouldBlock`](std::io::ErrorKind::WouldBlock). With
            /// `None` it waits for ever.
            ///
            /// # Errors
            /// `InvalidInput` for zero, as in std.
            pub fn set_read_timeout(&self, timeout: Option<std::time::Duration>) -> std::io::Result<()> {
                self.0.set_timeout($crate::ids::Direction::Read, timeout)
            }

            /// Sets for how long sending waits, in the same way.
            ///
            /// # Errors
            /// `InvalidInput` for zero.
            pub fn set_write_timeout(&self, timeout: Option<std::time::Duration>) -> std::io::Result<()> {
                self.0.set_timeout($crate::ids::Direction::Write, timeout)
            }

            /// Returns the timeout of receiving.
            ///
            /// # Errors
            /// None. The signature is std's.
            pub fn read_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.0.get_timeout($crate::ids::Direction::Read))
            }

            /// Returns the timeout of sending.
            ///
            /// # Errors
            /// None. The signature is std's.
            pub fn write_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.0.get_timeout($crate::ids::Direction::Write))
            }
        }
    };
}

/// Methods of a connection that carries bytes. `$recv` is the method of `Socket` that receives.
macro_rules! stream {
    ($type:ident: $std:ty, $address:ty, $recv:ident) => {
        $crate::net::macros::connected!($type: $std, $address);
        $crate::net::macros::delegate! { $type: $std {
            /// Shuts down one direction of the connection, or both. Wakes the green threads that wait for it.
            fn shutdown(&self, how: std::net::Shutdown) -> ();
        }}

        impl $type {
            /// Reads as `read` does, but leaves the bytes in the socket.
            ///
            /// # Errors
            /// As for `read`.
            pub fn peek(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0.$recv(buffer, libc::MSG_PEEK)
            }
        }

        $crate::net::macros::read_write!($type, $recv);
        $crate::net::macros::read_write!(&$type, $recv);
    };
}

/// `Read` and `Write`, for a connection or for a reference to one.
macro_rules! read_write {
    ($type:ty, $recv:ident) => {
        impl std::io::Read for $type {
            #[inline]
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0.$recv(buffer, 0)
            }

            fn read_vectored(&mut self, slices: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                self.0.read_slices(slices)
            }
        }

        impl std::io::Write for $type {
            #[inline]
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.send(bytes)
            }

            fn write_vectored(&mut self, slices: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                self.0.write_slices(slices)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}

/// Methods of a socket that sends and receives messages.
macro_rules! datagrams {
    ($type:ident: $std:ty, $address:ty) => {
        $crate::net::macros::connected!($type: $std, $address);

        impl $type {
            /// Receives a message from the peer. The part that does not fit into `buffer` is lost.
            ///
            /// # Errors
            /// Errors of recv(2); `WouldBlock` after the read timeout.
            pub fn recv(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0.recv(buffer, 0)
            }

            /// Receives as `recv` does, but leaves the message in the socket.
            ///
            /// # Errors
            /// As for `recv`.
            pub fn peek(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0.recv(buffer, libc::MSG_PEEK)
            }

            /// Receives a message. Returns its length and the address of its sender. The part that does not fit into
            /// `buffer` is lost.
            ///
            /// # Errors
            /// Errors of recvfrom(2); `WouldBlock` after the read timeout.
            pub fn recv_from(&self, buffer: &mut [u8]) -> std::io::Result<(usize, $address)> {
                self.0.recv_from(buffer, 0)
            }

            /// Receives as `recv_from` does, but leaves the message in the socket.
            ///
            /// # Errors
            /// As for `recv_from`.
            pub fn peek_from(&self, buffer: &mut [u8]) -> std::io::Result<(usize, $address)> {
                self.0.recv_from(buffer, libc::MSG_PEEK)
            }

            /// Sends a message to the peer. Blocks while there is no room for it.
            ///
            /// # Errors
            /// Errors of send(2); `WouldBlock` after the write timeout.
            pub fn send(&self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.send(bytes)
            }
        }

        impl $crate::net::listener::Datagrams for $type {
            type Address = $address;

            fn recv_from(&self, buffer: &mut [u8]) -> std::io::Result<(usize, $address)> {
                $type::recv_from(self, buffer)
            }
        }
    };
}

pub(super) use {connected, datagrams, delegate, listener, read_write, socket, stream};
