//! The services' processes: started, replaced by new ones, restarted after a crash.
//!
//! A new process gets no messages until it is ready. Then the subscriptions push to it, and the old process is told to
//! end: no message is lost by the swap.

use std::process::ExitStatus;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Session;
use crate::dev::declared::Consumer;
use crate::dev::process::{Process, ProcessEvent, ProcessReport};
use crate::dev::service::{Role, Service};
use crate::dev::tracer::LogLine;

impl Session {
    /// Starts a process for every service that runs here; each takes over when it is ready.
    pub(super) fn start_all(&mut self) {
        let names: Vec<String> = self.services.iter().map(|service| service.name().to_owned()).collect();
        names.iter().for_each(|name| self.start_one(name));
    }

    pub(super) fn start_one(&mut self, name: &str) {
        let Some(binary) = self.builds.binary.clone() else { return };
        let Some(service) = self.services.iter_mut().find(|service| service.name() == name) else { return };
        if service.external.is_some() || service.leaving || self.stopping.is_some() {
            return;
        }
        self.last_number += 1;
        match Process::start(&binary, &service.environment, self.last_number, &self.http, &self.reports) {
            Ok(process) => {
                let more = json!({"service": name, "pid": process.id});
                let text = format!("service {name}: process {} starts", process.id);
                service.add(process);
                self.screen.status("service", "started", more, &text);
            }
            Err(error) => {
                let wait = service.failed(None);
                self.screen.notice(&format!("{error:#}; the next attempt is in {} s", wait.as_secs()));
            }
        }
    }

    /// Restarts services that crashed and whose backoff is over.
    pub(super) fn restart(&mut self, now: Instant) {
        let due = |service: &&Service| service.restart_at.is_some_and(|time| time <= now);
        let names: Vec<String> = self.services.iter().filter(due).map(|service| service.name().to_owned()).collect();
        names.iter().for_each(|name| self.start_one(name));
    }

    /// Handles what a process reports.
    pub(super) async fn report(&mut self, report: ProcessReport) {
        let ProcessReport { service: name, number, event } = report;
        match event {
            ProcessEvent::Line(line) => self.line(&name, number, &line),
            ProcessEvent::Ready(address) => {
                let Some(service) = self.services.iter_mut().find(|service| service.name() == name) else { return };
                let Some(next) = service.next.as_mut().filter(|process| process.number == number) else { return };
                if self.stopping.is_some() || service.leaving {
                    return;
                }
                next.address = Some(address);
                let id = next.id;
                let ms = next.started.elapsed().as_millis();
                let replaced = service.promote();
                if let Err(error) = self.point(&name).await {
                    self.screen.notice(&format!("{error:#}"));
                }
                let more =
                    json!({"service": name, "pid": id, "url": format!("http://{address}/"), "replaces": replaced});
                let replaces = replaced.map(|old| format!(", replaces process {old}")).unwrap_or_default();
                let text = format!("service {name}: ready on http://{address} after {ms} ms (process {id}{replaces})");
                self.screen.status("service", "ready", more, &text);
                self.settled_at_start(&name);
            }
            ProcessEvent::Unready => {
                self.screen.notice(&format!("service {name}: its process listens, but is not ready after two minutes"));
                self.settled_at_start(&name);
            }
            ProcessEvent::Exited(status) => self.exited(&name, number, status).await,
        }
    }

    fn line(&mut self, name: &str, number: u64, line: &str) {
        let fields: Value = serde_json::from_str(line).unwrap_or_default();
        if let Some(log) = LogLine::read(&fields) {
            let trace = self.tracer.log(name, log, Instant::now());
            trace.iter().for_each(|trace| self.screen.trace(trace));
            return;
        }
        if let (Some(id), Some(data)) = (fields["sourcemessageid"].as_str(), fields.get("data")) {
            let traces = self.tracer.result((name.to_owned(), id.to_owned()), data.to_string().as_bytes());
            traces.iter().for_each(|trace| self.screen.trace(trace));
            return;
        }
        let process =
            self.services.iter_mut().find(|service| service.name() == name).and_then(|service| service.process(number));
        let quiet = process.is_some_and(|(_, process)| {
            process.remember(line);
            process.stopping && fields["message"] == "draining"
        });
        if !quiet {
            self.screen.log(name, line);
        }
    }

    async fn exited(&mut self, name: &str, number: u64, status: Option<ExitStatus>) {
        let Some(service) = self.services.iter_mut().find(|service| service.name() == name) else { return };
        let Some((role, process)) = service.take(number) else { return };
        let id = process.id;
        let how = status.map_or_else(|| "an unknown status".to_owned(), |status| status.to_string());
        if process.stopping || service.leaving || role == Role::Old {
            process.ended();
            self.screen.status(
                "service",
                "stopped",
                json!({"service": name, "pid": id, "status": how}),
                &format!("service {name}: process {id} exited ({how})"),
            );
            self.services.retain(|service| !service.leaving || !service.is_idle());
            return;
        }
        let tail: Vec<String> = process.tail.iter().map(|line| format!("    {line}")).collect();
        let last_lines =
            if tail.is_empty() { String::new() } else { format!("; its last lines:\n{}", tail.join("\n")) };
        if role == Role::Next && service.current.is_some() {
            process.ended();
            let text = format!(
                "service {name}: new process {id} exited before it was ready ({how}); the old one continues{last_lines}"
            );
            self.screen.status("service", "refused", json!({"service": name, "pid": id, "status": how}), &text);
            return;
        }
        let wait = match &service.next {
            // The next process is about to take over anyway.
            Some(_) => None,
            None => Some(service.failed(Some(&process)).as_secs()),
        };
        // Until the restart the subscriptions push nowhere: pushes that fail would use up delivery attempts.
        if let Err(error) = self.point(name).await {
            self.screen.notice(&format!("{error:#}"));
        }
        let more = json!({"service": name, "pid": id, "status": how, "restart_in_s": wait, "output": process.tail});
        process.ended();
        let again = wait.map(|wait| format!("; restarts in {wait} s")).unwrap_or_default();
        self.screen.status(
            "service",
            "crashed",
            more,
            &format!("service {name}: process {id} exited ({how}){again}{last_lines}"),
        );
        self.settled_at_start(name);
    }

    /// Takes a service, which has started or failed to, from those that the banner waits for.
    fn settled_at_start(&mut self, name: &str) {
        if let Some(awaited) = &mut self.awaited {
            awaited.remove(name);
            self.show_banner();
        }
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
