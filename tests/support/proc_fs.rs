//! Numbers that the kernel reports for this process in `/proc`.

use std::fs::{read_dir, read_link, read_to_string};

/// Returns the number of open descriptors, including the one that reads the directory.
pub(crate) fn open_fds() -> usize {
    read_dir("/proc/self/fd").unwrap().count()
}

/// Returns the number of open descriptors of a kind, such as `socket:` or `anon_inode:[eventfd]`.
pub(crate) fn open_fds_of(kind: &str) -> usize {
    let links = read_dir("/proc/self/fd").unwrap().filter_map(|link| read_link(link.unwrap().path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with(kind)).count()
}

/// Returns the number of open eventfds. Objects that processes share have some; a hub's epoll and a child's pidfd are
/// not counted.
pub(crate) fn open_eventfds() -> usize {
    open_fds_of("anon_inode:[eventfd]")
}

/// Returns the number of OS threads of this process, including the caller's.
pub(crate) fn os_threads() -> usize {
    read_dir("/proc/self/task").unwrap().count()
}

/// Returns the number of OS threads whose name begins so. A thread that ends meanwhile is not counted.
pub(crate) fn os_threads_named(start: &str) -> usize {
    let names =
        read_dir("/proc/self/task").unwrap().map(|task| read_to_string(task.unwrap().path().join("comm")));
    names.filter(|name| name.as_ref().is_ok_and(|name| name.starts_with(start))).count()
}

/// Returns the value of `key` in a file such as `/proc/self/status`, without its unit. `key` includes the colon.
pub(crate) fn value(file: &str, key: &str) -> String {
    let text = read_to_string(file).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    value.trim().trim_end_matches(" kB").to_owned()
}

/// Returns the memory of this process that is resident, in KiB.
pub(crate) fn resident_kib() -> usize {
    value("/proc/self/status", "VmRSS:").parse().unwrap()
}
