//! The `main` of a test program without libtest, whose tests run in processes of their own. See `subprocess.rs`.

use super::subprocess::{CASE, Case, Ended, is_patched, run};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

/// The cases of one module. Each is a test: it succeeds if its child exits with 0.
pub(crate) struct Group {
    pub(crate) module: &'static str,
    pub(crate) cases: &'static [Case],
    /// Whether each case also runs patched, if the feature `patch` is on.
    pub(crate) also_patched: bool,
    /// Calls a case in its child.
    pub(crate) call: fn(fn()),
}

impl Group {
    /// Returns a group whose cases run twice: without a patch and patched.
    pub(crate) const fn both_ways(module: &'static str, cases: &'static [Case]) -> Group {
        Group { module, cases, also_patched: true, call: |case| case() }
    }

    fn case(&self, name: &str) -> Option<fn()> {
        let name = name.strip_prefix(self.module)?.strip_prefix("::")?;
        self.cases.iter().find(|case| case.0 == name).map(|case| case.1)
    }
}

/// The `main` of a test program without libtest. `others` are cases that `tests` run, each without a patch and patched.
pub(crate) fn main(groups: &[Group], others: &[Case], tests: &[(&'static str, fn(bool))]) -> ExitCode {
    if let Ok(name) = std::env::var(CASE) {
        #[cfg(feature = "patch")]
        if is_patched() {
            greenline::patch::all();
        }
        match groups.iter().find_map(|group| Some((group.call, group.case(&name)?))) {
            Some((call, case)) => call(case),
            None => others.iter().find(|case| case.0 == name).expect("a case of that name").1(),
        }
        return ExitCode::SUCCESS;
    }
    let ways =
        if cfg!(feature = "patch") { &[(false, ""), (true, ", patched")][..] } else { &[(false, "")][..] };
    let mut trials = Vec::new();
    for &(patched, suffix) in ways {
        for group in groups.iter().filter(|group| group.also_patched || !patched) {
            for (case, _) in group.cases {
                let name = format!("{}::{case}", group.module);
                let title = format!("{name}{suffix}");
                let trial = move || match run(&name, patched) {
                    Ended { code: 0, .. } => Ok(()),
                    ended => Err(Failed::from(format!("{ended:#?}").replace("\\n", "\n"))),
                };
                trials.push(Trial::test(title, trial));
            }
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
