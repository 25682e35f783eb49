//! HTTP/2's settings of either side, as policies give them.

use tidegate_model::traffic::Http2Settings;
use tidegate_objects::Quantity;

use crate::client_policy::within;
use crate::report::Report;

/// The largest window and number of streams (RFC 9113 section 6.5.2).
const MAX: u64 = (1 << 31) - 1;

/// The smallest window, which every connection begins with (RFC 9113 section 6.9.2).
const WINDOW_MIN: u64 = 65_535;

/// Reads the number of streams, and the windows of a stream and of the connection.
pub(crate) fn read(
    streams: Option<u32>,
    [stream, connection]: [Option<Quantity>; 2],
    report: &mut Report<'_>,
) -> Http2Settings {
    let mut number = |below: &str, value: Option<u64>, min: u64| {
        report.sound(below, within(value?, &(min..=MAX))).and_then(|value| u32::try_from(value).ok())
    };
    let bytes = |window: Option<Quantity>| window.map(|Quantity(bytes)| bytes);
    Http2Settings {
        streams: number("maxConcurrentStreams", streams.map(u64::from), 1),
        stream_window_bytes: number("initialStreamWindowSize", bytes(stream), WINDOW_MIN),
        connection_window_bytes: number("initialConnectionWindowSize", bytes(connection), WINDOW_MIN),
    }
}
