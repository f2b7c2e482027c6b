//! Cases that run in a process of their own: for tests about processes, and about how they end.
//!
//! A child is the test program again, with the name of the case in the environment. There are two kinds of test
//! programs. One without libtest (`harness = false`) calls the `main` of `trials.rs`. One with libtest says [`run_cases_before_main!`].
//! Both then run cases by [`run`] or [`output`], or start a
//! child by [`command`] and talk to it.
//!
//! A child that hangs is killed, together with every process it has started, and its test fails.

use super::time::HANG_TIMEOUT;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Environment variable that holds the name of the case that a child is to run.
pub(crate) const CASE: &str = "GREENLINE_TEST_CASE";
/// Environment variable that is set if a child is to patch before it runs its case.
const PATCHED: &str = "GREENLINE_TEST_PATCHED";
/// Seconds after which the kernel ends a test program with libtest, or a child of one, that hangs.
const ALARM_SECONDS: u32 = 300;

pub(crate) type Case = (&'static str, fn());

/// How a child has ended, and its output.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit code, or the negated number of the signal that killed the child, as from `Child::exit_code`.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Fails the test, with the child's output, if the child has not exited with 0. Returns what it printed.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.stdout
    }
}

/// Returns whether this child is to be patched.
pub(crate) fn is_patched() -> bool {
    std::env::var_os(PATCHED).is_some()
}

/// Makes a child of a test program with libtest call `$run` with the name of its case, instead of libtest's `main`.
///
/// The case runs on the main thread, before `main`. Therefore it sees what a program's `main` sees: the hub cannot tell
/// the difference. If it panics, the child exits with 101.
macro_rules! run_cases_before_main {
    ($run:path) => {
        #[used]
        #[unsafe(link_section = ".init_array")]
        static RUN_CASE_BEFORE_MAIN: extern "C" fn() = {
            extern "C" fn before_main() {
                $crate::support::subprocess::run_case($run);
            }
            before_main
        };
    };
}
pub(crate) use run_cases_before_main;

/// If this process is a child, runs its case and exits. See [`run_cases_before_main!`].
pub(crate) fn run_case(run: fn(&str)) {
    // SAFETY: no pointers. The alarm is for this process only: a child of its own has none after its fork.
    unsafe { libc::alarm(ALARM_SECONDS) };
    if let Ok(case) = std::env::var(CASE) {
        let result = std::panic::catch_unwind(|| run(&case));
        std::process::exit(if result.is_ok() { 0 } else { 101 });
    }
}

/// Returns the command that runs `case` in a child, without a patch.
pub(crate) fn command(case: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(CASE, case).env("RUST_BACKTRACE", "0");
    command
}

/// Runs `case` to its end, without a patch.
pub(crate) fn output(case: &str) -> Ended {
    finish(command(case), |_| true)
}

/// Runs `case` to its end, without a patch, for as long as the alarm of the test program allows.
pub(crate) fn output_of_long(case: &str) -> Ended {
    finish_within(command(case), |_| true, Duration::from_secs(ALARM_SECONDS.into()))
}

/// Runs `case` to its end, patched if that is wanted.
pub(crate) fn run(case: &str, patched: bool) -> Ended {
    run_until(case, patched, |_| true)
}

/// Runs `case` to its end. Then waits for the processes it has left behind, until the output is `enough`.
pub(crate) fn run_until(case: &str, patched: bool, enough: impl Fn(&str) -> bool) -> Ended {
    let mut command = command(case);
    if patched {
        command.env(PATCHED, "yes");
    }
    finish(command, enough)
}

/// Runs `command` to its end. Then waits for the processes it has left behind, until the output is `enough`.
pub(crate) fn finish(command: Command, enough: impl Fn(&str) -> bool) -> Ended {
    finish_within(command, enough, HANG_TIMEOUT)
}

fn finish_within(mut command: Command, enough: impl Fn(&str) -> bool, limit: Duration) -> Ended {
    let (mut out, mut err) = (file(), file());
    let clone = |file: &File| Stdio::from(file.try_clone().unwrap());
    // Not pipes: a process that is left behind would keep them open.
    command.process_group(0).stdin(Stdio::piped()).stdout(clone(&out)).stderr(clone(&err));
    let mut child = command.spawn().unwrap();
    let group = child.id() as i32;
    let deadline = Instant::now() + limit;
    let mut status = None;
    while Instant::now() < deadline {
        status = child.try_wait().unwrap();
        if status.is_some() && enough(&text(&mut out)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // SAFETY: no preconditions. The group exists as long as its leader is not reaped, or another process is in it.
    unsafe { libc::kill(-group, libc::SIGKILL) };
    let hung = status.is_none();
    let status = status.unwrap_or_else(|| child.wait().unwrap());
    let (stdout, mut stderr) = (text(&mut out), text(&mut err));
    if hung {
        stderr.push_str("(it hung, and was killed)\n");
    }
    let code = status.code().unwrap_or_else(|| -status.signal().unwrap_or(0));
    Ended { code, stdout, stderr }
}

/// Returns a file without a name. Several processes may write to it: each write goes to its end.
fn file() -> File {
    let path = std::env::temp_dir().join(format!(
        "greenline-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let file = File::options().read(true).append(true).create(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
