//! An unnamed file in memory that a process and its child both have open (`memfd_create`, since Linux 3.17).
//!
//! The child writes once. The parent reads after the child has ended. The length comes first in the file and is written
//! last. Therefore a file that a dying child has not finished is empty.
//!
//! Next: `model/worker_error.rs`, what the parent makes of an empty file.

use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

/// Size of the length, in bytes. The content begins behind it.
const HEADER: u64 = size_of::<u64>() as u64;

pub(super) struct ResultFile(File);

impl ResultFile {
    /// Creates an empty file.
    ///
    /// Errors: no descriptor is left.
    pub(super) fn new() -> io::Result<ResultFile> {
        match create(libc::MFD_CLOEXEC | libc::MFD_NOEXEC_SEAL) {
            // Linux before 6.3 does not know `MFD_NOEXEC_SEAL`.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => create(libc::MFD_CLOEXEC),
            made => made,
        }
    }

    /// Errors: no memory is left. Then the file is still empty.
    pub(super) fn write(&self, content: &[u8]) -> io::Result<()> {
        self.0.write_all_at(content, HEADER)?;
        self.0.write_all_at(&(content.len() as u64).to_ne_bytes(), 0)
    }

    /// Returns the content, which is empty if `write` was not finished.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let mut length = [0; HEADER as usize];
        if self.0.metadata()?.len() < HEADER {
            return Ok(Vec::new());
        }
        self.0.read_exact_at(&mut length, 0)?;
        let mut content = vec![0; u64::from_ne_bytes(length) as usize];
        self.0.read_exact_at(&mut content, HEADER)?;
        Ok(content)
    }
}

fn create(flags: libc::c_uint) -> io::Result<ResultFile> {
    // SAFETY: the name is a C string.
    let fd = unsafe { libc::memfd_create(c"greenline-result".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    crate::fd_table::invalidate(fd);
    // SAFETY: the kernel has just opened the descriptor, and nobody else owns it.
    Ok(ResultFile(unsafe { File::from_raw_fd(fd) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_file_read_before_write_has_finished_is_empty() {
        let file = ResultFile::new().unwrap();
        assert_eq!(file.read().unwrap(), b"");
        file.0.write_all_at(b"half of a te", HEADER).unwrap();
        assert_eq!(file.read().unwrap(), b"");
        file.write(b"half of a text, and the other").unwrap();
        assert_eq!(file.read().unwrap(), b"half of a text, and the other");
    }
}
