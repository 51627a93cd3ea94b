//! Processes: started, taking over from each other, started again.

use std::process::ExitStatus;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::declared::Feeds;
use super::messages::Log;
use super::process::{News, Process, Report};
use super::service::{Role, Service};
use super::session::Session;

impl Session {
    /// Starts a process for every service that runs here; each takes over when it is ready.
    pub(super) fn start_all(&mut self) {
        let names: Vec<String> = self.services.iter().map(|service| service.name().to_owned()).collect();
        names.iter().for_each(|name| self.start_one(name));
    }

    pub(super) fn start_one(&mut self, name: &str) {
        let Some(binary) = self.binary.clone() else { return };
        let Some(service) = self.services.iter_mut().find(|service| service.name() == name) else { return };
        if service.elsewhere.is_some() || service.leaving || self.stopping.is_some() {
            return;
        }
        self.last_number += 1;
        match Process::start(&binary, &service.environment, self.last_number, &self.http, &self.reports) {
            Ok(process) => {
                let more = json!({"service": name, "pid": process.id});
                let text = format!("service {name}: process {} starts", process.id);
                service.add(process);
                self.screen.news("service", "started", more, &text);
            }
            Err(error) => {
                let wait = service.failed(None);
                self.screen.notice(&format!("{error:#}; tried again in {} s", wait.as_secs()));
            }
        }
    }

    /// Starts again what crashed and has waited long enough.
    pub(super) fn restart(&mut self, now: Instant) {
        let due = |service: &&Service| service.restart_at.is_some_and(|time| time <= now);
        let names: Vec<String> = self.services.iter().filter(due).map(|service| service.name().to_owned()).collect();
        names.iter().for_each(|name| self.start_one(name));
    }

    /// A process has something to tell.
    pub(super) async fn report(&mut self, report: Report) {
        let Report { service: name, number, news } = report;
        match news {
            News::Line(line) => self.line(&name, number, &line),
            News::Ready(address) => {
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
                let instead = replaced.map(|old| format!(", in place of process {old}")).unwrap_or_default();
                let text = format!("service {name}: ready on http://{address} after {ms} ms (process {id}{instead})");
                self.screen.news("service", "ready", more, &text);
                self.arrived(&name);
            }
            News::Unready => {
                self.screen.notice(&format!("service {name}: its process listens, but is not ready after two minutes"));
                self.arrived(&name);
            }
            News::Exited(status) => self.exited(&name, number, status).await,
        }
    }

    fn line(&mut self, name: &str, number: u64, line: &str) {
        let fields: Value = serde_json::from_str(line).unwrap_or_default();
        if let Some(log) = Log::read(&fields) {
            let way = self.messages.log(name, log, Instant::now());
            way.iter().for_each(|way| self.screen.way(way));
            return;
        }
        if let (Some(id), Some(data)) = (fields["sourcemessageid"].as_str(), fields.get("data")) {
            let ways = self.messages.result((name.to_owned(), id.to_owned()), data.to_string().as_bytes());
            ways.iter().for_each(|way| self.screen.way(way));
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
            self.screen.news(
                "service",
                "stopped",
                json!({"service": name, "pid": id, "status": how}),
                &format!("service {name}: process {id} ended ({how})"),
            );
            self.services.retain(|service| !service.leaving || !service.is_idle());
            return;
        }
        let tail: Vec<String> = process.tail.iter().map(|line| format!("    {line}")).collect();
        let said = if tail.is_empty() { String::new() } else { format!("; it wrote last:\n{}", tail.join("\n")) };
        if role == Role::Next && service.current.is_some() {
            process.ended();
            let text = format!(
                "service {name}: new process {id} ended before it was ready ({how}); the old one goes on{said}"
            );
            self.screen.news("service", "refused", json!({"service": name, "pid": id, "status": how}), &text);
            return;
        }
        let wait = match &service.next {
            // It is about to take over anyway.
            Some(_) => None,
            None => Some(service.failed(Some(&process)).as_secs()),
        };
        // Until then messages wait, rather than fail and come nearer to their last attempt.
        if let Err(error) = self.point(name).await {
            self.screen.notice(&format!("{error:#}"));
        }
        let more = json!({"service": name, "pid": id, "status": how, "restart_in_s": wait, "output": process.tail});
        process.ended();
        let again = wait.map(|wait| format!("; starts again in {wait} s")).unwrap_or_default();
        self.screen.news(
            "service",
            "crashed",
            more,
            &format!("service {name}: process {id} ended ({how}){again}{said}"),
        );
        self.arrived(name);
    }

    /// What becomes of this service at the start is known.
    fn arrived(&mut self, name: &str) {
        if let Some(awaited) = &mut self.awaited {
            awaited.remove(name);
            self.introduce();
        }
    }

    /// Has what feeds a service push to where it is now.
    pub(super) async fn point(&self, name: &str) -> Result<()> {
        let Some(service) = self.services.iter().find(|service| service.name() == name) else { return Ok(()) };
        let endpoint = service.endpoint();
        for subscription in &self.declared.subscriptions {
            if subscription.feeds == Feeds::Service(name.to_owned()) {
                self.admin.point(subscription, endpoint.as_deref()).await?;
            }
        }
        Ok(())
    }

    /// Has every subscription push to where it should now.
    pub(super) async fn point_all(&self) -> Result<()> {
        for subscription in &self.declared.subscriptions {
            if let Feeds::Endpoint(endpoint) = &subscription.feeds {
                self.admin.point(subscription, Some(endpoint)).await?;
            }
        }
        for service in &self.services {
            self.point(service.name()).await?;
        }
        Ok(())
    }
}
