//! What the handlers share.

use std::sync::Arc;

use super::body::BodyBudget;
use super::readiness::Readiness;
use crate::auth::Auth;
use crate::pipeline::Pipeline;

/// The state of the handlers.
pub(crate) struct App {
    pub(crate) pipeline: Arc<Pipeline>,
    /// Who may post events; `None` accepts every caller.
    pub(crate) auth: Option<Auth>,
    pub(crate) body_budget: BodyBudget,
    pub(crate) readiness: Arc<Readiness>,
    /// Name of the embedded model, where there is one.
    pub(crate) model: Option<String>,
}
