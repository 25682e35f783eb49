//! The TLS of an entrance's listeners, compiled once for all workers.

use std::sync::Arc;

use tidegate_model::traffic::{Entrance, Listener, ServerTls, Serves};
use tidegate_tls::{ListenerTls, TicketKeys};

use crate::wire::handshakes::dice;

/// Protocols that this proxy speaks within TLS, by ALPN. Listeners that relay what is inside offer what they are told.
const SPOKEN: [&str; 2] = ["h2", "http/1.1"];

/// Tickets of this proxy alone, by a key that never turns: where nobody gives it others.
pub fn own_tickets() -> TicketKeys {
    let mut secret = [0; 32];
    // The library fails only where the machine has no randomness; then nothing of TLS works.
    let _ = aws_lc_rs::rand::fill(&mut secret);
    TicketKeys::fixed(&secret, dice())
}

/// The settings of listeners, by their place in the entrance.
#[derive(Default)]
pub struct Configs {
    listeners: Vec<Option<Compiled>>,
}

struct Compiled {
    from: Arc<ServerTls>,
    /// Nothing: they cannot be served.
    tls: Option<Arc<ListenerTls>>,
}

impl Configs {
    /// Compiles the settings of an entrance's listeners; what was compiled `before` and did not change is kept.
    pub fn new(entrance: &Entrance, before: Option<&Configs>, tickets: &TicketKeys) -> Configs {
        let known: Vec<&Compiled> =
            before.map(|before| before.listeners.iter().flatten().collect()).unwrap_or_default();
        let compile = |listener: &Arc<Listener>| {
            let from = listener.tls.as_ref()?.clone();
            let speaks_http = matches!(listener.serves, Serves::Http(_));
            let same = |known: &&&Compiled| Arc::ptr_eq(&known.from, &from);
            if let Some(known) = known.iter().find(same) {
                return Some(Compiled { from, tls: known.tls.clone() });
            }
            let speaks = |name: &str| !speaks_http || SPOKEN.contains(&name);
            let tls = ListenerTls::new(&from, tickets, speaks);
            if let Err(error) = &tls {
                tracing::error!(listener = %listener.name, %error, "the listener cannot end TLS");
            }
            Some(Compiled { from, tls: tls.ok().map(Arc::new) })
        };
        Configs { listeners: entrance.listeners.iter().map(compile).collect() }
    }

    /// The TLS of the listener at this place; nothing if it has none, or none that can be served.
    pub fn get(&self, index: usize) -> Option<&Arc<ListenerTls>> {
        self.listeners.get(index)?.as_ref()?.tls.as_ref()
    }
}
