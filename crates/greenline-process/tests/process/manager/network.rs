//! Managers on TCP, lookups by name, and the handshake with ends that must be refused.

use super::{LONG, child, children, joined, manager};
use greenline::net::{TcpListener, TcpStream, UnixStream};
use greenline::{sleep, spawn};
use greenline_process::manager::{Dict, Manager, ManagerError, Queue, RemoteManager};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::time::{Duration, Instant};

const KEY: &[u8] = b"a long and secret key";

fn tcp_manager() -> Manager {
    Manager::builder().tcp("127.0.0.1:0").unwrap().key(KEY).start().unwrap()
}

pub(crate) fn publish_makes_objects_findable_over_tcp() {
    let manager = tcp_manager();
    let address = manager.tcp_addr().unwrap();
    let (jobs, results) = (manager.queue::<u32>(0).unwrap(), manager.dict::<u32, u32>().unwrap());
    manager.publish("jobs", &jobs).unwrap();
    manager.publish("results", &results).unwrap();
    assert!(matches!(manager.publish("jobs", &results), Err(ManagerError::Name { .. })));
    manager.publish("jobs", &jobs).unwrap();
    let elsewhere = Manager::start().unwrap();
    assert!(matches!(elsewhere.publish("jobs", &jobs), Err(ManagerError::Name { .. })));
    let workers = children(2, move || {
        let manager = RemoteManager::connect(address, KEY).unwrap();
        let jobs = manager.find::<Queue<u32>>("jobs").unwrap();
        let results = manager.find::<Dict<u32, u32>>("results").unwrap();
        for n in jobs.iter() {
            results.insert(&n, &(n * n)).unwrap();
        }
        assert!(matches!(manager.find::<Queue<u32>>("nothing"), Err(ManagerError::Name { .. })));
        let error = manager.find::<Queue<u32>>("results").unwrap_err().to_string();
        assert_eq!(error, "the caller asked for a Queue, but the object is a Dict");
    });
    (1..=20).for_each(|n| jobs.put(n).unwrap());
    jobs.close().unwrap();
    joined(workers);
    assert_eq!(results.len().unwrap(), 20);
    assert_eq!(results.get(&20).unwrap(), Some(400));
    // A serialised proxy does not contain the key of a manager on TCP.
    let packed = postcard::to_allocvec(&jobs).unwrap();
    assert!(!packed.windows(KEY.len()).any(|bytes| bytes == KEY));
    drop(manager);
    match jobs.len() {
        Err(error @ ManagerError::Gone { .. }) => assert!(error.to_string().contains(&address.to_string())),
        other => panic!("{other:?}"),
    }
}

/// Asserts that the manager at `address` refuses the key, or is refused, for the given reason.
fn assert_refused(address: SocketAddr, key: &[u8], cause: &str) {
    match RemoteManager::connect(address, key) {
        Err(error @ ManagerError::Refused { .. }) => {
            let text = error.to_string();
            assert!(text.starts_with(&format!("the manager at {address}: refused: {cause}")), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn connect_with_wrong_key_is_refused() {
    let manager = tcp_manager();
    let address = manager.tcp_addr().unwrap();
    for key in [&b"wrong"[..], b"", b"a long and secret kex"] {
        assert_refused(address, key, "the key is wrong");
    }
    RemoteManager::connect(address, KEY).unwrap();
    assert!(Manager::builder().tcp("127.0.0.1:0").unwrap().start().is_err());
    assert!(Manager::builder().tcp("127.0.0.1:0").unwrap().key("").start().is_err());
    assert!(Manager::builder().key("").start().is_err());
}

/// Tests nothing if it does not run as root.
pub(crate) fn connect_by_another_user_is_refused() {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    let manager = manager();
    let queue = manager.queue::<u32>(0).unwrap();
    let text = format!("{queue:?}");
    let name = text[text.find('@').unwrap() + 1..].trim_end_matches(')').to_string();
    let inside = queue.clone();
    joined([child(move || {
        // SAFETY: setresuid takes no pointers.
        assert_eq!(unsafe { libc::setresuid(65534, 65534, 65534) }, 0);
        match inside.len() {
            Err(error @ ManagerError::Refused { .. }) => {
                assert!(error.to_string().contains("belongs to user 0"), "{error}")
            }
            other => panic!("{other:?}"),
        }
        // The server closes the connection before it sends anything.
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let mut stream = UnixStream::connect_addr(&address).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    })]);
    queue.put(1).unwrap();
}

/// Sends `bytes` to the server at `address`. Returns what the server sends until it closes the connection.
fn send_raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG / 2)).unwrap();
    // The server may close the connection before it has read all bytes.
    let _ = stream.write_all(bytes);
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => received,
    }
}

pub(crate) fn handshake_drops_garbage_and_silence() {
    let manager = tcp_manager();
    let address = manager.tcp_addr().unwrap();
    let queue = manager.queue::<u32>(0).unwrap();
    for bytes in [&[0xff; 64][..], &[0; 64], &[b'x'; 100_000], b"GET / HTTP/1.1\r\n\r\n"] {
        let reply = send_raw(address, bytes);
        assert!(reply.starts_with(b"greenline manager 2\n") && reply.len() <= 20 + 32 + 33, "{reply:?}");
        // After the challenge the server sends at most a refusal, and no proof.
        assert!(reply[reply.len().min(52)..].iter().all(|&byte| byte == 0), "{reply:?}");
    }
    // A client that sends nothing, or one byte now and then, is dropped. The server serves others meanwhile.
    let slow = spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let start = Instant::now();
        while stream.write_all(&[0]).is_ok() && start.elapsed() < LONG / 2 {
            sleep(Duration::from_millis(200));
        }
        start.elapsed()
    });
    let silent = spawn(move || send_raw(address, b""));
    for n in 0..10 {
        queue.put(n).unwrap();
    }
    assert_eq!(silent.join().unwrap().len(), 52);
    assert!(slow.join().unwrap() < LONG / 2);
    assert_eq!(queue.len().unwrap(), 10);
}

pub(crate) fn connect_to_false_manager_is_refused() {
    // For each false manager: its answer to the client's 64 bytes, and the reason for which the client refuses it.
    type Answer = fn(&[u8]) -> Vec<u8>;
    let answers: [(Answer, &str); 3] = [
        (|_| [&[1][..], &[0; 32]].concat(), "the other end does not have the key"),
        // Sends the client's own proof back.
        (|client| [&[1], &client[32..]].concat(), "the other end does not have the key"),
        (|_| [&[0][..], &[0; 32]].concat(), "the key is wrong"),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = spawn(move || {
        for (answer, _) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&[&b"greenline manager 2\n"[..], &[7; 32]].concat()).unwrap();
            let mut client = [0; 64];
            stream.read_exact(&mut client).unwrap();
            stream.write_all(&answer(&client)).unwrap();
            let _ = stream.read(&mut [0]);
        }
        // A server of another protocol.
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 mail.example.org ESMTP ready").unwrap();
        drop(stream);
        // A server that sends nothing.
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0]);
    });
    let causes = answers.iter().map(|&(_, cause)| cause);
    for cause in causes.chain(["the other end is no manager", "no manager has answered"]) {
        assert_refused(address, KEY, cause);
    }
    server.join().unwrap();
}
