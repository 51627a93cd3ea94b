//! scratch
use function::model::*;
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let q = std::fs::read(&a[1]).unwrap();
    let threads: usize = a.get(2).map_or(1, |s| s.parse().unwrap());
    for isa in kernels::Isa::available() {
        if let Some(want) = a.get(3) { if *want != isa.to_string() { continue } }
        if isa.to_string() == "portable" { continue }
    let e = Encoder::from_file(&q).unwrap().with_threads(threads).with_isa(isa);
    for (name, len, batch) in [("mix",0,32),("16x1", 16usize, 1usize), ("16x32", 16, 32), ("64x32", 64, 32), ("256x1", 256,1), ("256x32", 256, 32)] {
        if let Some(w) = a.get(4) { if *w != name { continue } }
        let seqs: Vec<Vec<u32>> = (0..batch).map(|b| (0..if len>0 {len} else {[8,15,20,24,30,44,60,100][b%8]}).map(|i| if i == 0 {101} else if len > 0 && i == len-1 {102} else {1000 + ((b * 7919 + i * 104729) % 25000) as u32}).collect()).collect();
        e.embed(&seqs);
        let mut best = 0f64;
        for _ in 0..3 {
            let t = Instant::now(); let mut n = 0;
            while t.elapsed().as_secs_f64() < 0.4 { e.embed(&seqs); n += batch; }
            best = best.max(n as f64 / t.elapsed().as_secs_f64());
        }
        println!("{isa} {name}: {best:.0} texts/s {:.0} tok/s {:.0} Gop/s", best * seqs.iter().map(Vec::len).sum::<usize>() as f64 / batch as f64, best*seqs.iter().map(Vec::len).sum::<usize>() as f64 / batch as f64*21.2e6/1e9);
    }
    }
}
