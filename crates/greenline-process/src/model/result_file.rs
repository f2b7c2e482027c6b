//! An unnamed file in memory that a process and its child both have open (`memfd_create`, since Linux 3.17).
//!
//! The child writes once. The parent reads after the child has ended. The first byte of the file is zero at first, and is
//! written last. Therefore it is zero in a file that a dying child has not finished.
//!
//! Next: `model/worker_error.rs`, what the parent makes of such a file.

use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

pub(super) struct ResultFile(File);

impl ResultFile {
    /// Creates a file of one byte, which is zero.
    ///
    /// Errors: no descriptor is left.
    pub(super) fn new() -> io::Result<ResultFile> {
        let file = match create(libc::MFD_CLOEXEC | libc::MFD_NOEXEC_SEAL) {
            // Linux before 6.3 does not know `MFD_NOEXEC_SEAL`.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => create(libc::MFD_CLOEXEC),
            made => made,
        }?;
        file.set_len(1)?;
        Ok(ResultFile(file))
    }

    /// Writes a content whose first byte is not zero.
    ///
    /// Errors: no memory is left. Then the first byte of the file is still zero.
    pub(super) fn write(&self, content: &[u8]) -> io::Result<()> {
        self.0.write_all_at(&content[1..], 1)?;
        self.0.write_all_at(&content[..1], 0)
    }

    /// Returns the content. Its first byte is zero if `write` was not finished.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let mut content = vec![0; self.0.metadata()?.len() as usize];
        self.0.read_exact_at(&mut content, 0)?;
        Ok(content)
    }
}

fn create(flags: libc::c_uint) -> io::Result<File> {
    // SAFETY: the name is a C string.
    let fd = unsafe { libc::memfd_create(c"greenline-result".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    greenline::internals::invalidate_fd(fd);
    // SAFETY: the kernel has just opened the descriptor for this function, so it has no other owner.
    Ok(unsafe { File::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_file_read_before_write_has_finished_begins_with_zero() {
        let file = ResultFile::new().unwrap();
        assert_eq!(file.read().unwrap(), [0]);
        file.0.write_all_at(b"alf of a te", 1).unwrap();
        assert_eq!(file.read().unwrap(), b"\0alf of a te");
        file.write(b"half of a text, and the other").unwrap();
        assert_eq!(file.read().unwrap(), b"half of a text, and the other");
    }
}
