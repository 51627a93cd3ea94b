//! `cargo xtask build` where this machine's own compiler cannot build for Cloud Run: with stand-ins for
//! cargo-zigbuild, Python and zig, which record their arguments, and a compiler that claims to be another machine's.

use std::fs;
#[cfg(target_os = "linux")]
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tests::{Ran, unique, xtask};

const LINUX: &str = "x86_64-unknown-linux-gnu";
const MAC: &str = "aarch64-apple-darwin";

/// A machine: a folder with all its programs, and a target directory.
struct Machine {
    folder: PathBuf,
}

impl Machine {
    /// With rustc for this host, cargo, and this version of glibc.
    fn new(host: &str, glibc: &str) -> Self {
        let machine = Self { folder: std::env::temp_dir().join(format!("{}-{}", unique("cross"), std::process::id())) };
        fs::create_dir_all(machine.folder.join("bin")).unwrap();
        fs::write(machine.folder.join("main"), program()).unwrap();
        machine.program(
            "rustc",
            &format!("case \"$*\" in '--version --verbose') echo 'host: {host}';; *) exec {} \"$@\";; esac", rustc()),
        );
        machine.program(
            "cargo",
            &format!("case $1 in metadata) exec {} \"$@\";; esac\n{}\n{}", env!("CARGO"), INSTALL_ZIGBUILD, BUILT),
        );
        machine.program("getconf", &format!("echo 'glibc {glibc}'"));
        machine
    }

    /// With cargo-zigbuild and zig.
    fn with_tools(self) -> Self {
        self.program(
            "cargo-zigbuild",
            &format!("case $1 in --version) echo cargo-zigbuild 0.23.0; exit;; esac\n{BUILT}"),
        );
        self.program("zig", "echo 0.14.1");
        self
    }

    /// Adds a shell script that first records its arguments; `$MACHINE` is the machine's folder.
    fn program(&self, name: &str, script: &str) {
        let path = self.folder.join("bin").join(name);
        let note = format!("echo \"{name} $*\" >>\"$MACHINE/log\"");
        let folder = self.folder.display();
        fs::write(&path, format!("#!/bin/sh\nMACHINE={folder}\n{note}\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], more: &[(&str, String)]) -> Ran {
        xtask(arguments, &[self.variables(), more.to_vec()].concat())
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let bin = self.folder.join("bin");
        let at = |name: &str| bin.join(name).display().to_string();
        vec![
            ("PATH", bin.display().to_string()),
            ("RUSTC", at("rustc")),
            ("CARGO", at("cargo")),
            ("CARGO_TARGET_DIR", self.folder.join("target").display().to_string()),
        ]
    }

    /// Runs it on a terminal, with this answer to its question; returns what the terminal showed.
    #[cfg(target_os = "linux")]
    fn answer(&self, answer: &str) -> String {
        let xtask = tests::xtask_command(&[], &[]);
        let mut script = Command::new("/usr/bin/script");
        script.args(["-qec", &format!("{} build", xtask.get_program().display()), "/dev/null"]);
        script.envs(self.variables()).env("SHELL", "/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = script.spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    /// What was started: lines with a program's name and its arguments.
    fn log(&self) -> String {
        let text = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        text.replace(&self.folder.display().to_string(), "$MACHINE")
    }

    fn started(&self, program: &str) -> Vec<String> {
        self.log().lines().filter(|line| line.starts_with(&format!("{program} "))).map(str::to_owned).collect()
    }

    /// What it prints about how it compiles.
    fn doctor(&self) -> String {
        let report = self.run(&["doctor", "--json"]).json();
        let checks = report["checks"].as_array().unwrap();
        let build = checks.iter().find(|check| check["check"] == "build").unwrap();
        format!("{}: {}", build["status"].as_str().unwrap(), build["text"].as_str().unwrap())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a build prints, and the environment variables that it gets.
const BUILT: &str = r#"
echo "LINKER=$CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER CC=$CC_x86_64_unknown_linux_gnu" >>"$MACHINE/log"
echo "ZIG=$CARGO_ZIGBUILD_ZIG_PATH RUSTFLAGS=$RUSTFLAGS" >>"$MACHINE/log"
echo "$CARGO_ENCODED_RUSTFLAGS" >>"$MACHINE/flags"
echo '{"reason":"compiler-artifact","executable":"'"$MACHINE/main"'"}'"#;

/// `cargo install … --root FOLDER`: a cargo-zigbuild there.
const INSTALL_ZIGBUILD: &str = r#"if [ "$1" = install ]; then
  for last; do :; done
  /bin/mkdir -p "$last/bin"
  { echo '#!/bin/sh'; echo "MACHINE=$MACHINE"; echo 'echo "installed-zigbuild $*" >>"$MACHINE/log"'
    echo 'case $1 in --version) echo cargo-zigbuild 0.24.1; exit;; esac'
    echo 'echo "ZIG=$CARGO_ZIGBUILD_ZIG_PATH" >>"$MACHINE/log"'
    echo 'echo "{\"reason\":\"compiler-artifact\",\"executable\":\"$MACHINE/main\"}"'; } >"$last/bin/cargo-zigbuild"
  /bin/chmod 755 "$last/bin/cargo-zigbuild"
  exit
fi"#;

/// `python3 -m pip install … --target FOLDER`: a zig there. It has no module ziglang by itself.
const INSTALL_ZIG: &str = r#"[ "$2" = pip ] || exit 1
while [ "$1" != --target ]; do shift; done
/bin/mkdir -p "$2/ziglang"
printf '#!/bin/sh\necho 0.15.2\n' >"$2/ziglang/zig"
/bin/chmod 755 "$2/ziglang/zig"
echo "a line on standard output""#;

/// The smallest program for Linux on x86-64.
fn program() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\x00".to_vec();
    bytes.resize(16, 0);
    bytes.extend([2_u16, 62].map(u16::to_le_bytes).as_flattened());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend([0x40_0078_u64, 64, 0].map(u64::to_le_bytes).as_flattened());
    bytes.extend([0; 4]);
    bytes.extend([64_u16, 56, 1, 64, 0, 0].map(u16::to_le_bytes).as_flattened());
    bytes.extend([1_u32, 5].map(u32::to_le_bytes).as_flattened());
    bytes.extend([0_u64, 0x40_0000, 0x40_0000, 121, 121, 0x1000].map(u64::to_le_bytes).as_flattened());
    bytes.push(0xf4);
    bytes
}

/// The compiler itself: behind rustup's proxy it would look for rustup.
fn rustc() -> String {
    let output = Command::new("rustc").arg("--print=sysroot").stderr(Stdio::null()).output().unwrap();
    format!("{}/bin/rustc", String::from_utf8(output.stdout).unwrap().trim())
}

#[test]
fn another_machine_compiles_with_zig_for_an_old_glibc() {
    for (host, glibc, why) in [
        (MAC, "", "this machine is aarch64-apple-darwin"),
        ("aarch64-unknown-linux-gnu", "2.36", "this machine is aarch64-unknown-linux-gnu"),
        ("x86_64-unknown-linux-musl", "", "this machine is x86_64-unknown-linux-musl"),
        (LINUX, "2.41", "this machine has glibc 2.41, and the base image has 2.39"),
    ] {
        let machine = Machine::new(host, glibc).with_tools();
        let line = format!("with cargo-zigbuild 0.23.0 and zig 0.14.1 for glibc 2.34: {why}");
        assert_eq!(machine.doctor(), format!("ok: {line}"));
        // Settings that people make for a cross build of their own would replace zig.
        let linker = [
            ("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", "x86_64-linux-gnu-gcc".to_owned()),
            ("CC_x86_64_unknown_linux_gnu", "x86_64-linux-gnu-gcc".to_owned()),
            ("RUSTFLAGS", "-Ctarget-cpu=native".to_owned()),
        ];
        let built = machine.run_with(&["build", "--json"], &linker).ok();
        assert!(built.stderr.contains(&line), "{}", built.stderr);
        assert!(built.json()["path"].as_str().unwrap().starts_with(machine.folder.to_str().unwrap()));
        assert_eq!(
            machine.started("cargo-zigbuild").pop().unwrap(),
            "cargo-zigbuild zigbuild --target x86_64-unknown-linux-gnu.2.34 --release --locked --package=function --bin=main \
             --target-dir $MACHINE/target --message-format=json-render-diagnostics"
        );
        assert!(machine.log().contains("LINKER= CC=\nZIG= RUSTFLAGS=\n"), "{}", machine.log());
        let flags = fs::read_to_string(machine.folder.join("flags")).unwrap();
        assert!(flags.contains("--remap-path-prefix=") && !flags.contains("native"), "{flags}");
        assert!(!machine.log().contains("cargo build"), "{}", machine.log());
    }
}

#[test]
fn a_machine_like_the_base_image_compiles_with_cargo_alone() {
    for glibc in ["2.17", "2.36", "2.39"] {
        let machine = Machine::new(LINUX, glibc);
        assert_eq!(machine.doctor(), format!("ok: with cargo alone: this machine is {LINUX} with glibc {glibc}"));
        let _ = machine.run(&["build"]).ok();
        let line = "cargo build --target x86_64-unknown-linux-gnu --release --locked --package=function --bin=main ";
        assert!(machine.started("cargo").iter().any(|started| started.starts_with(line)), "{}", machine.log());
    }
}

#[test]
fn flags_choose_otherwise() {
    let machine = Machine::new(LINUX, "2.36").with_tools();
    let built = machine.run(&["build", "--cross"]).ok();
    assert!(built.stderr.contains("for glibc 2.34: --cross"), "{}", built.stderr);
    assert!(machine.log().contains("zigbuild --target x86_64-unknown-linux-gnu.2.34 "), "{}", machine.log());

    let machine = Machine::new(MAC, "").with_tools();
    let _ = machine.run(&["build", "--no-cross"]).ok();
    assert!(machine.log().contains("cargo build --target x86_64-unknown-linux-gnu "), "{}", machine.log());
    assert!(machine.started("cargo-zigbuild").is_empty(), "{}", machine.log());

    for verb in ["build", "plan", "deploy"] {
        let _ = machine.run(&[verb, "--cross", "--no-cross"]).failed(2, "cannot be used with");
    }
}

#[test]
fn what_is_missing_is_named_with_its_command() {
    let machine = Machine::new(MAC, "");
    machine.program("python3", INSTALL_ZIG);
    let zigbuild = "cargo-zigbuild: `cargo install --locked cargo-zigbuild`";
    let refused = machine.run(&["build"]).failed(1, zigbuild).failed(1, "zig: `python3 -m pip install ziglang`");
    assert!(refused.stderr.contains("this machine is aarch64-apple-darwin") && refused.stderr.contains("--yes"));
    let doctor = machine.doctor();
    assert!(
        doctor.starts_with("note: ") && doctor.contains("this machine is aarch64-apple-darwin; missing: "),
        "{doctor}"
    );
    assert!(doctor.contains("(`cargo install --locked cargo-zigbuild`)") && !doctor.contains('\n'), "{doctor}");
    // Nothing was installed, and nothing built.
    assert!(
        !machine.log().contains("install ") && !machine.folder.join("target/archive").exists(),
        "{}",
        machine.log()
    );

    // The standard library belongs to the toolchain: it is not installed in passing.
    let sysroot = machine.folder.join("sysroot");
    fs::create_dir_all(sysroot.join("lib/rustlib").join(LINUX).join("lib")).unwrap();
    machine.program(
        "rustc",
        &format!(
            "case \"$*\" in '--version --verbose') echo 'host: {MAC}';; --print=sysroot) echo {};; *) exec {} \"$@\";; esac",
            sysroot.display(),
            rustc()
        ),
    );
    let _ = machine.run(&["build", "--yes"]).failed(1, "`rustup target add x86_64-unknown-linux-gnu`");
    let doctor = machine.doctor();
    assert!(doctor.starts_with("bad: ") && doctor.contains("`rustup target add x86_64-unknown-linux-gnu`"), "{doctor}");
    assert!(!machine.log().contains("install "), "{}", machine.log());
}

#[test]
fn what_is_missing_is_installed_into_the_target_directory_with_yes() {
    let machine = Machine::new(MAC, "");
    machine.program("python3", INSTALL_ZIG);
    let built = machine.run(&["build", "--yes", "--json"]).ok();
    // Standard output is JSON alone, whatever the installers print.
    assert!(built.json()["path"].is_string());
    let installs: Vec<_> = machine.log().lines().filter(|line| line.contains(" install ")).map(str::to_owned).collect();
    assert_eq!(
        installs,
        [
            "cargo install --locked cargo-zigbuild --version 0.24.1 --root $MACHINE/target/tools",
            "python3 -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target \
             $MACHINE/target/tools/ziglang ziglang==0.15.2",
        ]
    );
    assert!(machine.log().contains("installed-zigbuild zigbuild --target x86_64-unknown-linux-gnu.2.34 "));
    assert!(machine.log().contains("ZIG=$MACHINE/target/tools/ziglang/ziglang/zig\n"), "{}", machine.log());
    assert!(machine.doctor().starts_with("ok: with cargo-zigbuild 0.24.1 and zig 0.15.2 for glibc 2.34: "));

    // Once.
    let _ = machine.run(&["build"]).ok();
    assert_eq!(machine.log().lines().filter(|line| line.contains(" install ")).count(), 2);
}

/// `script`, which makes the terminal, takes other arguments elsewhere.
#[cfg(target_os = "linux")]
#[test]
fn on_a_terminal_it_asks() {
    let machine = Machine::new(MAC, "");
    machine.program("python3", INSTALL_ZIG);
    let question = "needs cargo-zigbuild and zig: this machine is aarch64-apple-darwin. Install into ";
    let shown = machine.answer("n\n");
    assert!(shown.contains(question) && shown.contains("stopped: nothing was changed"), "{shown}");
    assert!(!machine.log().contains("install "), "{}", machine.log());
    let shown = machine.answer("y\n");
    assert!(shown.contains(question) && shown.contains("sha256  "), "{shown}");
    assert!(machine.log().contains("installed-zigbuild zigbuild "), "{}", machine.log());
}

#[test]
fn an_installation_that_fails_says_what_was_tried() {
    let machine = Machine::new(MAC, "").with_tools();
    fs::remove_file(machine.folder.join("bin/zig")).unwrap();
    machine.program("python3", "exit 1");
    let _ = machine.run(&["build", "--yes"]).failed(1, "installing ziglang failed").failed(1, "ziglang==0.15.2");
    fs::remove_file(machine.folder.join("bin/python3")).unwrap();
    let _ = machine.run(&["build", "--yes"]).failed(1, "python3");
    assert!(
        machine.started("cargo-zigbuild").iter().all(|line| line == "cargo-zigbuild --version"),
        "{}",
        machine.log()
    );
}
