//! W3C Trace Context, level 2: the trace that a request belongs to, carried on or started.
//!
//! The gateway is a span of its own, or several: backends see the id of one as parent. Nothing here records or sends spans.

use crate::request::HeaderLines;
use crate::text::{hex_digits, list_items};

/// `traceparent` of version 00: `00-` trace id `-` parent id `-` flags (section 3.2.2).
const PARENT_BYTES: usize = 55;
/// The members of a `tracestate` list (section 3.3.1.1).
const STATE_MEMBERS_MAX: usize = 32;
/// The bytes of all `tracestate` values that are carried; 512 must be (section 3.3.1.5).
const STATE_BYTES_MAX: usize = 2048;

const SAMPLED: u8 = 0x01;
const RANDOM: u8 = 0x02;

/// How many of the traces that start here are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    below: u64,
}

impl Sampling {
    /// A share from 0 to 1; anything else is the nearer of the two, not-a-number is 0.
    pub fn of(share: f64) -> Sampling {
        // 2^56: as many values as the random part of a trace id has. A float converts saturating.
        Sampling { below: (share.clamp(0.0, 1.0) * (1u64 << 56) as f64) as u64 }
    }

    /// By the 56 random bits of the trace id (section 3.2.2.3.1), so that all who use the same share agree.
    fn takes(self, trace_id: &[u8; 16]) -> bool {
        let mut last = [0; 8];
        last.copy_from_slice(&trace_id[8..]);
        u64::from_be_bytes(last) & ((1 << 56) - 1) < self.below
    }
}

/// The place of a request in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Never zero.
    pub trace_id: [u8; 16],
    /// The gateway's own span, the parent of the backend's; never zero.
    pub span_id: [u8; 8],
    /// The caller's span; none: the trace starts here.
    pub parent_id: Option<[u8; 8]>,
    /// Whether spans of the trace are recorded.
    pub sampled: bool,
    /// Whether the trace id is random in its last 56 bits.
    random: bool,
    /// Whether the request's `tracestate` lines go on to the backend.
    pub keeps_state: bool,
}

impl Trace {
    /// What [`Trace::write`] writes.
    pub const LINE_BYTES: usize = "traceparent: ".len() + PARENT_BYTES + 2;

    /// Carries on the trace that a request names, or starts one. `random` is three random numbers.
    pub fn of(lines: &dyn HeaderLines, sampling: Sampling, random: [u64; 3]) -> Trace {
        let span_id = random[0].max(1).to_be_bytes();
        match parent(lines) {
            Some(parent) => Trace {
                trace_id: parent.trace_id,
                span_id,
                parent_id: Some(parent.span_id),
                sampled: parent.flags & SAMPLED != 0,
                random: parent.flags & RANDOM != 0,
                keeps_state: is_state(lines),
            },
            None => Trace::started(span_id, sampling, [random[1], random[2]]),
        }
    }

    fn started(span_id: [u8; 8], sampling: Sampling, random: [u64; 2]) -> Trace {
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&random[0].max(1).to_be_bytes());
        trace_id[8..].copy_from_slice(&random[1].to_be_bytes());
        let sampled = sampling.takes(&trace_id);
        Trace { trace_id, span_id, parent_id: None, sampled, random: true, keeps_state: false }
    }

    /// Whether a line of the request is left out on the way to the backend, because [`Trace::write`] replaces it or
    /// because it belongs to a trace that is not carried on.
    pub fn drops(&self, name: &str) -> bool {
        // Dashes and underscores are in neither name.
        (name.len() == 11 && name.eq_ignore_ascii_case("traceparent"))
            || (!self.keeps_state && name.len() == 10 && name.eq_ignore_ascii_case("tracestate"))
    }

    /// Writes the `traceparent` line for the backend. Flags that this version does not know are zero (section 3.2.2.5).
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_for(self.span_id, out);
    }

    /// The same, with another span of this gateway for the backend's parent.
    pub fn write_for(&self, span_id: [u8; 8], out: &mut Vec<u8>) {
        let mut line = *b"traceparent: 00-________________________________-________________-__\r\n";
        let flags = if self.sampled { SAMPLED } else { 0 } | if self.random { RANDOM } else { 0 };
        for (at, bytes) in [(16, &self.trace_id[..]), (49, &span_id), (66, &[flags])] {
            for (pair, &byte) in line[at..].chunks_exact_mut(2).zip(bytes) {
                pair.copy_from_slice(&hex_digits(byte));
            }
        }
        out.extend_from_slice(&line);
    }
}

/// What a valid `traceparent` says.
#[derive(Clone, Copy)]
struct Parent {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

fn values<'a>(lines: &'a dyn HeaderLines, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    (0..)
        .map_while(|index| lines.line(index))
        .filter(move |(line, _)| line.len() == name.len() && line.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// The one `traceparent`; two are none (section 3.2).
fn parent(lines: &dyn HeaderLines) -> Option<Parent> {
    let mut values = values(lines, "traceparent");
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    Parent::parse(value)
}

impl Parent {
    /// Later versions may go on after a dash; what version 00 defines is read all the same (section 3.2.4).
    fn parse(value: &[u8]) -> Option<Parent> {
        let (head, rest) = value.split_at_checked(PARENT_BYTES)?;
        let [version] = hex::<1>(&head[..2])?;
        let ends_well = if version == 0 { rest.is_empty() } else { rest.is_empty() || rest[0] == b'-' };
        let dashes = [2, 35, 52].into_iter().all(|at| head[at] == b'-');
        if version == 0xff || !dashes || !ends_well {
            return None;
        }
        let (trace_id, span_id) = (hex::<16>(&head[3..35])?, hex::<8>(&head[36..52])?);
        let [flags] = hex::<1>(&head[53..])?;
        (trace_id != [0; 16] && span_id != [0; 8]).then_some(Parent { trace_id, span_id, flags })
    }
}

/// Bytes of lower-case hexadecimal digits, two each.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// Whether there is a `tracestate` and all of it is well-formed; else it is discarded whole (section 3.3.1).
fn is_state(lines: &dyn HeaderLines) -> bool {
    let mut members = 0;
    let mut bytes = 0;
    for value in values(lines, "tracestate") {
        bytes += value.len();
        if bytes > STATE_BYTES_MAX || !list_items(value).all(is_member) {
            return false;
        }
        members += list_items(value).count();
    }
    (1..=STATE_MEMBERS_MAX).contains(&members)
}

/// `key=value` (section 3.3.1.3).
fn is_member(member: &[u8]) -> bool {
    let Some(at) = member.iter().position(|&byte| byte == b'=') else { return false };
    let (key, value) = (&member[..at], &member[at + 1..]);
    let is_key = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let starts_well = matches!(key.first(), Some(b'a'..=b'z' | b'0'..=b'9'));
    let is_value = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    starts_well
        && key.len() <= 256
        && key.iter().all(is_key)
        && (1..=256).contains(&value.len())
        && value.iter().all(is_value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn trace(lines: &[(&str, &str)]) -> Trace {
        Trace::of(&lines.to_vec(), Sampling::of(0.0), [7, 8, 9])
    }

    fn written(trace: &Trace) -> String {
        let mut out = Vec::new();
        trace.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// A valid parent is carried on: same trace, same sampling, a new span whose parent is the caller's.
    #[test]
    fn carried_on() {
        let trace = trace(&[("Traceparent", PARENT), ("tracestate", "a=1, b@c=2 3"), ("TraceState", "d=4")]);
        assert_eq!(
            written(&trace),
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-0000000000000007-01\r\n"
        );
        assert_eq!(trace.parent_id, Some([0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]));
        assert!(trace.sampled && trace.keeps_state);
        assert!(trace.drops("TraceParent") && !trace.drops("tracestate"));
        assert_eq!(trace.trace_id, 0x0af7651916cd43dd8448eb211c80319c_u128.to_be_bytes());
    }

    /// The flags known to level 2 go on, others do not; a later version is read as far as it is known.
    #[test]
    fn flags_and_versions() {
        for (end, expected) in [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("ff", "03")] {
            let parent = format!("{}{end}", &PARENT[..53]);
            assert!(written(&trace(&[("traceparent", &parent)])).ends_with(&format!("-{expected}\r\n")));
        }
        for (parent, carried) in [
            (format!("01{}", &PARENT[2..]), true),
            (format!("cc{}-what-the-future-brings", &PARENT[2..]), true),
            (format!("cc{}.what", &PARENT[2..]), false),
            (format!("ff{}", &PARENT[2..]), false),
        ] {
            assert_eq!(trace(&[("traceparent", &parent)]).parent_id.is_some(), carried, "{parent}");
        }
    }

    /// Anything else starts a trace of its own, and the state of the other is left behind.
    #[test]
    fn started() {
        for parent in [
            "",
            "00",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            " 0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            let trace = trace(&[("traceparent", parent), ("tracestate", "a=1")]);
            assert_eq!(
                written(&trace),
                "traceparent: 00-00000000000000080000000000000009-0000000000000007-02\r\n",
                "{parent}"
            );
            assert!(trace.parent_id.is_none() && !trace.sampled);
            assert!(trace.drops("tracestate") && !trace.drops("tracestat"));
        }
        assert!(trace(&[("traceparent", PARENT), ("traceparent", PARENT)]).parent_id.is_none());
    }

    /// A state that is broken, empty or too long is not carried; the trace is.
    #[test]
    fn states() {
        let many = vec!["a=1"; STATE_MEMBERS_MAX + 1].join(",");
        let long = format!("a={}", "x".repeat(257));
        for (state, kept) in [
            ("a=1", true),
            ("a=1,", true),
            ("0a_-*/@z=!~ x", true),
            ("", false),
            ("a", false),
            ("a=", false),
            ("=1", false),
            ("A=1", false),
            ("@a=1", false),
            ("a=1=2", false),
            ("a=\u{e9}", false),
            ("a=1,b", false),
            (many.as_str(), false),
            (long.as_str(), false),
        ] {
            let trace = trace(&[("traceparent", PARENT), ("tracestate", state)]);
            assert_eq!((trace.keeps_state, trace.parent_id.is_some()), (kept, true), "{state}");
        }
        let halves = [("traceparent", PARENT), ("tracestate", &many[..67]), ("tracestate", &many[68..])];
        assert!(!trace(&halves).keeps_state);
    }

    /// The share of started traces that is recorded is what was asked for.
    #[test]
    fn sampling() {
        let none: Vec<(&str, &str)> = Vec::new();
        let step = u64::MAX / 1000;
        let taken = |share: f64| {
            let sampled =
                |turn: &u64| Trace::of(&none, Sampling::of(share), [1, 1, (turn * step) << 8 | 1]).sampled;
            (0..1000).filter(sampled).count()
        };
        assert_eq!((taken(0.0), taken(1.0), taken(f64::NAN), taken(7.0)), (0, 1000, 0, 1000));
        assert!(taken(0.25).abs_diff(250) < 60, "{}", taken(0.25));
    }

    proptest! {
        /// Whatever comes in, what goes out is a valid parent with ids that are not zero.
        #[test]
        fn always_valid(value: Vec<u8>, state: Vec<u8>, random: [u64; 3]) {
            let lines: Vec<(&str, &[u8])> = vec![("traceparent", &value), ("tracestate", &state)];
            let trace = Trace::of(&lines, Sampling::of(0.5), random);
            let line = written(&trace);
            prop_assert_eq!(line.len(), Trace::LINE_BYTES);
            let value = line.strip_prefix("traceparent: ").unwrap().strip_suffix("\r\n").unwrap();
            let parent = Parent::parse(value.as_bytes()).unwrap();
            prop_assert_eq!((parent.trace_id, parent.span_id), (trace.trace_id, trace.span_id));
        }
    }
}
