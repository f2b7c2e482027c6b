//! What goes wrong with connections of `greenline::net`, without any patch.

use greenline::net::{TcpListener, TcpStream, UnixStream};

#[path = "shared/bad_days.rs"]
mod bad_days;

fn prepare() {}

fn run(case: &str) {
    unreachable!("there is no case '{case}'");
}
