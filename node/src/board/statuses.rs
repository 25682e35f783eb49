//! The statuses of Gateway API's objects: what was decided, and what became of the sockets.

use std::net::SocketAddr;

use tidegate_compile::status::{Facts, Opened, infrastructure, statuses};
use tidegate_console::Statuses;
use tidegate_model::traffic::Transport;
use tidegate_proxy::{SocketKey, SocketState};

use super::Board;

impl Board {
    /// All of them, now.
    pub(super) fn make_statuses(&self) -> Statuses {
        let decided = self.decided();
        let observed = self.0.proxy.borrow().clone();
        let sockets = |address: SocketAddr, transport: Transport| match observed
            .sockets
            .get(&SocketKey { transport, address })
        {
            Some(SocketState::Listening) => Opened::Yes,
            Some(SocketState::Failed(reason)) => Opened::Failed(reason.clone()),
            None => Opened::NotYet,
        };
        let facts = Facts {
            snapshot: &decided.snapshot,
            verdicts: &decided.verdicts,
            standing: &decided.standing,
            notice: decided.notice.as_deref(),
            machine: &decided.machine,
            sockets: &sockets,
        };
        Statuses { statuses: statuses(&facts), infrastructure: infrastructure(&facts) }
    }
}
