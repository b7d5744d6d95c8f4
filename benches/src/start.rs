//! What every use of the plugin begins with: from its start to an answer for which nobody is asked, beside kubectl, which starts before it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};
use pitr_e2e::product::Product;
use tokio::process::Command;

use crate::process::{cpu_of_ended_children, measure};

pub(crate) async fn run(rounds: u32) -> Result<()> {
    println!("| program | wall ms, median | CPU ms, mean | MiB on disk |");
    println!("| --- | --- | --- | --- |");
    let plugin = Product::find()?.plugin_path();
    for (name, program) in [("kubectl pitr", Some(plugin)), ("kubectl", kubectl())] {
        let Some(program) = program else { continue };
        let before = cpu_of_ended_children()?;
        let mut walls = Vec::new();
        for _ in 0..rounds.max(1) {
            let mut command = Command::new(&program);
            command.args(["version", "--client"]).stdout(Stdio::null());
            walls.push(measure(&mut command).await?.wall_s);
        }
        let cpu_s = (cpu_of_ended_children()? - before) / walls.len() as f64;
        walls.sort_by(f64::total_cmp);
        let bytes = program.metadata().with_context(|| format!("look at {}", program.display()))?.len();
        println!(
            "| `{name} version --client` | {:.1} | {:.1} | {:.1} |",
            walls[walls.len() / 2] * 1e3,
            cpu_s * 1e3,
            bytes as f64 / f64::from(1 << 20)
        );
    }
    Ok(())
}

/// The one that the tests' Kubernetes is made with, or the machine's own.
fn kubectl() -> Option<PathBuf> {
    let built = std::env::var_os("PITR_CACHE").map(|cache| Path::new(&cache).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    built
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join("kubectl"))
        .find(|file| file.is_file())
}
