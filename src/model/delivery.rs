//! How a process's answer gets to its parent: in a [`Letter`], which the child writes when it is done, and the parent
//! reads when the child is gone. So nobody waits for anybody to read, however much it is; and a child that dies before
//! has left an empty one.
//!
//! A letter is one byte that says what follows, and that.

use super::error::WorkerError;
use super::letter::Letter;
use crate::hub::catch;
use crate::process::{Child, Process};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// What follows is the value, in postcard's encoding; the message of a panic; why the value could not be encoded.
const VALUE: u8 = 0;
const PANICKED: u8 = 1;
const CODEC: u8 = 2;

/// A process that will deliver a `T`.
pub(super) struct Delivery<T> {
    child: Child,
    letter: Arc<Letter>,
    value: PhantomData<fn() -> T>,
}

/// Starts a process that runs `f` and delivers what that returns.
pub(super) fn start<F, T>(f: F) -> io::Result<Delivery<T>>
where
    F: FnOnce() -> T + 'static,
    T: Serialize + 'static,
{
    let letter = Arc::new(Letter::new()?);
    let inside = letter.clone();
    let child = Process::new(move || run(f, &inside)).start()?;
    Ok(Delivery { child, letter, value: PhantomData })
}

/// In the child. Answers the exit code, for those who look at that: 1 if nothing useful was delivered.
fn run<T: Serialize>(f: impl FnOnce() -> T, letter: &Letter) -> i32 {
    let (code, text) = match catch(|| postcard::to_extend(&f(), vec![VALUE])) {
        Ok(Ok(text)) => (0, text),
        Ok(Err(error)) => (1, said(CODEC, &error.to_string())),
        Err(error) => match WorkerError::from(error) {
            WorkerError::Panicked(message) => (1, said(PANICKED, &message)),
            // By `pthread_exit`: there is nothing to say.
            _ => return 1,
        },
    };
    match letter.write(&text) {
        Ok(()) => code,
        Err(error) => {
            eprintln!("process '{}' could not deliver its answer: {error}", crate::process::current().name());
            1
        }
    }
}

fn said(what: u8, message: &str) -> Vec<u8> {
    [&[what], message.as_bytes()].concat()
}

impl<T: DeserializeOwned> Delivery<T> {
    pub(super) fn join(self) -> Result<T, WorkerError> {
        let exit = self.child.join().map_err(WorkerError::Io)?;
        self.open(exit)
    }

    pub(super) fn join_timeout(self, timeout: Duration) -> Result<Result<T, WorkerError>, Delivery<T>> {
        match self.child.join_timeout(timeout) {
            Ok(Some(exit)) => Ok(self.open(exit)),
            Ok(None) => Err(self),
            Err(error) => Ok(Err(WorkerError::Io(error))),
        }
    }

    /// The child is gone, and has left with that.
    fn open(&self, exit: i32) -> Result<T, WorkerError> {
        let letter = self.letter.read().map_err(WorkerError::Io)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match letter.split_first() {
            None => Err(WorkerError::Died { exit }),
            Some((&VALUE, value)) => {
                postcard::from_bytes(value).map_err(|e| WorkerError::Codec(e.to_string()))
            }
            Some((&PANICKED, message)) => Err(WorkerError::Panicked(text(message))),
            Some((_, reason)) => Err(WorkerError::Codec(text(reason))),
        }
    }
}

impl<T> Delivery<T> {
    pub(super) fn is_finished(&self) -> bool {
        !self.child.is_alive()
    }
}
