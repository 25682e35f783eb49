//! SETTINGS (RFC 9113 section 6.5): the peer's, as they stand, and ours, as they are announced. Never acts on them.

use crate::error::Fault;
use crate::frame::{self, FRAME_BYTES_MAX, MAX_31, flag, kind};
use crate::limits::Limits;

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// The window both sides begin with (section 6.9.2).
pub(crate) const INITIAL_WINDOW: u32 = 65_535;

/// What the peer announced; the protocol's defaults before it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerSettings {
    /// Bytes of the dynamic table it keeps for us; we use none.
    pub header_table_bytes: u32,
    /// Streams we may have open at once; no limit by default.
    pub concurrent_streams_max: u32,
    /// Bytes it takes on a new stream.
    pub stream_window_bytes: u32,
    /// Bytes of the largest frame it takes: 16 KiB to 16 MiB.
    pub frame_bytes_max: u32,
    /// Bytes of a header list it takes; advisory.
    pub header_list_bytes_max: u32,
    /// Whether it takes an extended CONNECT (RFC 8441).
    pub extended_connect: bool,
}

impl Default for PeerSettings {
    fn default() -> PeerSettings {
        PeerSettings {
            header_table_bytes: 4096,
            concurrent_streams_max: u32::MAX,
            stream_window_bytes: INITIAL_WINDOW,
            frame_bytes_max: FRAME_BYTES_MAX,
            header_list_bytes_max: u32::MAX,
            extended_connect: false,
        }
    }
}

impl PeerSettings {
    /// Takes one frame's payload, in order, the last value of a setting counting. `of_server`: the peer is a server,
    /// which must not allow pushes. `smallest_table`: the smallest table size named, for the encoder to acknowledge.
    pub(crate) fn apply(
        &mut self,
        payload: &[u8],
        of_server: bool,
        smallest_table: &mut u32,
    ) -> Result<(), Fault> {
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Fault::FrameSize);
        }
        for &[a, b, value @ ..] in settings {
            let value = u32::from_be_bytes(value);
            match u16::from_be_bytes([a, b]) {
                HEADER_TABLE_SIZE => {
                    self.header_table_bytes = value;
                    *smallest_table = value.min(*smallest_table);
                }
                ENABLE_PUSH if value > 1 || (of_server && value == 1) => return Err(Fault::Setting),
                MAX_CONCURRENT_STREAMS => self.concurrent_streams_max = value,
                INITIAL_WINDOW_SIZE if value > MAX_31 => return Err(Fault::WindowOverflow),
                INITIAL_WINDOW_SIZE => self.stream_window_bytes = value,
                MAX_FRAME_SIZE if !(FRAME_BYTES_MAX..1 << 24).contains(&value) => return Err(Fault::Setting),
                MAX_FRAME_SIZE => self.frame_bytes_max = value,
                MAX_HEADER_LIST_SIZE => self.header_list_bytes_max = value,
                ENABLE_CONNECT_PROTOCOL if value > 1 => return Err(Fault::Setting),
                // Once allowed it cannot be taken back (RFC 8441 section 3).
                ENABLE_CONNECT_PROTOCOL if value == 0 && self.extended_connect => return Err(Fault::Setting),
                ENABLE_CONNECT_PROTOCOL => self.extended_connect = value == 1,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Writes our SETTINGS: what differs from the protocol's defaults.
pub(crate) fn announce(out: &mut Vec<u8>, limits: &Limits, server: bool) {
    let defaults = PeerSettings::default();
    let concurrent = if server { limits.concurrent_streams_max } else { u32::MAX };
    let all = [
        (HEADER_TABLE_SIZE, limits.header_table(), defaults.header_table_bytes),
        (ENABLE_PUSH, u32::from(server), 1),
        (MAX_CONCURRENT_STREAMS, concurrent, u32::MAX),
        (INITIAL_WINDOW_SIZE, limits.stream_window_start(server), INITIAL_WINDOW),
        (MAX_HEADER_LIST_SIZE, limits.header_list_bytes_max, u32::MAX),
        (ENABLE_CONNECT_PROTOCOL, u32::from(server && limits.extended_connect), 0),
    ];
    let changed = || all.iter().filter(|(_, value, default)| value != default);
    frame::header(out, changed().count() as u32 * 6, kind::SETTINGS, 0, 0);
    for (id, value, _) in changed() {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Acknowledges the peer's.
pub(crate) fn acknowledge(out: &mut Vec<u8>) {
    frame::header(out, 0, kind::SETTINGS, flag::ACK, 0);
}
