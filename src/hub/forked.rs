//! After `fork`, in the child: one OS thread is left, and the stack that it stands on.
//!
//! The child has a copy of everything that its parent had, and little of it is its own: the green threads are the
//! parent's, and would do the parent's work a second time; the epoll instance is *shared*, so to take a descriptor out
//! of it would take it from the parent; locks may have been copied while another OS thread held them. So the child
//! begins with nothing: a new hub, whose root is the stack that has called `fork`, be it a green thread's.

use super::{Hub, existing, local};
use crate::{fds, futex};

/// Makes a new hub in the place of the one that was inherited, if one was.
pub(crate) fn begin_anew() {
    fds::forget_all();
    futex::forget_all();
    if existing().is_some() {
        local::replace(Box::leak(Box::new(Hub::new())));
    }
}
