//! Content codings (RFC 9110 section 8.4.1), as streams: gzip (RFC 1952), `br` (RFC 7932), zstd (RFC 8878).
//!
//! One stream needs about 0.3 MB with gzip, 1.5 MB with the others, whatever the length of its body: windows are kept to
//! 256 KiB. Levels are those at which a core codes some tens of megabytes a second.

use std::io::Write;

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::{Compress, Compression, FlushCompress, Status};
use tidegate_model::traffic::Coding;
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

use crate::Failed;

/// Of 1 to 9.
const GZIP_LEVEL: u32 = 5;

/// The largest window that the format has, 32 KiB.
const GZIP_WINDOW_BITS: u8 = 15;

/// Of 0 to 11; from 5 on memory and time grow several times.
const BROTLI_QUALITY: i32 = 4;

/// Of 1 to 19.
const ZSTD_LEVEL: i32 = 3;

/// 256 KiB.
const WINDOW_BITS: u8 = 18;

/// Room made for what comes out at least, at a time.
const ROOM_BYTES: usize = 4096;

/// One body on its way into a coding.
pub struct Compressor {
    stream: Stream,
    coding: Coding,
    /// Content was taken since the last pause.
    held: bool,
}

enum Stream {
    Gzip(Compress),
    /// None once it is over.
    Brotli(Option<Box<CompressorWriter<Vec<u8>>>>),
    Zstd(Box<Encoder<'static>>),
}

impl Compressor {
    /// Nothing was taken yet.
    pub fn new(coding: Coding) -> Result<Compressor, Failed> {
        let stream = match coding {
            Coding::Gzip => Stream::Gzip(Compress::new_gzip(Compression::new(GZIP_LEVEL), GZIP_WINDOW_BITS)),
            Coding::Brotli => {
                let quality = BROTLI_QUALITY;
                let params = BrotliEncoderParams { quality, lgwin: WINDOW_BITS.into(), ..Default::default() };
                let writer = CompressorWriter::with_params(Vec::new(), ROOM_BYTES, &params);
                Stream::Brotli(Some(Box::new(writer)))
            }
            Coding::Zstd => {
                let mut encoder = Encoder::new(ZSTD_LEVEL).map_err(|_| Failed)?;
                encoder.set_parameter(CParameter::WindowLog(WINDOW_BITS.into())).map_err(|_| Failed)?;
                Stream::Zstd(Box::new(encoder))
            }
        };
        Ok(Compressor { stream, coding, held: false })
    }

    /// Which coding.
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// Takes content; what comes of it is put behind `out`.
    pub fn push(&mut self, mut content: &[u8], out: &mut Vec<u8>) -> Result<(), Failed> {
        self.held |= !content.is_empty();
        match &mut self.stream {
            Stream::Gzip(stream) => {
                while !content.is_empty() {
                    content = deflate(stream, content, out, FlushCompress::None)?.0;
                }
            }
            Stream::Brotli(stream) => {
                let writer = stream.as_mut().ok_or(Failed)?;
                writer.write_all(content).map_err(|_| Failed)?;
                out.append(writer.get_mut());
            }
            Stream::Zstd(stream) => {
                let mut input = InBuffer::around(content);
                while input.pos() < content.len() {
                    with_room(out, |output| stream.run(&mut input, output))?;
                }
            }
        }
        Ok(())
    }

    /// Whether content was taken since the last pause.
    pub fn holds_back(&self) -> bool {
        self.held
    }

    /// Lets everything that was taken come out.
    pub fn pause(&mut self, out: &mut Vec<u8>) -> Result<(), Failed> {
        if !std::mem::take(&mut self.held) {
            return Ok(());
        }
        match &mut self.stream {
            Stream::Gzip(stream) => {
                // It is out once there was room left.
                while deflate(stream, b"", out, FlushCompress::Sync)?.1 {}
            }
            Stream::Brotli(stream) => {
                let writer = stream.as_mut().ok_or(Failed)?;
                writer.flush().map_err(|_| Failed)?;
                out.append(writer.get_mut());
            }
            Stream::Zstd(stream) => while with_room(out, |output| stream.flush(output))? > 0 {},
        }
        Ok(())
    }

    /// The content is over.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Failed> {
        self.held = false;
        match &mut self.stream {
            Stream::Gzip(stream) => while deflate(stream, b"", out, FlushCompress::Finish)?.1 {},
            Stream::Brotli(stream) => {
                let writer = stream.take().ok_or(Failed)?;
                out.append(&mut writer.into_inner());
            }
            Stream::Zstd(stream) => while with_room(out, |output| stream.finish(output, true))? > 0 {},
        }
        Ok(())
    }
}

/// One step: what is left of the content, and whether more may come out of it.
fn deflate<'c>(
    stream: &mut Compress,
    content: &'c [u8],
    out: &mut Vec<u8>,
    flush: FlushCompress,
) -> Result<(&'c [u8], bool), Failed> {
    out.reserve(ROOM_BYTES);
    let before = stream.total_in();
    let status = stream.compress_vec(content, out, flush).map_err(|_| Failed)?;
    let taken = usize::try_from(stream.total_in() - before).unwrap_or(content.len());
    let more = match status {
        Status::StreamEnd => false,
        // Nothing is left to be flushed.
        Status::BufError => false,
        Status::Ok => flush == FlushCompress::Finish || out.len() == out.capacity(),
    };
    Ok((&content[taken.min(content.len())..], more))
}

fn with_room(
    out: &mut Vec<u8>,
    step: impl FnOnce(&mut OutBuffer<'_, Vec<u8>>) -> std::io::Result<usize>,
) -> Result<usize, Failed> {
    out.reserve(ROOM_BYTES);
    let at = out.len();
    step(&mut OutBuffer::around_pos(out, at)).map_err(|_| Failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

    /// What the libraries read of it; the streams need not have ended.
    fn read(coding: Coding, coded: &[u8]) -> Vec<u8> {
        use std::io::Read;
        let mut content = Vec::new();
        let mut buffer = [0; 1024];
        let mut reader: Box<dyn Read> = match coding {
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(coded)),
            Coding::Brotli => Box::new(brotli::Decompressor::new(coded, 4096)),
            Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(coded).unwrap()),
        };
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            content.extend_from_slice(&buffer[..count]);
        }
        content
    }

    /// Whether the stream is whole.
    fn is_whole(coding: Coding, coded: &[u8]) -> bool {
        use std::io::Read;
        let mut content = Vec::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(coded).read_to_end(&mut content).is_ok(),
            Coding::Brotli => brotli::Decompressor::new(coded, 4096).read_to_end(&mut content).is_ok(),
            Coding::Zstd => zstd::stream::decode_all(coded).is_ok(),
        }
    }

    fn bodies() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![Just("tide"), Just("gate "), Just("{\"a\":1},"), Just("\0\u{7ff}")];
        let text = proptest::collection::vec(word, 0..20_000).prop_map(|words| words.concat().into_bytes());
        prop_oneof![text, proptest::collection::vec(any::<u8>(), 0..70_000)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever the pieces and wherever it pauses, the libraries read what went in; after a pause all of it so far.
        #[test]
        fn comes_back_as_it_was(
            body in bodies(),
            pieces in proptest::collection::vec((1..30_000_usize, any::<bool>()), 1..12),
            which in 0..3_usize,
        ) {
            let coding = CODINGS[which];
            let mut compressor = Compressor::new(coding).unwrap();
            let (mut coded, mut rest) = (Vec::new(), &body[..]);
            for (size, pause) in pieces.into_iter().cycle() {
                let (now, later) = rest.split_at(size.min(rest.len()));
                compressor.push(now, &mut coded).unwrap();
                prop_assert_eq!(compressor.holds_back() || now.is_empty(), true);
                rest = later;
                if pause {
                    compressor.pause(&mut coded).unwrap();
                    prop_assert!(!compressor.holds_back());
                    prop_assert_eq!(&read(coding, &coded)[..], &body[..body.len() - rest.len()]);
                }
                if rest.is_empty() {
                    break;
                }
            }
            compressor.finish(&mut coded).unwrap();
            prop_assert!(is_whole(coding, &coded));
            prop_assert_eq!(read(coding, &coded), body);
        }
    }

    /// Text becomes a fraction of itself, and a pause without content in between adds nothing.
    #[test]
    fn worth_it() {
        for coding in CODINGS {
            let mut compressor = Compressor::new(coding).unwrap();
            let mut coded = Vec::new();
            compressor.push(&b"one line of a page like all others\n".repeat(3000), &mut coded).unwrap();
            compressor.pause(&mut coded).unwrap();
            let length = coded.len();
            compressor.pause(&mut coded).unwrap();
            assert_eq!(coded.len(), length);
            compressor.finish(&mut coded).unwrap();
            assert!(coded.len() < 3000, "{coding:?}: {}", coded.len());
        }
    }

    /// An empty body has a stream of its own, which says so.
    #[test]
    fn empty() {
        for coding in CODINGS {
            let mut coded = Vec::new();
            Compressor::new(coding).unwrap().finish(&mut coded).unwrap();
            assert!(!coded.is_empty() && is_whole(coding, &coded) && read(coding, &coded).is_empty());
        }
    }
}
