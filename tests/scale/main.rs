//! Many green threads, many connections, and memory that is given back. Each test measures a whole process, so each runs in a
//! child of its own.

#[cfg(feature = "patch")]
mod connections;
mod memory;
mod million;
#[cfg(feature = "patch")]
mod std_memory;
#[path = "../support/mod.rs"]
mod support;

support::subprocess::run_cases_before_main!(run);

macro_rules! tests {
    ($($(#[$attr:meta])* $module:ident::$name:ident,)*) => {
        fn run(case: &str) {
            match case {
                $($(#[$attr])* stringify!($name) => $module::$name(),)*
                #[cfg(feature = "patch")]
                address => connections::clients(address),
                #[cfg(not(feature = "patch"))]
                other => panic!("there is no case {other}"),
            }
        }

        $($(#[$attr])* #[test]
        fn $name() {
            print!("{}", support::subprocess::output_of_long(stringify!($name)).success());
        })*
    };
}

tests! {
    million::spawn_of_a_million_green_threads_that_sleep_at_once_succeeds,
    memory::memory_of_kills_timeouts_generators_and_hubs_is_given_back,
    #[cfg(feature = "patch")]
    std_memory::spawn_and_join_of_a_million_threads_leak_nothing,
    #[cfg(feature = "patch")]
    connections::tcp_listener_serves_5000_connections_by_threads_on_one_os_thread,
    #[cfg(feature = "patch")]
    connections::tcp_stream_threads_hold_10000_idle_connections_and_then_use_all,
    #[cfg(feature = "patch")]
    connections::tcp_listener_serves_50000_connections_in_a_row_without_a_leak,
}
