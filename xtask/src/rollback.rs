//! `cargo xtask rollback`: services at an earlier archive, without a build.

use anyhow::{Result, bail, ensure};
use deploy::cloud::Google;
use deploy::plan::{self, Action, Plan, State, Step};
use deploy::resources::{self, ARCHIVES, Archive, Id, Kind, Resource};
use serde_json::{Value, json};

use crate::deployment::{connect, run_steps};
use crate::{flags, terminal, topology};

/// A service, where it is and where it could go.
struct Service {
    name: String,
    id: Id,
    found: Value,
    /// `BUCKET/OBJECT` of its revisions, newest first.
    archives: Vec<String>,
}

pub(crate) fn run(flags: &flags::Rollback) -> Result<()> {
    let topology = topology::read(&flags.target.declaration)?;
    let mut names: Vec<&str> = topology.services.iter().map(|service| service.name.as_str()).collect();
    if let Some(wanted) = &flags.service {
        ensure!(names.contains(&wanted.as_str()), "no service `{wanted}` is declared; there are: {}", names.join(", "));
        names.retain(|name| name == wanted);
    }
    terminal::block_on(async {
        let mut google = connect(&flags.target).await?;
        let mut services = Vec::new();
        for name in names {
            services.push(Service::read(&google, name).await?);
        }
        if flags.list {
            list(&services, flags.json);
            return Ok(());
        }
        let mut changes = Vec::new();
        for service in &services {
            let target = service.target(flags.to.as_deref())?;
            let bucket = target.split_once('/').map_or(target, |(bucket, _)| bucket);
            // A bucket of another project would have its code run here. Without a bucket there is no archive either.
            google.read(&Id::new(Kind::Bucket, bucket)).await?;
            if google.read(&Id::new(Kind::Archive, target)).await?.is_none() {
                bail!("the archive gs://{target} of service `{}` is not there any more", service.name);
            }
            if target == service.current() {
                eprintln!("service {} runs {} already", service.name, digest(target));
            } else {
                changes.push((service, target));
            }
        }
        for (service, target) in &changes {
            eprintln!("~ service {}  {} → {}", service.name, digest(&service.current()), digest(target));
        }
        if !changes.is_empty() {
            terminal::confirm("Roll back?", flags.yes)?;
        }
        for (service, target) in &changes {
            if let Some(archive) = Archive::named(target) {
                google.set_archive(archive);
            }
            service.point(&google, target).await?;
            eprintln!("  ✓ service {} runs {}", service.name, digest(target));
        }
        if flags.json {
            let all = changes.iter().map(|(service, target)| json!({"service": service.name, "archive": target}));
            println!("{}", json!({"rolled_back": all.collect::<Vec<_>>()}));
        }
        Ok(())
    })
}

fn list(services: &[Service], json: bool) {
    if json {
        let all = services.iter().map(
            |service| json!({"service": service.name, "current": service.current(), "archives": service.archives}),
        );
        println!("{}", json!({"services": all.collect::<Vec<_>>()}));
        return;
    }
    for service in services {
        println!("{}", service.name);
        for archive in &service.archives {
            println!("{} {}", if *archive == service.current() { "*" } else { " " }, digest(archive));
        }
    }
}

impl Service {
    async fn read(google: &Google, name: &str) -> Result<Self> {
        let id = Id::new(Kind::Service, google.context().service(name));
        let Some(found) = google.read(&id).await? else {
            bail!("service `{name}` is not deployed in {}\n  help: run `cargo xtask deploy`", id.name);
        };
        let archives = google.run().archives(&id.name).await?;
        Ok(Self { name: name.to_owned(), id, found, archives })
    }

    /// `BUCKET/OBJECT` of the archive that runs.
    fn current(&self) -> String {
        let (bucket, object) = resources::source(&self.found["template"]).unwrap_or_default();
        format!("{bucket}/{object}")
    }

    fn target(&self, wanted: Option<&str>) -> Result<&str> {
        let current = self.current();
        let found: Vec<&String> = match wanted {
            Some(wanted) => self.archives.iter().filter(|archive| digest(archive).starts_with(wanted)).collect(),
            None => {
                let place = self.archives.iter().position(|archive| *archive == current);
                self.archives.iter().skip(place.map_or(0, |place| place + 1)).take(1).collect()
            }
        };
        match (found.as_slice(), wanted) {
            ([archive], _) => Ok(archive),
            ([], None) => {
                bail!("service `{}` has no revision with an earlier archive than {}", self.name, digest(&current))
            }
            ([], Some(wanted)) => {
                bail!(
                    "service `{}` has no revision with an archive {wanted}…\n  \
                        help: `cargo xtask rollback --list` shows them",
                    self.name
                )
            }
            _ => bail!("several archives of service `{}` begin so; write more of the sha256", self.name),
        }
    }

    async fn point(&self, google: &Google, target: &str) -> Result<()> {
        let object = target.split_once('/').map_or(target, |(_, object)| object);
        let source = json!({"sourceCode": {"cloudStorageSource": {"object": object}}});
        let body = json!({"template": {"containers": [source]}});
        let resource = Resource::new(self.id.clone(), body);
        let action = plan::compare(&resource, &self.found);
        let (mut found, mut steps) = (State::default(), Vec::new());
        found.insert(self.id.clone(), self.found.clone());
        if action != Action::Nothing {
            steps.push(Step { id: self.id.clone(), action, needs: Vec::new(), resource: Some(resource) });
        }
        // As a deployment: Cloud Run may be busy.
        run_steps(google, &Plan { steps, unchanged: 0 }, &found, "run `cargo xtask rollback` again").await
    }
}

/// The sha256 in an archive's name, of whatever format it is.
fn digest(archive: &str) -> &str {
    let name = archive.rsplit_once(ARCHIVES).map_or(archive, |(_, name)| name);
    name.split_once('.').map_or(name, |(digest, _)| digest)
}
