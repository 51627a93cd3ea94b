//! Which task a message goes to.

use infra::topology::Service;

use crate::task::AnyTask;
use crate::{Message, Outcome};

/// The attribute that names a task.
const ATTRIBUTE: &str = "task";

/// The index of the message's task in `tasks`: the first rule of `service` that takes it decides, else its attribute `task`,
/// else `default`.
pub(crate) fn route(
    service: &Service,
    tasks: &[Box<dyn AnyTask>],
    default: &str,
    message: &Message,
) -> Result<usize, Outcome> {
    let name = service
        .route(&message.attributes)
        .or_else(|| message.attributes.get(ATTRIBUTE).map(String::as_str))
        .unwrap_or(default);
    tasks.iter().position(|task| task.name() == name).ok_or_else(|| {
        let names: Vec<&str> = tasks.iter().map(|task| task.name()).collect();
        let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        Outcome::rejected("unknown-task", format!("there is no task `{shown}`; this service has: {}", names.join(", ")))
    })
}
