//! An amount of bytes as Kubernetes writes quantities: `65536`, `"10Mi"`. Read at the door, a number inside.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// An amount, in bytes where it counts bytes. Written as a whole number, or as text with one of the suffixes `k`, `M`,
/// `G`, `T`, `P`, `E` (powers of 1,000) or `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei` (powers of 1,024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Quantity(pub u64);

impl Quantity {
    /// Reads an amount. None when it is not one, or more than 2^64 - 1. Fractions, signs and exponents are not read.
    pub fn parse(text: &str) -> Option<Quantity> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits);
        number.parse::<u64>().ok()?.checked_mul(factor(suffix)?).map(Quantity)
    }
}

fn factor(suffix: &str) -> Option<u64> {
    let (base, letter): (u64, &str) = match suffix.strip_suffix('i') {
        Some(letter) => (1024, letter),
        None => (1000, suffix),
    };
    let power = match (letter, base) {
        ("", 1000) => 0,
        ("k", 1000) | ("K", 1024) => 1,
        ("M", _) => 2,
        ("G", _) => 3,
        ("T", _) => 4,
        ("P", _) => 5,
        ("E", _) => 6,
        _ => return None,
    };
    Some(base.pow(power))
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Amount)
    }
}

struct Amount;

impl Visitor<'_> for Amount {
    type Value = Quantity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount such as `65536` or `10Mi`")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
        Ok(Quantity(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
        let short: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
        Quantity::parse(text).ok_or_else(|| {
            E::custom(format!("expected an amount such as `65536` or `10Mi`, found the text `{short}`"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers and every suffix are read; fractions, signs and what does not fit are refused.
    #[test]
    fn spellings() {
        for (json, amount) in [
            ("0", Some(0)),
            ("65536", Some(65_536)),
            ("\"65536\"", Some(65_536)),
            ("\"1k\"", Some(1_000)),
            ("\"1Ki\"", Some(1_024)),
            ("\"10Mi\"", Some(10 << 20)),
            ("\"3G\"", Some(3_000_000_000)),
            ("\"15Ei\"", Some(15 << 60)),
            ("\"16Ei\"", None),
            ("\"\"", None),
            ("\"K\"", None),
            ("\"1K\"", None),
            ("\"1ki\"", None),
            ("\"1i\"", None),
            ("\"1.5Gi\"", None),
            ("\"-1\"", None),
            ("-1", None),
            ("1.5", None),
            ("true", None),
        ] {
            assert_eq!(serde_json::from_str(json).ok(), amount.map(Quantity), "{json}");
        }
    }
}
