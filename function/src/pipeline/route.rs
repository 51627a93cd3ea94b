//! Which task a message goes to.

use infra::topology::Service;

use crate::event::{HOP_COUNT_ATTRIBUTE, TASK_ATTRIBUTE};
use crate::task::AnyTask;
use crate::{Message, Outcome};

/// The index of the message's task in `tasks`: the first rule of `service` that matches decides, else the attribute
/// `task`, else `default`.
///
/// The rules are filters over attributes; `infra` reads and matches them.
pub(super) fn route(
    service: &Service,
    tasks: &[Box<dyn AnyTask>],
    default: &str,
    message: &Message,
) -> Result<usize, Outcome> {
    if let Some(limit) = service.hop_limit
        && hops(message) >= limit
    {
        let detail = format!(
            "it has passed services {} times ({HOP_COUNT_ATTRIBUTE}), and the hop limit is {limit}",
            hops(message)
        );
        return Err(Outcome::rejected("too-many-hops", detail));
    }
    let name = service
        .route(&message.attributes)
        .or_else(|| message.attributes.get(TASK_ATTRIBUTE).map(String::as_str))
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

/// How many services with a hop limit the message has passed. A value that does not parse counts as the maximum, so the
/// message is rejected.
pub(super) fn hops(message: &Message) -> u32 {
    message.attributes.get(HOP_COUNT_ATTRIBUTE).map_or(0, |hops| hops.parse().unwrap_or(u32::MAX))
}
