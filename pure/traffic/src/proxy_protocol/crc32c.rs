//! CRC32c (RFC 9260 appendix A), over a header in parts. Bytewise: a header has one at most.

/// The reflected polynomial 0x1edc6f41.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = table();

/// The checksum of the parts, one after the other.
pub(super) fn crc32c<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let bytes = parts.into_iter().flatten();
    !bytes.fold(!0, |crc, &byte| TABLE[((crc ^ u32::from(byte)) & 0xff) as usize] ^ (crc >> 8))
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { POLYNOMIAL ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksums are the published ones, however the input is cut.
    #[test]
    fn vectors() {
        assert_eq!(crc32c([b"123456789".as_slice()]), 0xe306_9283);
        assert_eq!(crc32c([b"1234".as_slice(), b"", b"56789"]), 0xe306_9283);
        assert_eq!(crc32c([[0; 32].as_slice()]), 0x8a91_36aa);
        assert_eq!(crc32c([[0xff; 32].as_slice()]), 0x62a8_ab43);
        assert_eq!(crc32c([]), 0);
    }
}
