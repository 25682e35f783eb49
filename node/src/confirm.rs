//! `tidegate confirm`: has the daemon believe what a source holds back.

use std::net::SocketAddr;

use anyhow::Result;
use tidegate_console::{Confirm, Confirmed};

use crate::args;
use crate::client::Client;

/// Asks for it, and prints what was held. Nothing held is no failure: it may have been believed a moment ago.
pub fn run(admin: SocketAddr, asked: &args::Confirm) -> Result<bool> {
    let question = Confirm { source: asked.source.clone() };
    let Confirmed { held } = Client::new(admin).post("/api/v1/confirm", &question)?;
    if held.is_empty() {
        println!("source {} holds nothing back", asked.source);
    }
    for held in held {
        println!("believed: {held}");
    }
    Ok(true)
}
