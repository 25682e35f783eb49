//! What one peer may cost: sizes, counts and budgets, with their defaults. Never counts; `flood` does.

use crate::frame::MAX_31;
use crate::settings::INITIAL_WINDOW;

/// How often something may occur: `burst` at once, then `per_sec`, and once more for each unit of useful work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// At most this many in a row.
    pub burst: u32,
    /// Gained each second, up to `burst`.
    pub per_sec: u32,
}

const fn budget(burst: u32, per_sec: u32) -> Budget {
    Budget { burst, per_sec }
}

/// The limits of one connection, shared by all of a listener's or a pool's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Streams the peer may have open at once, and the most we open as a client: 100.
    pub concurrent_streams_max: u32,
    /// Bytes of one header list, each line with 32 on top (RFC 9113 section 6.5.2): 32 KiB. Four times this ends the
    /// connection.
    pub header_list_bytes_max: u32,
    /// Lines of one header list: 256.
    pub header_lines_max: u32,
    /// Compressed bytes of one header block over all its frames: 64 KiB.
    pub header_block_bytes_max: u32,
    /// CONTINUATION frames of one header block: 16.
    pub continuations_max: u32,
    /// The peer's dynamic table, at most 64 KiB: 4,096 bytes.
    pub header_table_bytes: u32,
    /// Receive window of a stream, 65,535 to 2^31-1: 256 KiB. So much can wait in our memory for one stream.
    pub stream_window_bytes: u32,
    /// Receive window that a stream begins with; it doubles, up to `stream_window_bytes`, as what came is used. As a client
    /// only; a server announces `stream_window_bytes`: 256 KiB.
    pub stream_window_start_bytes: u32,
    /// Receive window of the connection, 65,535 to 2^31-1: 1 MiB.
    pub connection_window_bytes: u32,
    /// DATA waiting in the output: 256 KiB. At twice this `wants_input` is false until the peer reads.
    pub output_bytes_max: usize,
    /// Interim (1xx) responses to one request: 16.
    pub interim_max: u8,
    /// Whether extended CONNECT (RFC 8441) is announced, as a server: false.
    pub extended_connect: bool,
    /// Streams reset by the peer and resets provoked from us together: 200, 20 a second; a stream that ends well
    /// earns one. As a client, resets by the origin are not counted: they cost the origin's own streams only.
    pub resets: Budget,
    /// Streams beyond the limit: 200, 20 a second.
    pub refused: Budget,
    /// Requests with a header list beyond the limit: 200, 20 a second.
    pub header_lists: Budget,
    /// Empty header frames: 20, 1 a second.
    pub empty_headers: Budget,
    /// Empty DATA frames that end nothing: 100, 10 a second.
    pub empty_data: Budget,
    /// PING frames: 500, 50 a second, and one for each useful frame.
    pub pings: Budget,
    /// SETTINGS frames: 50, 5 a second.
    pub settings: Budget,
    /// PRIORITY frames: 500, 50 a second, and one for each useful frame.
    pub priorities: Budget,
    /// DATA frames of one to four bytes that end nothing, too small for any message of gRPC or WebSocket: 1,000, 100 a second.
    pub tiny_data: Budget,
    /// WINDOW_UPDATE frames below 1,024 bytes: 1,000, 100 a second, and two for each DATA frame we send unhindered.
    pub window_updates: Budget,
    /// Frames that mean nothing: 500, 50 a second, and one for each useful frame.
    pub ignored: Budget,
}

/// The values in effect: within the protocol's bounds.
impl Limits {
    pub(crate) fn stream_window(&self) -> u32 {
        self.stream_window_bytes.clamp(INITIAL_WINDOW, MAX_31)
    }

    /// What a stream of this connection begins with.
    pub(crate) fn stream_window_start(&self, server: bool) -> u32 {
        if server { self.stream_window() } else { self.stream_window_start_bytes.min(self.stream_window()) }
    }

    pub(crate) fn connection_window(&self) -> u32 {
        self.connection_window_bytes.clamp(INITIAL_WINDOW, MAX_31)
    }

    pub(crate) fn header_table(&self) -> u32 {
        self.header_table_bytes.min(64 << 10)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            concurrent_streams_max: 100,
            header_list_bytes_max: 32 << 10,
            header_lines_max: 256,
            header_block_bytes_max: 64 << 10,
            continuations_max: 16,
            header_table_bytes: 4096,
            stream_window_bytes: 256 << 10,
            stream_window_start_bytes: 256 << 10,
            connection_window_bytes: 1 << 20,
            output_bytes_max: 256 << 10,
            interim_max: 16,
            extended_connect: false,
            resets: budget(200, 20),
            refused: budget(200, 20),
            header_lists: budget(200, 20),
            empty_headers: budget(20, 1),
            empty_data: budget(100, 10),
            tiny_data: budget(1_000, 100),
            pings: budget(500, 50),
            settings: budget(50, 5),
            priorities: budget(500, 50),
            window_updates: budget(1_000, 100),
            ignored: budget(500, 50),
        }
    }
}
