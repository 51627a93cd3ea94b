//! The function, built as `cargo run` builds it.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use tokio::sync::mpsc::Sender;

use super::guard::{Guard, lead_group};
use crate::build::{cargo, executable};
use crate::topology::root;

/// A build that is under way.
pub(super) struct Build {
    guard: Guard,
}

impl Build {
    /// Starts cargo, whose progress and errors go to standard error; sends the path of the binary, or why there is none.
    pub(super) fn start(built: Sender<Result<PathBuf>>) -> Result<Self> {
        let mut command = cargo(root());
        command.args(["build", "--package=function", "--bin=main", "--message-format=json-render-diagnostics"]);
        lead_group(&mut command);
        let mut command = Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let child = command.spawn().context("running cargo build")?;
        let guard = Guard::of(child.id().context("running cargo build")?)?;
        tokio::spawn(async move {
            let result = async {
                let output = child.wait_with_output().await.context("running cargo build")?;
                if !output.status.success() {
                    bail!("cargo build failed ({})", output.status);
                }
                executable(&output.stdout)
            };
            // An error says that nobody waits for it any more.
            let _ = built.send(result.await).await;
        });
        Ok(Self { guard })
    }

    /// Ends it before its time.
    pub(super) fn cancel(&mut self) {
        self.guard.terminate();
    }

    /// It has ended.
    pub(super) fn ended(self) {
        self.guard.dismiss();
    }
}
