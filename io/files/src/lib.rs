//! A directory of manifests as a source.
//!
//! ```text
//! events ─► pending ─┐ 20 ms
//! every 10 s ────────┴► look: walk ─► read what changed (file) ─► SourceState (state) ─► watch channel
//! ```
//!
//! One task per source, started by [`FileSource::watch`]; it ends when every receiver is gone, or when it is aborted:
//! each state is whole when it is published, so it may stop anywhere. Disks are read on tokio's blocking threads.
//! Owns when files are read and which objects stay in force when a file is bad, or a folder is empty all at once. Never judges an object: `pure/decode`
//! says what a text means, `pure/compile` what an object does.

mod events;
mod file;
mod hold;
mod source;
mod state;
mod walk;
mod watch;

#[cfg(test)]
mod tests;

pub use source::FileSource;
