//! Logs: to stderr, for people on a terminal, JSON lines otherwise.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that may wait for a slow reader of stderr; then lines are lost, rather than adverts late.
const LINES_MAX: usize = 10_000;

/// Starts logging, for as long as the guard lives. `TIDEGATE_LOG` chooses what is logged, as tracing's filters are
/// written; default: `info`.
pub fn start() -> WorkerGuard {
    let filter = EnvFilter::try_from_env("TIDEGATE_LOG");
    let unreadable = filter.is_err() && std::env::var_os("TIDEGATE_LOG").is_some();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX).finish(std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().flatten_event(true).init();
    }
    if unreadable {
        tracing::warn!("TIDEGATE_LOG is not a filter; write it like `info,tidegate_speaker=debug`");
    }
    guard
}
