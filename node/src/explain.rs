//! `tidegate explain`: one question to the daemon, and its answer line by line.

use std::net::SocketAddr;

use anyhow::Result;
use tidegate_console::Explained;

use crate::args::{Explain, ExplainEgress, ExplainHttp};
use crate::client::Client;

/// Prints the answer; false when nobody serves it or it is dropped.
pub fn run(admin: SocketAddr, question: &Explain) -> Result<bool> {
    let client = Client::new(admin);
    let answer: Explained = match question {
        Explain::Http(ExplainHttp { url, method, headers, from }) => {
            let headers = headers.join("\n");
            let from = from.map(|address| address.to_string());
            let mut parameters = vec![("url", url.as_str()), ("method", method), ("headers", &headers)];
            parameters.extend(from.as_deref().map(|from| ("from", from)));
            client.get("/api/v1/explain/http", &parameters)?
        }
        Explain::Egress(ExplainEgress { from, to }) => {
            client.get("/api/v1/explain/egress", &[("from", from), ("to", to)])?
        }
        Explain::Route { prefix } => client.get("/api/v1/explain/route", &[("prefix", prefix)])?,
    };
    let width = answer.lines.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    for (label, text) in &answer.lines {
        println!("{label:width$}  {text}");
    }
    Ok(answer.found)
}
