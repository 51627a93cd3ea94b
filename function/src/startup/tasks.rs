//! The tasks of a program: their names, the default one, and how long they may run.

use std::time::Duration;

use infra::topology::Service;

use super::error::StartError;
use crate::Config;
use crate::task::AnyTask;

/// The run time of a batch where neither a setting nor the service's timeout bounds it.
const DEFAULT_TASK_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest task name: with the words around it, it has to fit into CloudEvents types and object names.
const MAX_TASK_NAME_BYTES: usize = 63;

/// Checks the tasks that a program adds: a name each, one that routes, attributes and CloudEvents types can hold.
pub(super) fn check_task_names(tasks: &[Box<dyn AnyTask>]) -> Result<(), StartError> {
    for (n, task) in tasks.iter().enumerate() {
        let name = task.name();
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > MAX_TASK_NAME_BYTES || !name.chars().all(fits) {
            let why = format!("a task's name has 1 to {MAX_TASK_NAME_BYTES} lower-case letters, digits and `-`");
            return Err(StartError::Tasks(format!("the task name {name:?} cannot be used: {why}")));
        }
        if tasks.iter().take(n).any(|other| other.name() == name) {
            return Err(StartError::Tasks(format!("two tasks are named `{name}`: rename one of them")));
        }
    }
    Ok(())
}

/// How long a task may run on a batch: short enough that a request can still be answered within the service's timeout.
pub(super) fn task_timeout(config: &Config, service: &Service) -> Result<Duration, StartError> {
    let declared = service.timeout;
    let Some(milliseconds) = config.task_timeout_ms else {
        return Ok(declared.map_or(DEFAULT_TASK_TIMEOUT, |timeout| timeout / 2));
    };
    let chosen = Duration::from_millis(milliseconds as u64);
    match declared.filter(|declared| chosen >= *declared) {
        None => Ok(chosen),
        Some(declared) => {
            let why = format!("requests end after the service's declared timeout of {declared:?}; it must be shorter");
            Err(StartError::setting("TASK_TIMEOUT_MS", milliseconds.to_string(), why))
        }
    }
}

/// The service's default task if this program has it, else the program's first.
pub(super) fn default_task(service: &Service, tasks: &[Box<dyn AnyTask>]) -> Result<String, StartError> {
    let declared = service.task.as_deref().unwrap_or("embed");
    let found = tasks.iter().find(|task| task.name() == declared).or(tasks.first());
    let Some(task) = found else {
        let right = "add one with `Function::task`, or those of the model with `Function::with_model_tasks`";
        return Err(StartError::Tasks(format!("this program has no tasks: {right}")));
    };
    Ok(task.name().to_owned())
}
