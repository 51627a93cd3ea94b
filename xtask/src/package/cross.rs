//! Which compiler builds the deployed binary: this machine's own, or zig, which has the GNU C library in every version.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::elf::{BASE_IMAGE_GLIBC, Version};
use super::metadata::Metadata;
use super::toolchain::{TARGET, Toolchain};
use super::zig::{GLIBC_VERSION, Tool, ToolFolder};
use crate::flags::CompilerChoice;
use crate::terminal;

#[cfg(test)]
mod tests;

/// The machine that compiles.
#[derive(Debug)]
pub(super) struct Host {
    triple: String,
    /// The version of its GNU C library; `None` if there is none, or if it is unknown.
    glibc: Option<Version>,
}

/// The tools of a cross build, as far as this machine has them.
#[derive(Debug)]
pub(super) struct Found {
    standard_library: bool,
    zigbuild: Option<Tool>,
    zig: Option<Tool>,
}

/// A tool of a cross build that this machine lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    StandardLibrary,
    Zigbuild,
    Zig,
}

/// How the binary is compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Native,
    Cross {
        zigbuild: Tool,
        zig: Tool,
    },
    /// As a cross build, for which these tools have to be installed first.
    Incomplete(Vec<Missing>),
}

/// How the binary is compiled, and why.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(super) method: Method,
    why: String,
}

impl Host {
    pub(super) fn new(triple: &str) -> Self {
        Self { triple: triple.to_owned(), glibc: if triple == TARGET { glibc() } else { None } }
    }

    /// Why a binary of this machine's own compiler would not run on the base image; `None` if it would. `None` too if
    /// that is unknown before the build: then the check of the finished binary tells.
    fn unfit(&self) -> Option<String> {
        let (major, minor) = BASE_IMAGE_GLIBC;
        match self.glibc {
            _ if self.triple != TARGET => Some(format!("this machine is {}", self.triple)),
            Some(glibc) if glibc > BASE_IMAGE_GLIBC => {
                Some(format!("this machine has glibc {}.{}, and the base image has {major}.{minor}", glibc.0, glibc.1))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this machine is {}", self.triple)?;
        match self.glibc {
            Some((major, minor)) => write!(f, " with glibc {major}.{minor}"),
            None => Ok(()),
        }
    }
}

impl Missing {
    /// The tool's name, and the command that installs it.
    fn fix(self) -> (&'static str, &'static str) {
        match self {
            Self::StandardLibrary => {
                ("the standard library for x86_64-unknown-linux-gnu", "rustup target add x86_64-unknown-linux-gnu")
            }
            Self::Zigbuild => ("cargo-zigbuild", "cargo install --locked cargo-zigbuild"),
            Self::Zig => ("zig", "python3 -m pip install ziglang"),
        }
    }
}

/// Decides how to compile. Calls `found`, which runs tools, only where their presence matters.
pub(super) fn decide(choice: CompilerChoice, host: &Host, found: impl FnOnce() -> Found) -> Decision {
    let why = match choice {
        CompilerChoice::Native => None,
        CompilerChoice::Auto => host.unfit(),
        CompilerChoice::Cross => Some(host.unfit().unwrap_or_else(|| "--cross".to_owned())),
    };
    let Some(why) = why else { return Decision { method: Method::Native, why: host.to_string() } };
    let Found { standard_library, zigbuild, zig } = found();
    let missing = [
        (!standard_library).then_some(Missing::StandardLibrary),
        zigbuild.is_none().then_some(Missing::Zigbuild),
        zig.is_none().then_some(Missing::Zig),
    ];
    let method = match (zigbuild, zig) {
        (Some(zigbuild), Some(zig)) if standard_library => Method::Cross { zigbuild, zig },
        _ => Method::Incomplete(missing.into_iter().flatten().collect()),
    };
    Decision { method, why }
}

/// The decision for this machine.
pub(super) fn here(choice: CompilerChoice, rust: &Toolchain, folder: &ToolFolder) -> Decision {
    decide(choice, &Host::new(&rust.host), || Found {
        standard_library: rust.has_standard_library(TARGET),
        zigbuild: folder.zigbuild(),
        zig: folder.zig(),
    })
}

/// The decision for this machine, with everything installed that it needs, after asking.
///
/// # Errors
/// A tool is missing, and there is no terminal to ask on, the answer is no, or the tool is the standard library, which
/// belongs to the toolchain.
pub(super) fn prepare(
    choice: CompilerChoice,
    yes: bool,
    rust: &Toolchain,
    target: &Path,
    root: &Path,
) -> Result<Decision> {
    let folder = ToolFolder::new(target);
    let decision = here(choice, rust, &folder);
    let Method::Incomplete(missing) = &decision.method else { return Ok(decision) };
    if missing.contains(&Missing::StandardLibrary) || !(yes || terminal::can_ask()) {
        bail!("{}", decision.refusal(missing));
    }
    let names: Vec<_> = missing.iter().map(|missing| missing.fix().0).collect();
    let names = names.join(" and ");
    let question =
        format!("Compiling for linux/amd64 needs {names}: {}. Install into {}?", decision.why, folder.path().display());
    terminal::confirm(&question, yes)?;
    for missing in missing {
        match missing {
            Missing::Zigbuild => folder.install_zigbuild(root)?,
            Missing::Zig => folder.install_zig()?,
            Missing::StandardLibrary => {}
        }
    }
    let decision = here(choice, rust, &folder);
    ensure!(
        !matches!(decision.method, Method::Incomplete(_)),
        "what was installed into {} does not run\n  help: delete that folder, and try again or install {names}",
        folder.path().display()
    );
    Ok(decision)
}

impl Decision {
    /// Whether the build can begin, if need be after the installation of the tools that `build` installs.
    pub(crate) fn readiness(&self) -> Readiness {
        match &self.method {
            Method::Incomplete(missing) if missing.contains(&Missing::StandardLibrary) => Readiness::Blocked,
            Method::Incomplete(_) => Readiness::Installs,
            Method::Native | Method::Cross { .. } => Readiness::Ready,
        }
    }

    fn refusal(&self, missing: &[Missing]) -> String {
        let mut text = format!("compiling for linux/amd64 needs what is not installed: {}", self.why);
        for (what, fix) in missing.iter().map(|missing| missing.fix()) {
            text.push_str(&format!("\n  {what}: `{fix}`"));
        }
        text + "\n  help: run the above; `cargo xtask build --yes` installs cargo-zigbuild and zig by itself"
    }
}

/// Whether a build can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    Installs,
    Blocked,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = &self.why;
        match &self.method {
            Method::Native => write!(f, "with cargo alone: {why}"),
            Method::Cross { zigbuild, zig } => {
                write!(
                    f,
                    "with cargo-zigbuild {} and zig {} for glibc {GLIBC_VERSION}: {why}",
                    zigbuild.version, zig.version
                )
            }
            Method::Incomplete(missing) => {
                write!(f, "with cargo-zigbuild and zig for glibc {GLIBC_VERSION}: {why}; missing: ")?;
                for (n, (what, fix)) in missing.iter().map(|missing| missing.fix()).enumerate() {
                    write!(f, "{}{what} (`{fix}`)", if n == 0 { "" } else { ", " })?;
                }
                if self.readiness() == Readiness::Installs {
                    f.write_str("; or `cargo xtask build --yes`, which installs into the target directory")?;
                }
                Ok(())
            }
        }
    }
}

/// The C library that this machine's compiler links against.
fn glibc() -> Option<Version> {
    // `glibc 2.36`, or an error on systems with another C library.
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").stdin(Stdio::null()).output();
    parse_glibc(&String::from_utf8_lossy(&output.ok()?.stdout))
}

fn parse_glibc(text: &str) -> Option<Version> {
    let (major, rest) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The decision of a build without flags, for `doctor`.
pub(crate) fn report() -> Result<Decision> {
    let root = crate::topology::root();
    let metadata = Metadata::read(root, false).context("looking for the target directory")?;
    Ok(here(CompilerChoice::Auto, &Toolchain::ask(root)?, &ToolFolder::new(&metadata.target_directory)))
}
