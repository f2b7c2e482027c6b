//! SQLite, unmodified, in C. It does not wait for a file lock, but sleeps and tries again. A green thread that sleeps must
//! not keep the holder of the lock from running.

use greenline_clients::{CROWD, crowd, overlapping};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

greenline_clients::main![
    busy_timeout_lets_writers_wait_for_each_other_with_a_wal,
    busy_timeout_lets_writers_wait_for_each_other_with_a_journal,
    transaction_of_a_reader_sees_one_state,
    busy_handler_that_sleeps_lets_writers_wait,
    busy_timeout_ends_the_wait,
    mutex_around_one_connection_lets_all_write,
];

/// A database in a directory of its own. Dropping it removes the directory.
struct Database(PathBuf);

impl Database {
    fn new(name: &str, mode: &str) -> Database {
        let directory = env::temp_dir().join(format!("greenline-{}-{name}", process::id()));
        fs::create_dir_all(&directory).unwrap();
        let database = Database(directory);
        let connection = open(&database.file());
        let () = connection.pragma_update_and_check(None, "journal_mode", mode, |_| Ok(())).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE numbers (writer INTEGER, number INTEGER); CREATE TABLE counts (n INTEGER);
                INSERT INTO counts VALUES (0)",
            )
            .unwrap();
        database
    }

    fn file(&self) -> PathBuf {
        self.0.join("file")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(file: &PathBuf) -> Connection {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    connection.pragma_update(None, "synchronous", "off").unwrap();
    connection
}

fn number(connection: &Connection, query: &str) -> usize {
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

/// Reads a number and writes it plus one, in one transaction. Some writers sleep in between.
fn count_up(connection: &mut Connection, writer: usize) {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let n = number(&transaction, "SELECT n FROM counts");
    if writer % 10 == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    transaction.execute("UPDATE counts SET n = ?", [n + 1]).unwrap();
    transaction.execute("INSERT INTO numbers VALUES (?, ?)", [writer, n]).unwrap();
    transaction.commit().unwrap();
}

/// Lets all write. Their waits for each other add up to far more than the time that has passed.
fn all_write(database: &Database) {
    const TIMES: usize = 2;
    let (file, start) = (database.file(), Instant::now());
    let waited: Duration = crowd(move |writer| {
        let mut connection = open(&file);
        let start = Instant::now();
        (0..TIMES).for_each(|_| count_up(&mut connection, writer));
        start.elapsed()
    })
    .into_iter()
    .sum();
    let took = start.elapsed();
    assert!(took < waited / 5, "waits that add up to {waited:?} took {took:?}");
    println!("     waits that add up to {waited:.2?} took {took:.2?}");
    let connection = open(&database.file());
    assert_eq!(number(&connection, "SELECT n FROM counts"), CROWD * TIMES);
    assert_eq!(number(&connection, "SELECT count(DISTINCT number) FROM numbers"), CROWD * TIMES);
    assert_eq!(number(&connection, "SELECT count(DISTINCT writer) FROM numbers"), CROWD);
    let checked: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(checked, "ok");
}

fn busy_timeout_lets_writers_wait_for_each_other_with_a_wal() {
    all_write(&Database::new("wal", "wal"));
}

fn busy_timeout_lets_writers_wait_for_each_other_with_a_journal() {
    all_write(&Database::new("journal", "delete"));
}

fn transaction_of_a_reader_sees_one_state() {
    let database = Database::new("readers", "wal");
    let file = database.file();
    let ended = Arc::new(AtomicUsize::new(0));
    let (readers, to_write) = (ended.clone(), file.clone());
    let writer = thread::spawn(move || {
        let mut connection = open(&to_write);
        let mut times = 0;
        while readers.load(SeqCst) < CROWD {
            count_up(&mut connection, 0);
            times += 1;
        }
        times
    });
    let counts = crowd(move |_| {
        let mut connection = open(&file);
        let transaction = connection.transaction().unwrap();
        let count = || number(&transaction, "SELECT n FROM counts");
        let before = count();
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(20));
            assert_eq!(count(), before);
        }
        drop(transaction);
        ended.fetch_add(1, SeqCst);
        number(&connection, "SELECT n FROM counts") - before
    });
    assert!(writer.join().unwrap() > 1);
    assert!(counts.iter().sum::<usize>() > 0, "nothing was written meanwhile");
}

fn busy_handler_that_sleeps_lets_writers_wait() {
    static TRIES: AtomicUsize = AtomicUsize::new(0);
    let database = Database::new("handler", "wal");
    let file = database.file();
    let mut holder = open(&file);
    let held = holder.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let crowd = thread::spawn(move || {
        crowd(move |writer| {
            let mut connection = open(&file);
            connection
                .busy_handler(Some(|_| {
                    TRIES.fetch_add(1, SeqCst);
                    thread::sleep(Duration::from_millis(10));
                    true
                }))
                .unwrap();
            count_up(&mut connection, writer);
        })
    });
    // The lock is released after all have found it held.
    greenline_clients::wait_until(|| TRIES.load(SeqCst) >= CROWD);
    held.commit().unwrap();
    crowd.join().unwrap();
    assert_eq!(number(&holder, "SELECT n FROM counts"), CROWD);
}

fn busy_timeout_ends_the_wait() {
    let database = Database::new("limit", "wal");
    let file = database.file();
    let mut holder = open(&file);
    let held = holder.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let limit = Duration::from_millis(300);
    overlapping(limit, || {
        crowd(move |_| {
            let mut connection = open(&file);
            connection.busy_timeout(limit).unwrap();
            let refused = connection.transaction_with_behavior(TransactionBehavior::Immediate);
            assert_eq!(refused.err().unwrap().sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
        })
    });
    held.commit().unwrap();
}

fn mutex_around_one_connection_lets_all_write() {
    let database = Database::new("shared", "wal");
    let connection = Arc::new(Mutex::new(open(&database.file())));
    let shared = connection.clone();
    crowd(move |writer| (0..2).for_each(|_| count_up(&mut shared.lock().unwrap(), writer)));
    assert_eq!(number(&connection.lock().unwrap(), "SELECT n FROM counts"), CROWD * 2);
}
