//! Cases that run in a process of their own, from its `main` on: this program again, with the case's name in the
//! environment. For what is about processes, and about how they end.
//!
//! A case that hangs is killed, with all that it has started, and has failed.

use libtest_mimic::{Arguments, Failed, Trial};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const CASE: &str = "GREENLINE_TEST_CASE";
const PATCHED: &str = "GREENLINE_TEST_PATCHED";
/// How long a case may take, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type Case = (&'static str, fn());

/// What came of a case.
#[derive(Debug)]
pub(crate) struct Ended {
    /// As `Child::exit_code`.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Whether the case that runs is the patched one.
pub(crate) fn is_patched() -> bool {
    std::env::var_os(PATCHED).is_some()
}

/// The `main` of such a test. Each of `alone` is a test by itself: it has to end with 0. The others are for `tests`.
pub(crate) fn main(alone: &[Case], others: &[Case], tests: Vec<(&'static str, fn(bool))>) -> ExitCode {
    if let Ok(name) = std::env::var(CASE) {
        let (_, case) = alone.iter().chain(others).find(|case| case.0 == name).expect("a case of that name");
        #[cfg(feature = "patch")]
        if is_patched() {
            greenline::patch::all();
        }
        case();
        return ExitCode::SUCCESS;
    }
    let ways =
        if cfg!(feature = "patch") { &[(false, ""), (true, ", patched")][..] } else { &[(false, "")][..] };
    let mut trials = Vec::new();
    for &(patched, suffix) in ways {
        for &(name, _) in alone {
            let trial = move || match run(name, patched) {
                Ended { code: 0, .. } => Ok(()),
                ended => Err(Failed::from(format!("{ended:#?}").replace("\\n", "\n"))),
            };
            trials.push(Trial::test(format!("{name}{suffix}"), trial));
        }
        for &(name, test) in &tests {
            let trial = move || {
                test(patched);
                Ok(())
            };
            trials.push(Trial::test(format!("{name}{suffix}"), trial));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Runs a case to its end.
pub(crate) fn run(name: &str, patched: bool) -> Ended {
    run_until(name, patched, |_| true)
}

/// Runs a case to its end, and then waits for those it has left behind, until what was said is `enough`.
pub(crate) fn run_until(name: &str, patched: bool, enough: impl Fn(&str) -> bool) -> Ended {
    let (mut out, mut err) = (file(), file());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(CASE, name).env("RUST_BACKTRACE", "0").process_group(0);
    if patched {
        command.env(PATCHED, "yes");
    }
    let clone = |file: &File| Stdio::from(file.try_clone().unwrap());
    // Not pipes: whoever is left behind would keep them open.
    let mut main = command.stdin(Stdio::piped()).stdout(clone(&out)).stderr(clone(&err)).spawn().unwrap();
    let group = main.id() as i32;
    let deadline = Instant::now() + PATIENCE;
    let mut status = None;
    while Instant::now() < deadline {
        status = main.try_wait().unwrap();
        if status.is_some() && enough(&text(&mut out)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // SAFETY: no preconditions. The group is there as long as its leader is not reaped; or whoever is left.
    unsafe { libc::kill(-group, libc::SIGKILL) };
    let hung = status.is_none();
    let status = status.unwrap_or_else(|| main.wait().unwrap());
    let (stdout, mut stderr) = (text(&mut out), text(&mut err));
    if hung {
        stderr.push_str("(it hung, and was killed)\n");
    }
    let code = status.code().unwrap_or_else(|| -status.signal().unwrap_or(0));
    Ended { code, stdout, stderr }
}

/// A file without a name. What several write to it stands one behind the other.
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
