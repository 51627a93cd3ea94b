//! Builds the function as `cargo run` does.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use tokio::sync::mpsc::Sender;

use super::process_group::{ProcessGroup, lead_group};
use crate::cargo::{cargo, executable};
use crate::topology::root;

/// A running build.
pub(super) struct Build {
    group: ProcessGroup,
}

impl Build {
    /// Starts cargo, whose progress and errors go to standard error. Sends the path of the binary, or why there is
    /// none.
    pub(super) fn start(built: Sender<Result<PathBuf>>) -> Result<Self> {
        let mut command = cargo(root());
        command.args(["build", "--package=function", "--bin=main", "--message-format=json-render-diagnostics"]);
        lead_group(&mut command);
        let mut command = Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let child = command.spawn().context("running cargo build")?;
        let group = ProcessGroup::of(child.id().context("running cargo build")?)?;
        tokio::spawn(async move {
            let result = async {
                let output = child.wait_with_output().await.context("running cargo build")?;
                if !output.status.success() {
                    bail!("cargo build failed ({})", output.status);
                }
                executable(&output.stdout)
            };
            // An error says that the session has ended.
            let _ = built.send(result.await).await;
        });
        Ok(Self { group })
    }

    /// Has cargo stop.
    pub(super) fn cancel(&mut self) {
        self.group.terminate();
    }

    /// Call it when the result has arrived, so that the group is not signalled any more.
    pub(super) fn ended(self) {
        self.group.dismiss();
    }
}
