//! Which task a message goes to.

use infra::topology::Service;

use crate::task::AnyTask;
use crate::{Message, Outcome};

/// The attribute that names a task.
pub(crate) const ATTRIBUTE: &str = "task";
/// The attribute that counts how often a message, as the result of a result, has passed services with a hop limit.
pub(crate) const HOPS: &str = "hop-count";

/// The index of the message's task in `tasks`: the first rule of `service` that takes it decides, else its attribute `task`,
/// else `default`.
pub(crate) fn route(
    service: &Service,
    tasks: &[Box<dyn AnyTask>],
    default: &str,
    message: &Message,
) -> Result<usize, Outcome> {
    if let Some(limit) = service.hop_limit
        && hops(message) >= limit
    {
        let detail = format!("it has passed services {} times ({HOPS}), and the hop limit is {limit}", hops(message));
        return Err(Outcome::rejected("too-many-hops", detail));
    }
    let name = service
        .route(&message.attributes)
        .or_else(|| message.attributes.get(ATTRIBUTE).map(String::as_str))
        .unwrap_or(default);
    tasks.iter().position(|task| task.name() == name).ok_or_else(|| {
        let names: Vec<&str> = tasks.iter().map(|task| task.name()).collect();
        let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        let nearest = infra::nearest(shown.trim(), &names).map(|nearest| format!("did you mean `{nearest}`? "));
        let nearest = nearest.unwrap_or_default();
        let detail = format!("there is no task `{shown}`; {nearest}this service has: {}", names.join(", "));
        Outcome::rejected("unknown-task", detail)
    })
}

/// How often the message has passed services with a hop limit. What is no number has been everywhere.
pub(crate) fn hops(message: &Message) -> u32 {
    message.attributes.get(HOPS).map_or(0, |hops| hops.parse().unwrap_or(u32::MAX))
}
