//! What the machine itself can do: the ceilings of the other figures.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::figure::Figure;
use crate::inference::{self, TOLERANCE};
use crate::models::{self, ours, reference};
use crate::report::note;
use crate::samples::Samples;
use crate::stage::{PRODUCT_OPERATIONS, ROLE, Stage, told};

/// How long commits are counted.
const COMMITS: Duration = Duration::from_secs(2);
/// What Postgres writes at least at a commit.
const PAGE: [u8; 8192] = [7; 8192];
const READ_BYTES: usize = 1 << 30;
/// Of each thread.
const COPIED_BYTES: usize = 256 << 20;
/// As many as either side has where models are compared.
const THREADS: usize = 2;

/// `rounds` times each.
pub(crate) fn measure(rounds: u32) -> Result<Vec<Figure>> {
    let folder = folder()?;
    let mut figures = vec![
        figure("fdatasync of one 8 KiB page after another", "1/s", rounds, || syncs(&folder))?,
        figure("reading a file from disk, not from memory", "MB/s", rounds, || disk(&folder))?,
        figure("copying memory, two threads", "GB/s", rounds, || Ok(copies()))?,
    ];
    figures.extend(products(&folder, rounds)?);
    fs::remove_dir_all(&folder).context("failed to remove the files that were read")?;
    Ok(figures)
}

fn figure(
    name: &str,
    unit: &'static str,
    rounds: u32,
    mut once: impl FnMut() -> Result<f64>,
) -> Result<Figure> {
    let values = (0..rounds).map(|_| once()).collect::<Result<_>>()?;
    Ok(Figure { name: name.to_owned(), unit, ours: Samples::new(values), reference: None, target: None })
}

/// On the same disk as the servers' data and the models.
fn folder() -> Result<PathBuf> {
    let folder = std::env::current_dir()?.join("target/bench").join(format!("limits-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    Ok(folder)
}

/// Overwrites a file that is there in full, as Postgres does with its log.
fn syncs(folder: &Path) -> Result<f64> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(folder.join("log"))?;
    for _ in 0..2048 {
        file.write_all(&PAGE)?;
    }
    file.sync_all()?;
    let mut file = OpenOptions::new().write(true).open(folder.join("log"))?;
    let started = Instant::now();
    let mut count = 0u32;
    while started.elapsed() < COMMITS && count < 2048 {
        file.write_all(&PAGE)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

fn disk(folder: &Path) -> Result<f64> {
    let path = folder.join("bytes");
    let mut block = vec![0u8; 1 << 20];
    if !path.exists() {
        let mut file = File::create(&path)?;
        for number in 0..READ_BYTES / block.len() {
            block.fill(number as u8);
            file.write_all(&block)?;
        }
        file.sync_all()?;
    }
    forget(&path)?;
    let mut file = File::open(&path)?;
    let started = Instant::now();
    while file.read(&mut block)? > 0 {}
    Ok(READ_BYTES as f64 / 1e6 / started.elapsed().as_secs_f64())
}

/// Bytes that are read, and as many are written.
fn copies() -> f64 {
    let mut pairs: Vec<_> =
        (0..THREADS).map(|_| (vec![1u8; COPIED_BYTES], vec![2u8; COPIED_BYTES])).collect();
    let started = Instant::now();
    thread::scope(|scope| {
        for (from, to) in &mut pairs {
            scope.spawn(|| to.copy_from_slice(from));
        }
    });
    (THREADS * COPIED_BYTES) as f64 / 1e9 / started.elapsed().as_secs_f64()
}

/// Multiply-adds of f32: one product of matrices by the kernels, by candle and by PyTorch, in turns.
fn products(folder: &Path, rounds: u32) -> Result<Vec<Figure>> {
    fs::create_dir_all(models::folder()?)?;
    let stages = [Stage::Product, Stage::CandleProduct];
    let (mut rates, mut reference_rates) = (stages.map(|_| Vec::new()), Vec::new());
    let (found, expected) = (folder.join("product.safetensors"), folder.join("expected.safetensors"));
    let rate = |seconds: Vec<f64>| PRODUCT_OPERATIONS / 1e9 / Samples::new(seconds).median();
    for _ in 0..rounds {
        let command = reference("bench/reference/stage.py")?;
        reference_rates.push(rate(told(command, Stage::Product, &expected)?.seconds));
        for (stage, rates) in stages.iter().zip(&mut rates) {
            rates.push(rate(told(ours(ROLE)?, *stage, &found)?.seconds));
            let difference =
                inference::difference(&inference::output(&found)?, &inference::output(&expected)?)?;
            ensure!(difference <= TOLERANCE, "{}: {difference:.1e} deviations from PyTorch", stage.name());
        }
        note(format!("products: {rates:.0?}, PyTorch {reference_rates:.0?} GFLOP/s"));
    }
    let names = ["the kernels", "candle"].into_iter().zip(rates);
    Ok(names
        .map(|(name, rates)| Figure {
            name: format!("a product of 2048 × 2048 numbers by {name}, two threads"),
            unit: "GFLOP/s",
            ours: Samples::new(rates),
            reference: Some(("PyTorch".to_owned(), Samples::new(reference_rates.clone()))),
            target: None,
        })
        .collect())
}

/// Makes the kernel forget what it remembers of a file.
pub(crate) fn forget(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}
