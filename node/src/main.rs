//! The binary `tidegate`: arguments, wiring, shutdown. The only place where the shells meet.

mod args;
mod background;
mod board;
mod check;
mod cleanup;
mod client;
mod confirm;
mod doctor;
mod drain;
mod explain;
mod handover;
mod intent;
mod lock;
mod log;
mod machine;
mod manifest;
mod memory;
mod peering;
mod run;
mod settings;
mod sources;
mod status;
mod table;
mod writing;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !matches!(arguments.command, Command::Run(_)) {
        end_with_the_reader();
    }
    let admin = arguments.admin.unwrap_or(settings::ADMIN);
    // What each command says with its exit status is in its own answer: true is 0, false is 1; an error is 2 where
    // the command could not start, 1 where the daemon could not be asked.
    let (outcome, on_error) = match &arguments.command {
        Command::Run(run) => (run::run(arguments.admin, run).map(|()| true), 2),
        Command::Check(check) => (check::run(check), 2),
        Command::Status(status) => (status::run(admin, status), 1),
        Command::Explain(question) => (explain::run(admin, question), 1),
        Command::Confirm(asked) => (confirm::run(admin, asked), 1),
        Command::Drain(drain) => (drain::run(admin, drain), 1),
        Command::Cleanup(cleanup) => (cleanup::run(cleanup), 2),
        Command::Manifest(which) => {
            manifest::run(*which);
            (Ok(true), 2)
        }
        Command::Doctor => (doctor::run(), 2),
        Command::Version => {
            println!("tidegate {}", env!("CARGO_PKG_VERSION"));
            (Ok(true), 2)
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("tidegate: {error:#}");
            ExitCode::from(on_error)
        }
    }
}

/// A reader that has seen enough (`tidegate status | head`) ends the command quietly, as it does other commands; Rust
/// ignores SIGPIPE, and printing would panic. The daemon leaves it ignored: its sockets break all the time.
fn end_with_the_reader() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: the default action runs no code of ours, and no other thread has been started yet.
    let restored = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    restored.expect("SIGPIPE is a signal whose action may be chosen");
}
