//! `tidegate drain --endpoint`: one endpoint is left out, or takes part again.

use std::net::SocketAddr;

use anyhow::Result;
use tidegate_console::{DrainWish, Drained};

use crate::args;
use crate::client::Client;
use crate::table;

/// Asks the daemon, and prints whom it concerns.
pub fn run(admin: SocketAddr, arguments: &args::Drain) -> Result<bool> {
    let wish = DrainWish { endpoint: arguments.endpoint, undo: arguments.undo };
    let Drained { endpoints, drained } = Client::new(admin).post("/api/v1/drain/endpoint", &wish)?;
    let (endpoint, undo) = (wish.endpoint, wish.undo);
    if endpoints.is_empty() {
        let then = if undo { "takes part when it comes" } else { "is left out when it comes" };
        println!("no Service that a route leads to has {endpoint} now; it {then}");
    } else {
        println!("{endpoint} {}", if undo { "takes part again" } else { "gets nothing new" });
        let rows: Vec<_> = endpoints
            .iter()
            .map(|at| vec![at.service.clone(), at.address.to_string(), at.under_way.to_string()])
            .collect();
        table::print("", &["service", "endpoint", "under way"], &rows);
    }
    if !drained.is_empty() {
        let all: Vec<String> = drained.iter().map(ToString::to_string).collect();
        println!("drained by hand: {}", all.join(" "));
    }
    Ok(true)
}
