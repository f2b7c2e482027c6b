//! libcurl, unmodified: a library in C. In Debian it is a shared library, and finds greenline's symbols in the program. The
//! server is in this process, with a green thread for each connection, and slow. If a client blocked the OS thread, the
//! server could never respond.

use curl::easy::{Easy, ReadError};
use curl::multi::Multi;
use greenline_clients::{crowd, overlapping};
use std::ffi::{CString, c_void};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

greenline_clients::main![
    dlsym_finds_the_programs_own_symbols,
    easy_perform_of_slow_responses_overlaps,
    multi_poll_of_three_transfers_in_each_thread_overlaps,
    easy_put_of_large_bodies_returns_them_whole,
    easy_timeout_ends_the_wait,
    easy_perform_of_a_refused_connection_returns_an_error,
];

const PIECES: usize = 5;
const PAUSE: Duration = Duration::from_millis(50);
const BODY: usize = 100_000;

/// A server that ends when it is dropped.
struct Site {
    address: SocketAddr,
    open: Arc<AtomicBool>,
    listener: Option<thread::JoinHandle<()>>,
}

impl Site {
    fn new() -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(AtomicBool::new(true));
        let is_open = open.clone();
        let listener = thread::spawn(move || {
            while let (stream, _) = listener.accept().unwrap()
                && is_open.load(SeqCst)
            {
                // `serve` fails if the client goes away.
                thread::spawn(|| serve(stream));
            }
        });
        Site { address, open, listener: Some(listener) }
    }

    fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}/{path}", self.address.port())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.open.store(false, SeqCst);
        TcpStream::connect(self.address).unwrap();
        self.listener.take().unwrap().join().unwrap();
    }
}

/// Sends back the body of a PUT, or a text if there is no body, in pieces with a pause before each.
fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    let mut output = stream;
    loop {
        let mut len = 0;
        let mut line = String::new();
        while {
            line.clear();
            input.read_line(&mut line)? > 2
        } {
            let line = line.to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                len = value.trim().parse().unwrap();
            }
            if line.starts_with("expect:") {
                output.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
        }
        if line.is_empty() {
            return Ok(());
        }
        let mut body = vec![0; len];
        input.read_exact(&mut body)?;
        if body.is_empty() {
            body = b"slowly ".repeat(PIECES);
        }
        write!(output, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
        for piece in body.chunks(body.len().div_ceil(PIECES)) {
            thread::sleep(PAUSE);
            output.write_all(piece)?;
        }
    }
}

fn easy(url: &str) -> Easy {
    let mut easy = Easy::new();
    easy.url(url).unwrap();
    easy
}

/// Returns the response of the URL.
fn get(easy: &mut Easy) -> Result<Vec<u8>, curl::Error> {
    let mut got = Vec::new();
    let mut transfer = easy.transfer();
    transfer.write_function(|bytes| {
        got.extend_from_slice(bytes);
        Ok(bytes.len())
    })?;
    transfer.perform()?;
    drop(transfer);
    Ok(got)
}

/// Returns the base of the file that the loader has mapped at an address.
fn file_of(address: *const c_void) -> *mut c_void {
    // SAFETY: all zeros is a value of the information; the call accepts any address.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        assert_ne!(libc::dladdr(address, &raw mut info), 0);
        info.dli_fbase
    }
}

/// The loader binds a shared library's calls to the program's symbols first, and then to the C library's.
fn dlsym_finds_the_programs_own_symbols() {
    let program = file_of(file_of as *const c_void);
    for covered in greenline::patch::coverage() {
        let name = CString::new(covered.symbol).unwrap();
        // SAFETY: the name ends in 0.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        assert!(!found.is_null() && file_of(found) == program, "{}", covered.symbol);
    }
}

fn easy_perform_of_slow_responses_overlaps() {
    println!("     {}", curl::Version::get().version());
    let site = Site::new();
    // For a host name, libcurl starts a thread that looks it up.
    let urls = ["127.0.0.1", "localhost"].map(|host| site.url(host, ""));
    overlapping(2 * PIECES as u32 * PAUSE, || {
        crowd(move |n| {
            let mut easy = easy(&urls[n % 2]);
            for _ in 0..2 {
                assert_eq!(get(&mut easy).unwrap(), b"slowly ".repeat(PIECES));
            }
            assert_eq!(easy.response_code().unwrap(), 200);
        })
    });
}

fn multi_poll_of_three_transfers_in_each_thread_overlaps() {
    let site = Site::new();
    let url = site.url("127.0.0.1", "");
    overlapping(PIECES as u32 * PAUSE, || {
        crowd(move |_| {
            let multi = Multi::new();
            let handles: Vec<_> = (0..3).map(|_| multi.add(easy(&url)).unwrap()).collect();
            while multi.perform().unwrap() > 0 {
                multi.poll(&mut [], Duration::from_secs(10)).unwrap();
            }
            let mut done = 0;
            multi.messages(|message| {
                message.result().unwrap().unwrap();
                done += 1;
            });
            assert_eq!(done, handles.len());
        })
    });
}

fn easy_put_of_large_bodies_returns_them_whole() {
    let site = Site::new();
    let url = site.url("127.0.0.1", "");
    overlapping(PIECES as u32 * PAUSE, || {
        crowd(move |n| {
            let bytes: Vec<u8> = (0..BODY + n).map(|at| (at * 31 + n) as u8).collect();
            let (mut rest, mut back) = (&bytes[..], Vec::new());
            let mut easy = easy(&url);
            easy.put(true).unwrap();
            easy.in_filesize(bytes.len() as u64).unwrap();
            let mut transfer = easy.transfer();
            transfer.read_function(|room| rest.read(room).map_err(|_| ReadError::Abort)).unwrap();
            transfer
                .write_function(|bytes| {
                    back.extend_from_slice(bytes);
                    Ok(bytes.len())
                })
                .unwrap();
            transfer.perform().unwrap();
            drop(transfer);
            assert!(back == bytes, "{n}: {} bytes", back.len());
        })
    });
}

fn easy_timeout_ends_the_wait() {
    let site = Site::new();
    let url = site.url("127.0.0.1", "");
    overlapping(PAUSE * 3 / 2, || {
        crowd(move |_| {
            let mut easy = easy(&url);
            easy.timeout(PAUSE * 3 / 2).unwrap();
            assert!(get(&mut easy).unwrap_err().is_operation_timedout());
        })
    });
}

fn easy_perform_of_a_refused_connection_returns_an_error() {
    // No server listens on this port, and the kernel does not give it out.
    crowd(|_| assert!(get(&mut easy("http://127.0.0.1:1/")).unwrap_err().is_couldnt_connect()));
}
