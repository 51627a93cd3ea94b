//! A local Pub/Sub with a data directory: in a process that can be killed, or in this one.

use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pubsub::{Handle, Limits, LocalPubSub};
use tokio::sync::oneshot;

use crate::rest_api::Api;

/// The variable that names the directory of a process that is a local Pub/Sub.
pub(crate) const DIRECTORY: &str = "DATA_DIRECTORY_OF_TEST";

/// An empty directory for this test alone.
pub(crate) fn directory(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
        _ => directory,
    }
}

pub(crate) fn open(directory: &Path) -> std::io::Result<LocalPubSub> {
    LocalPubSub::open("127.0.0.1:0".parse().unwrap(), Limits::default(), directory)
}

/// A local Pub/Sub in a process of its own, which is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) api: Api,
}

impl Process {
    pub(crate) fn start(directory: &Path) -> Self {
        Self::run(&mut Command::new(std::env::current_exe().unwrap()), directory)
    }

    /// Limits the size of the files that the process writes, as a full disk would.
    pub(crate) fn start_with_little_room(directory: &Path, blocks: u32) -> Self {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(std::env::current_exe().unwrap());
        Self::run(&mut command, directory)
    }

    fn run(command: &mut Command, directory: &Path) -> Self {
        let mut child = command
            .args(["--exact", "a_local_pubsub_in_its_own_process", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let address = lines.filter_map(|line| line.split("listening at ").nth(1)?.parse().ok()).next().unwrap();
        Self { child, api: Api(address) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL: none of its code runs after it.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A local Pub/Sub in this process, which shuts down when this is dropped.
pub(crate) struct Running {
    pub(crate) api: Api,
    pub(crate) handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(directory: &Path) -> Self {
        let pubsub = open(directory).unwrap();
        let (api, handle) = (Api(pubsub.address()), pubsub.handle());
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(pubsub.run(async { drop(stopped.await) }));
        });
        Self { api, handle, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop = None;
        self.thread.take().unwrap().join().unwrap();
    }
}
