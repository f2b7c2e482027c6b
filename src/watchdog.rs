//! stub
pub(crate) fn os_threads() -> u64 {
    0
}
