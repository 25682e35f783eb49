//! HPACK (RFC 7541): header lists to bytes and back. Never judges a message; `rules` does, field by field as they come.

mod decode;
mod encode;
pub mod huffman;
mod integer;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use decode::{Bounds, Decoder};
pub use encode::FieldWriter;
