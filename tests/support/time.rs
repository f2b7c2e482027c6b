//! Durations and limits, and waiting for a condition.

use std::time::{Duration, Instant};

/// Sleep or timeout that no test waits for: the test ends it before.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Time after which a test fails or aborts because something hangs. It is generous, for a busy machine.
pub(crate) const HANG_TIMEOUT: Duration = Duration::from_secs(100);

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Sleeps until `condition` holds, while other green threads run. Fails the test after [`HANG_TIMEOUT`].
#[track_caller]
pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG_TIMEOUT, "the condition never held");
        greenline::sleep(ms(1));
    }
}

/// Yields until every ready green thread has run into its next wait.
pub(crate) fn let_others_run() {
    (0..10).for_each(|_| greenline::yield_now());
}
