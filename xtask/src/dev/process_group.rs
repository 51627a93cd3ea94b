//! Process groups that end with this process, however it ends.
//!
//! Each group has a guard: a small `sh` that reads names of signals from a pipe and sends them to the group. When the
//! pipe closes, which the kernel does even if this process is killed, the guard ends the group: SIGTERM, and SIGKILL
//! after ten seconds. Not covered are the few milliseconds between the start of a child and that of its guard.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

const SCRIPT: &str = r#"
while read -r signal; do kill -s "$signal" -- "-$1" 2>/dev/null; done
kill -s TERM -- "-$1" 2>/dev/null || exit
for second in 1 2 3 4 5 6 7 8 9 10; do sleep 1; kill -s 0 -- "-$1" 2>/dev/null || exit; done
kill -s KILL -- "-$1" 2>/dev/null
"#;

/// The process group of one child, which leads it.
pub(super) struct ProcessGroup {
    shell: Child,
    signals: Option<ChildStdin>,
}

impl ProcessGroup {
    pub(super) fn of(child: u32) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "guard"]).arg(child.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C on the terminal is for this process alone.
        lead_group(&mut command);
        let mut shell = command.spawn().context("starting `sh`, which ends processes when this one is gone")?;
        let signals = shell.stdin.take();
        Ok(Self { shell, signals })
    }

    /// Sends SIGTERM to the group.
    pub(super) fn terminate(&mut self) {
        self.send("TERM\n");
    }

    /// Sends SIGKILL to the group.
    pub(super) fn kill(&mut self) {
        self.send("KILL\n");
    }

    fn send(&mut self, signal: &str) {
        if let Some(signals) = &mut self.signals {
            // An error says that the guard has exited, which it does only after the child.
            let _ = signals.write_all(signal.as_bytes());
        }
    }

    /// Ends the guard. Call it when the child has exited: its process id may soon be another process's.
    pub(super) fn dismiss(mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// Has a command start as the leader of a process group of its own.
pub(super) fn lead_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}
