//! Resource limits of this process.

use std::fs::File;

fn set(resource: libc::__rlimit_resource_t, value: u64) {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: `limit` is a valid limit.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// Limits the address space.
pub(crate) fn limit_memory(bytes: u64) {
    set(libc::RLIMIT_AS, bytes);
}

/// Limits the numbers of new descriptors to those below `count`.
pub(crate) fn limit_fds(count: u64) {
    set(libc::RLIMIT_NOFILE, count);
}

/// Limits the numbers of new descriptors to those below `count`, and opens files until none is left.
pub(crate) fn exhaust_fds(count: u64) -> Vec<File> {
    limit_fds(count);
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// Raises the limit of descriptors as far as this process may. Returns the limit.
pub(crate) fn raise_fd_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the first call writes `limit`, the second one reads it.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    limit.rlim_max
}
