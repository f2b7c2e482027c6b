//! The calling OS thread's segments of thread-local storage, one for each loaded object that has any, as
//! `dl_iterate_phdr` reports them.
//!
//! Next: `sys/current_word.rs`, the one thread-local that scheduling needs.
#![allow(unsafe_code)]

/// A segment of thread-local storage that belongs to the calling OS thread.
pub(crate) struct TlsSegment {
    /// Lowest address.
    pub(crate) at: usize,
    /// Size in bytes.
    pub(crate) len: usize,
    /// The loader's number of the object; 1 is the executable.
    pub(crate) module: usize,
}

/// Returns all segments that the calling OS thread has. The loader holds its lock meanwhile.
pub(crate) fn tls_segments() -> Vec<TlsSegment> {
    unsafe extern "C" fn each(info: *mut libc::dl_phdr_info, _: usize, found: *mut libc::c_void) -> i32 {
        // SAFETY: the loader's description is valid during the call; `found` is the vector below.
        unsafe {
            let info = &*info;
            for n in 0..info.dlpi_phnum as usize {
                let header = &*info.dlpi_phdr.add(n);
                let at = info.dlpi_tls_data as usize;
                if header.p_type == libc::PT_TLS && at != 0 {
                    let (len, module) = (header.p_memsz as usize, info.dlpi_tls_modid);
                    (*found.cast::<Vec<TlsSegment>>()).push(TlsSegment { at, len, module });
                }
            }
        }
        0
    }
    let mut found: Vec<TlsSegment> = Vec::new();
    // SAFETY: only `each` uses the vector during the call.
    unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut found).cast()) };
    found
}
