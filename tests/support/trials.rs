//! The `main` of a test program without libtest, whose tests run in processes of their own. See `subprocess.rs`.

use crate::support::subprocess::{CASE, Case, Ended, is_patched, run};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

/// The `main` of a test program without libtest.
///
/// Each of `alone` is a test: it succeeds if its child exits with 0. `others` are cases that `tests` run. If the
/// feature `patch` is on, each test runs twice: without a patch and patched.
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
