//! cargo-zigbuild and zig: found on this machine, or installed into the target directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::toolchain::TARGET;
use crate::cargo::{cargo, without_settings};

/// The versions that are installed where none is found; a tool that is found may have another version.
const ZIGBUILD_VERSION: &str = "0.24.1";
const ZIGLANG_VERSION: &str = "0.15.2";

/// The version of glibc that zig links against: older than that of the base image, so that the binary runs there and on
/// every distribution of the last years. The function uses nothing that a newer one has.
pub(super) const GLIBC_VERSION: &str = "2.34";

/// A tool that works: it was run to see its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tool {
    /// The program, arguments that come before all others, and the variable that tells cargo-zigbuild where the tool
    /// is.
    program: OsString,
    arguments: &'static [&'static str],
    variable: Option<&'static str>,
    pub(super) version: String,
}

/// Where the tools are installed.
pub(super) struct ToolFolder(PathBuf);

impl ToolFolder {
    pub(super) fn new(target_directory: &Path) -> Self {
        Self(target_directory.join("tools"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// cargo-zigbuild: the one on `PATH`, else the installed one.
    pub(super) fn zigbuild(&self) -> Option<Tool> {
        let installed = self.0.join("bin").join(format!("cargo-zigbuild{}", std::env::consts::EXE_SUFFIX));
        ["cargo-zigbuild".into(), installed.into_os_string()].into_iter().find_map(|program| {
            let tool = Tool { program, arguments: &[], variable: None, version: String::new() };
            tool.asked("--version")
        })
    }

    /// zig: the one that cargo-zigbuild would find, else the installed one.
    pub(super) fn zig(&self) -> Option<Tool> {
        const MODULE: &[&str] = &["-m", "ziglang"];
        let set = |variable, usual: &str| std::env::var_os(variable).unwrap_or_else(|| usual.into());
        let installed = self.0.join("ziglang/ziglang").join(format!("zig{}", std::env::consts::EXE_SUFFIX));
        let candidates = [
            (set("CARGO_ZIGBUILD_PYTHON_PATH", "python3"), MODULE, None),
            (set("CARGO_ZIGBUILD_ZIG_PATH", "zig"), &[][..], None),
            (installed.into_os_string(), &[][..], Some("CARGO_ZIGBUILD_ZIG_PATH")),
        ];
        candidates.into_iter().find_map(|(program, arguments, variable)| {
            Tool { program, arguments, variable, version: String::new() }.asked("version")
        })
    }

    /// Installs cargo-zigbuild from crates.io.
    pub(super) fn install_zigbuild(&self, root: &Path) -> Result<()> {
        let mut command = cargo(root);
        command.args(["install", "--locked", "cargo-zigbuild", "--version", ZIGBUILD_VERSION, "--root"]).arg(&self.0);
        install(command, "cargo-zigbuild", ZIGBUILD_VERSION)
    }

    /// Installs zig from PyPI, whose wheel holds the program and its libraries. With a target folder, pip works even
    /// where the system does not let it change its own Python.
    pub(super) fn install_zig(&self) -> Result<()> {
        let python = std::env::var_os("CARGO_ZIGBUILD_PYTHON_PATH").unwrap_or_else(|| "python3".into());
        let mut command = Command::new(python);
        command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"]);
        command.arg("--target").arg(self.0.join("ziglang")).arg(format!("ziglang=={ZIGLANG_VERSION}"));
        install(command, "ziglang", ZIGLANG_VERSION)
    }
}

impl Tool {
    /// Runs the tool to read its version, the last word of the first line; `None` if it does not run.
    fn asked(mut self, argument: &str) -> Option<Self> {
        let mut command = Command::new(&self.program);
        command.args(self.arguments).arg(argument).stdin(Stdio::null());
        let output = command.output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8_lossy(&output.stdout);
        self.version = text.lines().next()?.split_whitespace().next_back()?.to_owned();
        Some(self)
    }

    #[cfg(test)]
    pub(super) fn named(program: &str, version: &str) -> Self {
        Self { program: program.into(), arguments: &[], variable: None, version: version.to_owned() }
    }
}

/// `cargo zigbuild` with its zig, for [`TARGET`] and [`GLIBC_VERSION`].
pub(super) fn command(zigbuild: &Tool, zig: &Tool, root: &Path) -> Command {
    let mut command = without_settings(&zigbuild.program, root);
    // These variables would replace zig by another compiler.
    let (upper, lower) = (TARGET.replace('-', "_").to_uppercase(), TARGET.replace('-', "_"));
    command.env_remove(format!("CARGO_TARGET_{upper}_LINKER"));
    for tool in ["CC", "CXX", "AR", "RANLIB"] {
        command.env_remove(format!("{tool}_{lower}")).env_remove(format!("{tool}_{TARGET}"));
    }
    if let Some(variable) = zig.variable {
        command.env(variable, &zig.program);
    }
    command.args(["zigbuild", "--target"]).arg(format!("{TARGET}.{GLIBC_VERSION}"));
    command
}

fn install(mut command: Command, package: &str, version: &str) -> Result<()> {
    eprintln!("Installing {package} {version} …");
    // Standard output is for the result of the verb.
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("running {command:?}"))?;
    ensure!(
        status.success(),
        "installing {package} failed ({status}): {command:?}\n  help: see its errors above, or install it another way"
    );
    Ok(())
}
