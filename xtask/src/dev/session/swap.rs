//! How a new process takes over from the one before.
//!
//! A new process gets no messages until it is ready. Then the subscriptions push to it, and the old process is told to
//! end: no message is lost by the swap.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::json;

use super::Session;
use crate::dev::declared::Consumer;

impl Session {
    /// Lets a process that is ready take over.
    pub(super) async fn swap(&mut self, name: &str, number: u64, address: SocketAddr) {
        let Some(service) = self.services.iter_mut().find(|service| service.name() == name) else { return };
        let Some(next) = service.next.as_mut().filter(|process| process.number == number) else { return };
        if self.stopping.is_some() || service.leaving {
            return;
        }
        next.address = Some(address);
        let id = next.id;
        let ms = next.started.elapsed().as_millis();
        let replaced = service.promote();
        if let Err(error) = self.point(name).await {
            self.screen.notice(&format!("{error:#}"));
        }
        let more = json!({"service": name, "pid": id, "url": format!("http://{address}/"), "replaces": replaced});
        let replaces = replaced.map(|old| format!(", replaces process {old}")).unwrap_or_default();
        let text = format!("service {name}: ready on http://{address} after {ms} ms (process {id}{replaces})");
        self.screen.status("service", "ready", more, &text);
        self.settled_at_start(name);
    }

    /// Has the subscriptions of a service push to its current address.
    pub(super) async fn point(&self, name: &str) -> Result<()> {
        let Some(service) = self.services.iter().find(|service| service.name() == name) else { return Ok(()) };
        let endpoint = service.endpoint();
        for subscription in &self.topology.declared.subscriptions {
            if subscription.consumer == Consumer::Service(name.to_owned()) {
                self.admin.point(subscription, endpoint.as_deref()).await?;
            }
        }
        Ok(())
    }

    /// Sets the endpoints of all subscriptions.
    pub(super) async fn point_all(&self) -> Result<()> {
        for subscription in &self.topology.declared.subscriptions {
            if let Consumer::Endpoint(endpoint) = &subscription.consumer {
                self.admin.point(subscription, Some(endpoint)).await?;
            }
        }
        for service in &self.services {
            self.point(service.name()).await?;
        }
        Ok(())
    }
}
