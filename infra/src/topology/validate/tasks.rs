//! Names of tasks: those of the project, those that a service declares, and those of the program that reads.

use super::Check;
use crate::nearest;
use crate::topology::types::Service;
use crate::topology::values::TASKS;

impl Check<'_> {
    /// A message that a route or the default sends to a task that no program has could only be rejected.
    pub(super) fn tasks(&mut self, service: &Service) {
        let what = format!("service `{}`", service.name);
        let path = ["services", &*service.name];
        if let Some(task) = &service.task {
            self.task(service, task, &what, &[&path[..], &["task"]].concat());
        }
        for (index, route) in service.routes.iter().enumerate() {
            let what = format!("route {} of {what}", index + 1);
            self.task(service, &route.task, &what, &[&path[..], &["routes", &index.to_string(), "task"]].concat());
        }
    }

    fn task(&mut self, service: &Service, name: &str, what: &str, path: &[&str]) {
        let own = service.tasks.iter().map(String::as_str);
        let known: Vec<&str> = TASKS.into_iter().chain(own).chain(self.program.iter().copied()).collect();
        if known.contains(&name) {
            return;
        }
        let help = match nearest(name, &known) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!(
                "tasks: {}; a task of your own program is declared as `tasks = [\"{name}\"]` on the service",
                known.iter().map(|task| format!("`{task}`")).collect::<Vec<_>>().join(", ")
            ),
        };
        self.add(path, format!("{what} names the task `{name}`, which is not declared"), "no such task", help);
    }
}
