//! What a body becomes on its way to the client: a content coding ([`compress`]), or the gRPC-Web of a gRPC answer
//! ([`grpc_web`]). Bytes in, bytes out, as many at a time as one likes; no sockets, and nothing is gathered.
//!
//! Whether a body is changed at all is decided in `pure/traffic`.

pub mod compress;
pub mod grpc_web;

pub use compress::Compressor;

/// A body's change, and where it stands.
pub enum Change {
    /// A content coding is applied.
    Compress(Compressor),
    /// gRPC becomes gRPC-Web.
    GrpcWeb(grpc_web::Answer),
}

/// A change cannot go on: its library has failed, which it does for lack of memory only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a body could not be coded")]
pub struct Failed;

impl Change {
    /// Takes content. What comes of it so far is put behind `out`; perhaps nothing yet.
    pub fn push(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), Failed> {
        match self {
            Change::Compress(compressor) => compressor.push(content, out),
            Change::GrpcWeb(answer) => {
                answer.push(content, out);
                Ok(())
            }
        }
    }

    /// Whether content was taken of which something may still be held back.
    pub fn holds_back(&self) -> bool {
        match self {
            Change::Compress(compressor) => compressor.holds_back(),
            Change::GrpcWeb(answer) => answer.holds_back(),
        }
    }

    /// Holds nothing back of what was taken: a reader of what came out can read all of it.
    pub fn pause(&mut self, out: &mut Vec<u8>) -> Result<(), Failed> {
        match self {
            Change::Compress(compressor) => compressor.pause(out),
            Change::GrpcWeb(answer) => {
                answer.pause(out);
                Ok(())
            }
        }
    }

    /// The content is over, and these trailers follow it. True if they are part of what comes out, and are not to follow
    /// it themselves.
    pub fn finish<'t>(
        &mut self,
        trailers: impl Iterator<Item = (&'t str, &'t [u8])>,
        out: &mut Vec<u8>,
    ) -> Result<bool, Failed> {
        match self {
            Change::Compress(compressor) => compressor.finish(out).map(|()| false),
            Change::GrpcWeb(answer) => {
                answer.finish(trailers, out);
                Ok(true)
            }
        }
    }
}
