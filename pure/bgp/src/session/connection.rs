//! One transport connection of a session: its place in the OPEN exchange and its reading side.

use super::{Config, ConnId, Direction, PeerInfo, State};
use crate::error::MessageError;
use crate::packet::{Family, Frame, Framer, Message, MessageKind, Open, UpdateContext};
use crate::peer::PeerKind;
use std::time::Duration;

/// A connection is in OpenSent from its first moment; Idle, Connect and Active have none.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) state: State,
    pub(super) framer: Framer,
    /// Silence after which the peer is given up; zero: never.
    pub(super) hold: Duration,
    /// Known from OpenConfirm on.
    pub(super) peer: Option<PeerInfo>,
    /// A late look at the clock has been forgiven; the next is not, until something is heard.
    pub(super) hold_forgiven: bool,
}

impl Connection {
    pub(super) fn new(id: ConnId, open_hold: Duration) -> Connection {
        Connection {
            id,
            state: State::OpenSent,
            framer: Framer::new(),
            hold: open_hold,
            peer: None,
            hold_forgiven: false,
        }
    }

    /// The next message in what is held and `input`. A kind that does not belong to the state is
    /// refused before its body is read (RFC 4271, section 6.6; RFC 6608).
    pub(super) fn next_message(
        &mut self,
        input: &mut &[u8],
        enforce_first_as: bool,
    ) -> Result<Option<Message>, MessageError> {
        let context = UpdateContext {
            kind: self.peer.as_ref().map_or(PeerKind::External, |peer| peer.kind),
            peer_as: self.peer.as_ref().map_or(0, |peer| peer.remote_as),
            four_byte_as: self.peer.as_ref().is_some_and(|peer| peer.four_byte_as),
            enforce_first_as,
        };
        let Some(frame) = self.framer.next(input)? else { return Ok(None) };
        expected(self.state, frame)?;
        Message::decode(frame, &context).map(Some)
    }
}

fn expected(state: State, frame: Frame<'_>) -> Result<(), MessageError> {
    use MessageKind::{Keepalive, Notification, Open, RouteRefresh, Update};
    let (subcode, fits) = match state {
        State::OpenConfirm => (2, matches!(frame.kind, Keepalive | Notification)),
        State::Established => (3, matches!(frame.kind, Update | Keepalive | Notification | RouteRefresh)),
        _ => (1, matches!(frame.kind, Open | Notification)),
    };
    if fits {
        return Ok(());
    }
    let problem = format!("{} is not expected in {state}", frame.kind);
    Err(MessageError::new(5, subcode, &[], problem))
}

/// Whether this OPEN makes a session, and which (RFC 4271, section 6.2).
pub(super) fn agree(
    config: &Config,
    open: Open,
    conn: ConnId,
    direction: Direction,
) -> Result<PeerInfo, MessageError> {
    if !config.remote_as.admits(config.local_as, open.asn) {
        let problem = format!("the peer is in AS {}, expected {}", open.asn, config.remote_as);
        return Err(MessageError::new(2, 2, &[], problem));
    }
    let kind = PeerKind::between(config.local_as, open.asn);
    if kind == PeerKind::Internal && open.router_id == config.router_id {
        let problem = format!("the peer has our own BGP identifier, {}", open.router_id);
        return Err(MessageError::new(2, 3, &[], problem));
    }
    if !open.speaks(Family::IPV4_UNICAST) {
        // The data names the capability that is wanted (RFC 5492, section 5).
        let wanted = [1, 4, 0, 1, 0, 1];
        return Err(MessageError::new(2, 7, &wanted, "the peer does not carry IPv4 unicast"));
    }
    Ok(PeerInfo {
        conn,
        direction,
        kind,
        remote_as: open.asn,
        router_id: open.router_id,
        hold_secs: config.hold_secs.min(open.hold_secs),
        four_byte_as: open.four_byte_as(),
        route_refresh: open.route_refresh(),
        capabilities: open.capabilities,
    })
}
