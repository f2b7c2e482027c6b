//! Errors of connections of `greenline::net`, without a patch.

use greenline::net::{TcpStream, UnixStream};

mod support;

#[path = "support/net_errors.rs"]
mod net_errors;

use support::sockets::{listener, tcp_pair};

fn prepare() {}

fn run(case: &str) {
    unreachable!("there is no case '{case}'");
}
