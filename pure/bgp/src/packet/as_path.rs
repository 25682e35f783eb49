//! AS_PATH in both widths, and the merge with AS4_PATH (RFC 4271, section 4.3; RFC 6793).

use super::Reader;
use super::update::Problem;
use std::fmt;

/// Stands in two bytes for an AS number that needs four (RFC 6793).
pub const AS_TRANS: u16 = 23456;

/// The autonomous systems a route has crossed, the latest first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct AsPath(pub Vec<Segment>);

/// One run of AS numbers, never empty once decoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// Type 1: in no order, left by aggregation; counts as one.
    Set(Vec<u32>),
    /// Type 2: in order, the latest first.
    Sequence(Vec<u32>),
}

impl Segment {
    fn asns(&self) -> &[u32] {
        match self {
            Segment::Set(asns) | Segment::Sequence(asns) => asns,
        }
    }

    fn length(&self) -> usize {
        match self {
            Segment::Set(_) => 1,
            Segment::Sequence(asns) => asns.len(),
        }
    }
}

impl AsPath {
    /// A path of one sequence; no AS numbers give the empty path.
    pub fn sequence(asns: impl Into<Vec<u32>>) -> AsPath {
        let asns = asns.into();
        AsPath(if asns.is_empty() { Vec::new() } else { vec![Segment::Sequence(asns)] })
    }

    /// Length as best-path selection counts it: a set is one (RFC 4271, section 9.1.2.2 a).
    pub fn length(&self) -> usize {
        self.0.iter().map(Segment::length).sum()
    }

    /// The AS that handed the route over. None if the path is empty or begins with a set.
    pub fn first(&self) -> Option<u32> {
        match self.0.first() {
            Some(Segment::Sequence(asns)) => asns.first().copied(),
            _ => None,
        }
    }

    /// Whether `asn` stands anywhere in it.
    pub fn contains(&self, asn: u32) -> bool {
        self.0.iter().any(|segment| segment.asns().contains(&asn))
    }

    /// Whether a speaker of two-byte numbers would lose something.
    pub(super) fn needs_four_bytes(&self) -> bool {
        self.0.iter().flat_map(Segment::asns).any(|asn| *asn > u32::from(u16::MAX))
    }

    /// Reads the value of AS_PATH, or of AS4_PATH with `four_byte` set. Confederation segments are
    /// malformed here: we are in none (RFC 5065, section 5.3).
    pub(super) fn decode(value: &[u8], four_byte: bool) -> Result<AsPath, Problem> {
        let mut reader = Reader::new(value);
        let mut segments = Vec::new();
        while let Some(kind) = reader.u8() {
            let count = usize::from(reader.u8().ok_or(Problem::AsPathSegment)?);
            let width = if four_byte { 4 } else { 2 };
            let bytes = reader.take(count * width).ok_or(Problem::AsPathSegment)?;
            let asns: Vec<u32> = bytes.chunks_exact(width).map(big_endian).collect();
            if asns.is_empty() {
                return Err(Problem::AsPathSegment);
            }
            if asns.contains(&0) {
                return Err(Problem::AsZero);
            }
            segments.push(match kind {
                1 => Segment::Set(asns),
                2 => Segment::Sequence(asns),
                _ => return Err(Problem::AsPathSegment),
            });
        }
        Ok(AsPath(segments))
    }

    /// Appends the value of the attribute; in two bytes, large numbers become `AS_TRANS`.
    pub(super) fn encode(&self, four_byte: bool, out: &mut Vec<u8>) {
        for segment in &self.0 {
            let kind = if matches!(segment, Segment::Set(_)) { 1 } else { 2 };
            for run in segment.asns().chunks(255) {
                out.extend_from_slice(&[kind, run.len() as u8]);
                for asn in run {
                    if four_byte {
                        out.extend_from_slice(&asn.to_be_bytes());
                    } else {
                        out.extend_from_slice(&u16::try_from(*asn).unwrap_or(AS_TRANS).to_be_bytes());
                    }
                }
            }
        }
    }

    /// RFC 6793, section 4.2.3: what AS4_PATH knows, behind as many leading steps of this path as
    /// it is longer. A longer AS4_PATH is ignored.
    pub(super) fn merged_with(self, as4_path: AsPath) -> AsPath {
        let Some(mut leading) = self.length().checked_sub(as4_path.length()) else { return self };
        let mut merged: Vec<Segment> = Vec::new();
        for segment in self.0 {
            if leading == 0 {
                break;
            }
            let length = segment.length().min(leading);
            leading -= length;
            merged.push(match segment {
                Segment::Sequence(mut asns) => {
                    asns.truncate(length);
                    Segment::Sequence(asns)
                }
                set => set,
            });
        }
        for segment in as4_path.0 {
            match (merged.last_mut(), segment) {
                (Some(Segment::Sequence(head)), Segment::Sequence(tail)) => head.extend(tail),
                (_, segment) => merged.push(segment),
            }
        }
        AsPath(merged)
    }
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            let words: Vec<String> = segment.asns().iter().map(u32::to_string).collect();
            let gap = if index == 0 { "" } else { " " };
            match segment {
                Segment::Sequence(_) => write!(f, "{gap}{}", words.join(" "))?,
                Segment::Set(_) => write!(f, "{gap}{{{}}}", words.join(","))?,
            }
        }
        Ok(())
    }
}

fn big_endian(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}
