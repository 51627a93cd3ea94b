//! Archives: which are accepted, which are refused, and which changes leave them as they are.

use super::*;

/// An archive that `cargo xtask build` made.
struct Packed {
    path: String,
    sha256: String,
}

impl Project {
    /// With a small binary instead of the release build.
    fn pack(&self, arguments: &[&str]) -> Packed {
        let binary = self.folder.join("binary");
        fs::write(&binary, tests::elf_program("")).unwrap();
        let arguments = [&["build", "--json", "--binary", binary.to_str().unwrap()], arguments].concat();
        let built = self.run(&arguments).ok().json();
        let text = |key: &str| built[key].as_str().unwrap().to_owned();
        Packed { path: text("path"), sha256: text("sha256") }
    }

    fn deploy_packed(&self) -> Packed {
        let packed = self.pack(&[]);
        let _ = self.run(&["deploy", "--yes", "--archive", &packed.path]).ok();
        packed
    }

    /// The mutating requests that succeeded, as `METHOD path`.
    fn changes(&self) -> Vec<String> {
        let requests = self.google.mutations().into_iter().filter(|request| request.status == Some(200));
        requests.map(|request| format!("{} {}", request.method, request.path)).collect()
    }
}

#[test]
fn a_change_that_the_function_does_not_read_uploads_and_rolls_out_nothing() {
    let Some(project) = Project::new() else {
        return;
    };
    let before = project.deploy_packed();
    let object = project.object();
    assert_eq!(object, format!("archives/{}.tar.gz", before.sha256));
    for (from, to, resource) in [
        (
            "[subscriptions.ai-workloads-subscription]\ntopic = \"ai-workloads-topic\"\nack-deadline = \"60s\"",
            "[subscriptions.ai-workloads-subscription]\ntopic = \"ai-workloads-topic\"\nack-deadline = \"61s\"",
            "subscriptions/ai-workloads-subscription",
        ),
        ("ack-deadline = \"60s\"   # at least", "ack-deadline = \"62s\"   # at least", "subscriptions/eventarc-"),
        (
            "[topics.ai-workloads-results]",
            "[topics.ai-workloads-results]\nretention = \"7d\"",
            "topics/ai-workloads-results",
        ),
        ("[topics.ai-workloads-topic]", "[topics.extra]\n[topics.ai-workloads-topic]", "topics/extra"),
        ("# Routes: the first", "# Another comment: the first", ""),
    ] {
        project.google.forget_requests();
        project.edit(from, to);
        let after = project.deploy_packed();
        assert_eq!(after.sha256, before.sha256, "{to}");
        let changes = project.changes();
        let expected = usize::from(!resource.is_empty());
        assert!(changes.len() == expected && changes.iter().all(|change| change.contains(resource)), "{changes:#?}");
        project.check();
    }

    // What the function reads is an archive and a revision.
    project.google.forget_requests();
    project.edit("\"complaint\"]", "\"complaint\", \"praise\"]");
    let after = project.deploy_packed();
    assert_ne!(after.sha256, before.sha256);
    let changes = project.changes();
    assert!(changes.len() == 2 && changes[0].contains("/upload/") && changes[1].contains("services/"), "{changes:#?}");
    assert_ne!(project.object(), object);
    project.check();
}

#[test]
fn the_form_of_an_archive_is_seen_by_its_content() {
    let Some(project) = Project::start(Behaviour { zip_archives: true, ..Behaviour::default() }) else {
        return;
    };
    let deploy = |content: Vec<u8>, name: &str| {
        let path = project.folder.join(name);
        fs::write(&path, content).unwrap();
        project.run(&["deploy", "--yes", "--archive", path.to_str().unwrap()]).ok()
    };
    let main: [(&str, &[u8], u32); 1] = [("main", b"#!/bin/sh\n", 0o755)];
    let warned = deploy(tests::zip(&main), "named.tar.gz");
    assert!(warned.stderr.contains("warning: the archive is a zip file"), "{}", warned.stderr);
    let zip = project.object();
    assert!(zip.ends_with(".zip"), "{zip}");
    let silent = deploy(tests::tar_gz(&main), "named.zip");
    assert!(!silent.stderr.contains("warning"), "{}", silent.stderr);
    assert!(project.object().ends_with(".tar.gz"), "{}", project.object());

    // Both are there to go back to, and are found by their digest.
    let list = project.run(&["rollback", "--list", "--json"]).ok().json();
    let archives = list["services"][0]["archives"].as_array().unwrap();
    assert_eq!(archives.len(), 2, "{list}");
    let shown = project.run(&["rollback", "--list"]).ok();
    assert!(!shown.stdout.contains(".zip") && !shown.stdout.contains(".tar"), "{}", shown.stdout);
    let _ = project.run(&["rollback", "--yes"]).ok();
    assert_eq!(project.object(), zip);
    let tar = archives[0].as_str().unwrap().rsplit('/').next().unwrap();
    let _ = project.run(&["rollback", "--yes", "--to", &tar[..10]]).ok();
    assert!(project.object().ends_with(tar), "{}", project.object());
    project.check();

    // As it is declared, or asked for.
    let packed = project.pack(&["--format", "zip"]);
    assert!(packed.path.ends_with(&format!("{}.zip", packed.sha256)), "{}", packed.path);
    assert!(fs::read(&packed.path).unwrap().starts_with(b"PK"));
    project.edit("[archive]", "[archive]\nformat = \"zip\"");
    assert_eq!(project.pack(&[]).path, packed.path);
    assert!(fs::read(project.pack(&["--format", "tar.gz"]).path).unwrap().starts_with(&[0x1f, 0x8b]));
}

#[test]
fn what_cannot_be_deployed_is_refused_before_anything_is_asked() {
    let main: (&str, &[u8], u32) = ("main", b"#!/bin/sh\n", 0o755);
    let whole = tests::tar_gz(&[main]);
    let folder = std::env::temp_dir().join(unique("refused"));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("archive.tar.gz");
    for (content, expected) in [
        (Vec::new(), "found an empty file"),
        (b"hello world".to_vec(), "found a file that begins with \"hello wo\""),
        (tests::elf_program(""), "found a program that is not packed"),
        (whole[..whole.len() - 5].to_vec(), "it is no whole gzipped tar"),
        (b"PK\x03\x04one".to_vec(), "it is no whole zip file"),
        (tests::tar_gz(&[]), "expected the program `main` at its root, found nothing"),
        (tests::tar_gz(&[("readme", b"", 0o644)]), "found `readme`"),
        (tests::tar_gz(&[("app/main", b"", 0o755)]), "pack what is in the folder, not the folder"),
        (tests::tar_gz(&[("main", b"", 0o644)]), "expected the mode 0755, found 0644"),
        (tests::tar_gz(&[main, ("../x", b"", 0o644)]), "`../x` in it would be written outside"),
        (tests::tar_gz(&[main, ("a/../../x", b"", 0o644)]), "`a/../../x` in it would be written outside"),
        (tests::tar_gz(&[main, ("/etc/x", b"", 0o644)]), "`/etc/x` in it would be written outside"),
        (tests::tar_gz(&[main, main]), "it holds `main` twice"),
        (tests::zip(&[("readme", b"", 0o644)]), "expected the program `main` at its root"),
        (tests::zip(&[("main", b"", 0o600)]), "expected the mode 0755, found 0600"),
        (tests::zip(&[main, ("../x", b"", 0o644)]), "`../x` in it would be written outside"),
    ] {
        fs::write(&path, content).unwrap();
        // Without a project: the archive is looked at first.
        let ran = xtask(&["deploy", "--yes", "--archive", path.to_str().unwrap()], &[]);
        let ran = ran.failed(1, expected);
        assert!(ran.stderr.contains("archive.tar.gz cannot be deployed"), "{}", ran.stderr);
    }
    // Named as `./main`, as `tar -C folder .` does, it is where it belongs.
    fs::write(&path, tests::tar_gz(&[("./main", main.1, 0o755)])).unwrap();
    let _ = xtask(&["deploy", "--yes", "--archive", path.to_str().unwrap()], &[]).failed(1, "no Google Cloud project");
    fs::remove_dir_all(folder).unwrap();
}

/// Cargo's list of what the binary was made from, its crates' files included.
#[test]
fn the_binary_is_not_made_from_the_topology_that_people_edit() {
    let binary = PathBuf::from(tests::command(&[]).get_program());
    let made_from = fs::read_to_string(binary.with_extension("d")).unwrap();
    assert!(made_from.contains("infra/src/topology/default.toml"), "{made_from}");
    assert!(!made_from.contains("infra/topology.toml"), "{made_from}");
}

/// Which declaration a binary takes: the one beside it, the workspace's, the one compiled in.
#[tokio::test]
async fn the_function_finds_its_declaration() {
    const PRAISE: &str = "[services.mine]\ntask = \"classify\"\nlabels = [\"praise\", \"blame\"]\n";
    let folder = std::env::temp_dir().join(unique("finds"));
    let (workspace, deployed) = (folder.join("workspace"), folder.join("deployed"));
    for made in ["infra", "function"] {
        fs::create_dir_all(workspace.join(made)).unwrap();
    }
    fs::create_dir_all(&deployed).unwrap();
    fs::write(workspace.join("function/Cargo.toml"), "").unwrap();
    fs::write(workspace.join("infra/topology.toml"), PRAISE).unwrap();
    let binary = deployed.join("main");
    fs::hard_link(tests::command(&[]).get_program(), &binary)
        .or_else(|_| fs::copy(tests::command(&[]).get_program(), &binary).map(drop))
        .unwrap();
    let label = async |package: &Path, attributes: &[(&str, &str)]| {
        let mut command = tests::program(&binary, &[("PORT", "0")]);
        command.env_remove("TOPOLOGY").env("CARGO_MANIFEST_DIR", package);
        let function = tests::Function::spawn(command).await.unwrap();
        let (status, body) = function.push("please refund the invoice", attributes).await;
        assert_eq!(status, 200, "{body}");
        body["data"][0]["label"].as_str().unwrap_or_default().to_owned()
    };
    // As `cargo run` starts it: with the file as it is now.
    assert!(["praise", "blame"].contains(&&*label(&workspace.join("function"), &[]).await));
    // Nothing is there: the copy compiled in.
    assert_eq!(label(Path::new("/nonexistent/function"), &[("kind", "ticket")]).await, "billing");
    // What an archive holds of a declaration, before all others.
    let topology = folder.join("topology.toml");
    fs::write(&topology, PRAISE.replace("praise", "refund")).unwrap();
    let program = folder.join("program");
    fs::write(&program, tests::elf_program("")).unwrap();
    let [program, topology] = [&program, &topology].map(|path| path.to_str().unwrap());
    let built = xtask(&["build", "--json", "--format", "zip", "--binary", program, "--topology", topology], &[]);
    let archive = fs::File::open(built.ok().json()["path"].as_str().unwrap()).unwrap();
    let mut held = String::new();
    let mut archive = zip::ZipArchive::new(archive).unwrap();
    std::io::Read::read_to_string(&mut archive.by_name("topology.toml").unwrap(), &mut held).unwrap();
    fs::write(deployed.join("topology.toml"), held).unwrap();
    assert!(["refund", "blame"].contains(&&*label(&workspace.join("function"), &[]).await));
    fs::remove_dir_all(folder).unwrap();
}
