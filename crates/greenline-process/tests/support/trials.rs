//! The `main` of a test program without libtest, whose tests run in processes of their own. See `subprocess.rs`.

use crate::support::subprocess::{CASE, Case, Ended, is_patched, run};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

/// The `main` of a test program without libtest.
///
/// Each case of `alone`, by module, is a test: it succeeds if its child exits with 0. `others` are cases that `tests` run. If
/// the feature `patch` is on, each test runs twice: without a patch and patched.
pub(crate) fn main(
    alone: &[(&str, &[Case])],
    others: &[Case],
    tests: &[(&'static str, fn(bool))],
) -> ExitCode {
    let cases = || {
        let alone = alone.iter().flat_map(|&(module, cases)| cases.iter().map(move |case| (module, case)));
        alone.map(|(module, (name, case))| (format!("{module}::{name}"), *case))
    };
    if let Ok(name) = std::env::var(CASE) {
        let others = others.iter().map(|(name, case)| ((*name).to_owned(), *case));
        let (_, case) = cases().chain(others).find(|case| case.0 == name).expect("a case of that name");
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
        for (name, _) in cases() {
            let title = format!("{name}{suffix}");
            let trial = move || match run(&name, patched) {
                Ended { code: 0, .. } => Ok(()),
                ended => Err(Failed::from(format!("{ended:#?}").replace("\\n", "\n"))),
            };
            trials.push(Trial::test(title, trial));
        }
        for &(name, test) in tests {
            let trial = move || {
                test(patched);
                Ok(())
            };
            trials.push(Trial::test(format!("{name}{suffix}"), trial));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
