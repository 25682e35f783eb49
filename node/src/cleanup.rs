//! `tidegate cleanup`: every kernel trace of ours removed, and nothing else.

use anyhow::{Context, Result, bail};
use tidegate_kernel::Kernel;

use crate::args;
use crate::lock::{KernelLock, StateLock};
use crate::settings;

/// Removes, or with `--dry-run` lists, what is ours in the kernel.
pub fn run(arguments: &args::Cleanup) -> Result<bool> {
    let state_dir = settings::state_dir(arguments.config.as_deref())?;
    // A daemon that runs would put everything back within a second.
    let _lock =
        if arguments.dry_run || !state_dir.exists() { None } else { Some(StateLock::take(&state_dir)?) };
    let _kernel = if arguments.dry_run { None } else { Some(KernelLock::take()?) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cleanup = runtime.block_on(async {
        let mut kernel = Kernel::open(&state_dir)?;
        kernel.cleanup(arguments.dry_run).await.context("the kernel could not be read")
    })?;
    let verb = if arguments.dry_run { "would" } else { "did" };
    cleanup.done.iter().for_each(|line| println!("{verb}: {line}"));
    cleanup.left.iter().for_each(|line| println!("left: {line}"));
    if cleanup.done.is_empty() {
        println!("nothing of Tidegate's is in this kernel");
    }
    if let Some(error) = cleanup.errors.first() {
        bail!("{} of {} operations failed, the first: {error}", cleanup.errors.len(), cleanup.done.len());
    }
    Ok(true)
}
