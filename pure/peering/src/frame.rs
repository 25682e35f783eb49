//! Frames: what is said on a link, cut into messages.
//!
//! ```text
//!  length of what follows (4 bytes, big-endian) | topic (1) | version (1) | body
//! ```

use crate::fault::Fault;

/// The longest frame, without its length.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Topic and version.
pub(crate) const FRAME_BYTES_MIN: usize = 2;

const LENGTH_BYTES: usize = 4;

/// A frame that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is about.
    pub topic: u8,
    /// Which version of that.
    pub version: u8,
    /// What it says.
    pub body: &'a [u8],
}

/// Bytes as they come, until they are frames. Holds one frame at most, and what came with it.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// What of them is read.
    read: usize,
}

impl Frames {
    /// More bytes came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame that is whole. Take all before more is pushed.
    ///
    /// # Errors
    /// [`Fault::FrameLength`]: nothing that follows can be read.
    #[expect(clippy::should_implement_trait, reason = "a frame borrows from what it is taken of")]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, Fault> {
        let Some((length, rest)) = self.bytes[self.read..].split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&length) {
            return Err(Fault::FrameLength(length));
        }
        match rest.get(..length) {
            Some(&[topic, version, ref body @ ..]) => {
                self.read += LENGTH_BYTES + length;
                Ok(Some(Frame { topic, version, body }))
            }
            _ => Ok(None),
        }
    }
}

/// Appends a frame; false, and nothing appended, if it would be too long.
pub(crate) fn write(out: &mut Vec<u8>, topic: u8, version: u8, body: &[u8]) -> bool {
    let length = FRAME_BYTES_MIN + body.len();
    let Some(length) = u32::try_from(length).ok().filter(|_| length <= FRAME_BYTES_MAX) else {
        return false;
    };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[topic, version]);
    out.extend_from_slice(body);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(frames: &mut Frames) -> Result<Vec<(u8, u8, Vec<u8>)>, Fault> {
        let mut found = Vec::new();
        while let Some(Frame { topic, version, body }) = frames.next()? {
            found.push((topic, version, body.to_vec()));
        }
        Ok(found)
    }

    /// A length that no frame has ends it before anything is kept for it; one that is not written is said to be.
    #[test]
    fn lengths() {
        for (length, fault) in
            [(0u32, true), (1, true), (2, false), (65_536, false), (65_537, true), (u32::MAX, true)]
        {
            let mut frames = Frames::default();
            frames.push(&length.to_be_bytes());
            assert_eq!(frames.next().is_err(), fault, "{length}");
        }
        let mut out = Vec::new();
        assert!(!write(&mut out, 1, 1, &vec![0; FRAME_BYTES_MAX - 1]) && out.is_empty());
        assert!(write(&mut out, 1, 1, &vec![0; FRAME_BYTES_MAX - 2]));
    }

    proptest! {
        /// However frames are cut, they are the same when they arrive.
        #[test]
        fn cut_anywhere(
            sent in prop::collection::vec((any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..50)), 0..8),
            cuts in prop::collection::vec(1usize..40, 1..40),
        ) {
            let mut wire = Vec::new();
            for (topic, version, body) in &sent {
                prop_assert!(write(&mut wire, *topic, *version, body));
            }
            let (mut frames, mut found, mut rest) = (Frames::default(), Vec::new(), &wire[..]);
            for cut in cuts.iter().cycle().take_while(|_| true) {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(rest.len().min(*cut));
                frames.push(now);
                found.extend(all(&mut frames).unwrap());
                rest = later;
            }
            prop_assert_eq!(found, sent);
        }

        /// Any bytes are frames, no frames yet, or a fault.
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut frames = Frames::default();
            frames.push(&bytes);
            let _ = all(&mut frames);
        }
    }
}
