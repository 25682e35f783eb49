//! The Huffman code of RFC 7541 appendix B: two symbols for one look into a table of 12 bits, long codes by their
//! canonical order. Encoding is here for tests and tools: a connection sends literals as they are.

/// Bits of one look.
const LOOK_BITS: u32 = 12;
/// The end-of-string symbol, which no string holds.
const EOS: u16 = 256;

/// The length of each symbol's code in bits. The code is canonical: the lengths say all of it.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

/// The code in the order of its lengths: of the codes of `n` bits, the first one and where its symbol stands.
struct Canonical {
    symbols: [u16; 257],
    first: [u32; 31],
    count: [u32; 31],
    at: [u32; 31],
    codes: [u32; 257],
}

const fn canonical() -> Canonical {
    let mut all =
        Canonical { symbols: [0; 257], first: [0; 31], count: [0; 31], at: [0; 31], codes: [0; 257] };
    let (mut bits, mut code, mut placed) = (1, 0u32, 0);
    while bits <= 30 {
        code <<= 1;
        all.first[bits] = code;
        all.at[bits] = placed as u32;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == bits {
                all.symbols[placed] = symbol as u16;
                all.codes[symbol] = code;
                placed += 1;
                code += 1;
            }
            symbol += 1;
        }
        all.count[bits] = placed as u32 - all.at[bits];
        bits += 1;
    }
    all
}

static CANONICAL: Canonical = canonical();

/// What a look of 12 bits finds: up to two symbols and their bits; none if the first code is longer.
#[derive(Clone, Copy)]
struct Look {
    symbols: [u8; 2],
    count: u8,
    bits: u8,
}

/// The symbol at the top of `bits`, if it takes at most `limit` bits: (symbol, bits), (0, 0) if none.
const fn leading(code: &Canonical, bits: u64, limit: u32) -> (u16, u32) {
    let mut length = 5;
    while length <= limit && length <= 30 {
        let top = (bits >> (64 - length)) as u32;
        let from = code.first[length as usize];
        if top >= from && top - from < code.count[length as usize] {
            return (code.symbols[(code.at[length as usize] + top - from) as usize], length);
        }
        length += 1;
    }
    (0, 0)
}

const fn looks() -> [Look; 1 << LOOK_BITS] {
    let code = canonical();
    let mut looks = [Look { symbols: [0; 2], count: 0, bits: 0 }; 1 << LOOK_BITS];
    let mut window = 0;
    while window < looks.len() {
        let bits = (window as u64) << (64 - LOOK_BITS);
        let (first, used) = leading(&code, bits, LOOK_BITS);
        if used > 0 {
            let (second, more) = leading(&code, bits << used, LOOK_BITS - used);
            let count = if more > 0 { 2 } else { 1 };
            looks[window] = Look { symbols: [first as u8, second as u8], count, bits: (used + more) as u8 };
        }
        window += 1;
    }
    looks
}

static LOOKS: [Look; 1 << LOOK_BITS] = looks();

/// Appends what `input` decodes to. `None`: a code that does not exist, the end-of-string symbol, or padding that is
/// not the seven or fewer leading bits of it (RFC 7541 section 5.2); `out` then holds bytes of no meaning at its end.
pub fn decode(input: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    // The shortest code has five bits; a look writes two bytes although it may count one.
    out.resize(start + input.len() * 8 / 5 + 2, 0);
    let room = &mut out[start..];
    let mut at = 0;
    let (mut bits, mut held, mut input) = (0u64, 0u32, input);
    loop {
        if held < 32 {
            if let Some((word, rest)) = input.split_first_chunk::<4>() {
                bits |= u64::from(u32::from_be_bytes(*word)) << (32 - held);
                held += 32;
                input = rest;
            } else {
                for &byte in input {
                    bits |= u64::from(byte) << (56 - held);
                    held += 8;
                }
                input = &[];
            }
        }
        let look = LOOKS[(bits >> (64 - LOOK_BITS)) as usize];
        if look.count > 0 && held >= LOOK_BITS {
            room[at..at + 2].copy_from_slice(&look.symbols);
            at += usize::from(look.count);
            bits <<= look.bits;
            held -= u32::from(look.bits);
            continue;
        }
        match leading(&CANONICAL, bits, held) {
            (_, 0) | (EOS, _) => break,
            (symbol, used) => {
                room[at] = symbol as u8;
                at += 1;
                bits <<= used;
                held -= used;
            }
        }
    }
    let padding_is_sound = held < 8 && input.is_empty() && bits == !(u64::MAX >> held);
    out.truncate(start + at);
    padding_is_sound.then_some(())
}

/// Appends the Huffman code of `input`.
pub fn encode(input: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut held) = (0u64, 0u32);
    for &byte in input {
        let length = u32::from(LENGTHS[usize::from(byte)]);
        bits = bits << length | u64::from(CANONICAL.codes[usize::from(byte)]);
        held += length;
        while held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    if held > 0 {
        out.push((bits << (8 - held)) as u8 | 0xff >> held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every symbol survives alone, at every place within a byte.
    #[test]
    fn every_symbol_round_trips() {
        for symbol in 0..=255u8 {
            for before in 0..8 {
                let text = [vec![b'0'; before], vec![symbol; 3]].concat();
                let (mut coded, mut back) = (Vec::new(), b"kept".to_vec());
                encode(&text, &mut coded);
                assert_eq!(decode(&coded, &mut back), Some(()), "symbol {symbol}");
                assert_eq!(&back[4..], text);
            }
        }
    }

    /// Padding of eight bits and more, padding of zeros, and the end-of-string symbol are errors.
    #[test]
    fn bad_padding_is_refused() {
        for bytes in [&[0xff][..], &[0x00], &[0xff; 4], &[0x1f, 0xff], &[0xff, 0xff, 0xff, 0xfc], &[0x1e]] {
            assert_eq!(decode(bytes, &mut Vec::new()), None, "{bytes:x?}");
        }
        assert_eq!(decode(&[0x07], &mut Vec::new()), Some(()));
        assert_eq!(decode(&[], &mut Vec::new()), Some(()));
    }

    proptest! {
        /// What is encoded decodes to itself; any other bytes decode or fail, and what decodes encodes back.
        #[test]
        fn round_trip(text: Vec<u8>, noise: Vec<u8>) {
            let (mut coded, mut back) = (Vec::new(), Vec::new());
            encode(&text, &mut coded);
            prop_assert_eq!(decode(&coded, &mut back), Some(()));
            prop_assert_eq!(&back, &text);
            let (mut plain, mut again) = (Vec::new(), Vec::new());
            if decode(&noise, &mut plain).is_some() {
                encode(&plain, &mut again);
                prop_assert_eq!(again, noise);
            }
        }
    }
}
