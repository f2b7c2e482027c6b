//! Servers that send back what they get, for the load client to drive.

use crate::usage;
use greenline::net::{TcpListener, TcpStream};
use std::io::{Read, Write};

/// One green thread for each connection.
pub(crate) fn serve(port: usize) {
    let listener = u16::try_from(port).map(|port| TcpListener::bind(("127.0.0.1", port)));
    let listener = match listener {
        Ok(Ok(listener)) => listener,
        Ok(Err(error)) => usage(&format!("port {port}: {error}")),
        Err(_) => usage(&format!("{port} is no port")),
    };
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => drop(greenline::spawn(move || echo(stream))),
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

fn echo(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut bytes = [0; 1024];
    while let Ok(len @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..len]).is_err() {
            return;
        }
    }
}
