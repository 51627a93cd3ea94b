//! Buckets of other projects, whose names are easy to guess, and names that Cloud Storage refuses.

use tests::xtask;

use super::Project;

/// Everything about a bucket that another project owns, and that the caller may write to if it is `open`.
fn refused_everywhere(open: bool, said: &str) {
    let Some(project) = Project::new() else {
        return;
    };
    let bucket = format!("{}-ai-workloads", project.google.project());
    project.google.create_foreign_bucket(&bucket, open);
    let archive = project.archive("one");
    for verb in
        [&["deploy", "--yes", "--archive", &archive][..], &["plan", "--archive", &archive], &["destroy", "--yes"]]
    {
        let refused = project.run(verb).failed(1, said);
        assert!(refused.stderr.contains("[archive] bucket"), "{verb:?}: {}", refused.stderr);
    }
    let doctor = project.run(&["doctor"]);
    assert!(doctor.code == Some(1) && doctor.stdout.contains(said), "{}", doctor.stdout);
    // Nothing was uploaded, and nothing else begun.
    assert_eq!(project.google.mutations(), []);
    // Another name solves it.
    project.edit("bucket = \"{project}-ai-workloads\"", "bucket = \"{project}-other\"");
    project.edit("gs://{project}-ai-workloads/ledger/", "gs://{project}-other/ledger/");
    let _ = project.deploy("one").ok();
    project.check();
}

#[test]
fn a_bucket_that_another_project_opened_is_refused() {
    refused_everywhere(true, "belongs to project 999999999999");
}

#[test]
fn a_bucket_that_another_project_keeps_to_itself_is_refused() {
    refused_everywhere(false, "probably another project's");
}

#[test]
fn results_go_to_no_bucket_of_another_project() {
    let Some(project) = Project::new() else {
        return;
    };
    let bucket = format!("{}-results", project.google.project());
    project.google.create_foreign_bucket(&bucket, true);
    project.edit("\"topic:ai-workloads-results\"]", "\"topic:ai-workloads-results\", \"gs://{project}-results/\"]");
    let _ = project.deploy("one").failed(1, "belongs to project 999999999999");
    assert_eq!(project.google.mutations(), []);
}

#[test]
fn a_service_whose_archives_bucket_changed_hands_is_neither_shown_nor_rolled_back() {
    let Some(project) = Project::new() else {
        return;
    };
    let _ = project.deploy("one").ok();
    let _ = project.deploy("two").ok();
    let bucket = format!("{}-ai-workloads", project.google.project());
    project.google.give_bucket_away(&bucket);
    project.google.forget_requests();
    for verb in [&["outputs"][..], &["rollback", "--yes"], &["destroy", "--yes"]] {
        let _ = project.run(verb).failed(1, "belongs to project 999999999999");
    }
    assert_eq!(project.google.mutations(), []);
}

#[test]
fn deleted_objects_are_not_kept_and_billed() {
    let Some(project) = Project::new() else {
        return;
    };
    let _ = project.deploy("one").ok();
    let bucket = format!("b/{}-ai-workloads", project.google.project());
    let kept = |kept: &str| {
        let found = project.google.snapshot()[&bucket]["softDeletePolicy"]["retentionDurationSeconds"].clone();
        assert_eq!(found.as_str().map_or(found.to_string(), str::to_owned), kept);
    };
    kept("0");
    project.edit("bucket = \"{project}-ai-workloads\"", "bucket = \"{project}-ai-workloads\"\nsoft-delete = \"7d\"");
    let plan = project.plan("one");
    assert_eq!(super::counts(&plan), [0, 1, 0, 0], "{plan:#}");
    let _ = project.deploy("one").ok();
    kept("604800");
    project.check();
}

#[test]
fn a_domain_scoped_project_needs_a_name_of_its_own() {
    let arguments = ["plan", "--offline", "--project", "example.com:my-project"];
    let refused = xtask(&arguments, &[]).failed(1, "domain-scoped");
    assert!(refused.stderr.contains("`example-com-my-project-ai-workloads`"), "{}", refused.stderr);
}
