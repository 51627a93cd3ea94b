//! The decision, as a table.

use super::*;

fn found(what: &str) -> Found {
    Found {
        standard_library: what.contains("std"),
        zigbuild: what.contains("zigbuild").then(|| Tool::named("cargo-zigbuild", "0.24.1")),
        zig: what.contains("ziglang").then(|| Tool::named("zig", "0.15.2")),
    }
}

/// Every machine, flag and set of tools, and the line that `doctor` prints.
#[test]
fn the_machine_the_flags_and_the_tools_decide() {
    const ALL: &str = "std zigbuild ziglang";
    let mac = "aarch64-apple-darwin";
    let cross = "with cargo-zigbuild 0.24.1 and zig 0.15.2 for glibc 2.34: ";
    let incomplete = "with cargo-zigbuild and zig for glibc 2.34: this machine is aarch64-apple-darwin; missing: ";
    let installs = "; or `cargo xtask build --yes`, which installs into the target directory";
    let table = [
        (
            TARGET,
            Some((2, 36)),
            CompilerChoice::Auto,
            "",
            "with cargo alone: this machine is x86_64-unknown-linux-gnu with glibc 2.36".to_owned(),
        ),
        (
            TARGET,
            Some((2, 39)),
            CompilerChoice::Auto,
            ALL,
            "with cargo alone: this machine is x86_64-unknown-linux-gnu with glibc 2.39".to_owned(),
        ),
        (
            TARGET,
            None,
            CompilerChoice::Auto,
            ALL,
            "with cargo alone: this machine is x86_64-unknown-linux-gnu".to_owned(),
        ),
        (
            TARGET,
            Some((2, 40)),
            CompilerChoice::Auto,
            ALL,
            format!("{cross}this machine has glibc 2.40, and the base image has 2.39"),
        ),
        (
            TARGET,
            Some((2, 100)),
            CompilerChoice::Auto,
            ALL,
            format!("{cross}this machine has glibc 2.100, and the base image has 2.39"),
        ),
        (
            TARGET,
            Some((2, 40)),
            CompilerChoice::Native,
            ALL,
            "with cargo alone: this machine is x86_64-unknown-linux-gnu with glibc 2.40".to_owned(),
        ),
        (TARGET, Some((2, 36)), CompilerChoice::Cross, ALL, format!("{cross}--cross")),
        (
            "x86_64-unknown-linux-musl",
            None,
            CompilerChoice::Auto,
            ALL,
            format!("{cross}this machine is x86_64-unknown-linux-musl"),
        ),
        (
            "aarch64-unknown-linux-gnu",
            None,
            CompilerChoice::Auto,
            ALL,
            format!("{cross}this machine is aarch64-unknown-linux-gnu"),
        ),
        (
            "x86_64-pc-windows-msvc",
            None,
            CompilerChoice::Auto,
            ALL,
            format!("{cross}this machine is x86_64-pc-windows-msvc"),
        ),
        (mac, None, CompilerChoice::Auto, ALL, format!("{cross}this machine is aarch64-apple-darwin")),
        (mac, None, CompilerChoice::Cross, ALL, format!("{cross}this machine is aarch64-apple-darwin")),
        (mac, None, CompilerChoice::Native, "", "with cargo alone: this machine is aarch64-apple-darwin".to_owned()),
        (
            mac,
            None,
            CompilerChoice::Auto,
            "std zigbuild",
            format!("{incomplete}zig (`python3 -m pip install ziglang`){installs}"),
        ),
        (
            mac,
            None,
            CompilerChoice::Auto,
            "std ziglang",
            format!("{incomplete}cargo-zigbuild (`cargo install --locked cargo-zigbuild`){installs}"),
        ),
        (
            mac,
            None,
            CompilerChoice::Auto,
            "zigbuild ziglang",
            format!("{incomplete}the standard library for {TARGET} (`rustup target add {TARGET}`)"),
        ),
        (
            mac,
            None,
            CompilerChoice::Auto,
            "",
            format!(
                "{incomplete}the standard library for {TARGET} (`rustup target add {TARGET}`), \
                 cargo-zigbuild (`cargo install --locked cargo-zigbuild`), zig (`python3 -m pip install ziglang`)"
            ),
        ),
    ];
    for (triple, glibc, choice, tools, line) in table {
        let host = Host { triple: triple.to_owned(), glibc };
        assert_eq!(decide(choice, &host, || found(tools)).to_string(), line, "{host:?} {choice:?} {tools}");
    }
}

#[test]
fn nothing_is_looked_for_where_cargo_alone_is_enough() {
    let host = Host { triple: TARGET.to_owned(), glibc: Some((2, 36)) };
    let decision = decide(CompilerChoice::Auto, &host, || unreachable!("no tool is needed"));
    assert_eq!((decision.method.clone(), decision.readiness()), (Method::Native, Readiness::Ready));
}

#[test]
fn the_version_of_the_c_library_is_read_as_getconf_prints_it() {
    assert_eq!(parse_glibc("glibc 2.36\n"), Some((2, 36)));
    assert_eq!(parse_glibc("glibc 2.40.9000\n"), Some((2, 40)));
    assert_eq!((parse_glibc(""), parse_glibc("undefined\n"), parse_glibc("glibc x.y")), (None, None, None));
}
