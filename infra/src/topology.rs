//! stand-in
use std::collections::BTreeMap;
/// .
#[derive(Clone, Debug)]
pub struct Service { name: String }
impl Service {
    /// .
    pub fn new(name: &str) -> Self { Self { name: name.into() } }
    /// .
    pub fn name(&self) -> &str { &self.name }
    /// .
    pub fn route(&self, _: &BTreeMap<String, String>) -> Option<&str> { None }
    /// .
    pub fn default_task(&self) -> &str { "embed" }
}
