//! A file without a name that a process and its child both have, and that lives in memory: `memfd_create`, Linux 3.17.
//!
//! The child writes once, the parent reads once the child is gone. The length comes first and is written last: a letter
//! that a dying child has not finished is empty.

use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

/// Where the text begins, behind its length.
const HEAD: u64 = size_of::<u64>() as u64;

pub(super) struct Letter(File);

impl Letter {
    /// An empty one.
    ///
    /// Errors: no descriptor is left.
    pub(super) fn new() -> io::Result<Letter> {
        match create(libc::MFD_CLOEXEC | libc::MFD_NOEXEC_SEAL) {
            // Before Linux 6.3 there was no such flag.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => create(libc::MFD_CLOEXEC),
            made => made,
        }
    }

    /// Errors: no memory is left. Then it is still empty.
    pub(super) fn write(&self, text: &[u8]) -> io::Result<()> {
        self.0.write_all_at(text, HEAD)?;
        self.0.write_all_at(&(text.len() as u64).to_ne_bytes(), 0)
    }

    /// The text: empty if it was not finished.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let mut length = [0; HEAD as usize];
        if self.0.metadata()?.len() < HEAD {
            return Ok(Vec::new());
        }
        self.0.read_exact_at(&mut length, 0)?;
        let mut text = vec![0; u64::from_ne_bytes(length) as usize];
        self.0.read_exact_at(&mut text, HEAD)?;
        Ok(text)
    }
}

fn create(flags: libc::c_uint) -> io::Result<Letter> {
    // SAFETY: a name that ends in 0.
    let fd = unsafe { libc::memfd_create(c"greenline-answer".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    crate::fds::forget(fd);
    // SAFETY: the kernel has just made it for us.
    Ok(Letter(unsafe { File::from_raw_fd(fd) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_finished_is_empty() {
        let letter = Letter::new().unwrap();
        assert_eq!(letter.read().unwrap(), b"");
        letter.0.write_all_at(b"half of a te", HEAD).unwrap();
        assert_eq!(letter.read().unwrap(), b"");
        letter.write(b"half of a text, and the other").unwrap();
        assert_eq!(letter.read().unwrap(), b"half of a text, and the other");
    }
}
