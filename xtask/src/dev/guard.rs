//! Process groups that end with this process, however it ends.
//!
//! A guard is a small `sh` that reads names of signals from a pipe and sends them to the group of a child. When the pipe closes,
//! which the kernel sees to whatever becomes of this process, it ends the group: SIGTERM, and SIGKILL after ten seconds. Only what
//! happens between the start of a child and that of its guard, a few milliseconds, is not covered.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

const SCRIPT: &str = r#"
while read -r signal; do kill -s "$signal" -- "-$1" 2>/dev/null; done
kill -s TERM -- "-$1" 2>/dev/null || exit
for second in 1 2 3 4 5 6 7 8 9 10; do sleep 1; kill -s 0 -- "-$1" 2>/dev/null || exit; done
kill -s KILL -- "-$1" 2>/dev/null
"#;

/// Watches one child, the leader of its process group.
pub(super) struct Guard {
    shell: Child,
    signals: Option<ChildStdin>,
}

impl Guard {
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

    /// SIGTERM to the group.
    pub(super) fn terminate(&mut self) {
        self.send("TERM\n");
    }

    /// SIGKILL to the group.
    pub(super) fn kill(&mut self) {
        self.send("KILL\n");
    }

    fn send(&mut self, signal: &str) {
        if let Some(signals) = &mut self.signals {
            // An error says that the guard is gone; it does not end before this process or its child does.
            let _ = signals.write_all(signal.as_bytes());
        }
    }

    /// The child has ended and its number may soon be another's.
    pub(super) fn dismiss(mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// Makes what is started the leader of a process group of its own.
pub(super) fn lead_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}
