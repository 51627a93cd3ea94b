//! Whether the program has the tasks that its service names.

use infra::topology::{Service, TASKS};

use super::topology_file::Origin;
use crate::startup::error::StartError;

/// Refuses a name that none of `tasks` has. A topology that was not chosen for this program, that of the workspace or
/// the copy compiled in, may name the project's own tasks in a program without them: that is worth a line in the log.
pub(super) fn check(service: &Service, tasks: &[&str], origin: &Origin) -> Result<(), StartError> {
    let default = service.task.iter().map(|task| (task, "`task`".to_owned()));
    let routes = service.routes.iter().enumerate();
    let routes = routes.map(|(index, route)| (&route.task, format!("the `task` of route {}", index + 1)));
    let own = service.tasks.iter().map(|task| (task, "`tasks`".to_owned()));
    for (name, declared_as) in default.chain(routes).chain(own).filter(|(name, _)| !tasks.contains(&name.as_str())) {
        if !origin.chosen && TASKS.contains(&name.as_str()) {
            tracing::warn!(task = name, "the topology names a task that this program does not have");
            continue;
        }
        let nearest = infra::nearest(name, tasks).map(|nearest| format!("did you mean `{nearest}`? "));
        let why = format!(
            "{declared_as} of service `{}` is `{name}`, and this program has no such task; {}it has: {}",
            service.name,
            nearest.unwrap_or_default(),
            tasks.join(", ")
        );
        return Err(StartError::setting("TOPOLOGY", &origin.name, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use infra::topology::Topology;

    use super::*;

    #[test]
    fn a_chosen_file_names_tasks_of_the_program_alone() {
        let service = |text: &str| {
            let text = format!("[services.s]\ntasks = [\"redact\"]\n{text}");
            Topology::parse(&text, "t.toml").unwrap_or_else(|errors| panic!("{errors}")).services.remove(0)
        };
        let chosen = Origin { name: "t.toml".to_owned(), chosen: true };
        let route = "routes = [{ filter = 'attributes:a', task = \"classify\" }]";
        let own = ["redact"];
        let all = ["redact", "embed", "classify", "rerank"];
        for (declared, tasks, says) in [
            (
                "task = \"embed\"",
                &own[..],
                Some("`task` of service `s` is `embed`, and this program has no such task; it has: redact"),
            ),
            (route, &own, Some("the `task` of route 1 of service `s` is `classify`")),
            ("", &["redcat"], Some("did you mean `redcat`? it has: redcat")),
            ("", &own, None),
            (route, &all, None),
            ("task = \"redact\"", &all, None),
        ] {
            let service = service(declared);
            let found = check(&service, tasks, &chosen).err().map(|error| error.to_string());
            match says {
                Some(says) => assert!(found.as_deref().is_some_and(|found| found.contains(says)), "{found:?}"),
                None => assert_eq!(found, None, "{declared}"),
            }
        }
        // The project's own declaration, in a program that has other tasks.
        assert!(check(&Topology::shipped().unwrap().services[0], &own, &chosen).is_err());
        assert!(check(&Topology::shipped().unwrap().services[0], &own, &Origin { chosen: false, ..chosen }).is_ok());
    }
}
