//! What can go wrong, and with which code the peer hears of it. Never decides whether something did.

use std::fmt;

/// An error code of RST_STREAM and GOAWAY (RFC 9113 section 7); unknown ones are kept as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// The end of something that did not fail.
    pub const NO_ERROR: ErrorCode = ErrorCode(0);
    /// The peer broke a rule that has no code of its own.
    pub const PROTOCOL_ERROR: ErrorCode = ErrorCode(1);
    /// A fault on the side that reports it.
    pub const INTERNAL_ERROR: ErrorCode = ErrorCode(2);
    /// More was sent than the window allows.
    pub const FLOW_CONTROL_ERROR: ErrorCode = ErrorCode(3);
    /// SETTINGS were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: ErrorCode = ErrorCode(4);
    /// A frame for a stream half closed or closed.
    pub const STREAM_CLOSED: ErrorCode = ErrorCode(5);
    /// A frame of a length that its kind does not have.
    pub const FRAME_SIZE_ERROR: ErrorCode = ErrorCode(6);
    /// Nothing was done for this stream: it may be tried again.
    pub const REFUSED_STREAM: ErrorCode = ErrorCode(7);
    /// The stream is no longer needed.
    pub const CANCEL: ErrorCode = ErrorCode(8);
    /// The header compression context is lost.
    pub const COMPRESSION_ERROR: ErrorCode = ErrorCode(9);
    /// The connection behind a CONNECT failed.
    pub const CONNECT_ERROR: ErrorCode = ErrorCode(10);
    /// The peer costs more than it is worth.
    pub const ENHANCE_YOUR_CALM: ErrorCode = ErrorCode(11);
    /// The transport is not secure enough.
    pub const INADEQUATE_SECURITY: ErrorCode = ErrorCode(12);
    /// The request must be sent over HTTP/1.1.
    pub const HTTP_1_1_REQUIRED: ErrorCode = ErrorCode(13);

    /// The name of RFC 9113 section 7, or `UNKNOWN`.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        usize::try_from(self.0).ok().and_then(|code| NAMES.get(code)).copied().unwrap_or("UNKNOWN")
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.name(), self.0)
    }
}

/// Declares an enum of causes with a metric-friendly name and a sentence for each.
macro_rules! causes {
    ($(#[$doc:meta])* $kind:ident { $($(#[$line:meta])* $cause:ident = $name:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $kind { $($(#[$line])* $cause,)* }

        impl $kind {
            /// All of them.
            pub const ALL: &'static [$kind] = &[$($kind::$cause,)*];

            /// A name for a metric's label: lower case and underscores.
            pub fn name(self) -> &'static str {
                match self { $($kind::$cause => $name,)* }
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(match self { $($kind::$cause => $text,)* })
            }
        }
    };
}

causes! {
    /// What a peer did too often for too little work; each has a budget in `Limits`.
    Flood {
        /// Streams opened and reset by the peer (CVE-2023-44487).
        RapidReset = "rapid_reset", "too many streams reset by the peer";
        /// Streams that we had to reset because of what the peer sent on them (CVE-2025-8671).
        ProvokedReset = "provoked_reset", "too many streams reset because of the peer's errors";
        /// Streams opened beyond the announced limit.
        Refused = "refused_streams", "too many streams beyond the limit";
        /// CONTINUATION frames without end (CVE-2024-27316), or more bytes in one header block than allowed.
        Continuation = "continuation", "a header block in too many frames or bytes";
        /// A header list far beyond the announced limit, as a decompression bomb has it.
        HeaderBytes = "header_bytes", "a header list far beyond the limit";
        /// Requests whose header list is beyond the limit, each answered with 431.
        HeaderLists = "header_lists", "too many header lists beyond the limit";
        /// Header blocks and their continuations without content.
        EmptyHeaders = "empty_headers", "too many empty header frames";
        /// DATA frames without content that end nothing.
        EmptyData = "empty_data", "too many empty DATA frames";
        /// DATA frames of a few bytes.
        TinyData = "tiny_data", "too many DATA frames of a few bytes";
        /// PING frames.
        Ping = "ping", "too many PING frames";
        /// SETTINGS frames.
        Settings = "settings", "too many SETTINGS frames";
        /// PRIORITY frames.
        Priority = "priority", "too many PRIORITY frames";
        /// WINDOW_UPDATE frames of a few bytes.
        WindowUpdate = "window_update", "too many tiny WINDOW_UPDATE frames";
        /// Frames of unknown kinds, and frames for streams that are gone.
        Ignored = "ignored_frames", "too many frames that mean nothing";
    }
}

causes! {
    /// Why a message is malformed (RFC 9113 section 8).
    Malformed {
        /// A field name that is empty, in upper case, or no token.
        FieldName = "field_name", "a field name that is not a lower-case token";
        /// A field value with a control character, or with white space around it.
        FieldValue = "field_value", "a field value with a control character or surrounding white space";
        /// A pseudo-header after a regular field.
        PseudoOrder = "pseudo_order", "a pseudo-header after a regular field";
        /// A pseudo-header twice.
        PseudoTwice = "pseudo_twice", "a pseudo-header that occurs twice";
        /// A pseudo-header that is not defined for this kind of message.
        PseudoUnknown = "pseudo_unknown", "a pseudo-header that is not defined here";
        /// A required pseudo-header is absent.
        PseudoMissing = "pseudo_missing", "a required pseudo-header is absent";
        /// A field that belongs to one HTTP/1 connection.
        ConnectionField = "connection_field", "a connection-specific field";
        /// `te` with another value than `trailers`.
        Te = "te", "te with another value than trailers";
        /// `:method` is no token.
        Method = "method", "a method that is not a token";
        /// `:scheme` is no scheme.
        Scheme = "scheme", "a scheme that is none";
        /// `:path` is empty or not in origin form.
        Path = "path", "a path that is empty or not in origin form";
        /// `:authority` or `host` is no authority.
        Authority = "authority", "an authority that is none";
        /// `host` occurs twice, or differs from `:authority`.
        Host = "host", "a host that differs from the authority";
        /// `:status` is not three digits, or 101.
        Status = "status", "a status that HTTP/2 does not have";
        /// `content-length` is not one number.
        ContentLength = "content_length", "a content-length that is not one number";
        /// The DATA received is not as long as `content-length` says.
        BodyLength = "body_length", "a body of another length than content-length says";
        /// An interim response that ends the stream, or too many of them.
        Interim = "interim", "an interim response that ends the stream, or too many";
        /// A second header block that does not end the stream.
        Trailers = "trailers", "trailers that do not end the stream";
        /// A field that trailers must not hold.
        TrailerField = "trailer_field", "a field that trailers must not hold";
        /// DATA before the response's head, or in a tunnel that was not opened.
        DataFirst = "data_first", "data before the head";
    }
}

/// What was wrong with what the peer sent. Says the code; whether stream or connection ends is told by where it occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// The connection did not begin with the preface and SETTINGS (RFC 9113 section 3.4).
    #[error("no HTTP/2 connection preface")]
    Preface,
    /// A frame's length is not one its kind has, or above what we announced (section 4.2).
    #[error("a frame of a wrong length")]
    FrameSize,
    /// A frame on stream 0, or on a stream, that belongs to the other (section 6).
    #[error("a frame on a stream where it must not be")]
    WrongStream,
    /// Padding as long as the frame or longer (section 6.1).
    #[error("padding longer than its frame")]
    Padding,
    /// Another frame within a header block, or CONTINUATION outside one (section 6.10).
    #[error("a header block interrupted, or continued where there is none")]
    BlockOrder,
    /// A header block that does not decode (section 4.3).
    #[error("a header block that does not decode")]
    Compression,
    /// A stream identifier that is even, lower than before, or of the wrong side (section 5.1.1).
    #[error("a stream identifier out of order")]
    StreamId,
    /// A frame on a stream that was never opened (section 5.1).
    #[error("a frame on an idle stream")]
    IdleStream,
    /// A frame on a stream that the peer had ended (section 5.1).
    #[error("a frame on a closed stream")]
    StreamClosed,
    /// A stream that depends on itself (RFC 7540 section 5.3.1).
    #[error("a stream that depends on itself")]
    SelfDependency,
    /// More DATA than the window allows (section 6.9).
    #[error("more data than the window allows")]
    WindowExceeded,
    /// A window grown beyond 2^31-1 (section 6.9.1).
    #[error("a window beyond 2^31-1")]
    WindowOverflow,
    /// A WINDOW_UPDATE of zero (section 6.9).
    #[error("a WINDOW_UPDATE of zero")]
    WindowZero,
    /// A setting with a value it must not have (section 6.5.2).
    #[error("a setting with a value it must not have")]
    Setting,
    /// A push, which we never allow (section 6.6).
    #[error("a PUSH_PROMISE although push is off")]
    Push,
    /// A malformed message (section 8.1.1).
    #[error("malformed message: {0}")]
    Malformed(Malformed),
    /// A header list longer than announced, where no status can say so (trailers, responses).
    #[error("a header list beyond the limit")]
    HeaderList,
    /// No room for another stream (section 5.1.2).
    #[error("more streams than announced")]
    StreamLimit,
    /// A budget is used up (section 10.5).
    #[error("flood: {0}")]
    Flood(Flood),
}

impl Fault {
    /// The code that the peer is told.
    pub fn code(self) -> ErrorCode {
        match self {
            Fault::FrameSize => ErrorCode::FRAME_SIZE_ERROR,
            Fault::Compression => ErrorCode::COMPRESSION_ERROR,
            Fault::StreamClosed => ErrorCode::STREAM_CLOSED,
            Fault::WindowExceeded | Fault::WindowOverflow => ErrorCode::FLOW_CONTROL_ERROR,
            Fault::StreamLimit => ErrorCode::REFUSED_STREAM,
            Fault::Flood(_) | Fault::HeaderList => ErrorCode::ENHANCE_YOUR_CALM,
            _ => ErrorCode::PROTOCOL_ERROR,
        }
    }

    /// A name for a metric's label; floods and malformed messages have names of their own.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Preface => "preface",
            Fault::FrameSize => "frame_size",
            Fault::WrongStream => "wrong_stream",
            Fault::Padding => "padding",
            Fault::BlockOrder => "block_order",
            Fault::Compression => "compression",
            Fault::StreamId => "stream_id",
            Fault::IdleStream => "idle_stream",
            Fault::StreamClosed => "stream_closed",
            Fault::SelfDependency => "self_dependency",
            Fault::WindowExceeded => "window_exceeded",
            Fault::WindowOverflow => "window_overflow",
            Fault::WindowZero => "window_zero",
            Fault::Setting => "setting",
            Fault::Push => "push",
            Fault::Malformed(malformed) => malformed.name(),
            Fault::HeaderList => "header_list",
            Fault::StreamLimit => "stream_limit",
            Fault::Flood(flood) => flood.name(),
        }
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Fault {
        Fault::Malformed(malformed)
    }
}

impl From<Flood> for Fault {
    fn from(flood: Flood) -> Fault {
        Fault::Flood(flood)
    }
}

/// The peer misbehaved and the connection is over: GOAWAY stands in the output; write it, then close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("HTTP/2 connection error {}: {fault}", .fault.code())]
pub struct ConnectionError {
    /// What the peer did.
    pub fault: Fault,
}

impl ConnectionError {
    /// The code in the GOAWAY.
    pub fn code(&self) -> ErrorCode {
        self.fault.code()
    }
}

/// Who ended a stream before its time, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetBy {
    /// The peer's RST_STREAM.
    Peer(ErrorCode),
    /// Our RST_STREAM, because of what the peer sent; it is in the output already.
    Us(Fault),
    /// The peer's GOAWAY left the stream out: nothing was done for it, it may be tried elsewhere (section 6.8).
    GoAway,
}

impl ResetBy {
    /// The code of the RST_STREAM; REFUSED_STREAM for a stream that a GOAWAY left out.
    pub fn code(self) -> ErrorCode {
        match self {
            ResetBy::Peer(code) => code,
            ResetBy::Us(fault) => fault.code(),
            ResetBy::GoAway => ErrorCode::REFUSED_STREAM,
        }
    }

    /// Whether the peer says that it did nothing for the stream, so that a retry is safe (section 8.7).
    pub fn retry_is_safe(self) -> bool {
        matches!(self, ResetBy::GoAway | ResetBy::Peer(ErrorCode::REFUSED_STREAM))
    }
}

/// Why something cannot be sent on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The stream is gone: reset by either side, or the connection is over.
    #[error("the stream is gone")]
    Gone,
    /// The caller sends out of order: a body before its head, or anything after the end.
    #[error("sent out of order")]
    Order,
}

/// Why no stream can be opened towards an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// As many streams are open as the peer, or our own limit, allows: wait for one to end.
    #[error("as many streams as the peer allows")]
    Full,
    /// The connection takes no new streams: GOAWAY, an error, or no identifiers left. Open another connection.
    #[error("the connection takes no new streams")]
    Ending,
}
