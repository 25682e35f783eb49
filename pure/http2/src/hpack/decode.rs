//! Header blocks to `Fields` (RFC 7541 sections 3 and 6). Never stops at a malformed message or at a list too large: the
//! table stays in step with the peer's.

use super::huffman;
use super::integer;
use super::table::{SIZE_MAX, Table};
use crate::error::{Fault, Flood};
use crate::fields::Fields;
use crate::rules;

/// How large a header list may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub list_bytes_max: u32,
    pub lines_max: u32,
}

/// A list that is this many times too large ends the connection.
const FAR_BEYOND: u32 = 4;

/// The receiving side's compression context.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
    /// What we announced and the peer acknowledged.
    size_limit: u32,
    /// The peer must say that it shrinks its table, before any field.
    must_resize: bool,
}

impl Decoder {
    /// The table size that both sides begin with (RFC 9113 section 6.5.2).
    const INITIAL_SIZE: u32 = 4096;

    pub fn new() -> Decoder {
        Decoder { table: Table::new(Self::INITIAL_SIZE), size_limit: Self::INITIAL_SIZE, must_resize: false }
    }

    /// The peer acknowledged the table size we announced.
    pub fn set_size_limit(&mut self, bytes: u32) {
        self.size_limit = bytes.min(SIZE_MAX);
        self.must_resize = self.table.size_max() > self.size_limit;
    }

    /// Decodes one whole header block into `fields`, which is empty.
    pub fn decode(&mut self, mut block: &[u8], fields: &mut Fields, bounds: Bounds) -> Result<(), Fault> {
        self.resize(&mut block)?;
        while let Some((&first, rest)) = block.split_first() {
            block = rest;
            if first & 0x80 != 0 {
                let index = integer::decode(first, 7, &mut block).ok_or(Fault::Compression)?;
                self.indexed(index, fields, bounds)?;
            } else if first & 0xe0 == 0x20 {
                return Err(Fault::Compression);
            } else {
                self.literal(first, &mut block, fields, bounds)?;
            }
            if fields.list_bytes > bounds.list_bytes_max.saturating_mul(FAR_BEYOND) {
                return Err(Flood::HeaderBytes.into());
            }
        }
        fields.finish();
        Ok(())
    }

    /// Size updates, at the beginning of a block only, two at most (RFC 7541 section 4.2).
    fn resize(&mut self, block: &mut &[u8]) -> Result<(), Fault> {
        let mut updates = 0;
        while let Some((&first, rest)) = block.split_first()
            && first & 0xe0 == 0x20
        {
            *block = rest;
            updates += 1;
            let size = integer::decode(first, 5, block).and_then(|size| u32::try_from(size).ok());
            match size {
                Some(size) if size <= self.size_limit && updates <= 2 => self.table.resize(size),
                _ => return Err(Fault::Compression),
            }
            self.must_resize = false;
        }
        if self.must_resize { Err(Fault::Compression) } else { Ok(()) }
    }

    #[inline]
    fn indexed(&mut self, index: usize, fields: &mut Fields, bounds: Bounds) -> Result<(), Fault> {
        let found = self.table.get(index).ok_or(Fault::Compression)?;
        let (name, value) = (found.name_bytes, found.value_bytes());
        if fields.count(name, value, bounds.list_bytes_max, bounds.lines_max) {
            let at = fields.tail().len();
            fields.tail().extend_from_slice(found.text);
            fields.admit(at, name, value, found.kind, found.sound, false);
        }
        Ok(())
    }

    fn literal(
        &mut self,
        first: u8,
        block: &mut &[u8],
        fields: &mut Fields,
        bounds: Bounds,
    ) -> Result<(), Fault> {
        let (prefix_bits, keep) = if first & 0x40 != 0 { (6, true) } else { (4, false) };
        let index = integer::decode(first, prefix_bits, block).ok_or(Fault::Compression)?;
        let tail = fields.tail();
        let at = tail.len();
        let kind = if index == 0 {
            string(block, tail)?;
            rules::classify_literal(&tail[at..])
        } else {
            let found = self.table.get(index).ok_or(Fault::Compression)?;
            tail.extend_from_slice(&found.text[..found.name_bytes]);
            found.kind
        };
        let name = tail.len() - at;
        tail.extend_from_slice(b": ");
        string(block, tail)?;
        let value = tail.len() - at - name - 2;
        let sound = rules::value_is_sound(&tail[at + name + 2..]);
        tail.extend_from_slice(b"\r\n");
        if keep {
            self.table.insert(&tail[at..], name, kind, sound);
        }
        if fields.count(name, value, bounds.list_bytes_max, bounds.lines_max) {
            fields.admit(at, name, value, kind, sound, first & 0xf0 == 0x10);
        } else {
            fields.tail().truncate(at);
        }
        Ok(())
    }
}

/// A string literal (RFC 7541 section 5.2), appended to `out`.
#[inline]
fn string(block: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let (&first, rest) = block.split_first().ok_or(Fault::Compression)?;
    *block = rest;
    let bytes = integer::decode(first, 7, block).ok_or(Fault::Compression)?;
    let (text, rest) = block.split_at_checked(bytes).ok_or(Fault::Compression)?;
    *block = rest;
    if first & 0x80 == 0 {
        out.extend_from_slice(text);
        return Ok(());
    }
    huffman::decode(text, out).ok_or(Fault::Compression)
}

#[cfg(test)]
impl Decoder {
    pub fn table(&self) -> (Vec<String>, u32) {
        self.table.dump()
    }

    pub fn with_size(bytes: u32) -> Decoder {
        Decoder { table: Table::new(bytes), size_limit: bytes, must_resize: false }
    }
}
