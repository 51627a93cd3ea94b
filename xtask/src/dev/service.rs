//! A declared service and its processes: the one that gets messages, the one that is to take its place, those that end.

use std::time::Duration;

use infra::topology::Service as Declaration;
use tokio::time::Instant;

use super::environment::Environment;
use super::process::Process;

/// The wait before a crashed service is started again: the first, and the longest.
const BACKOFF: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// A process that ran this long has not failed in a row.
const STEADY: Duration = Duration::from_secs(60);
/// How long an old process is left alone after the endpoint has changed: what was sent to it before arrives first.
const GRACE: Duration = Duration::from_millis(200);

pub(super) struct Service {
    pub(super) declaration: Declaration,
    pub(super) environment: Environment,
    /// Where it runs, if not here.
    pub(super) elsewhere: Option<String>,
    /// Ready, or on its way to the first time.
    pub(super) current: Option<Process>,
    /// Takes the place of `current` once it is ready.
    pub(super) next: Option<Process>,
    /// End when they have done what they began, each from its time on.
    pub(super) old: Vec<(Instant, Process)>,
    failures: u32,
    pub(super) restart_at: Option<Instant>,
    /// It is not declared any more.
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
    pub(super) fn new(declaration: Declaration, environment: Environment, elsewhere: Option<String>) -> Self {
        let (current, next, old) = (None, None, Vec::new());
        Self { declaration, environment, elsewhere, current, next, old, failures: 0, restart_at: None, leaving: false }
    }

    pub(super) fn name(&self) -> &str {
        &self.declaration.name
    }

    /// Where its messages are pushed to; `None` while nobody there can take them.
    pub(super) fn endpoint(&self) -> Option<String> {
        let own = || Some(format!("http://{}/", self.current.as_ref()?.address?));
        self.elsewhere.clone().or_else(own)
    }

    pub(super) fn process(&mut self, number: u64) -> Option<(Role, &mut Process)> {
        let current = self.current.as_mut().map(|process| (Role::Current, process));
        let next = self.next.as_mut().map(|process| (Role::Next, process));
        let old = self.old.iter_mut().map(|(_, process)| (Role::Old, process));
        current.into_iter().chain(next).chain(old).find(|(_, process)| process.number == number)
    }

    /// Takes out the process with this number, which has ended.
    pub(super) fn take(&mut self, number: u64) -> Option<(Role, Process)> {
        if let Some(process) = self.current.take_if(|process| process.number == number) {
            return Some((Role::Current, process));
        }
        if let Some(process) = self.next.take_if(|process| process.number == number) {
            return Some((Role::Next, process));
        }
        let place = self.old.iter().position(|(_, process)| process.number == number)?;
        Some((Role::Old, self.old.swap_remove(place).1))
    }

    /// A new process is to take over. One that was to do so before has come too late.
    pub(super) fn add(&mut self, process: Process) {
        self.restart_at = None;
        if let Some(mut late) = self.next.replace(process) {
            late.terminate();
            self.old.push((Instant::now(), late));
        }
    }

    /// The next process is ready and the current one; the old one's id, if there was one.
    pub(super) fn promote(&mut self) -> Option<u32> {
        let old = self.current.take();
        self.current = self.next.take();
        let mut old = old?;
        let id = old.id;
        if old.address.is_none() {
            old.terminate();
        }
        self.old.push((Instant::now() + GRACE, old));
        Some(id)
    }

    /// How long to wait before it is started again, after this process crashed.
    pub(super) fn failed(&mut self, process: Option<&Process>) -> Duration {
        if process.is_some_and(|process| process.started.elapsed() >= STEADY) {
            self.failures = 0;
        }
        let wait = BACKOFF[0].saturating_mul(1 << self.failures.min(10)).min(BACKOFF[1]);
        self.failures += 1;
        self.restart_at = Some(Instant::now() + wait);
        wait
    }

    /// Tells processes to end whose time has come.
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

/// What its process reads of a declaration; the rest is for where it is deployed.
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
