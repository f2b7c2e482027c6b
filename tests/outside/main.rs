//! Behaviour that only another process can observe: the output of a program, and how it ends. Each case runs in a child.

mod program;
#[cfg(feature = "patch")]
mod std_program;
#[path = "../support/mod.rs"]
mod support;

support::subprocess::run_cases_before_main!(run);

/// Runs a case in a child. Its name begins with its module.
fn run(case: &str) {
    match case.split_once("::").expect("a module and a case") {
        ("program", case) => program::run(case),
        #[cfg(feature = "patch")]
        ("std_program", case) => std_program::run(case),
        _ => panic!("there is no case {case}"),
    }
}
