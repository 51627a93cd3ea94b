//! `cargo xtask dev`: the topology on this machine.
//!
//! One loop, [`session`], owns everything and hears of everything: signals, changes of files, builds, processes, Pub/Sub's events.
//! Its parts: `start`, `running` for processes, `change` for sources and topology.
//!
//! - `declared`, `admin`: topics and subscriptions, as they are declared and as they are made
//! - `environment`, `process`, `guard`, `service`: the services' processes, and that none outlives this one
//! - `builder`, `folder`, `watch`: the function's binary, copies of what is run, changes
//! - `messages`, `way`, `taps`: what is known of each message, put together
//! - `intro`, `screen`: what the user sees

mod admin;
mod builder;
mod change;
mod declared;
mod environment;
mod folder;
mod guard;
mod intro;
mod messages;
mod process;
mod running;
mod screen;
mod service;
mod session;
mod signals;
mod start;
mod taps;
mod watch;
mod way;

use anyhow::Result;
use session::Session;

use crate::{flags, terminal};

pub(crate) fn run(flags: &flags::Dev) -> Result<()> {
    function::clients::use_ring();
    terminal::block_on(async {
        let (session, inputs) = Session::start(flags).await?;
        session.run(inputs).await
    })
}
