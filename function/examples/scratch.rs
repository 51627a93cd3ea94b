//! scratch
use function::model::*;
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let t = Instant::now();
    let s = Source::read(std::path::Path::new(&a[1])).unwrap().named("all-MiniLM-L6-v2","x","Apache-2.0");
    println!("read {:?}", t.elapsed());
    let t = Instant::now();
    let q = s.quantise().unwrap();
    println!("quantise {:?} {} bytes", t.elapsed(), q.len());
    std::fs::write(&a[2], &q).unwrap();
    let e = Encoder::from_file(&q).unwrap();
    for text in CALIBRATION { let r = s.embed(text); let v = e.embed(&[e.tokenize(text)]); let c: f32 = r.iter().zip(&v).map(|(a,b)|a*b).sum(); println!("{c:.4} {text:?}"); }
}
