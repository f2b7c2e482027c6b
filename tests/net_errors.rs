//! What goes wrong with connections of `greenline::net`, without any patch.

use greenline::net::{TcpListener, TcpStream, UnixStream};

mod support;

#[path = "support/net_errors.rs"]
mod net_errors;

fn prepare() {}

fn run(case: &str) {
    unreachable!("there is no case '{case}'");
}
