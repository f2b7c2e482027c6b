//! The core without a patch: spawn, join, kill, time, scopes, generators, tickets, policies, handles of other OS threads, the
//! report of a deadlock.

mod deadlock;
mod generator;
mod join;
mod kill;
mod policy;
mod remote;
mod scope;
#[path = "../support/mod.rs"]
mod support;
mod time;
mod wait;
