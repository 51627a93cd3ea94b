//! `cargo xtask dev`: the topology on this machine.
//!
//! One loop, [`session`], owns everything and handles everything that happens: signals, changes of files, finished
//! builds, events of processes and of Pub/Sub. Its parts: `startup`; `processes`: how a service's process is started,
//! replaced and restarted; `on_change`: what a change of sources or topology does.
//!
//! - `options`: the command line; `watch`, `signals`: changes of files, requests to stop
//! - `declared`, `admin`: topics and subscriptions, as they are declared and as they are created
//! - `environment`, `process`, `process_group`, `service`: the services' processes, none of which outlives this one
//! - `builder`, `run_dir`: the function's build, and copies of what runs
//! - `tracer`, `trace`, `taps`: what is learned about each message, put together
//! - `banner`, `screen`: what the user sees

mod admin;
mod banner;
mod builder;
mod declared;
mod environment;
mod options;
mod process;
mod process_group;
mod run_dir;
mod screen;
mod service;
mod session;
mod signals;
mod taps;
mod trace;
mod tracer;
mod watch;

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
