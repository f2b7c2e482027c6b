//! What the types of this module have in common: each is a [`Socket`](super::socket::Socket), and is std's type
//! wherever nothing blocks.

/// Of any socket: another handle, to and from std, its error, its descriptor.
macro_rules! socket {
    ($type:ident: $std:ty) => {
        impl $type {
            /// Another handle to the same socket, with the same timeouts.
            ///
            /// # Errors
            /// No descriptor is left.
            pub fn try_clone(&self) -> std::io::Result<$type> {
                self.0.try_clone().map($type)
            }

            /// The error that the kernel has kept for this socket, if any.
            ///
            /// # Errors
            /// Those of getsockopt(2).
            pub fn take_error(&self) -> std::io::Result<Option<std::io::Error>> {
                $crate::net::socket::take_error(&self.0)
            }

            /// Makes std's type yield. Its other handles become non-blocking with it; what timeouts it had are not
            /// taken over.
            ///
            /// # Errors
            /// It cannot be made non-blocking.
            pub fn from_std(socket: $std) -> std::io::Result<$type> {
                $crate::net::socket::Socket::new(socket.into()).map($type)
            }

            /// Makes it std's type, blocking, without timeouts.
            ///
            /// # Errors
            /// It cannot be made blocking.
            pub fn into_std(self) -> std::io::Result<$std> {
                self.0.into_fd().map(<$std>::from)
            }
        }

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
            /// Non-blocking still.
            fn into_raw_fd(self) -> std::os::fd::RawFd {
                self.0.into_raw_fd()
            }
        }
    };
}

/// Calls of std's type, that do not block.
macro_rules! delegate {
    ($type:ident: $std:ty {
        $($(#[$meta:meta])* fn $name:ident(&self $(, $argument:ident: $of:ty)*) -> $answer:ty;)*
    }) => {
        impl $type {
            $(
                $(#[$meta])*
                ///
                /// # Errors
                /// Those of the system call behind it.
                pub fn $name(&self $(, $argument: $of)*) -> std::io::Result<$answer> {
                    self.0.as_std::<$std>().$name($($argument),*)
                }
            )*
        }
    };
}

/// Timeouts of what receives and sends.
macro_rules! timeouts {
    ($type:ident) => {
        impl $type {
            /// How long receiving waits before it fails with [`WouldBlock`](std::io::ErrorKind::WouldBlock); `None`:
            /// for ever.
            ///
            /// # Errors
            /// `InvalidInput` for zero, as std has it.
            pub fn set_read_timeout(&self, timeout: Option<std::time::Duration>) -> std::io::Result<()> {
                self.0.set_timeout($crate::ids::Direction::Read, timeout)
            }

            /// How long sending waits, in the same way.
            ///
            /// # Errors
            /// `InvalidInput` for zero.
            pub fn set_write_timeout(&self, timeout: Option<std::time::Duration>) -> std::io::Result<()> {
                self.0.set_timeout($crate::ids::Direction::Write, timeout)
            }

            /// What was set.
            ///
            /// # Errors
            /// None: as std's.
            pub fn read_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.0.get_timeout($crate::ids::Direction::Read))
            }

            /// What was set.
            ///
            /// # Errors
            /// None: as std's.
            pub fn write_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                Ok(self.0.get_timeout($crate::ids::Direction::Write))
            }
        }
    };
}

/// What reads and writes bytes; `$recv` is how.
macro_rules! stream {
    ($type:ident: $std:ty, $recv:ident) => {
        $crate::net::macros::timeouts!($type);
        $crate::net::macros::delegate! { $type: $std {
            /// Ends one direction of the connection, or both. Who waits for it is woken.
            fn shutdown(&self, how: std::net::Shutdown) -> ();
        }}

        impl $type {
            /// As `read`, but what was read stays to be read.
            ///
            /// # Errors
            /// As for `read`.
            pub fn peek(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0.$recv(buffer, libc::MSG_PEEK)
            }
        }

        impl std::io::Read for &$type {
            #[inline]
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0.$recv(buffer, 0)
            }

            fn read_vectored(&mut self, slices: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                self.0.read_slices(slices)
            }
        }

        impl std::io::Write for &$type {
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

        impl std::io::Read for $type {
            #[inline]
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                (&*self).read(buffer)
            }

            fn read_vectored(&mut self, slices: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                (&*self).read_vectored(slices)
            }
        }

        impl std::io::Write for $type {
            #[inline]
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                (&*self).write(bytes)
            }

            fn write_vectored(&mut self, slices: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                (&*self).write_vectored(slices)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}

/// What sends and receives messages, once it is connected.
macro_rules! datagrams {
    ($type:ident) => {
        $crate::net::macros::timeouts!($type);

        impl $type {
            /// Receives a message from who it is connected to; what does not fit into `buffer` is lost.
            ///
            /// # Errors
            /// Those of recv(2); `WouldBlock` after the read timeout.
            pub fn recv(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0.recv(buffer, 0)
            }

            /// As `recv`, but the message stays to be received.
            ///
            /// # Errors
            /// As for `recv`.
            pub fn peek(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.0.recv(buffer, libc::MSG_PEEK)
            }

            /// Sends a message to who it is connected to; blocks while there is no room for it.
            ///
            /// # Errors
            /// Those of send(2); `WouldBlock` after the write timeout.
            pub fn send(&self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.send(bytes)
            }
        }
    };
}

pub(super) use {datagrams, delegate, socket, stream, timeouts};
