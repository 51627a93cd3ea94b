//! A declared service and its processes: the current one, which gets messages; the next one, which will replace it; old
//! ones, which are ending.

use std::time::Duration;

use infra::topology::Service as Declaration;
use tokio::time::Instant;

use super::environment::Environment;
use super::process::Process;

/// The wait before a crashed service is restarted: doubled with each crash in a row, within these bounds.
const MIN_RESTART_BACKOFF: Duration = Duration::from_secs(1);
const MAX_RESTART_BACKOFF: Duration = Duration::from_secs(30);
/// A crash after this much time begins a new row of crashes.
const STEADY_TIME: Duration = Duration::from_secs(60);
/// How long an old process goes on after the endpoint has changed, so that pushes which were sent to it arrive.
const RETIRE_DELAY: Duration = Duration::from_millis(200);

pub(super) struct Service {
    pub(super) declaration: Declaration,
    pub(super) environment: Environment,
    /// The URL of the service, if it runs outside of this session.
    pub(super) external: Option<String>,
    /// The process that gets messages.
    pub(super) current: Option<Process>,
    /// Replaces `current` once it is ready.
    pub(super) next: Option<Process>,
    /// Processes that are to end, and when each of them is told to.
    pub(super) old: Vec<(Instant, Process)>,
    /// Crashes in a row.
    failures: u32,
    pub(super) restart_at: Option<Instant>,
    /// The topology does not declare the service any more.
    pub(super) leaving: bool,
}

/// Which of the processes of a service one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Current,
    Next,
    Old,
}

impl Service {
    pub(super) fn new(declaration: Declaration, environment: Environment, external: Option<String>) -> Self {
        let (current, next, old) = (None, None, Vec::new());
        Self { declaration, environment, external, current, next, old, failures: 0, restart_at: None, leaving: false }
    }

    pub(super) fn name(&self) -> &str {
        &self.declaration.name
    }

    /// The URL that messages are pushed to; `None` while no process is ready.
    pub(super) fn endpoint(&self) -> Option<String> {
        let own = || Some(format!("http://{}/", self.current.as_ref()?.address?));
        self.external.clone().or_else(own)
    }

    pub(super) fn process(&mut self, number: u64) -> Option<(Role, &mut Process)> {
        let current = self.current.as_mut().map(|process| (Role::Current, process));
        let next = self.next.as_mut().map(|process| (Role::Next, process));
        let old = self.old.iter_mut().map(|(_, process)| (Role::Old, process));
        current.into_iter().chain(next).chain(old).find(|(_, process)| process.number == number)
    }

    /// Removes the process with this number, which has exited.
    pub(super) fn take(&mut self, number: u64) -> Option<(Role, Process)> {
        if let Some(process) = self.current.take_if(|process| process.number == number) {
            return Some((Role::Current, process));
        }
        if let Some(process) = self.next.take_if(|process| process.number == number) {
            return Some((Role::Next, process));
        }
        let index = self.old.iter().position(|(_, process)| process.number == number)?;
        Some((Role::Old, self.old.swap_remove(index).1))
    }

    /// Adds a process that is to take over. An earlier one that has not done so yet is told to end.
    pub(super) fn add(&mut self, process: Process) {
        self.restart_at = None;
        if let Some(mut late) = self.next.replace(process) {
            late.terminate();
            self.old.push((Instant::now(), late));
        }
    }

    /// Makes the next process, which is ready, the current one; returns the id of the process that it replaces.
    pub(super) fn promote(&mut self) -> Option<u32> {
        let old = self.current.take();
        self.current = self.next.take();
        let mut old = old?;
        let id = old.id;
        if old.address.is_none() {
            old.terminate();
        }
        self.old.push((Instant::now() + RETIRE_DELAY, old));
        Some(id)
    }

    /// Plans the restart after a crash of this process, or after it could not be started; returns how long that waits.
    pub(super) fn failed(&mut self, process: Option<&Process>) -> Duration {
        if process.is_some_and(|process| process.started.elapsed() >= STEADY_TIME) {
            self.failures = 0;
        }
        let wait = MIN_RESTART_BACKOFF.saturating_mul(1 << self.failures.min(10)).min(MAX_RESTART_BACKOFF);
        self.failures += 1;
        self.restart_at = Some(Instant::now() + wait);
        wait
    }

    /// Tells old processes to end whose delay is over.
    pub(super) fn retire(&mut self, now: Instant) {
        for (_, process) in self.old.iter_mut().filter(|(time, process)| *time <= now && !process.stopping) {
            process.terminate();
        }
    }

    /// Tells all of its processes to end.
    pub(super) fn stop(&mut self) {
        self.restart_at = None;
        for process in self.processes().filter(|process| !process.stopping) {
            process.terminate();
        }
    }

    pub(super) fn kill(&mut self) {
        self.processes().for_each(Process::kill);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.current.is_none() && self.next.is_none() && self.old.is_empty()
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        let old = self.old.iter_mut().map(|(_, process)| process);
        self.current.iter_mut().chain(self.next.as_mut()).chain(old)
    }
}

/// The part of a declaration that a process reads. The rest is for deployments.
pub(super) fn essence(declaration: &Declaration) -> Declaration {
    Declaration {
        trigger: None,
        cpu: None,
        memory: None,
        concurrency: None,
        timeout: None,
        min_instances: None,
        max_instances: None,
        service_account: None,
        resource_labels: Default::default(),
        secrets: Default::default(),
        ..declaration.clone()
    }
}
